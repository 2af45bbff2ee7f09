//! Snapshots: making them, keeping track of those on the disk, and what they allow to forget.

use crate::ids::SnapshotId;
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
