//! Layer 1 of the simulation: one u64 seed decides everything that happens to a cluster of real
//! cores with real logs on simulated disks, and judges watch.
//!
//! ```text
//!   scenario ── draws ──> world ── events ──> server: the real Node, the real wal::Writer
//!                           │                    │ outputs, in any order that is allowed
//!                    nemesis, clients            v
//!                           │               net, disk, clock: each with its own stream of draws
//!                           v                    │
//!                        judges <────────────────┘ every output, every sector that became durable
//! ```
//! `docs/SIMULATION.md` explains faults, oracles and how to read a trace.
#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a world that goes wrong should stop at once"
)]

pub mod book;
pub mod check;
pub mod clock;
pub mod disk;
pub mod graph;
pub mod judges;
pub mod load;
pub mod marks;
pub mod mutants;
pub mod net;
pub mod operator;
pub mod rand;
pub mod replay;
pub mod report;
pub mod scenario;
pub mod search;
pub mod server;
pub mod shrink;
pub mod stage;
pub mod trace;
pub mod transcript;
pub mod world;

/// True time of a world, in nanoseconds since it began. Only judges and the nemesis look at it.
pub type Nanos = u64;
