//! Questions about the locks: reads only.

use crate::ids::{Fence, ZoneId};
use crate::limits::PAGE_MAX;
use crate::machine::Machine;
use crate::machine::key::Key;
pub use crate::machine::{HolderView, LockView, Verdict, WaiterView};
use crate::time::Stamp;
use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use bytes::Bytes;
use core::cmp::Ordering;
pub use order::Order;
pub use selector::{Selector, SelectorError};

mod order;
mod selector;

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

/// Whether the grant with this fence holds the lock, by the leader's agreed time as in [`inspect`]. `key` is
/// any of its keys.
pub fn verify(machine: &Machine, zone: ZoneId, key: &Key, fence: Fence, now: Stamp) -> Verdict {
    machine.verdict(zone, key, fence, now)
}

/// Which locks, in which order, and which page of them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Listing {
    /// Only keys whose canonical bytes begin with this.
    pub prefix: Bytes,
    /// Only keys that this means.
    pub selector: Option<Selector>,
    /// In this order.
    pub order: Order,
    /// Only keys after this one, in that order.
    pub after: Option<Key>,
    /// At most so many.
    pub limit: usize,
}

/// The locks of a zone that somebody holds or waits for and that `listing` means, at most its limit
/// and `PAGE_MAX`.
/// Pages follow each other by the last key of the one before; a lock that stood throughout is
/// neither skipped nor repeated, whatever the order.
///
/// Walks all locks, with memory for one page: an ordered index would cost every lock about 12 bytes
/// and every cycle a search, for a question that people ask.
pub fn list(machine: &Machine, zone: ZoneId, listing: &Listing, now: Stamp) -> Page {
    let limit = listing.limit.min(PAGE_MAX);
    let order = &listing.order;
    // The greatest on top: it goes when there is a smaller one.
    let mut first = BinaryHeap::with_capacity(limit + 2);
    for lock in machine.stored(zone) {
        let key = lock.key();
        let ranked = Ranked { order, key };
        let has_room = first.len() <= limit || first.peek().is_some_and(|last| ranked < *last);
        if listing.wants(key) && has_room && lock.is_in_use() {
            first.push(ranked);
            if first.len() > limit + 1 {
                first.pop();
            }
        }
    }
    let mut first = first.into_sorted_vec();
    let more = first.len() > limit;
    first.truncate(limit);
    let view = |ranked: &Ranked<'_>| machine.lock_view(zone, &Key::copied(ranked.key), now);
    Page {
        locks: first.iter().map(view).collect(),
        more,
    }
}

/// A key in an order of somebody's choice.
struct Ranked<'a> {
    order: &'a Order,
    key: &'a [u8],
}

impl Ord for Ranked<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.compare(self.key, other.key)
    }
}

impl PartialOrd for Ranked<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked<'_> {}

impl Listing {
    /// Whether a lock with this key belongs to the page, or to one after it.
    pub(crate) fn wants(&self, key: &[u8]) -> bool {
        let is_after = |after: &Key| self.order.compare(key, after.as_bytes()).is_gt();
        key.starts_with(&self.prefix)
            && self.after.as_ref().is_none_or(is_after)
            && self
                .selector
                .as_ref()
                .is_none_or(|selector| selector.matches(key))
    }
}

#[cfg(test)]
mod tests;
