//! From a configuration to a running server.

pub mod key;
mod log;
mod server;
pub mod settings;

pub use server::{Server, StartError};
pub use settings::{Settings, SettingsError, TokenKey};
pub use tenure_host::{HostError, Status};
