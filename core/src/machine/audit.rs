//! Every invariant of the state, checked in one walk. For the simulator and for tests.

use super::state::{
    Asker, Grant, Outcome, Session, Term, Work, lease_order, request_order, session_order,
    ticket_order,
};
use super::table::Ref;
use super::{Machine, Origin};
use crate::ids::Fence;
use crate::time::Stamp;

mod claims;

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
        self.audit_locks()?;
        self.audit_grants()?;
        self.audit_sessions()?;
        self.audit_tickets()?;
        self.audit_requests()?;
        self.audit_timers()?;
        self.audit_counts()
    }

    fn audit_sessions(&self) -> Checked {
        for (at, session) in self.sessions.iter() {
            must(
                session.id < Origin::after(self.applied).session(),
                "a session was made by an applied slot",
            )?;
            must(
                session.ending.is_some() || self.is_found(at, session),
                "a session is found by its number and by what it calls itself",
            )?;
            let mut fence = Fence::default();
            for grant in self.grants_of(session) {
                must(grant.session() == Some(at), "a session's grant is its own")?;
                must(
                    session.zone == grant.zone,
                    "a session holds in its own zone",
                )?;
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
            let told =
                matches!(request.outcome, Outcome::Granted { fence } if fence == grant.fence);
            Some(told && request.forget_at == Stamp::MAX && request.zone == grant.zone)
        });
        let by_ticket = self.tickets.iter().filter_map(|(at, ticket)| {
            let Asker::Key(request) = ticket.asker else {
                return None;
            };
            let request = self.requests.at(request);
            let told = matches!(request.outcome, Outcome::Waits(waits) if waits == at);
            Some(told && request.zone == ticket.zone)
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
            self.lease_timers.is_sound(lease_order(&self.grants))
                && self.session_timers.is_sound(session_order(&self.sessions))
                && self.ticket_timers.is_sound(ticket_order(&self.tickets))
                && self.request_timers.is_sound(request_order(&self.requests)),
            "what is due first stands first",
        )
    }

    fn audit_counts(&self) -> Checked {
        let sum = |count: fn(&super::Zone) -> usize| self.zones.values().map(count).sum::<usize>();
        must(
            sum(|zone| zone.holds) == self.holds.len(),
            "zones count what is held",
        )?;
        must(
            sum(|zone| zone.places) == self.places.len(),
            "zones count who waits",
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
                && self.grant_index.len() == self.grants.len()
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
