//! Locks, and the claims that hold them.

use super::Machine;
use super::answer::{self, Blocker, Event, Loss, Refusal};
use super::command::Life;
use super::crowd::Share;
use super::index::Hasher;
use super::key::Key;
use super::list::{self, Link};
use super::parts::{Part, Parts};
use super::state::{
    Aim, Ending, Grant, Hold, Lock, Place, Request, Session, Term, Ticket, lease_order, of_lock,
    of_session,
};
use super::table::Ref;
use crate::ids::{Fence, ZoneId};
use crate::limits::{BLOCKERS_SHOWN_MAX, BLOCKERS_SOUGHT_MAX, HOLDER_BYTES_MAX};
use crate::time::Stamp;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// How many living holders are passed in search of dead ones, before a command is judged by the lock.
const LIVING_PASSED_MAX: usize = 64;

/// What a new grant or ticket is made of, beside its keys.
pub(super) struct Terms {
    pub(super) zone: ZoneId,
    pub(super) life: Life,
    /// When a lease ends; its ttl starts now if none.
    pub(super) deadline: Option<Stamp>,
    pub(super) holder: Box<[u8]>,
    /// The session that asks, if one does.
    pub(super) session: Option<Ref<Session>>,
    pub(super) request: Option<Ref<Request>>,
    pub(super) reentrant: bool,
    /// It was offered its locks, or had them: permits among them are its own also if the lock shrank since.
    pub(super) is_reserved: bool,
}

/// One key of a claim, as the tables know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) lock: Ref<Lock>,
    pub(super) share: Share,
    /// What it has of the lock, if it is a grant to be converted.
    pub(super) old: Option<Share>,
}

impl Hasher {
    pub(super) fn lock(self, lock: &Lock) -> u64 {
        self.hash(lock.zone, &lock.key)
    }

    pub(super) fn fence(self, zone: ZoneId, fence: Fence) -> u64 {
        self.hash(zone, &fence.get().to_le_bytes())
    }
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
    pub(super) fn make_lock(&mut self, zone: ZoneId, key: &[u8]) -> Ref<Lock> {
        let at = self.locks.insert(Lock {
            key: key.into(),
            zone,
            holders: None,
            line: None,
            crowd: None,
        });
        self.index_lock(at);
        at
    }

    /// Puts a new lock where it is looked for.
    fn index_lock(&mut self, at: Ref<Lock>) {
        let (locks, hasher) = (&self.locks, self.hasher);
        let hash = |at| hasher.lock(locks.at(at));
        self.lock_index.insert(hash(at), at, hash);
    }

    /// The grant with this fence that has this key among its own, dead or alive.
    pub(super) fn grant_of(&self, zone: ZoneId, key: &[u8], fence: Fence) -> Option<Ref<Grant>> {
        let at = self.grant_under(zone, fence)?;
        let has_key = |(_, hold): (_, &Hold)| *self.locks.at(hold.lock).key == *key;
        self.holds_of(self.grants.at(at)).any(has_key).then_some(at)
    }

    /// The grant with this fence, dead or alive.
    pub(super) fn grant_under(&self, zone: ZoneId, fence: Fence) -> Option<Ref<Grant>> {
        self.grant_index.find(self.hasher.fence(zone, fence), |at| {
            let grant = self.grants.at(at);
            grant.fence == fence && grant.zone == zone
        })
    }

    /// What a claim holds, by key.
    pub(super) fn holds_of(&self, grant: &Grant) -> impl Iterator<Item = (Ref<Hold>, &Hold)> {
        let and_record = |at| (at, self.holds.at(at));
        let first = grant.holds.map(and_record);
        core::iter::successors(first, move |(_, hold)| hold.next.map(and_record))
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

    /// Makes a grant of locks that fit, in the order of their keys.
    pub(super) fn grant(&mut self, wanted: &[Wanted], terms: Terms) -> Ref<Grant> {
        let zone_state = self.zones.entry(terms.zone).or_default();
        zone_state.fence = zone_state.fence.next();
        let fence = zone_state.fence;
        let at = self.grants.vacant();
        let term = self.term_of(&terms, at);
        let is_reserved = terms.is_reserved;
        let entered = u32::from(terms.reentrant);
        let inserted = self.grants.insert(Grant {
            fence,
            since: self.stamp,
            term,
            holder: terms.holder,
            zone: terms.zone,
            holds: None,
            request: terms.request,
            entered,
        });
        assert!(inserted == at, "a record has the name that was foretold");
        self.index_grant(at);
        self.enlist(at);
        let mut next = None;
        for Wanted { lock, share, .. } in wanted.iter().rev().copied() {
            let is_its_own = is_reserved && share.permits().is_some();
            assert!(
                is_its_own || self.fits(self.locks.at(lock), share, None),
                "no two incompatible grants exist"
            );
            next = Some(self.hold(at, lock, share, next));
        }
        self.grants.at_mut(at).holds = next;
        at
    }

    fn term_of(&self, terms: &Terms, at: Ref<Grant>) -> Term {
        match (terms.life, terms.session) {
            (Life::Lease { ttl_ms }, _) => Term::Lease {
                deadline: terms
                    .deadline
                    .unwrap_or_else(|| self.stamp.plus(Duration::from_millis(ttl_ms))),
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

    fn hold(
        &mut self,
        grant: Ref<Grant>,
        lock: Ref<Lock>,
        share: Share,
        next: Option<Ref<Hold>>,
    ) -> Ref<Hold> {
        let at = self.holds.insert(Hold {
            grant,
            lock,
            beside: Link::alone(self.holds.vacant()),
            next,
            share,
        });
        self.enlist_hold(at);
        at
    }

    /// Puts a new grant where it is looked for.
    fn index_grant(&mut self, at: Ref<Grant>) {
        let (grants, hasher) = (&self.grants, self.hasher);
        let hash = |at| {
            let grant: &Grant = grants.at(at);
            hasher.fence(grant.zone, grant.fence)
        };
        self.grant_index.insert(hash(at), at, hash);
    }

    /// Puts a new grant, which has the highest fence so far, among those that end as it does.
    pub(super) fn enlist(&mut self, at: Ref<Grant>) {
        let grants = &self.grants;
        match grants.at(at).term {
            Term::Lease { .. } => self.lease_timers.set(at, lease_order(grants)),
            Term::Session { session, .. } => {
                let first = self.sessions.at(session).grants;
                let first = list::push_back(&mut self.grants, first, at, of_session);
                self.sessions.at_mut(session).grants = Some(first);
            }
            Term::Static => {}
        }
    }

    /// Puts a hold of the newest grant behind the other holders of its lock.
    pub(super) fn enlist_hold(&mut self, at: Ref<Hold>) {
        let hold = self.holds.at(at);
        let lock_at = hold.lock;
        self.take(lock_at, hold.share);
        let lock = self.locks.at_mut(lock_at);
        lock.holders = Some(list::push_back(&mut self.holds, lock.holders, at, of_lock));
        self.zones.entry(lock.zone).or_default().holds += 1;
        self.index_entry(at);
    }

    /// Ends a grant and its conversion, and notes its locks for [`Self::wake`], which the caller then does.
    pub(super) fn end(&mut self, at: Ref<Grant>, events: &mut Vec<Event>) {
        if let Some(ticket) = self.conversion_of(at) {
            self.end_ticket(ticket, Refusal::NotHeld, events);
        }
        let grants = &self.grants;
        self.lease_timers.clear(at, lease_order(grants));
        let grant = grants.at(at);
        self.grant_index
            .remove(self.hasher.fence(grant.zone, grant.fence), at);
        if let Some(session) = grant.session() {
            let Some(first) = self.sessions.at(session).grants else {
                panic!("a session's grant is in its ring");
            };
            let left = list::unlink(&mut self.grants, first, at, of_session);
            self.sessions.at_mut(session).grants = left;
        }
        let grant = self.grants.remove(at);
        let entered_by = grant.session().filter(|_| grant.entered > 0);
        let mut next = grant.holds;
        while let Some(at) = next {
            if let Some(session) = entered_by {
                self.forget_entry(session, at);
            }
            next = self.let_go(at);
        }
        if let Some(request) = grant.request {
            self.forget_later(request);
        }
    }

    /// Takes one key from a grant that ends. Returns the next.
    fn let_go(&mut self, at: Ref<Hold>) -> Option<Ref<Hold>> {
        let hold = self.holds.at(at);
        let lock_at = hold.lock;
        self.give(lock_at, hold.share);
        let lock = self.locks.at_mut(lock_at);
        let Some(first) = lock.holders else {
            panic!("a hold is among the holders of its lock");
        };
        lock.holders = list::unlink(&mut self.holds, first, at, of_lock);
        self.zones.entry(lock.zone).or_default().holds -= 1;
        self.woken.push_back(lock_at);
        self.holds.remove(at).next
    }

    /// Ends a grant whose holder did not ask for it, unless its session was closed by its client. The
    /// caller then does [`Self::wake`].
    pub(super) fn lose(&mut self, at: Ref<Grant>, events: &mut Vec<Event>) {
        let session = self.grants.at(at).session();
        let ending = session.and_then(|session| self.sessions.at(session).ending);
        match ending {
            Some(Ending::Closed) => {}
            Some(Ending::Expired) | None => self.tell_lost(at, Loss::Expired, events),
        }
        self.end(at, events);
    }

    /// Tells that a grant is about to end without its holder asking for it.
    pub(super) fn tell_lost(&self, at: Ref<Grant>, loss: Loss, events: &mut Vec<Event>) {
        let grant = self.grants.at(at);
        let session = grant.session().map(|session| self.sessions.at(session));
        let keys = self.holds_of(grant);
        let keys = keys.map(|(_, hold)| Key::copied(&self.locks.at(hold.lock).key));
        events.push(Event::Lost {
            zone: grant.zone,
            keys: keys.collect(),
            fence: grant.fence,
            session: session.map(|session| session.id),
            loss,
        });
    }

    /// Uses up what this entry may do, by the keys of a claim.
    pub(super) const fn spend(&mut self, keys: usize) {
        self.budget = self.budget.saturating_sub(keys);
    }

    /// How many keys a grant has.
    pub(super) fn keys_held(&self, at: Ref<Grant>) -> usize {
        self.holds_of(self.grants.at(at)).count()
    }

    /// Whether something is due that this entry had no room for: only then there are dead ones.
    pub(super) fn is_behind(&self) -> bool {
        let overdue = self.first_due().is_some_and(|(due, _)| due <= self.stamp);
        overdue || !self.work.is_empty()
    }

    /// Holders who are dead and not reaped.
    fn dead_holders(&self, lock_at: Ref<Lock>) -> Vec<Ref<Grant>> {
        let holders = self.holders(self.locks.at(lock_at));
        let judged = holders.map(|(grant, hold)| (hold.grant, self.is_alive(grant)));
        let mut passed = 0;
        let sought = judged.take_while(|(_, is_alive)| {
            passed += usize::from(*is_alive);
            passed <= LIVING_PASSED_MAX
        });
        let dead = sought.filter(|(_, is_alive)| !is_alive);
        dead.map(|(grant, _)| grant).collect()
    }

    /// Brings a lock up to date before a command looks at it: whoever is dead and stands in the way
    /// goes, and whoever is now first and fits is served. Not bounded by the entry's budget, or the
    /// command would be judged by the dead; but each of them goes once, and the living are passed only
    /// so far. The lock may go with them.
    pub(super) fn settle(&mut self, lock_at: Ref<Lock>, events: &mut Vec<Event>) {
        if !self.is_behind() {
            return;
        }
        for grant in self.dead_holders(lock_at) {
            self.lose(grant, events);
        }
        if let Some(line) = self.locks.at(lock_at).line {
            self.budget = self.budget.max(1);
            self.drop_dead_offers(line, events);
        }
        self.woken.push_back(lock_at);
        self.wake(true, events);
    }

    /// Holders went, or somebody in a line: whoever is now first in all of its lines and fits is
    /// served, and those behind it, until nobody is. If `dead_are_free`, those who are dead do not use
    /// up the entry's room.
    pub(super) fn wake(&mut self, dead_are_free: bool, events: &mut Vec<Event>) {
        while let Some(lock_at) = self.woken.pop_front() {
            // Nothing is made while locks are woken: a name is that of the lock, or of nothing.
            let Some(lock) = self.locks.peek(lock_at) else {
                continue;
            };
            if let Some(line) = lock.line {
                self.serve(line, dead_are_free, events);
            }
            self.tidy_up(lock_at);
        }
    }

    /// Drops the records of what is empty.
    pub(super) fn tidy_up(&mut self, lock_at: Ref<Lock>) {
        if let Some(line_at) = self.locks.at(lock_at).line {
            let line = self.lines.at(line_at);
            if line.count() == 0 && !line.in_work {
                self.lines.remove(line_at);
                self.locks.at_mut(lock_at).line = None;
            }
        }
        self.drop_capacity(lock_at);
        let lock = self.locks.at(lock_at);
        if lock.holders.is_none() && lock.line.is_none() {
            self.lock_index.remove(self.hasher.lock(lock), lock_at);
            self.locks.remove(lock_at);
        }
    }

    /// Who holds a lock, by fence, dead or alive.
    pub(super) fn holders(&self, lock: &Lock) -> impl Iterator<Item = (&Grant, &Hold)> {
        let first = lock.holders;
        core::iter::successors(first, move |at| {
            let next = self.holds.at(*at).beside.next;
            (Some(next) != first).then_some(next)
        })
        .map(|at| {
            let hold = self.holds.at(at);
            (self.grants.at(hold.grant), hold)
        })
    }

    /// Some of those who stand in the way of a claim: holders of what it can't have now, but for the grant that
    /// it converts. A key that is its own to take is none of these: nobody waits before it, and it fits.
    pub(super) fn blockers(
        &self,
        converts: Option<Ref<Grant>>,
        wanted: impl Iterator<Item = (Wanted, Option<Ref<Place>>)>,
    ) -> Vec<Blocker> {
        let mut shown: Vec<Blocker> = Vec::new();
        let held = wanted.filter(|(wanted, place)| !self.is_first(*wanted, *place));
        let sought = held.flat_map(|(wanted, _)| self.holders(self.locks.at(wanted.lock)));
        let others = sought.filter(|(_, hold)| Some(hold.grant) != converts);
        for (grant, hold) in others.take(BLOCKERS_SOUGHT_MAX) {
            let is_shown = shown.iter().any(|other| other.fence == grant.fence);
            if shown.len() < BLOCKERS_SHOWN_MAX && !is_shown && self.is_alive(grant) {
                shown.push(self.blocker(self.locks.at(hold.lock), grant, hold));
            }
        }
        shown
    }

    /// One who holds a lock, as refusals name him.
    pub(super) fn blocker(&self, lock: &Lock, grant: &Grant, hold: &Hold) -> Blocker {
        Blocker {
            holder: Bytes::copy_from_slice(self.holder_name(grant)),
            fence: grant.fence,
            mode: self.mode_of(lock, hold.share),
        }
    }

    /// Whether nobody waits before a newcomer, or before who stands at this place. Before who converts there
    /// are only those who do.
    pub(super) fn is_in_front(&self, wanted: Wanted, place: Option<Ref<Place>>) -> bool {
        let line = self.locks.at(wanted.lock).line;
        let front = line.map(|line| self.lines.at(line)).and_then(|line| {
            if wanted.old.is_some() {
                line.converting.front
            } else {
                line.front()
            }
        });
        front == place
    }

    /// Whether one key could be had at once, by a newcomer or by who stands at this place.
    pub(super) fn is_first(&self, wanted: Wanted, place: Option<Ref<Place>>) -> bool {
        let lock = self.locks.at(wanted.lock);
        self.is_in_front(wanted, place) && self.fits(lock, wanted.share, wanted.old)
    }

    /// What people know the holder by.
    pub(super) fn holder_name<'a>(&'a self, grant: &'a Grant) -> &'a [u8] {
        self.name(&grant.holder, grant.session())
    }

    /// What people know the waiter by.
    pub(super) fn waiter_name<'a>(&'a self, ticket: &'a Ticket) -> &'a [u8] {
        match &ticket.aim {
            Aim::Take { holder, .. } => self.name(holder, ticket.session()),
            Aim::Convert(grant) => self.holder_name(self.grants.at(*grant)),
        }
    }

    fn name<'a>(&'a self, holder: &'a [u8], session: Option<Ref<Session>>) -> &'a [u8] {
        let Some(session) = session.filter(|_| holder.is_empty()) else {
            return holder;
        };
        let identifier = &self.sessions.at(session).identifier;
        identifier.get(..HOLDER_BYTES_MAX).unwrap_or(identifier)
    }

    /// The keys and modes of a grant.
    pub(super) fn parts_held(&self, at: Ref<Grant>) -> Parts {
        let held = self.holds_of(self.grants.at(at));
        Parts::sorted(held.map(|(_, hold)| {
            let lock = self.locks.at(hold.lock);
            Part {
                key: Key::copied(&lock.key),
                mode: self.mode_of(lock, hold.share),
            }
        }))
    }

    /// A grant as its holder is told of it.
    pub(super) fn describe(&self, at: Ref<Grant>, parts: Parts, replayed: bool) -> answer::Grant {
        let grant = self.grants.at(at);
        answer::Grant {
            zone: grant.zone,
            parts,
            fence: grant.fence,
            life: grant.life(),
            session: grant.session().map(|session| self.sessions.at(session).id),
            holder: Bytes::copy_from_slice(self.holder_name(grant)),
            remaining_ms: self.end_of(grant).map(|end| millis(end.since(self.stamp))),
            replayed,
            entered: grant.entered,
        }
    }
}

/// Whole milliseconds, rounded down: a client believes rather less than more.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
