//! What comes due when: a heap of names, eight bytes a record.
//!
//! The order is total, by deadline and then by what names the record in the log, so it is the same
//! on every server whatever the shape of the heap.

use super::table::Ref;
use alloc::vec::Vec;

/// Four children a node: half the depth of two, and neighbours share a cache line.
const CHILDREN: usize = 4;
const NOWHERE: u32 = u32::MAX;

/// A heap of the records that have a deadline.
#[derive(Debug)]
pub(super) struct Timers<T> {
    heap: Vec<Ref<T>>,
    /// Where each slot of the table stands in the heap.
    places: Vec<u32>,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self {
            heap: Vec::new(),
            places: Vec::new(),
        }
    }
}

impl<T> Timers<T> {
    /// The record that is due first.
    pub(super) fn first(&self) -> Option<Ref<T>> {
        self.heap.first().copied()
    }

    /// How many records have a deadline.
    pub(super) const fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether this record has one.
    pub(super) fn has(&self, at: Ref<T>) -> bool {
        self.place(at).is_some()
    }

    /// The deadline of `at` is new or was changed: `key` gives it.
    pub(super) fn set<K: Ord>(&mut self, at: Ref<T>, key: impl Fn(Ref<T>) -> K) {
        let place = self.place(at).unwrap_or_else(|| {
            self.heap.push(at);
            self.heap.len() - 1
        });
        let place = self.rise(place, at, &key);
        self.sink(place, at, &key);
    }

    /// `at` has no deadline any more; also if it had none. Before its record is removed.
    pub(super) fn clear<K: Ord>(&mut self, at: Ref<T>, key: impl Fn(Ref<T>) -> K) {
        let Some(place) = self.place(at) else {
            return;
        };
        self.note(at, NOWHERE);
        let Some(last) = self.heap.pop() else {
            return;
        };
        if last != at {
            let place = self.rise(place, last, &key);
            self.sink(place, last, &key);
        }
    }

    /// Whether each record stands behind its parent, and where the places say.
    pub(super) fn is_sound<K: Ord>(&self, key: impl Fn(Ref<T>) -> K) -> bool {
        self.heap.iter().enumerate().all(|(place, at)| {
            let parent = place
                .checked_sub(1)
                .and_then(|p| self.heap.get(p / CHILDREN));
            self.place(*at) == Some(place) && parent.is_none_or(|parent| key(*parent) <= key(*at))
        })
    }

    fn place(&self, at: Ref<T>) -> Option<usize> {
        let place = *self.places.get(at.slot())?;
        if place == NOWHERE {
            None
        } else {
            usize::try_from(place).ok()
        }
    }

    fn note(&mut self, at: Ref<T>, place: u32) {
        if self.places.len() <= at.slot() {
            self.places.resize(at.slot() + 1, NOWHERE);
        }
        if let Some(noted) = self.places.get_mut(at.slot()) {
            *noted = place;
        }
    }

    fn put(&mut self, place: usize, at: Ref<T>) {
        if let Some(stands) = self.heap.get_mut(place) {
            *stands = at;
        }
        self.note(at, u32::try_from(place).unwrap_or(NOWHERE));
    }

    fn rise<K: Ord>(&mut self, from: usize, at: Ref<T>, key: &impl Fn(Ref<T>) -> K) -> usize {
        let mut place = from;
        let mine = key(at);
        while let Some(above) = place.checked_sub(1).map(|place| place / CHILDREN)
            && let Some(parent) = self.heap.get(above).copied()
            && mine < key(parent)
        {
            self.put(place, parent);
            place = above;
        }
        self.put(place, at);
        place
    }

    fn sink<K: Ord>(&mut self, from: usize, at: Ref<T>, key: &impl Fn(Ref<T>) -> K) {
        let mut place = from;
        let mine = key(at);
        loop {
            let first = place * CHILDREN + 1;
            let end = self.heap.len().min(first + CHILDREN);
            let children = self.heap.get(first..end).unwrap_or_default();
            let least = (first..)
                .zip(children)
                .min_by_key(|(_, child)| key(**child));
            let Some((below, child)) = least.map(|(below, child)| (below, *child)) else {
                break;
            };
            if mine <= key(child) {
                break;
            }
            self.put(place, child);
            place = below;
        }
        self.put(place, at);
    }
}

#[cfg(test)]
mod tests;
