//! Rings of records within a table: a list costs its records eight bytes and its owner four.

use super::table::{Ref, Table};

/// The neighbours of a record in one ring. The first one's `prev` is the last.
#[derive(Debug)]
pub(super) struct Link<T> {
    pub(super) prev: Ref<T>,
    pub(super) next: Ref<T>,
}

impl<T> Clone for Link<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Link<T> {}

impl<T> Link<T> {
    /// The link of a record that is in no ring yet.
    pub(super) const fn alone(at: Ref<T>) -> Self {
        Self { prev: at, next: at }
    }
}

/// Which ring: gives the link of a record in it.
pub(super) type Ring<T> = fn(&mut T) -> &mut Link<T>;

/// Puts `new`, which is alone, at the end of the ring that begins at `first`. Returns its first.
pub(super) fn push_back<T: Clone>(
    table: &mut Table<T>,
    first: Option<Ref<T>>,
    new: Ref<T>,
    ring: Ring<T>,
) -> Ref<T> {
    let Some(first) = first else {
        return new;
    };
    let last = core::mem::replace(&mut ring(table.at_mut(first)).prev, new);
    ring(table.at_mut(last)).next = new;
    *ring(table.at_mut(new)) = Link {
        prev: last,
        next: first,
    };
    first
}

/// Takes `at` out of the ring that begins at `first`. Returns the first of what is left.
pub(super) fn unlink<T: Clone>(
    table: &mut Table<T>,
    first: Ref<T>,
    at: Ref<T>,
    ring: Ring<T>,
) -> Option<Ref<T>> {
    let Link { prev, next } = *ring(table.at_mut(at));
    *ring(table.at_mut(at)) = Link::alone(at);
    if next == at {
        assert!(first == at, "a ring of one begins at that one");
        return None;
    }
    ring(table.at_mut(prev)).next = next;
    ring(table.at_mut(next)).prev = prev;
    Some(if first == at { next } else { first })
}
