//! Deadlock: who holds something and then waits may close a circle (rule 34).
//!
//! ```text
//!   S1 ──holds──> A <──waits── S2        S1 asks for B, and waits for S2,
//!   S1 ──waits──> B <──holds── S2        who waits for S1: refused.
//! ```
//! A claim waits for the holders that it can't stand beside, and for whoever stands nearest before it in
//! each of its lines: for that one's session, if it can't stand beside it, else for its claim to be served; a
//! session, for what its claims wait for. (A graph of waits: Holt, Some deadlock
//! properties of computer systems, Computing Surveys 4, 1972.) Permits have no such edges: any of their
//! holders may be the one who goes. A circle of these waits never ends by itself, so the newcomer that
//! would close one is refused, and told of it. Claims of many keys, by callers that hold nothing, close none.
//!
//! A circle closes only where a claim is put in line: a grant that is made later was waited for by its place
//! in the line before. One that converts stands before others who wait already, so these wait for it from then
//! on. (A session that has one thread converts nothing while it waits, and so nothing that it gets at once.)

use super::Machine;
use super::answer::{Blocker, Refusal};
use super::crowd::compatible;
use super::hold::Wanted;
use super::state::{Grant, Lock, Place, Queue, Session, Ticket};
use super::table::Ref;
use crate::ids::Fence;
use crate::limits::{CIRCLE_SHOWN_MAX, HOLDER_BYTES_MAX};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use bytes::Bytes;

/// Who is waited for: a session, or a claim without one.
#[derive(Clone, Copy, Debug)]
enum Who {
    Session(Ref<Session>),
    Ticket(Ref<Ticket>),
}

/// Somebody who is waited for, and what was found on the way to him.
#[derive(Debug)]
struct Step {
    who: Who,
    /// What is waited for.
    shown: Blocker,
    /// The step that this one was found from; none: the claim that is asked about.
    from: Option<usize>,
}

/// A search, breadth first: the circle that it finds is the shortest.
#[derive(Debug)]
struct Search<'a> {
    newcomer: Newcomer<'a>,
    steps: Vec<Step>,
    seen: BTreeSet<(bool, u32)>,
    visits_left: usize,
}

impl Search<'_> {
    /// One more hold or place is looked at.
    fn visit(&mut self) -> Result<(), Refusal> {
        self.visits_left = self
            .visits_left
            .checked_sub(1)
            .ok_or(Refusal::SearchLimit)?;
        Ok(())
    }

    /// Goes on from here later, if it was not here before.
    fn step(&mut self, step: Step) {
        let name = match step.who {
            Who::Session(at) => (true, at.raw()),
            Who::Ticket(at) => (false, at.raw()),
        };
        if self.seen.insert(name) {
            self.steps.push(step);
        }
    }

    /// What the newcomer wants of a lock that it converts: it stands before all who do not.
    fn passes(&self, lock: Ref<Lock>) -> Option<Wanted> {
        let wanted = self.newcomer.wanted.iter();
        let converts = wanted.filter(|_| self.newcomer.converts.is_some());
        converts.copied().find(|wanted| wanted.lock == lock)
    }

    /// The way to the last step, from the first; of a long one the beginning and the end.
    fn circle(&self) -> Vec<Blocker> {
        let mut circle = Vec::new();
        let mut at = self.steps.last();
        while let Some(step) = at {
            if circle.len() == CIRCLE_SHOWN_MAX {
                circle.remove(1);
            }
            circle.push(step.shown.clone());
            at = step.from.and_then(|from| self.steps.get(from));
        }
        circle.reverse();
        circle
    }
}

/// A claim that is about to be put in line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newcomer<'a> {
    pub(super) session: Ref<Session>,
    /// What it wants of those of its locks that somebody holds or waits for.
    pub(super) wanted: &'a [Wanted],
    pub(super) reentrant: bool,
    pub(super) converts: Option<Ref<Grant>>,
}

/// One key of a claim that waits.
#[derive(Clone, Copy, Debug)]
struct Edge {
    wanted: Wanted,
    /// Who stands before it in the line.
    before: Option<Ref<Place>>,
    /// Whose re-entrant claims let it in.
    passed: Option<Ref<Session>>,
    /// What it converts.
    converts: Option<Ref<Grant>>,
    /// The step that leads to it.
    from: Option<usize>,
}

impl Machine {
    /// Refuses a claim for which its session would wait for itself.
    pub(super) fn refuse_circle(&self, newcomer: Newcomer<'_>) -> Result<(), Refusal> {
        let session = newcomer.session;
        let own = self.sessions.at(session);
        if own.threads || (own.grants.is_none() && own.tickets.is_none()) {
            return Ok(()); // somebody else lets go for it, or nobody waits for it
        }
        let mut search = Search {
            newcomer,
            steps: Vec::new(),
            seen: BTreeSet::new(),
            visits_left: self.limits.deadlock_visits,
        };
        for wanted in newcomer.wanted.iter().copied() {
            let edge = Edge {
                wanted,
                before: self.last_in_line(wanted),
                passed: newcomer.reentrant.then_some(session),
                converts: newcomer.converts,
                from: None,
            };
            self.follow(edge, &mut search)?;
        }
        let mut next = 0;
        while let Some(step) = search.steps.get(next) {
            match step.who {
                Who::Session(at) if at == session => {
                    search.steps.truncate(next + 1);
                    let by = search.circle();
                    return Err(Refusal::Deadlock { by });
                }
                Who::Session(at) => self.follow_session(at, next, &mut search)?,
                Who::Ticket(at) => self.follow_ticket(at, next, &mut search)?,
            }
            next += 1;
        }
        Ok(())
    }

    fn follow_session(
        &self,
        at: Ref<Session>,
        from: usize,
        search: &mut Search<'_>,
    ) -> Result<(), Refusal> {
        let session = self.sessions.at(at);
        let first = session.tickets.filter(|_| !session.threads);
        let mut next = first;
        while let Some(at) = next {
            self.follow_ticket(at, from, search)?;
            let beside = self.tickets.at(at).asked_after();
            next = beside.filter(|beside| Some(*beside) != first);
        }
        Ok(())
    }

    fn follow_ticket(
        &self,
        at: Ref<Ticket>,
        from: usize,
        search: &mut Search<'_>,
    ) -> Result<(), Refusal> {
        let ticket = self.tickets.at(at);
        if ticket.offered || !self.is_ticket_alive(ticket) {
            return Ok(());
        }
        for (wanted, place) in self.wanted_by(ticket) {
            let edge = Edge {
                wanted,
                before: place.and_then(|at| self.before(at)),
                passed: ticket.session().filter(|_| ticket.is_reentrant()),
                converts: ticket.converts(),
                from: Some(from),
            };
            self.follow(edge, search)?;
        }
        Ok(())
    }

    /// Whom one key of a claim waits for: holders, and the nearest in line.
    fn follow(&self, edge: Edge, search: &mut Search<'_>) -> Result<(), Refusal> {
        let Edge { wanted, from, .. } = edge;
        if wanted.share.permits().is_some() {
            return Ok(());
        }
        let lock = self.locks.at(wanted.lock);
        for (grant, hold) in self.holders(lock) {
            search.visit()?;
            let stands = !compatible(hold.share, wanted.share)
                && Some(hold.grant) != edge.converts
                && self.is_alive(grant);
            let Some(session) = grant.session().filter(|_| stands) else {
                continue;
            };
            search.step(Step {
                who: Who::Session(session),
                shown: Blocker {
                    holder: Bytes::copy_from_slice(self.holder_name(grant)),
                    fence: grant.fence,
                    mode: self.mode_of(lock, hold.share),
                },
                from,
            });
        }
        self.follow_line(edge, search)
    }

    /// Whom it waits for in the line: the nearest who is alive.
    fn follow_line(&self, edge: Edge, search: &mut Search<'_>) -> Result<(), Refusal> {
        let Edge { wanted, from, .. } = edge;
        let waits = wanted.old.is_none() && from.is_some();
        let mut nearest = edge.before;
        loop {
            search.visit()?;
            let place = nearest.map(|at| self.places.at(at));
            let converts = place.is_none_or(|place| place.old.is_some());
            if waits
                && converts
                && let Some(newcomer) = search.passes(wanted.lock)
            {
                self.follow_newcomer(edge, newcomer, search);
                return Ok(());
            }
            let (Some(at), Some(place)) = (nearest, place) else {
                return Ok(());
            };
            let ticket = self.tickets.at(place.ticket);
            let session = ticket.session();
            let is_passed = session.is_some() && session == edge.passed && ticket.is_reentrant();
            if self.is_ticket_alive(ticket) && !is_passed {
                let blocks = session.filter(|_| !compatible(place.share, wanted.share));
                search.step(Step {
                    who: blocks.map_or(Who::Ticket(place.ticket), Who::Session),
                    shown: Blocker {
                        holder: Bytes::copy_from_slice(self.waiter_name(ticket)),
                        fence: Fence::default(),
                        mode: self.mode_of(self.locks.at(wanted.lock), place.share),
                    },
                    from,
                });
                return Ok(());
            }
            nearest = self.before(at);
        }
    }

    /// The newcomer converts, and would stand before this one. Beside it that one is served when it is, and
    /// for that all that it waits for is searched already.
    fn follow_newcomer(&self, edge: Edge, newcomer: Wanted, search: &mut Search<'_>) {
        if compatible(newcomer.share, edge.wanted.share) {
            return;
        }
        let session = search.newcomer.session;
        let name = &self.sessions.at(session).identifier;
        search.step(Step {
            who: Who::Session(session),
            shown: Blocker {
                holder: Bytes::copy_from_slice(name.get(..HOLDER_BYTES_MAX).unwrap_or(name)),
                fence: Fence::default(),
                mode: self.mode_of(self.locks.at(newcomer.lock), newcomer.share),
            },
            from: edge.from,
        });
    }

    /// Who stands before this place in its line.
    fn before(&self, at: Ref<Place>) -> Option<Ref<Place>> {
        let place = self.places.at(at);
        let line = self.lines.at(place.line);
        let converts = place.old.is_some();
        if line.queue(converts).first != Some(at) {
            return Some(place.beside.prev);
        }
        let last = self.last_in(line.queue(true));
        last.filter(|_| !converts)
    }

    /// Who would stand before a newcomer that wants this.
    fn last_in_line(&self, wanted: Wanted) -> Option<Ref<Place>> {
        let line = self.lines.at(self.locks.at(wanted.lock).line?);
        let last = self.last_in(line.queue(wanted.old.is_some()));
        last.or_else(|| self.last_in(line.queue(true)))
    }

    fn last_in(&self, queue: &Queue) -> Option<Ref<Place>> {
        queue.first.map(|first| self.places.at(first).beside.prev)
    }
}
