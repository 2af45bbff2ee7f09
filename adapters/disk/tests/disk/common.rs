//! What the tests of the disk share.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its part of this"
)]

use bytes::Bytes;
use std::path::Path;
use tenure_core::entry::{Entry, EntryKind};
use tenure_core::ids::{Ballot, ClusterId, Epoch, Incarnation, NodeId, RecordNo, Round, Slot};
use tenure_core::replica::record::{Record, Recovered};
use tenure_core::time::Stamp;
use tenure_core::wal::Sizes;
use tenure_disk::{Disk, DiskError, Opening, Options, Owner};

pub(crate) const INCARNATION: Incarnation = Incarnation::new(1);
pub(crate) const OWNER: Owner = Owner {
    cluster: ClusterId([7; 16]),
    node: NodeId::new(2),
};

pub(crate) fn ballot(round: u64) -> Ballot {
    Ballot {
        epoch: Epoch::new(1),
        round: Round::new(round),
        node: NodeId::new(2),
    }
}

pub(crate) fn tiny() -> Options {
    Options {
        sizes: Sizes::new(32 << 10, 64 << 10),
        trace: None,
    }
}

pub(crate) fn entry(slot: u64, len: usize) -> Entry {
    // Every third is zeros: the payload that is easily taken for nothing.
    let fill = if slot.is_multiple_of(3) { 0 } else { 0x61 };
    let command = Bytes::from(vec![fill; len]);
    Entry::new(EntryKind::Batch, Stamp::from_nanos(slot), &[command])
}

pub(crate) fn accepted(slot: u64, len: usize) -> Record {
    Record::Accepted {
        ballot: ballot(1),
        base: Slot::new(0),
        slot: Slot::new(slot),
        entry: entry(slot, len),
    }
}

pub(crate) fn format(dir: &Path) {
    Disk::format(dir, OWNER.identity(INCARNATION), Bytes::new(), &tiny()).unwrap();
}

pub(crate) fn open(dir: &Path) -> Result<(Disk, Recovered), DiskError> {
    Disk::open(dir, OWNER, tiny())
}

pub(crate) fn begin(dir: &Path) -> Result<Opening, DiskError> {
    Opening::begin(dir, OWNER, tiny())
}

/// A new data directory, open, that promised ballot 1.
pub(crate) fn fresh(dir: &Path) -> Disk {
    format(dir);
    let mut disk = open(dir).unwrap().0;
    disk.promise(ballot(1), None).unwrap();
    disk
}

/// Appends one record and syncs it.
pub(crate) fn put(disk: &mut Disk, number: u64, record: &Record) -> Result<(), DiskError> {
    disk.append(RecordNo::new(number), record)?;
    let through = disk.seal()?.sync()?;
    assert_eq!(through, Some(RecordNo::new(number)));
    Ok(())
}

pub(crate) fn slots(recovered: &Recovered) -> Vec<u64> {
    let slots = recovered.accepted.iter();
    slots.map(|entry| entry.slot.get()).collect()
}
