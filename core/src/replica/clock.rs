//! Agreed time, as a leader advances it (rules 19 to 21).
//!
//! Two laws. It never runs faster than the leader's own clock: it is added up from small steps of
//! that clock, so time that was lost is lost, and never made up for at the cost of somebody's lease.
//! And it never runs ahead of the lower median of all clocks, the leader's and the voters': one wrong
//! clock is outvoted, the leader's by the voters', a voter's by the others'.
//!
//! A majority answers a round before the rest does. So that a single voter that is quick does not
//! speak for all, each voter that answered lately counts, by what it said last and what the leader's
//! clock went since.

use crate::ids::NodeId;
use crate::limits::ELECTION_TIMEOUT;
use crate::time::{Stamp, Timestamp};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

/// A voter whose clock is behind by so much was outvoted for long. It begins anew, or time would
/// stand still for as long once it is the only one that answers.
const BEHIND: Duration = Duration::from_secs(1);

/// A voter's clock, as it was heard in this leadership.
#[derive(Clone, Copy, Debug)]
struct Voter {
    /// What it said when agreed time was `anchor`.
    anchor_ns: u64,
    anchor: Stamp,
    /// What it said last, in answer to a ping of that time by the leader's clock.
    clock_ns: u64,
    asked: Timestamp,
}

impl Voter {
    /// How far agreed time has come by this clock.
    fn says(&self, now: Timestamp) -> Stamp {
        let passed = Duration::from_nanos(self.clock_ns.saturating_sub(self.anchor_ns));
        self.anchor.plus(passed).plus(now.since(self.asked))
    }

    /// What it shows is `value` from now on.
    fn begin_anew(&mut self, value: Stamp, now: Timestamp) {
        let since = now.since(self.asked);
        self.anchor_ns = self.clock_ns;
        self.anchor = Stamp::ZERO.plus(value.since(Stamp::ZERO).saturating_sub(since));
    }

    fn is_heard(&self, now: Timestamp) -> bool {
        now.since(self.asked) <= ELECTION_TIMEOUT
    }
}

#[derive(Clone, Debug)]
pub(super) struct AgreedClock {
    value: Stamp,
    /// Up to where of the host's clock `value` was added up.
    at: Timestamp,
    /// When the last round was sent that a quorum confirmed.
    confirmed: Timestamp,
    /// How far the voters' clocks allowed time to go, at `judged` of the host's clock.
    allowed: Stamp,
    judged: Timestamp,
    voters: BTreeMap<NodeId, Voter>,
}

impl AgreedClock {
    /// Starts at `start`, the latest that a quorum heard of, in a round sent at `sent`.
    pub(super) const fn new(start: Stamp, sent: Timestamp, now: Timestamp) -> Self {
        Self {
            value: start,
            at: now,
            confirmed: sent,
            allowed: start,
            judged: sent,
            voters: BTreeMap::new(),
        }
    }

    /// Agreed time at `now`. Stands still when the last confirmed round is older than T_e.
    pub(super) fn read(&mut self, now: Timestamp) -> Stamp {
        let end = now.min(self.confirmed.plus(ELECTION_TIMEOUT));
        let limit = self.allowed.plus(end.since(self.judged));
        let step = end.since(self.at).min(limit.since(self.value));
        self.value = self.value.plus(step);
        self.at = self.at.max(now);
        self.value
    }

    /// What was last read, and when.
    pub(super) const fn last_read(&self) -> (Stamp, Timestamp) {
        (self.value, self.at)
    }

    /// A voter answered a ping sent at `asked`, and its clock showed `clock_ns`. An answer that took
    /// too long says too little about when that was.
    pub(super) fn hear(&mut self, node: NodeId, clock_ns: u64, asked: Timestamp, now: Timestamp) {
        if now.since(asked) > ELECTION_TIMEOUT {
            return;
        }
        let value = self.read(now);
        let known = self.voters.get_mut(&node);
        if let Some(voter) = known {
            voter.clock_ns = clock_ns;
            voter.asked = asked;
            return;
        }
        let mut voter = Voter {
            anchor_ns: clock_ns,
            anchor: value,
            clock_ns,
            asked,
        };
        voter.begin_anew(value, now);
        self.voters.insert(node, voter);
    }

    /// A quorum confirmed the round sent at `sent`.
    pub(super) fn confirm(&mut self, sent: Timestamp, now: Timestamp) {
        let value = self.read(now);
        self.confirmed = self.confirmed.max(sent);
        self.drop_credit(value, now);
        let heard = self.voters.values().filter(|voter| voter.is_heard(now));
        let mut said: Vec<Stamp> = heard.map(|voter| voter.says(now)).collect();
        said.sort_unstable();
        // Of these and the leader's own clock, which is not among them: time advances by its steps.
        if let Some(median) = said.get(said.len() / 2) {
            (self.allowed, self.judged) = (*median, now);
        } else if self.voters.is_empty() {
            (self.allowed, self.judged) = (value, now); // a lonely leader
        }
    }

    /// Time that was lost is lost for good: a clock that would allow more than T_e that was not used
    /// is read anew from here. Else a leader whose clock was too slow, and then is too fast, would make
    /// up for hours at the cost of leases that were granted a moment ago.
    fn drop_credit(&mut self, value: Stamp, now: Timestamp) {
        for voter in self.voters.values_mut() {
            let says = voter.says(now);
            if says.since(value) > ELECTION_TIMEOUT || value.since(says) > BEHIND {
                voter.begin_anew(value, now);
            }
        }
    }

    /// The log has come to `stamp`, further than anybody remembered when this leader was elected:
    /// after a restart of all servers, before they have read their logs again.
    pub(super) fn raise(&mut self, stamp: Stamp) {
        let missing = stamp.since(self.value);
        self.allowed = self.allowed.plus(missing);
        self.value = self.value.plus(missing);
        for voter in self.voters.values_mut() {
            voter.anchor = voter.anchor.plus(missing);
        }
    }

    /// A restarted voter's clock begins anew.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.voters.remove(&node);
    }

    /// When the last confirmed round was sent.
    pub(super) const fn confirmed(&self) -> Timestamp {
        self.confirmed
    }
}

#[cfg(test)]
mod tests;
