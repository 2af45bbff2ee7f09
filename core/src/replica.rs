//! Multi-Paxos over opaque entries.
//!
//! This room orders bytes. It does not know that they are commands on locks.

pub mod message;
pub mod record;
