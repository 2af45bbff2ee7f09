//! The records of the tables as bytes: what decides a future answer, and nothing that can be
//! computed from the rest. Rings, counts and what points back are made again by `rebuild`.
//!
//! The numbers of kinds are frozen; `tests/vectors/snapshot.txt` holds golden bytes.

use super::answers::{put_answers, take_answers};
use super::form::{Read, Reader, Writer, kept};
use crate::ids::{Fence, RequestId, RequestSeq, SessionId, TicketId, ZoneId};
use crate::limits::{
    HOLDER_BYTES_MAX, IDENTIFIER_BYTES_MAX, KEY_BYTES_MAX, PERMITS_MAX, TAKEN_MAX,
};
use crate::machine::command::{Life, Mode};
use crate::machine::crowd::{Conversions, Crowd, Share};
use crate::machine::key::Key;
use crate::machine::list::Link;
use crate::machine::state::{
    Aim, Asker, Ending, Grant, Hold, Line, Lock, Outcome, Place, Queue, Request, Session, Term,
    Ticket,
};
use crate::machine::table::Ref;
use alloc::vec::Vec;

/// What a table holds, as bytes.
pub(super) trait Record: Sized {
    fn put(&self, to: &mut Writer<'_>);

    /// The record that will stand at `at`. Its names are not checked.
    fn take(from: &mut Reader<'_>, at: Ref<Self>) -> Read<Self>;
}

/// Only what nobody can count: the capacity of permits. Zero says that it is shared in modes.
impl Record for Crowd {
    fn put(&self, to: &mut Writer<'_>) {
        to.u32(match self {
            Self::Modes(_) => 0,
            Self::Permits { capacity, .. } => *capacity,
        });
    }

    fn take(from: &mut Reader<'_>, _: Ref<Self>) -> Read<Self> {
        match from.u32()? {
            0 => Ok(Self::beside(false)),
            capacity if capacity <= PERMITS_MAX => Ok(Self::of_permits(capacity)),
            other => from.bad(4, "a capacity up to 2^30", other.into()),
        }
    }
}

impl Record for Lock {
    fn put(&self, to: &mut Writer<'_>) {
        to.u32(self.zone.get());
        to.name_or_none(self.crowd);
        to.string(&self.key);
    }

    fn take(from: &mut Reader<'_>, _: Ref<Self>) -> Read<Self> {
        let zone = ZoneId::new(from.u32()?);
        let crowd = from.name_or_none()?;
        let key = from.string(KEY_BYTES_MAX)?;
        if Key::check(key).is_err() {
            let len = u64::try_from(key.len()).unwrap_or(u64::MAX);
            return from.bad(key.len(), "a canonical key of this many bytes", len);
        }
        Ok(Self {
            key: kept(key),
            zone,
            holders: None,
            line: None,
            crowd,
        })
    }
}

impl Record for Line {
    fn put(&self, to: &mut Writer<'_>) {
        to.name(self.lock);
        to.u64(self.waiting.place_next);
        to.u64(self.converting.place_next);
    }

    fn take(from: &mut Reader<'_>, _: Ref<Self>) -> Read<Self> {
        Ok(Self {
            lock: from.name()?,
            waiting: take_queue(from)?,
            converting: match from.version {
                ..4 => Queue::default(),
                _ => take_queue(from)?,
            },
            conversions: Conversions::default(),
            in_work: false,
        })
    }
}

fn take_queue(from: &mut Reader<'_>) -> Read<Queue> {
    Ok(Queue {
        place_next: from.counter()?,
        ..Queue::default()
    })
}

/// Stands with a session's end if its client has many threads.
const THREADS: u8 = 4;

impl Record for Session {
    fn put(&self, to: &mut Writer<'_>) {
        to.u128(self.id.get());
        to.u32(self.zone.get());
        to.u32(self.ttl_ms);
        to.stamp(self.deadline);
        to.u64(self.done_through.get());
        let ending = match self.ending {
            None => 0,
            Some(Ending::Expired) => 1,
            Some(Ending::Closed) => 2,
        };
        to.u8(if self.threads {
            ending | THREADS
        } else {
            ending
        });
        to.string(&self.identifier);
        to.count(self.taken.len());
        self.taken.iter().for_each(|fence| to.u64(fence.get()));
        put_answers(to, &self.answers);
    }

    fn take(from: &mut Reader<'_>, _: Ref<Self>) -> Read<Self> {
        let id = SessionId::new(from.u128()?);
        let zone = ZoneId::new(from.u32()?);
        let ttl_ms = from.u32()?;
        let deadline = from.stamp()?;
        let done_through = RequestSeq::new(from.u64()?);
        let state = from.u8()?;
        let ending = match state & !THREADS {
            0 => None,
            1 => Some(Ending::Expired),
            2 => Some(Ending::Closed),
            _ => return from.bad(1, "a session's end, 0 to 2, and 4", state.into()),
        };
        Ok(Self {
            id,
            zone,
            ttl_ms,
            deadline,
            done_through,
            ending,
            threads: state & THREADS != 0,
            identifier: kept(from.string(IDENTIFIER_BYTES_MAX)?),
            taken: take_taken(from)?,
            answers: take_answers(from)?,
            grants: None,
            tickets: None,
        })
    }
}

/// What an operator took from a session.
fn take_taken(from: &mut Reader<'_>) -> Read<Vec<Fence>> {
    if from.version < 4 {
        return Ok(Vec::new());
    }
    let count = from.u32()?;
    if usize::try_from(count).is_ok_and(|count| count <= TAKEN_MAX) {
        return (0..count).map(|_| from.u64().map(Fence::new)).collect();
    }
    from.bad(4, "as many as are taken from one session", count.into())
}

impl Record for Request {
    fn put(&self, to: &mut Writer<'_>) {
        to.u32(self.zone.get());
        to.u128(self.id.get());
        to.u64(self.hash);
        to.stamp(self.forget_at);
        self.outcome.put(to);
    }

    fn take(from: &mut Reader<'_>, _: Ref<Self>) -> Read<Self> {
        Ok(Self {
            zone: ZoneId::new(from.u32()?),
            id: RequestId::new(from.u128()?),
            hash: from.u64()?,
            forget_at: from.stamp()?,
            outcome: Outcome::take(from)?,
        })
    }
}

impl Record for Grant {
    fn put(&self, to: &mut Writer<'_>) {
        to.u64(self.fence.get());
        to.stamp(self.since);
        to.u32(self.zone.get());
        to.name_or_none(self.request);
        to.u32(self.entered);
        to.short_string(&self.holder);
        match &self.term {
            Term::Lease { deadline, ttl_ms } => {
                to.u8(1);
                to.stamp(*deadline);
                to.u32(*ttl_ms);
            }
            Term::Session { session, .. } => {
                to.u8(2);
                to.name(*session);
            }
            Term::Static => to.u8(3),
        }
    }

    fn take(from: &mut Reader<'_>, at: Ref<Self>) -> Read<Self> {
        Ok(Self {
            fence: Fence::new(from.u64()?),
            since: from.stamp()?,
            zone: ZoneId::new(from.u32()?),
            holds: None,
            request: from.name_or_none()?,
            entered: from.u32()?,
            holder: kept(from.short_string(HOLDER_BYTES_MAX)?),
            term: match from.u8()? {
                1 => Term::Lease {
                    deadline: from.stamp()?,
                    ttl_ms: from.u32()?,
                },
                2 => Term::Session {
                    session: from.name()?,
                    beside: Link::alone(at),
                },
                3 => Term::Static,
                other => return from.bad(1, "a grant's term, 1 to 3", other.into()),
            },
        })
    }
}

impl Record for Hold {
    fn put(&self, to: &mut Writer<'_>) {
        to.name(self.grant);
        to.name(self.lock);
        to.u32(self.share.raw());
    }

    fn take(from: &mut Reader<'_>, at: Ref<Self>) -> Read<Self> {
        Ok(Self {
            grant: from.name()?,
            lock: from.name()?,
            beside: Link::alone(at),
            next: None,
            share: take_share(from)?,
        })
    }
}

impl Record for Place {
    fn put(&self, to: &mut Writer<'_>) {
        to.name(self.ticket);
        to.name(self.line);
        to.u64(self.number);
        to.u32(self.share.raw());
    }

    fn take(from: &mut Reader<'_>, at: Ref<Self>) -> Read<Self> {
        Ok(Self {
            ticket: from.name()?,
            line: from.name()?,
            beside: Link::alone(at),
            next: None,
            number: from.counter()?,
            share: take_share(from)?,
            old: None,
        })
    }
}

impl Record for Ticket {
    fn put(&self, to: &mut Writer<'_>) {
        to.u64(self.id.get());
        to.u32(self.zone.get());
        let (life, holder, reentrant) = match &self.aim {
            Aim::Take {
                life,
                holder,
                reentrant,
            } => (*life, &**holder, *reentrant),
            Aim::Convert(_) => (Life::Static, &[][..], false),
        };
        put_life(to, life);
        to.short_string(holder);
        to.stamp(self.since);
        to.stamp(self.deadline);
        to.bool(self.offered);
        to.bool(reentrant);
        to.name_or_none(self.converts());
        match &self.asker {
            Asker::Nobody => to.u8(1),
            Asker::Key(request) => {
                to.u8(2);
                to.name(*request);
            }
            Asker::Session { session, seq, .. } => {
                to.u8(3);
                to.name(*session);
                to.u64(seq.get());
            }
        }
    }

    fn take(from: &mut Reader<'_>, at: Ref<Self>) -> Read<Self> {
        let (id, zone) = (TicketId::new(from.u64()?), ZoneId::new(from.u32()?));
        let (life, holder) = (take_life(from)?, from.short_string(HOLDER_BYTES_MAX)?);
        let (since, deadline) = (from.stamp()?, from.stamp()?);
        let (offered, reentrant) = (from.bool()?, from.bool()?);
        let converts = match from.version {
            ..4 => None,
            _ => from.name_or_none()?,
        };
        let is_plain = life == Life::Static && holder.is_empty() && !reentrant;
        if converts.is_some() && !is_plain {
            return from.bad(4, "none, for only the grant says what it is", 1);
        }
        Ok(Self {
            id,
            zone,
            places: None,
            since,
            deadline,
            offered,
            aim: converts.map_or_else(
                || Aim::Take {
                    life,
                    holder: kept(holder),
                    reentrant,
                },
                Aim::Convert,
            ),
            asker: match from.u8()? {
                1 => Asker::Nobody,
                2 => Asker::Key(from.name()?),
                3 => Asker::Session {
                    session: from.name()?,
                    seq: RequestSeq::new(from.u64()?),
                    beside: Link::alone(at),
                },
                other => return from.bad(1, "whose ticket, 1 to 3", other.into()),
            },
        })
    }
}

pub(super) fn put_mode(to: &mut Writer<'_>, mode: Mode) {
    to.u8(match mode {
        Mode::Exclusive => 1,
        Mode::Shared => 2,
        Mode::Null => 3,
        Mode::ConcurrentRead => 4,
        Mode::ConcurrentWrite => 5,
        Mode::ProtectedWrite => 6,
        Mode::Permits { .. } => 7,
    });
    if let Mode::Permits { n, capacity } = mode {
        to.u32(n);
        to.u32(capacity);
    }
}

fn take_share(from: &mut Reader<'_>) -> Read<Share> {
    let raw = from.u32()?;
    match Share::from_raw(raw) {
        Some(share) => Ok(share),
        None => from.bad(4, "a mode, or few permits", raw.into()),
    }
}

pub(super) fn take_mode(from: &mut Reader<'_>) -> Read<Mode> {
    match from.u8()? {
        1 => Ok(Mode::Exclusive),
        2 => Ok(Mode::Shared),
        3 => Ok(Mode::Null),
        4 => Ok(Mode::ConcurrentRead),
        5 => Ok(Mode::ConcurrentWrite),
        6 => Ok(Mode::ProtectedWrite),
        7 => Ok(Mode::Permits {
            n: from.u32()?,
            capacity: from.u32()?,
        }),
        other => from.bad(1, "a mode, 1 to 7", other.into()),
    }
}

fn put_life(to: &mut Writer<'_>, life: Life) {
    match life {
        Life::Lease { ttl_ms } => {
            to.u8(1);
            to.u64(ttl_ms);
        }
        Life::Static => to.u8(2),
        Life::Session => to.u8(3),
    }
}

fn take_life(from: &mut Reader<'_>) -> Read<Life> {
    match from.u8()? {
        1 => Ok(Life::Lease {
            ttl_ms: from.u64()?,
        }),
        2 => Ok(Life::Static),
        3 => Ok(Life::Session),
        other => from.bad(1, "a life, 1 to 3", other.into()),
    }
}
