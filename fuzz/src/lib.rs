//! What must hold whatever bytes arrive from a socket or lie on a disk.
//!
//! Each target is a plain function of bytes that panics when something does not hold. Three callers
//! share them: `tests/replay.rs` runs the committed corpus, and every neighbour of it, with
//! `cargo replay`; `libfuzzer/` searches for new inputs; and a found input becomes a file in
//! `corpus/` with the fix that it led to.
//!
//! | target       | bytes of              | what must hold, besides that nothing panics            |
//! |--------------|-----------------------|--------------------------------------------------------|
//! | [`peer`]     | a peer's connection   | canonical: what is read would be written the same      |
//! | [`requests`] | a client's connection | however it is cut, the same requests; all can be resaid |
//! | [`answers`]  | a server's connection | however it is cut, the same words; all can be resaid   |
//! | [`command`]  | a log entry           | canonical                                              |
//! | [`snapshot`] | a machine's snapshot  | refused, or written again the same by a machine that goes on |
//! | [`snapshot_file`] | a snapshot's file | read as it would be written, or refused          |
//! | [`wal`]      | segments of the log   | recovery gives a prefix of what was written, or says no |
//! | [`superblock`] | its four copies     | a promise that was durable is never forgotten          |
//!
//! And in each: no more memory than a stated multiple of the input.

mod client;
mod command;
mod draw;
mod memory;
mod peer;
mod snapshot;
mod snapshot_file;
mod superblock;
mod wal;

pub use client::{answers, requests};
pub use command::command;
pub use peer::peer;
pub use snapshot::snapshot;
pub use snapshot_file::snapshot_file;
pub use superblock::superblock;
pub use wal::wal;

/// A function of bytes, under the name that its corpus folder and its libFuzzer target have.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// Panics if something does not hold.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 8] = [
    Target {
        name: "answers",
        run: answers,
    },
    Target {
        name: "command",
        run: command,
    },
    Target {
        name: "peer",
        run: peer,
    },
    Target {
        name: "requests",
        run: requests,
    },
    Target {
        name: "snapshot",
        run: snapshot,
    },
    Target {
        name: "snapshot_file",
        run: snapshot_file,
    },
    Target {
        name: "superblock",
        run: superblock,
    },
    Target {
        name: "wal",
        run: wal,
    },
];
