//! What is wrong with a log, and where.

use crate::entry::EntryError;
use crate::ids::{Ballot, Lsn, SegmentNo, Slot};

/// A log that can't be believed. The server must not start with it: it may have promised or
/// accepted what it can no longer read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("segment {segment}, byte {offset}{}: {problem}", SlotOf(*.slot))]
pub struct Damage {
    /// The file.
    pub segment: SegmentNo,
    /// The byte in it.
    pub offset: u64,
    /// The slot whose record is there, if any seal or header still tells.
    pub slot: Option<Slot>,
    /// What is wrong.
    pub problem: Problem,
}

struct SlotOf(Option<Slot>);

impl core::fmt::Display for SlotOf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(slot) => write!(f, " (slot {slot})"),
            None => Ok(()),
        }
    }
}

/// What is wrong with some bytes of the log.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Problem {
    /// A header's checksum.
    #[error("a record header's checksum is {found:08x}, and {expected:08x} was computed")]
    HeadCrc {
        /// Computed.
        expected: u32,
        /// Read.
        found: u32,
    },
    /// A record, good in itself, that belongs elsewhere: a stale or misdirected write.
    #[error("a record says that it stands at {found}, and it stands at {expected}")]
    Misplaced {
        /// Where it was read.
        expected: Lsn,
        /// Where it says it is.
        found: Lsn,
    },
    /// The chain over all records so far.
    #[error("the chained checksum is {found:08x}, and {expected:08x} was computed")]
    Chain {
        /// Computed.
        expected: u32,
        /// Read.
        found: u32,
    },
    /// A record longer than the rest of its segment.
    #[error("a record of {len} bytes, where {room} are left")]
    Length {
        /// The length that it gives.
        len: u64,
        /// What is left.
        room: u64,
    },
    /// Written by a later Tenure.
    #[error("record version {found}, this server knows 1")]
    Version {
        /// The version read.
        found: u16,
    },
    /// Not a kind of record.
    #[error("record kind {found} does not exist")]
    Kind {
        /// The kind read.
        found: u8,
    },
    /// A field that must have another value here.
    #[error("{what} is {found}, and {expected} was expected")]
    Field {
        /// Which field.
        what: &'static str,
        /// What it must be.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// A seal that does not fit what it seals.
    #[error("the seal does not fit its group: {0}")]
    Seal(&'static str),
    /// A segment that does not begin as it must.
    #[error("the segment header is wrong: {0}")]
    SegmentHeader(&'static str),
    /// A segment that is not there, or empty while a later one is not.
    #[error("the segment is missing or empty, and a later one is not")]
    Missing,
    /// A record that holds no entry.
    #[error("the record's entry is not one: {0}")]
    Entry(#[from] EntryError),
    /// Two values for one slot and ballot.
    #[error("two values under ballot {ballot}: {expected:016x} and {found:016x}")]
    TwoValues {
        /// The ballot; zero for two decided values.
        ballot: Ballot,
        /// The hash of the first.
        expected: u64,
        /// The hash of the second.
        found: u64,
    },
    /// A record under a ballot that the superblock never promised: the superblock was lost or
    /// rolled back (rule 3).
    #[error("a record of ballot {found}, and the superblock promised only {promised}")]
    PromiseLost {
        /// What the superblock says.
        promised: Ballot,
        /// What the record says.
        found: Ballot,
    },
    /// A slot that is said to be decided, and the log holds nothing for it.
    #[error("slots up to {upto} are said to be decided, and this one is not in the log")]
    SlotMissing {
        /// The hint.
        upto: Slot,
    },
}
