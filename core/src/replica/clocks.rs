//! Watches the clocks of all servers, and raises an alarm about one that is wrong (rule 20).
//!
//! A wrong clock is outvoted before it moves agreed time, so nobody refuses anything; but its server
//! suspects leaders too soon or too late, and a second one could not be outvoted.

use crate::ids::NodeId;
use crate::time::Timestamp;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

/// How long the clocks are watched before they are compared.
const WATCH: Duration = Duration::from_secs(10);
/// With less time between the two rounds nothing is compared: no clock had time to gain or lose.
const WATCHED: Duration = Duration::from_secs(8);
/// Within so long of the first round, and of the last, the one that more answered is taken.
const EDGE: Duration = Duration::from_secs(1);
/// A clock that gained or lost so much more than the median in that time is wrong.
const OFF_MS: i64 = 500;
/// A clock that was read longer than this after it was asked about says too little.
const UNSURE: Duration = Duration::from_millis(100);
/// Rounds whose answers may still come.
const OPEN_MAX: usize = 8;

/// What the clocks showed when they were asked, all in one round of pings.
#[derive(Clone, Debug)]
struct Round {
    number: u64,
    asked: Timestamp,
    shown: BTreeMap<NodeId, u64>,
}

/// The clocks since a moment. They are compared from one round to another, the same for all: the own
/// clock, by which the time between the two is measured, may be the wrong one, and at any moment.
#[derive(Clone, Debug)]
pub(super) struct ClockWatch {
    since: Timestamp,
    first: Option<Round>,
    last: Option<Round>,
    open: VecDeque<Round>,
    /// Their clocks began anew.
    restarted: BTreeSet<NodeId>,
}

impl ClockWatch {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self {
            since: now,
            first: None,
            last: None,
            open: VecDeque::new(),
            restarted: BTreeSet::new(),
        }
    }

    /// `node`, asked in the round `number` at `asked`, showed `clock_ns`; its answer came at `now`.
    pub(super) fn hear(
        &mut self,
        node: NodeId,
        clock_ns: u64,
        (number, asked): (u64, Timestamp),
        now: Timestamp,
    ) {
        if now.since(asked) > UNSURE {
            return;
        }
        self.close(|round| now.since(round.asked) > UNSURE);
        if self.open.back().is_none_or(|last| last.number < number) {
            self.close(|_| false);
            let shown = BTreeMap::new();
            self.open.push_back(Round {
                number,
                asked,
                shown,
            });
        }
        let mut open = self.open.iter_mut();
        if let Some(round) = open.find(|round| round.number == number) {
            round.shown.insert(node, clock_ns);
        }
    }

    /// A restarted server's clock is not compared before the next ten seconds.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.restarted.insert(node);
    }

    /// The oldest open rounds are over, if it is so, or if there are too many: what they showed is kept, if
    /// they are the first or the last to be compared.
    fn close(&mut self, over: impl Fn(&Round) -> bool) {
        while let Some(round) = self.open.pop_front() {
            if !over(&round) && self.open.len() + 1 < OPEN_MAX {
                self.open.push_front(round);
                return;
            }
            let is_early = round.asked.since(self.since) <= EDGE;
            let begins = |first: &Round| is_early && round.shown.len() > first.shown.len();
            let ends = |last: &Round| {
                round.shown.len() >= last.shown.len() || round.asked.since(last.asked) > EDGE
            };
            if self.first.as_ref().is_none_or(begins) {
                self.first = Some(round);
            } else if self.last.as_ref().is_none_or(ends) {
                self.last = Some(round);
            }
        }
    }

    /// Whose clock is wrong, and by how many milliseconds it went ahead, or behind if negative. With
    /// fewer than three clocks nobody can tell which one it is.
    pub(super) fn judge(&mut self, me: NodeId, now: Timestamp) -> Vec<(NodeId, i64)> {
        if now.since(self.since) < WATCH {
            return Vec::new();
        }
        self.close(|_| true);
        let watch = core::mem::replace(self, Self::new(now));
        let (Some(first), Some(last)) = (watch.first, watch.last) else {
            return Vec::new();
        };
        let here = last.asked.since(first.asked);
        if here < WATCHED {
            return Vec::new();
        }
        let both = first.shown.iter().filter_map(|(node, before)| {
            let after = last.shown.get(node)?;
            let there = Duration::from_nanos(after.saturating_sub(*before));
            Some((millis(there).saturating_sub(millis(here)), *node))
        });
        let mut gains: Vec<(i64, NodeId)> = both
            .filter(|(_, node)| !watch.restarted.contains(node))
            .collect();
        gains.push((0, me));
        gains.sort_unstable();
        if gains.len() < 3 {
            return Vec::new();
        }
        let median = gains.get((gains.len() - 1) / 2);
        let median = median.map_or(0, |(gain, _)| *gain);
        let off = gains.iter().map(|(gain, node)| (*node, gain - median));
        off.filter(|(_, gain)| gain.abs() > OFF_MS).collect()
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
