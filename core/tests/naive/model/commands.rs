//! What each command does.

use super::claims::{Usage, session_of};
use super::once::invalid;
use super::seen::Seen;
use super::{MS, Nanos, Session, Ticket, Zone};
use tenure_core::ids::{Fence, SessionId, TicketId};
use tenure_core::limits::{
    HOLDER_BYTES_MAX, IDENTIFIER_BYTES_MAX, PERMITS_MAX, PRINCIPAL_BYTES_MAX, TTL_MS_MAX,
    TTL_MS_MIN, WAIT_MS_MAX,
};
use tenure_core::machine::Limits;
use tenure_core::machine::answer::{Answer, Event, Refusal, Table};
use tenure_core::machine::command::{Acquire, Client, Command, Life, Mode, Operation};
use tenure_core::machine::key::Key;

impl Zone {
    pub(super) fn operate(
        &mut self,
        command: &Command,
        now: Nanos,
        limits: &Limits,
        told: Option<&Answer>,
        said: &mut Vec<Event>,
    ) -> Answer {
        let client = command.client;
        match &command.operation {
            Operation::Acquire(claim) => self.acquire(client, claim, now, limits, told),
            Operation::Release { key, fence, all } => {
                self.release(client, key, *fence, *all, now, told)
            }
            Operation::Renew { key, fence, ttl_ms } => self.renew(key, *fence, *ttl_ms, now),
            Operation::Cancel { ticket } => self.cancel(client, *ticket, now, said),
            Operation::Confirm { ticket } => self.confirm(*ticket, now, told, said),
            Operation::OpenSession {
                ttl_ms, identifier, ..
            } => self.open(*ttl_ms, identifier, now, limits, told),
            Operation::KeepAlive { session } => self.keep_alive(*session, now),
            Operation::CloseSession { session } => self.close(*session, now, said),
            Operation::Resize { key, capacity } => self.resize(key, *capacity),
            // They are to stand here, as a kill and a lock delay are; nothing draws them yet.
            Operation::Convert(_) | Operation::Force(_) => panic!("not drawn yet"),
            Operation::Configure(_) => panic!("configurations have tests of their own"),
        }
    }

    fn release(
        &mut self,
        client: Client,
        key: &Key,
        fence: Fence,
        all: bool,
        now: Nanos,
        told: Option<&Answer>,
    ) -> Answer {
        let found = self
            .grants
            .iter_mut()
            .find(|grant| grant.fence == fence && grant.parts.of(key).is_some());
        let Some(grant) = found else {
            if fence > self.highest {
                return Answer::Refused(Refusal::NotHeld);
            }
            // It was held once, or the server that took the request had refused its proof.
            return Answer::Released {
                fence,
                already: true,
                entered: 0,
            };
        };
        if grant.entered > 1 && !all {
            if client == Client::None {
                return invalid(told);
            }
            grant.entered -= 1;
            return Answer::Released {
                fence,
                already: false,
                entered: grant.entered,
            };
        }
        self.end_grant(fence, now);
        Answer::Released {
            fence,
            already: false,
            entered: 0,
        }
    }

    /// A lease lives for its ttl from now. So does what ended by this very entry's time (rule 22).
    fn renew(&mut self, key: &Key, fence: Fence, ttl_ms: Option<u64>, now: Nanos) -> Answer {
        let found = self
            .grants
            .iter_mut()
            .find(|grant| grant.fence == fence && grant.parts.of(key).is_some());
        let Some(grant) = found else {
            return Answer::Refused(Refusal::NotHeld);
        };
        let Life::Lease { ttl_ms: own } = grant.life else {
            return Answer::Refused(Refusal::NotLeased);
        };
        let ttl_ms = ttl_ms.unwrap_or(own);
        grant.life = Life::Lease { ttl_ms };
        grant.until = Some(now + ttl_ms * MS);
        Answer::Renewed { fence, ttl_ms }
    }

    /// A session's ticket is cancelled by that session only (0011).
    fn cancel(
        &mut self,
        client: Client,
        ticket: TicketId,
        now: Nanos,
        said: &mut Vec<Event>,
    ) -> Answer {
        let caller = session_of(client);
        let may = |one: &Ticket| one.session.is_none() || one.session == caller;
        let found = self.tickets.iter().find(|one| one.id == ticket);
        if !found.is_some_and(may) {
            return Answer::Refused(Refusal::NoSuchTicket);
        }
        self.end_ticket(ticket, Answer::Refused(Refusal::Cancelled), now, said);
        Answer::Cancelled { ticket }
    }

    /// The ttl of what was offered begins here.
    fn confirm(
        &mut self,
        id: TicketId,
        now: Nanos,
        told: Option<&Answer>,
        said: &mut Vec<Event>,
    ) -> Answer {
        let mut all = self.tickets.iter();
        let Some(ticket) = all.find(|one| one.id == id).cloned() else {
            return Answer::Refused(Refusal::NoSuchTicket);
        };
        if !ticket.offered {
            let position = self.position(&ticket, Seen::position(told));
            return Answer::Queued {
                ticket: id,
                position,
            };
        }
        let grant = Answer::Granted(self.grant(&ticket, now, Seen::fence(told)));
        self.end_ticket(id, grant.clone(), now, said);
        grant
    }

    fn open(
        &mut self,
        ttl_ms: u64,
        identifier: &bytes::Bytes,
        now: Nanos,
        limits: &Limits,
        told: Option<&Answer>,
    ) -> Answer {
        let mut reasons = Vec::new();
        let same = |session: &Session| session.identifier == identifier;
        if !identifier.is_empty() && self.sessions.iter().any(same) {
            reasons.push(Answer::Refused(Refusal::IdentifierInUse));
        }
        if self.sessions.len() >= limits.sessions {
            let what = Table::Sessions;
            reasons.push(Answer::Refused(Refusal::Quota { what }));
        }
        if let Some(first) = reasons.first() {
            let chosen = told.filter(|told| reasons.contains(told));
            return chosen.unwrap_or(first).clone();
        }
        let id = Seen::session(told);
        self.sessions.push(Session {
            id,
            ttl_ms,
            until: now + ttl_ms * MS,
            identifier: identifier.clone(),
            done_through: 0,
            answers: Vec::new(),
        });
        Answer::SessionOpened {
            session: id,
            ttl_ms,
        }
    }

    fn keep_alive(&mut self, id: SessionId, now: Nanos) -> Answer {
        let mut all = self.sessions.iter_mut();
        let Some(session) = all.find(|session| session.id == id) else {
            return Answer::Refused(Refusal::SessionGone);
        };
        session.until = now + session.ttl_ms * MS;
        Answer::KeptAlive {
            session: id,
            ttl_ms: session.ttl_ms,
            taken: Vec::new(),
        }
    }

    fn close(&mut self, id: SessionId, now: Nanos, said: &mut Vec<Event>) -> Answer {
        if self.session(id).is_none() {
            return Answer::Refused(Refusal::SessionGone);
        }
        // Its client wants it so: it cancels what waits, and loses nothing.
        self.end_session(id, &Refusal::Cancelled, now, said);
        Answer::SessionClosed { session: id }
    }

    /// Nobody loses what he holds, nor what he was offered.
    fn resize(&mut self, key: &Key, capacity: u32) -> Answer {
        let Usage::ByPermits(_) = self.usage(key) else {
            return Answer::Refused(Refusal::NoPermits);
        };
        self.set_capacity(key, capacity);
        Answer::Resized { capacity }
    }
}

/// The limits of docs/LOCKS.md and of `limits.rs`.
pub(super) fn is_within_bounds(command: &Command) -> bool {
    let numbered = match command.client {
        Client::Session { seq, .. } => seq.get() > 0,
        Client::None | Client::Key(_) => true,
    };
    let operation = match &command.operation {
        Operation::Acquire(claim) => is_claim(claim, command.client),
        Operation::Renew { ttl_ms, .. } => ttl_ms.is_none_or(is_ttl),
        Operation::OpenSession {
            ttl_ms, identifier, ..
        } => is_ttl(*ttl_ms) && identifier.len() <= IDENTIFIER_BYTES_MAX,
        Operation::Resize { capacity, .. } => is_capacity(*capacity),
        Operation::Release { .. }
        | Operation::Cancel { .. }
        | Operation::Confirm { .. }
        | Operation::KeepAlive { .. }
        | Operation::CloseSession { .. }
        | Operation::Convert(_)
        | Operation::Force(_)
        | Operation::Configure(_) => true,
    };
    numbered && operation && command.principal.len() <= PRINCIPAL_BYTES_MAX
}

fn is_claim(claim: &Acquire, client: Client) -> bool {
    let modes = claim.parts.iter().all(|part| match part.mode {
        Mode::Permits { n, capacity } => {
            is_capacity(capacity) && (1..=capacity).contains(&n) && !claim.reentrant
        }
        _ => true,
    });
    let life = match claim.life {
        Life::Lease { ttl_ms } => is_ttl(ttl_ms) && !claim.reentrant,
        Life::Static => !claim.reentrant,
        Life::Session => session_of(client).is_some(),
    };
    modes && life && claim.wait_ms <= WAIT_MS_MAX && claim.holder.len() <= HOLDER_BYTES_MAX
}

fn is_ttl(ttl_ms: u64) -> bool {
    (TTL_MS_MIN..=TTL_MS_MAX).contains(&ttl_ms)
}

fn is_capacity(capacity: u32) -> bool {
    (1..=PERMITS_MAX).contains(&capacity)
}
