//! Exactly once: what a retry is answered (promise 7, rule 38).

use super::answer::{Answer, Event, Refusal, Table as Limited};
use super::command::{Client, Command, Life, Mode, Operation};
use super::index::Hasher;
use super::parts::Parts;
use super::state::{Asker, Numbered, Outcome, Request, request_order};
use super::table::Ref;
use super::{Machine, Origin};
use crate::hash::{hash64, hash64_after};
use crate::ids::{RequestId, RequestSeq, SessionId, ZoneId};
use crate::limits::DEDUPE_MS;
use crate::time::Stamp;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

/// Who asks, as the operations need it.
#[derive(Clone, Copy, Debug)]
pub(super) enum From {
    Nobody,
    Key(Ref<Request>),
    Session(Ref<super::state::Session>, RequestSeq),
}

impl From {
    /// The caller's key, which a grant keeps in memory.
    pub(super) const fn request(self) -> Option<Ref<Request>> {
        match self {
            Self::Key(request) => Some(request),
            Self::Nobody | Self::Session(..) => None,
        }
    }
}

/// Deadlines of remembered answers are whole seconds, so that forgetting them asks for at most one
/// entry a second of an idle cluster.
const FORGET_STEP: u64 = 1_000_000_000;

impl Hasher {
    pub(super) fn request(self, zone: ZoneId, id: RequestId) -> u64 {
        self.hash(zone, &id.get().to_le_bytes())
    }
}

/// What makes a request another one. The wait is left out: a retry may want to wait less.
fn content_hash(command: &Command, scratch: &mut Vec<u8>) -> u64 {
    scratch.clear();
    match &command.operation {
        Operation::Acquire(acquire) => {
            let life = match acquire.life {
                Life::Lease { ttl_ms } => ttl_ms,
                Life::Static => u64::MAX,
                Life::Session => u64::MAX - 1,
            };
            let kind = if acquire.reentrant { 10 } else { 1 };
            fixed(scratch, kind, &[life, number_of(acquire.parts.count())]);
            put_parts(scratch, &acquire.parts);
            scratch.extend_from_slice(&acquire.holder);
        }
        Operation::Release { key, fence, all } => {
            let kind = if *all { 11 } else { 2 };
            fixed(scratch, kind, &[fence.get()]);
            scratch.extend_from_slice(key.as_bytes());
        }
        Operation::Renew { key, fence, ttl_ms } => {
            fixed(scratch, 3, &[fence.get(), ttl_ms.unwrap_or(u64::MAX)]);
            scratch.extend_from_slice(key.as_bytes());
        }
        Operation::Cancel { ticket } => fixed(scratch, 4, &[ticket.get()]),
        Operation::Confirm { ticket } => fixed(scratch, 5, &[ticket.get()]),
        Operation::OpenSession {
            ttl_ms,
            identifier,
            threads,
        } => {
            fixed(scratch, if *threads { 26 } else { 6 }, &[*ttl_ms]);
            scratch.extend_from_slice(identifier);
        }
        Operation::KeepAlive { session } => {
            scratch.push(7);
            scratch.extend_from_slice(&session.get().to_le_bytes());
        }
        Operation::CloseSession { session } => {
            scratch.push(8);
            scratch.extend_from_slice(&session.get().to_le_bytes());
        }
        Operation::Resize { key, capacity } => {
            fixed(scratch, 9, &[u64::from(*capacity)]);
            scratch.extend_from_slice(key.as_bytes());
        }
        Operation::Convert(convert) => {
            let numbers = [convert.fence.get(), number_of(convert.parts.count())];
            fixed(scratch, 12, &numbers);
            put_parts(scratch, &convert.parts);
        }
        Operation::Force(force) => {
            let (key, cause) = (force.key.as_bytes(), &force.cause);
            let (key_len, by_len) = (number_of(key.len()), number_of(cause.by.len()));
            fixed(scratch, 15, &[force.fence.get(), key_len, by_len]);
            let all = [key, cause.by.as_bytes(), cause.reason.as_bytes()];
            all.iter()
                .for_each(|bytes| scratch.extend_from_slice(bytes));
        }
        Operation::Configure(_) => {
            panic!("a change of the configuration is known by what it follows")
        }
    }
    hash64_after(hash64(&command.principal), scratch)
}

/// A kind of thing, and some numbers of it.
fn fixed(scratch: &mut Vec<u8>, kind: u8, numbers: &[u64]) {
    scratch.push(kind);
    let bytes = numbers.iter().map(|number| number.to_le_bytes());
    bytes.for_each(|bytes| scratch.extend_from_slice(&bytes));
}

fn put_parts(scratch: &mut Vec<u8>, parts: &Parts) {
    for part in parts.iter() {
        let (mode, n, capacity) = match part.mode {
            Mode::Exclusive => (0, 0, 0),
            Mode::Shared => (1, 0, 0),
            Mode::Null => (2, 0, 0),
            Mode::ConcurrentRead => (3, 0, 0),
            Mode::ConcurrentWrite => (4, 0, 0),
            Mode::ProtectedWrite => (5, 0, 0),
            Mode::Permits { n, capacity } => (6, n, capacity),
        };
        let key = part.key.as_bytes();
        let numbers = [n.into(), capacity.into(), number_of(key.len())];
        fixed(scratch, mode, &numbers);
        scratch.extend_from_slice(key);
    }
}

fn number_of(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

impl Outcome {
    fn of(answer: &Answer) -> Self {
        if let Answer::Released {
            fence,
            already,
            entered,
        } = *answer
        {
            return Self::Released {
                fence,
                already,
                entered,
            };
        }
        assert!(
            !matches!(
                answer,
                Answer::Granted(_)
                    | Answer::Queued { .. }
                    | Answer::Offered { .. }
                    | Answer::Renewed { .. }
                    | Answer::KeptAlive { .. }
            ),
            "what goes on changing is never answered from a copy"
        );
        Self::Said(Box::new(answer.clone()))
    }

    /// Whether its grant or ticket keeps it in memory.
    const fn is_bound(&self) -> bool {
        matches!(self, Self::Granted { .. } | Self::Waits(_))
    }
}

impl Machine {
    /// Does what a command says, unless it was done before.
    pub(super) fn execute(
        &mut self,
        origin: Origin,
        command: &Command,
        events: &mut Vec<Event>,
    ) -> Answer {
        // What the cluster is like hangs on no lock and no session, and servers without any must come to
        // the same.
        if let Operation::Configure(configure) = &command.operation {
            return self.configure(origin, command, configure);
        }
        if !self.has_zone(command.zone) {
            return Answer::Refused(Refusal::Quota {
                what: Limited::Zones,
            });
        }
        // A confirm is the server's own, and its second try finds what the first one made.
        if matches!(command.operation, Operation::Confirm { .. }) {
            return self.operate(origin, command, From::Nobody, events).0;
        }
        match command.client {
            Client::None => self.operate(origin, command, From::Nobody, events).0,
            Client::Key(id) => self.execute_keyed(origin, command, id, events),
            Client::Session {
                id,
                seq,
                done_through,
            } => self.execute_numbered(origin, command, (id, seq, done_through), events),
        }
    }

    fn has_zone(&mut self, zone: ZoneId) -> bool {
        if self.zones.contains_key(&zone) {
            return true;
        }
        if self.zones.len() >= self.limits.zones {
            return false;
        }
        let state = self.zones.entry(zone).or_default();
        state.fence = self.fence_floor;
        true
    }

    fn execute_keyed(
        &mut self,
        origin: Origin,
        command: &Command,
        id: RequestId,
        events: &mut Vec<Event>,
    ) -> Answer {
        let hash = content_hash(command, &mut self.scratch);
        let zone = command.zone;
        if let Some(at) = self.request_of(zone, id) {
            let request = self.requests.at(at);
            if request.forget_at <= self.stamp {
                self.forget(at);
            } else if request.hash != hash {
                return Answer::Refused(Refusal::RequestIdReused);
            } else {
                let outcome = self.requests.at(at).outcome.clone();
                return self.replay(&outcome, command);
            }
        }
        if self.zones.entry(zone).or_default().answers >= self.limits.answers {
            return Answer::Refused(Refusal::Quota {
                what: Limited::Answers,
            });
        }
        let at = self.requests.insert(Request {
            zone,
            id,
            hash,
            outcome: Outcome::Open,
            forget_at: Stamp::MAX,
        });
        self.index_request(at);
        let (answer, outcome) = self.operate(origin, command, From::Key(at), events);
        let outcome = outcome.unwrap_or_else(|| Outcome::of(&answer));
        let bound = outcome.is_bound();
        self.requests.at_mut(at).outcome = outcome;
        if !bound {
            self.forget_later(at);
        }
        answer
    }

    fn execute_numbered(
        &mut self,
        origin: Origin,
        command: &Command,
        (id, seq, done_through): (SessionId, RequestSeq, RequestSeq),
        events: &mut Vec<Event>,
    ) -> Answer {
        let Some(at) = self.session_of(command.zone, id) else {
            return Answer::Refused(Refusal::SessionGone);
        };
        let session = self.sessions.at_mut(at);
        if done_through > session.done_through {
            session.done_through = done_through;
            session.answers.retain(|answer| answer.seq > done_through);
        }
        if seq <= session.done_through {
            return Answer::Refused(Refusal::Forgotten);
        }
        if seq.get() - session.done_through.get() > self.limits.session_window {
            return Answer::Refused(Refusal::SessionBusy);
        }
        let hash = content_hash(command, &mut self.scratch);
        let answers = &self.sessions.at(at).answers;
        if let Ok(found) = answers.binary_search_by_key(&seq, |answer| answer.seq)
            && let Some(known) = answers.get(found)
        {
            if known.hash != hash {
                return Answer::Refused(Refusal::RequestIdReused);
            }
            let outcome = known.outcome.clone();
            return self.replay(&outcome, command);
        }
        let (answer, outcome) = self.operate(origin, command, From::Session(at, seq), events);
        // It may have closed itself.
        if self.session_of(command.zone, id) == Some(at) {
            let outcome = outcome.unwrap_or_else(|| Outcome::of(&answer));
            let answers = &mut self.sessions.at_mut(at).answers;
            let place = answers.partition_point(|answer| answer.seq < seq);
            answers.insert(place, Numbered { seq, hash, outcome });
        }
        answer
    }

    /// What is, for somebody who asked for it before.
    fn replay(&self, outcome: &Outcome, command: &Command) -> Answer {
        match outcome {
            Outcome::Open => panic!("a request is decided before the next one"),
            Outcome::Granted { fence } => {
                let found = self.grant_under(command.zone, *fence);
                let alive = found.filter(|at| self.is_alive(self.grants.at(*at)));
                let Some(at) = alive else {
                    return Answer::Refused(Refusal::NotHeld);
                };
                Answer::Granted(self.describe(at, self.parts_held(at), true))
            }
            Outcome::Waits(at) => {
                let ticket = self.tickets.at(*at);
                if !self.is_ticket_alive(ticket) {
                    // The end itself comes as an event, when there is room for it.
                    return Answer::Refused(Refusal::Cancelled);
                }
                if ticket.offered {
                    return Answer::Offered { ticket: ticket.id };
                }
                Answer::Queued {
                    ticket: ticket.id,
                    position: self.position(ticket),
                }
            }
            Outcome::Released {
                fence,
                already,
                entered,
            } => Answer::Released {
                fence: *fence,
                already: *already,
                entered: *entered,
            },
            Outcome::Said(answer) => (**answer).clone(),
        }
    }

    /// Puts a new request where it is looked for.
    fn index_request(&mut self, at: Ref<Request>) {
        let (requests, hasher) = (&self.requests, self.hasher);
        let hash = |at: Ref<Request>| {
            let request = requests.at(at);
            hasher.request(request.zone, request.id)
        };
        self.request_index.insert(hash(at), at, hash);
    }

    pub(super) fn request_of(&self, zone: ZoneId, id: RequestId) -> Option<Ref<Request>> {
        self.request_index
            .find(self.hasher.request(zone, id), |at| {
                let request = self.requests.at(at);
                request.zone == zone && request.id == id
            })
    }

    /// A ticket ended: what a retry of its request will be told.
    pub(super) fn conclude(&mut self, asker: &Asker, outcome: Outcome) {
        match asker {
            Asker::Nobody => {}
            Asker::Key(request) => self.requests.at_mut(*request).outcome = outcome,
            Asker::Session { session, seq, .. } => {
                let answers = &mut self.sessions.at_mut(*session).answers;
                if let Ok(found) = answers.binary_search_by_key(seq, |answer| answer.seq)
                    && let Some(answer) = answers.get_mut(found)
                {
                    answer.outcome = outcome;
                }
            }
        }
    }

    /// Nothing but the answer itself keeps it in memory any more: it has its time from now on.
    pub(super) fn forget_later(&mut self, at: Ref<Request>) {
        let forget_at = self.stamp.plus(Duration::from_millis(DEDUPE_MS)).as_nanos();
        let forget_at =
            Stamp::from_nanos(forget_at.div_ceil(FORGET_STEP).saturating_mul(FORGET_STEP));
        self.requests.at_mut(at).forget_at = forget_at;
        self.count_down(at);
    }

    /// A request whose end is known takes room among the remembered answers until then.
    pub(super) fn count_down(&mut self, at: Ref<Request>) {
        let requests = &self.requests;
        let zone = requests.at(at).zone;
        self.request_timers.set(at, request_order(requests));
        self.zones.entry(zone).or_default().answers += 1;
    }

    /// The time of an answer is over.
    pub(super) fn forget(&mut self, at: Ref<Request>) {
        let requests = &self.requests;
        self.request_timers.clear(at, request_order(requests));
        let request = self.requests.remove(at);
        self.request_index
            .remove(self.hasher.request(request.zone, request.id), at);
        self.zones.entry(request.zone).or_default().answers -= 1;
    }
}
