//! Which slots of a table are free, and which of them is the lowest.
//!
//! Taking the lowest makes the number of a slot depend on nothing but which slots are in use. So
//! equal logs put their records in equal slots, also on a server that began with a snapshot and
//! never saw the records that came and went before it.

use alloc::vec::Vec;

/// Slots that one word of the lowest level speaks for.
pub(in crate::machine) const GROUP: usize = 64;
/// 64^6 slots are more than a `Ref` can name.
const LEVELS: usize = 6;

/// A tree of bits with 64 children a node. A bit of the lowest level says that a slot is free, one
/// above it that some bit in the word below it is set.
#[derive(Debug, Default)]
pub(super) struct Free {
    levels: [Vec<u64>; LEVELS],
}

impl Free {
    /// The lowest free slot among those there are.
    pub(super) fn lowest(&self) -> Option<usize> {
        let mut at = 0;
        for words in self.levels.iter().rev() {
            let word = words.get(at).copied().unwrap_or(0);
            if word == 0 {
                return None;
            }
            at = at * GROUP + low_bit(word);
        }
        Some(at)
    }

    /// The slot is free from now on.
    pub(super) fn give(&mut self, slot: usize) {
        let mut at = slot;
        for words in &mut self.levels {
            let word = at / GROUP;
            if words.len() <= word {
                words.resize(word + 1, 0);
            }
            let Some(word) = words.get_mut(word) else {
                return;
            };
            let some_before = *word != 0;
            *word |= 1 << (at % GROUP);
            if some_before {
                return;
            }
            at /= GROUP;
        }
    }

    /// The slot is in use from now on.
    pub(super) fn take(&mut self, slot: usize) {
        let mut at = slot;
        for words in &mut self.levels {
            let Some(word) = words.get_mut(at / GROUP) else {
                return;
            };
            *word &= !(1 << (at % GROUP));
            if *word != 0 {
                return;
            }
            at /= GROUP;
        }
    }

    /// One more group of slots, all of them free.
    pub(super) fn grow(&mut self, group: usize) {
        for slot in group * GROUP..(group + 1) * GROUP {
            self.give(slot);
        }
    }

    /// The slots of this group that are in use; a group that is not there is free.
    pub(super) fn used(&self, group: usize) -> u64 {
        let [words, ..] = &self.levels;
        words.get(group).map_or(0, |free| !free)
    }
}

fn low_bit(word: u64) -> usize {
    usize::try_from(word.trailing_zeros()).unwrap_or(0)
}
