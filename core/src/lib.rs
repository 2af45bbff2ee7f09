//! One server of the lock service, as a pure state machine.
//!
//! `node::Node::step` is the only door. Given the same state, the same time and the same input it
//! changes to the same state and asks for the same outputs, on every machine. There is no clock in
//! here, no thread, no file, no socket, and no randomness but the seed.
//!
//! | room        | holds                                                | knows nothing of      |
//! |-------------|------------------------------------------------------|-----------------------|
//! | [`ids`] [`time`] [`limits`] [`rng`] [`hash`] | words everybody uses | everything            |
//! | [`entry`]   | the bytes of one log entry: kind, stamp, commands    | what a command means  |
//! | [`config`]  | the cluster as data                                  | consensus             |
//! | [`founding`] | how a list of members becomes a cluster, once       | consensus             |
//! | [`replica`] | Multi-Paxos over opaque entries                      | locks, sessions       |
//! | [`machine`] | the lock table, tickets, sessions, expiry, fences    | consensus, host time  |
//! | [`wal`]     | the log's bytes: records, seals, segments, recovery  | files                 |
//! | [`wire`]    | bytes between servers, and with clients              | sockets               |
//! | [`client`]  | the client's half: session, retries, what to believe | sockets               |
#![no_std]
#![deny(
    clippy::as_conversions,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::match_wildcard_for_single_variants,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm
)]
#![cfg_attr(
    test,
    allow(
        clippy::as_conversions,
        clippy::disallowed_types,
        clippy::float_arithmetic,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::wildcard_enum_match_arm,
        reason = "a test that goes wrong should stop at once"
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod client;
pub mod config;
pub mod entry;
pub mod founding;
pub mod hash;
pub mod ids;
pub mod limits;
pub mod machine;
pub mod node;
pub mod query;
pub mod replica;
pub mod rng;
pub mod time;
pub mod wal;
pub mod wire;
