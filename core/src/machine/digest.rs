//! Two hashes that find servers which disagree: a rolling one over all that was applied and
//! answered, and a full one over all that is.
//!
//! Neither sees where in a table a record stands, so servers agree whatever way they came to their
//! state: by the whole log, or by a snapshot and the rest of it.

use super::answer::{Answer, Blocker, Event, Grant as Granted, Loss, Refusal, Table as Limited};
use super::command::{Life, Mode, Via};
use super::state::{
    Aim, Asker, Ending, Grant, Line, Lock, Outcome, Request, Session, Term, Ticket, Work,
};
use super::table::Ref;
use super::{Form, Machine};
use crate::config::Mark;
use crate::config::Unfit;
use crate::entry::Entry;
use crate::hash::{hash64, hash64_after};
use crate::ids::{Ballot, Fence, SessionId};
use crate::time::Stamp;
use alloc::vec::Vec;

/// Bytes to hash. Each thing begins with a number of its kind and each length stands before its
/// bytes, so that different things give different bytes.
struct Bytes<'a>(&'a mut Vec<u8>);

impl Machine {
    /// Takes what the entry did into the rolling digest.
    pub(super) fn roll(&mut self, entry: &Entry, events: &[Event]) {
        if self.form == Form::Witness {
            return;
        }
        let mut scratch = core::mem::take(&mut self.scratch);
        scratch.clear();
        let mut bytes = Bytes(&mut scratch);
        bytes.number(self.applied.get());
        bytes.number(self.stamp.as_nanos());
        bytes.number(entry.hash());
        events.iter().for_each(|event| bytes.event(event));
        self.digest = hash64_after(self.digest, &scratch);
        self.scratch = scratch;
    }

    /// A hash of the whole state, the rolling digest with it. Walks everything.
    pub fn digest_full(&self) -> u64 {
        let mut scratch = Vec::new();
        let mut sum = 0_u64;
        let mut add = |kind: u64, write: &dyn Fn(&mut Bytes<'_>)| {
            scratch.clear();
            write(&mut Bytes(&mut scratch));
            // A sum has no order: neither has a table.
            sum = sum.wrapping_add(hash64_after(kind, &scratch));
        };
        for (_, lock) in self.locks.iter() {
            add(1, &|bytes| self.put_lock(bytes, lock));
        }
        for (_, grant) in self.grants.iter() {
            add(7, &|bytes| self.put_grant(bytes, grant));
        }
        for (_, ticket) in self.tickets.iter() {
            add(8, &|bytes| self.put_ticket(bytes, ticket));
        }
        for (_, session) in self.sessions.iter() {
            add(2, &|bytes| self.put_session(bytes, session));
        }
        for (_, request) in self.requests.iter() {
            add(3, &|bytes| self.put_request(bytes, request));
        }
        for (id, zone) in &self.zones {
            add(4, &|bytes| {
                bytes.number(u64::from(id.get()));
                bytes.number(zone.fence.get());
            });
        }
        for (node, window) in &self.vias {
            add(5, &|bytes| {
                bytes.number(node.get());
                bytes.number(window.boot.get());
                bytes.number(window.highest);
                window.seen.iter().for_each(|word| bytes.number(*word));
            });
        }
        add(6, &|bytes| self.put_rest(bytes));
        hash64(&sum.to_le_bytes())
    }

    fn put_rest(&self, bytes: &mut Bytes<'_>) {
        bytes.number(self.applied.get());
        bytes.number(self.stamp.as_nanos());
        bytes.number(self.digest);
        bytes.number(self.unreadable);
        bytes.number(self.fence_floor.get());
        bytes.ballot(self.started.ballot);
        bytes.number(self.started.slot.get());
        bytes.number(self.grace.from.as_nanos());
        bytes.number(self.grace.until.as_nanos());
        bytes.option(self.grace.given.map(Stamp::as_nanos));
        // It names the whole, and all states before it.
        bytes.mark(self.shared.mark());
        for work in &self.work {
            match work {
                Work::Line(line) => {
                    let lock = self.locks.at(self.lines.at(*line).lock);
                    bytes.kind(1);
                    bytes.number(u64::from(lock.zone.get()));
                    bytes.bytes(&lock.key);
                }
                Work::Session(session) => {
                    bytes.kind(2);
                    bytes.session(Some(self.sessions.at(*session).id));
                }
            }
        }
    }

    fn put_lock(&self, bytes: &mut Bytes<'_>, lock: &Lock) {
        bytes.number(u64::from(lock.zone.get()));
        bytes.bytes(&lock.key);
        for (grant, hold) in self.holders(lock) {
            bytes.kind(1);
            bytes.number(grant.fence.get());
            bytes.mode(self.mode_of(lock, hold.share));
        }
        if let Some(line) = lock.line {
            self.put_line(bytes, lock, self.lines.at(line));
        }
    }

    fn put_grant(&self, bytes: &mut Bytes<'_>, grant: &Grant) {
        bytes.number(u64::from(grant.zone.get()));
        bytes.number(grant.fence.get());
        bytes.count(self.holds_of(grant).count());
        for (_, hold) in self.holds_of(grant) {
            bytes.bytes(&self.locks.at(hold.lock).key);
        }
        bytes.number(grant.since.as_nanos());
        bytes.number(u64::from(grant.entered));
        bytes.bytes(&grant.holder);
        match &grant.term {
            Term::Lease { deadline, ttl_ms } => {
                bytes.kind(1);
                bytes.number(deadline.as_nanos());
                bytes.number(u64::from(*ttl_ms));
            }
            Term::Session { session, .. } => {
                bytes.kind(2);
                bytes.session(Some(self.sessions.at(*session).id));
            }
            Term::Static => bytes.kind(3),
        }
        self.put_key_of(bytes, grant.request);
    }

    fn put_key_of(&self, bytes: &mut Bytes<'_>, request: Option<Ref<Request>>) {
        let id = request.map_or(0, |at| self.requests.at(at).id.get());
        bytes.kind(u8::from(request.is_some()));
        bytes.0.extend_from_slice(&id.to_le_bytes());
    }

    fn put_line(&self, bytes: &mut Bytes<'_>, lock: &Lock, line: &Line) {
        bytes.kind(2);
        for queue in [&line.converting, &line.waiting] {
            bytes.number(queue.count);
            bytes.number(queue.place_next);
        }
        bytes.kind(u8::from(line.in_work));
        for (ticket, place) in self.places_in(line) {
            bytes.kind(3);
            bytes.number(ticket.id.get());
            bytes.number(place.number);
            bytes.mode(self.mode_of(lock, place.share));
        }
    }

    fn put_ticket(&self, bytes: &mut Bytes<'_>, ticket: &Ticket) {
        bytes.number(ticket.id.get());
        bytes.number(u64::from(ticket.zone.get()));
        bytes.count(self.places_of(ticket).count());
        for (_, place) in self.places_of(ticket) {
            let lock = self.lines.at(place.line).lock;
            bytes.bytes(&self.locks.at(lock).key);
        }
        match &ticket.aim {
            Aim::Take {
                life,
                holder,
                reentrant,
            } => {
                bytes.kind(u8::from(*reentrant));
                bytes.life(*life);
                bytes.bytes(holder);
            }
            Aim::Convert(grant) => {
                bytes.kind(2);
                bytes.number(self.grants.at(*grant).fence.get());
            }
        }
        bytes.number(ticket.since.as_nanos());
        bytes.number(ticket.deadline.as_nanos());
        bytes.kind(u8::from(ticket.offered));
        match &ticket.asker {
            Asker::Nobody => bytes.kind(0),
            Asker::Key(request) => self.put_key_of(bytes, Some(*request)),
            Asker::Session { session, seq, .. } => {
                bytes.kind(2);
                bytes.session(Some(self.sessions.at(*session).id));
                bytes.number(seq.get());
            }
        }
    }

    fn put_session(&self, bytes: &mut Bytes<'_>, session: &Session) {
        bytes.session(Some(session.id));
        bytes.number(u64::from(session.zone.get()));
        bytes.number(u64::from(session.ttl_ms));
        bytes.number(session.deadline.as_nanos());
        bytes.number(session.done_through.get());
        bytes.bytes(&session.identifier);
        bytes.kind(match session.ending {
            None => 0,
            Some(Ending::Expired) => 1,
            Some(Ending::Closed) => 2,
        });
        for fence in &session.taken {
            bytes.kind(9);
            bytes.number(fence.get());
        }
        bytes.kind(u8::from(session.threads));
        for answer in &session.answers {
            bytes.number(answer.seq.get());
            bytes.number(answer.hash);
            self.put_outcome(bytes, &answer.outcome);
        }
    }

    fn put_request(&self, bytes: &mut Bytes<'_>, request: &Request) {
        bytes.number(u64::from(request.zone.get()));
        bytes.0.extend_from_slice(&request.id.get().to_le_bytes());
        bytes.number(request.hash);
        bytes.number(request.forget_at.as_nanos());
        self.put_outcome(bytes, &request.outcome);
    }

    fn put_outcome(&self, bytes: &mut Bytes<'_>, outcome: &Outcome) {
        match outcome {
            Outcome::Open => bytes.kind(0),
            Outcome::Granted { fence } => {
                bytes.kind(1);
                bytes.number(fence.get());
            }
            Outcome::Waits(at) => {
                bytes.kind(2);
                bytes.number(self.tickets.at(*at).id.get());
            }
            Outcome::Released {
                fence,
                already,
                entered,
            } => {
                bytes.kind(3);
                bytes.released(*fence, *already, *entered);
            }
            Outcome::Said(answer) => {
                bytes.kind(4);
                bytes.answer(answer);
            }
        }
    }
}

impl Bytes<'_> {
    fn kind(&mut self, kind: u8) {
        self.0.push(kind);
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn count(&mut self, count: usize) {
        self.number(u64::try_from(count).unwrap_or(u64::MAX));
    }

    fn ballot(&mut self, ballot: Ballot) {
        self.number(ballot.epoch.get());
        self.number(ballot.round.get());
        self.number(ballot.node.get());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn option(&mut self, number: Option<u64>) {
        self.kind(u8::from(number.is_some()));
        self.number(number.unwrap_or_default());
    }

    fn mark(&mut self, mark: Mark) {
        self.number(mark.change.get());
        self.number(mark.hash);
    }

    fn session(&mut self, session: Option<SessionId>) {
        self.kind(u8::from(session.is_some()));
        let id = session.unwrap_or_default().get();
        self.0.extend_from_slice(&id.to_le_bytes());
    }

    fn mode(&mut self, mode: Mode) {
        self.kind(match mode {
            Mode::Exclusive => 1,
            Mode::Shared => 2,
            Mode::Null => 3,
            Mode::ConcurrentRead => 4,
            Mode::ConcurrentWrite => 5,
            Mode::ProtectedWrite => 6,
            Mode::Permits { .. } => 7,
        });
        if let Mode::Permits { n, capacity } = mode {
            self.number(u64::from(n));
            self.number(u64::from(capacity));
        }
    }

    fn life(&mut self, life: Life) {
        match life {
            Life::Lease { ttl_ms } => self.number(ttl_ms),
            Life::Static => self.number(u64::MAX),
            Life::Session => self.number(u64::MAX - 1),
        }
    }

    fn via(&mut self, via: Via) {
        self.number(via.node.get());
        self.number(via.boot.get());
        self.number(via.seq);
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Answered { via, answer } => {
                self.kind(1);
                self.via(*via);
                self.answer(answer);
            }
            Event::Offered { ticket } => {
                self.kind(2);
                self.number(ticket.get());
            }
            Event::Ended { ticket, answer } => {
                self.kind(3);
                self.number(ticket.get());
                self.answer(answer);
            }
            Event::Lost {
                zone,
                keys,
                fence,
                session,
                loss,
            } => {
                self.kind(match loss {
                    Loss::Expired => 4,
                    Loss::Forced(_) => 6,
                });
                self.number(u64::from(zone.get()));
                self.count(keys.len());
                for key in keys {
                    self.bytes(key.as_bytes());
                }
                self.number(fence.get());
                self.session(*session);
            }
            Event::SessionExpired { session } => {
                self.kind(5);
                self.session(Some(*session));
            }
        }
    }

    fn answer(&mut self, answer: &Answer) {
        match answer {
            Answer::Granted(grant) => self.granted(grant),
            Answer::Queued { ticket, position } => {
                self.kind(2);
                self.number(ticket.get());
                self.number(*position);
            }
            Answer::Offered { ticket } => {
                self.kind(3);
                self.number(ticket.get());
            }
            Answer::Released {
                fence,
                already,
                entered,
            } => {
                self.kind(4);
                self.released(*fence, *already, *entered);
            }
            Answer::Renewed { fence, ttl_ms } => {
                self.kind(5);
                self.number(fence.get());
                self.number(*ttl_ms);
            }
            Answer::Cancelled { ticket } => {
                self.kind(6);
                self.number(ticket.get());
            }
            Answer::SessionOpened { session, ttl_ms } => {
                self.timed(7, *session, *ttl_ms);
            }
            Answer::KeptAlive {
                session,
                ttl_ms,
                taken,
            } => {
                self.timed(8, *session, *ttl_ms);
                taken.iter().for_each(|fence| self.number(fence.get()));
            }
            Answer::SessionClosed { session } => {
                self.kind(9);
                self.session(Some(*session));
            }
            Answer::Resized { capacity } => {
                self.kind(12);
                self.number(u64::from(*capacity));
            }
            Answer::Converted { fence } => {
                self.kind(14);
                self.number(fence.get());
            }
            Answer::Forced {
                fence,
                holder,
                remaining_ms,
            } => {
                self.kind(13);
                self.forced(*fence, holder, *remaining_ms);
            }
            Answer::Configured { mark } => {
                self.kind(11);
                self.mark(*mark);
            }
            Answer::Refused(refusal) => {
                self.kind(10);
                self.refusal(refusal);
            }
        }
    }

    fn timed(&mut self, kind: u8, session: SessionId, ttl_ms: u64) {
        self.kind(kind);
        self.session(Some(session));
        self.number(ttl_ms);
    }

    fn forced(&mut self, fence: Fence, holder: &[u8], remaining_ms: Option<u64>) {
        self.number(fence.get());
        self.bytes(holder);
        self.option(remaining_ms);
    }

    fn released(&mut self, fence: Fence, already: bool, entered: u32) {
        self.number(fence.get());
        self.kind(u8::from(already));
        self.number(u64::from(entered));
    }

    fn granted(&mut self, grant: &Granted) {
        self.kind(1);
        self.number(u64::from(grant.zone.get()));
        self.count(grant.parts.count());
        for part in grant.parts.iter() {
            self.mode(part.mode);
            self.bytes(part.key.as_bytes());
        }
        self.number(grant.fence.get());
        self.life(grant.life);
        self.session(grant.session);
        self.bytes(&grant.holder);
        self.option(grant.remaining_ms);
        self.kind(u8::from(grant.replayed));
        self.number(u64::from(grant.entered));
    }

    fn blockers(&mut self, by: &[Blocker]) {
        for blocker in by {
            self.bytes(&blocker.holder);
            self.number(blocker.fence.get());
            self.mode(blocker.mode);
        }
    }

    fn refusal(&mut self, refusal: &Refusal) {
        match refusal {
            Refusal::Held { by } => {
                self.kind(1);
                self.blockers(by);
            }
            Refusal::WaitTimeout { by } => {
                self.kind(2);
                self.blockers(by);
            }
            Refusal::Cancelled => self.kind(3),
            Refusal::NotHeld => self.kind(4),
            Refusal::NotLeased => self.kind(5),
            Refusal::NoSuchTicket => self.kind(6),
            Refusal::SessionGone => self.kind(7),
            Refusal::IdentifierInUse => self.kind(8),
            Refusal::SessionBusy => self.kind(9),
            Refusal::Forgotten => self.kind(10),
            Refusal::RequestIdReused => self.kind(11),
            Refusal::Quota { what } => {
                self.kind(12);
                self.kind(match what {
                    Limited::Locks => 1,
                    Limited::Tickets => 2,
                    Limited::Sessions => 3,
                    Limited::Answers => 4,
                    Limited::Zones => 5,
                    Limited::Entries => 6,
                    Limited::Taken => 7,
                });
            }
            Refusal::HasCapacity { capacity } => {
                self.kind(16);
                self.number(u64::from(*capacity));
            }
            Refusal::NoPermits => self.kind(17),
            Refusal::NotCovered { by } => {
                self.kind(18);
                self.blockers(by);
            }
            Refusal::Entered { entered } => {
                self.kind(20);
                self.number(u64::from(*entered));
            }
            Refusal::Converting => self.kind(21),
            Refusal::UpgradeDeadlock { by } => {
                self.kind(22);
                self.blockers(by);
            }
            Refusal::FenceChanged { by } => {
                self.kind(19);
                self.blockers(by);
            }
            Refusal::Deadlock { by } => {
                self.kind(28);
                self.blockers(by);
            }
            Refusal::SearchLimit => self.kind(29),
            Refusal::ConfigMoved { now } => {
                self.kind(14);
                self.mark(*now);
            }
            Refusal::ConfigUnfit { why } => {
                self.kind(15);
                self.kind(unfit(*why));
            }
            // The words may be bettered by a later version; servers of both must agree.
            Refusal::Invalid { .. } => self.kind(13),
        }
    }
}

/// The number of a reason.
const fn unfit(why: Unfit) -> u8 {
    match why {
        Unfit::Malformed => 1,
        Unfit::NoSuchMember => 2,
        Unfit::MembersMin => 3,
        Unfit::Zones => 4,
        Unfit::Members => 5,
        Unfit::Voters => 6,
        Unfit::NodeUsed => 7,
        Unfit::NotAsked => 8,
        Unfit::NotInvited => 9,
        Unfit::Invites => 10,
        Unfit::Leaders => 11,
    }
}
