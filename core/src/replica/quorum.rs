//! Counting promises, and proving that they were counted.
//!
//! A [`PromiseQuorum`] can only be made by `Tally::close`, so what takes one cannot run without a
//! quorum of whole promises. Nobody outside can forge it:
//!
//! ```compile_fail,E0451
//! use tenure_core::ids::{Ballot, Slot};
//! use tenure_core::replica::quorum::PromiseQuorum;
//! use tenure_core::time::Stamp;
//! let forged = PromiseQuorum {
//!     ballot: Ballot::ZERO, base: Slot::new(0), chosen: Vec::new(), stamp: Stamp::ZERO, richest: None,
//! };
//! ```

use super::message::{Message, Report, TimeHeard};
use crate::entry::{Entry, EntryKind, Start};
use crate::ids::{Ballot, NodeId, Slot};
use crate::time::Stamp;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// One part of a promise.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) first: Slot,
    pub(super) next: Option<Slot>,
    pub(super) decided: Slot,
    pub(super) heard: TimeHeard,
    pub(super) started: Start,
    pub(super) reports: Vec<Report>,
}

impl Piece {
    /// As it is told to who stands under `ballot`.
    pub(super) fn under(self, ballot: Ballot) -> Message {
        let Self {
            first,
            next,
            decided,
            heard,
            started,
            reports,
        } = self;
        Message::Promise {
            ballot,
            first,
            next,
            decided,
            heard,
            started,
            reports,
        }
    }
}

/// A promise that is being put together.
#[derive(Clone, Debug)]
struct Gathered {
    decided: Slot,
    heard: TimeHeard,
    started: Start,
    /// By the first slot of each: the first slot after it, and what it reports.
    parts: BTreeMap<Slot, (Option<Slot>, Vec<Report>)>,
    /// The first slot of which nothing is known; none once the promise is whole.
    missing: Option<Slot>,
}

impl Gathered {
    fn new(first: Slot) -> Self {
        Self {
            decided: Slot::new(0),
            heard: TimeHeard::default(),
            started: Start::default(),
            parts: BTreeMap::new(),
            missing: Some(first),
        }
    }

    /// Whether it tells something that was missing.
    fn add(&mut self, piece: Piece) -> bool {
        self.decided = self.decided.max(piece.decided);
        self.heard = self.heard.max(piece.heard);
        self.started = self.started.max(piece.started);
        let known = self.parts.get(&piece.first).map(|(next, _)| *next);
        if known.is_none_or(|known| reaches_further(piece.next, known)) {
            self.parts.insert(piece.first, (piece.next, piece.reports));
        }
        let before = self.missing;
        while let Some(missing) = self.missing {
            // What is decided there is told by saying so.
            let missing = missing.max(self.decided.next());
            let part = self.parts.range(..=missing).next_back();
            let next = part.map_or(Some(missing), |(_, (next, _))| *next);
            self.missing = next.map(|next| next.max(missing));
            if next.is_some_and(|next| next <= missing) {
                break;
            }
        }
        self.missing != before
    }

    const fn is_whole(&self) -> bool {
        self.missing.is_none()
    }
}

/// Whether a part that ends before `next` tells of more than one that ends before `than`.
fn reaches_further(next: Option<Slot>, than: Option<Slot>) -> bool {
    match (next, than) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(next), Some(than)) => next > than,
    }
}

/// Promises gathered so far for one ballot.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    ballot: Ballot,
    quorum: usize,
    first: Slot,
    promises: BTreeMap<NodeId, Gathered>,
}

impl Tally {
    /// Nobody has promised `ballot` yet. Promises are whole if they tell of every slot from `first` on:
    /// what is before is decided.
    pub(super) const fn new(ballot: Ballot, quorum: usize, first: Slot) -> Self {
        Self {
            ballot,
            quorum,
            first,
            promises: BTreeMap::new(),
        }
    }

    /// Counts a piece of the promise of `from`, and gives whether it told something that was missing. The
    /// same piece twice counts once.
    pub(super) fn count(&mut self, from: NodeId, piece: Piece) -> bool {
        let new = || Gathered::new(self.first);
        self.promises.entry(from).or_insert_with(new).add(piece)
    }

    /// The first slot of which `from` told nothing yet; none if its promise is whole.
    pub(super) fn missing(&self, from: NodeId) -> Option<Slot> {
        let promise = self.promises.get(&from);
        promise.map_or(Some(self.first), |gathered| gathered.missing)
    }

    /// What an earlier start of `from` said is no part of what its next one says: it may have lost
    /// what was not durable yet, and report something else at the same place.
    pub(super) fn forget(&mut self, from: NodeId) {
        self.promises.remove(&from);
    }

    /// Gives the evidence, or the tally back.
    pub(super) fn close(self) -> Result<PromiseQuorum, Self> {
        let whole = self
            .promises
            .values()
            .filter(|gathered| gathered.is_whole())
            .count();
        if whole < self.quorum {
            return Err(self);
        }
        let promises = self
            .promises
            .into_iter()
            .filter(|(_, gathered)| gathered.is_whole());
        Ok(PromiseQuorum::choose(self.ballot, promises.collect()))
    }
}

/// Evidence that a majority promised a ballot, and what may be proposed under it.
#[derive(Debug)]
pub struct PromiseQuorum {
    ballot: Ballot,
    base: Slot,
    chosen: Vec<Entry>,
    stamp: Stamp,
    richest: Option<NodeId>,
}

impl PromiseQuorum {
    /// Paxos Made Simple, §2.2, phase 2a: "the value of the highest-numbered proposal among the
    /// responses, or any value if the responses reported no proposals".
    ///
    /// Slots at or below the highest `decided` of any promiser are chosen already, and their
    /// promisers no longer report them: proposing there could choose a second value (rule 1, F7).
    fn choose(ballot: Ballot, promises: Vec<(NodeId, Gathered)>) -> Self {
        let richest = promises.iter().max_by_key(|(_, gathered)| gathered.decided);
        let base = richest.map_or(Slot::new(0), |(_, gathered)| gathered.decided);
        let richest = richest.map(|(node, _)| *node);
        // Time belongs to a log: a leader that was deposed since may have gone on alone, and what
        // was granted in between would lose what it was ahead.
        let heard = promises.iter().map(|(_, given)| given.heard).max();
        let mut stamp = heard.unwrap_or_default().stamp;
        let started = promises.iter().map(|(_, given)| given.started).max();
        let started = started.unwrap_or_default();
        let mut best: BTreeMap<Slot, Report> = BTreeMap::new();
        let reports = promises
            .into_iter()
            .flat_map(|(_, gathered)| gathered.parts.into_values())
            .map(|(_, reports)| reports);
        // What is reported under the own ballot is known to be decided behind a hole.
        let counts = |report: &Report| {
            report.slot > base && (report.ballot == ballot || !outlived(report, started))
        };
        for report in reports.flatten().filter(counts) {
            let known = best.get(&report.slot).map(|known| known.ballot);
            if known < Some(report.ballot) {
                best.insert(report.slot, report);
            }
        }
        let last = best.last_key_value().map_or(base, |(slot, _)| *slot);
        let mut chosen = Vec::new();
        let mut slot = base.next();
        while slot <= last {
            let entry = best.remove(&slot).map(|report| report.entry);
            let entry = entry.unwrap_or_else(|| noop(stamp));
            stamp = stamp.max(entry.stamp());
            let is_stop = entry.kind() == EntryKind::Stop;
            chosen.push(entry);
            if is_stop {
                break; // the epoch ends here: what is above is void (rule 28)
            }
            slot = slot.next();
        }
        Self {
            ballot,
            base,
            chosen,
            stamp,
            richest,
        }
    }

    /// The ballot that was promised.
    pub const fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// Everything up to here is decided, and nothing may be proposed there.
    pub const fn base(&self) -> Slot {
        self.base
    }

    /// What must be proposed from the slot after the base on.
    pub fn chosen(&self) -> &[Entry] {
        &self.chosen
    }

    /// The last slot of what must be proposed.
    pub fn last(&self) -> Slot {
        let count = u64::try_from(self.chosen.len()).unwrap_or(u64::MAX);
        Slot::new(self.base.get().saturating_add(count))
    }

    /// Agreed time has come at least this far (rule 19).
    pub const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// A promiser that has everything up to the base.
    pub const fn richest(&self) -> Option<NodeId> {
        self.richest
    }
}

/// Whether what `report` tells of was not chosen, because a later leader began below it and did not
/// find it: what was chosen under a lower ballot, its own quorum would have reported. To propose it
/// again would bring back the time of a leader that was deposed.
fn outlived(report: &Report, by: Start) -> bool {
    report.ballot < by.ballot && by.slot <= report.slot
}

fn noop(stamp: Stamp) -> Entry {
    Entry::new(EntryKind::Noop, stamp, &[])
}

/// The highest value that a quorum has reached: the `quorum`-th largest.
pub(super) fn reached<T: Copy + Ord + Default>(values: &mut [T], quorum: usize) -> T {
    values.sort_unstable_by(|a, b| b.cmp(a));
    quorum
        .checked_sub(1)
        .and_then(|index| values.get(index))
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
