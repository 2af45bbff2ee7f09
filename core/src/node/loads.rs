//! Reading the disk, for this server itself and for peers that catch up.
//!
//! One read of the log and one of a snapshot are under way at a time. What peers get is bounded in
//! bytes a second: catching up must not take from live traffic what that needs.

use super::Node;
use super::output::{Halt, Output};
use crate::entry::Entry;
use crate::ids::{NodeId, RecordNo, Slot, SnapshotId};
use crate::limits::{CATCHUP_BYTES_MAX, CATCHUP_BYTES_PER_SECOND, SNAPSHOT_WINDOW};
use crate::replica::Effect;
use crate::time::Timestamp;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// For whom a piece of the log is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reader {
    /// This server, which applies its own log after a restart.
    Own,
    /// A follower that catches up.
    Peer(NodeId),
}

/// What a peer asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wish {
    /// Decided entries from this slot on.
    Entries(Slot),
    /// This chunk of this snapshot.
    Chunk(SnapshotId, u32),
}

/// How fast peers are served: a bucket of bytes that time fills.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// What time adds.
    pub bytes_per_second: u64,
    /// What the bucket holds.
    pub bytes_max: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bytes_per_second: CATCHUP_BYTES_PER_SECOND,
            bytes_max: CATCHUP_BYTES_MAX,
        }
    }
}

/// How far the log on the disk is to be believed. A slot may be decided here with a value whose record
/// is still on its way there, and the log may hold another one for it, that was never chosen.
#[derive(Debug)]
struct Settled {
    /// Every slot up to here is decided, with what the log holds for it.
    upto: Slot,
    /// When this record is durable, so is what is decided up to this slot.
    next: Option<(RecordNo, Slot)>,
}

impl Settled {
    fn advance(&mut self, decided: Slot, (last, durable): (RecordNo, RecordNo)) {
        if let Some((record, slot)) = self.next
            && record <= durable
        {
            self.upto = slot;
            self.next = None;
        }
        if self.next.is_none() && decided > self.upto {
            if last == durable {
                self.upto = decided;
            } else {
                self.next = Some((last, decided));
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Loads {
    budget: Budget,
    /// Bytes that were given and that time has not made good yet.
    spent: u64,
    spent_at: Timestamp,
    /// What the log is being read for.
    reading: Option<(Reader, Slot)>,
    /// Which chunk is being read, and for whom.
    chunk: Option<(NodeId, SnapshotId, u32)>,
    own: Option<Slot>,
    settled: Settled,
    /// In their order; of each peer one wish for entries and a window of chunks.
    wishes: VecDeque<(NodeId, Wish)>,
}

impl Loads {
    pub(super) fn new(budget: Budget, decided: Slot, now: Timestamp) -> Self {
        Self {
            budget,
            spent: 0,
            spent_at: now,
            reading: None,
            chunk: None,
            own: None,
            settled: Settled {
                upto: decided,
                next: None,
            },
            wishes: VecDeque::new(),
        }
    }

    pub(super) fn wishes(&self) -> usize {
        self.wishes.len()
    }

    /// A peer that asks again wants the later piece only.
    pub(super) fn want_entries(&mut self, peer: NodeId, from: Slot) {
        let is_older = |wish: &(NodeId, Wish)| wish.0 == peer && matches!(wish.1, Wish::Entries(_));
        self.wishes.retain(|wish| !is_older(wish));
        self.wishes.push_back((peer, Wish::Entries(from)));
    }

    /// Beyond its window a peer gets no answer, and asks again.
    pub(super) fn want_chunk(&mut self, peer: NodeId, id: SnapshotId, index: u32) {
        let wish = (peer, Wish::Chunk(id, index));
        let chunks = self.wishes.iter().filter(|known| known.0 == peer).count();
        let window = usize::try_from(SNAPSHOT_WINDOW).unwrap_or(usize::MAX);
        if chunks <= window && !self.wishes.contains(&wish) {
            self.wishes.push_back(wish);
        }
    }

    /// Time has made good what it could.
    fn refill(&mut self, now: Timestamp) {
        let elapsed = now.since(self.spent_at).as_nanos();
        let refill = elapsed.saturating_mul(u128::from(self.budget.bytes_per_second)) / NANOS;
        let Ok(refill) = u64::try_from(refill) else {
            self.spent = 0;
            self.spent_at = now;
            return;
        };
        // What is less than a byte is not lost: the clock waits for it.
        if refill > 0 {
            self.spent = self.spent.saturating_sub(refill);
            self.spent_at = now;
        }
    }

    fn may_give(&mut self, now: Timestamp) -> bool {
        self.refill(now);
        self.spent < self.budget.bytes_max
    }

    fn spend(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.spent = self.spent.saturating_add(bytes);
    }

    /// The next wish that no read under way stands before.
    fn next_wish(&mut self) -> Option<(NodeId, Wish)> {
        let at = self
            .wishes
            .iter()
            .position(|(_, wish)| self.is_free(wish))?;
        self.wishes.remove(at)
    }

    const fn is_free(&self, wish: &Wish) -> bool {
        match wish {
            Wish::Entries(_) => self.reading.is_none(),
            Wish::Chunk(..) => self.chunk.is_none(),
        }
    }

    /// When the bucket has something again, if somebody waits for that.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        self.wishes.iter().find(|(_, wish)| self.is_free(wish))?;
        let excess = self
            .spent
            .saturating_add(1)
            .saturating_sub(self.budget.bytes_max);
        let rate = u128::from(self.budget.bytes_per_second.max(1));
        let wait = u128::from(excess).saturating_mul(NANOS).div_ceil(rate);
        let wait = Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX));
        Some(self.spent_at.plus(wait))
    }
}

const NANOS: u128 = 1_000_000_000;

impl Node {
    /// This server needs its own log from `from` on: before all others.
    pub(super) fn load_own(&mut self, from: Slot) {
        if !matches!(self.loads.reading, Some((Reader::Own, _))) {
            self.loads.own = Some(from);
        }
    }

    /// Begins what reads may begin now.
    pub(super) fn start_loads(&mut self, effects: &mut Vec<Effect>, out: &mut Vec<Output>) {
        let (decided, records) = (self.replica.decided(), self.replica.records());
        self.loads.settled.advance(decided, records);
        let settled = self.loads.settled.upto;
        if self.loads.reading.is_none()
            && let Some(from) = self.loads.own.take_if(|from| *from <= settled)
        {
            self.read_log(Reader::Own, from, out);
        }
        while !self.loads.wishes.is_empty()
            && self.loads.may_give(self.now)
            && let Some((peer, wish)) = self.loads.next_wish()
        {
            match wish {
                Wish::Entries(from) => self.give_entries(peer, from, effects, out),
                Wish::Chunk(id, index) => {
                    self.loads.chunk = Some((peer, id, index));
                    out.push(Output::LoadChunk { id, index });
                }
            }
        }
    }

    fn read_log(&mut self, reader: Reader, from: Slot, out: &mut Vec<Output>) {
        self.loads.reading = Some((reader, from));
        let upto = self.loads.settled.upto;
        out.push(Output::Load { from, upto });
    }

    /// From memory, from the log, or a snapshot instead.
    fn give_entries(
        &mut self,
        peer: NodeId,
        from: Slot,
        effects: &mut Vec<Effect>,
        out: &mut Vec<Output>,
    ) {
        let entries = self.replica.decided_from(from);
        if !entries.is_empty() {
            self.give(peer, from, entries, effects);
        } else if from <= self.snapshots.floor() {
            self.replica.offer_snapshot(peer, from, effects);
        } else if from <= self.loads.settled.upto {
            self.read_log(Reader::Peer(peer), from, out);
        }
    }

    fn give(&mut self, peer: NodeId, first: Slot, entries: Vec<Entry>, effects: &mut Vec<Effect>) {
        let bytes = entries.iter().map(|entry| entry.bytes().len()).sum();
        self.loads.spend(bytes);
        self.replica.give_decided(peer, first, entries, effects);
    }

    pub(super) fn loaded(
        &mut self,
        first: Slot,
        entries: Vec<Entry>,
        effects: &mut Vec<Effect>,
        out: &mut Vec<Output>,
    ) {
        let Some((reader, from)) = self.loads.reading.take() else {
            return;
        };
        assert!(first == from, "the log answers what it was asked");
        match reader {
            Reader::Peer(peer) => {
                // An install may have come between: the log below it says nothing any more.
                if entries.is_empty() || first <= self.snapshots.floor() {
                    self.replica.offer_snapshot(peer, first, effects);
                } else {
                    self.give(peer, first, entries, effects);
                }
            }
            Reader::Own => self.apply_loaded(first, entries, effects, out),
        }
    }

    fn apply_loaded(
        &mut self,
        first: Slot,
        entries: Vec<Entry>,
        effects: &mut Vec<Effect>,
        out: &mut Vec<Output>,
    ) {
        if first <= self.machine.applied() {
            return; // a snapshot was installed meanwhile
        }
        if entries.is_empty() {
            return self.halt(Halt::Unreadable { slot: first }, out);
        }
        let mut slot = first;
        for entry in entries {
            if slot == self.machine.applied().next() && slot <= self.replica.decided() {
                self.apply(slot, &entry, effects, out);
            }
            slot = slot.next();
        }
    }

    pub(super) fn chunk_loaded(
        &mut self,
        id: SnapshotId,
        index: u32,
        bytes: Option<Bytes>,
        effects: &mut Vec<Effect>,
    ) {
        let Some((peer, asked, number)) = self.loads.chunk.take() else {
            return;
        };
        assert!(
            (asked, number) == (id, index),
            "the disk answers what it was asked"
        );
        self.loads.spend(bytes.as_ref().map_or(0, Bytes::len));
        if bytes.is_none() {
            self.snapshot_lost(id);
        }
        self.replica.give_chunk(peer, (id, index), bytes, effects);
    }
}
