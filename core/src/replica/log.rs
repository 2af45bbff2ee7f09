//! What was accepted, and what of it is decided.
//!
//! ```text
//!  1 ........... first ............. decided | decided+1 ............ last
//!  on disk only   the window: decided         open: accepted, and perhaps not chosen
//!                 and kept for laggards
//! ```

use super::load::Load;
use super::record::RecoveredEntry;
use crate::config::Membership;
use crate::entry::{Entry, EntryKind, Start};
use crate::ids::{Ballot, Slot};
use crate::limits::{WINDOW_BYTES_MAX, WINDOW_SLOTS_MAX};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// A value accepted for a slot above `decided`.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// The ballot; none if the value is known to be decided, behind a hole.
    pub(super) ballot: Option<Ballot>,
    pub(super) entry: Entry,
}

/// Decided entries that stay in memory for followers that lag a little.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// How many at most.
    pub slots_max: usize,
    /// Bytes of them at most.
    pub bytes_max: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            slots_max: WINDOW_SLOTS_MAX,
            bytes_max: WINDOW_BYTES_MAX,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Log {
    decided: Slot,
    bounds: Window,
    window: VecDeque<Entry>,
    window_bytes: usize,
    open: BTreeMap<Slot, Open>,
    /// The last stop-sign that was decided, until somebody takes it.
    stop: Option<Entry>,
    /// The latest leader whose start was in this log at any time.
    started: Start,
}

impl Log {
    /// What a disk remembers. Of an epoch before that of `membership`, everything up to its stop-sign
    /// is decided, and nothing above it means anything (rules 28 and 29).
    pub(super) fn new(
        membership: &Membership,
        decided: Slot,
        recovered: Vec<RecoveredEntry>,
    ) -> Self {
        let mut log = Self {
            stop: None,
            started: Start::default(),
            decided,
            bounds: Window::default(),
            window: VecDeque::new(),
            window_bytes: 0,
            open: BTreeMap::new(),
        };
        for found in recovered.into_iter().filter(|found| found.slot > decided) {
            let RecoveredEntry {
                slot,
                ballot,
                entry,
            } = found;
            let is_old = ballot.is_some_and(|ballot| ballot.epoch < membership.epoch());
            if is_old && slot > membership.base() {
                continue;
            }
            let ballot = ballot.filter(|_| !is_old);
            log.hear_start(entry.start_at(slot));
            log.open.insert(slot, Open { ballot, entry });
        }
        log.settle();
        log
    }

    pub(super) fn bound_window(&mut self, bounds: Window) {
        self.bounds = bounds;
        self.trim();
    }

    /// The oldest decided entries leave memory when there are too many.
    fn trim(&mut self) {
        let Window {
            slots_max,
            bytes_max,
        } = self.bounds;
        while self.window.len() > slots_max || self.window_bytes > bytes_max {
            let gone = self.window.pop_front();
            self.window_bytes -= gone.map_or(0, |entry| entry.bytes().len());
        }
    }

    pub(super) const fn decided(&self) -> Slot {
        self.decided
    }

    /// The last slot that something was accepted for.
    pub(super) fn last(&self) -> Slot {
        self.open
            .last_key_value()
            .map_or(self.decided, |(slot, _)| *slot)
    }

    pub(super) fn open(&self, slot: Slot) -> Option<&Open> {
        self.open.get(&slot)
    }

    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// How much is decided and still in memory, in slots and in bytes.
    pub(super) fn window_load(&self) -> (Load, Load) {
        let (slots, bytes) = (self.window.len(), self.window_bytes);
        (
            Load::of("decided slots in memory", slots, self.bounds.slots_max),
            Load::of("decided bytes in memory", bytes, self.bounds.bytes_max),
        )
    }

    pub(super) fn opens(&self) -> impl Iterator<Item = (Slot, &Open)> {
        self.open.iter().map(|(slot, open)| (*slot, open))
    }

    pub(super) fn opens_from(&self, first: Slot) -> impl Iterator<Item = (Slot, &Open)> {
        self.open.range(first..).map(|(slot, open)| (*slot, open))
    }

    pub(super) fn accept(&mut self, slot: Slot, open: Open) {
        assert!(slot > self.decided, "a decided slot has its value");
        if let Some(before) = self.open.get(&slot) {
            assert!(
                before
                    .ballot
                    .is_some_and(|ballot| Some(ballot) < open.ballot)
                    || before.entry.hash() == open.entry.hash(),
                "a slot keeps its value within a ballot, and once it is decided"
            );
            assert!(
                before.ballot <= open.ballot,
                "ballots of a slot do not go back"
            );
            if before.ballot.is_none() {
                return; // its value is settled, and reported as such
            }
        }
        self.hear_start(open.entry.start_at(slot));
        self.open.insert(slot, open);
    }

    /// The latest leader whose start this server knows from a log.
    pub(super) const fn started(&self) -> Start {
        self.started
    }

    /// A leader began in this log, or in one that it goes on from.
    pub(super) fn hear_start(&mut self, start: Option<Start>) {
        self.started = self.started.max(start.unwrap_or_default());
    }

    /// Whether `slot` has the value that the leader of `ballot` proposes there.
    pub(super) fn holds(&self, slot: Slot, ballot: Ballot) -> bool {
        self.open
            .get(&slot)
            .is_some_and(|open| open.ballot.is_none_or(|held| held == ballot))
    }

    /// Moves the decided prefix over what is known to be decided.
    pub(super) fn settle(&mut self) {
        while let Some(open) = self.open.get(&self.decided.next())
            && open.ballot.is_none()
        {
            let entry = open.entry.clone();
            self.decide(entry);
        }
    }

    /// The next slot is decided, and this is its value.
    pub(super) fn decide(&mut self, entry: Entry) {
        self.decided = self.decided.next();
        self.open.remove(&self.decided);
        if entry.kind() == EntryKind::Stop {
            self.stop = Some(entry.clone());
        }
        self.hear_start(entry.start_at(self.decided));
        self.window_bytes += entry.bytes().len();
        self.window.push_back(entry);
        self.trim();
    }

    /// Every slot up to `slot` is decided, and a snapshot stands for what was there. What this
    /// server had accepted below says nothing any more (rule 2).
    pub(super) fn jump(&mut self, slot: Slot) {
        assert!(slot > self.decided, "decided never goes back");
        self.decided = slot;
        self.open = self.open.split_off(&slot.next());
        self.window.clear();
        self.window_bytes = 0;
        self.settle();
    }

    /// The last stop-sign that was decided since this was asked.
    pub(super) fn take_stop(&mut self) -> Option<Entry> {
        self.stop.take()
    }

    /// The epoch is over: what was accepted in it and is not decided by now never will be.
    pub(super) fn void(&mut self) {
        self.open.retain(|_, open| open.ballot.is_none());
    }

    /// What was accepted above `last` was not chosen, as a quorum of promises proved.
    pub(super) fn forget_above(&mut self, last: Slot) {
        self.open
            .retain(|slot, open| *slot <= last || open.ballot.is_none());
    }

    /// Decides what was accepted under `ballot`, up to `commit`.
    ///
    /// The watermark of a leader speaks of its own proposals only: an entry accepted under an
    /// older ballot may be another value.
    pub(super) fn decide_upto(&mut self, commit: Slot, ballot: Ballot) {
        while self.decided < commit
            && self.stop.is_none()
            && self.holds(self.decided.next(), ballot)
        {
            let Some(open) = self.open.remove(&self.decided.next()) else {
                return;
            };
            self.decide(open.entry);
        }
        self.settle();
    }

    /// The first slot of the window.
    fn first(&self) -> Slot {
        let count = u64::try_from(self.window.len()).unwrap_or(u64::MAX);
        Slot::new(self.decided.get().saturating_sub(count).saturating_add(1))
    }

    pub(super) fn decided_entry(&self, slot: Slot) -> Option<&Entry> {
        let index = slot.get().checked_sub(self.first().get())?;
        self.window.get(usize::try_from(index).ok()?)
    }

    /// The value that this server would send for `slot` under a ballot that it leads.
    pub(super) fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.open
            .get(&slot)
            .map(|open| &open.entry)
            .or_else(|| self.decided_entry(slot))
    }

    /// Decided entries in a row from `from`, of at most `bytes_max` bytes, but at least one.
    pub(super) fn decided_from(&self, from: Slot, bytes_max: usize) -> Vec<Entry> {
        let mut entries = Vec::new();
        let (mut slot, mut bytes) = (from, 0);
        while let Some(entry) = self.decided_entry(slot) {
            bytes += entry.bytes().len();
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
            slot = slot.next();
        }
        entries
    }

    pub(super) fn audit(&self) -> Result<(), &'static str> {
        let first_open = self.open.first_key_value().map(|(slot, _)| *slot);
        if first_open.is_some_and(|slot| slot <= self.decided) {
            return Err("an open slot is decided");
        }
        let bytes: usize = self.window.iter().map(|entry| entry.bytes().len()).sum();
        if bytes != self.window_bytes {
            return Err("the window's bytes are miscounted");
        }
        Ok(())
    }
}
