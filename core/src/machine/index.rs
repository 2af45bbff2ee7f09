//! Finds a record by a hash of what names it. It is never walked, so no order can leak from it, and
//! its seed need not be the same on every server: it keeps those who choose keys from choosing
//! collisions.

use super::table::Ref;
use crate::hash::hash64_after;
use crate::ids::Seed;
use crate::ids::ZoneId;
use alloc::vec::Vec;
use hashbrown::HashTable;

/// So many tables, each of which grows at its own time: a growth moves 1/256 of the whole, and at
/// a million records stalls the loop for a fraction of a millisecond instead of a hundred.
const SHARDS: usize = 256;

/// Hashes names under the seed of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hasher {
    seed: u64,
}

impl Hasher {
    pub(super) const fn new(seed: Seed) -> Self {
        Self { seed: seed.get() }
    }

    /// The hash of a name in a zone.
    pub(super) fn hash(self, zone: ZoneId, name: &[u8]) -> u64 {
        hash64_after(self.seed.wrapping_add(u64::from(zone.get())), name)
    }
}

/// A hash index of four bytes a record, plus one, plus room.
#[derive(Debug)]
pub(super) struct Index<T> {
    shards: Vec<HashTable<Ref<T>>>,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self {
            shards: core::iter::repeat_with(HashTable::new)
                .take(SHARDS)
                .collect(),
        }
    }
}

impl<T> Index<T> {
    /// So many records will be added to it, which is empty.
    pub(super) fn expect(&mut self, records: usize) {
        assert!(self.len() == 0, "nothing has a place yet");
        for shard in &mut self.shards {
            shard.reserve(records.div_ceil(SHARDS), |_| 0);
        }
    }

    /// The record with this hash that `is` it.
    pub(super) fn find(&self, hash: u64, mut is: impl FnMut(Ref<T>) -> bool) -> Option<Ref<T>> {
        let shard = self.shards.get(shard_of(hash))?;
        shard.find(hash, |at| is(*at)).copied()
    }

    /// Adds a record that is not there yet. `rehash` gives the hash of those that are.
    pub(super) fn insert(&mut self, hash: u64, at: Ref<T>, rehash: impl Fn(Ref<T>) -> u64) {
        if let Some(shard) = self.shards.get_mut(shard_of(hash)) {
            shard.insert_unique(hash, at, |at| rehash(*at));
        }
    }

    /// An index of `all` records, each with its hash: table by table, each of which has its size from
    /// the first. None if two of them are the `same`.
    pub(super) fn of(
        mut all: Vec<(u64, Ref<T>)>,
        is_same: impl Fn(Ref<T>, Ref<T>) -> bool,
        rehash: impl Fn(Ref<T>) -> u64,
    ) -> Option<Self> {
        let mut index = Self::default();
        all.sort_unstable_by_key(|(hash, _)| shard_of(*hash));
        for of_shard in all.chunk_by(|(a, _), (b, _)| shard_of(*a) == shard_of(*b)) {
            let number = of_shard.first().map(|(hash, _)| shard_of(*hash))?;
            let shard = index.shards.get_mut(number)?;
            shard.reserve(of_shard.len(), |at| rehash(*at));
            for (hash, at) in of_shard {
                if shard.find(*hash, |other| is_same(*other, *at)).is_some() {
                    return None;
                }
                shard.insert_unique(*hash, *at, |at| rehash(*at));
            }
        }
        Some(index)
    }

    /// Takes a record out, which is there.
    pub(super) fn remove(&mut self, hash: u64, at: Ref<T>) {
        let shard = self.shards.get_mut(shard_of(hash));
        let found = shard.and_then(|shard| shard.find_entry(hash, |other| *other == at).ok());
        let Some(found) = found else {
            panic!("what is in the table is in its index");
        };
        found.remove();
    }

    /// How many records are in it.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(HashTable::len).sum()
    }
}

/// Bits that hashbrown uses neither for the place in a table nor for its tags.
fn shard_of(hash: u64) -> usize {
    usize::try_from(hash >> 40).unwrap_or(0) % SHARDS
}
