//! Layer 2: the real host, TCP, HTTP and client code under madsim, over simulated disks.
//!
//! Layer 1 judges the core, bit by bit. Here it is the adapters that are tried: connections that
//! break in the middle of a frame, servers that are killed between a store and its sync, clients
//! that move on. See `docs/SIMULATION.md`.
//!
//! `cargo madsim` runs a few seeds, with `TENURE_SEEDS=500` so many; `TENURE_SEED=7 cargo madsim`
//! runs that one.
#![cfg(madsim)]

#[path = "madsim/clients.rs"]
mod clients;
#[path = "madsim/cluster.rs"]
mod cluster;
#[path = "madsim/disk.rs"]
mod disk;
#[path = "madsim/faults.rs"]
mod faults;
#[path = "madsim/http.rs"]
mod http;
#[path = "madsim/laws.rs"]
mod laws;
#[path = "madsim/witness.rs"]
mod witness;
