//! What a server keeps in memory of what others send, and how much of it that may be.

use super::{Load, Node};
use crate::limits::{HELD_WORDS_MAX, MEMBERS_MAX};
use alloc::vec::Vec;

/// Each member wants entries, and a window of chunks.
const LAGGARDS_WISHES_MAX: usize = MEMBERS_MAX * 6;

impl Node {
    /// How full its queues are that others fill, each with its limit. The locks have quotas and limits of
    /// their own, which the log keeps.
    pub fn load(&self) -> Vec<Load> {
        let (queues, of) = (&self.limits.queues, Load::of);
        // Each request that was taken may have to wait for its ticket. What the server asks for by itself,
        // such as the end of a ticket whose caller hung up, is not refused.
        let both_max = queues.commands + queues.waiters;
        let mut loads = self.replica.load();
        loads.extend([
            of("requests", self.pending.commands(), both_max),
            of("waiters", self.pending.waiters(), both_max),
            of("reads", self.reads.len(), queues.reads),
            of("words that wait", self.hold.words(), HELD_WORDS_MAX),
            of(
                "wishes of laggards",
                self.loads.wishes(),
                LAGGARDS_WISHES_MAX,
            ),
        ]);
        loads
    }
}
