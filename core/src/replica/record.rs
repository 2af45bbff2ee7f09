//! What a server must remember across a crash, and what it remembers when it starts.

use crate::config::Membership;
use crate::entry::{Entry, Start};
use crate::ids::{Ballot, Boot, Slot};
use alloc::vec::Vec;

/// A fact for the write-ahead log. (The promise is not one: it lives in the superblock alone, and
/// is durable there before any record of its ballot is written: rule 3.)
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Record {
    /// This server accepted `entry` for `slot` under `ballot`.
    Accepted {
        /// The ballot.
        ballot: Ballot,
        /// The base of the ballot's leader.
        base: Slot,
        /// The slot.
        slot: Slot,
        /// The value.
        entry: Entry,
    },
    /// `entry` is decided for `slot`, whoever proposed it: learned from a peer (rule 11).
    Decided {
        /// The slot.
        slot: Slot,
        /// The value.
        entry: Entry,
    },
    /// Every slot up to here was decided, with what the log then held for it.
    DecidedHint {
        /// How far.
        upto: Slot,
    },
}

/// What the disk remembered.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The start that this is: one more than the last.
    pub boot: Boot,
    /// The highest ballot promised, from the superblock.
    pub promised: Ballot,
    /// Who votes, as the superblock remembers it; none if it is who voted at the beginning.
    pub membership: Option<Membership>,
    /// Every slot up to here is decided, and can be loaded from the log.
    pub decided: Slot,
    /// What was accepted above `decided`: for each slot the highest ballot.
    pub accepted: Vec<RecoveredEntry>,
    /// The latest leader whose start stands in the log, also at or below `decided`.
    pub started: Start,
    /// The ballot that something was accepted under last; none if no such record is left.
    pub followed: Option<Ballot>,
    /// Bytes of the records above what a snapshot holds: how much is to be applied, about.
    pub bytes: u64,
}

/// A slot that the log holds a value for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecoveredEntry {
    /// Where.
    pub slot: Slot,
    /// The highest ballot it was accepted under; none if it is known to be decided.
    pub ballot: Option<Ballot>,
    /// What.
    pub entry: Entry,
}
