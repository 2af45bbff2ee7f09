//! Owns the node, and does what it asks for.
//!
//! The loop: wait; take everything that is ready; read the clock; let the node see each; say
//! `Flush`; do what it wants. What it wants is done in an order that makes waits overlap: words to
//! peers leave first, then what callers may hear, and then the log is written and synced, so that
//! the peers' disks work while this server's own does.
//!
//! ```text
//!  peers, callers ──> Door (bounded) ──> Host ──> Node::step
//!                                         ├──> Peers    one write to each peer a round
//!                                         ├──> Replies  one write to each connection a round
//!                                         ├──> Log      append, seal, sync ──> Durable ──> Node::step
//!                                         └──> Keeper   snapshots, truncation, on their own thread
//! ```

mod callers;
pub mod door;
pub mod host;
pub mod log;
pub mod peers;
pub mod published;
mod snapshots;
mod syncer;

pub use door::{Conn, Door, Full, Replies, Stopped};
pub use host::{Host, HostError, Options, Status, Steps};
pub use log::{Appended, Group, Keeper, Kept, Log, NoKeeper};
pub use peers::Peers;
pub use published::{Published, Publisher, publish};
pub use syncer::SyncMode;

#[cfg(test)]
mod tests;
