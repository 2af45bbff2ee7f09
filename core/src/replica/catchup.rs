//! Getting decided entries that were missed, and giving them to who missed them.

use super::message::Message;
use super::record::Record;
use super::{Effect, Replica, Until};
use crate::entry::Entry;
use crate::ids::{Ballot, NodeId, Slot};
use crate::limits::PING_INTERVAL;
use crate::time::Timestamp;
use alloc::vec::Vec;
use core::time::Duration;

/// The log is behind what was heard of for this long before somebody is asked: mostly the missing
/// entries are on their way already.
const BEHIND: Duration = PING_INTERVAL;

#[derive(Clone, Debug)]
pub(super) struct CatchUp {
    /// The highest slot that anybody said is decided, and who said so.
    known: Slot,
    source: Option<NodeId>,
    /// Who is no peer as far as this server knows, and said last that it has more.
    stranger: Option<NodeId>,
    /// Where the log stood when it was last looked at, and since when.
    decided: Slot,
    since: Timestamp,
}

impl CatchUp {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self {
            known: Slot::new(0),
            source: None,
            stranger: None,
            decided: Slot::new(0),
            since: now,
        }
    }

    pub(super) fn learn(&mut self, from: NodeId, decided: Slot) {
        if decided > self.known {
            self.known = decided;
            self.source = Some(from);
        }
    }
}

impl Replica {
    pub(super) fn tick_catchup(&mut self, out: &mut Vec<Effect>) {
        let decided = self.log.decided();
        if self.awaits_snapshot() || self.is_full() {
            self.catchup.since = self.now;
        }
        if decided != self.catchup.decided || self.catchup.known <= decided {
            self.catchup.decided = decided;
            self.catchup.since = self.now;
        } else if self.now.since(self.catchup.since) >= BEHIND {
            self.catchup.since = self.now;
            self.ask_catch_up(out);
        }
    }

    pub(super) fn catchup_wake_at(&self) -> Option<Timestamp> {
        let is_behind = self.catchup.known > self.log.decided() && !self.awaits_snapshot();
        is_behind.then(|| self.catchup.since.plus(BEHIND))
    }

    /// Asks somebody who has more; another one each time, since the first may be gone.
    fn ask_catch_up(&mut self, out: &mut Vec<Effect>) {
        let from = self.log.decided().next();
        let known = self.catchup.source.take();
        let others = || self.config.peers().chain(self.catchup.stranger);
        let count = u64::try_from(others().count()).unwrap_or(u64::MAX);
        let turn = self.rng.next().checked_rem(count);
        let index = turn.and_then(|index| usize::try_from(index).ok());
        let anybody = others().nth(index.unwrap_or_default());
        if let Some(to) = known.or(anybody) {
            let message = Message::CatchUp { from };
            out.push(Effect::Send {
                to,
                message,
                until: Until::Now,
            });
        }
    }

    pub(super) fn on_catch_up(&mut self, from: NodeId, first: Slot, out: &mut Vec<Effect>) {
        if first > self.log.decided() || first == Slot::new(0) {
            return;
        }
        self.hold_log(from, first);
        let peer = from;
        out.push(Effect::Load { peer, from: first });
    }

    /// Decided entries from `first` on that are still in memory, as many as one message takes.
    pub fn decided_from(&self, first: Slot) -> Vec<Entry> {
        self.log.decided_from(first, self.bounds.batch_bytes)
    }

    /// Sends decided entries to `peer`, which asked for them.
    pub fn give_decided(
        &self,
        peer: NodeId,
        first: Slot,
        entries: Vec<Entry>,
        out: &mut Vec<Effect>,
    ) {
        let message = Message::Decided {
            first,
            entries,
            decided: self.log.decided(),
        };
        out.push(Effect::Send {
            to: peer,
            message,
            until: Until::Now,
        });
    }

    pub(super) fn on_decided(
        &mut self,
        from: NodeId,
        first: Slot,
        entries: Vec<Entry>,
        decided: Slot,
        out: &mut Vec<Effect>,
    ) {
        self.catchup.learn(from, decided);
        if self.is_full() {
            return; // what is learned is recorded first, and there is no room for that
        }
        let before = self.log.decided();
        let mut slot = first;
        for entry in entries {
            if slot == self.log.decided().next() {
                if slot > self.commit() && self.leads() {
                    // Decided, and not by this leader: another one was elected. To go on would be
                    // to send that value under a ballot that proposed a different one.
                    self.follow(out);
                }
                self.learn_decided(slot, entry, out);
            }
            slot = slot.next();
        }
        self.look_for_stop();
        if self.log.decided() > before {
            self.say_caught_up(out);
            if self.catchup.known > self.log.decided() {
                let message = Message::CatchUp {
                    from: self.log.decided().next(),
                };
                out.push(Effect::Send {
                    to: from,
                    message,
                    until: Until::Now,
                });
            }
        }
    }

    /// A word of a server that this one does not know. If its number is of a change that was not heard
    /// of here, it may be the only one left to learn that change from, for who was away for long; so
    /// what is decided is taken from it, and nothing else.
    pub(super) fn on_stranger(&mut self, from: NodeId, message: Message, out: &mut Vec<Effect>) {
        if from <= self.config.shared().node_last() {
            return;
        }
        match message {
            Message::Ping { decided, .. } => {
                self.catchup.learn(from, decided);
                let has_more = decided > self.log.decided();
                self.catchup.stranger = has_more.then_some(from);
            }
            Message::Decided { .. }
            | Message::SnapshotOffer { .. }
            | Message::SnapshotChunk { .. } => self.dispatch(from, message, out),
            Message::Pong { .. }
            | Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::Prepare { .. }
            | Message::Promise { .. }
            | Message::Accept { .. }
            | Message::Accepted { .. }
            | Message::Nack { .. }
            | Message::CatchUp { .. }
            | Message::SnapshotGet { .. }
            | Message::SnapshotWish { .. }
            | Message::ReadIndex { .. }
            | Message::ReadAt { .. }
            | Message::Forward { .. }
            | Message::Refuse { .. }
            | Message::HandOver { .. }
            | Message::TakeOver { .. }
            | Message::Outranked { .. } => {}
        }
    }

    /// A decided entry is recorded as such, never as an accept (rule 11): its ballot is not known.
    /// Nothing is recorded if the log holds this very value already.
    fn learn_decided(&mut self, slot: Slot, entry: Entry, out: &mut Vec<Effect>) {
        self.election.settle(entry.stamp());
        let is_held = self
            .log
            .open(slot)
            .is_some_and(|open| open.entry.hash() == entry.hash());
        if !is_held {
            let record = self.append(
                Record::Decided {
                    slot,
                    entry: entry.clone(),
                },
                out,
            );
            self.acceptor.wrote(record);
        }
        self.log.decide(entry);
        self.log.settle();
    }

    /// Decides what was accepted under `ballot` up to `commit`.
    pub(super) fn decide_upto(&mut self, commit: Slot, ballot: Ballot) {
        self.log.decide_upto(commit, ballot);
        self.look_for_stop();
    }
}
