//! Counted re-entry: a session that asks again for what it holds itself.
//!
//! Both claims say that they are re-entrant: else a second thread of a program would get in silently beside
//! the first. Any number of re-entrant claims never wait for each other within one session: what the one
//! that stands does not cover is refused. So a lock has at most one re-entrant grant of a session.

use super::Machine;
use super::answer::{Answer, Blocker, Event, Refusal, Table as Limited};
use super::crowd::{Share, covers};
use super::hold::Wanted;
use super::once::From;
use super::parts::Parts;
use super::state::{Grant, Hold, Lock, Outcome, Session, Ticket};
use super::table::Ref;
use crate::hash::hash64;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

/// What a session has already of what it asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Again {
    /// All of it.
    Covered(Ref<Grant>),
    /// Some of it, or in a weaker mode.
    NotCovered(Ref<Grant>),
}

fn entry_hash(session: Ref<Session>, lock: Ref<Lock>) -> u64 {
    let name = u64::from(session.raw()) << 32 | u64::from(lock.raw());
    hash64(&name.to_le_bytes())
}

impl Machine {
    /// Puts a hold where its session finds it again, if its grant is re-entrant.
    pub(super) fn index_entry(&mut self, at: Ref<Hold>) {
        let grant = self.grants.at(self.holds.at(at).grant);
        let Some(session) = grant.session().filter(|_| grant.entered > 0) else {
            return;
        };
        let (grants, holds) = (&self.grants, &self.holds);
        let hash = |at: Ref<Hold>| {
            let hold = holds.at(at);
            let of = grants.at(hold.grant).session();
            of.map_or(0, |session| entry_hash(session, hold.lock))
        };
        let lock = holds.at(at).lock;
        self.entry_index.insert(entry_hash(session, lock), at, hash);
    }

    pub(super) fn forget_entry(&mut self, session: Ref<Session>, at: Ref<Hold>) {
        let lock = self.holds.at(at).lock;
        self.entry_index.remove(entry_hash(session, lock), at);
    }

    /// What a session holds of a lock by a re-entrant grant.
    pub(super) fn entry_of(&self, session: Ref<Session>, lock: Ref<Lock>) -> Option<Ref<Hold>> {
        self.entry_index.find(entry_hash(session, lock), |at| {
            let hold = self.holds.at(at);
            hold.lock == lock && self.grants.at(hold.grant).session() == Some(session)
        })
    }

    /// What a session has of some keys by a re-entrant grant; none if it has nothing of them.
    fn again(&self, session: Ref<Session>, wanted: &[(Option<Ref<Lock>>, Share)]) -> Option<Again> {
        let held = |lock: Option<Ref<Lock>>| {
            let entry = self.entry_of(session, lock?)?;
            Some(self.holds.at(entry))
        };
        let grant = wanted.iter().find_map(|(lock, _)| held(*lock))?.grant;
        let has_all = wanted.iter().all(|(lock, share)| {
            held(*lock).is_some_and(|hold| hold.grant == grant && covers(hold.share, *share))
        });
        Some(if has_all {
            Again::Covered(grant)
        } else {
            Again::NotCovered(grant)
        })
    }

    /// Answers a re-entrant claim of a session that holds any of it by such a claim.
    pub(super) fn reenter(
        &mut self,
        found: &[Option<Ref<Lock>>],
        parts: &Parts,
        from: From,
    ) -> Option<(Answer, Option<Outcome>)> {
        let From::Session(session, _) = from else {
            return None;
        };
        let shares = parts.iter().map(|part| Share::of(part.mode));
        let wanted: Vec<_> = found.iter().copied().zip(shares).collect();
        let again = self.again(session, &wanted)?;
        Some(match self.enter(again, parts) {
            Ok(grant) => {
                let fence = self.grants.at(grant).fence;
                let answer = self.describe(grant, self.parts_held(grant), false);
                (Answer::Granted(answer), Some(Outcome::Granted { fence }))
            }
            Err(refusal) => (Answer::Refused(refusal), None),
        })
    }

    /// What the session of a re-entrant ticket that is first in all of its lines has by now of what it
    /// waits for.
    pub(super) fn again_in_front(&self, ticket: &Ticket) -> Option<Again> {
        let session = ticket.session().filter(|_| ticket.is_reentrant())?;
        let wanted: Vec<_> = self.wanted_by(ticket).collect();
        let mut places = wanted.iter();
        if !places.all(|(wanted, place)| self.is_in_front(*wanted, *place)) {
            return None;
        }
        let keys = wanted.iter();
        let keys: Vec<_> = keys
            .map(|(Wanted { lock, share, .. }, _)| (Some(*lock), *share))
            .collect();
        self.again(session, &keys)
    }

    /// Ends a ticket whose session came to hold what it waits for. The caller then does [`Self::wake`].
    pub(super) fn enter_from_line(
        &mut self,
        at: Ref<Ticket>,
        again: Again,
        events: &mut Vec<Event>,
    ) {
        let asked = self.parts_wanted(self.tickets.at(at));
        match self.enter(again, &asked) {
            Ok(grant) => {
                let ticket = self.leave(at);
                self.end_granted((ticket.id, &ticket.asker), grant, events);
            }
            Err(refusal) => self.end_ticket(at, refusal, events),
        }
    }

    fn enter(&mut self, again: Again, asked: &Parts) -> Result<Ref<Grant>, Refusal> {
        match again {
            Again::Covered(at) if self.grants.at(at).entered >= self.limits.entries => {
                Err(Refusal::Quota {
                    what: Limited::Entries,
                })
            }
            // Who entered would have the token of a grant that is to be another one.
            Again::Covered(at) if self.is_being_converted(at) => Err(Refusal::Converting),
            Again::Covered(at) => {
                self.grants.at_mut(at).entered += 1;
                Ok(at)
            }
            Again::NotCovered(at) => Err(Refusal::NotCovered {
                by: vec![self.as_blocker(at, asked)],
            }),
        }
    }

    /// A grant, told by the first asked key that it has.
    fn as_blocker(&self, at: Ref<Grant>, asked: &Parts) -> Blocker {
        let grant = self.grants.at(at);
        let held = self.parts_held(at);
        let told = asked.iter().find_map(|part| held.of(&part.key));
        Blocker {
            holder: Bytes::copy_from_slice(self.holder_name(grant)),
            fence: grant.fence,
            mode: told.unwrap_or(held.first()).mode,
        }
    }
}
