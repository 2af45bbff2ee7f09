//! Counted re-entry: who gets in beside himself, and who does not.

use super::super::Docket;
use super::super::locks::{Live, compatible};
use super::History;
use crate::marks::{Mark, Marks};
use tenure_core::ids::Fence;
use tenure_core::machine::answer::{Blocker, Grant, Refusal};
use tenure_core::machine::command::{Acquire, Client, Command, Mode, Operation};
use tenure_core::machine::parts::{Part, Parts};

const MODES: [Mode; 6] = [
    Mode::Null,
    Mode::ConcurrentRead,
    Mode::ConcurrentWrite,
    Mode::Shared,
    Mode::ProtectedWrite,
    Mode::Exclusive,
];

/// Whether whoever holds these has all that he asks for: each key, in a mode that keeps out whoever the asked
/// one would.
fn is_within(asked: &Parts, held: &Parts) -> bool {
    let has = |part: &Part| {
        let mine = held.of(&part.key);
        mine.is_some_and(|mine| {
            let mut others = MODES.iter();
            others.all(|other| compatible(part.mode, *other) || !compatible(mine.mode, *other))
        })
    };
    asked.iter().all(has)
}

impl History {
    /// Whether a grant stands already.
    pub(super) fn is_known(&self, grant: &Grant) -> bool {
        self.locks.live(grant.zone, grant.fence).is_some()
    }

    /// The re-entrant grant by which the session of a re-entrant claim holds some of it.
    pub(super) fn entered_by(&self, command: &Command) -> Option<&Live> {
        let (Operation::Acquire(acquire), Client::Session { id, .. }) =
            (&command.operation, command.client)
        else {
            return None;
        };
        let mut keys = acquire.parts.iter();
        let mut fences = keys.find_map(|part| {
            let fences = self.locks.holders(command.zone, &part.key);
            let mut of = fences
                .into_iter()
                .filter_map(|fence| self.locks.live(command.zone, fence));
            of.find(|live| live.session == Some(id) && live.entered > 0)
        });
        fences.take_if(|_| acquire.reentrant)
    }

    /// A grant that stands was answered to another claim.
    pub(super) fn on_entered(&mut self, command: &Command, grant: &Grant, docket: &mut Docket) {
        let Operation::Acquire(acquire) = &command.operation else {
            return;
        };
        let live = self.entered_by(command);
        let may = live.is_some_and(|live| {
            let is_it = live.session == grant.session && live.parts == grant.parts;
            is_it && is_within(&acquire.parts, &live.parts) && grant.entered == live.entered + 1
        });
        docket.check(
            may,
            "only the session itself enters, once for each claim",
            || format!("{command:?} was granted {grant:?} beside {live:?}"),
        );
        self.locks.on_entered(grant);
    }

    /// A claim waits, or is refused since the lock is held: by others, at least.
    pub(super) fn waits_for_another(
        &self,
        command: &Command,
        acquire: &Acquire,
        docket: &mut Docket,
    ) {
        let own = self.entered_by(command);
        docket.check(own.is_none(), "a session never waits for itself", || {
            format!("{acquire:?} beside {own:?}")
        });
    }

    /// A re-entrant claim was refused because of what its session holds.
    pub(super) fn note_entries(
        &self,
        command: &Command,
        refusal: &Refusal,
        docket: &mut Docket,
        marks: &mut Marks,
    ) {
        if !matches!(refusal, Refusal::NotCovered { .. }) {
            return;
        }
        marks.hit(Mark::NotCovered);
        let live = self.entered_by(command);
        let is_so = match (&command.operation, live) {
            (Operation::Acquire(acquire), Some(live)) => !is_within(&acquire.parts, &live.parts),
            (_, _) => false,
        };
        docket.check(is_so, "no refusal without its reason", || {
            format!("{command:?} beside {live:?}")
        });
    }

    /// A claim was refused since its session would wait for itself: the circle that is told ends there, and
    /// whoever holds in it is there.
    pub(super) fn note_circle(
        &self,
        command: &Command,
        by: &[Blocker],
        docket: &mut Docket,
        marks: &mut Marks,
    ) {
        marks.hit(Mark::Deadlock);
        let waits = |blocker: &Blocker| blocker.fence == Fence::default();
        marks.sometimes(by.iter().any(waits), Mark::DeadlockInLine);
        let Client::Session { id, .. } = command.client else {
            docket.broken("only a session waits for itself", format!("{command:?}"));
            return;
        };
        let live = |blocker: &Blocker| self.locks.live(command.zone, blocker.fence);
        let all_live = by
            .iter()
            .all(|blocker| waits(blocker) || live(blocker).is_some());
        let closes = by.last().is_some_and(|last| {
            waits(last) || live(last).is_some_and(|live| live.session == Some(id))
        });
        docket.check(all_live && closes, "no refusal without its reason", || {
            format!("{command:?}: {by:?} is no circle")
        });
    }
}
