//! From a configuration to a running server.

mod boot;
mod first;
mod founding_file;
mod join;
pub mod key;
mod log;
mod members_file;
mod server;
pub mod settings;
mod web;

pub use join::JoinError;
pub use server::{Server, StartError};
pub use settings::{Join, Origin, Proof, Settings, SettingsError, TokenKey};
pub use tenure_disk::{Counters, Counting};
pub use tenure_host::{HostError, Status};
pub use tenure_http::ask;
pub use tenure_tcp::FoundingError;
