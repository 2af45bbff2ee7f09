//! What an operator takes from its holder (rule 16).
//!
//! It is hard: it does not wait for what the holder may still believe, so that from then on only the fence
//! protects. Whoever lost it hears so with the next renewal or keep-alive.

use super::Machine;
use super::answer::{Answer, Blocker, Event, Loss, Refusal, Table as Limited};
use super::command::{Cause, Command, Force};
use super::hold::millis;
use super::state::Lock;
use crate::limits::{BLOCKERS_SHOWN_MAX, BLOCKERS_SOUGHT_MAX};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

impl Machine {
    /// Ends the grant that the operator looked at, if it still holds.
    pub(super) fn force(
        &mut self,
        command: &Command,
        force: &Force,
        events: &mut Vec<Event>,
    ) -> Answer {
        let (zone, key) = (command.zone, force.key.as_bytes());
        if let Some(at) = self.lock_of(zone, key) {
            self.settle(at, events);
        }
        let found = self.grant_of(zone, key, force.fence);
        let Some(at) = found.filter(|at| self.is_alive(self.grants.at(*at))) else {
            let lock = self.lock_of(zone, key).map(|at| self.locks.at(at));
            let by = lock.map_or_else(Vec::new, |lock| self.holders_shown(lock));
            return Answer::Refused(Refusal::FenceChanged { by });
        };
        let grant = self.grants.at(at);
        let answer = Answer::Forced {
            fence: grant.fence,
            holder: Bytes::copy_from_slice(self.holder_name(grant)),
            remaining_ms: self.end_of(grant).map(|end| millis(end.since(self.stamp))),
        };
        if let Some(session) = grant.session() {
            let taken = &mut self.sessions.at_mut(session).taken;
            if taken.len() >= self.limits.taken {
                return Answer::Refused(Refusal::Quota {
                    what: Limited::Taken,
                });
            }
            taken.push(force.fence);
        }
        self.budget = self.budget.max(1);
        let loss = Loss::Forced(proved(command, &force.cause));
        self.tell_lost(at, loss, events);
        self.end(at, events);
        self.wake(false, events);
        answer
    }

    /// Some of those who hold a lock.
    fn holders_shown(&self, lock: &Lock) -> Vec<Blocker> {
        let holders = self.holders(lock).take(BLOCKERS_SOUGHT_MAX);
        let alive = holders.filter(|(grant, _)| self.is_alive(grant));
        let shown = alive.take(BLOCKERS_SHOWN_MAX);
        shown
            .map(|(grant, hold)| self.blocker(lock, grant, hold))
            .collect()
    }
}

/// Who was authenticated counts more than what he calls himself.
fn proved(command: &Command, cause: &Cause) -> Cause {
    let mut cause = cause.clone();
    if !command.principal.is_empty() {
        cause.by = String::from_utf8_lossy(&command.principal).into_owned();
    }
    cause
}
