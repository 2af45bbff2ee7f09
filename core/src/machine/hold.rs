//! Locks and their grants.

use super::Machine;
use super::answer::{self, Blocker, Event};
use super::command::{Life, Mode};
use super::index::Hasher;
use super::key::Key;
use super::list::{self, Link};
use super::state::{
    Ending, Grant, Lock, Request, Session, Term, Ticket, lease_order, of_lock, of_session,
};
use super::table::Ref;
use crate::ids::{Fence, ZoneId};
use crate::limits::{BLOCKERS_SHOWN_MAX, HOLDER_BYTES_MAX};
use crate::time::Stamp;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// How many holders are looked at for those to show: some may be dead and not reaped.
const BLOCKERS_SOUGHT_MAX: usize = 64;

/// What a new grant is made of.
pub(super) struct Claim {
    pub(super) mode: Mode,
    pub(super) life: Life,
    pub(super) holder: Box<[u8]>,
    /// The session that asks, if one does.
    pub(super) session: Option<Ref<Session>>,
    pub(super) request: Option<Ref<Request>>,
}

impl Hasher {
    fn lock(self, lock: &Lock) -> u64 {
        self.hash(lock.zone, &lock.key)
    }

    fn fence(self, zone: ZoneId, fence: Fence) -> u64 {
        self.hash(zone, &fence.get().to_le_bytes())
    }
}

pub(super) fn compatible(a: Mode, b: Mode) -> bool {
    a == Mode::Shared && b == Mode::Shared
}

impl Machine {
    /// The record of a key that is held or waited for.
    pub(super) fn lock_of(&self, zone: ZoneId, key: &[u8]) -> Option<Ref<Lock>> {
        self.lock_index.find(self.hasher.hash(zone, key), |at| {
            let lock = self.locks.at(at);
            lock.zone == zone && *lock.key == *key
        })
    }

    /// A record for a key that has none.
    pub(super) fn make_lock(&mut self, zone: ZoneId, key: &[u8], mode: Mode) -> Ref<Lock> {
        let at = self.locks.insert(Lock {
            key: key.into(),
            zone,
            holders: None,
            line: None,
            mode,
        });
        self.index_lock(at);
        at
    }

    /// Puts a new lock where it is looked for.
    pub(super) fn index_lock(&mut self, at: Ref<Lock>) {
        let (locks, hasher) = (&self.locks, self.hasher);
        let hash = |at| hasher.lock(locks.at(at));
        self.lock_index.insert(hash(at), at, hash);
    }

    /// The grant of this lock with this fence, dead or alive.
    pub(super) fn grant_of(&self, zone: ZoneId, key: &[u8], fence: Fence) -> Option<Ref<Grant>> {
        self.grant_in(self.lock_of(zone, key)?, fence)
    }

    pub(super) fn grant_in(&self, lock_at: Ref<Lock>, fence: Fence) -> Option<Ref<Grant>> {
        let lock = self.locks.at(lock_at);
        let found = match lock.mode {
            Mode::Exclusive => lock.holders?,
            Mode::Shared => self
                .shared_index
                .find(self.hasher.fence(lock.zone, fence), |at| {
                    let grant = self.grants.at(at);
                    grant.fence == fence && grant.lock == lock_at
                })?,
        };
        (self.grants.at(found).fence == fence).then_some(found)
    }

    /// Whether its end is still to come: the only question that decides, reaped or not.
    pub(super) fn is_alive(&self, grant: &Grant) -> bool {
        match &grant.term {
            Term::Lease { deadline, .. } => self.grace.effective(*deadline) > self.stamp,
            Term::Session { session, .. } => self.is_session_alive(*session),
            Term::Static => true,
        }
    }

    /// When it ends if nobody does anything.
    pub(super) fn end_of(&self, grant: &Grant) -> Option<Stamp> {
        let deadline = match &grant.term {
            Term::Lease { deadline, .. } => *deadline,
            Term::Session { session, .. } => self.sessions.at(*session).deadline,
            Term::Static => return None,
        };
        Some(self.grace.effective(deadline))
    }

    /// Whether a claim of this mode could be granted, were it the first in line.
    pub(super) fn fits(&self, lock: &Lock, mode: Mode) -> bool {
        let held = lock.holders.is_none() || compatible(lock.mode, mode);
        // What is offered is reserved. Those offered it together all share it, so one speaks for all.
        let line = lock.line.map(|line| self.lines.at(line));
        let first = line
            .and_then(|line| line.first)
            .map(|at| self.tickets.at(at));
        held && first.is_none_or(|ticket| !ticket.offered || compatible(ticket.mode, mode))
    }

    /// Makes a grant of a lock that fits.
    pub(super) fn grant(&mut self, lock_at: Ref<Lock>, claim: Claim) -> Ref<Grant> {
        let lock = self.locks.at_mut(lock_at);
        assert!(
            lock.holders.is_none() || compatible(lock.mode, claim.mode),
            "no two incompatible grants exist"
        );
        lock.mode = claim.mode;
        let zone_state = self.zones.entry(lock.zone).or_default();
        zone_state.fence = zone_state.fence.next();
        let fence = zone_state.fence;
        let at = self.grants.vacant();
        let term = self.term_of(&claim, at);
        let inserted = self.grants.insert(Grant {
            fence,
            since: self.stamp,
            term,
            holder: claim.holder,
            lock: lock_at,
            beside: Link::alone(at),
            request: claim.request,
        });
        assert!(inserted == at, "a record has the name that was foretold");
        self.enlist(at);
        at
    }

    fn term_of(&self, claim: &Claim, at: Ref<Grant>) -> Term {
        match (claim.life, claim.session) {
            (Life::Lease { ttl_ms }, _) => Term::Lease {
                deadline: self.stamp.plus(Duration::from_millis(ttl_ms)),
                ttl_ms: u32::try_from(ttl_ms).unwrap_or(u32::MAX),
            },
            (Life::Static, _) => Term::Static,
            (Life::Session, Some(session)) => Term::Session {
                session,
                beside: Link::alone(at),
            },
            (Life::Session, None) => panic!("a session lock is asked for by its session"),
        }
    }

    /// Puts a new grant, which has the highest fence so far, behind the other holders of its lock,
    /// and where it is looked for.
    pub(super) fn enlist(&mut self, at: Ref<Grant>) {
        let lock = self.locks.at_mut(self.grants.at(at).lock);
        lock.holders = Some(list::push_back(&mut self.grants, lock.holders, at, of_lock));
        let (zone, mode) = (lock.zone, lock.mode);
        self.zones.entry(zone).or_default().grants += 1;
        let (grants, locks) = (&self.grants, &self.locks);
        if mode == Mode::Shared {
            let hasher = self.hasher;
            let hash = |at| {
                let grant = grants.at(at);
                hasher.fence(locks.at(grant.lock).zone, grant.fence)
            };
            self.shared_index.insert(hash(at), at, hash);
        }
        match grants.at(at).term {
            Term::Lease { .. } => self.lease_timers.set(at, lease_order(grants, locks)),
            Term::Session { session, .. } => {
                let first = self.sessions.at(session).grants;
                let first = list::push_back(&mut self.grants, first, at, of_session);
                self.sessions.at_mut(session).grants = Some(first);
            }
            Term::Static => {}
        }
    }

    /// Ends a grant. The caller then wakes the line.
    pub(super) fn end(&mut self, at: Ref<Grant>) -> Ref<Lock> {
        let (grants, locks) = (&self.grants, &self.locks);
        self.lease_timers.clear(at, lease_order(grants, locks));
        let grant = grants.at(at);
        let (lock_at, fence, session) = (grant.lock, grant.fence, grant.session());
        let lock = locks.at(lock_at);
        let (zone, mode) = (lock.zone, lock.mode);
        if mode == Mode::Shared {
            self.shared_index.remove(self.hasher.fence(zone, fence), at);
        }
        let Some(first) = lock.holders else {
            panic!("a grant is among the holders of its lock");
        };
        let left = list::unlink(&mut self.grants, first, at, of_lock);
        self.locks.at_mut(lock_at).holders = left;
        if let Some(session) = session {
            let Some(first) = self.sessions.at(session).grants else {
                panic!("a session's grant is in its ring");
            };
            let left = list::unlink(&mut self.grants, first, at, of_session);
            self.sessions.at_mut(session).grants = left;
        }
        let grant = self.grants.remove(at);
        self.zones.entry(zone).or_default().grants -= 1;
        if let Some(request) = grant.request {
            self.forget_later(request);
        }
        lock_at
    }

    /// Ends a grant whose holder did not ask for it, unless its session was closed by its client.
    /// The caller then wakes the line.
    pub(super) fn lose(&mut self, at: Ref<Grant>, events: &mut Vec<Event>) -> Ref<Lock> {
        let grant = self.grants.at(at);
        let session = grant.session().map(|session| self.sessions.at(session));
        if session.is_none_or(|session| session.ending != Some(Ending::Closed)) {
            let lock = self.locks.at(grant.lock);
            events.push(Event::Lost {
                zone: lock.zone,
                key: Key::copied(&lock.key),
                fence: grant.fence,
                session: session.map(|session| session.id),
            });
        }
        self.end(at)
    }

    /// Brings a lock up to date before a command looks at it: whoever is dead and stands in the way
    /// goes, and whoever is now first and fits is served. Not bounded by the entry's budget, or the
    /// command would be judged by the dead; but each of them goes once. False if nothing is left.
    pub(super) fn settle(&mut self, lock_at: Ref<Lock>, events: &mut Vec<Event>) -> bool {
        while let Some(first) = self.locks.at(lock_at).holders
            && !self.is_alive(self.grants.at(first))
        {
            self.lose(first, events);
        }
        if let Some(line) = self.locks.at(lock_at).line {
            self.budget = self.budget.max(1);
            self.drop_dead_offers(line, events);
            self.serve(line, true, events);
        }
        self.tidy_up(lock_at)
    }

    /// A holder went, or somebody in the line: whoever is now first and fits is served.
    pub(super) fn wake(&mut self, lock_at: Ref<Lock>, events: &mut Vec<Event>) {
        if let Some(line) = self.locks.at(lock_at).line {
            self.serve(line, false, events);
        }
        self.tidy_up(lock_at);
    }

    /// Drops the records of what is empty. False if the lock is gone.
    pub(super) fn tidy_up(&mut self, lock_at: Ref<Lock>) -> bool {
        if let Some(line_at) = self.locks.at(lock_at).line {
            let line = self.lines.at(line_at);
            if line.count == 0 && !line.in_work {
                self.lines.remove(line_at);
                self.locks.at_mut(lock_at).line = None;
            }
        }
        let lock = self.locks.at(lock_at);
        if lock.holders.is_some() || lock.line.is_some() {
            return true;
        }
        self.lock_index.remove(self.hasher.lock(lock), lock_at);
        self.locks.remove(lock_at);
        false
    }

    /// The holders of a lock, by fence, dead or alive.
    pub(super) fn holders(&self, lock: &Lock) -> impl Iterator<Item = &Grant> {
        let first = lock.holders;
        core::iter::successors(first, move |at| {
            let next = self.grants.at(*at).beside.next;
            (Some(next) != first).then_some(next)
        })
        .map(|at| self.grants.at(at))
    }

    /// Some of those who stand in the way.
    pub(super) fn blockers(&self, lock: &Lock) -> Vec<Blocker> {
        let sought = self.holders(lock).take(BLOCKERS_SOUGHT_MAX);
        let alive = sought.filter(|grant| self.is_alive(grant));
        let shown = alive.take(BLOCKERS_SHOWN_MAX).map(|grant| Blocker {
            holder: Bytes::copy_from_slice(self.holder_name(grant)),
            fence: grant.fence,
            mode: lock.mode,
        });
        shown.collect()
    }

    /// What people know the holder by.
    pub(super) fn holder_name<'a>(&'a self, grant: &'a Grant) -> &'a [u8] {
        self.name(&grant.holder, grant.session())
    }

    /// What people know the waiter by.
    pub(super) fn waiter_name<'a>(&'a self, ticket: &'a Ticket) -> &'a [u8] {
        self.name(&ticket.holder, ticket.session())
    }

    fn name<'a>(&'a self, holder: &'a [u8], session: Option<Ref<Session>>) -> &'a [u8] {
        let Some(session) = session.filter(|_| holder.is_empty()) else {
            return holder;
        };
        let identifier = &self.sessions.at(session).identifier;
        identifier.get(..HOLDER_BYTES_MAX).unwrap_or(identifier)
    }

    /// A grant as its holder is told of it.
    pub(super) fn describe(&self, at: Ref<Grant>, key: Key, replayed: bool) -> answer::Grant {
        let grant = self.grants.at(at);
        let lock = self.locks.at(grant.lock);
        answer::Grant {
            zone: lock.zone,
            key,
            mode: lock.mode,
            fence: grant.fence,
            life: match grant.term {
                Term::Lease { ttl_ms, .. } => Life::Lease {
                    ttl_ms: u64::from(ttl_ms),
                },
                Term::Session { .. } => Life::Session,
                Term::Static => Life::Static,
            },
            session: grant.session().map(|session| self.sessions.at(session).id),
            holder: Bytes::copy_from_slice(self.holder_name(grant)),
            remaining_ms: self.end_of(grant).map(|end| millis(end.since(self.stamp))),
            replayed,
        }
    }
}

/// Whole milliseconds, rounded down: a client believes rather less than more.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
