//! A disk that fails, on a real process and at the system call: a sync that failed is never believed
//! again, no store meets a hole, and what was acknowledged before is there.

use crate::common::{INCARNATION, OWNER, accepted, open, slots, tiny};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tenure_core::ids::{ClusterId, NodeId, RecordNo};
use tenure_disk::{Disk, DiskError, Options, Owner};

const SYNC: &str = "FAIL_SYNC";
const WRITE: &str = "FAIL_WRITE";

/// Builds the library that lets calls fail, with the compiler that links every test.
fn library(folder: &Path) -> PathBuf {
    let library = folder.join("failing_disk.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/disk/failing_disk.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .args([source, "-ldl"])
        .status();
    assert!(
        built.is_ok_and(|built| built.success()),
        "cc builds {source}"
    );
    library
}

/// Runs the program that appends and prints what is durable, in which a call fails. Gives the last slot
/// that it acknowledged, and what it said at its end.
fn run(dir: &Path, (what, which): (&str, &str)) -> (u64, String) {
    let preload = library(dir);
    let ran = Command::new("timeout")
        .args(["-s", "KILL", "20", env!("CARGO_BIN_EXE_disk-bench")])
        .arg(dir.join("data"))
        .arg("acks")
        .env("LD_PRELOAD", preload)
        .env(what, which)
        .output()
        .unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1), "it goes on: {said}");
    let acked = String::from_utf8(ran.stdout).unwrap();
    let last = acked.lines().last().map_or(0, |slot| slot.parse().unwrap());
    (last, said)
}

/// What is recovered of the data directory.
fn recovered(dir: &Path) -> Vec<u64> {
    let owner = Owner {
        cluster: ClusterId(*b"disk-bench......"),
        node: NodeId::new(1),
    };
    let (_, recovered) = Disk::open(&dir.join("data"), owner, Options::default()).unwrap();
    slots(&recovered)
}

#[test]
fn a_group_whose_sync_fails_once_is_never_acknowledged() {
    let dir = TempDir::new().unwrap();
    // A segment is synced once for each MiB of zeros, and at its end; opening it takes two.
    let (acked, said) = run(dir.path(), (SYNC, "100 00000001.seg"));
    assert!(said.contains("00000001.seg can't be synced"), "{said}");
    assert!((50..100).contains(&acked), "{acked} are acknowledged");
    let found = recovered(dir.path());
    // The one after may be there: it was stored.
    assert!(found.len() as u64 >= acked, "{found:?} of {acked}");
}

#[test]
fn a_promise_whose_sync_fails_once_is_never_acknowledged() {
    let dir = TempDir::new().unwrap();
    // Opening it takes four syncs, and the promise four.
    let (acked, said) = run(dir.path(), (SYNC, "6 superblock"));
    assert!(said.contains("superblock can't be synced"), "{said}");
    assert_eq!(acked, 0);
    assert_eq!(recovered(dir.path()), []);
}

/// Nothing is known of a name whose folder was not synced, also if the next sync is called a success. Nor
/// is it waited for until the segment is needed.
#[test]
fn a_spare_segment_that_is_not_synced_ends_it() {
    let name = "failing::a_spare_segment_that_is_not_synced_ends_it";
    // The first sync of the folder is that of the first segment.
    while_it_fails(name, &["2 data/wal", "1 00000002.new"], spare_is_not_synced);
}

/// Who is given another role opens its disk again in the same process, perhaps before the segment is made.
#[test]
fn a_spare_segment_that_is_not_synced_is_told_at_the_end() {
    let name = "failing::a_spare_segment_that_is_not_synced_is_told_at_the_end";
    while_it_fails(name, &["2 data/wal", "1 00000002.new"], || {
        let dir = TempDir::new().unwrap();
        let mut disk = opened(&dir.path().join("data"));
        let failed = disk.close().expect_err("it was not synced");
        assert!(failed.is_failed_sync(), "{failed}");
        assert!(matches!(disk.close(), Err(DiskError::Failed)));
    });
}

/// Runs this test anew in processes in which a sync fails: there it does `what`.
fn while_it_fails(name: &str, syncs: &[&str], what: impl Fn()) {
    if std::env::var_os(SYNC).is_some() {
        return what();
    }
    let dir = TempDir::new().unwrap();
    for fails in syncs {
        let ran = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env("LD_PRELOAD", library(dir.path()))
            .env(SYNC, fails)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    }
}

fn opened(data: &Path) -> Disk {
    Disk::format(data, OWNER.identity(INCARNATION), Bytes::new(), &tiny()).unwrap();
    open(data).unwrap().0
}

fn spare_is_not_synced() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut disk = opened(&data);
    let asked = Instant::now();
    let failed = loop {
        if let Err(error) = disk.space() {
            break error;
        }
        assert!(asked.elapsed() < Duration::from_secs(20), "it goes on");
        std::thread::park_timeout(Duration::from_millis(1));
    };
    assert!(failed.is_failed_sync(), "{failed}");
    let refused = disk.append(RecordNo::new(1), &accepted(1, 10));
    assert!(matches!(refused, Err(DiskError::Failed)));
    drop(disk);
    assert!(open(&data).is_ok(), "a start finds out what is there");
}

/// The system said that there was room, and there is none: quotas, reserved blocks, or others that write.
#[test]
fn room_that_ends_in_the_middle_of_a_segment_leaves_no_hole() {
    let dir = TempDir::new().unwrap();
    let (acked, said) = run(dir.path(), (WRITE, "200 00000002.new"));
    assert!(said.contains("no room for 2097152 bytes at"), "{said}");
    assert!(said.contains("00000002.seg"), "{said}");
    assert!(acked > 100, "{acked} are acknowledged");
    let wal = std::fs::read_dir(dir.path().join("data/wal")).unwrap();
    let names: Vec<_> = wal.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["00000001.seg"]);
    assert_eq!(recovered(dir.path()).len() as u64, acked);
}
