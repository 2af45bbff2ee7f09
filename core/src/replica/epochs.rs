//! From one epoch to the next: who votes changes at a stop-sign (Lorch et al. 2006, §3; rules 28–30).
//!
//! ```text
//!  epoch e                                           │ epoch e+1
//!  ... 40 41 42 43=Stop{voters of e+1}               │ 44=LeaderStart 45 ...
//!               └ the leader proposes nothing above  │ └ a new instance of Paxos: ballots (e+1, …)
//! ```
//! Nothing above a chosen stop-sign can be chosen in its epoch: accepts are contiguous under a ballot,
//! so whoever is elected later finds the sign below anything that was accepted above it, proposes it
//! again, and nothing after it. What was accepted above it in its epoch is void.
//!
//! A server that knows the sign is decided votes no more in that epoch. It begins the next one when
//! everything up to the sign is durable on its own disk, and so is that it began (rule 29): its
//! superblock then holds the voters and a promise that closes the ballots of before.

use super::fitness::Space;
use super::leader::Leading;
use super::quorum::reached;
use super::{Effect, Replica, Role};
use crate::config::{Membership, Shared};
use crate::entry::{Entry, EntryKind};
use crate::ids::{Ballot, RecordNo, Slot};
use crate::limits::OPEN_SLOTS_MAX;
use crate::time::Timestamp;
use alloc::vec::Vec;
use core::time::Duration;

/// A leader that waits for the voters of the next epoch to have everything takes no proposals. It
/// gives up after this long, so that one slow disk among them stops nobody.
const PATIENCE: Duration = Duration::from_millis(500);
/// Then it serves for so long before it tries again, and twice as long after each failure.
const REST: Duration = Duration::from_secs(2);
const REST_MAX: Duration = Duration::from_secs(60);

/// An epoch that is over here, since its stop-sign is known to be decided.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    next: Membership,
    /// Everything up to the sign is in these records, or in a durable snapshot.
    records: RecordNo,
    /// This server led the epoch: it goes on leading, if it may.
    led: bool,
}

/// How far a leader is with ending its epoch.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    /// It may begin, but not before.
    NotBefore(Timestamp),
    /// It proposes nothing more, until then at the latest.
    Waits(Timestamp),
    /// The stop-sign is proposed.
    Signed,
}

impl Ending {
    /// Whether the leader proposes nothing because of it.
    pub(super) const fn holds(self) -> bool {
        matches!(self, Self::Waits(_) | Self::Signed)
    }
}

impl Leading {
    /// The next voters are not as far as they seemed.
    fn rest_from_ending(&mut self, now: Timestamp) {
        let rest = self.ending_rest.max(REST);
        self.ending = Ending::NotBefore(now.plus(rest));
        self.ending_rest = (rest * 2).min(REST_MAX);
    }
}

impl Replica {
    /// Whether this server knows that its epoch is over, and has not begun the next: it neither votes
    /// nor leads.
    pub(super) const fn is_between_epochs(&self) -> bool {
        self.turn.is_some() || self.begins.is_some()
    }

    /// The log has come so far that `shared` is in force: lets the epoch end if the voters are to
    /// change and can. Everything up to `applied` has had its effect on `shared`.
    pub fn change_voters(&mut self, shared: &Shared, applied: Slot, out: &mut Vec<Effect>) {
        let now = self.now;
        let me = self.config.me();
        let own = self
            .firm
            .upto(self.log.decided(), self.records, self.durable);
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        let is_free = leading.has_started() && leading.hand_over.is_none();
        let is_free = is_free && self.space != Space::Full;
        if !is_free || shared.epoch() != self.config.epoch() {
            return;
        }
        let last = leading.last_proposed();
        let lag_max = u64::try_from(OPEN_SLOTS_MAX).unwrap_or(u64::MAX);
        // What it acknowledges is above the base of this leader: below, it says itself how far it is. The
        // leader too may have learned something there a moment ago.
        let (peers, base) = (&self.peers, leading.base());
        let has_base = |node| {
            let peer = || peers.get(&node).map_or(Slot::new(0), |peer| peer.decided);
            let decided = if node == me { own } else { peer() };
            decided >= base
        };
        // A newcomer that never said anything has nothing, however short the log is.
        let ready = |node| {
            let has_come = leading.acked(node, me) > Slot::new(0) && has_base(node);
            has_come && leading.lag(node).is_some_and(|lag| lag <= lag_max)
        };
        let Some(next) = shared.next_membership(last.next(), ready) else {
            if matches!(leading.ending, Ending::Waits(_)) {
                leading.rest_from_ending(now);
            }
            return;
        };
        match leading.ending {
            Ending::Signed => return,
            Ending::NotBefore(at) if now < at => return,
            Ending::NotBefore(_) => leading.ending = Ending::Waits(now.plus(PATIENCE)),
            Ending::Waits(until) if now >= until => return leading.rest_from_ending(now),
            Ending::Waits(_) => {}
        }
        let has = |node| {
            if has_base(node) {
                leading.acked(node, me)
            } else {
                Slot::new(0)
            }
        };
        let mut acked: Vec<Slot> = next.seats().iter().map(|seat| has(seat.node)).collect();
        let everybody_has_all = reached(&mut acked, next.quorum()) == last
            && leading.commit() == last
            && applied == last;
        if everybody_has_all {
            self.sign(&next, out);
        }
    }

    /// Whether this leader takes no proposals because its epoch is about to end.
    pub fn is_ending(&self) -> bool {
        match &self.role {
            Role::Leading(leading) => leading.ending.holds(),
            Role::Following | Role::Polling(_) | Role::Preparing(_) => false,
        }
    }

    fn sign(&mut self, next: &Membership, out: &mut Vec<Effect>) {
        let now = self.now;
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        leading.ending = Ending::Signed;
        let stamp = leading.stamp(now);
        let entry = Entry::new(EntryKind::Stop, stamp, &[next.encode()]);
        let slot = self.propose_entry(entry, out);
        assert!(
            slot == next.base(),
            "a stop-sign names its own slot as the base of the next epoch"
        );
    }

    /// The epoch of `next` follows on what is decided here: this server votes no more in its own. What
    /// it accepted above the stop-sign is void (rule 28).
    pub(crate) fn end_epoch(&mut self, next: Membership) {
        let latest = self.turn.as_ref().map(|turn| &turn.next);
        let latest = latest.or(self.begins.as_ref());
        let epoch = latest.map_or(self.config.epoch(), Membership::epoch);
        if next.epoch() <= epoch {
            return;
        }
        assert!(
            next.base() <= self.log.decided(),
            "an epoch ends when its stop-sign is decided"
        );
        self.log.void();
        let led_before = self.turn.as_ref().is_some_and(|turn| turn.led);
        self.turn = Some(Turn {
            next,
            records: self.records,
            led: self.leads() || led_before,
        });
    }

    /// Ends the epoch if the log has come to its stop-sign.
    pub(super) fn look_for_stop(&mut self) {
        let Some(stop) = self.log.take_stop() else {
            return;
        };
        // It may be applied later, and the next epoch's time goes on from here.
        self.election.settle(stop.stamp());
        if let Some(next) = stop.next_membership() {
            self.end_epoch(next);
        }
    }

    /// Begins the next epoch once all of the one before is durable here.
    pub(super) fn turn_epoch(&mut self, out: &mut Vec<Effect>) {
        let Some(turn) = &self.turn else {
            return;
        };
        let is_durable = turn.records <= self.durable;
        match self.role {
            Role::Following => {}
            Role::Polling(_) | Role::Preparing(_) | Role::Leading(_) => self.follow(out),
        }
        if !is_durable || self.acceptor.is_writing() {
            return;
        }
        if let Some(Turn { next, led, .. }) = self.turn.take() {
            self.acceptor.begin_epoch(&next, out);
            self.goes_on_leading = led;
            self.begins = Some(next);
        }
    }

    /// The superblock says that the epoch began.
    pub(super) fn epoch_begun(&mut self, out: &mut Vec<Effect>) {
        let Some(next) = self.begins.take() else {
            return;
        };
        let leader = self.election.freshest().ballot.node;
        self.config.go_by(next);
        self.acceptor.go_to(self.config.epoch());
        self.meet_peers();
        for peer in self.peers.values_mut() {
            peer.confirmed = 0;
            peer.promised = Ballot::ZERO;
        }
        // Whoever led goes on, if it may; else nobody needs to be waited for.
        let goes_on = self.config.may_lead(leader);
        let epoch = self.config.epoch();
        self.election.begin_epoch(epoch, self.now, goes_on);
        self.tell_leader(out);
        let leads_on = core::mem::take(&mut self.goes_on_leading);
        if leads_on && self.may_stand() && !self.is_between_epochs() {
            self.stand(out);
        }
    }
}

#[cfg(test)]
mod tests;
