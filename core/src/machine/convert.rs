//! Conversion of a grant: other modes, or another number of permits, for locks that it holds.
//!
//! For less, or as much, it is changed where it stands. For more it is one grant's end and another one's
//! beginning, with a new fence: a storage that refuses fences smaller than it has seen must take the writes of
//! who became exclusive, and refuse those of the shared holder that he waited for. Who has to wait for more
//! stands before all who hold nothing (the conversion queue of the VMS lock manager: Snaman and Thiel, The
//! VAX/VMS Distributed Lock Manager, Digital Technical Journal 5, 1987).
//!
//! Two who share a lock and both want it alone wait for each other for ever. The second one is refused.

use super::answer::{Answer, Blocker, Event, Refusal};
use super::command::Convert;
use super::crowd::{Share, compatible, covers};
use super::deadlock::Newcomer;
use super::hold::{Terms, Wanted};
use super::once::From;
use super::state::{Aim, Grant, Lock, Outcome, Place, Request, Ticket};
use super::table::Ref;
use super::{Machine, Origin};
use crate::hash::hash64;
use crate::ids::ZoneId;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

/// How many of those who convert are looked at for the one who waits for the newcomer, to be shown.
const CONVERTING_SOUGHT_MAX: usize = 64;

pub(super) fn conversion_hash(grant: Ref<Grant>) -> u64 {
    hash64(&grant.raw().to_le_bytes())
}

impl Machine {
    /// Changes how a grant shares its locks, or puts it in line for that.
    pub(super) fn convert(
        &mut self,
        (origin, zone): (Origin, ZoneId),
        convert: &Convert,
        from: From,
        events: &mut Vec<Event>,
    ) -> (Answer, Option<Outcome>) {
        self.look(zone, &convert.parts, events);
        let (grant, changes) = match self.changes(zone, convert, events) {
            Ok(changes) => changes,
            Err(refusal) => return (Answer::Refused(refusal), None),
        };
        if changes.iter().all(Wanted::is_covered) {
            return (self.lessen(grant, &changes, events), None);
        }
        let newcomer = changes.iter().map(|wanted| (*wanted, None));
        if newcomer
            .clone()
            .all(|(wanted, _)| self.is_first(wanted, None))
        {
            return self.convert_now(grant, &changes, from, events);
        }
        let refusal = if convert.wait_ms == 0 {
            let by = self.blockers(Some(grant), newcomer);
            Some(Refusal::Held { by })
        } else if let Some(by) = changes.iter().find_map(|wanted| self.waits_for_it(*wanted)) {
            Some(Refusal::UpgradeDeadlock { by })
        } else {
            let what = self.exceeded(zone, changes.len(), false);
            let quota = what.map(|what| Refusal::Quota { what });
            quota.or_else(|| self.circle_of(grant, &changes, from))
        };
        if let Some(refusal) = refusal {
            return (Answer::Refused(refusal), None);
        }
        let (ticket, aim) = ((origin.ticket(), zone), Aim::Convert(grant));
        self.line_up_for(&changes, ticket, convert.wait_ms, aim, from)
    }

    /// Why its session would wait for itself.
    fn circle_of(&self, grant: Ref<Grant>, changes: &[Wanted], from: From) -> Option<Refusal> {
        let From::Session(session, _) = from else {
            return None;
        };
        let newcomer = Newcomer {
            session,
            wanted: changes,
            reentrant: false,
            converts: Some(grant),
        };
        self.refuse_circle(newcomer).err()
    }

    /// The grant, and what is to be different, by key.
    fn changes(
        &mut self,
        zone: ZoneId,
        convert: &Convert,
        events: &mut Vec<Event>,
    ) -> Result<(Ref<Grant>, Vec<Wanted>), Refusal> {
        let found = self.grant_of(zone, convert.parts.first().key.as_bytes(), convert.fence);
        let alive = found.filter(|at| self.is_alive(self.grants.at(*at)));
        let grant = alive.ok_or(Refusal::NotHeld)?;
        if self.is_being_converted(grant) {
            return Err(Refusal::Converting);
        }
        if let Some(dead) = self.conversion_of(grant) {
            self.fail(dead, events);
            self.wake(true, events);
        }
        let entered = self.grants.at(grant).entered;
        if entered > 1 {
            return Err(Refusal::Entered { entered });
        }
        let mut changes = Vec::with_capacity(convert.parts.count());
        for part in convert.parts.iter() {
            let lock = self.lock_of(zone, part.key.as_bytes());
            let lock = lock.ok_or(Refusal::NotHeld)?;
            let old = self.share_of(grant, lock).ok_or(Refusal::NotHeld)?;
            if let Some(refusal) = self.is_shared_otherwise(self.locks.at(lock), part.mode) {
                return Err(refusal);
            }
            changes.push(Wanted {
                lock,
                share: Share::of(part.mode),
                old: Some(old),
            });
        }
        changes.retain(|wanted| Some(wanted.share) != wanted.old);
        Ok((grant, changes))
    }

    /// What a grant has of a lock.
    pub(super) fn share_of(&self, grant: Ref<Grant>, lock: Ref<Lock>) -> Option<Share> {
        let mut holds = self.holds_of(self.grants.at(grant));
        let hold = holds.find(|(_, hold)| hold.lock == lock);
        hold.map(|(_, hold)| hold.share)
    }

    /// The ticket that converts a grant, dead or alive.
    pub(super) fn conversion_of(&self, grant: Ref<Grant>) -> Option<Ref<Ticket>> {
        let is_it = |at| self.tickets.at(at).converts() == Some(grant);
        self.conversion_index.find(conversion_hash(grant), is_it)
    }

    pub(super) fn is_being_converted(&self, grant: Ref<Grant>) -> bool {
        let ticket = self.conversion_of(grant);
        ticket.is_some_and(|at| self.is_ticket_alive(self.tickets.at(at)))
    }

    /// Puts a new ticket that converts where its grant finds it.
    pub(super) fn index_conversion(&mut self, at: Ref<Ticket>) {
        let tickets = &self.tickets;
        let hash = |at| tickets.at(at).converts().map_or(0, conversion_hash);
        if let Some(grant) = tickets.at(at).converts() {
            self.conversion_index
                .insert(conversion_hash(grant), at, hash);
        }
    }

    /// A grant goes on with less than it had. Whoever fits now is served.
    fn lessen(&mut self, at: Ref<Grant>, changes: &[Wanted], events: &mut Vec<Event>) -> Answer {
        let mut next = self.grants.at(at).holds;
        while let Some(hold_at) = next {
            let hold = self.holds.at_mut(hold_at);
            let (lock, old) = (hold.lock, hold.share);
            next = hold.next;
            if let Some(change) = changes.iter().find(|wanted| wanted.lock == lock) {
                hold.share = change.share;
                self.reshare(lock, old, change.share);
                self.woken.push_back(lock);
            }
        }
        self.budget = self.budget.max(1);
        self.wake(false, events);
        let fence = self.grants.at(at).fence;
        Answer::Converted { fence }
    }

    fn convert_now(
        &mut self,
        grant: Ref<Grant>,
        changes: &[Wanted],
        from: From,
        events: &mut Vec<Event>,
    ) -> (Answer, Option<Outcome>) {
        let grant = self.replace(grant, changes, from.request(), events);
        let fence = self.grants.at(grant).fence;
        let answer = Answer::Granted(self.describe(grant, self.parts_held(grant), false));
        self.budget = self.budget.max(1);
        self.wake(false, events);
        (answer, Some(Outcome::Granted { fence }))
    }

    /// Ends a grant and makes one that has more, for what is left of its life. The caller then does
    /// [`Self::wake`].
    pub(super) fn replace(
        &mut self,
        old: Ref<Grant>,
        changes: &[Wanted],
        request: Option<Ref<Request>>,
        events: &mut Vec<Event>,
    ) -> Ref<Grant> {
        let grant = self.grants.at(old);
        let of_hold = |(lock, share)| {
            let change = changes.iter().find(|wanted| wanted.lock == lock);
            Wanted {
                lock,
                share: change.map_or(share, |wanted| wanted.share),
                old: None,
            }
        };
        let held = self.holds_of(grant);
        let held = held.map(|(_, hold)| of_hold((hold.lock, hold.share)));
        let wanted: Vec<Wanted> = held.collect();
        let terms = Terms {
            zone: grant.zone,
            life: grant.life(),
            deadline: Some(grant.deadline()),
            holder: grant.holder.clone(),
            session: grant.session(),
            request,
            reentrant: grant.entered > 0,
            is_reserved: true,
        };
        self.end(old, events);
        self.grant(&wanted, terms)
    }

    /// Who waits for what this newcomer holds and would keep while it waits behind that one.
    fn waits_for_it(&self, wanted: Wanted) -> Option<Vec<Blocker>> {
        let (lock, old) = (self.locks.at(wanted.lock), wanted.old?);
        let line = self.lines.at(lock.line?);
        let front = self.places.at(line.converting.front?);
        if let Some(n) = old.permits() {
            let is_stuck = self.is_stuck(front, n.into());
            return is_stuck.then(|| self.converter(front));
        }
        if !line.conversions.waits_for(old) {
            return None;
        }
        let waits = self.places_of_queue(&line.converting);
        let mut waits = waits.take(CONVERTING_SOUGHT_MAX).map(|(_, place)| place);
        let conflict = waits.find(|place| !compatible(place.share, old));
        Some(self.converter(conflict.unwrap_or(front)))
    }

    /// Whether one who is the first to convert could not have its permits though all went but those who
    /// convert behind it, and one more who keeps so many.
    fn is_stuck(&self, front: &Place, more: u64) -> bool {
        let line = self.lines.at(front.line);
        let capacity = self.capacity(self.locks.at(line.lock));
        let of = |share: Share| share.permits().map(u64::from);
        let known = of(front.share).zip(front.old.and_then(of)).zip(capacity);
        known.is_some_and(|((n, own), capacity)| {
            n > own && n + line.conversions.kept_beside(own) + more > u64::from(capacity)
        })
    }

    /// Of a ticket that is the first to convert some lock, but waits for permits of one behind it: that one.
    /// It came to be the first, or the lock shrank; to look for all of them would walk the line.
    pub(super) fn stuck_in_front(&self, ticket: &Ticket) -> Option<Vec<Blocker>> {
        ticket.converts()?;
        self.places_of(ticket).find_map(|(at, place)| {
            let line = self.lines.at(place.line);
            let is_front = line.converting.front == Some(at);
            let behind = self.places.at(place.beside.next);
            (is_front && self.is_stuck(place, 0)).then(|| self.converter(behind))
        })
    }

    /// One who converts, by what he holds.
    fn converter(&self, place: &Place) -> Vec<Blocker> {
        let ticket = self.tickets.at(place.ticket);
        let lock = self.locks.at(self.lines.at(place.line).lock);
        let held = ticket.converts().zip(place.old);
        let blocker = held.map(|(grant, share)| {
            let grant = self.grants.at(grant);
            Blocker {
                holder: Bytes::copy_from_slice(self.holder_name(grant)),
                fence: grant.fence,
                mode: self.mode_of(lock, share),
            }
        });
        blocker.map_or_else(Vec::new, |blocker| vec![blocker])
    }
}

impl Wanted {
    /// Whether who has the old share has this one as well.
    fn is_covered(&self) -> bool {
        let Some(old) = self.old else {
            return false;
        };
        match (old.permits(), self.share.permits()) {
            (Some(old), Some(new)) => new <= old,
            (None, None) => covers(old, self.share),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}
