//! Watches the clocks of all servers, and raises an alarm about one that is wrong (rule 20).
//!
//! A wrong clock is outvoted before it moves agreed time, so nobody refuses anything; but its server
//! suspects leaders too soon or too late, and a second one could not be outvoted.

use crate::ids::NodeId;
use crate::time::Timestamp;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

/// How long the clocks are watched before they are compared.
const WATCH: Duration = Duration::from_secs(10);
/// One that was heard for less of that time is not compared: it had no time to gain or lose.
const WATCHED: Duration = Duration::from_secs(8);
/// A clock that gained or lost so much more than the median in that time is wrong.
const OFF_MS: i64 = 500;
/// A clock that was read longer than this before or after it was asked about says too little.
const UNSURE: Duration = Duration::from_millis(100);

/// What a clock showed, and when that was by the own one.
#[derive(Clone, Copy, Debug)]
struct Seen {
    clock_ns: u64,
    at: Timestamp,
}

/// The clocks since a moment.
#[derive(Clone, Debug)]
pub(super) struct ClockWatch {
    since: Timestamp,
    /// First and last; nothing of one that restarted: its clock began anew, and while it was away the
    /// own one may have stood still.
    seen: BTreeMap<NodeId, Option<(Seen, Seen)>>,
}

impl ClockWatch {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self {
            since: now,
            seen: BTreeMap::new(),
        }
    }

    /// `node`, asked at `asked`, showed `clock_ns`; its answer came at `now`.
    pub(super) fn hear(&mut self, node: NodeId, clock_ns: u64, asked: Timestamp, now: Timestamp) {
        if now.since(asked) <= UNSURE {
            let seen = Seen { clock_ns, at: now };
            let known = self.seen.entry(node).or_insert(Some((seen, seen)));
            if let Some((_, last)) = known {
                *last = seen;
            }
        }
    }

    /// A restarted server's clock is not compared before the next ten seconds.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.seen.insert(node, None);
    }

    /// Whose clock is wrong, and by how many milliseconds it went ahead, or behind if negative. With
    /// fewer than three clocks nobody can tell which one it is, and nothing is said of others while
    /// the own one is wrong.
    pub(super) fn judge(&mut self, me: NodeId, now: Timestamp) -> Vec<(NodeId, i64)> {
        if now.since(self.since) < WATCH {
            return Vec::new();
        }
        let seen = core::mem::replace(self, Self::new(now)).seen;
        let mut gains: Vec<(i64, NodeId)> = seen
            .iter()
            .filter_map(|(node, seen)| seen.map(|(first, last)| (node, first, last)))
            .filter(|(_, first, last)| last.at.since(first.at) >= WATCHED)
            .map(|(node, first, last)| (gain_ms(first, last), *node))
            .collect();
        gains.push((0, me));
        gains.sort_unstable();
        let median = gains
            .get((gains.len() - 1) / 2)
            .map_or(0, |(gain, _)| *gain);
        if gains.len() < 3 {
            return Vec::new();
        }
        let off = gains.iter().map(|(gain, node)| (*node, gain - median));
        let off: Vec<_> = off.filter(|(_, gain)| gain.abs() > OFF_MS).collect();
        // All are measured by the own clock, and not in quite the same time: one that was heard
        // before the own stood still gained what one that was heard after it did not.
        match off.iter().find(|(node, _)| *node == me) {
            Some(mine) => Vec::from([*mine]),
            None => off,
        }
    }
}

fn gain_ms(first: Seen, last: Seen) -> i64 {
    let there = Duration::from_nanos(last.clock_ns.saturating_sub(first.clock_ns));
    let here = last.at.since(first.at);
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    ms(there).saturating_sub(ms(here))
}

#[cfg(test)]
mod tests;
