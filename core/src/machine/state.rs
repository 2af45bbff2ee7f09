//! The records of the tables. Sizes matter: a held lock is one `Lock`, one `Hold` and one `Grant`.
//!
//! A claim is one record with a list of its keys: a `Grant` of `Hold`s, or a `Ticket` of `Place`s. Each
//! of these stands in the ring of its lock or line too.

use super::answer::Answer;
use super::command::Life;
use super::crowd::{Conversions, Crowd, Share};
use super::list::Link;
use super::table::{Ref, Table};
use crate::ids::{Fence, RequestId, RequestSeq, SessionId, TicketId, ZoneId};
use crate::limits::GRACE;
use crate::limits::GRACE_INTERVAL;
use crate::time::Stamp;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// A key that is held or waited for. There is no record of any other key.
#[derive(Clone, Debug)]
pub(super) struct Lock {
    pub(super) key: Box<[u8]>,
    pub(super) zone: ZoneId,
    /// The first of the ring of its holds, by fence.
    pub(super) holders: Option<Ref<Hold>>,
    /// Only if somebody waits.
    pub(super) line: Option<Ref<Line>>,
    /// Only if it is shared.
    pub(super) crowd: Option<Ref<Crowd>>,
}

/// A claim that holds.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) fence: Fence,
    pub(super) since: Stamp,
    pub(super) term: Term,
    /// Empty if the holder is known by its session's identifier.
    pub(super) holder: Box<[u8]>,
    pub(super) zone: ZoneId,
    /// The first of the list of its holds, by key. There is one, but while a snapshot is read.
    pub(super) holds: Option<Ref<Hold>>,
    /// Its caller's key, which is remembered while the grant lives.
    pub(super) request: Option<Ref<Request>>,
    /// How often its session has entered it and not left it again; zero: it is not re-entrant.
    pub(super) entered: u32,
}

/// One key of a claim that holds.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) grant: Ref<Grant>,
    pub(super) lock: Ref<Lock>,
    pub(super) beside: Link<Hold>,
    /// The one of the claim's next key.
    pub(super) next: Option<Ref<Hold>>,
    pub(super) share: Share,
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

/// The line before a lock.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) lock: Ref<Lock>,
    /// Those who hold the lock and convert their grant. They are served before the others.
    pub(super) converting: Queue,
    pub(super) waiting: Queue,
    /// What those who convert are after, but for those that were offered it.
    pub(super) conversions: Conversions,
    /// It stands in the work list: its front could be served, and the entry had no room for it.
    pub(super) in_work: bool,
}

/// First come, first served: first those that were offered the lock, then those that wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    pub(super) first: Option<Ref<Place>>,
    /// The first that was not offered the lock.
    pub(super) front: Option<Ref<Place>>,
    pub(super) count: u64,
    /// The number of the next place.
    pub(super) place_next: u64,
}

/// A claim that waits.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) id: TicketId,
    pub(super) zone: ZoneId,
    /// The first of the list of its places, by key. There is one, but while a snapshot is read.
    pub(super) places: Option<Ref<Place>>,
    pub(super) aim: Aim,
    pub(super) since: Stamp,
    /// When its wait ends, or the offer if it was offered its locks.
    pub(super) deadline: Stamp,
    pub(super) offered: bool,
    pub(super) asker: Asker,
}

/// What a ticket is to become.
#[derive(Clone, Debug)]
pub(super) enum Aim {
    /// A grant of its own.
    Take {
        life: Life,
        holder: Box<[u8]>,
        reentrant: bool,
    },
    /// Another share of what this grant holds. It lives on as it is meanwhile.
    Convert(Ref<Grant>),
}

/// One key of a claim that waits: its place in that key's line.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) ticket: Ref<Ticket>,
    pub(super) line: Ref<Line>,
    pub(super) beside: Link<Place>,
    /// The one of the claim's next key.
    pub(super) next: Option<Ref<Place>>,
    pub(super) number: u64,
    pub(super) share: Share,
    /// What the grant has of the lock that the ticket converts: it stands among those who convert.
    pub(super) old: Option<Share>,
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
    /// Fences of grants that an operator took from it, as they went: every keep-alive tells them (rule 16).
    pub(super) taken: Vec<Fence>,
    /// Its client has many threads: while one of them waits, another one may let go.
    pub(super) threads: bool,
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
    Released {
        fence: Fence,
        already: bool,
        entered: u32,
    },
    /// Any other.
    Said(Box<Answer>),
}

/// A tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct Zone {
    /// The highest fence that was given.
    pub(super) fence: Fence,
    /// Keys of its grants.
    pub(super) holds: usize,
    /// Keys of its tickets.
    pub(super) places: usize,
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

/// The ring of the holds of one lock.
pub(super) fn of_lock(hold: &mut Hold) -> &mut Link<Hold> {
    &mut hold.beside
}

/// The ring of the grants of one session.
pub(super) fn of_session(grant: &mut Grant) -> &mut Link<Grant> {
    match &mut grant.term {
        Term::Session { beside, .. } => beside,
        Term::Lease { .. } | Term::Static => panic!("only a session's grants are in its ring"),
    }
}

/// The ring of the places of one line.
pub(super) fn of_line(place: &mut Place) -> &mut Link<Place> {
    &mut place.beside
}

/// The ring of the tickets of one session.
pub(super) fn asked_by(ticket: &mut Ticket) -> &mut Link<Ticket> {
    match &mut ticket.asker {
        Asker::Session { beside, .. } => beside,
        Asker::Nobody | Asker::Key(_) => panic!("only a session's tickets are in its ring"),
    }
}

/// The keys of the four heaps. Two zones may give the same fence.
pub(super) fn lease_order(grants: &Table<Grant>) -> impl Fn(Ref<Grant>) -> (Stamp, Fence, ZoneId) {
    move |at| {
        let grant = grants.at(at);
        (grant.deadline(), grant.fence, grant.zone)
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
    /// How long it lives, as it was asked for.
    pub(super) fn life(&self) -> Life {
        match self.term {
            Term::Lease { ttl_ms, .. } => Life::Lease {
                ttl_ms: u64::from(ttl_ms),
            },
            Term::Session { .. } => Life::Session,
            Term::Static => Life::Static,
        }
    }

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

impl Line {
    /// The place that is served next.
    pub(super) fn front(&self) -> Option<Ref<Place>> {
        self.converting.front.or(self.waiting.front)
    }

    /// How many stand in it.
    pub(super) const fn count(&self) -> u64 {
        self.converting.count + self.waiting.count
    }

    /// The queue of those who convert, or of the others.
    pub(super) const fn queue(&self, converts: bool) -> &Queue {
        if converts {
            &self.converting
        } else {
            &self.waiting
        }
    }

    pub(super) const fn queue_mut(&mut self, converts: bool) -> &mut Queue {
        if converts {
            &mut self.converting
        } else {
            &mut self.waiting
        }
    }
}

impl Ticket {
    /// The grant that it converts.
    pub(super) const fn converts(&self) -> Option<Ref<Grant>> {
        match self.aim {
            Aim::Take { .. } => None,
            Aim::Convert(grant) => Some(grant),
        }
    }

    /// Whether it may enter what its session came to hold meanwhile.
    pub(super) const fn is_reentrant(&self) -> bool {
        matches!(
            self.aim,
            Aim::Take {
                reentrant: true,
                ..
            }
        )
    }

    /// The next in the ring of its session.
    pub(super) const fn asked_after(&self) -> Option<Ref<Self>> {
        match &self.asker {
            Asker::Session { beside, .. } => Some(beside.next),
            Asker::Nobody | Asker::Key(_) => None,
        }
    }

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
    assert!(size_of::<Option<Hold>>() == 24);
};
