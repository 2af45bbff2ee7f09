//! Leases end in true time too (K15 the other way round): however often leaders change, failover
//! neither resets nor doubles a ttl (schedule F4a).

use super::Docket;
use crate::Nanos;
use crate::clock::DRIFT_PPM_MAX;
use std::collections::BTreeMap;
use tenure_core::ids::{Fence, ZoneId};

/// What each change of leader may cost: the time without one, and the grace.
const PER_LEADER: Nanos = 1_200_000_000;
/// What may be lost otherwise.
const ALWAYS: Nanos = 2_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Promised {
    at: Nanos,
    ttl_ms: u64,
    leaders: u64,
}

/// The leases that stand, by true time.
#[derive(Debug, Default)]
pub struct Lateness {
    /// Whether the world is one in which a bound is known.
    pub is_judged: bool,
    leases: BTreeMap<(ZoneId, Fence), Promised>,
    leaders: u64,
}

impl Lateness {
    /// A leader began.
    pub fn on_leader(&mut self) {
        self.leaders += 1;
    }

    /// A lease was granted or renewed.
    pub fn on_promised(&mut self, place: (ZoneId, Fence), ttl_ms: u64, docket: &Docket) {
        let promised = Promised {
            at: docket.now,
            ttl_ms,
            leaders: self.leaders,
        };
        self.leases.insert(place, promised);
    }

    /// It is no more.
    pub fn on_ended(&mut self, place: (ZoneId, Fence)) {
        self.leases.remove(&place);
    }

    /// An entry was applied: whatever is overdue by more than the changes of leader can have cost
    /// must be gone.
    pub fn on_applied(&self, docket: &mut Docket) {
        if !self.is_judged {
            return;
        }
        for ((_, fence), promised) in &self.leases {
            let ttl = promised.ttl_ms * (1_000_000 + 2 * DRIFT_PPM_MAX.unsigned_abs());
            let changes = self.leaders - promised.leaders;
            let due = promised.at + ttl + ALWAYS + changes * PER_LEADER;
            let now = docket.now;
            docket.check(now <= due, "leases end in true time", || {
                let late = (now - promised.at) / 1_000_000 - promised.ttl_ms;
                format!("fence {fence} is {late} ms late, after {changes} changes of leader")
            });
        }
    }
}
