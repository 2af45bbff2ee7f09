//! Records in pages, found by a [`Ref`] of four bytes, that can be written out while they change.
//!
//! A new record takes the lowest free slot. So which slot it gets depends on which are in use alone,
//! and equal logs give equal slots on every server.
//!
//! A sweep ([`Table::open`], then [`Table::sweep`] group by group) hands out each record as it was
//! when the sweep began: whoever changes a record that the sweep has not reached leaves its old image
//! in a side table first (rule 37). Pages are never moved, so growing never stalls the loop.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::num::NonZeroU32;
use free::Free;

pub(super) use free::GROUP;

mod free;

/// Names a record of a [`Table`]. `Option<Ref<T>>` takes four bytes too.
pub(super) struct Ref<T> {
    /// The number of the slot, plus one.
    raw: NonZeroU32,
    of: PhantomData<fn() -> T>,
}

impl<T> Ref<T> {
    fn new(slot: usize) -> Self {
        let raw = u32::try_from(slot + 1);
        let Some(at) = raw.ok().and_then(Self::from_raw) else {
            panic!("a table holds fewer than 2^32 records: its limits say so");
        };
        at
    }

    /// The name with this number; zero is none.
    pub(super) fn from_raw(raw: u32) -> Option<Self> {
        NonZeroU32::new(raw).map(|raw| Self {
            raw,
            of: PhantomData,
        })
    }

    /// Its number: that of its slot, plus one.
    pub(super) const fn raw(self) -> u32 {
        self.raw.get()
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
    /// Of `GROUP` slots each.
    pages: Vec<Vec<Option<T>>>,
    free: Free,
    len: usize,
    sweep: Option<Sweep<T>>,
}

#[derive(Debug)]
struct Sweep<T> {
    /// The groups of slots before this one were handed out.
    next: usize,
    /// The groups from this one on had no record when the sweep began.
    end: usize,
    /// What stood in changed slots when the sweep began.
    old: BTreeMap<usize, Option<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            pages: Vec::new(),
            free: Free::default(),
            len: 0,
            sweep: None,
        }
    }
}

impl<T: Clone> Table<T> {
    /// How many records there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The record, if there is one: for a `Ref` that may be stale.
    pub(super) fn peek(&self, at: Ref<T>) -> Option<&T> {
        let slot = at.slot();
        let page = self.pages.get(slot / GROUP)?;
        page.get(slot % GROUP)?.as_ref()
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

    /// The name that the next record will have: that of the lowest free slot.
    pub(super) fn vacant(&self) -> Ref<T> {
        let beyond = self.pages.len() * GROUP;
        Ref::new(self.free.lowest().unwrap_or(beyond))
    }

    /// Adds a record, under the name that [`Self::vacant`] gave.
    pub(super) fn insert(&mut self, record: T) -> Ref<T> {
        let at = self.vacant();
        self.place(at, record);
        at
    }

    /// Takes a record out.
    pub(super) fn remove(&mut self, at: Ref<T>) -> T {
        self.keep_old(at.slot());
        let Some(record) = self.slot_mut(at.slot()).and_then(Option::take) else {
            panic!("a record is removed once");
        };
        self.free.give(at.slot());
        self.len -= 1;
        record
    }

    /// All records, in the order of their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Ref<T>, &T)> {
        let slots = self.pages.iter().flatten().enumerate();
        slots.filter_map(|(slot, record)| Some((Ref::new(slot), record.as_ref()?)))
    }

    /// Adds a record under a name that is free.
    pub(super) fn place(&mut self, at: Ref<T>, record: T) {
        let slot = at.slot();
        while self.pages.len() <= slot / GROUP {
            self.free.grow(self.pages.len());
            let empty = core::iter::repeat_with(|| None);
            self.pages.push(empty.take(GROUP).collect());
        }
        self.keep_old(slot);
        let Some(vacant) = self.slot_mut(slot) else {
            panic!("a free slot is within the pages");
        };
        assert!(vacant.is_none(), "a free slot is empty");
        *vacant = Some(record);
        self.free.take(slot);
        self.len += 1;
    }

    fn slot_mut(&mut self, slot: usize) -> Option<&mut Option<T>> {
        let page = self.pages.get_mut(slot / GROUP)?;
        page.get_mut(slot % GROUP)
    }

    /// Before slot `slot` changes: its old image goes aside, if a sweep has yet to hand it out.
    fn keep_old(&mut self, slot: usize) {
        let Some(sweep) = &mut self.sweep else {
            return;
        };
        let group = slot / GROUP;
        if group < sweep.next || group >= sweep.end || sweep.old.contains_key(&slot) {
            return;
        }
        let page = self.pages.get(group);
        let record = page.and_then(|page| page.get(slot % GROUP));
        sweep.old.insert(slot, record.and_then(Option::clone));
    }
}

/// For snapshots.
impl<T: Clone> Table<T> {
    /// Begins a sweep: from now on [`Self::sweep`] hands out what is in the table now. Returns of
    /// how many groups.
    pub(super) fn open(&mut self) -> usize {
        assert!(self.sweep.is_none(), "one sweep at a time");
        let mut groups = (0..self.pages.len()).rev();
        let last = groups.find(|group| self.free.used(*group) != 0);
        let end = last.map_or(0, |group| group + 1);
        self.sweep = Some(Sweep {
            next: 0,
            end,
            old: BTreeMap::new(),
        });
        end
    }

    /// Hands out the records of the next group of 64 slots, as they were when the sweep began, and
    /// says in which of the slots they stood. None when there are no more: the sweep is then closed.
    pub(super) fn sweep(&mut self, mut give: impl FnMut(&T)) -> Option<u64> {
        let sweep = self.sweep.as_mut()?;
        if sweep.next == sweep.end {
            assert!(sweep.old.is_empty(), "every old image was handed out");
            self.sweep = None;
            return None;
        }
        let page = self.pages.get(sweep.next).map_or(&[][..], |page| page);
        let mut used = 0;
        for (slot, now) in (sweep.next * GROUP..).zip(page) {
            let changed = sweep.old.first_entry().filter(|old| *old.key() == slot);
            let old = changed.map(|old| old.remove());
            if let Some(record) = old.as_ref().unwrap_or(now) {
                give(record);
                used |= 1 << (slot % GROUP);
            }
        }
        sweep.next += 1;
        Some(used)
    }
}

#[cfg(test)]
mod tests;
