//! Snapshots: keeping track of those on the disk.

use crate::ids::{Slot, SnapshotId};
use crate::machine::Machine;

/// The newest whole snapshot of a disk, as `machine::snapshot::Restore` read it.
#[derive(Debug)]
pub struct Restored {
    /// Which.
    pub id: SnapshotId,
    /// Of how many chunks.
    pub chunks: u32,
    /// What it holds.
    pub machine: Machine,
}

#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// The log at or below is not to be believed: an installed snapshot jumped over it, and what it
    /// holds may never have been chosen. After a restart it is not known whether one did.
    floor: Slot,
}

impl Snapshots {
    pub(super) fn new(found: Option<SnapshotId>) -> Self {
        let floor = found.map_or(Slot::new(0), |id| id.slot);
        Self { floor }
    }

    /// Slots up to here are not to be read from the log.
    pub(super) const fn floor(&self) -> Slot {
        self.floor
    }
}
