//! What each command does, once it is known to be new.

use super::answer::{Answer, Event, Refusal, Table as Limited};
use super::command::{Acquire, Command, Mode, Operation};
use super::crowd::{Crowd, Share};
use super::deadlock::Newcomer;
use super::hold::{Terms, Wanted};
use super::key::Key;
use super::list::Link;
use super::once::From;
use super::parts::{Part, Parts};
use super::state::{Aim, Asker, Grant, Lock, Outcome, Place, Ticket};
use super::table::Ref;
use super::{Machine, Origin};
use crate::ids::{Fence, TicketId, ZoneId};
use alloc::vec::Vec;

impl Machine {
    /// Does what a command says. The outcome is what a retry is answered from, if it is more than
    /// the answer itself.
    pub(super) fn operate(
        &mut self,
        origin: Origin,
        command: &Command,
        from: From,
        events: &mut Vec<Event>,
    ) -> (Answer, Option<Outcome>) {
        let zone = command.zone;
        let answer = match &command.operation {
            Operation::Acquire(acquire) => {
                return self.acquire(origin, command, acquire, from, events);
            }
            Operation::Convert(convert) => {
                return self.convert((origin, zone), convert, from, events);
            }
            Operation::Release { key, fence, all } => {
                self.release((zone, key, *fence), *all, from, events)
            }
            Operation::Cancel { ticket } => self.cancel(zone, *ticket, from, events),
            Operation::Confirm { ticket } => self.confirm(zone, *ticket, events),
            Operation::OpenSession {
                ttl_ms,
                identifier,
                threads,
            } => self.open_session((origin, zone), *ttl_ms, identifier, *threads, events),
            Operation::CloseSession { session } => self.close_session(zone, *session, events),
            Operation::Resize { key, capacity } => self.resize(zone, key, *capacity, events),
            Operation::Force(force) => self.force(command, force, events),
            Operation::Renew { .. } | Operation::KeepAlive { .. } => {
                panic!("renewals go before the clock")
            }
            Operation::Configure(_) => panic!("a change of the configuration asks for no lock"),
        };
        (answer, None)
    }

    fn acquire(
        &mut self,
        origin: Origin,
        command: &Command,
        acquire: &Acquire,
        from: From,
        events: &mut Vec<Event>,
    ) -> (Answer, Option<Outcome>) {
        let zone = command.zone;
        let found = self.look(zone, &acquire.parts, events);
        if acquire.reentrant
            && let Some(again) = self.reenter(&found, &acquire.parts, from)
        {
            return again;
        }
        let mut parts = found.iter().zip(acquire.parts.iter());
        let otherwise = parts.find_map(|(at, part)| {
            let lock = self.locks.at((*at)?);
            self.is_shared_otherwise(lock, part.mode)
        });
        if let Some(refusal) = otherwise {
            return (Answer::Refused(refusal), None);
        }
        let parts = found.iter().zip(acquire.parts.iter());
        let known = parts.filter_map(|(at, part)| {
            let wanted = Wanted {
                lock: (*at)?,
                share: Share::of(part.mode),
                old: None,
            };
            Some((wanted, None))
        });
        let known: Vec<(Wanted, Option<Ref<Place>>)> = known.collect();
        let mut parts = known.iter();
        let free = parts.all(|(wanted, place)| self.is_first(*wanted, *place));
        if !free && acquire.wait_ms == 0 {
            let by = self.blockers(None, known.into_iter());
            return (Answer::Refused(Refusal::Held { by }), None);
        }
        if let Some(what) = self.exceeded(zone, acquire.parts.count(), free) {
            return (Answer::Refused(Refusal::Quota { what }), None);
        }
        if !free && let From::Session(session, _) = from {
            let known: Vec<Wanted> = known.into_iter().map(|(wanted, _)| wanted).collect();
            let newcomer = Newcomer {
                session,
                wanted: &known,
                reentrant: acquire.reentrant,
                converts: None,
            };
            if let Err(refusal) = self.refuse_circle(newcomer) {
                return (Answer::Refused(refusal), None);
            }
        }
        let wanted = found.into_iter().zip(acquire.parts.iter());
        let wanted: Vec<Wanted> = wanted
            .map(|(found, part)| Wanted {
                lock: self.lock_for(zone, found, part),
                share: Share::of(part.mode),
                old: None,
            })
            .collect();
        let terms = self.terms(command, acquire, from);
        if free {
            let grant = self.grant(&wanted, terms);
            let fence = self.grants.at(grant).fence;
            let answer = Answer::Granted(self.describe(grant, acquire.parts.clone(), false));
            return (answer, Some(Outcome::Granted { fence }));
        }
        let aim = Aim::Take {
            life: terms.life,
            holder: terms.holder,
            reentrant: terms.reentrant,
        };
        let ticket = (origin.ticket(), zone);
        self.line_up_for(&wanted, ticket, acquire.wait_ms, aim, from)
    }

    /// Puts a claim in its lines, and says where it stands.
    pub(super) fn line_up_for(
        &mut self,
        wanted: &[Wanted],
        ticket: (TicketId, ZoneId),
        wait_ms: u64,
        aim: Aim,
        from: From,
    ) -> (Answer, Option<Outcome>) {
        let asker = |at| asker_of(from, at);
        let at = self.enqueue(wanted, ticket, wait_ms, aim, asker);
        let ticket = self.tickets.at(at);
        let answer = Answer::Queued {
            ticket: ticket.id,
            position: self.position(ticket),
        };
        (answer, Some(Outcome::Waits(at)))
    }

    /// The lock of a part, which says how it is shared if nobody did before.
    fn lock_for(&mut self, zone: ZoneId, found: Option<Ref<Lock>>, part: &Part) -> Ref<Lock> {
        let at = found.unwrap_or_else(|| self.make_lock(zone, part.key.as_bytes()));
        if let Mode::Permits { capacity, .. } = part.mode
            && self.capacity(self.locks.at(at)).is_none()
        {
            self.set_capacity(at, capacity);
        }
        at
    }

    /// Why a lock, as it is in use now, can't be shared as the claim says.
    pub(super) fn is_shared_otherwise(&self, lock: &Lock, mode: Mode) -> Option<Refusal> {
        if !self.is_used(lock) {
            return None;
        }
        match (self.capacity(lock), mode) {
            (Some(now), Mode::Permits { capacity, .. }) if now == capacity => None,
            (Some(capacity), _) => Some(Refusal::HasCapacity { capacity }),
            (None, Mode::Permits { .. }) => Some(Refusal::NoPermits),
            (
                None,
                Mode::Exclusive
                | Mode::Shared
                | Mode::Null
                | Mode::ConcurrentRead
                | Mode::ConcurrentWrite
                | Mode::ProtectedWrite,
            ) => None,
        }
    }

    /// Changes how many permits a lock has.
    fn resize(
        &mut self,
        zone: ZoneId,
        key: &Key,
        capacity: u32,
        events: &mut Vec<Event>,
    ) -> Answer {
        let found = self.lock_of(zone, key.as_bytes());
        if let Some(at) = found {
            self.settle(at, events);
        }
        let found = found.filter(|at| self.locks.peek(*at).is_some());
        let crowd = found.and_then(|at| self.locks.at(at).crowd);
        let Some((at, crowd)) = found.zip(crowd) else {
            return Answer::Refused(Refusal::NoPermits);
        };
        let Crowd::Permits { capacity: now, .. } = self.crowds.at_mut(crowd) else {
            return Answer::Refused(Refusal::NoPermits);
        };
        *now = capacity;
        self.budget = self.budget.max(1);
        self.woken.push_back(at);
        self.wake(false, events);
        Answer::Resized { capacity }
    }

    /// The locks of a claim, brought up to date; none for a key that nobody holds or waits for.
    pub(super) fn look(
        &mut self,
        zone: ZoneId,
        parts: &Parts,
        events: &mut Vec<Event>,
    ) -> Vec<Option<Ref<Lock>>> {
        let mut found = Vec::with_capacity(parts.count());
        for part in parts.iter() {
            let at = self.lock_of(zone, part.key.as_bytes());
            if let Some(at) = at {
                self.settle(at, events);
            }
            found.push(at);
        }
        // What one key brought up to date may have been the last of another.
        for at in &mut found {
            *at = at.filter(|at| self.locks.peek(*at).is_some());
        }
        found
    }

    fn terms(&self, command: &Command, acquire: &Acquire, from: From) -> Terms {
        Terms {
            zone: command.zone,
            life: acquire.life,
            deadline: None,
            holder: self.holder_to_keep(command, acquire, from).into(),
            session: match from {
                From::Session(session, _) => Some(session),
                From::Nobody | From::Key(_) => None,
            },
            request: from.request(),
            reentrant: acquire.reentrant,
            is_reserved: false,
        }
    }

    pub(super) fn exceeded(&self, zone: ZoneId, keys: usize, free: bool) -> Option<Limited> {
        let quota = self.shared.quota(zone);
        let zone = self.zones.get(&zone)?;
        let locks_max = capped(self.limits.locks, quota.locks);
        if zone.holds + zone.places + keys > locks_max {
            return Some(Limited::Locks);
        }
        let tickets_max = capped(self.limits.tickets, quota.tickets);
        (!free && zone.places + keys > tickets_max).then_some(Limited::Tickets)
    }

    /// The holder's name as it is stored: nothing if the session's identifier says it.
    fn holder_to_keep<'a>(
        &self,
        command: &'a Command,
        acquire: &'a Acquire,
        from: From,
    ) -> &'a [u8] {
        let by_session = match from {
            From::Session(session, _) => !self.sessions.at(session).identifier.is_empty(),
            From::Nobody | From::Key(_) => false,
        };
        if acquire.holder.is_empty() && !by_session {
            return &command.principal;
        }
        &acquire.holder
    }

    fn release(
        &mut self,
        (zone, key, fence): (ZoneId, &Key, Fence),
        all: bool,
        from: From,
        events: &mut Vec<Event>,
    ) -> Answer {
        let given = self
            .zones
            .get(&zone)
            .map_or(Fence::default(), |zone| zone.fence);
        if fence > given {
            return Answer::Refused(Refusal::NotHeld);
        }
        let already = Answer::Released {
            fence,
            already: true,
            entered: 0,
        };
        let Some(at) = self.grant_of(zone, key.as_bytes(), fence) else {
            return already;
        };
        self.budget = self.budget.max(1);
        if !self.is_alive(self.grants.at(at)) {
            self.lose(at, events);
            self.wake(false, events);
            return already;
        }
        let entered = self.grants.at(at).entered;
        if entered > 1 && !all {
            return self.count_down_entry(at, from);
        }
        self.end(at, events);
        self.wake(false, events);
        Answer::Released {
            fence,
            already: false,
            entered: 0,
        }
    }

    /// Leaves a grant that its session has entered more than once.
    fn count_down_entry(&mut self, at: Ref<Grant>, from: From) -> Answer {
        if matches!(from, From::Nobody) {
            return Answer::Refused(Refusal::Invalid {
                what: "a retry of a release that counts down must be known as one",
            });
        }
        let grant = self.grants.at_mut(at);
        grant.entered -= 1;
        Answer::Released {
            fence: grant.fence,
            already: false,
            entered: grant.entered,
        }
    }

    fn cancel(
        &mut self,
        zone: ZoneId,
        id: TicketId,
        from: From,
        events: &mut Vec<Event>,
    ) -> Answer {
        let found = self.ticket_of(zone, id);
        let Some(at) = found.filter(|at| self.is_ticket_alive(self.tickets.at(*at))) else {
            return Answer::Refused(Refusal::NoSuchTicket);
        };
        let owner = self.tickets.at(at).session();
        let asks = match from {
            From::Session(session, _) => Some(session),
            From::Nobody | From::Key(_) => None,
        };
        if owner.is_some() && owner != asks {
            return Answer::Refused(Refusal::NoSuchTicket);
        }
        self.end_ticket(at, Refusal::Cancelled, events);
        self.budget = self.budget.max(1);
        self.wake(false, events);
        Answer::Cancelled { ticket: id }
    }

    fn confirm(&mut self, zone: ZoneId, id: TicketId, events: &mut Vec<Event>) -> Answer {
        let found = self.ticket_of(zone, id);
        let Some(at) = found.filter(|at| self.is_ticket_alive(self.tickets.at(*at))) else {
            return Answer::Refused(Refusal::NoSuchTicket);
        };
        let ticket = self.tickets.at(at);
        if ticket.offered {
            let answer = self.grant_ticket(at, events);
            self.wake(false, events);
            return answer;
        }
        Answer::Queued {
            ticket: id,
            position: self.position(ticket),
        }
    }
}

/// The smaller of a limit of the machine and what the shared configuration allows.
pub(super) fn capped(limit: usize, quota: Option<u64>) -> usize {
    let quota = quota.and_then(|quota| usize::try_from(quota).ok());
    quota.map_or(limit, |quota| quota.min(limit))
}

fn asker_of(from: From, at: Ref<Ticket>) -> Asker {
    match from {
        From::Nobody => Asker::Nobody,
        From::Key(request) => Asker::Key(request),
        From::Session(session, seq) => Asker::Session {
            session,
            seq,
            beside: Link::alone(at),
        },
    }
}
