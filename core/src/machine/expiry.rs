//! What is due, in bounded pieces (rule 42).

use super::Machine;
use super::answer::Event;
use super::state::{Ending, Grant, Request, Session, Ticket, Work};
use super::table::Ref;
use crate::time::Stamp;
use alloc::vec::Vec;

/// Something whose end has come. In this order where two are due at the same time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    Session(Ref<Session>),
    Lease(Ref<Grant>),
    Ticket(Ref<Ticket>),
    Answer(Ref<Request>),
}

impl Machine {
    /// Does what earlier entries had no room for, in their order.
    pub(super) fn work_off(&mut self, events: &mut Vec<Event>) {
        while self.budget > 0
            && let Some(work) = self.work.pop_front()
        {
            match work {
                Work::Session(session) => self.strip(session, events),
                Work::Line(line_at) => {
                    let line = self.lines.at_mut(line_at);
                    line.in_work = false;
                    self.woken.push_back(line.lock);
                    self.wake(false, events);
                }
            }
        }
    }

    /// Ends what is due, as far as the entry has room. What is left stays first in its heap, is
    /// dead for every command meanwhile, and is due at once for the next entry.
    pub(super) fn expire(&mut self, events: &mut Vec<Event>) {
        while self.budget > 0
            && let Some((due_at, due)) = self.first_due()
            && due_at <= self.stamp
        {
            match due {
                Due::Session(session) => {
                    self.spend(1);
                    self.end_session(session, Ending::Expired, events);
                }
                Due::Lease(grant) => {
                    self.spend(self.keys_held(grant));
                    self.lose(grant, events);
                }
                Due::Ticket(ticket) => {
                    self.spend(self.keys_wanted(ticket));
                    self.fail(ticket, events);
                }
                Due::Answer(request) => {
                    self.spend(1);
                    self.forget(request);
                }
            }
            self.wake(false, events);
        }
    }

    /// What is due first, and when.
    pub(super) fn first_due(&self) -> Option<(Stamp, Due)> {
        let session = self.session_timers.first().map(|at| {
            let deadline = self.sessions.at(at).deadline;
            (self.grace.effective(deadline), Due::Session(at))
        });
        let lease = self.lease_timers.first().map(|at| {
            let deadline = self.grants.at(at).deadline();
            (self.grace.effective(deadline), Due::Lease(at))
        });
        let ticket = self.ticket_timers.first();
        let ticket = ticket.map(|at| (self.tickets.at(at).deadline, Due::Ticket(at)));
        let answer = self.request_timers.first();
        let answer = answer.map(|at| (self.requests.at(at).forget_at, Due::Answer(at)));
        let all = [session, lease, ticket, answer];
        // `min_by_key` gives the first of equals.
        all.into_iter().flatten().min_by_key(|(due_at, _)| *due_at)
    }
}
