//! The line before a lock: first come, first served; a waiter that does not fit blocks those behind. Those
//! who hold the lock and convert their grant stand before all others: these may wait for them.
//!
//! A claim over many keys has a place in each one's line, and is served when it is first in all of them
//! and fits. The oldest claim that waits is first everywhere, so some claim always waits for holders
//! alone, and claims can't block each other in a circle.

use super::Machine;
use super::answer::{Answer, Event, Refusal};
use super::convert::conversion_hash;
use super::crowd::Conversions;
use super::hold::{Terms, Wanted};
use super::key::Key;
use super::list::{self, Link};
use super::parts::{Part, Parts};
use super::state::{
    Aim, Asker, Ending, Grant, Line, Lock, Outcome, Place, Queue, Ticket, Work, asked_by, of_line,
    ticket_order,
};
use super::table::Ref;
use crate::hash::hash64;
use crate::ids::{TicketId, ZoneId};
use crate::limits::OFFER_MS;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

pub(super) fn ticket_hash(id: TicketId) -> u64 {
    hash64(&id.get().to_le_bytes())
}

impl Machine {
    /// The ticket with this number in this zone, dead or alive.
    pub(super) fn ticket_of(&self, zone: ZoneId, id: TicketId) -> Option<Ref<Ticket>> {
        self.ticket_index.find(ticket_hash(id), |at| {
            let ticket = self.tickets.at(at);
            ticket.id == id && ticket.zone == zone
        })
    }

    /// Whether it still waits, or its offer stands.
    pub(super) fn is_ticket_alive(&self, ticket: &Ticket) -> bool {
        ticket.deadline > self.stamp
            && ticket
                .session()
                .is_none_or(|session| self.is_session_alive(session))
            && self.is_convertible(ticket)
    }

    /// Whether the grant that it converts, if it does, is alive.
    fn is_convertible(&self, ticket: &Ticket) -> bool {
        let grant = ticket.converts().map(|at| self.grants.at(at));
        grant.is_none_or(|grant| self.is_alive(grant))
    }

    /// Where a claim waits, by key.
    pub(super) fn places_of(&self, ticket: &Ticket) -> impl Iterator<Item = (Ref<Place>, &Place)> {
        let and_record = |at| (at, self.places.at(at));
        let first = ticket.places.map(and_record);
        core::iter::successors(first, move |(_, place)| place.next.map(and_record))
    }

    /// What a claim waits for, by key.
    pub(super) fn wanted_by(
        &self,
        ticket: &Ticket,
    ) -> impl Iterator<Item = (Wanted, Option<Ref<Place>>)> {
        self.places_of(ticket).map(|(at, place)| {
            let wanted = Wanted {
                lock: self.lines.at(place.line).lock,
                share: place.share,
                old: place.old,
            };
            (wanted, Some(at))
        })
    }

    /// The keys and modes that a ticket waits for.
    pub(super) fn parts_wanted(&self, ticket: &Ticket) -> Parts {
        let wanted = self.wanted_by(ticket);
        Parts::sorted(wanted.map(|(wanted, _)| {
            let lock = self.locks.at(wanted.lock);
            Part {
                key: Key::copied(&lock.key),
                mode: self.mode_of(lock, wanted.share),
            }
        }))
    }

    /// How many are before it at most, plus one: those who left from the middle of a line are counted
    /// until all before them have gone, and who is before it in two lines is counted twice (rule 47).
    pub(super) fn position(&self, ticket: &Ticket) -> u64 {
        let before = self.places_of(ticket).map(|(_, place)| {
            let line = self.lines.at(place.line);
            let first = line.queue(place.old.is_some()).first;
            let first = first.map_or(place.number, |at| self.places.at(at).number);
            let converting = place.old.map_or(line.converting.count, |_| 0);
            converting + place.number - first
        });
        before.sum::<u64>() + 1
    }

    /// Puts a claim at the end of the lines of its keys, which are in their order, or of those who convert.
    pub(super) fn enqueue(
        &mut self,
        wanted: &[Wanted],
        (id, zone): (TicketId, ZoneId),
        wait_ms: u64,
        aim: Aim,
        asker: impl FnOnce(Ref<Ticket>) -> Asker,
    ) -> Ref<Ticket> {
        let at = self.tickets.vacant();
        let asker = asker(at);
        self.tickets.insert(Ticket {
            id,
            zone,
            places: None,
            aim,
            since: self.stamp,
            deadline: self.stamp.plus(Duration::from_millis(wait_ms)),
            offered: false,
            asker,
        });
        self.index_ticket(at);
        self.enlist_ticket(at);
        let mut next = None;
        for wanted in wanted.iter().rev().copied() {
            next = Some(self.stand(at, wanted, next));
        }
        self.tickets.at_mut(at).places = next;
        at
    }

    fn stand(
        &mut self,
        ticket: Ref<Ticket>,
        Wanted { lock, share, old }: Wanted,
        next: Option<Ref<Place>>,
    ) -> Ref<Place> {
        let line_at = self.line_for(lock);
        let queue = self.lines.at_mut(line_at).queue_mut(old.is_some());
        let number = queue.place_next;
        queue.place_next += 1;
        let at = self.places.insert(Place {
            ticket,
            line: line_at,
            beside: Link::alone(self.places.vacant()),
            next,
            number,
            share,
            old,
        });
        self.line_up(at);
        at
    }

    /// Puts a new ticket where it is looked for.
    fn index_ticket(&mut self, at: Ref<Ticket>) {
        let hash = |at| ticket_hash(self.tickets.at(at).id);
        self.ticket_index.insert(hash(at), at, hash);
        self.index_conversion(at);
    }

    /// Puts a new ticket among those whose wait ends, and behind those of its session.
    pub(super) fn enlist_ticket(&mut self, at: Ref<Ticket>) {
        let tickets = &self.tickets;
        let ticket = tickets.at(at);
        self.ticket_timers.set(at, ticket_order(tickets));
        if let Some(session) = ticket.session() {
            let first = self.sessions.at(session).tickets;
            let first = list::push_back(&mut self.tickets, first, at, asked_by);
            self.sessions.at_mut(session).tickets = Some(first);
        }
    }

    /// Puts a place of the newest ticket at the end of its line.
    pub(super) fn line_up(&mut self, at: Ref<Place>) {
        let place = self.places.at(at);
        let (line_at, share, old) = (place.line, place.share, place.old);
        let offered = self.tickets.at(place.ticket).offered;
        if offered {
            self.take(self.lines.at(line_at).lock, share);
        }
        let line = self.lines.at_mut(line_at);
        if let Some(old) = old.filter(|_| !offered) {
            line.conversions.add(old, share);
        }
        let queue = line.queue_mut(old.is_some());
        queue.first = Some(list::push_back(&mut self.places, queue.first, at, of_line));
        queue.count += 1;
        if !offered {
            queue.front = queue.front.or(Some(at));
        }
        let zone = self.locks.at(line.lock).zone;
        self.zones.entry(zone).or_default().places += 1;
    }

    fn line_for(&mut self, lock_at: Ref<Lock>) -> Ref<Line> {
        if let Some(line) = self.locks.at(lock_at).line {
            return line;
        }
        let line = self.lines.insert(Line {
            lock: lock_at,
            converting: Queue::default(),
            waiting: Queue::default(),
            conversions: Conversions::default(),
            in_work: false,
        });
        self.locks.at_mut(lock_at).line = Some(line);
        line
    }

    /// Serves the front of a line if it is first in all of its lines and fits, or is dead; notes its
    /// locks for [`Self::wake`], whose part this is.
    pub(super) fn serve(
        &mut self,
        line_at: Ref<Line>,
        dead_are_free: bool,
        events: &mut Vec<Event>,
    ) {
        let Some(front) = self.lines.at(line_at).front() else {
            return;
        };
        let at = self.places.at(front).ticket;
        let ticket = self.tickets.at(at);
        let alive = self.is_ticket_alive(ticket);
        let beyond = self.beyond(ticket);
        let again = self.again_in_front(ticket);
        let stuck = self.stuck_in_front(ticket);
        let is_due = beyond.is_some() || again.is_some() || stuck.is_some() || self.is_next(ticket);
        if alive && !is_due {
            return;
        }
        if alive || !dead_are_free {
            if self.budget == 0 {
                self.defer(line_at);
                return;
            }
            self.spend(self.keys_wanted(at));
        }
        if !alive {
            self.fail(at, events);
        } else if let Some(again) = again {
            self.enter_from_line(at, again, events);
        } else if let Some(capacity) = beyond {
            self.end_ticket(at, Refusal::HasCapacity { capacity }, events);
        } else if let Some(by) = stuck {
            self.end_ticket(at, Refusal::UpgradeDeadlock { by }, events);
        } else if self.tickets.at(at).session().is_some() {
            self.grant_ticket(at, events);
        } else {
            self.offer(at, events);
        }
    }

    /// The capacity of a lock that shrank below what this ticket waits for: it would wait for ever.
    fn beyond(&self, ticket: &Ticket) -> Option<u32> {
        self.wanted_by(ticket).find_map(|(wanted, _)| {
            let n = wanted.share.permits()?;
            let capacity = self.capacity(self.locks.at(wanted.lock))?;
            (n > capacity).then_some(capacity)
        })
    }

    /// Whether a ticket is first in all of its lines, and fits.
    pub(super) fn is_next(&self, ticket: &Ticket) -> bool {
        self.wanted_by(ticket)
            .all(|(wanted, place)| self.is_first(wanted, place))
    }

    /// How many keys a ticket waits for.
    pub(super) fn keys_wanted(&self, at: Ref<Ticket>) -> usize {
        self.places_of(self.tickets.at(at)).count()
    }

    fn defer(&mut self, line_at: Ref<Line>) {
        let line = self.lines.at_mut(line_at);
        if !line.in_work {
            line.in_work = true;
            self.work.push_back(Work::Line(line_at));
        }
    }

    /// Offers that nobody confirmed in time stand in nobody's way. They are first in their queue, by
    /// the time of their end.
    pub(super) fn drop_dead_offers(&mut self, line_at: Ref<Line>, events: &mut Vec<Event>) {
        self.drop_dead_offers_of(line_at, true, events);
        self.drop_dead_offers_of(line_at, false, events);
    }

    fn drop_dead_offers_of(
        &mut self,
        line_at: Ref<Line>,
        converting: bool,
        events: &mut Vec<Event>,
    ) {
        while let Some(first) = self.lines.at(line_at).queue(converting).first {
            let at = self.places.at(first).ticket;
            let ticket = self.tickets.at(at);
            if !ticket.offered || self.is_ticket_alive(ticket) {
                return;
            }
            self.fail(at, events);
        }
    }

    /// The caller of a ticket without a session may be gone: it is asked (rule 32).
    fn offer(&mut self, at: Ref<Ticket>, events: &mut Vec<Event>) {
        let deadline = self.stamp.plus(Duration::from_millis(OFFER_MS));
        let ticket = self.tickets.at(at);
        assert!(!ticket.offered, "locks are offered once to the same caller");
        let (id, mut next) = (ticket.id, ticket.places);
        while let Some(at) = next {
            self.reserve(at);
            next = self.places.at(at).next;
        }
        let ticket = self.tickets.at_mut(at);
        ticket.offered = true;
        ticket.deadline = deadline;
        self.ticket_timers.set(at, ticket_order(&self.tickets));
        events.push(Event::Offered { ticket: id });
    }

    /// What is offered is reserved.
    fn reserve(&mut self, at: Ref<Place>) {
        let place = self.places.at(at);
        let (line_at, beside) = (place.line, place.beside.next);
        let (share, old) = (place.share, place.old);
        self.take(self.lines.at(line_at).lock, share);
        let line = self.lines.at_mut(line_at);
        assert!(
            line.front() == Some(at),
            "those before it were offered it too"
        );
        if let Some(old) = old {
            line.conversions.remove(old, share);
        }
        let queue = line.queue_mut(old.is_some());
        queue.front = (queue.first != Some(beside)).then_some(beside);
        self.woken.push_back(line.lock);
    }

    /// Makes a ticket a grant: its ttl starts now. The caller then does [`Self::wake`].
    pub(super) fn grant_ticket(&mut self, at: Ref<Ticket>, events: &mut Vec<Event>) -> Answer {
        let ticket = self.tickets.at(at);
        let wanted: Vec<Wanted> = self.wanted_by(ticket).map(|(wanted, _)| wanted).collect();
        let ticket = self.leave(at);
        let session = ticket.session();
        let request = match ticket.asker {
            Asker::Key(request) => Some(request),
            Asker::Nobody | Asker::Session { .. } => None,
        };
        let grant = match ticket.aim {
            Aim::Convert(old) => self.replace(old, &wanted, request, events),
            Aim::Take {
                life,
                holder,
                reentrant,
            } => {
                let terms = Terms {
                    zone: ticket.zone,
                    life,
                    deadline: None,
                    holder,
                    session,
                    request,
                    reentrant,
                    is_reserved: ticket.offered,
                };
                self.grant(&wanted, terms)
            }
        };
        self.end_granted((ticket.id, &ticket.asker), grant, events)
    }

    /// The end of a ticket that left its lines: what it led to.
    pub(super) fn end_granted(
        &mut self,
        (ticket, asker): (TicketId, &Asker),
        grant: Ref<Grant>,
        events: &mut Vec<Event>,
    ) -> Answer {
        let fence = self.grants.at(grant).fence;
        self.conclude(asker, Outcome::Granted { fence });
        let answer = Answer::Granted(self.describe(grant, self.parts_held(grant), false));
        events.push(Event::Ended {
            ticket,
            answer: answer.clone(),
        });
        answer
    }

    /// Ends a ticket that is dead, with the reason it has. The caller then does [`Self::wake`].
    pub(super) fn fail(&mut self, at: Ref<Ticket>, events: &mut Vec<Event>) {
        let ticket = self.tickets.at(at);
        let session = ticket.session();
        let ending = session.and_then(|session| self.sessions.at(session).ending);
        let gone = session.is_some_and(|session| !self.is_session_alive(session));
        let refusal = match (gone, ending) {
            (true, Some(Ending::Closed)) => Refusal::Cancelled,
            (true, Some(Ending::Expired) | None) => Refusal::SessionGone,
            (false, _) if !self.is_convertible(ticket) => Refusal::NotHeld,
            (false, _) if ticket.offered => Refusal::Cancelled,
            (false, _) => Refusal::WaitTimeout {
                by: self.blockers(ticket.converts(), self.wanted_by(ticket)),
            },
        };
        self.end_ticket(at, refusal, events);
    }

    /// Ends a ticket without a grant. The caller then does [`Self::wake`].
    pub(super) fn end_ticket(
        &mut self,
        at: Ref<Ticket>,
        refusal: Refusal,
        events: &mut Vec<Event>,
    ) {
        let ticket = self.leave(at);
        let answer = Answer::Refused(refusal);
        self.conclude(&ticket.asker, Outcome::Said(Box::new(answer.clone())));
        if let Asker::Key(request) = ticket.asker {
            self.forget_later(request);
        }
        events.push(Event::Ended {
            ticket: ticket.id,
            answer,
        });
    }

    /// Takes a ticket out of everything, and notes its locks for [`Self::wake`].
    pub(super) fn leave(&mut self, at: Ref<Ticket>) -> Ticket {
        let tickets = &self.tickets;
        self.ticket_timers.clear(at, ticket_order(tickets));
        let ticket = tickets.at(at);
        self.ticket_index.remove(ticket_hash(ticket.id), at);
        if let Some(grant) = ticket.converts() {
            self.conversion_index.remove(conversion_hash(grant), at);
        }
        if let Some(session) = ticket.session() {
            let Some(first) = self.sessions.at(session).tickets else {
                panic!("a session's ticket is in its ring");
            };
            let left = list::unlink(&mut self.tickets, first, at, asked_by);
            self.sessions.at_mut(session).tickets = left;
        }
        let ticket = self.tickets.remove(at);
        let mut next = ticket.places;
        while let Some(at) = next {
            next = self.step_out(at, ticket.offered);
        }
        ticket
    }

    /// Takes a place out of its line. Returns that of the claim's next key.
    fn step_out(&mut self, at: Ref<Place>, offered: bool) -> Option<Ref<Place>> {
        let place = self.places.at(at);
        let (line_at, next) = (place.line, place.beside.next);
        let (share, old) = (place.share, place.old);
        if offered {
            self.give(self.lines.at(line_at).lock, share);
        }
        let line = self.lines.at_mut(line_at);
        if let Some(old) = old.filter(|_| !offered) {
            line.conversions.remove(old, share);
        }
        let lock_at = line.lock;
        let queue = line.queue_mut(old.is_some());
        let Some(first) = queue.first else {
            panic!("a place is in its line");
        };
        if queue.front == Some(at) {
            queue.front = (next != first).then_some(next);
        }
        queue.first = list::unlink(&mut self.places, first, at, of_line);
        queue.count -= 1;
        let zone = self.locks.at(lock_at).zone;
        self.zones.entry(zone).or_default().places -= 1;
        self.woken.push_back(lock_at);
        self.places.remove(at).next
    }

    /// The places of a line, first to last: those who convert stand before the others.
    pub(super) fn places_in(&self, line: &Line) -> impl Iterator<Item = (&Ticket, &Place)> {
        let converting = self.places_of_queue(&line.converting);
        converting.chain(self.places_of_queue(&line.waiting))
    }

    pub(super) fn places_of_queue(&self, queue: &Queue) -> impl Iterator<Item = (&Ticket, &Place)> {
        let first = queue.first;
        core::iter::successors(first, move |at| {
            let next = self.places.at(*at).beside.next;
            (Some(next) != first).then_some(next)
        })
        .map(|at| {
            let place = self.places.at(at);
            (self.tickets.at(place.ticket), place)
        })
    }
}
