//! The records of the tables. Sizes matter: a held lock is one `Lock` and one `Grant`.

use super::answer::Answer;
use super::command::{Life, Mode};
use super::list::Link;
use super::table::{Ref, Table};
use crate::ids::{Fence, RequestId, RequestSeq, SessionId, TicketId, ZoneId};
use crate::limits::GRACE;
use crate::limits::GRACE_INTERVAL;
use crate::time::Stamp;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// A key that is held or waited for. There is no record of any other key.
#[derive(Clone, Debug)]
pub(super) struct Lock {
    pub(super) key: Box<[u8]>,
    pub(super) zone: ZoneId,
    /// The first of the ring of its grants, by fence.
    pub(super) holders: Option<Ref<Grant>>,
    /// Only if somebody waits.
    pub(super) line: Option<Ref<Line>>,
    /// How all its holders share it.
    pub(super) mode: Mode,
}

/// A claim that holds.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) fence: Fence,
    pub(super) since: Stamp,
    pub(super) term: Term,
    /// Empty if the holder is known by its session's identifier.
    pub(super) holder: Box<[u8]>,
    pub(super) lock: Ref<Lock>,
    pub(super) beside: Link<Grant>,
    /// Its caller's key, which is remembered while the grant lives.
    pub(super) request: Option<Ref<Request>>,
}

/// How long a grant lives.
#[derive(Clone, Debug)]
pub(super) enum Term {
    Lease {
        deadline: Stamp,
        ttl_ms: u32,
    },
    Session {
        session: Ref<Session>,
        beside: Link<Grant>,
    },
    Static,
}

/// The line before a lock: first those that were offered it, then those that wait.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) lock: Ref<Lock>,
    pub(super) first: Option<Ref<Ticket>>,
    /// The first that was not offered the lock.
    pub(super) front: Option<Ref<Ticket>>,
    pub(super) count: u64,
    /// The number of the next place.
    pub(super) place_next: u64,
    /// It stands in the work list: its front could be served, and the entry had no room for it.
    pub(super) in_work: bool,
}

/// A claim that waits.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) id: TicketId,
    pub(super) line: Ref<Line>,
    pub(super) beside: Link<Ticket>,
    pub(super) place: u64,
    pub(super) mode: Mode,
    pub(super) life: Life,
    pub(super) holder: Box<[u8]>,
    pub(super) since: Stamp,
    /// When its wait ends, or the offer if it was offered the lock.
    pub(super) deadline: Stamp,
    pub(super) offered: bool,
    pub(super) asker: Asker,
}

/// Whose ticket it is.
#[derive(Clone, Debug)]
pub(super) enum Asker {
    Nobody,
    Key(Ref<Request>),
    Session {
        session: Ref<Session>,
        seq: RequestSeq,
        beside: Link<Ticket>,
    },
}

/// A client's identity.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) zone: ZoneId,
    pub(super) ttl_ms: u32,
    pub(super) deadline: Stamp,
    pub(super) done_through: RequestSeq,
    /// By number, all above `done_through`.
    pub(super) answers: Vec<Numbered>,
    pub(super) identifier: Box<[u8]>,
    pub(super) grants: Option<Ref<Grant>>,
    pub(super) tickets: Option<Ref<Ticket>>,
    /// It is over, and what it had is being taken from it.
    pub(super) ending: Option<Ending>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    Expired,
    Closed,
}

/// What was decided about a request of a session.
#[derive(Clone, Debug)]
pub(super) struct Numbered {
    pub(super) seq: RequestSeq,
    pub(super) hash: u64,
    pub(super) outcome: Outcome,
}

/// What was decided about a request that its caller gave a key.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) zone: ZoneId,
    pub(super) id: RequestId,
    pub(super) hash: u64,
    pub(super) outcome: Outcome,
    /// When it is forgotten; never while its grant or ticket lives.
    pub(super) forget_at: Stamp,
}

/// What a retry is answered from.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// It is being decided.
    Open,
    /// A grant, which may have ended.
    Granted { fence: Fence },
    /// A ticket that is still in its line.
    Waits(Ref<Ticket>),
    /// The most common last word, without a box.
    Released { fence: Fence, already: bool },
    /// Any other.
    Said(Box<Answer>),
}

/// A tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct Zone {
    /// The highest fence that was given.
    pub(super) fence: Fence,
    pub(super) grants: usize,
    pub(super) tickets: usize,
    pub(super) sessions: usize,
    /// Remembered answers to keys whose grant or ticket is over.
    pub(super) answers: usize,
}

/// Something that one entry had no room for (rule 42).
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// The front of the line can be served.
    Line(Ref<Line>),
    /// A session that is over still has grants or tickets.
    Session(Ref<Session>),
}

/// The floor under all ttls after a change of leader. Whoever was alive when the new leader started
/// lives until `until` at least; whoever was dead stays dead.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Grace {
    /// Deadlines up to here had passed.
    pub(super) from: Stamp,
    pub(super) until: Stamp,
    pub(super) given: Option<Stamp>,
}

impl Grace {
    /// When a ttl with this deadline ends. Never decreases as `deadline` grows, so what is due first
    /// stays due first.
    pub(super) fn effective(&self, deadline: Stamp) -> Stamp {
        if deadline > self.from {
            deadline.max(self.until)
        } else {
            deadline
        }
    }

    /// A leader started when agreed time was `before`; now it is `now`.
    pub(super) fn leader_started(&mut self, before: Stamp, now: Stamp) {
        if self
            .given
            .is_some_and(|given| now.since(given) < GRACE_INTERVAL)
        {
            return;
        }
        // What an earlier grace still holds up is alive, whatever its own deadline says.
        let from = if before < self.until {
            self.from
        } else {
            before
        };
        *self = Self {
            from,
            until: now.plus(GRACE),
            given: Some(now),
        };
    }
}

/// The ring of the grants of one lock.
pub(super) fn of_lock(grant: &mut Grant) -> &mut Link<Grant> {
    &mut grant.beside
}

/// The ring of the grants of one session.
pub(super) fn of_session(grant: &mut Grant) -> &mut Link<Grant> {
    match &mut grant.term {
        Term::Session { beside, .. } => beside,
        Term::Lease { .. } | Term::Static => panic!("only a session's grants are in its ring"),
    }
}

/// The ring of the tickets of one line.
pub(super) fn of_line(ticket: &mut Ticket) -> &mut Link<Ticket> {
    &mut ticket.beside
}

/// The ring of the tickets of one session.
pub(super) fn asked_by(ticket: &mut Ticket) -> &mut Link<Ticket> {
    match &mut ticket.asker {
        Asker::Session { beside, .. } => beside,
        Asker::Nobody | Asker::Key(_) => panic!("only a session's tickets are in its ring"),
    }
}

/// The order in which leases end. Two zones may give the same fence; only then the lock is read.
pub(super) struct LeaseOrder<'a> {
    deadline: Stamp,
    fence: Fence,
    lock: Ref<Lock>,
    locks: &'a Table<Lock>,
}

impl Ord for LeaseOrder<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let zone = |order: &Self| order.locks.at(order.lock).zone;
        (self.deadline, self.fence)
            .cmp(&(other.deadline, other.fence))
            .then_with(|| zone(self).cmp(&zone(other)))
    }
}

impl PartialOrd for LeaseOrder<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for LeaseOrder<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for LeaseOrder<'_> {}

/// The keys of the four heaps.
pub(super) fn lease_order<'a>(
    grants: &'a Table<Grant>,
    locks: &'a Table<Lock>,
) -> impl Fn(Ref<Grant>) -> LeaseOrder<'a> {
    move |at| {
        let grant = grants.at(at);
        LeaseOrder {
            deadline: grant.deadline(),
            fence: grant.fence,
            lock: grant.lock,
            locks,
        }
    }
}

pub(super) fn session_order(
    sessions: &Table<Session>,
) -> impl Fn(Ref<Session>) -> (Stamp, SessionId) {
    move |at| (sessions.at(at).deadline, sessions.at(at).id)
}

pub(super) fn ticket_order(tickets: &Table<Ticket>) -> impl Fn(Ref<Ticket>) -> (Stamp, TicketId) {
    move |at| (tickets.at(at).deadline, tickets.at(at).id)
}

pub(super) fn request_order(
    requests: &Table<Request>,
) -> impl Fn(Ref<Request>) -> (Stamp, ZoneId, RequestId) {
    move |at| {
        let request = requests.at(at);
        (request.forget_at, request.zone, request.id)
    }
}

impl Grant {
    /// Its own deadline, if it is a lease; else the end of time.
    pub(super) const fn deadline(&self) -> Stamp {
        match self.term {
            Term::Lease { deadline, .. } => deadline,
            Term::Session { .. } | Term::Static => Stamp::MAX,
        }
    }

    /// The session it lives with.
    pub(super) const fn session(&self) -> Option<Ref<Session>> {
        match self.term {
            Term::Session { session, .. } => Some(session),
            Term::Lease { .. } | Term::Static => None,
        }
    }
}

impl Ticket {
    /// The session that waits.
    pub(super) const fn session(&self) -> Option<Ref<Session>> {
        match self.asker {
            Asker::Session { session, .. } => Some(session),
            Asker::Nobody | Asker::Key(_) => None,
        }
    }
}

const _: () = {
    assert!(size_of::<Option<Lock>>() == 32);
    assert!(size_of::<Option<Grant>>() == 64);
};
