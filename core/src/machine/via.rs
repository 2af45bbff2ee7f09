//! Which forwarded commands were seen: each (server, boot) is itself a session (promise 7).

use super::command::Via;
use crate::ids::Boot;
use crate::limits::VIA_WINDOW;
use alloc::boxed::Box;
use alloc::vec;

const WORD_BITS: usize = 64;
const WORDS: usize = VIA_WINDOW / WORD_BITS;
const WINDOW: u64 = 64 << 10;
const _: () = assert!(WORDS * WORD_BITS == VIA_WINDOW && VIA_WINDOW == 64 << 10);

/// The numbers seen from one server: all at or below `highest - VIA_WINDOW`, and those marked.
#[derive(Clone, Debug)]
pub(super) struct ViaWindow {
    pub(super) boot: Boot,
    pub(super) highest: u64,
    /// A ring: the bit of number n is n mod `VIA_WINDOW`.
    pub(super) seen: Box<[u64]>,
}

impl Default for ViaWindow {
    fn default() -> Self {
        Self {
            boot: Boot::default(),
            highest: 0,
            seen: vec![0; WORDS].into(),
        }
    }
}

impl ViaWindow {
    /// Whether `via` is new; from now on it is not.
    pub(super) fn take(&mut self, via: Via) -> bool {
        if via.boot < self.boot {
            return false;
        }
        if via.boot > self.boot {
            self.boot = via.boot;
            self.highest = 0;
            self.seen.fill(0);
        }
        if via.seq > self.highest {
            self.slide(via.seq);
        } else if self.highest - via.seq >= WINDOW {
            return false;
        }
        let Some((word, bit)) = self.bit(via.seq) else {
            return false;
        };
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Whether `via` is not new any more.
    pub(super) fn has(&self, via: Via) -> bool {
        if via.boot != self.boot {
            return via.boot < self.boot;
        }
        if via.seq > self.highest {
            return false;
        }
        let at = usize::try_from(via.seq % WINDOW).unwrap_or_default();
        let word = self.seen.get(at / WORD_BITS).copied().unwrap_or_default();
        self.highest - via.seq >= WINDOW || word & (1 << (at % WORD_BITS)) != 0
    }

    fn slide(&mut self, highest: u64) {
        if highest - self.highest >= WINDOW {
            self.seen.fill(0);
        } else {
            for seq in self.highest + 1..=highest {
                if let Some((word, bit)) = self.bit(seq) {
                    *word &= !bit;
                }
            }
        }
        self.highest = highest;
    }

    fn bit(&mut self, seq: u64) -> Option<(&mut u64, u64)> {
        let at = usize::try_from(seq % WINDOW).ok()?;
        let word = self.seen.get_mut(at / WORD_BITS)?;
        Some((word, 1 << (at % WORD_BITS)))
    }
}

#[cfg(test)]
mod tests;
