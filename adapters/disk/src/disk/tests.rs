//! A disk that fails is not asked again.

use super::*;
use crate::opening::{Options, Owner};
use bytes::Bytes;
use std::path::Path;
use tempfile::TempDir;
use tenure_core::ids::{ClusterId, Epoch, Incarnation, NodeId, Round};
use tenure_core::wal::Sizes;

fn ballot(round: u64) -> Ballot {
    Ballot {
        epoch: Epoch::new(1),
        round: Round::new(round),
        node: NodeId::new(2),
    }
}

fn disk(dir: &Path) -> Disk {
    let owner = Owner {
        cluster: ClusterId([7; 16]),
        node: NodeId::new(2),
    };
    let options = Options {
        sizes: Sizes::new(32 << 10, 64 << 10),
        trace: None,
    };
    if !Disk::is_formatted(dir) {
        Disk::format(
            dir,
            owner.identity(Incarnation::new(1)),
            Bytes::new(),
            &options,
        )
        .unwrap();
    }
    Disk::open(dir, owner, options).unwrap().0
}

/// A file that takes every write and can't be synced.
fn broken() -> File {
    File::options().write(true).open("/dev/null").unwrap()
}

fn refuses_everything(disk: &mut Disk) {
    let hint = Record::DecidedHint { upto: Slot::new(0) };
    let appended = disk.append(RecordNo::new(9), &hint);
    assert!(matches!(appended, Err(DiskError::Failed)));
    assert!(matches!(disk.seal(), Err(DiskError::Failed)));
    assert!(matches!(
        disk.promise(ballot(9), None),
        Err(DiskError::Failed)
    ));
    let loaded = disk.load(Slot::new(1), Slot::new(1));
    assert!(matches!(loaded, Err(DiskError::Failed)));
}

#[test]
fn after_a_failed_sync_everything_is_refused() {
    let dir = TempDir::new().unwrap();
    let mut disk = disk(dir.path());
    disk.active.file = Arc::new(broken());
    let hint = Record::DecidedHint { upto: Slot::new(0) };
    disk.append(RecordNo::new(1), &hint).unwrap();
    let failed = disk.seal().unwrap().sync().unwrap_err();
    assert!(
        matches!(&failed, DiskError::Io { doing: "synced", path, .. } if path.ends_with("wal/00000001.seg")),
        "{failed}"
    );
    refuses_everything(&mut disk);
}

#[test]
fn after_a_failed_promise_everything_is_refused() {
    let dir = TempDir::new().unwrap();
    let mut first = disk(dir.path());
    first.promise(ballot(3), None).unwrap();
    Arc::get_mut(&mut first.superblock_file)
        .unwrap()
        .break_file(broken());
    let failed = first.promise(ballot(4), None).unwrap_err();
    assert!(
        matches!(&failed, DiskError::Io { doing: "synced", path, .. } if path.ends_with("superblock")),
        "{failed}"
    );
    refuses_everything(&mut first);
    assert!(first.superblock().is_none());
    drop(first);
    // The old promise stands.
    let second = disk(dir.path());
    assert_eq!(second.superblock().unwrap().promised, ballot(3));
}
