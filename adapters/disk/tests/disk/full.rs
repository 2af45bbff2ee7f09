//! A full disk is an answer, never a signal.

use crate::common::{OWNER, accepted, ballot, put, slots, tiny};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tenure_core::ids::{Slot, SnapshotId};
use tenure_core::wal::Sizes;
use tenure_disk::{Disk, DiskError, Keeper, Kept, Opening, Options, Space};

/// A small file system of its own, gone with the test.
struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// Nothing if this process may not mount.
    fn new(bytes: u64) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let size = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        let mounted = mount(
            "tmpfs",
            dir.path(),
            "tmpfs",
            MountFlags::empty(),
            Some(size.as_c_str()),
        );
        mounted.is_ok().then_some(Self { dir })
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(self.dir.path(), UnmountFlags::DETACH).unwrap();
    }
}

fn options() -> Options {
    Options {
        sizes: Sizes::new(64 << 10, 256 << 10),
        ..tiny()
    }
}

/// Writes until there is no room for another segment; returns how many records were acknowledged.
fn fill(disk: &mut Disk) -> u64 {
    for slot in 1.. {
        match put(disk, slot, &accepted(slot, 3000)) {
            Ok(()) => {}
            Err(DiskError::Full { path, .. }) => {
                assert!(path.ends_with(PathBuf::from(&path).file_name().unwrap()));
                return slot - 1;
            }
            Err(other) => panic!("after {slot} records: {other}"),
        }
    }
    unreachable!("a small disk is full some time")
}

#[test]
fn a_full_disk_is_said_before_anything_is_appended() {
    let Some(small) = SmallDisk::new(1 << 20) else {
        println!("MOUNTING IS NOT PERMITTED HERE: only the limit on file sizes is tested");
        return;
    };
    let dir = small.path().join("data");
    Disk::format(&dir, OWNER, bytes::Bytes::new(), &options()).unwrap();
    let mut disk = Disk::open(&dir, OWNER, options()).unwrap().0;
    disk.promise(ballot(1)).unwrap();
    assert_eq!(disk.space(), Space::Enough);
    let acked = fill(&mut disk);
    assert!(acked > 50, "{acked} records fit in a megabyte");
    assert_eq!(disk.space(), Space::Low);
    // The promise and what was written before are not touched, and small work may go on.
    disk.promise(ballot(2)).unwrap();
    let again = put(&mut disk, acked + 1, &accepted(acked + 1, 3000));
    assert!(matches!(again, Err(DiskError::Full { .. })), "{again:?}");
    drop(disk);
    let (mut disk, recovered) = Disk::open(&dir, OWNER, options()).unwrap();
    assert_eq!(slots(&recovered), (1..=acked).collect::<Vec<u64>>());
    // With more room it goes on.
    let size = c"size=4194304";
    mount_remount(small.path(), MountFlags::empty(), size).unwrap();
    put(&mut disk, 1, &accepted(acked + 1, 3000)).unwrap();
    assert_eq!(disk.space(), Space::Enough);
}

/// The emergency segment is for what was begun: the disk is low before it is used, and a whole segment
/// of work goes on; with room, all is as before, without a restart.
#[test]
fn a_whole_segment_is_left_when_the_disk_is_low() {
    let Some(small) = SmallDisk::new(2 << 20) else {
        println!("MOUNTING IS NOT PERMITTED HERE: the emergency segment is not tested");
        return;
    };
    let dir = small.path().join("data");
    Disk::format(&dir, OWNER, bytes::Bytes::new(), &options()).unwrap();
    let mut disk = Disk::open(&dir, OWNER, options()).unwrap().0;
    disk.promise(ballot(1)).unwrap();
    let mut slot = 0;
    while disk.space() == Space::Enough {
        slot += 1;
        put(&mut disk, slot, &accepted(slot, 3000)).unwrap();
    }
    let low = slot;
    let full = loop {
        slot += 1;
        match put(&mut disk, slot, &accepted(slot, 3000)) {
            Ok(()) => assert_eq!(disk.space(), Space::Low, "it stays low at {slot}"),
            Err(error) => break error,
        }
    };
    assert!(full.is_full(), "{full}");
    // A record takes a group of 4096 bytes here.
    let segment = 256 << 10;
    assert!((slot - low) * 4096 >= segment, "{low} to {slot}");
    mount_remount(small.path(), MountFlags::empty(), c"size=8388608").unwrap();
    put(&mut disk, slot, &accepted(slot, 3000)).unwrap();
    let asked = Instant::now();
    while disk.space() == Space::Low {
        assert!(
            asked.elapsed() < Duration::from_secs(20),
            "it is low for ever"
        );
        std::thread::yield_now();
    }
    for slot in slot + 1..slot + 100 {
        put(&mut disk, slot, &accepted(slot, 3000)).unwrap();
    }
    assert_eq!(disk.space(), Space::Enough);
}

/// A snapshot for which there is no room is given up, and the log goes on.
#[test]
fn a_snapshot_without_room_is_given_up_and_nothing_else() {
    let Some(small) = SmallDisk::new(2 << 20) else {
        println!("MOUNTING IS NOT PERMITTED HERE: a snapshot without room is not tested");
        return;
    };
    let dir = small.path().join("data");
    Disk::format(&dir, OWNER, bytes::Bytes::new(), &options()).unwrap();
    let opening = Opening::begin(&dir, OWNER, options()).unwrap();
    let (mut disk, mut keeper, _) = opening.finish().unwrap();
    disk.promise(ballot(1)).unwrap();
    let write = |keeper: &mut Keeper, chunks: u32| {
        for index in 0..chunks {
            keeper.chunk(Slot::new(5), index, &[7; 256 << 10]).unwrap();
        }
        let hash = 9;
        let slot = Slot::new(5);
        keeper.done(SnapshotId { slot, hash }, chunks).unwrap()
    };
    let given_up = write(&mut keeper, 20);
    assert!(
        matches!(&given_up, Kept::GivenUp(why) if why.contains("tmp/5.snap")),
        "{given_up:?}"
    );
    assert_eq!(fs::read_dir(dir.join("tmp")).unwrap().count(), 0);
    put(&mut disk, 1, &accepted(1, 3000)).unwrap();
    assert!(
        matches!(write(&mut keeper, 1), Kept::Durable),
        "a small one has room"
    );
}

/// The other way to run out: a limit on the size of files, which needs no rights.
#[test]
fn a_limit_on_file_sizes_is_an_answer_too() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    // 2 MiB is room for the first two segments and not for the third.
    let script = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$1\" acks";
    let ran = Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_disk-bench")])
        .arg(&data)
        .output()
        .unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(said.contains("no room for 4194304 bytes at"), "{said}");
    assert!(said.contains("00000003.seg"), "{said}");
    let acked = String::from_utf8(ran.stdout).unwrap();
    assert!(
        acked.lines().count() > 100,
        "{} lines",
        acked.lines().count()
    );
    assert!(fs::exists(data.join("superblock")).unwrap());
    assert!(!fs::exists(data.join("wal/00000003.new")).unwrap());
}
