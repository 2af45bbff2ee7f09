//! Sessions: a client's identity, valid on every server.

use super::answer::{Answer, Event, Refusal, Table as Limited};
use super::command::{Command, Operation};
use super::index::Hasher;
use super::operate::capped;
use super::state::{Ending, Session, Term, Work, lease_order, session_order};
use super::table::Ref;
use super::{Machine, Origin};
use crate::hash::hash64;
use crate::ids::{Fence, RequestSeq, SessionId, ZoneId};
use crate::time::Stamp;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

pub(super) fn session_hash(id: SessionId) -> u64 {
    hash64(&id.get().to_le_bytes())
}

impl Hasher {
    pub(super) fn identifier(self, session: &Session) -> u64 {
        self.hash(session.zone, &session.identifier)
    }
}

impl Machine {
    /// The session with this number in this zone, if its end is still to come.
    pub(super) fn session_of(&self, zone: ZoneId, id: SessionId) -> Option<Ref<Session>> {
        let found = self.indexed_session(zone, id);
        found.filter(|at| self.is_session_alive(*at))
    }

    /// The session with this number in this zone, if it is not over: it may be past its deadline.
    pub(super) fn indexed_session(&self, zone: ZoneId, id: SessionId) -> Option<Ref<Session>> {
        self.session_index.find(session_hash(id), |at| {
            let session = self.sessions.at(at);
            session.id == id && session.zone == zone
        })
    }

    /// Whether its end is still to come.
    pub(super) fn is_session_alive(&self, at: Ref<Session>) -> bool {
        let session = self.sessions.at(at);
        session.ending.is_none() && self.grace.effective(session.deadline) > self.stamp
    }

    /// Begins a session.
    pub(super) fn open_session(
        &mut self,
        (origin, zone): (Origin, ZoneId),
        ttl_ms: u64,
        identifier: &Bytes,
        threads: bool,
        events: &mut Vec<Event>,
    ) -> Answer {
        if let Some(namesake) = self.namesake(zone, identifier) {
            if self.is_session_alive(namesake) {
                return Answer::Refused(Refusal::IdentifierInUse);
            }
            self.end_session(namesake, Ending::Expired, events);
        }
        let sessions_max = capped(self.limits.sessions, self.shared.quota(zone).sessions);
        if self.zones.entry(zone).or_default().sessions >= sessions_max {
            return Answer::Refused(Refusal::Quota {
                what: Limited::Sessions,
            });
        }
        let id = origin.session();
        let at = self.sessions.insert(Session {
            id,
            zone,
            ttl_ms: u32::try_from(ttl_ms).unwrap_or(u32::MAX),
            deadline: self.stamp.plus(Duration::from_millis(ttl_ms)),
            done_through: RequestSeq::default(),
            answers: Vec::new(),
            identifier: identifier.as_ref().into(),
            grants: None,
            tickets: None,
            taken: Vec::new(),
            threads,
            ending: None,
        });
        self.index_session(at);
        self.enlist_session(at);
        Answer::SessionOpened {
            session: id,
            ttl_ms,
        }
    }

    /// Puts a session that is not over where it is looked for.
    fn index_session(&mut self, at: Ref<Session>) {
        let (sessions, hasher) = (&self.sessions, self.hasher);
        let session = sessions.at(at);
        self.session_index
            .insert(session_hash(session.id), at, |at| {
                session_hash(sessions.at(at).id)
            });
        if !session.identifier.is_empty() {
            let hash = |at| hasher.identifier(sessions.at(at));
            self.identifier_index.insert(hash(at), at, hash);
        }
    }

    /// Counts a session that is not over, and puts it among those that end.
    pub(super) fn enlist_session(&mut self, at: Ref<Session>) {
        let sessions = &self.sessions;
        let zone = sessions.at(at).zone;
        self.session_timers.set(at, session_order(sessions));
        self.zones.entry(zone).or_default().sessions += 1;
    }

    pub(super) fn namesake(&self, zone: ZoneId, identifier: &[u8]) -> Option<Ref<Session>> {
        if identifier.is_empty() {
            return None;
        }
        let hash = self.hasher.hash(zone, identifier);
        self.identifier_index.find(hash, |at| {
            let session = self.sessions.at(at);
            session.zone == zone && *session.identifier == *identifier
        })
    }

    /// Ends a session at the wish of its client.
    pub(super) fn close_session(
        &mut self,
        zone: ZoneId,
        id: SessionId,
        events: &mut Vec<Event>,
    ) -> Answer {
        let Some(at) = self.session_of(zone, id) else {
            return Answer::Refused(Refusal::SessionGone);
        };
        self.budget = self.budget.max(1);
        self.end_session(at, Ending::Closed, events);
        Answer::SessionClosed { session: id }
    }

    /// A session is over: nobody finds it any more, and all that it had is dead. What this entry has
    /// room for is taken from it, the rest by the next ones.
    pub(super) fn end_session(
        &mut self,
        at: Ref<Session>,
        ending: Ending,
        events: &mut Vec<Event>,
    ) {
        let sessions = &self.sessions;
        self.session_timers.clear(at, session_order(sessions));
        let session = self.sessions.at_mut(at);
        assert!(session.ending.is_none(), "a session ends once");
        session.ending = Some(ending);
        session.answers = Vec::new();
        self.session_index.remove(session_hash(session.id), at);
        if !session.identifier.is_empty() {
            let hash = self.hasher.identifier(session);
            self.identifier_index.remove(hash, at);
        }
        self.zones.entry(session.zone).or_default().sessions -= 1;
        if ending == Ending::Expired {
            events.push(Event::SessionExpired {
                session: session.id,
            });
        }
        self.strip(at, events);
    }

    /// Takes from a session that is over what it had, and forgets it.
    pub(super) fn strip(&mut self, at: Ref<Session>, events: &mut Vec<Event>) {
        loop {
            let session = self.sessions.at(at);
            let (grant, ticket) = (session.grants, session.tickets);
            if grant.is_none() && ticket.is_none() {
                self.sessions.remove(at);
                return;
            }
            if self.budget == 0 {
                self.work.push_back(Work::Session(at));
                return;
            }
            match (grant, ticket) {
                (Some(grant), _) => {
                    self.spend(self.keys_held(grant));
                    self.lose(grant, events);
                }
                (None, Some(ticket)) => {
                    self.spend(self.keys_wanted(ticket));
                    self.fail(ticket, events);
                }
                (None, None) => return,
            }
            self.wake(false, events);
        }
    }

    /// A renewal or keep-alive, judged at the stamp of the entry before, counted from `clock`, the
    /// stamp of its own. Never answered from memory (rule 15).
    pub(super) fn renew(&mut self, command: &Command, clock: Stamp) -> Answer {
        match &command.operation {
            Operation::Renew { key, fence, ttl_ms } => {
                self.renew_lease(command.zone, key.as_bytes(), *fence, *ttl_ms, clock)
            }
            Operation::KeepAlive { session } => self.keep_alive(command.zone, *session, clock),
            Operation::Acquire(_)
            | Operation::Convert(_)
            | Operation::Release { .. }
            | Operation::Cancel { .. }
            | Operation::Confirm { .. }
            | Operation::OpenSession { .. }
            | Operation::CloseSession { .. }
            | Operation::Resize { .. }
            | Operation::Force(_)
            | Operation::Configure(_) => panic!("only renewals go before the clock"),
        }
    }

    fn renew_lease(
        &mut self,
        zone: ZoneId,
        key: &[u8],
        fence: Fence,
        ttl_ms: Option<u64>,
        clock: Stamp,
    ) -> Answer {
        let found = self.grant_of(zone, key, fence);
        let Some(at) = found.filter(|at| self.is_alive(self.grants.at(*at))) else {
            return Answer::Refused(Refusal::NotHeld);
        };
        let Term::Lease {
            deadline,
            ttl_ms: ttl,
        } = &mut self.grants.at_mut(at).term
        else {
            return Answer::Refused(Refusal::NotLeased);
        };
        *ttl = ttl_ms.map_or(*ttl, |new| u32::try_from(new).unwrap_or(u32::MAX));
        let ttl_ms = u64::from(*ttl);
        *deadline = clock.plus(Duration::from_millis(ttl_ms));
        self.lease_timers.set(at, lease_order(&self.grants));
        Answer::Renewed { fence, ttl_ms }
    }

    fn keep_alive(&mut self, zone: ZoneId, id: SessionId, clock: Stamp) -> Answer {
        let Some(at) = self.session_of(zone, id) else {
            return Answer::Refused(Refusal::SessionGone);
        };
        let session = self.sessions.at_mut(at);
        let ttl_ms = u64::from(session.ttl_ms);
        session.deadline = clock.plus(Duration::from_millis(ttl_ms));
        let taken = session.taken.clone();
        let sessions = &self.sessions;
        self.session_timers.set(at, session_order(sessions));
        Answer::KeptAlive {
            session: id,
            ttl_ms,
            taken,
        }
    }
}
