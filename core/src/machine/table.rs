//! Records in pages, found by a [`Ref`] of four bytes, that can be written out while they change.
//!
//! A sweep ([`Table::open`], then [`Table::sweep`] in pieces) hands out each record as it was when
//! the sweep began: whoever changes a record that the sweep has not reached leaves its old image in
//! a side table first (rule 37). Pages are never moved, so growing never stalls the loop.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::num::NonZeroU32;

const PAGE_SLOTS: usize = 512;

/// Names a record of a [`Table`]. `Option<Ref<T>>` takes four bytes too.
pub(super) struct Ref<T> {
    /// The number of the slot, plus one.
    raw: NonZeroU32,
    of: PhantomData<fn() -> T>,
}

impl<T> Ref<T> {
    fn new(slot: usize) -> Self {
        let raw = u32::try_from(slot + 1).ok().and_then(NonZeroU32::new);
        let Some(raw) = raw else {
            panic!("a table holds fewer than 2^32 records: its limits say so");
        };
        Self {
            raw,
            of: PhantomData,
        }
    }

    /// The number of its slot.
    pub(super) fn slot(self) -> usize {
        usize::try_from(self.raw.get() - 1).unwrap_or(usize::MAX)
    }
}

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Ref<T> {}

impl<T> PartialEq for Ref<T> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl<T> Eq for Ref<T> {}

impl<T> fmt::Debug for Ref<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.slot())
    }
}

/// A slab of records.
#[derive(Debug)]
pub(super) struct Table<T> {
    pages: Vec<Vec<Option<T>>>,
    free: Vec<Ref<T>>,
    slots: usize,
    sweep: Option<Sweep<T>>,
}

#[derive(Debug)]
struct Sweep<T> {
    /// The slots before this one were handed out.
    next: usize,
    /// The slots from this one on were made after the sweep began.
    end: usize,
    /// What stood in changed slots when the sweep began.
    old: BTreeMap<usize, Option<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            pages: Vec::new(),
            free: Vec::new(),
            slots: 0,
            sweep: None,
        }
    }
}

impl<T: Clone> Table<T> {
    /// How many records there are.
    pub(super) const fn len(&self) -> usize {
        self.slots - self.free.len()
    }

    /// The record, if there is one: for a `Ref` that may be stale.
    pub(super) fn peek(&self, at: Ref<T>) -> Option<&T> {
        let slot = at.slot();
        let page = self.pages.get(slot / PAGE_SLOTS)?;
        page.get(slot % PAGE_SLOTS)?.as_ref()
    }

    /// The record.
    pub(super) fn at(&self, at: Ref<T>) -> &T {
        let Some(record) = self.peek(at) else {
            panic!("a record that another names is there");
        };
        record
    }

    /// The record, to change it.
    pub(super) fn at_mut(&mut self, at: Ref<T>) -> &mut T {
        self.keep_old(at.slot());
        let Some(record) = self.slot_mut(at.slot()).and_then(Option::as_mut) else {
            panic!("a record that another names is there");
        };
        record
    }

    /// The name that the next record will have.
    pub(super) fn vacant(&self) -> Ref<T> {
        self.free
            .last()
            .copied()
            .unwrap_or_else(|| Ref::new(self.slots))
    }

    /// Adds a record, under the name that [`Self::vacant`] gave.
    pub(super) fn insert(&mut self, record: T) -> Ref<T> {
        let at = self.vacant();
        if self.free.pop().is_none() {
            if self.slots.is_multiple_of(PAGE_SLOTS) {
                self.pages.push(Vec::with_capacity(PAGE_SLOTS));
            }
            if let Some(page) = self.pages.last_mut() {
                page.push(None);
            }
            self.slots += 1;
        }
        self.keep_old(at.slot());
        let Some(slot) = self.slot_mut(at.slot()) else {
            panic!("a free slot is within the pages");
        };
        assert!(slot.is_none(), "a free slot is empty");
        *slot = Some(record);
        at
    }

    /// Takes a record out.
    pub(super) fn remove(&mut self, at: Ref<T>) -> T {
        self.keep_old(at.slot());
        let Some(record) = self.slot_mut(at.slot()).and_then(Option::take) else {
            panic!("a record is removed once");
        };
        self.free.push(at);
        record
    }

    /// All records, in the order of their slots, which differs between servers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Ref<T>, &T)> {
        let slots = self.pages.iter().flatten().enumerate();
        slots.filter_map(|(slot, record)| Some((Ref::new(slot), record.as_ref()?)))
    }

    fn slot_mut(&mut self, slot: usize) -> Option<&mut Option<T>> {
        let page = self.pages.get_mut(slot / PAGE_SLOTS)?;
        page.get_mut(slot % PAGE_SLOTS)
    }

    /// Before slot `slot` changes: its old image goes aside, if a sweep has yet to hand it out.
    fn keep_old(&mut self, slot: usize) {
        let Some(sweep) = &mut self.sweep else {
            return;
        };
        if slot < sweep.next || slot >= sweep.end || sweep.old.contains_key(&slot) {
            return;
        }
        let page = self.pages.get(slot / PAGE_SLOTS);
        let record = page.and_then(|page| page.get(slot % PAGE_SLOTS));
        sweep.old.insert(slot, record.and_then(Option::clone));
    }
}

#[cfg_attr(
    not(test),
    expect(dead_code, reason = "snapshots, which come next, are its caller")
)]
impl<T: Clone> Table<T> {
    /// Begins a sweep: from now on [`Self::sweep`] hands out what is in the table now.
    pub(super) fn open(&mut self) {
        assert!(self.sweep.is_none(), "one sweep at a time");
        self.sweep = Some(Sweep {
            next: 0,
            end: self.slots,
            old: BTreeMap::new(),
        });
    }

    /// Hands out the records of the next `slots_max` slots, as they were when the sweep began.
    /// True when it was the last piece; the sweep is then closed.
    pub(super) fn sweep(&mut self, slots_max: usize, mut give: impl FnMut(&T)) -> bool {
        let Some(sweep) = &mut self.sweep else {
            return true;
        };
        let upto = sweep.end.min(sweep.next.saturating_add(slots_max));
        while sweep.next < upto {
            let slot = sweep.next;
            sweep.next += 1;
            let now = self.pages.get(slot / PAGE_SLOTS);
            let now = now.and_then(|page| page.get(slot % PAGE_SLOTS));
            let old = sweep.old.remove(&slot);
            if let Some(record) = old.as_ref().or(now).and_then(Option::as_ref) {
                give(record);
            }
        }
        if sweep.next < sweep.end {
            return false;
        }
        assert!(sweep.old.is_empty(), "every old image was handed out");
        self.sweep = None;
        true
    }
}

#[cfg(test)]
mod tests;
