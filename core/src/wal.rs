//! The bytes of the write-ahead log and of the superblock, and what may be believed of them after
//! a crash. Pure: it reads and makes byte slices; a file is somebody else's.
//!
//! ```text
//!   host                          this room                               the disk
//!   ----                          ---------                               --------
//!   Output::Append ────────────>  Writer::append    (gathers)
//!   everything at hand was done   Writer::seal      Group {segment, offset, bytes, through}
//!                                                   ──────────────────>   store, then sync
//!   Input::Durable {through}  <────────────────────────────────────────   synced
//!   a snapshot is durable         Writer::first_needed, Durable::truncate  superblock, then unlink
//!   start                         superblock::open  Pending: writes       store and sync, each
//!                                 snapshot::Reader, chunks ────────────<─ the newest snapshot
//!                                 Recovery::segment, above its Floor ──<─ every segment
//!                                 Recovery::finish  Tail: what to zero    zero, then sync
//!                                 Tail::done        Recovered and Writer
//! ```
//!
//! Four promises that the disk's side must keep, because recovery is built on them:
//! 1. A group's bytes are handed to the disk only when every group before it was synced.
//! 2. A segment was zero in every byte, and synced, before the first group was stored in it.
//! 3. What [`recovery::Tail`] asks for is done and synced before anything that was recovered is
//!    spoken of.
//! 4. A snapshot has its name only when it is durable in every byte, and a segment is removed only
//!    when the superblock that does not count it any more is durable.
//!
//! `docs/WAL.md` has the byte pictures and the table of verdicts.

use crate::ids::{ClusterId, Incarnation, NodeId, SegmentNo};
use crc32fast::Hasher;

mod bytes;
pub mod damage;
pub mod index;
mod record;
pub mod recovery;
mod seal;
mod segment;
pub mod snapshot;
pub mod superblock;
pub mod writer;

/// The unit in which groups are written: each begins and ends at a multiple of it.
pub const SECTOR_BYTES: usize = 4096;
/// The unit that a disk writes whole or not at all; that much is assumed, and no more.
pub const ATOM_BYTES: usize = 512;
/// The first segment of a new log, small so that a first start is fast.
pub const FIRST_SEGMENT_BYTES: u64 = 1 << 20;
/// Segments grow to this.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// The smallest segment that a log can work with.
pub const SEGMENT_BYTES_MIN: u64 = 4 * 4096;

/// Whose log this is. It is mixed into every checksum, so that a sector of another log, or of
/// this server's earlier life, is never taken for one of this.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The server.
    pub node: NodeId,
    /// The data directory.
    pub incarnation: Incarnation,
}

impl Identity {
    /// The checksum that a chain, or a header's checksum, begins from.
    fn seed(&self, segment: SegmentNo) -> u32 {
        let mut hasher = Hasher::new();
        hasher.update(&self.cluster.0);
        hasher.update(&self.node.get().to_le_bytes());
        hasher.update(&self.incarnation.get().to_le_bytes());
        hasher.update(&segment.get().to_le_bytes());
        hasher.finalize()
    }
}

/// How large segments are made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sizes {
    first: u64,
    rest: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            first: FIRST_SEGMENT_BYTES,
            rest: SEGMENT_BYTES,
        }
    }
}

impl Sizes {
    /// The first segment, and what the others grow to, in bytes: multiples of [`SECTOR_BYTES`], at least
    /// [`SEGMENT_BYTES_MIN`].
    pub const fn new(first: u64, rest: u64) -> Self {
        let sector = 4096;
        assert!(
            first.is_multiple_of(sector) && rest.is_multiple_of(sector),
            "a segment is made of whole sectors"
        );
        assert!(
            first >= SEGMENT_BYTES_MIN && rest >= SEGMENT_BYTES_MIN,
            "a segment has room for its header and a group"
        );
        Self { first, rest }
    }

    /// Bytes of segment `number`: each twice the one before, up to the size of the others, so that a
    /// few can be made ahead at the first start without a wait, and none is far larger than those that
    /// are filled meanwhile.
    pub fn of(&self, number: SegmentNo) -> u64 {
        let before = u32::try_from(number.before().get()).unwrap_or(u32::MAX);
        let factor = 2_u64.saturating_pow(before);
        match before {
            0 => self.first,
            1.. => self.first.saturating_mul(factor).min(self.rest),
        }
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
