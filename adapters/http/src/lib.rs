//! The face for everybody: HTTP/1.1 and JSON (`docs/HTTP.md`).
//!
//! ```text
//! connection ──> hyper ──> router ──> fields ──> Ask ──> gateway ──> host's door
//!                            ^                              │
//!                            └── answers, problems <── mail <┘  one batch a round of the host
//! ```
//! Nothing here waits for a disk, and nothing decides: what a request means is one `Ask` of the
//! door, and what the door replies becomes one document. A caller that goes away drops its call,
//! and the node hears of it.

mod answers;
pub mod ask;
mod claims;
mod cluster;
mod config;
mod duration;
mod fields;
mod force;
mod gateway;
mod keys;
mod members;
mod params;
mod problem;
mod router;
mod serve;

pub use serve::{CONNECTIONS_MAX, ServeError, check_address, serve, wait};

#[cfg(test)]
mod tests;
