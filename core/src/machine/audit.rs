//! Every invariant of the state. For the simulator and for tests; and a snapshot is believed if what it
//! tells keeps those that its bytes could break.

use super::state::{Asker, Grant, Outcome, Session, Term, Work};
use super::{Machine, Origin};
use crate::time::Stamp;

mod claims;
mod made;

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
        self.audit_told()?;
        self.audit_made()
    }

    /// What the log alone decides, and a snapshot tells: its bytes may say what no log does.
    pub(super) fn audit_told(&self) -> Result<(), Violation> {
        self.audit_locks()?;
        self.audit_grants()?;
        self.audit_sessions()?;
        self.audit_tickets()?;
        self.audit_requests()?;
        self.audit_work()
    }

    fn audit_sessions(&self) -> Checked {
        for (_, session) in self.sessions.iter() {
            must(
                session.id < Origin::after(self.applied).session(),
                "a session was made by an applied slot",
            )?;
            for grant in self.grants_of(session) {
                must(
                    session.zone == grant.zone,
                    "a session holds in its own zone",
                )?;
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
        }
        Ok(())
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
        let mut bound = 0;
        for (_, request) in self.requests.iter() {
            let open_end = match &request.outcome {
                Outcome::Open => return Err(Violation("a request is decided at once")),
                Outcome::Granted { .. } => request.forget_at == Stamp::MAX,
                Outcome::Waits(_) => true,
                Outcome::Released { .. } | Outcome::Said(_) => false,
            };
            bound += usize::from(open_end);
            must(
                open_end == (request.forget_at == Stamp::MAX),
                "an answer is forgotten in time, but not while its grant or ticket lives",
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

    fn audit_work(&self) -> Checked {
        let over = self
            .sessions
            .iter()
            .filter(|(_, session)| session.ending.is_some());
        let over = over.count();
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
