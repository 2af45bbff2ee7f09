//! Every invariant of the state, checked in one walk. For the simulator and for tests.

use super::Machine;
use super::hold::compatible;
use super::state::{
    Asker, Grant, Lock, Outcome, Session, Term, Work, lease_order, request_order, session_order,
    ticket_order,
};
use super::table::Ref;
use crate::ids::{Fence, ZoneId};
use crate::time::Stamp;
use alloc::collections::BTreeSet;

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
            let found = self.grant_of(lock.zone, &lock.key, grant.fence);
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
        let mut fences = BTreeSet::<(ZoneId, Fence)>::new();
        for (_, grant) in self.grants.iter() {
            let zone = self.locks.at(grant.lock).zone;
            must(fences.insert((zone, grant.fence)), "a fence is given once")?;
            let given = self.zones.get(&zone).map(|zone| zone.fence);
            must(
                Some(grant.fence) <= given,
                "no fence is above the zone's counter",
            )?;
        }
        Ok(())
    }

    fn audit_sessions(&self) -> Checked {
        for (at, session) in self.sessions.iter() {
            let mut fence = Fence::default();
            for grant in self.grants_of(session) {
                must(grant.session() == Some(at), "a session's grant is its own")?;
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

    fn audit_requests(&self) -> Checked {
        for (at, request) in self.requests.iter() {
            let bound = match &request.outcome {
                Outcome::Open => return Err(Violation("a request is decided at once")),
                Outcome::Granted { grant, fence } => {
                    let grant = self.grants.peek(*grant);
                    grant.is_some_and(|grant| grant.fence == *fence && grant.request == Some(at))
                }
                Outcome::Waits(ticket) => {
                    let ticket = self.tickets.peek(*ticket);
                    ticket
                        .is_some_and(|ticket| matches!(ticket.asker, Asker::Key(key) if key == at))
                }
                Outcome::Released { .. } | Outcome::Said(_) => false,
            };
            must(
                bound != self.request_timers.has(at),
                "an answer is forgotten in time, but not while its grant or ticket lives",
            )?;
            must(
                bound == (request.forget_at == Stamp::MAX),
                "a live grant's answer has no time to be forgotten",
            )?;
        }
        Ok(())
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
