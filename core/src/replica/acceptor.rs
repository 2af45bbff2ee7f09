//! Promises and accepts: Paxos Made Simple, §2.2, phases 1b and 2b.
//!
//! The promise has one home, the superblock, and is durable there before any record of its ballot
//! is written (rule 3): no durable record ever carries a ballot above it.

use super::log::{Log, Open};
use super::message::{Message, Report};
use super::quorum::Piece;
use super::record::Record;
use super::{Effect, Replica, Role, Until};
use crate::config::Membership;
use crate::entry::Entry;
use crate::ids::{Ballot, Epoch, NodeId, RecordNo, Slot};
use crate::limits::RANK_DELAY;
use crate::time::Timestamp;
use alloc::vec::Vec;

/// Decided slots after which the log is told: a restart reads at most so many as undecided.
const HINT_SLOTS: u64 = 256;

/// Bytes of the first part of a promise: it comes before the patience of voters ends, 150 ms, on a link of
/// 1 Mbit/s. Each further one may be half as long again, for who stands waits twice as long for it.
const FIRST_PART_BYTES: usize = 16 << 10;

/// The part of a promise that was told last.
#[derive(Clone, Copy, Debug)]
struct Told {
    ballot: Ballot,
    first: Slot,
    bytes_max: usize,
}

/// The head of an accept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accept {
    pub(super) ballot: Ballot,
    pub(super) base: Slot,
    pub(super) first: Slot,
    pub(super) commit: Slot,
}

/// How far the log is accepted under one ballot, without a hole above its base.
#[derive(Clone, Copy, Debug, Default)]
struct Frontier {
    ballot: Ballot,
    base: Slot,
    upto: Slot,
}

#[derive(Clone, Debug)]
pub(super) struct Acceptor {
    promised: Ballot,
    durable: Ballot,
    frontier: Frontier,
    /// The last record that an `Accepted` may speak of.
    record: RecordNo,
    /// The highest ballot of this epoch heard of: a new one must be above it to be of use.
    seen: Ballot,
    epoch: Epoch,
    nacked: Option<(Slot, Timestamp)>,
    told: Option<Told>,
    /// The last `DecidedHint` of this boot.
    hinted: Slot,
}

impl Acceptor {
    pub(super) const fn new(promised: Ballot, epoch: Epoch) -> Self {
        Self {
            epoch,
            promised,
            durable: promised,
            frontier: Frontier {
                ballot: Ballot::ZERO,
                base: Slot::new(0),
                upto: Slot::new(0),
            },
            record: RecordNo::new(0),
            seen: promised,
            nacked: None,
            told: None,
            hinted: Slot::new(0),
        }
    }

    pub(super) const fn promised(&self) -> Ballot {
        self.promised
    }

    pub(super) fn seen(&self) -> Ballot {
        self.seen.max(self.promised)
    }

    /// A ballot of a later epoch is none to stand above in this one.
    pub(super) fn see(&mut self, ballot: Ballot) {
        if ballot.epoch <= self.epoch {
            self.seen = self.seen.max(ballot);
        }
    }

    pub(super) const fn go_to(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    pub(super) fn wrote(&mut self, record: RecordNo) {
        self.record = self.record.max(record);
    }

    /// Whether a superblock write is under way; the next one waits for it (rule 4).
    pub(super) fn is_writing(&self) -> bool {
        self.durable != self.promised
    }

    /// How long the part of a promise from `first` on may be. One that is asked for again is as long as it
    /// was.
    fn part_bytes(&mut self, ballot: Ballot, first: Slot) -> usize {
        let before = self.told.filter(|told| told.ballot == ballot);
        let bytes_max = before.map_or(FIRST_PART_BYTES, |told| {
            let is_next = first > told.first;
            let more = if is_next { told.bytes_max / 2 } else { 0 };
            told.bytes_max.saturating_add(more)
        });
        self.told = Some(Told {
            ballot,
            first,
            bytes_max,
        });
        bytes_max
    }

    /// Closes every ballot below `ballot`; durable once [`Effect::Promise`] is done.
    pub(super) fn promise(&mut self, ballot: Ballot, out: &mut Vec<Effect>) {
        assert!(ballot > self.promised, "promises only grow");
        assert!(!self.is_writing(), "one superblock write at a time");
        self.promised = ballot;
        let membership = None;
        out.push(Effect::Promise { ballot, membership });
    }

    /// Closes every ballot of the epochs before that of `next`.
    pub(super) fn begin_epoch(&mut self, next: &Membership, out: &mut Vec<Effect>) {
        let ballot = Ballot::opening(next.epoch());
        assert!(ballot > self.promised, "epochs go forward");
        assert!(!self.is_writing(), "one superblock write at a time");
        self.promised = ballot;
        let membership = Some(next.clone());
        out.push(Effect::Promise { ballot, membership });
    }

    pub(super) fn audit(&self, log: &Log) -> Result<(), &'static str> {
        if self.durable > self.promised {
            return Err("a promise is durable that was not made");
        }
        if log
            .opens()
            .any(|(_, open)| open.ballot > Some(self.durable))
        {
            return Err("something is accepted above the durable promise");
        }
        Ok(())
    }
}

impl Replica {
    /// The superblock with this promise is durable.
    pub fn on_promise_durable(&mut self, now: Timestamp, ballot: Ballot, out: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        assert!(
            ballot == self.acceptor.promised,
            "the promise that was asked for is durable"
        );
        self.acceptor.durable = ballot;
        if self.begins.is_some() {
            return self.epoch_begun(out);
        }
        self.election.promise_ended(self.now);
        if let Role::Preparing(preparing) = &self.role
            && preparing.ballot() == ballot
        {
            if !self.is_between_epochs() {
                self.prepare(out);
            }
        } else if ballot.node != self.config.me() {
            // Its leader may have sent accepts that came too early to be written.
            self.nack(ballot.node, ballot, self.log.decided().next(), out);
        }
    }

    pub(super) fn on_prepare(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        (first, goes_on): (Option<Slot>, bool),
        out: &mut Vec<Effect>,
    ) {
        // A later epoch is caught up with, never promised to (rule 28).
        let is_ours = ballot.node == from && ballot.epoch == self.config.epoch();
        if !is_ours || self.is_between_epochs() || !self.config.votes(self.config.me()) {
            return;
        }
        self.acceptor.see(ballot);
        if ballot < self.acceptor.promised {
            return self.nack(from, ballot, self.log.decided().next(), out);
        }
        let is_new = ballot > self.acceptor.promised;
        if self.acceptor.is_writing() {
            return; // the candidate asks again (rule 4), or is answered once the promise is durable
        }
        if is_new {
            self.acceptor.promise(ballot, out);
            self.election.promise_began(self.now);
            self.follow(out);
        }
        if is_new || goes_on {
            self.election.wait_for_candidate(self.now);
            if matches!(self.role, Role::Polling(_)) {
                self.follow(out);
            }
        }
        if let Some(first) = first {
            let bytes_max = self.acceptor.part_bytes(ballot, first);
            let bytes_max = bytes_max.min(self.bounds.batch_bytes);
            let message = self.promise_part(first, bytes_max).under(ballot);
            out.push(Effect::Send {
                to: from,
                message,
                until: Until::Promise(ballot),
            });
        }
    }

    /// 1b, from a slot on: as much as fits a frame, the candidate asks for the next part. Each part tells
    /// of all slots of its own, so it holds beside parts that were told before or after something else
    /// was decided. What is decided is not reported (rule 2).
    pub(super) fn promise_part(&self, from: Slot, bytes_max: usize) -> Piece {
        let first = from.max(self.log.decided().next());
        let (mut reports, mut bytes, mut next) = (Vec::new(), 0, None);
        for (slot, open) in self.log.opens_from(first) {
            bytes += open.entry.bytes().len();
            if bytes > bytes_max && !reports.is_empty() {
                next = Some(slot);
                break;
            }
            // What is decided outranks whatever else was accepted for its slot.
            let ballot = open.ballot.unwrap_or(self.acceptor.promised);
            reports.push(Report {
                slot,
                ballot,
                entry: open.entry.clone(),
            });
        }
        Piece {
            first,
            next,
            decided: self.log.decided(),
            heard: self.election.heard(),
            started: self.log.started(),
            reports,
        }
    }

    pub(super) fn on_accept(
        &mut self,
        from: NodeId,
        accept: Accept,
        entries: Vec<Entry>,
        out: &mut Vec<Effect>,
    ) {
        let ballot = accept.ballot;
        if ballot.epoch > self.config.epoch() {
            self.catchup.learn(from, accept.commit);
        }
        let is_ours = ballot.node == from && ballot.epoch == self.config.epoch();
        if !is_ours || self.is_between_epochs() {
            return;
        }
        self.acceptor.see(ballot);
        if ballot < self.acceptor.promised {
            return self.nack(from, ballot, self.log.decided().next(), out);
        }
        if !self.has_promised(ballot, out) {
            return; // asked for again once the promise is durable
        }
        self.catchup.learn(from, accept.commit);
        if self.is_full() {
            return; // as if it were lost: it comes again once there is room
        }
        self.meet_frontier(ballot, accept.base, out);
        let upto_before = self.acceptor.frontier.upto;
        if accept.first > upto_before.next() {
            return self.nack(from, ballot, upto_before.next(), out);
        }
        let is_empty = entries.is_empty();
        if !self.accept_all(accept, entries, out) {
            return;
        }
        self.decide_upto(accept.commit, ballot);
        if !is_empty {
            self.say_accepted(out);
        }
    }

    /// An accept of a ballot that was never prepared here is a prepare first.
    fn has_promised(&mut self, ballot: Ballot, out: &mut Vec<Effect>) -> bool {
        if ballot > self.acceptor.promised && !self.acceptor.is_writing() {
            self.acceptor.promise(ballot, out);
            self.follow(out);
        }
        ballot == self.acceptor.durable
    }

    /// Starts or moves the frontier: decided slots count as accepted at any ballot (rule 2), and
    /// so does what was recovered from the log under this very ballot.
    ///
    /// A frontier that moves by what is decided is acknowledged on the strength of that, so the log
    /// must remember it: after a restart the server would else seem to have lost what it said.
    fn meet_frontier(&mut self, ballot: Ballot, base: Slot, out: &mut Vec<Effect>) {
        if self.acceptor.frontier.ballot != ballot {
            self.acceptor.frontier = Frontier {
                ballot,
                base,
                upto: base,
            };
        }
        if self.acceptor.frontier.upto < self.log.decided() {
            self.hint(out);
        }
        let frontier = &mut self.acceptor.frontier;
        frontier.upto = frontier.upto.max(self.log.decided());
        while self.log.holds(frontier.upto.next(), ballot) {
            frontier.upto = frontier.upto.next();
        }
    }

    /// Accepts what is new in a row; false if the ballot has a second value for a slot, or is over.
    fn accept_all(&mut self, accept: Accept, entries: Vec<Entry>, out: &mut Vec<Effect>) -> bool {
        let mut slot = accept.first;
        for entry in entries {
            if !is_sign_of(accept.ballot, slot, &entry) {
                return false;
            }
            if slot > self.acceptor.frontier.upto {
                if !self.has_room_for(slot) {
                    break; // the leader sends it again when something below is decided
                }
                self.accept(accept.ballot, accept.base, slot, entry, out);
                self.acceptor.frontier.upto = slot;
            } else if self.contradicts(accept.ballot, slot, &entry) {
                out.push(Effect::TwoValues {
                    slot,
                    ballot: accept.ballot,
                });
                return false;
            } else if self.is_decided_otherwise(slot, &entry) {
                // A later ballot chose another value, and this server learned it without having
                // promised that ballot: the sender no longer leads, and is owed no word.
                return false;
            }
            slot = slot.next();
        }
        true
    }

    /// Whether another slot may be open. One that is takes no more room, and the first that is not
    /// decided is always taken: else what many leaders left open, each its first entry at least,
    /// would keep every later one from deciding anything.
    fn has_room_for(&self, slot: Slot) -> bool {
        slot == self.log.decided().next()
            || self.log.open(slot).is_some()
            || self.log.open_count() < 2 * self.bounds.open_slots
    }

    /// 2b. The caller has checked the promise, and that nothing is missing before `slot`.
    pub(super) fn accept(
        &mut self,
        ballot: Ballot,
        base: Slot,
        slot: Slot,
        entry: Entry,
        out: &mut Vec<Effect>,
    ) -> RecordNo {
        assert!(
            ballot == self.acceptor.durable,
            "the promise is durable before its first accept"
        );
        assert!(slot > base, "nothing is proposed at or below the base");
        if self.log.decided().get() >= self.acceptor.hinted.get() + HINT_SLOTS {
            self.hint(out);
        }
        let record = Record::Accepted {
            ballot,
            base,
            slot,
            entry: entry.clone(),
        };
        let record = self.append(record, out);
        self.acceptor.wrote(record);
        self.election.accepted(ballot, entry.stamp());
        self.log.accept(
            slot,
            Open {
                ballot: Some(ballot),
                entry,
            },
        );
        record
    }

    /// Tells the log how far it is decided: that is where a restart begins to vote from, and what
    /// makes an acknowledgement of decided slots survive one.
    fn hint(&mut self, out: &mut Vec<Effect>) {
        let upto = self.log.decided();
        if upto > self.acceptor.hinted {
            self.acceptor.hinted = upto;
            let record = self.append(Record::DecidedHint { upto }, out);
            self.acceptor.wrote(record);
        }
    }

    fn contradicts(&self, ballot: Ballot, slot: Slot, entry: &Entry) -> bool {
        let open = self.log.open(slot);
        let held = open.filter(|open| open.ballot == Some(ballot));
        held.is_some_and(|held| held.entry.hash() != entry.hash())
    }

    fn is_decided_otherwise(&self, slot: Slot, entry: &Entry) -> bool {
        let known_open = self.log.open(slot).filter(|open| open.ballot.is_none());
        let known = known_open
            .map(|open| &open.entry)
            .or_else(|| self.log.decided_entry(slot));
        known.is_some_and(|known| known.hash() != entry.hash())
    }

    pub(super) fn say_accepted(&mut self, out: &mut Vec<Effect>) {
        let Frontier { ballot, upto, .. } = self.acceptor.frontier;
        if ballot == self.acceptor.promised && ballot.node != self.config.me() {
            let until = Until::Record(self.acceptor.record);
            let message = Message::Accepted { ballot, upto };
            out.push(Effect::Send {
                to: ballot.node,
                message,
                until,
            });
        }
    }

    /// What was learned may have moved the frontier: the leader waits to hear it.
    pub(super) fn say_caught_up(&mut self, out: &mut Vec<Effect>) {
        let Frontier { ballot, base, .. } = self.acceptor.frontier;
        let is_ours = ballot == self.acceptor.durable && ballot != Ballot::ZERO;
        if is_ours && !self.is_between_epochs() {
            self.meet_frontier(ballot, base, out);
            self.say_accepted(out);
        }
    }

    /// Refuses, at most once a while for the same reason: one lost frame makes many gaps.
    fn nack(&mut self, to: NodeId, ballot: Ballot, want: Slot, out: &mut Vec<Effect>) {
        let promised = self.acceptor.promised;
        let recent = self.acceptor.nacked.is_some_and(|(slot, at)| {
            slot == want && ballot == promised && self.now.since(at) < RANK_DELAY
        });
        if !recent && to != self.config.me() {
            self.acceptor.nacked = Some((want, self.now));
            let message = Message::Nack {
                ballot,
                promised,
                want,
            };
            out.push(Effect::Send {
                to,
                message,
                until: Until::Promise(promised),
            });
        }
    }
}

/// Whether a stop-sign, if it is one, ends this epoch here: another one would be a bug of its leader's
/// that no restart gets over.
fn is_sign_of(ballot: Ballot, slot: Slot, entry: &Entry) -> bool {
    let next = entry.next_membership();
    next.is_none_or(|next| next.base() == slot && next.epoch() == ballot.epoch.next())
}

#[cfg(test)]
mod tests;
