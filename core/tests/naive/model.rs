//! The lock model as the promises have it (docs/LOCKS.md, decisions 0011, 0110, 0111, 0116): lists, and loops over them. It was
//! written without a look at `machine`, and shares only the words of commands and answers with it.
//!
//! What the promises leave open it takes from the machine: the numbers of fences, tickets and sessions, which
//! of several true refusals is told, and which few of the holders it names. `Seen` is the door for that.

mod claims;
mod commands;
mod compatible;
mod lines;
mod once;
mod seen;
mod views;

use crate::turn::{Kind, Turn};
pub(crate) use compatible::{compatible, covers};
use seen::Seen;
use tenure_core::ids::{Fence, RequestId, SessionId, TicketId, ZoneId};
use tenure_core::limits::{DEDUPE_MS, GRACE, GRACE_INTERVAL, OFFER_MS};
use tenure_core::machine::Limits;
use tenure_core::machine::answer::{Answer, Blocker, Event, Loss, Refusal};
use tenure_core::machine::command::{Command, Life, Operation, Via};
use tenure_core::machine::key::Key;
use tenure_core::machine::parts::Parts;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// Agreed time in nanoseconds.
type Nanos = u64;

pub(crate) struct Model {
    limits: Limits,
    pub(crate) now: Nanos,
    /// When the last grace was given.
    graced: Option<Nanos>,
    vias: Vec<Via>,
    zones: Vec<Zone>,
}

struct Zone {
    id: ZoneId,
    /// The fence of the last grant.
    highest: Fence,
    /// In the order in which they were granted.
    grants: Vec<Grant>,
    /// In the order in which they came: a line is those with its key.
    tickets: Vec<Ticket>,
    sessions: Vec<Session>,
    /// Every ticket that ever was.
    came: Vec<(TicketId, Parts)>,
    /// Requests with a key, and what became of them.
    keyed: Vec<Remembered>,
    /// Of locks that are in use by permits.
    capacities: Vec<(Key, u32)>,
}

#[derive(Clone)]
struct Grant {
    fence: Fence,
    parts: Parts,
    life: Life,
    session: Option<SessionId>,
    holder: bytes::Bytes,
    since: Nanos,
    /// Its own end, if it has one.
    until: Option<Nanos>,
    /// Zero: not re-entrant.
    entered: u32,
}

#[derive(Clone)]
struct Ticket {
    id: TicketId,
    parts: Parts,
    life: Life,
    session: Option<SessionId>,
    holder: bytes::Bytes,
    since: Nanos,
    /// The end of the wait; of the offer, once it is offered.
    until: Nanos,
    offered: bool,
    reentrant: bool,
}

struct Session {
    id: SessionId,
    ttl_ms: u64,
    until: Nanos,
    identifier: bytes::Bytes,
    done_through: u64,
    answers: Vec<Remembered>,
}

/// What became of a request that may be asked again.
struct Remembered {
    name: Name,
    /// Without its wait: a retry may wait for another time (0011).
    operation: Operation,
    what: What,
    /// When it is forgotten; not while what it led to lives, and never in a session.
    until: Option<Nanos>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Name {
    Key(RequestId),
    Seq(u64),
}

enum What {
    Said(Answer),
    Waits(TicketId),
    Holds(Fence),
}

impl Model {
    pub(crate) fn new(limits: Limits, zones: &[ZoneId]) -> Self {
        Self {
            limits,
            now: 0,
            graced: None,
            vias: Vec::new(),
            zones: zones.iter().map(|id| Zone::new(*id)).collect(),
        }
    }

    /// What an entry does, and who hears of it, in no order. The steps are those that rules 22 and 42 fix.
    pub(crate) fn apply(&mut self, turn: &Turn, seen: &[Event]) -> Vec<Event> {
        let seen = Seen(seen);
        let mut said = Vec::new();
        // A later leader may propose an older entry again: agreed time never goes back.
        let now = self.now.max(turn.stamp);
        if turn.kind == Kind::Lead {
            self.grace(now);
        }
        // Who is alive at the entry before is here; the dead are not.
        for command in turn.commands.iter().filter(|c| is_renewal(c)) {
            self.hear(command, now, &seen, &mut said);
        }
        self.now = now;
        for zone in &mut self.zones {
            zone.end_what_is_due(now, &seen, &mut said);
            zone.serve(now, &self.limits, &seen, &mut said);
        }
        for command in turn.commands.iter().filter(|c| !is_renewal(c)) {
            self.hear(command, now, &seen, &mut said);
            for zone in &mut self.zones {
                zone.serve(now, &self.limits, &seen, &mut said);
            }
        }
        said
    }

    /// No time to live ends for a while after a change of leader.
    fn grace(&mut self, now: Nanos) {
        let interval = nanos(GRACE_INTERVAL);
        if self.graced.is_some_and(|last| now < last + interval) {
            return;
        }
        self.graced = Some(now);
        let floor = now + nanos(GRACE);
        for zone in &mut self.zones {
            for session in &mut zone.sessions {
                session.until = session.until.max(floor);
            }
            for grant in &mut zone.grants {
                grant.until = grant.until.map(|until| until.max(floor));
            }
        }
    }

    /// Each command that was forwarded is done once, however often it stands in the log.
    fn hear(&mut self, command: &Command, now: Nanos, seen: &Seen<'_>, said: &mut Vec<Event>) {
        if self.vias.contains(&command.via) {
            return;
        }
        self.vias.push(command.via);
        let answer = self.answer(command, now, seen, said);
        said.push(Event::Answered {
            via: command.via,
            answer,
        });
    }
}

impl Zone {
    const fn new(id: ZoneId) -> Self {
        Self {
            id,
            highest: Fence::new(0),
            grants: Vec::new(),
            tickets: Vec::new(),
            sessions: Vec::new(),
            came: Vec::new(),
            keyed: Vec::new(),
            capacities: Vec::new(),
        }
    }

    /// All that is past its deadline ends, before anybody is served: the dead are in nobody's way, and are
    /// given nothing.
    fn end_what_is_due(&mut self, now: Nanos, seen: &Seen<'_>, said: &mut Vec<Event>) {
        let holders = self.blockers();
        for session in ids(self.sessions.iter().filter(|s| s.until <= now), |s| s.id) {
            said.push(Event::SessionExpired { session });
            let lost = self.end_session(session, &Refusal::SessionGone, now, said);
            said.extend(lost);
        }
        let overdue = |grant: &&Grant| grant.until.is_some_and(|until| until <= now);
        for fence in ids(self.grants.iter().filter(overdue), |grant| grant.fence) {
            let lost = self.end_grant(fence, now);
            said.push(lost);
        }
        for id in ids(self.tickets.iter().filter(|t| t.until <= now), |t| t.id) {
            let answer = self.why_over(id, &holders, seen);
            self.end_ticket(id, answer, now, said);
        }
        self.keyed
            .retain(|kept| kept.until.is_none_or(|until| now < until));
    }

    /// What a waiter is told whose time is over. Who did not take what it was offered did not wait in vain: its
    /// caller went away.
    fn why_over(&self, ticket: TicketId, before: &[Blocker], seen: &Seen<'_>) -> Answer {
        let offered = self.tickets.iter().any(|t| t.id == ticket && t.offered);
        if offered {
            return Answer::Refused(Refusal::Cancelled);
        }
        let told = seen.ended(ticket);
        let by = match told {
            Some(Answer::Refused(Refusal::WaitTimeout { by })) => by.as_slice(),
            _ => &[],
        };
        // Also who was granted it instead, in the same entry.
        let known = |one: &Blocker| before.contains(one) || seen.granted(one.fence);
        let honest = by.iter().all(known);
        Answer::Refused(Refusal::WaitTimeout {
            by: if honest { by.to_vec() } else { before.to_vec() },
        })
    }

    /// Ends a session with all that is its own. Its grants are returned as losses, for whom they are any.
    fn end_session(
        &mut self,
        session: SessionId,
        why: &Refusal,
        now: Nanos,
        said: &mut Vec<Event>,
    ) -> Vec<Event> {
        self.sessions.retain(|s| s.id != session);
        let waits = |ticket: &&Ticket| ticket.session == Some(session);
        for id in ids(self.tickets.iter().filter(waits), |ticket| ticket.id) {
            self.end_ticket(id, Answer::Refused(why.clone()), now, said);
        }
        let holds = |grant: &&Grant| grant.session == Some(session);
        let fences = ids(self.grants.iter().filter(holds), |grant| grant.fence);
        fences
            .into_iter()
            .map(|fence| self.end_grant(fence, now))
            .collect()
    }

    /// Ends a grant, with all of its keys. What it told is kept for a while from now on.
    fn end_grant(&mut self, fence: Fence, now: Nanos) -> Event {
        let at = self.grants.iter().position(|g| g.fence == fence);
        let grant = self.grants.remove(at.expect("a grant that stands"));
        for kept in &mut self.keyed {
            if matches!(kept.what, What::Holds(of) if of == fence) {
                kept.until = Some(forgotten_at(now));
            }
        }
        Event::Lost {
            zone: self.id,
            keys: grant.parts.iter().map(|part| part.key.clone()).collect(),
            fence,
            session: grant.session,
            loss: Loss::Expired,
        }
    }

    /// Ends a ticket, from all of its lines, with this answer.
    fn end_ticket(&mut self, id: TicketId, answer: Answer, now: Nanos, said: &mut Vec<Event>) {
        self.tickets.retain(|ticket| ticket.id != id);
        let sessions = self.sessions.iter_mut().flat_map(|s| &mut s.answers);
        for kept in self.keyed.iter_mut().chain(sessions) {
            if !matches!(kept.what, What::Waits(ticket) if ticket == id) {
                continue;
            }
            if let Answer::Granted(grant) = &answer {
                kept.what = What::Holds(grant.fence);
            } else {
                kept.what = What::Said(answer.clone());
                kept.until = matches!(kept.name, Name::Key(_)).then(|| forgotten_at(now));
            }
        }
        said.push(Event::Ended { ticket: id, answer });
    }
}

/// 60 s from now, rounded up to a second (0011).
const fn forgotten_at(now: Nanos) -> Nanos {
    (now + DEDUPE_MS * MS).div_ceil(SECOND) * SECOND
}

const fn is_renewal(command: &Command) -> bool {
    matches!(
        command.operation,
        Operation::Renew { .. } | Operation::KeepAlive { .. }
    )
}

fn nanos(duration: core::time::Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).expect("a short time")
}

/// The names of some records, so that the records can be changed meanwhile.
fn ids<'r, R: 'r, I>(records: impl Iterator<Item = &'r R>, name: impl Fn(&R) -> I) -> Vec<I> {
    records.map(name).collect()
}

const OFFER: Nanos = OFFER_MS * MS;
