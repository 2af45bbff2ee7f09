//! What a snapshot leaves out because it can be computed: rings, fronts, counts, timers.

use crate::ids::{Fence, TicketId};
use crate::machine::Machine;
use crate::machine::audit::Violation;
use crate::machine::state::{Grant, Ticket, Work};
use crate::machine::table::Ref;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

impl Machine {
    /// Every ring is in the order of what the log gave its records: fences, and numbers of tickets.
    pub(super) fn rebuild(&mut self) -> Result<(), Violation> {
        let grants = self.grants.iter().map(|(at, grant)| (grant.fence, at));
        let mut grants: Vec<(Fence, Ref<Grant>)> = grants.collect();
        grants.sort_unstable_by_key(|(fence, at)| (*fence, at.raw()));
        grants.into_iter().for_each(|(_, at)| self.enlist(at));

        let tickets = self.tickets.iter().map(|(at, ticket)| (ticket.id, at));
        let mut tickets: Vec<(TicketId, Ref<Ticket>)> = tickets.collect();
        tickets.sort_unstable_by_key(|(id, at)| (*id, at.raw()));
        tickets.into_iter().for_each(|(_, at)| self.line_up(at));

        self.rebuild_work()
    }

    fn rebuild_work(&mut self) -> Result<(), Violation> {
        let mut over = BTreeSet::new();
        for work in &self.work {
            let is_due_once = match work {
                Work::Line(at) => {
                    let waits = self.lines.peek(*at).is_some_and(|line| !line.in_work);
                    if waits {
                        self.lines.at_mut(*at).in_work = true;
                    }
                    waits
                }
                Work::Session(at) => {
                    let session = self.sessions.peek(*at);
                    session.is_some_and(|session| session.ending.is_some()) && over.insert(at.raw())
                }
            };
            if !is_due_once {
                return Err(Violation("what is left to do is there, and listed once"));
            }
        }
        Ok(())
    }
}
