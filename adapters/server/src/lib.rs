//! From a configuration to a running server.

mod boot;
pub mod key;
mod log;
mod server;
pub mod settings;
mod web;

pub use server::{Server, StartError};
pub use settings::{Settings, SettingsError, TokenKey};
pub use tenure_disk::{Counters, Counting};
pub use tenure_host::{HostError, Status};
