//! What is made of what the log decides: indexes, rings, lists, timers and counts. Only this program can
//! get it wrong, so a machine that was just built is not asked again.

use super::{Checked, must};
use crate::ids::Fence;
use crate::machine::Machine;
use crate::machine::state::{Session, lease_order, request_order, session_order, ticket_order};
use crate::machine::table::Ref;
use crate::time::Stamp;

impl Machine {
    pub(super) fn audit_made(&self) -> Checked {
        self.audit_indexes()?;
        self.audit_rings()?;
        self.audit_timers()?;
        self.audit_counts()
    }

    fn audit_indexes(&self) -> Checked {
        for (at, lock) in self.locks.iter() {
            let found = self.lock_of(lock.zone, &lock.key);
            must(found == Some(at), "a lock is found by its key")?;
        }
        for (at, grant) in self.grants.iter() {
            let found = self.grant_under(grant.zone, grant.fence);
            must(found == Some(at), "a grant is found by its fence")?;
        }
        for (at, ticket) in self.tickets.iter() {
            let found = self.ticket_of(ticket.zone, ticket.id);
            must(found == Some(at), "a ticket is found by its number")?;
        }
        let converting = self.tickets.iter();
        let converting = converting.filter_map(|(at, ticket)| Some((at, ticket.converts()?)));
        let mut converting_len = 0;
        for (at, grant) in converting {
            let found = self.conversion_of(grant);
            must(found == Some(at), "a grant finds its conversion")?;
            converting_len += 1;
        }
        must(
            converting_len == self.conversion_index.len(),
            "a grant finds its conversion",
        )?;
        for (at, request) in self.requests.iter() {
            let found = self.request_of(request.zone, request.id);
            must(found == Some(at), "a request is found by its key")?;
        }
        for (at, session) in self.sessions.iter() {
            must(
                session.ending.is_some() || self.is_found(at, session),
                "a session is found by its number and by what it calls itself",
            )?;
        }
        must(
            self.lock_index.len() == self.locks.len()
                && self.grant_index.len() == self.grants.len()
                && self.ticket_index.len() == self.tickets.len()
                && self.request_index.len() == self.requests.len()
                && self.session_index.len() == self.sessions_live(),
            "what is in a table is in its index",
        )?;
        let entered = self.grants.iter().filter(|(_, grant)| grant.entered > 0);
        let entered = entered.map(|(at, _)| self.keys_held(at)).sum::<usize>();
        must(
            entered == self.entry_index.len(),
            "a session finds what it may enter again",
        )
    }

    fn is_found(&self, at: Ref<Session>, session: &Session) -> bool {
        let namesake = self.namesake(session.zone, &session.identifier);
        self.indexed_session(session.zone, session.id) == Some(at)
            && (session.identifier.is_empty() || namesake == Some(at))
    }

    fn sessions_live(&self) -> usize {
        let all = self.sessions.iter();
        all.filter(|(_, session)| session.ending.is_none()).count()
    }

    fn audit_rings(&self) -> Checked {
        let mut held = 0;
        for (at, lock) in self.locks.iter() {
            let mut fence = Fence::default();
            for (grant, hold) in self.holders(lock) {
                must(hold.lock == at, "a holder holds the lock that lists it")?;
                must(
                    grant.fence > fence,
                    "holders stand in the order of their fences",
                )?;
                fence = grant.fence;
                held += 1;
            }
        }
        must(held == self.holds.len(), "locks list all that is held")?;
        held = 0;
        for (at, grant) in self.grants.iter() {
            for (_, hold) in self.holds_of(grant) {
                must(hold.grant == at, "a grant's hold is its own")?;
                held += 1;
            }
        }
        must(held == self.holds.len(), "grants list all that is held")?;
        self.audit_session_rings()
    }

    fn audit_session_rings(&self) -> Checked {
        let mut listed = 0;
        for (at, session) in self.sessions.iter() {
            let mut fence = Fence::default();
            for grant in self.grants_of(session) {
                must(grant.session() == Some(at), "a session's grant is its own")?;
                must(grant.fence > fence, "a session's grants stand by fence")?;
                fence = grant.fence;
                listed += 1;
            }
        }
        let owned = self.grants.iter();
        let owned = owned.filter(|(_, grant)| grant.session().is_some());
        must(owned.count() == listed, "a session lists all its grants")
    }

    fn audit_timers(&self) -> Checked {
        let leases = self.grants.iter();
        let leases = leases.filter(|(_, grant)| grant.deadline() < Stamp::MAX);
        must(
            leases.count() == self.lease_timers.len(),
            "every lease has a timer",
        )?;
        must(
            self.tickets.len() == self.ticket_timers.len(),
            "every ticket has a timer",
        )?;
        for (at, session) in self.sessions.iter() {
            must(
                session.ending.is_some() != self.session_timers.has(at),
                "a session has a deadline until it is over",
            )?;
        }
        for (at, request) in self.requests.iter() {
            must(
                (request.forget_at == Stamp::MAX) != self.request_timers.has(at),
                "an answer that is forgotten in time has a timer",
            )?;
        }
        must(
            self.lease_timers.is_sound(lease_order(&self.grants))
                && self.session_timers.is_sound(session_order(&self.sessions))
                && self.ticket_timers.is_sound(ticket_order(&self.tickets))
                && self.request_timers.is_sound(request_order(&self.requests)),
            "what is due first stands first",
        )
    }

    fn audit_counts(&self) -> Checked {
        let sum = |count: fn(&crate::machine::Zone) -> usize| {
            self.zones.values().map(count).sum::<usize>()
        };
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
        must(
            sum(|zone| zone.sessions) == self.sessions_live(),
            "zones count their sessions",
        )
    }
}
