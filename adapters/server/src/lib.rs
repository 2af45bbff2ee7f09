//! From a configuration to a running server.

pub mod key;
pub mod settings;

pub use settings::{Settings, SettingsError, TokenKey};
