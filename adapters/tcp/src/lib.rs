//! Peers and native clients over TCP.
//!
//! - [`mesh`]: one connection between each two servers, made again when it breaks.

mod link;
pub mod mesh;

pub use mesh::Mesh;

#[cfg(test)]
mod tests;
