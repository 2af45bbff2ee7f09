//! Questions about the locks: reads only.

use crate::ids::ZoneId;
use crate::limits::PAGE_MAX;
use crate::machine::Machine;
use crate::machine::key::Key;
pub use crate::machine::{HolderView, LockView, WaiterView};
use crate::time::Stamp;
use alloc::vec::Vec;

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

#[cfg(test)]
mod tests;
