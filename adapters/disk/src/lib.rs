//! The write-ahead log and the superblock in files: the only fsync of the project.
//!
//! ```text
//! DIR/LOCK             locked while a server runs on DIR
//! DIR/superblock       four copies, 64 KiB apart
//! DIR/wal/00000001.seg the log's segments: 1 MiB, then 64 MiB each
//! DIR/wal/*.new        a segment that is being filled with zeros; thrown away at a start
//! DIR/snap/*.snap      whole snapshots
//! DIR/tmp/             a snapshot that is being written; thrown away at a start
//! ```
//!
//! [`Disk`] runs the core's writer: it gathers what is appended, stores a whole group into a mapped
//! segment, and syncs it with one `fdatasync`. A segment is filled with zeros and synced before it
//! is mapped, so that no store can meet a hole on a full disk (that would be a SIGBUS, not an
//! error). Files are never truncated and never grow while they are mapped. Recovery reads with
//! `pread`, so that a sector that can't be read is an error too.
//!
//! [`Keeper`] writes and reads snapshots on another thread, and removes what they stand for from the
//! log. [`Opening`] puts it all together at a start.
//!
//! A sync that failed is never tried again: the kernel may have dropped the pages that it could not
//! write, and would call the next sync a success. Every call after it is refused.

mod counters;
mod disk;
mod error;
mod files;
mod keeper;
mod lock;
mod mapping;
mod opening;
mod segments;
mod spare;
mod superblock;
mod trace;
mod truncation;

pub use counters::Counters;
pub use disk::{Counting, Disk, Sealed, Space};
pub use error::DiskError;
pub use keeper::{Keeper, Kept};
pub use lock::Lock;
pub use opening::{Opening, Options, Owner};
pub use trace::Trace;
pub use truncation::Truncation;
