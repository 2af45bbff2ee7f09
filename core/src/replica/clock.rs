//! Agreed time, as a leader advances it (rules 19 to 21).
//!
//! Two laws. It never runs faster than the leader's own clock: it is added up from small steps of
//! that clock, so time that was lost is lost, and never made up for at the cost of somebody's lease.
//! And it never runs ahead of the lower median of what the voters' clocks say has passed, so one
//! wrong clock is outvoted: the leader's by the voters', a voter's by the leader's own steps.

use crate::ids::NodeId;
use crate::limits::ELECTION_TIMEOUT;
use crate::time::{Stamp, Timestamp};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

/// What a voter's clock said when it was first heard in this leadership.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    clock_ns: u64,
    elapsed: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct AgreedClock {
    start: Stamp,
    start_at: Timestamp,
    value: Stamp,
    /// Up to where of the host's clock `value` was added up.
    at: Timestamp,
    /// When the last round was sent that a quorum confirmed.
    confirmed: Timestamp,
    /// How far the clocks of the last round allowed, when it was sent.
    allowed: Stamp,
    anchors: BTreeMap<NodeId, Anchor>,
}

impl AgreedClock {
    /// Starts at `start`, the latest that a quorum heard of, in a round sent at `sent`.
    pub(super) const fn new(start: Stamp, sent: Timestamp, now: Timestamp) -> Self {
        Self {
            start,
            start_at: now,
            value: start,
            at: now,
            confirmed: sent,
            allowed: start,
            anchors: BTreeMap::new(),
        }
    }

    /// Agreed time at `now`. Stands still when the last confirmed round is older than T_e.
    pub(super) fn read(&mut self, now: Timestamp) -> Stamp {
        let end = now.min(self.confirmed.plus(ELECTION_TIMEOUT));
        let limit = self.allowed.plus(end.since(self.confirmed));
        let step = end.since(self.at).min(limit.since(self.value));
        self.value = self.value.plus(step);
        self.at = self.at.max(now);
        self.value
    }

    /// What was last read, and when.
    pub(super) const fn last_read(&self) -> (Stamp, Timestamp) {
        (self.value, self.at)
    }

    /// A quorum confirmed the round sent at `sent`; `clocks` are what its voters' clocks said.
    pub(super) fn confirm(&mut self, sent: Timestamp, now: Timestamp, clocks: &[(NodeId, u64)]) {
        let value = self.read(now);
        let elapsed_here = value.since(self.start);
        let mut elapsed: Vec<Duration> = Vec::with_capacity(clocks.len() + 1);
        if clocks.is_empty() {
            elapsed.push(sent.since(self.start_at));
        }
        for (node, clock_ns) in clocks {
            let fresh = Anchor {
                clock_ns: *clock_ns,
                elapsed: elapsed_here,
            };
            let anchor = self.anchors.entry(*node).or_insert(fresh);
            let passed = Duration::from_nanos(clock_ns.saturating_sub(anchor.clock_ns));
            elapsed.push(anchor.elapsed.saturating_add(passed));
        }
        elapsed.sort_unstable();
        let median = (elapsed.len() - 1) / 2;
        let allowed = elapsed.get(median).copied().unwrap_or_default();
        self.allowed = self.allowed.max(self.start.plus(allowed));
        self.confirmed = self.confirmed.max(sent);
        self.drop_credit(now, clocks);
    }

    /// Time that was lost is lost for good: if the clocks would allow more than T_e that was not
    /// used, all of them are read anew from here. Else a leader whose clock was too slow, and then is
    /// too fast, would make up for hours at the cost of leases that were granted a moment ago.
    fn drop_credit(&mut self, now: Timestamp, clocks: &[(NodeId, u64)]) {
        let limit = self.allowed.plus(now.since(self.confirmed));
        if limit.since(self.value) <= ELECTION_TIMEOUT {
            return;
        }
        self.start = self.value;
        self.start_at = now;
        self.allowed = self.value;
        self.confirmed = now;
        let fresh = |(node, clock_ns): &(NodeId, u64)| {
            let anchor = Anchor {
                clock_ns: *clock_ns,
                elapsed: Duration::ZERO,
            };
            (*node, anchor)
        };
        self.anchors = clocks.iter().map(fresh).collect();
    }

    /// The log has come to `stamp`, further than anybody remembered when this leader was elected:
    /// after a restart of all servers, before they have read their logs again.
    pub(super) fn raise(&mut self, stamp: Stamp) {
        let missing = stamp.since(self.value);
        self.start = self.start.plus(missing);
        self.allowed = self.allowed.plus(missing);
        self.value = self.value.plus(missing);
    }

    /// A restarted voter's clock begins anew.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.anchors.remove(&node);
    }

    /// When the last confirmed round was sent.
    pub(super) const fn confirmed(&self) -> Timestamp {
        self.confirmed
    }
}

#[cfg(test)]
mod tests;
