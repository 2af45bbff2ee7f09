//! Where in the log a slot may be: a small table from pieces of the log to the slots in them.

use super::Identity;
use super::bytes::u64_of;
use super::damage::{Damage, Problem};
use super::record::{Found, Kind, record_at};
use crate::entry::Entry;
use crate::ids::{Ballot, Lsn, SegmentNo, Slot};
use crate::limits::BATCH_BYTES_MAX;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

/// A piece ends with the first group that makes it this long.
const PIECE_BYTES: u64 = 64 << 10;
/// How much of the log one load reads at most beyond the pieces that may hold its first slot. It reads
/// so much only where small entries stand alone in their groups.
const LOAD_BYTES_MAX: u64 = 1 << 20;

/// Some groups, one after another, in one segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Piece {
    /// The segment.
    pub segment: SegmentNo,
    /// The first byte in it.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
    first: Lsn,
    chain: u32,
    min: Slot,
    max: Slot,
}

impl Piece {
    fn may_hold(&self, from: Slot, upto: Slot) -> bool {
        self.min <= upto && from <= self.max
    }
}

/// A segment's pieces, and the slots in all of them.
#[derive(Clone, Debug)]
struct Shelf {
    segment: SegmentNo,
    min: Slot,
    max: Slot,
    pieces: Vec<Piece>,
}

/// The table: about 56 bytes for each 64 KiB of log.
#[derive(Clone, Debug, Default)]
pub struct SlotIndex {
    identity: Identity,
    shelves: Vec<Shelf>,
}

/// What to read for a range of slots, and then how to find the entries in it.
#[derive(Clone, Debug)]
pub struct Plan {
    identity: Identity,
    from: Slot,
    upto: Slot,
    /// What is still to be read, by the first slot.
    pieces: VecDeque<Piece>,
    best: BTreeMap<Slot, (Option<Ballot>, Entry)>,
}

/// A group, as the table sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) segment: SegmentNo,
    /// The first byte of its first record.
    pub(super) offset: u64,
    pub(super) first: Lsn,
    pub(super) len: u64,
    /// The chain before that record.
    pub(super) chain: u32,
}

impl SlotIndex {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            identity,
            shelves: Vec::new(),
        }
    }

    /// Adds the group after the last one, which holds entries for `slots`.
    pub(super) fn add(&mut self, span: Span, slots: impl Iterator<Item = Slot>) {
        let none = (Slot::new(u64::MAX), Slot::new(0));
        let (min, max) = slots.fold(none, |(min, max), slot| (min.min(slot), max.max(slot)));
        let last = self.shelves.last_mut();
        let shelf = match last.filter(|shelf| shelf.segment == span.segment) {
            Some(shelf) => shelf,
            None => {
                self.shelves.push(Shelf::of(span.segment));
                let Some(shelf) = self.shelves.last_mut() else {
                    panic!("a shelf was added");
                };
                shelf
            }
        };
        shelf.min = shelf.min.min(min);
        shelf.max = shelf.max.max(max);
        if let Some(piece) = shelf.pieces.last_mut()
            && piece.len < PIECE_BYTES
        {
            assert!(
                piece.offset + piece.len == span.offset,
                "a group begins where the one before ends"
            );
            piece.len += span.len;
            piece.min = piece.min.min(min);
            piece.max = piece.max.max(max);
            return;
        }
        shelf.pieces.push(Piece {
            segment: span.segment,
            offset: span.offset,
            len: span.len,
            first: span.first,
            chain: span.chain,
            min,
            max,
        });
    }

    /// The first segment before `end` that holds an entry above slot `upto`; `end` if none does.
    pub(super) fn first_above(&self, upto: Slot, end: SegmentNo) -> SegmentNo {
        let mut shelves = self.shelves.iter();
        let first = shelves.find(|shelf| shelf.max > upto || shelf.segment >= end);
        first.map_or(end, |shelf| shelf.segment)
    }

    /// Forgets all segments before `first`.
    pub(super) fn forget_before(&mut self, first: SegmentNo) {
        self.shelves.retain(|shelf| shelf.segment >= first);
    }

    /// What to read for the slots from `from` to `upto`, or for the first of them if all are too
    /// much: each piece that [`Plan::next_piece`] names is handed to [`Plan::take`].
    pub fn plan(&self, from: Slot, upto: Slot) -> Plan {
        let (mut pieces, mut upto) = self.candidates(from, upto);
        pieces.sort_by_key(|piece| piece.min);
        let mut read = 0;
        let mut taken = 0;
        for piece in &pieces {
            if piece.min > from && read >= LOAD_BYTES_MAX {
                // No piece from here on holds a slot below this one's first.
                upto = piece.min.before();
                break;
            }
            read += piece.len;
            taken += 1;
        }
        pieces.truncate(taken);
        Plan {
            identity: self.identity,
            from,
            upto,
            pieces: pieces.into(),
            best: BTreeMap::new(),
        }
    }
}

impl SlotIndex {
    /// The pieces that may hold slots from `from` to `upto`, or to the slot that comes back: a long
    /// log is not walked to its end for each load.
    fn candidates(&self, from: Slot, upto: Slot) -> (Vec<Piece>, Slot) {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut upto = upto;
        for (index, shelf) in self.shelves.iter().enumerate() {
            if shelf.min > upto || from > shelf.max {
                continue;
            }
            let held = shelf.pieces.iter();
            pieces.extend(held.filter(|piece| piece.may_hold(from, upto)));
            let later = self.shelves.get(index + 1..).unwrap_or_default();
            let Some(next) = later.iter().map(|shelf| shelf.min).min() else {
                break;
            };
            let read: u64 = pieces.iter().map(|piece| piece.len).sum();
            if next > from && read >= LOAD_BYTES_MAX {
                upto = upto.min(next.before());
                break;
            }
        }
        pieces.retain(|piece| piece.may_hold(from, upto));
        (pieces, upto)
    }
}

impl Shelf {
    const fn of(segment: SegmentNo) -> Self {
        Self {
            segment,
            min: Slot::new(u64::MAX),
            max: Slot::new(0),
            pieces: Vec::new(),
        }
    }
}

impl Plan {
    /// What to read next; nothing once there is enough for an answer.
    pub fn next_piece(&mut self) -> Option<Piece> {
        let next = *self.pieces.front()?;
        // No piece from here on holds a slot below this one's first.
        let settled = next.min.before();
        if next.min > self.from && self.bytes_upto(settled) >= BATCH_BYTES_MAX {
            self.upto = self.upto.min(settled);
            self.best.retain(|slot, _| *slot <= settled);
            self.pieces.clear();
            return None;
        }
        self.pieces.pop_front()
    }

    /// Bytes of the entries in a row from the first slot asked for up to this one.
    fn bytes_upto(&self, last: Slot) -> usize {
        let mut next = self.from;
        let mut bytes = 0_usize;
        for (slot, (_, entry)) in self.best.range(self.from..=last.max(self.from)) {
            if *slot != next {
                break;
            }
            bytes = bytes.saturating_add(entry.bytes().len());
            next = next.next();
        }
        bytes
    }

    /// Looks through the `bytes` of `piece`. What is damaged in them is an error: it was right
    /// when it was written or recovered.
    pub fn take(&mut self, piece: &Piece, bytes: &[u8]) -> Result<(), Damage> {
        assert!(u64_of(bytes.len()) == piece.len, "a piece is read whole");
        let seed = self.identity.seed(piece.segment);
        let (mut at, mut chain) = (0, piece.chain);
        while at < bytes.len() {
            let damage = |slot, problem| Damage {
                segment: piece.segment,
                offset: piece.offset + u64_of(at),
                slot,
                problem,
            };
            let found = record_at(bytes, at, piece.first, seed, chain)
                .map_err(|problem| damage(None, problem))?;
            let slot = found.head.slot;
            self.consider(&found)
                .map_err(|problem| damage(Some(slot), problem))?;
            chain = found.head.chain;
            at += found.head.record_bytes();
        }
        Ok(())
    }

    fn consider(&mut self, found: &Found<'_>) -> Result<(), Problem> {
        let ballot = match found.head.kind {
            Kind::Accepted => Some(found.head.ballot),
            Kind::Decided => None,
            Kind::DecidedHint | Kind::Seal | Kind::Pad => return Ok(()),
        };
        let slot = found.head.slot;
        if slot < self.from || slot > self.upto {
            return Ok(());
        }
        let known = self.best.get(&slot);
        if known.is_some_and(|(known, _)| !outranks(ballot, *known)) {
            return Ok(());
        }
        let entry = Entry::parse(Bytes::copy_from_slice(found.payload))?;
        self.best.insert(slot, (ballot, entry));
        Ok(())
    }

    /// Entries in a row from the first slot asked for: for each slot the decided one, else that of
    /// the highest ballot. At most [`BATCH_BYTES_MAX`] bytes, or one entry. None if the log does
    /// not have the first slot.
    pub fn finish(self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut bytes = 0_usize;
        let mut next = self.from;
        for (slot, (_, entry)) in self.best {
            bytes = bytes.saturating_add(entry.bytes().len());
            if slot != next || (bytes > BATCH_BYTES_MAX && !entries.is_empty()) {
                break;
            }
            entries.push(entry);
            next = next.next();
        }
        entries
    }
}

/// Whether a record under `new` goes before one under `old`: a decided one (no ballot) before all
/// others, then the highest ballot, never the last record (rule 11).
pub(super) fn outranks(new: Option<Ballot>, old: Option<Ballot>) -> bool {
    match (new, old) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(new), Some(old)) => new > old,
    }
}

#[cfg(test)]
mod tests;
