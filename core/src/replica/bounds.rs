//! What a replica keeps and sends at once.

use crate::limits;

/// The upper bounds of a replica's queues and frames. All servers of a cluster have the same.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Slots that a leader may have proposed and not yet decided; at least 1.
    pub open_slots: usize,
    /// Bytes that a leader may have proposed and not yet decided; at least 1.
    pub open_bytes: usize,
    /// Commands that wait at the leader for a slot; at least 1.
    pub proposals: usize,
    /// Linearizable reads that wait at the leader for a round; at least 1.
    pub reads: usize,
    /// Commands in one entry; at least 1.
    pub entry_commands: usize,
    /// Bytes of entries or commands in one frame. One that is larger goes alone.
    pub batch_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            open_slots: limits::OPEN_SLOTS_MAX,
            open_bytes: limits::OPEN_BYTES_MAX,
            proposals: limits::PROPOSALS_MAX,
            reads: limits::READS_MAX,
            entry_commands: limits::ENTRY_COMMANDS_MAX,
            batch_bytes: limits::BATCH_BYTES_MAX,
        }
    }
}
