//! Whether a grant holds: what a third party asks, such as a store that is written to under a lock.

use super::Machine;
use super::key::Key;
use super::state::{Grant, Hold, Lock};
use super::view::HolderView;
use crate::ids::{Fence, SessionId, ZoneId};
use crate::time::Stamp;

/// Whether a grant holds a lock, at one position of the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// Which lock.
    pub key: Key,
    /// Which grant.
    pub fence: Fence,
    /// How it holds the lock; none if it does not.
    pub held: Option<HolderView>,
    /// The highest fence that holds the lock; none if nobody does.
    pub highest: Option<Fence>,
}

impl Machine {
    /// Whether the grant with this fence holds the lock, with times counted from `now`: what ends by then is
    /// over, though a renewal that is under way may still save it. A store rather refuses once too often.
    pub(crate) fn verdict(&self, zone: ZoneId, key: &Key, fence: Fence, now: Stamp) -> Verdict {
        let lock = self.lock_of(zone, key.as_bytes());
        let lock = lock.map(|at| self.locks.at(at));
        let grant = self.grant_of(zone, key.as_bytes(), fence);
        let grant = grant.map(|at| self.grants.at(at));
        let held = lock.zip(grant.filter(|grant| self.is_held(grant, now)));
        let view = held.and_then(|(lock, grant)| {
            let mut holds = self.holds_of(grant).map(|(_, hold)| hold);
            let hold = holds.find(|hold| *self.locks.at(hold.lock).key == *key.as_bytes());
            hold.map(|hold| self.holder_view(lock, grant, hold, now))
        });
        Verdict {
            key: key.clone(),
            fence,
            held: view,
            highest: lock.and_then(|lock| self.highest_fence(lock, now)),
        }
    }

    /// What the token of a living grant is bound to beside its fence: the first of its keys, and its session.
    pub(crate) fn bound_to(
        &self,
        zone: ZoneId,
        key: &Key,
        fence: Fence,
    ) -> Option<(Key, Option<SessionId>)> {
        let at = self.grant_of(zone, key.as_bytes(), fence)?;
        let grant = self.grants.at(at);
        let session = grant.session().map(|at| self.sessions.at(at).id);
        self.is_alive(grant)
            .then(|| (self.parts_held(at).first().key.clone(), session))
    }

    fn is_held(&self, grant: &Grant, now: Stamp) -> bool {
        self.is_alive(grant) && self.end_of(grant).is_none_or(|end| end > now)
    }

    /// Holders stand by fence, so the newest is looked at first; who is passed has ended, and will be reaped.
    fn highest_fence(&self, lock: &Lock, now: Stamp) -> Option<Fence> {
        let first = lock.holders?;
        let last = self.holds.at(first).beside.prev;
        let back = core::iter::successors(Some(last), |at| {
            (*at != first).then(|| self.holds.at(*at).beside.prev)
        });
        let grant_of = |hold: &Hold| self.grants.at(hold.grant);
        let mut grants = back.map(|at| grant_of(self.holds.at(at)));
        let newest = grants.find(|grant| self.is_held(grant, now));
        newest.map(|grant| grant.fence)
    }
}
