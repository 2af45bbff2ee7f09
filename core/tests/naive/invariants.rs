//! The promises of docs/LOCKS.md, each as something that is checked after each entry. They are judged by what can be
//! seen from outside alone: the commands, the events, and the answers to questions. `Ledger` is what an honest
//! onlooker writes down of that.

mod heard;
mod once;
mod views;

use crate::observe::Observation;
use crate::turn::{Kind, Turn};
use once::Request;
use tenure_core::ids::{Fence, SessionId, TicketId, ZoneId};
use tenure_core::limits::{GRACE, GRACE_INTERVAL};
use tenure_core::machine::Limits;
use tenure_core::machine::answer::{Answer, Event};
use tenure_core::machine::command::{Command, Via};
use tenure_core::machine::parts::Parts;

/// A promise that does not hold, and what shows it.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) &'static str, pub(crate) String);

pub(crate) type Checked = Result<(), Broken>;

/// `Err` with the promise, unless it holds.
pub(crate) fn hold(holds: bool, promise: &'static str, shown: impl FnOnce() -> String) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(Broken(promise, shown()))
    }
}

/// One entry, and what was seen of it.
pub(crate) struct Step<'a> {
    pub(crate) turn: &'a Turn,
    pub(crate) events: &'a [Event],
    pub(crate) before: &'a Observation,
    pub(crate) after: &'a Observation,
    /// No work is left for the next entry (rule 42).
    pub(crate) settled: bool,
}

pub(crate) struct Ledger {
    limits: Limits,
    now: u64,
    graced: Option<u64>,
    /// The highest fence of each zone.
    highest: Vec<(ZoneId, Fence)>,
    held: Vec<Held>,
    waiting: Vec<Waiting>,
    sessions: Vec<Alive>,
    /// All sessions that there ever were.
    opened: Vec<(ZoneId, SessionId)>,
    answered: Vec<Via>,
    requests: Vec<Request>,
}

struct Held {
    zone: ZoneId,
    fence: Fence,
    parts: Parts,
    session: Option<SessionId>,
    /// Its own end.
    ends: Option<u64>,
    entered: u32,
}

struct Waiting {
    zone: ZoneId,
    id: TicketId,
    parts: Parts,
    session: Option<SessionId>,
    /// The end of its wait, or of its offer.
    ends: u64,
}

struct Alive {
    zone: ZoneId,
    id: SessionId,
    ends: u64,
}

impl Ledger {
    pub(crate) fn new(limits: Limits, zones: &[ZoneId]) -> Self {
        let floor = crate::turn::FENCE_FLOOR;
        Self {
            limits,
            now: 0,
            graced: None,
            highest: zones.iter().map(|zone| (*zone, floor)).collect(),
            held: Vec::new(),
            waiting: Vec::new(),
            sessions: Vec::new(),
            opened: Vec::new(),
            answered: Vec::new(),
            requests: Vec::new(),
        }
    }

    /// Takes an entry in, and says which promise it breaks.
    pub(crate) fn check(&mut self, step: &Step<'_>) -> Checked {
        let before = self.now;
        hold(
            step.after.now >= before,
            "agreed time never goes back",
            || format!("{before} and then {}", step.after.now),
        )?;
        self.now = step.after.now;
        if step.turn.kind == Kind::Lead {
            self.grace(before);
        }
        self.forget();
        self.hear(step)?;
        self.limits_hold()?;
        self.views(step)
    }

    /// After a change of leader no ttl ends for a while, unless it was over `before` (0011).
    fn grace(&mut self, before: u64) {
        let nanos = |time: core::time::Duration| time.as_nanos() as u64;
        let since = |last: u64| self.now - last;
        if self
            .graced
            .is_some_and(|last| since(last) < nanos(GRACE_INTERVAL))
        {
            return;
        }
        self.graced = Some(self.now);
        let floor = self.now + nanos(GRACE);
        let longer = |ends: &mut u64| {
            if *ends > before {
                *ends = floor.max(*ends);
            }
        };
        self.sessions
            .iter_mut()
            .for_each(|one| longer(&mut one.ends));
        let leased = self.held.iter_mut().filter_map(|held| held.ends.as_mut());
        leased.for_each(longer);
    }

    /// Limits are stated, and nothing goes beyond them.
    fn limits_hold(&self) -> Checked {
        for (zone, _) in &self.highest {
            let held = self.held.iter().filter(|held| held.zone == *zone);
            let held: usize = held.map(|held| held.parts.count()).sum();
            let waiting = self.waiting.iter().filter(|one| one.zone == *zone);
            let waiting: usize = waiting.map(|one| one.parts.count()).sum();
            let sessions = self.sessions.iter().filter(|one| one.zone == *zone).count();
            let within = held + waiting <= self.limits.locks
                && waiting <= self.limits.tickets
                && sessions <= self.limits.sessions;
            hold(within, "limits hold", || {
                format!("{held} held, {waiting} waited for, {sessions} sessions")
            })?;
        }
        let entered = self.held.iter().map(|held| held.entered).max();
        let within = entered.unwrap_or(0) <= self.limits.entries;
        hold(within, "limits hold", || {
            format!("entered {entered:?} times")
        })
    }

    fn session_ends(&self, session: Option<SessionId>) -> Option<u64> {
        let mut all = self.sessions.iter();
        let found = all.find(|one| Some(one.id) == session)?;
        Some(found.ends)
    }

    /// Whether what ends then is over, by itself or with its session.
    fn is_over(&self, session: Option<SessionId>, ends: Option<u64>) -> bool {
        let over = |ends: u64| ends <= self.now;
        ends.is_some_and(over) || (session.is_some() && self.session_ends(session).is_none_or(over))
    }
}

/// The command that an answer is about.
fn command_of<'a>(step: &Step<'a>, via: Via) -> Option<&'a Command> {
    step.turn.commands.iter().find(|command| command.via == via)
}

/// The ticket by which a grant came to be in this entry, if it waited.
fn ticket_of(step: &Step<'_>, of: Fence) -> Option<TicketId> {
    step.events.iter().find_map(|event| match event {
        Event::Ended {
            ticket,
            answer: Answer::Granted(grant),
        } if grant.fence == of => Some(*ticket),
        _ => None,
    })
}
