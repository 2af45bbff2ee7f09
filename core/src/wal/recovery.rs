//! What a log that was left lying may be believed to say.

use super::Sizes;
use super::bytes::{is_zero, u64_of};
use super::damage::{Damage, Problem};
use super::index::SlotIndex;
use super::superblock::Superblock;
use super::writer::{Position, Writer};
use crate::ids::{SegmentNo, Slot};
use crate::replica::record::Recovered;
use alloc::vec::Vec;

/// How the log ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// With a seal, and zeros after it.
    Clean,
    /// With whole records that no seal covers: never synced, so never spoken of. Dropped.
    Unsealed,
    /// With a group that was not wholly stored: never synced, so never spoken of. Dropped.
    Torn,
}

/// Bytes of a segment to set to zero, and to sync.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Zeroing {
    /// The segment.
    pub segment: SegmentNo,
    /// The first byte.
    pub offset: u64,
    /// How many.
    pub len: u64,
}

/// The end of the log, and what must be done to it before anything that was recovered is spoken
/// of or written: a crash of the process alone leaves groups that can be read and are not synced.
#[derive(Debug)]
#[must_use = "the log can't be used before its end was made safe"]
pub struct Tail {
    /// How the log ended.
    pub verdict: Verdict,
    /// What to set to zero, first.
    pub zero: Option<Zeroing>,
    /// The segment to sync then, whatever the verdict.
    pub sync: SegmentNo,
    /// The first of the segments that are empty and may be used next or thrown away; all after it
    /// are too.
    pub spare: SegmentNo,
    recovered: Recovered,
    writer: Writer,
}

impl Tail {
    /// Says that the end was made safe.
    pub fn done(self) -> (Recovered, Writer) {
        (self.recovered, self.writer)
    }
}

/// Reads a log, one segment after another.
#[derive(Debug)]
pub struct Recovery {
    superblock: Superblock,
    sizes: Sizes,
    next: SegmentNo,
    at: Option<Position>,
}

impl Recovery {
    /// The log that belongs to `superblock`, as it is for the boot that begins now. New segments
    /// will have `sizes`.
    pub fn new(superblock: &Superblock, sizes: Sizes) -> Self {
        Self {
            next: superblock.first_segment,
            superblock: superblock.clone(),
            sizes,
            at: None,
        }
    }

    /// The segment to hand in next.
    pub fn next_segment(&self) -> SegmentNo {
        self.next
    }

    /// Reads segment `number`, all of its bytes.
    pub fn segment(&mut self, number: SegmentNo, bytes: &[u8]) -> Result<(), Damage> {
        assert!(
            number == self.next,
            "segments are handed in one after another"
        );
        self.next = number.next();
        if self.at.is_none() && is_zero(bytes) {
            let identity = &self.superblock.identity;
            self.at = Some(Position::fresh(identity, number, u64_of(bytes.len())));
        }
        Ok(())
    }

    /// The end of the log.
    pub fn finish(self) -> Result<Tail, Damage> {
        let identity = self.superblock.identity;
        let missing = Damage {
            segment: self.superblock.first_segment,
            offset: 0,
            slot: None,
            problem: Problem::Missing,
        };
        let at = self.at.ok_or(missing)?;
        Ok(Tail {
            verdict: Verdict::Clean,
            zero: None,
            sync: at.segment,
            spare: at.segment.next(),
            recovered: Recovered {
                boot: self.superblock.boot,
                promised: self.superblock.promised,
                decided: Slot::default(),
                accepted: Vec::new(),
            },
            writer: Writer::new(
                identity,
                self.superblock.boot,
                self.sizes,
                at,
                SlotIndex::new(identity),
            ),
        })
    }
}
