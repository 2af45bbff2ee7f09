//! Peers and native clients over TCP.
//!
//! - [`founding`][]: servers that found a cluster together, once.
//! - [`mesh`][]: one connection between each two servers, made again when it breaks.
//! - [`native`][]: clients.

pub mod founding;
mod link;
pub mod mesh;
pub mod native;

pub use founding::{FoundingError, found};
pub use mesh::{Contacts, Memory, Mesh, NoMemory};

#[cfg(test)]
mod tests;
