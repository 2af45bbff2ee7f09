//! Snapshots in files, and the beginning of the log that they let go.

use crate::common::{accepted, ballot, begin, fresh, open, put, slots};
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use tenure_core::ids::{RecordNo, SegmentNo, Slot, SnapshotId};
use tenure_core::replica::record::Recovered;
use tenure_disk::{Disk, DiskError, Keeper, Kept};

pub(crate) fn id(slot: u64) -> SnapshotId {
    let hash = slot * 0x0101_0101;
    SnapshotId {
        slot: Slot::new(slot),
        hash,
    }
}

/// The chunks of the snapshot of a slot.
fn chunks(slot: u64) -> Vec<Vec<u8>> {
    let fill = u8::try_from(slot % 250).unwrap();
    (0..3).map(|index| vec![fill; 700 * (index + 1)]).collect()
}

/// Writes the snapshot of `slot`.
pub(crate) fn keep(keeper: &mut Keeper, slot: u64) -> Kept {
    keep_with(keeper, slot, &[])
}

/// Writes the snapshot of `slot`, and keeps some that are older than the two newest.
fn keep_with(keeper: &mut Keeper, slot: u64, older: &[SnapshotId]) -> Kept {
    let chunks = chunks(slot);
    for (index, chunk) in (0..).zip(&chunks) {
        keeper.chunk(Slot::new(slot), index, chunk).unwrap();
    }
    keeper.done(id(slot), 3, older).unwrap()
}

/// Truncates the log up to `upto`; whether anything went.
pub(crate) fn truncate(disk: &mut Disk, keeper: &mut Keeper, upto: u64, snapshot: u64) -> bool {
    let truncation = disk.begin_truncate(Slot::new(upto), id(snapshot)).unwrap();
    truncation.is_some_and(|mut truncation| {
        keeper.truncate(&mut truncation).unwrap();
        disk.end_truncate(truncation);
        keeper.tidy().unwrap();
        true
    })
}

/// Opens above the newest snapshot, whose chunks must be what was written; gives also which that was.
pub(crate) fn open_all(
    dir: &Path,
) -> Result<(Disk, Keeper, Recovered, Option<SnapshotId>), DiskError> {
    let mut opening = begin(dir)?;
    let newest = opening.newest();
    let mut read = Vec::new();
    opening.beside_log(|opening| {
        opening.read_snapshot(|chunk| {
            read.push(chunk.to_vec());
            Ok(())
        })
    })?;
    let written = newest.map_or(Vec::new(), |id| chunks(id.slot.get()));
    assert_eq!(read, written);
    let (disk, keeper, recovered) = opening.finish()?;
    Ok((disk, keeper, recovered, newest))
}

fn names(dir: &Path, folder: &str) -> Vec<String> {
    let found = fs::read_dir(dir.join(folder)).unwrap();
    let mut names: Vec<_> = found
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A log of `slots`, and what keeps its snapshots.
fn written(dir: &Path, slots: u64) -> (Disk, Keeper) {
    drop(fresh(dir));
    let (mut disk, keeper, _, _) = open_all(dir).unwrap();
    for slot in 1..=slots {
        put(&mut disk, slot, &accepted(slot, 3000)).unwrap();
    }
    disk.seal().unwrap().sync().unwrap();
    (disk, keeper)
}

#[test]
fn what_a_snapshot_stands_for_goes_and_the_rest_is_recovered() {
    let dir = TempDir::new().unwrap();
    let (mut disk, mut keeper) = written(dir.path(), 60);
    let before = names(dir.path(), "wal").len();
    assert!(matches!(keep(&mut keeper, 30), Kept::Durable));
    assert!(truncate(&mut disk, &mut keeper, 30, 30));
    assert!(!truncate(&mut disk, &mut keeper, 30, 30), "once is enough");
    let superblock = disk.superblock().unwrap();
    assert_eq!(superblock.snapshot, Slot::new(30));
    let first = superblock.first_segment;
    assert!(first > SegmentNo::new(1));
    let left = names(dir.path(), "wal");
    assert!(left.len() < before && left[0] == format!("{:08}.seg", first.get()));
    assert_eq!(disk.load(Slot::new(1), Slot::new(5)).unwrap(), []);
    assert!(!disk.load(Slot::new(31), Slot::new(40)).unwrap().is_empty());
    // A promise is as before.
    disk.promise(ballot(7), None).unwrap();
    drop((disk, keeper));
    let (mut disk, mut keeper, recovered, whole) = open_all(dir.path()).unwrap();
    assert_eq!((recovered.decided, whole), (Slot::new(30), Some(id(30))));
    assert_eq!(slots(&recovered), (31..=60).collect::<Vec<u64>>());
    assert_eq!(recovered.promised, ballot(7));
    // And so on.
    put(&mut disk, 1, &accepted(61, 3000)).unwrap();
    for slot in [45, 60] {
        assert!(matches!(keep(&mut keeper, slot), Kept::Durable));
    }
    assert!(truncate(&mut disk, &mut keeper, 45, 60));
    assert_eq!(names(dir.path(), "snap").len(), 2, "the two newest stay");
    drop((disk, keeper));
    let (_, _, recovered, whole) = open_all(dir.path()).unwrap();
    assert_eq!(whole, Some(id(60)));
    assert_eq!(slots(&recovered), [61]);
}

#[test]
fn a_chunk_is_given_to_a_peer() {
    let dir = TempDir::new().unwrap();
    let (_disk, mut keeper) = written(dir.path(), 10);
    keep(&mut keeper, 5);
    let loaded = keeper.load(id(5), 2).unwrap().unwrap();
    assert_eq!(loaded, chunks(5)[2]);
    assert_eq!(keeper.load(id(5), 3).unwrap(), None);
    assert_eq!(keeper.load(id(6), 0).unwrap(), None);
    // Also of one that an earlier process wrote, and nobody has read yet.
    keep(&mut keeper, 9);
    drop((_disk, keeper));
    let (_disk, mut keeper, _, whole) = open_all(dir.path()).unwrap();
    assert_eq!(whole, Some(id(9)));
    assert_eq!(keeper.load(id(5), 0).unwrap().unwrap(), chunks(5)[0]);
    // A rotten one is an error that names the file, and nothing else.
    let path = dir.path().join(format!("snap/{}.snap", id(5)));
    let mut bytes = fs::read(&path).unwrap();
    bytes[80] ^= 1;
    fs::write(&path, bytes).unwrap();
    let refused = keeper.load(id(5), 0).unwrap_err().to_string();
    assert!(
        refused.contains("snap") && refused.contains("checksum"),
        "{refused}"
    );
    assert!(keeper.load(id(9), 0).unwrap().is_some());
}

#[test]
fn a_snapshot_of_which_chunks_are_missing_is_given_up() {
    let dir = TempDir::new().unwrap();
    let (_disk, mut keeper) = written(dir.path(), 10);
    let begun = |keeper: &mut Keeper, indices: &[u32]| {
        for index in indices {
            keeper.chunk(Slot::new(5), *index, b"chunk").unwrap();
        }
        keeper.done(id(5), 3, &[]).unwrap()
    };
    for indices in [&[][..], &[0, 1], &[1, 2], &[0, 2], &[0, 2, 1]] {
        assert!(
            matches!(begun(&mut keeper, indices), Kept::GivenUp(_)),
            "{indices:?}"
        );
        assert!(names(dir.path(), "tmp").is_empty(), "{indices:?}");
    }
    // Another one that is begun drops it; and then all is well.
    keeper.chunk(Slot::new(4), 0, b"chunk").unwrap();
    assert!(matches!(begun(&mut keeper, &[0, 1, 2]), Kept::Durable));
    assert!(names(dir.path(), "tmp").is_empty());
    assert_eq!(names(dir.path(), "snap"), [format!("{}.snap", id(5))]);
}

#[test]
fn without_its_snapshot_a_log_that_begins_late_is_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let (mut disk, mut keeper) = written(dir.path(), 60);
    keep(&mut keeper, 30);
    keep(&mut keeper, 50);
    truncate(&mut disk, &mut keeper, 30, 50);
    drop((disk, keeper));
    let path = |slot| dir.path().join(format!("snap/{}.snap", id(slot)));
    // The newer one is rotten: the older one will not do, and no file is changed.
    let good = fs::read(path(50)).unwrap();
    let mut bad = good.clone();
    bad[100] ^= 1;
    fs::write(path(50), &bad).unwrap();
    let said = open(dir.path()).err().unwrap().to_string();
    assert!(
        said.contains(&format!("{}.snap: snapshot", id(50))) && said.contains("byte 48"),
        "{said}"
    );
    assert_eq!(fs::read(path(50)).unwrap(), bad);
    // It is gone: the superblock remembers that it was there.
    fs::remove_file(path(50)).unwrap();
    let refused = open(dir.path()).err().unwrap();
    let said = refused.to_string();
    assert!(
        matches!(refused, DiskError::SnapshotMissing { .. }),
        "{said}"
    );
    assert!(
        said.contains("a snapshot of slot 50 or a later one"),
        "{said}"
    );
    fs::write(path(50), &good).unwrap();
    let (_, _, recovered, whole) = open_all(dir.path()).unwrap();
    assert_eq!((whole, recovered.decided), (Some(id(50)), Slot::new(50)));
}

#[test]
fn a_snapshot_that_a_caller_can_not_restore_is_refused_with_its_reason() {
    let dir = TempDir::new().unwrap();
    let (disk, mut keeper) = written(dir.path(), 10);
    keep(&mut keeper, 5);
    drop((disk, keeper));
    let mut opening = begin(dir.path()).unwrap();
    let refused = opening.read_snapshot(|_| Err("of a later version".to_owned()));
    let said = refused.unwrap_err().to_string();
    assert!(
        said.ends_with("can't be restored: of a later version"),
        "{said}"
    );
    let refused = opening.finish().err().unwrap();
    assert!(
        matches!(refused, DiskError::SnapshotMissing { .. }),
        "{refused}"
    );
}

#[test]
fn a_log_that_was_read_beside_a_snapshot_counts_only_if_that_is_whole() {
    let dir = TempDir::new().unwrap();
    let (disk, mut keeper) = written(dir.path(), 10);
    keep(&mut keeper, 5);
    drop((disk, keeper));
    let mut opening = begin(dir.path()).unwrap();
    let refused = opening.beside_log(|opening| opening.read_snapshot(|_| Err("no".to_owned())));
    assert!(refused.is_err());
    let refused = opening.finish().err().unwrap();
    assert!(
        matches!(refused, DiskError::SnapshotMissing { .. }),
        "{refused}"
    );
}

#[test]
fn what_was_left_is_removed_at_a_start() {
    let dir = TempDir::new().unwrap();
    let (mut disk, mut keeper) = written(dir.path(), 60);
    let first = dir.path().join("wal/00000001.seg");
    let bytes = fs::read(&first).unwrap();
    keep(&mut keeper, 30);
    truncate(&mut disk, &mut keeper, 30, 30);
    drop((disk, keeper));
    // A truncation and a snapshot that were cut off.
    fs::write(&first, bytes).unwrap();
    fs::write(dir.path().join("tmp/31.snap"), b"half").unwrap();
    drop(open(dir.path()).unwrap());
    assert!(!first.exists() && names(dir.path(), "tmp").is_empty());
}

#[test]
#[should_panic(expected = "stands in a durable snapshot of this server (rule 5)")]
fn nothing_goes_without_a_durable_snapshot() {
    let dir = TempDir::new().unwrap();
    let (mut disk, mut keeper) = written(dir.path(), 60);
    for index in 0..3 {
        keeper.chunk(Slot::new(30), index, b"chunk").unwrap();
    }
    truncate(&mut disk, &mut keeper, 30, 30);
}

#[test]
fn the_superblock_changes_once_at_a_time() {
    let dir = TempDir::new().unwrap();
    let (mut disk, mut keeper) = written(dir.path(), 60);
    keep(&mut keeper, 30);
    let begun = disk.begin_truncate(Slot::new(30), id(30)).unwrap();
    let mut truncation = begun.unwrap();
    assert!(matches!(
        disk.promise(ballot(9), None),
        Err(DiskError::SuperblockAway)
    ));
    let again = disk.begin_truncate(Slot::new(30), id(30)).unwrap();
    assert!(again.is_none());
    // The log goes on meanwhile.
    put(&mut disk, 61, &accepted(61, 3000)).unwrap();
    // Spare ones are made meanwhile; the first is what the truncation is about.
    let first = || names(dir.path(), "wal")[0].clone();
    keeper.truncate(&mut truncation).unwrap();
    disk.end_truncate(truncation);
    disk.promise(ballot(9), None).unwrap();
    assert_eq!(first(), "00000001.seg", "a promise waits for no file");
    keeper.tidy().unwrap();
    assert_ne!(first(), "00000001.seg");
    assert_eq!(disk.superblock().unwrap().promised, ballot(9));
    disk.append(RecordNo::new(62), &accepted(62, 10)).unwrap();
}

/// A chunk that rots is found when it is read, and then nothing of its snapshot is given any more.
#[test]
fn a_snapshot_that_rotted_is_given_to_nobody() {
    let dir = TempDir::new().unwrap();
    let (_disk, mut keeper) = written(dir.path(), 10);
    keep(&mut keeper, 5);
    let path = dir.path().join("snap").join(format!("{}.snap", id(5)));
    let mut bytes = fs::read(&path).unwrap();
    bytes[80] ^= 1;
    fs::write(&path, bytes).unwrap();
    let damaged = keeper.load(id(5), 0);
    assert!(
        matches!(damaged, Err(DiskError::SnapshotDamaged { .. })),
        "{damaged:?}"
    );
    assert_eq!(keeper.load(id(5), 0).unwrap(), None);
    assert_eq!(keeper.load(id(5), 1).unwrap(), None, "nor its good chunks");
    // One that is written under the same name is whole again.
    keep(&mut keeper, 5);
    assert_eq!(keeper.load(id(5), 1).unwrap().unwrap(), chunks(5)[1]);
}

/// Who is in the middle of a snapshot can end it, though two newer ones were made.
#[test]
fn a_snapshot_that_is_to_be_kept_stays_behind_the_two_newest() {
    let dir = TempDir::new().unwrap();
    let (_disk, mut keeper) = written(dir.path(), 10);
    for slot in [3, 4] {
        keep(&mut keeper, slot);
    }
    for slot in [5, 6, 7] {
        keep_with(&mut keeper, slot, &[id(3)]);
    }
    assert_eq!(keeper.load(id(3), 1).unwrap().unwrap(), chunks(3)[1]);
    assert_eq!(keeper.load(id(4), 0).unwrap(), None, "nobody asked for it");
    assert_eq!(names(dir.path(), "snap").len(), 3);
    keep(&mut keeper, 8);
    assert_eq!(
        keeper.load(id(3), 1).unwrap(),
        None,
        "nor for this any more"
    );
}

#[test]
fn a_start_finds_the_older_snapshot_too() {
    let dir = TempDir::new().unwrap();
    let (disk, mut keeper) = written(dir.path(), 10);
    for slot in [3, 4] {
        keep(&mut keeper, slot);
    }
    drop((disk, keeper));
    let opening = begin(dir.path()).unwrap();
    assert_eq!(opening.older(), Some((id(3), 3)));
    drop(opening);
    // One whose end is torn off is none.
    let path = dir.path().join("snap").join(format!("{}.snap", id(3)));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(begin(dir.path()).unwrap().older(), None);
}
