//! Questions about the locks: reads only.

use crate::ids::{Fence, SessionId, TicketId, ZoneId};
use crate::limits::PAGE_MAX;
use crate::machine::Machine;
use crate::machine::command::Mode;
use crate::machine::key::Key;
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

/// Some locks, in the order of their keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    /// Which.
    pub locks: Vec<LockView>,
    /// Whether there are more after the last.
    pub more: bool,
}

/// One lock, free or not. `now` is the leader's agreed time when the question was asked: what is
/// left is counted from it, not from the last entry.
pub fn inspect(machine: &Machine, zone: ZoneId, key: &Key, now: Stamp) -> LockView {
    machine.lock_view(zone, key, now)
}

/// The locks of a zone that somebody holds or waits for, in the order of their keys: those whose
/// canonical bytes begin with `prefix` and come after `after`, at most `limit` and `PAGE_MAX`.
/// Pages follow each other by the last key of the one before; a lock that stood throughout is
/// neither skipped nor repeated. Costs a walk over all locks.
pub fn list(
    machine: &Machine,
    zone: ZoneId,
    prefix: &[u8],
    after: Option<&Key>,
    limit: usize,
    now: Stamp,
) -> Page {
    let limit = limit.min(PAGE_MAX);
    let mut keys = machine.first_keys(zone, prefix, after.map(Key::as_bytes), limit + 1);
    let more = keys.len() > limit;
    keys.truncate(limit);
    let views = keys.iter().map(|key| machine.lock_view(zone, key, now));
    Page {
        locks: views.collect(),
        more,
    }
}
