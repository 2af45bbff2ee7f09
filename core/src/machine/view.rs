//! What may be read of the machine without a command.

use super::Machine;
use super::command::{Mode, Via};
use super::hold::millis;
use super::key::Key;
use super::parts::Parts;
use super::state::{Grant, Hold, Line, Lock};
use crate::ids::{Fence, SessionId, TicketId, ZoneId};
use crate::limits::{HOLDERS_SHOWN_MAX, WAITERS_SHOWN_MAX};
use crate::time::Stamp;
use alloc::vec::Vec;
use bytes::Bytes;

/// One lock, as it is at one position of the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LockView {
    /// Which.
    pub key: Key,
    /// Who has it; empty if it is free.
    pub holders: Vec<HolderView>,
    /// Who waits, in order; at most `WAITERS_SHOWN_MAX`.
    pub waiters: Vec<WaiterView>,
    /// How many wait.
    pub waiting: u64,
}

/// One holder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HolderView {
    /// Its name, for people.
    pub holder: Bytes,
    /// How it shares the lock.
    pub mode: Mode,
    /// Its grant.
    pub fence: Fence,
    /// Its session, if any.
    pub session: Option<SessionId>,
    /// For how long it has had it, in milliseconds of agreed time.
    pub held_ms: u64,
    /// What is left, in milliseconds of agreed time; none if the grant has no end.
    pub remaining_ms: Option<u64>,
    /// How often its session has entered it; zero: it is not re-entrant.
    pub entered: u32,
}

/// One waiter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WaiterView {
    /// Its name, for people.
    pub holder: Bytes,
    /// How it would share the lock.
    pub mode: Mode,
    /// Its place.
    pub ticket: TicketId,
    /// For how long it has waited, in milliseconds of agreed time.
    pub waiting_ms: u64,
}

/// A claim that is still in its lines.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TicketView {
    /// The locks, and how each would be shared.
    pub parts: Parts,
    /// The session that waits, if one does.
    pub session: Option<SessionId>,
    /// They are offered to it, and awaits its confirm.
    pub offered: bool,
    /// How many are before it at most, plus one.
    pub position: u64,
}

impl Machine {
    /// Whether this session's end is still to come.
    pub fn has_session(&self, zone: ZoneId, session: SessionId) -> bool {
        self.session_of(zone, session).is_some()
    }

    /// Whether a forwarded command was applied, or is too old to be told from one that was.
    pub fn has_done(&self, via: Via) -> bool {
        self.vias.get(&via.node).is_some_and(|seen| seen.has(via))
    }

    /// A ticket, if its end is still to come.
    pub fn ticket(&self, zone: ZoneId, ticket: TicketId) -> Option<TicketView> {
        let ticket = self.tickets.at(self.ticket_of(zone, ticket)?);
        if !self.is_ticket_alive(ticket) {
            return None;
        }
        Some(TicketView {
            parts: self.parts_wanted(ticket),
            session: ticket.session().map(|at| self.sessions.at(at).id),
            offered: ticket.offered,
            position: self.position(ticket),
        })
    }

    /// How many locks are held or waited for, in all zones.
    pub const fn locks_len(&self) -> usize {
        self.locks.len()
    }

    /// How many grants there are, in all zones.
    pub const fn grants_len(&self) -> usize {
        self.grants.len()
    }

    /// How many sessions there are, in all zones.
    pub const fn sessions_len(&self) -> usize {
        self.sessions.len()
    }

    /// How many tickets there are, in all zones.
    pub const fn tickets_len(&self) -> usize {
        self.tickets.len()
    }

    /// One lock, with what is left of its times counted from `now`.
    pub(crate) fn lock_view(&self, zone: ZoneId, key: &Key, now: Stamp) -> LockView {
        let found = self.lock_of(zone, key.as_bytes());
        let view = found.map(|at| self.view_of(self.locks.at(at), key.clone(), now));
        view.unwrap_or_else(|| LockView {
            key: key.clone(),
            holders: Vec::new(),
            waiters: Vec::new(),
            waiting: 0,
        })
    }

    /// The locks of a zone, in no order: also those whose holders are dead and not swept yet.
    pub(crate) fn stored(&self, zone: ZoneId) -> impl Iterator<Item = Stored<'_>> {
        let locks = self.locks.iter().map(|(_, lock)| lock);
        let of_zone = locks.filter(move |lock| lock.zone == zone);
        of_zone.map(|lock| Stored {
            machine: self,
            lock,
        })
    }

    fn is_in_use(&self, lock: &Lock) -> bool {
        let mut waiters = lock
            .line
            .into_iter()
            .flat_map(|line| self.places_in(self.lines.at(line)));
        self.holders(lock).any(|(grant, _)| self.is_alive(grant))
            || waiters.any(|(ticket, _)| self.is_ticket_alive(ticket))
    }

    /// One holder of `lock`.
    pub(super) fn holder_view(
        &self,
        lock: &Lock,
        grant: &Grant,
        hold: &Hold,
        now: Stamp,
    ) -> HolderView {
        HolderView {
            holder: Bytes::copy_from_slice(self.holder_name(grant)),
            mode: self.mode_of(lock, hold.share),
            fence: grant.fence,
            session: grant.session().map(|at| self.sessions.at(at).id),
            held_ms: millis(now.since(grant.since)),
            remaining_ms: self.end_of(grant).map(|end| millis(end.since(now))),
            entered: grant.entered,
        }
    }

    fn view_of(&self, lock: &Lock, key: Key, now: Stamp) -> LockView {
        let holders = self.holders(lock);
        let holders = holders.filter(|(grant, _)| self.is_alive(grant));
        let holders = holders.take(HOLDERS_SHOWN_MAX);
        let holders = holders.map(|(grant, hold)| self.holder_view(lock, grant, hold, now));
        let line = lock.line.map(|line| self.lines.at(line));
        let waiters = line.into_iter().flat_map(|line| self.places_in(line));
        let waiters = waiters.filter(|(ticket, _)| self.is_ticket_alive(ticket));
        let waiters = waiters.take(WAITERS_SHOWN_MAX);
        let waiters = waiters.map(|(ticket, place)| WaiterView {
            holder: Bytes::copy_from_slice(self.waiter_name(ticket)),
            mode: self.mode_of(lock, place.share),
            ticket: ticket.id,
            waiting_ms: millis(now.since(ticket.since)),
        });
        LockView {
            key,
            holders: holders.collect(),
            waiters: waiters.collect(),
            waiting: line.map_or(0, Line::count),
        }
    }
}

/// A lock that has a record.
pub(crate) struct Stored<'a> {
    machine: &'a Machine,
    lock: &'a Lock,
}

impl<'a> Stored<'a> {
    /// Its key, in canonical bytes.
    pub(crate) fn key(&self) -> &'a [u8] {
        &self.lock.key
    }

    /// Whether somebody holds it or waits for it.
    pub(crate) fn is_in_use(&self) -> bool {
        self.machine.is_in_use(self.lock)
    }
}
