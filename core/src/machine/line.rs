//! The line before a lock: first come, first served; a waiter that does not fit blocks those behind.

use super::Machine;
use super::answer::{Answer, Event, Refusal};
use super::hold::Claim;
use super::key::Key;
use super::list::{self, Link};
use super::state::{
    Asker, Ending, Line, Lock, Outcome, Ticket, Work, asked_by, of_line, ticket_order,
};
use super::table::Ref;
use crate::hash::hash64;
use crate::ids::{TicketId, ZoneId};
use crate::limits::OFFER_MS;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

fn ticket_hash(id: TicketId) -> u64 {
    hash64(&id.get().to_le_bytes())
}

impl Machine {
    /// The ticket with this number in this zone, dead or alive.
    pub(super) fn ticket_of(&self, zone: ZoneId, id: TicketId) -> Option<Ref<Ticket>> {
        self.ticket_index.find(ticket_hash(id), |at| {
            let ticket = self.tickets.at(at);
            ticket.id == id && self.locks.at(self.lines.at(ticket.line).lock).zone == zone
        })
    }

    /// Whether it still waits, or its offer stands.
    pub(super) fn is_ticket_alive(&self, ticket: &Ticket) -> bool {
        ticket.deadline > self.stamp
            && ticket
                .session()
                .is_none_or(|session| self.is_session_alive(session))
    }

    /// How many are before it at most, plus one: those who left from the middle are counted until
    /// all before them have gone (rule 47).
    pub(super) fn position(&self, ticket: &Ticket) -> u64 {
        let first = self.lines.at(ticket.line).first;
        let first = first.map_or(ticket.place, |at| self.tickets.at(at).place);
        ticket.place - first + 1
    }

    /// Puts a claim at the end of the line.
    pub(super) fn enqueue(
        &mut self,
        lock_at: Ref<Lock>,
        id: TicketId,
        wait_ms: u64,
        claim: Claim,
        asker: impl FnOnce(Ref<Ticket>) -> Asker,
    ) -> Ref<Ticket> {
        let line_at = self.line_for(lock_at);
        let at = self.tickets.vacant();
        let asker = asker(at);
        let line = self.lines.at_mut(line_at);
        let place = line.place_next;
        line.place_next += 1;
        self.tickets.insert(Ticket {
            id,
            line: line_at,
            beside: Link::alone(at),
            place,
            mode: claim.mode,
            life: claim.life,
            holder: claim.holder,
            since: self.stamp,
            deadline: self.stamp.plus(Duration::from_millis(wait_ms)),
            offered: false,
            asker,
        });
        self.line_up(at);
        at
    }

    /// Puts a new ticket at the end of its line, and where it is looked for.
    pub(super) fn line_up(&mut self, at: Ref<Ticket>) {
        let tickets = &self.tickets;
        let ticket = tickets.at(at);
        let (line_at, offered, session) = (ticket.line, ticket.offered, ticket.session());
        self.ticket_timers.set(at, ticket_order(tickets));
        self.ticket_index.insert(ticket_hash(ticket.id), at, |at| {
            ticket_hash(tickets.at(at).id)
        });
        let line = self.lines.at_mut(line_at);
        line.first = Some(list::push_back(&mut self.tickets, line.first, at, of_line));
        line.count += 1;
        if !offered {
            line.front = line.front.or(Some(at));
        }
        let zone = self.locks.at(line.lock).zone;
        self.zones.entry(zone).or_default().tickets += 1;
        if let Some(session) = session {
            let first = self.sessions.at(session).tickets;
            let first = list::push_back(&mut self.tickets, first, at, asked_by);
            self.sessions.at_mut(session).tickets = Some(first);
        }
    }

    fn line_for(&mut self, lock_at: Ref<Lock>) -> Ref<Line> {
        if let Some(line) = self.locks.at(lock_at).line {
            return line;
        }
        let line = self.lines.insert(Line {
            lock: lock_at,
            first: None,
            front: None,
            count: 0,
            place_next: 0,
            in_work: false,
        });
        self.locks.at_mut(lock_at).line = Some(line);
        line
    }

    /// Serves the line from its front, as far as they fit and the entry has room; the rest is work
    /// for the next entries. With `dead_are_free`, those who are dead do not use up that room.
    pub(super) fn serve(
        &mut self,
        line_at: Ref<Line>,
        dead_are_free: bool,
        events: &mut Vec<Event>,
    ) {
        while let Some(front) = self.lines.at(line_at).front {
            let ticket = self.tickets.at(front);
            let alive = self.is_ticket_alive(ticket);
            let lock = self.locks.at(self.lines.at(line_at).lock);
            if alive && !self.fits(lock, ticket.mode) {
                return;
            }
            if alive || !dead_are_free {
                if self.budget == 0 {
                    self.defer(line_at);
                    return;
                }
                self.budget -= 1;
            }
            if !alive {
                self.fail(front, events);
            } else if self.tickets.at(front).session().is_some() {
                self.grant_ticket(front, events);
            } else {
                self.offer(front, events);
            }
        }
    }

    fn defer(&mut self, line_at: Ref<Line>) {
        let line = self.lines.at_mut(line_at);
        if !line.in_work {
            line.in_work = true;
            self.work.push_back(Work::Line(line_at));
        }
    }

    /// Offers that nobody confirmed in time stand in nobody's way. They are first in the line, by
    /// the time of their end.
    pub(super) fn drop_dead_offers(&mut self, line_at: Ref<Line>, events: &mut Vec<Event>) {
        while let Some(first) = self.lines.at(line_at).first {
            let ticket = self.tickets.at(first);
            if !ticket.offered || self.is_ticket_alive(ticket) {
                return;
            }
            self.fail(first, events);
        }
    }

    /// The caller of a ticket without a session may be gone: it is asked (rule 32).
    fn offer(&mut self, at: Ref<Ticket>, events: &mut Vec<Event>) {
        let deadline = self.stamp.plus(Duration::from_millis(OFFER_MS));
        let ticket = self.tickets.at_mut(at);
        assert!(!ticket.offered, "a lock is offered once to the same caller");
        ticket.offered = true;
        ticket.deadline = deadline;
        let (id, line_at, next) = (ticket.id, ticket.line, ticket.beside.next);
        let tickets = &self.tickets;
        self.ticket_timers.set(at, ticket_order(tickets));
        let line = self.lines.at_mut(line_at);
        assert!(
            line.front == Some(at),
            "those before it were offered it too"
        );
        line.front = (line.first != Some(next)).then_some(next);
        events.push(Event::Offered { ticket: id });
    }

    /// Makes a ticket a grant: its ttl starts now.
    pub(super) fn grant_ticket(&mut self, at: Ref<Ticket>, events: &mut Vec<Event>) -> Answer {
        let (ticket, lock_at) = self.leave(at);
        let session = ticket.session();
        let request = match ticket.asker {
            Asker::Key(request) => Some(request),
            Asker::Nobody | Asker::Session { .. } => None,
        };
        let grant = self.grant(
            lock_at,
            Claim {
                mode: ticket.mode,
                life: ticket.life,
                holder: ticket.holder,
                session,
                request,
            },
        );
        let fence = self.grants.at(grant).fence;
        self.conclude(&ticket.asker, Outcome::Granted { fence });
        let key = Key::copied(&self.locks.at(lock_at).key);
        let answer = Answer::Granted(self.describe(grant, key, false));
        events.push(Event::Ended {
            ticket: ticket.id,
            answer: answer.clone(),
        });
        answer
    }

    /// Ends a ticket that is dead, with the reason it has.
    pub(super) fn fail(&mut self, at: Ref<Ticket>, events: &mut Vec<Event>) -> Ref<Lock> {
        let ticket = self.tickets.at(at);
        let session = ticket.session();
        let ending = session.and_then(|session| self.sessions.at(session).ending);
        let gone = session.is_some_and(|session| !self.is_session_alive(session));
        let lock = self.locks.at(self.lines.at(ticket.line).lock);
        let refusal = match (gone, ending) {
            (true, Some(Ending::Closed)) => Refusal::Cancelled,
            (true, Some(Ending::Expired) | None) => Refusal::SessionGone,
            (false, _) if ticket.offered => Refusal::Cancelled,
            (false, _) => Refusal::WaitTimeout {
                by: self.blockers(lock),
            },
        };
        self.end_ticket(at, refusal, events)
    }

    /// Ends a ticket without a grant. The caller then wakes the line.
    pub(super) fn end_ticket(
        &mut self,
        at: Ref<Ticket>,
        refusal: Refusal,
        events: &mut Vec<Event>,
    ) -> Ref<Lock> {
        let (ticket, lock_at) = self.leave(at);
        let answer = Answer::Refused(refusal);
        self.conclude(&ticket.asker, Outcome::Said(Box::new(answer.clone())));
        if let Asker::Key(request) = ticket.asker {
            self.forget_later(request);
        }
        events.push(Event::Ended {
            ticket: ticket.id,
            answer,
        });
        lock_at
    }

    /// Takes a ticket out of everything.
    fn leave(&mut self, at: Ref<Ticket>) -> (Ticket, Ref<Lock>) {
        let tickets = &self.tickets;
        self.ticket_timers.clear(at, ticket_order(tickets));
        let ticket = tickets.at(at);
        let (line_at, next, session) = (ticket.line, ticket.beside.next, ticket.session());
        self.ticket_index.remove(ticket_hash(ticket.id), at);
        if let Some(session) = session {
            let Some(first) = self.sessions.at(session).tickets else {
                panic!("a session's ticket is in its ring");
            };
            let left = list::unlink(&mut self.tickets, first, at, asked_by);
            self.sessions.at_mut(session).tickets = left;
        }
        let line = self.lines.at(line_at);
        let (lock_at, Some(first)) = (line.lock, line.first) else {
            panic!("a ticket is in its line");
        };
        let left = list::unlink(&mut self.tickets, first, at, of_line);
        let line = self.lines.at_mut(line_at);
        if line.front == Some(at) {
            line.front = (next != first).then_some(next);
        }
        line.first = left;
        line.count -= 1;
        let zone = self.locks.at(lock_at).zone;
        self.zones.entry(zone).or_default().tickets -= 1;
        (self.tickets.remove(at), lock_at)
    }

    /// The tickets of a line, first to last.
    pub(super) fn tickets_of(&self, line: &Line) -> impl Iterator<Item = &Ticket> {
        let first = line.first;
        core::iter::successors(first, move |at| {
            let next = self.tickets.at(*at).beside.next;
            (Some(next) != first).then_some(next)
        })
        .map(|at| self.tickets.at(at))
    }
}
