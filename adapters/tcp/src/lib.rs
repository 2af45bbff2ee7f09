//! Peers and native clients over TCP.
//!
//! - [`mesh`][]: one connection between each two servers, made again when it breaks.
//! - [`native`][]: clients.

mod link;
pub mod mesh;
pub mod native;

pub use mesh::{Contacts, Memory, Mesh, NoMemory};

#[cfg(test)]
mod tests;
