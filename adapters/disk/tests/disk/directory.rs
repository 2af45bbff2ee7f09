//! A data directory: made, opened, refused by name.

use crate::common::{
    INCARNATION, OWNER, accepted, ballot, entry, format, fresh, open, put, slots, tiny,
};
use bytes::Bytes;
use std::fs;
use std::io;
use tempfile::TempDir;
use tenure_core::ids::{Boot, ClusterId, NodeId, RecordNo, SegmentNo, Slot};
use tenure_core::replica::record::Record;
use tenure_disk::{Disk, DiskError, Owner, Space};

#[test]
fn what_was_synced_is_there_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let mut disk = fresh(dir.path());
    for slot in 1..=50 {
        put(&mut disk, slot, &accepted(slot, 3000)).unwrap();
    }
    let hint = Record::DecidedHint {
        upto: Slot::new(45),
    };
    disk.append(RecordNo::new(51), &hint).unwrap();
    disk.seal().unwrap().sync().unwrap();
    drop(disk);
    let (mut disk, recovered) = open(dir.path()).unwrap();
    assert_eq!(recovered.boot, Boot::new(2));
    assert_eq!(recovered.promised, ballot(1));
    assert_eq!(recovered.decided, Slot::new(45));
    assert_eq!(slots(&recovered), [46, 47, 48, 49, 50]);
    let loaded = disk.load(Slot::new(10), Slot::new(30)).unwrap();
    let expected: Vec<_> = (10..=30).map(|slot| entry(slot, 3000)).collect();
    assert_eq!(loaded, expected);
    assert_eq!(disk.load(Slot::new(51), Slot::new(60)).unwrap(), []);
    // The log goes on.
    put(&mut disk, 1, &accepted(51, 3000)).unwrap();
    assert_eq!(disk.load(Slot::new(51), Slot::new(60)).unwrap().len(), 1);
    drop(disk);
    let (_, recovered) = open(dir.path()).unwrap();
    assert_eq!(slots(&recovered), [46, 47, 48, 49, 50, 51]);
}

#[test]
fn a_promise_is_there_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let mut disk = fresh(dir.path());
    disk.promise(ballot(9), None).unwrap();
    assert_eq!(disk.counters().promises, 2);
    drop(disk);
    let (disk, recovered) = open(dir.path()).unwrap();
    assert_eq!(recovered.promised, ballot(9));
    assert_eq!(disk.superblock().unwrap().promised, ballot(9));
}

#[test]
fn a_directory_in_use_is_named() {
    let dir = TempDir::new().unwrap();
    let disk = fresh(dir.path());
    let refused = open(dir.path()).err().unwrap();
    let path = dir.path().display();
    assert_eq!(
        refused.to_string(),
        format!("the data directory {path} is in use by another server")
    );
    assert_eq!(io::Error::from(refused).kind(), io::ErrorKind::ResourceBusy);
    drop(disk);
    assert!(open(dir.path()).is_ok());
}

#[test]
fn somebody_elses_directory_is_left_alone() {
    let dir = TempDir::new().unwrap();
    drop(fresh(dir.path()));
    let before = fs::read(dir.path().join("superblock")).unwrap();
    let cluster = Owner {
        cluster: ClusterId([8; 16]),
        ..OWNER
    };
    let node = Owner {
        node: NodeId::new(3),
        ..OWNER
    };
    let refused = Disk::open(dir.path(), cluster, tiny()).err().unwrap();
    assert!(
        matches!(refused, DiskError::OtherCluster { .. }),
        "{refused}"
    );
    let refused = Disk::open(dir.path(), node, tiny()).err().unwrap();
    assert!(
        refused
            .to_string()
            .ends_with("belongs to server 2, not to 3"),
        "{refused}"
    );
    assert_eq!(fs::read(dir.path().join("superblock")).unwrap(), before);
}

#[test]
fn a_directory_is_made_once() {
    let dir = TempDir::new().unwrap();
    assert!(!Disk::is_formatted(dir.path()));
    let refused = open(dir.path()).err().unwrap();
    assert!(
        matches!(refused, DiskError::NotFormatted { .. }),
        "{refused}"
    );
    format(dir.path());
    assert!(Disk::is_formatted(dir.path()));
    let again = Disk::format(
        dir.path(),
        OWNER.identity(INCARNATION),
        Bytes::new(),
        &tiny(),
    );
    assert!(matches!(again, Err(DiskError::AlreadyFormatted { .. })));
}

#[test]
fn a_format_that_was_cut_off_is_made_anew_and_a_lost_superblock_is_not() {
    let dir = TempDir::new().unwrap();
    format(dir.path());
    let superblock = dir.path().join("superblock");
    fs::rename(&superblock, dir.path().join("superblock.new")).unwrap();
    let refused = open(dir.path()).err().unwrap();
    assert!(
        matches!(refused, DiskError::NotFormatted { .. }),
        "{refused}"
    );
    format(dir.path());
    fs::remove_file(&superblock).unwrap();
    let refused = open(dir.path()).err().unwrap();
    assert!(
        matches!(refused, DiskError::SuperblockMissing { .. }),
        "{refused}"
    );
    let again = Disk::format(
        dir.path(),
        OWNER.identity(INCARNATION),
        Bytes::new(),
        &tiny(),
    );
    assert!(matches!(again, Err(DiskError::SuperblockMissing { .. })));
}

#[test]
fn damage_is_named_and_nothing_is_repaired() {
    let dir = TempDir::new().unwrap();
    let mut disk = fresh(dir.path());
    put(&mut disk, 1, &accepted(1, 100)).unwrap();
    disk.seal().unwrap().sync().unwrap();
    drop(disk);
    let path = dir.path().join("wal/00000001.seg");
    let mut bytes = fs::read(&path).unwrap();
    let entry = entry(1, 100);
    let at = bytes
        .windows(entry.bytes().len())
        .position(|window| window == &entry.bytes()[..]);
    bytes[at.unwrap()] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let refused = open(dir.path()).err().unwrap();
    let DiskError::Damaged { damage, .. } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(damage.segment, SegmentNo::new(1));
    assert_eq!(damage.slot, Some(Slot::new(1)));
    assert!(
        refused
            .to_string()
            .contains("segment 1, byte 8192 (slot 1)"),
        "{refused}"
    );
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn one_group_at_a_time_is_synced() {
    let dir = TempDir::new().unwrap();
    let mut disk = fresh(dir.path());
    disk.append(RecordNo::new(1), &accepted(1, 10)).unwrap();
    let sealed = disk.seal().unwrap();
    assert!(!sealed.is_empty());
    // Appending goes on, and so does reading what was stored; sealing must wait.
    disk.append(RecordNo::new(2), &accepted(2, 10)).unwrap();
    assert_eq!(
        disk.load(Slot::new(1), Slot::new(1)).unwrap(),
        [entry(1, 10)]
    );
    assert!(matches!(disk.seal(), Err(DiskError::NotSynced)));
    let synced = std::thread::spawn(move || sealed.sync()).join().unwrap();
    assert_eq!(synced.unwrap(), Some(RecordNo::new(1)));
    assert_eq!(disk.seal().unwrap().sync().unwrap(), Some(RecordNo::new(2)));
    // Then one trailing seal, and no second one.
    assert!(!{
        let trailing = disk.seal().unwrap();
        let empty = trailing.is_empty();
        trailing.sync().unwrap();
        empty
    });
    assert!(disk.seal().unwrap().is_empty());
}

#[test]
fn counters_count_and_space_is_enough() {
    let dir = TempDir::new().unwrap();
    let mut disk = fresh(dir.path());
    let before = disk.counters();
    put(&mut disk, 1, &accepted(1, 10)).unwrap();
    let after = disk.counters();
    assert_eq!(
        (after.syncs - before.syncs, after.bytes - before.bytes),
        (1, 4096)
    );
    assert!(after.sync_time >= before.sync_time && after.sync_time_max <= after.sync_time);
    assert_eq!(disk.space().unwrap(), Space::Enough);
}

#[test]
fn what_was_never_finished_is_thrown_away() {
    let dir = TempDir::new().unwrap();
    drop(fresh(dir.path()));
    let stray = dir.path().join("wal/00000009.new");
    fs::write(&stray, [0; 100]).unwrap();
    let spare = dir.path().join("wal/00000002.seg");
    assert!(spare.exists());
    drop(open(dir.path()).unwrap());
    assert!(!stray.exists() && spare.exists());
}

/// Whoever opened it before the end of that sync would not hear that it failed.
#[test]
fn nobody_opens_a_directory_whose_last_group_is_being_synced() {
    let dir = TempDir::new().unwrap();
    let mut disk = fresh(dir.path());
    disk.append(RecordNo::new(1), &accepted(1, 10)).unwrap();
    let sealed = disk.seal().unwrap();
    drop(disk);
    assert!(matches!(open(dir.path()), Err(DiskError::InUse { .. })));
    sealed.sync().unwrap();
    assert_eq!(slots(&open(dir.path()).unwrap().1), [1]);
}
