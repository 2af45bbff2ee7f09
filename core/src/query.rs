//! Questions about the locks: reads only.

use crate::ids::{Fence, SessionId, TicketId};
use crate::machine::command::Mode;
use crate::machine::key::Key;
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
use crate::{ids::ZoneId, machine::Machine, time::Stamp};
/// stub
pub fn inspect(_: &Machine, _: ZoneId, key: &Key, _: Stamp) -> LockView {
    LockView {
        key: key.clone(),
        holders: Vec::new(),
        waiters: Vec::new(),
        waiting: 0,
    }
}
/// stub
pub fn list(_: &Machine, _: ZoneId, _: &Bytes, _: Option<&Key>, _: usize, _: Stamp) -> Page {
    Page {
        locks: Vec::new(),
        more: false,
    }
}
