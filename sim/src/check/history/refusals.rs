//! A refusal has its reason, and a change of the configuration follows what its author saw.

use super::super::Docket;
use super::{Case, History};
use crate::marks::{Mark, Marks};
use tenure_core::config::{Change, Unfit};
use tenure_core::ids::ChangeId;
use tenure_core::limits::DEDUPE_MAX;
use tenure_core::machine::answer::{Answer, Refusal, Table};
use tenure_core::machine::command::{Command, Configure, Operation};

impl History {
    pub(super) fn on_refused(
        &mut self,
        command: &Command,
        refusal: &Refusal,
        docket: &mut Docket,
        marks: &mut Marks,
    ) {
        match refusal {
            Refusal::Held { .. } => {
                marks.hit(Mark::HeldRefusal);
                if let Operation::Acquire(acquire) = &command.operation
                    && self.once.is_refused_first(command)
                {
                    self.waits_for_another(command, acquire, docket);
                }
            }
            Refusal::WaitTimeout { .. } => marks.hit(Mark::WaitTimeout),
            Refusal::Quota { what } => {
                marks.hit(Mark::QuotaRefused);
                marks.sometimes(*what == Table::Entries, Mark::EntriesFull);
                let stands = !self.once.is_refused_first(command) || self.is_full(command, *what);
                docket.check(stands, "no refusal without its reason", || {
                    format!("{what} are not full")
                });
            }
            Refusal::RequestIdReused | Refusal::Invalid { .. } => {
                docket.broken("no refusal without its reason", format!("{refusal:?}"));
            }
            Refusal::HasCapacity { capacity } => {
                marks.hit(Mark::HasCapacity);
                let is_so = match &command.operation {
                    Operation::Acquire(acquire) => {
                        let parts = &acquire.parts;
                        self.locks.has_capacity(command.zone, parts, *capacity)
                    }
                    _ => false,
                };
                let is_so = !self.once.is_refused_first(command) || is_so;
                docket.check(is_so, "no refusal without its reason", || {
                    format!("{command:?}: no lock of it has a capacity of {capacity}")
                });
            }
            Refusal::NoPermits => marks.hit(Mark::NoPermits),
            Refusal::NotCovered { .. } => {
                if self.once.is_refused_first(command) {
                    self.note_entries(command, refusal, docket, marks);
                }
            }
            Refusal::FenceChanged { by } => {
                if self.once.is_refused_first(command) {
                    self.note_changed(command, by, docket, marks);
                }
            }
            Refusal::Deadlock { by } => {
                if self.once.is_refused_first(command) {
                    self.note_circle(command, by, docket, marks);
                }
            }
            Refusal::SearchLimit => marks.hit(Mark::SearchLimit),
            Refusal::SessionBusy => marks.hit(Mark::SessionBusy),
            Refusal::Cancelled
            | Refusal::NotHeld
            | Refusal::NotLeased
            | Refusal::NoSuchTicket
            | Refusal::SessionGone
            | Refusal::Entered { .. }
            | Refusal::Converting
            | Refusal::UpgradeDeadlock { .. }
            | Refusal::IdentifierInUse
            | Refusal::ConfigMoved { .. }
            | Refusal::ConfigUnfit { .. }
            | Refusal::Forgotten => {}
        }
    }

    /// Whether a table has no more room, by the judges' own books. Remembered answers are not in
    /// them: that some are too many is believed where the limit is tiny.
    fn is_full(&self, command: &Command, table: Table) -> bool {
        let (limits, waiting) = (&self.limits, self.order.waiting());
        let more = match &command.operation {
            Operation::Acquire(acquire) => acquire.parts.count(),
            _ => 1,
        };
        match table {
            Table::Locks => {
                let held = self.locks.standing() + self.locks.unsaid();
                held + waiting + more > limits.locks
            }
            Table::Tickets => waiting + more > limits.tickets,
            Table::Sessions => self.locks.sessions() >= limits.sessions,
            Table::Answers => limits.answers < DEDUPE_MAX,
            Table::Zones => false,
            Table::Taken => match &command.operation {
                Operation::Force(force) => {
                    let taken = self.locks.taken_beside(command.zone, force.fence);
                    taken.is_some_and(|taken| taken >= limits.taken)
                }
                _ => false,
            },
            Table::Entries => match (self.entered_by(command), &command.operation) {
                (Some(live), Operation::Acquire(_)) => live.entered >= limits.entries,
                (Some(_) | None, _) => false,
            },
        }
    }

    /// The shared configuration changes by compare-and-set.
    pub(super) fn on_configured(
        &mut self,
        configure: &Configure,
        case: &Case<'_>,
        docket: &mut Docket,
        marks: &mut Marks,
    ) {
        let (last, answer) = (self.configured, case.answer);
        let detail = || format!("{configure:?} after {last} was answered {answer:?}");
        let by = String::from_utf8_lossy(&case.command.principal);
        let by = if by.is_empty() {
            configure.by.as_str().into()
        } else {
            by
        };
        let made = self.changes.iter().find(|made| {
            let same = (made.expect, made.by.as_str()) == (configure.expect, &*by);
            same && made.change == configure.change
        });
        match answer {
            Answer::Configured { mark } if mark.change > last => {
                marks.hit(Mark::Configured);
                if let Some(mark) = operation(&configure.change) {
                    marks.hit(mark);
                }
                let is_next = configure.expect == last;
                docket.check(is_next, "a change follows the state that was seen", detail);
                self.configured = mark.change;
                self.changes.push(Made {
                    expect: configure.expect,
                    by: by.into_owned(),
                    change: configure.change.clone(),
                    mark: *mark,
                });
            }
            Answer::Configured { mark } => {
                marks.hit(Mark::ConfiguredAgain);
                let is_this = made.is_some_and(|made| made.mark == *mark);
                docket.check(is_this, "a retry gets its answer", detail);
            }
            Answer::Refused(Refusal::ConfigMoved { now }) => {
                marks.hit(Mark::ConfigMoved);
                let is_late = configure.expect != last && now.change == last;
                docket.check(is_late, "only a late change is refused as late", detail);
                // The machine forgets what is old.
                let history = self.machine.shared().history();
                let mut marks = history.map(|past| past.mark.change);
                let is_known = marks.any(|change| change == configure.expect);
                let is_told = made.is_none() || !is_known;
                docket.check(is_told, "a retry gets its answer", detail);
            }
            Answer::Refused(Refusal::ConfigUnfit { why }) => {
                marks.sometimes(*why == Unfit::NotInvited, Mark::StrangerRefused);
                let is_clients = matches!(configure.change, Change::Policy(_));
                docket.check(!is_clients, "clients ask for what fits", detail);
            }
            _ => docket.broken("a change is made or refused", detail()),
        }
    }
}

/// What an operator did, where that has a mark.
const fn operation(change: &Change) -> Option<Mark> {
    match change {
        Change::Add(_) => Some(Mark::Adds),
        Change::Remove { .. } => Some(Mark::Removes),
        Change::Replace { .. } => Some(Mark::Replaces),
        Change::Invite { .. } => Some(Mark::Invites),
        Change::Join { .. } => Some(Mark::Joins),
        Change::Approve { .. } => Some(Mark::Approves),
        Change::Member(_)
        | Change::Zone { .. }
        | Change::Policy(_)
        | Change::Role { .. }
        | Change::Uninvite { .. }
        | Change::Epoch(_)
        | Change::Drain { .. } => None,
    }
}

/// A change that was made, and what it followed.
#[derive(Debug)]
pub(super) struct Made {
    expect: ChangeId,
    by: String,
    change: Change,
    mark: tenure_core::config::Mark,
}
