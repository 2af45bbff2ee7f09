//! Every invariant of the state, checked in one walk. For the simulator and for tests.

use super::command::Life;
use super::hold::compatible;
use super::state::{
    Asker, Grant, Lock, Outcome, Session, Term, Work, lease_order, request_order, session_order,
    ticket_order,
};
use super::table::Ref;
use super::{Machine, Place};
use crate::ids::Fence;
use crate::time::Stamp;
use alloc::vec::Vec;

/// An invariant that does not hold.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("broken: {0}")]
pub struct Violation(pub &'static str);

type Checked = Result<(), Violation>;

fn must(holds: bool, invariant: &'static str) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(Violation(invariant))
    }
}

impl Machine {
    /// Checks every invariant. Walks everything.
    pub fn audit(&self) -> Result<(), Violation> {
        for (at, lock) in self.locks.iter() {
            self.audit_lock(at, lock)?;
            self.audit_line(at, lock)?;
        }
        self.audit_fences()?;
        self.audit_sessions()?;
        self.audit_tickets()?;
        self.audit_requests()?;
        self.audit_timers()?;
        self.audit_counts()
    }

    fn audit_lock(&self, at: Ref<Lock>, lock: &Lock) -> Checked {
        must(
            self.lock_of(lock.zone, &lock.key) == Some(at),
            "a lock is found by its key",
        )?;
        must(
            lock.holders.is_some() || lock.line.is_some(),
            "a lock that nobody holds or waits for has no record",
        )?;
        let mut fence = Fence::default();
        let mut count = 0;
        for grant in self.holders(lock) {
            must(grant.lock == at, "a holder holds the lock that lists it")?;
            must(
                grant.fence > fence,
                "holders stand in the order of their fences",
            )?;
            fence = grant.fence;
            count += 1;
            let found = self.grant_in(at, grant.fence);
            let found = found.map(|at| self.grants.at(at).fence);
            must(found == Some(grant.fence), "a grant is found by its fence")?;
        }
        must(
            count <= 1 || compatible(lock.mode, lock.mode),
            "no two incompatible grants exist",
        )
    }

    fn audit_line(&self, at: Ref<Lock>, lock: &Lock) -> Checked {
        let Some(line_at) = lock.line else {
            return Ok(());
        };
        let line = self.lines.at(line_at);
        must(
            line.lock == at,
            "a line stands before the lock that names it",
        )?;
        let (mut count, mut place, mut waits) = (0, None, false);
        let mut offered = None;
        for ticket in self.tickets_of(line) {
            count += 1;
            must(
                ticket.line == line_at,
                "a ticket is in the line that lists it",
            )?;
            must(
                place < Some(ticket.place),
                "tickets stand in the order they came",
            )?;
            place = Some(ticket.place);
            must(
                !(waits && ticket.offered),
                "nobody is served before the front",
            )?;
            if ticket.offered {
                must(
                    ticket.session().is_none(),
                    "a session is granted, not asked",
                )?;
                must(
                    lock.holders.is_none() || compatible(lock.mode, ticket.mode),
                    "what is offered is reserved",
                )?;
                must(
                    offered.is_none_or(|other| compatible(other, ticket.mode)),
                    "those who are offered a lock together share it",
                )?;
                offered = Some(ticket.mode);
            } else if !waits {
                waits = true;
                let front = line.front.map(|front| self.tickets.at(front).id);
                must(
                    front == Some(ticket.id),
                    "the front is the first that waits",
                )?;
                let blocked = !self.fits(lock, ticket.mode) || line.in_work;
                let alive = self.is_ticket_alive(ticket);
                must(blocked || !alive, "who waits is blocked")?;
            }
        }
        must(waits == line.front.is_some(), "a front waits")?;
        must(count == line.count, "a line knows its length")?;
        must(
            line.count > 0 || line.in_work,
            "an empty line has no record",
        )
    }

    fn audit_fences(&self) -> Checked {
        let mut fences = Vec::with_capacity(self.grants.len());
        for (_, grant) in self.grants.iter() {
            let zone = self.locks.at(grant.lock).zone;
            fences.push((grant.fence, zone));
            let given = self.zones.get(&zone).map(|zone| zone.fence);
            must(
                Some(grant.fence) <= given,
                "no fence is above the zone's counter",
            )?;
        }
        fences.sort_unstable();
        let once = fences
            .windows(2)
            .all(|two| !matches!(two, [a, b] if a == b));
        must(once, "a fence is given once")
    }

    fn audit_sessions(&self) -> Checked {
        for (at, session) in self.sessions.iter() {
            must(
                session.id < Place::after(self.applied).session(),
                "a session was made by an applied slot",
            )?;
            must(
                session.ending.is_some() || self.is_found(at, session),
                "a session is found by its number and by what it calls itself",
            )?;
            let mut fence = Fence::default();
            for grant in self.grants_of(session) {
                must(grant.session() == Some(at), "a session's grant is its own")?;
                let zone = self.locks.at(grant.lock).zone;
                must(session.zone == zone, "a session holds in its own zone")?;
                must(grant.fence > fence, "a session's grants stand by fence")?;
                fence = grant.fence;
            }
            let numbers = session.answers.is_sorted_by(|a, b| a.seq < b.seq);
            must(numbers, "a session's answers stand by number")?;
            let window = u64::try_from(session.answers.len()).unwrap_or(u64::MAX);
            must(
                window <= self.limits.session_window,
                "a session's answers are bounded",
            )?;
            let first = session.answers.first();
            must(
                first.is_none_or(|first| first.seq > session.done_through),
                "what a client confirmed is forgotten",
            )?;
            must(
                session.ending.is_some() != self.session_timers.has(at),
                "a session has a deadline until it is over",
            )?;
        }
        let owned = self
            .grants
            .iter()
            .filter(|(_, grant)| grant.session().is_some());
        let listed = self
            .sessions
            .iter()
            .map(|(_, session)| self.grants_of(session).count());
        must(
            owned.count() == listed.sum::<usize>(),
            "a session lists all its grants",
        )
    }

    fn grants_of(&self, session: &Session) -> impl Iterator<Item = &Grant> {
        let first = session.grants;
        core::iter::successors(first, move |at| match &self.grants.at(*at).term {
            Term::Session { beside, .. } => (Some(beside.next) != first).then_some(beside.next),
            Term::Lease { .. } | Term::Static => None,
        })
        .map(|at| self.grants.at(at))
    }

    fn is_found(&self, at: Ref<Session>, session: &Session) -> bool {
        let namesake = self.namesake(session.zone, &session.identifier);
        self.indexed_session(session.zone, session.id) == Some(at)
            && (session.identifier.is_empty() || namesake == Some(at))
    }

    fn audit_tickets(&self) -> Checked {
        let mut waits = 0;
        for (at, ticket) in self.tickets.iter() {
            let line = self.lines.at(ticket.line);
            let zone = self.locks.at(line.lock).zone;
            must(
                self.ticket_of(zone, ticket.id) == Some(at),
                "a ticket is found by its number",
            )?;
            must(ticket.place < line.place_next, "a place is given once")?;
            must(
                ticket.id < Place::after(self.applied).ticket(),
                "a ticket was made by an applied slot",
            )?;
            must(
                ticket.life != Life::Session || ticket.session().is_some(),
                "a session lock is asked for by its session",
            )?;
            if let Asker::Session { session, seq, .. } = ticket.asker {
                let session = self.sessions.at(session);
                must(session.zone == zone, "a session waits in its own zone")?;
                let answer = session.answers.iter().find(|answer| answer.seq == seq);
                if let Some(answer) = answer {
                    waits += 1;
                    must(
                        matches!(answer.outcome, Outcome::Waits(waits) if waits == at),
                        "who asks again is told of its ticket",
                    )?;
                }
            }
        }
        let answers = self
            .sessions
            .iter()
            .flat_map(|(_, session)| &session.answers);
        let told = answers.filter(|answer| matches!(answer.outcome, Outcome::Waits(_)));
        must(
            told.count() == waits,
            "who asks again is told of a ticket that waits",
        )?;
        let listed = self.lines.iter().map(|(_, line)| line.count).sum::<u64>();
        must(
            u64::try_from(self.tickets.len()) == Ok(listed),
            "lines list all tickets",
        )
    }

    fn audit_requests(&self) -> Checked {
        let mut bound = 0;
        for (at, request) in self.requests.iter() {
            let open_end = match &request.outcome {
                Outcome::Open => return Err(Violation("a request is decided at once")),
                Outcome::Granted { .. } => request.forget_at == Stamp::MAX,
                Outcome::Waits(_) => true,
                Outcome::Released { .. } | Outcome::Said(_) => false,
            };
            bound += usize::from(open_end);
            must(
                open_end == (request.forget_at == Stamp::MAX)
                    && open_end != self.request_timers.has(at),
                "an answer is forgotten in time, but not while its grant or ticket lives",
            )?;
            must(
                self.request_of(request.zone, request.id) == Some(at),
                "a request is found by its key",
            )?;
        }
        let by_grant = self.grants.iter().filter_map(|(_, grant)| {
            let request = self.requests.at(grant.request?);
            let zone = self.locks.at(grant.lock).zone;
            let told =
                matches!(request.outcome, Outcome::Granted { fence } if fence == grant.fence);
            Some(told && request.forget_at == Stamp::MAX && request.zone == zone)
        });
        let by_ticket = self.tickets.iter().filter_map(|(at, ticket)| {
            let Asker::Key(request) = ticket.asker else {
                return None;
            };
            let request = self.requests.at(request);
            let zone = self.locks.at(self.lines.at(ticket.line).lock).zone;
            let told = matches!(request.outcome, Outcome::Waits(waits) if waits == at);
            Some(told && request.zone == zone)
        });
        let mut named = 0;
        for told in by_grant.chain(by_ticket) {
            must(
                told,
                "a grant or ticket is what its request was answered with",
            )?;
            named += 1;
        }
        must(
            bound == named,
            "a live grant's answer has no time to be forgotten",
        )
    }

    fn audit_timers(&self) -> Checked {
        let leases = self
            .grants
            .iter()
            .filter(|(_, grant)| grant.deadline() < Stamp::MAX);
        must(
            leases.count() == self.lease_timers.len(),
            "every lease has a timer",
        )?;
        must(
            self.tickets.len() == self.ticket_timers.len(),
            "every ticket has a timer",
        )?;
        must(
            self.lease_timers
                .is_sound(lease_order(&self.grants, &self.locks))
                && self.session_timers.is_sound(session_order(&self.sessions))
                && self.ticket_timers.is_sound(ticket_order(&self.tickets))
                && self.request_timers.is_sound(request_order(&self.requests)),
            "what is due first stands first",
        )
    }

    fn audit_counts(&self) -> Checked {
        let sum = |count: fn(&super::Zone) -> usize| self.zones.values().map(count).sum::<usize>();
        must(
            sum(|zone| zone.grants) == self.grants.len(),
            "zones count their grants",
        )?;
        must(
            sum(|zone| zone.tickets) == self.tickets.len(),
            "zones count their tickets",
        )?;
        must(
            sum(|zone| zone.answers) == self.request_timers.len(),
            "zones count their remembered answers",
        )?;
        let live = self
            .sessions
            .iter()
            .filter(|(_, session)| session.ending.is_none());
        let live = live.count();
        must(
            sum(|zone| zone.sessions) == live,
            "zones count their sessions",
        )?;
        must(
            self.lock_index.len() == self.locks.len()
                && self.ticket_index.len() == self.tickets.len()
                && self.request_index.len() == self.requests.len()
                && self.session_index.len() == live,
            "what is in a table is in its index",
        )?;
        let over = self.sessions.len() - live;
        let working = self
            .work
            .iter()
            .filter(|work| matches!(work, Work::Session(_)));
        must(
            working.count() == over,
            "a session that is over is being worked on",
        )?;
        let lines = self.lines.iter().filter(|(_, line)| line.in_work).count();
        must(
            lines + over == self.work.len(),
            "a line that can be served is being worked on",
        )
    }
}
