//! A full disk is an answer, never a signal.

use crate::common::{INCARNATION, OWNER, accepted, ballot, put, slots, tiny};
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

/// Says that small disks can't be had here, so that the tests that need one are left out.
const NONE_TO_BE_HAD: &str = "TENURE_NO_MOUNT";
/// Says that this process is in a namespace of its own already.
const INSIDE: &str = "TENURE_INSIDE_NAMESPACE";

/// Runs `body` with a small disk. Who may not mount does so in a namespace of its own, where the
/// test with this name runs again.
fn on_small_disk(name: &str, bytes: u64, body: impl FnOnce(&SmallDisk)) {
    if std::env::var_os(NONE_TO_BE_HAD).is_some() {
        return println!("{NONE_TO_BE_HAD} is set: {name} is not tested");
    }
    match SmallDisk::mount(bytes) {
        Ok(small) => body(&small),
        Err(error) if std::env::var_os(INSIDE).is_none() => again_inside(name, error),
        Err(error) => panic!("nothing can be mounted, not even in a namespace: {error}"),
    }
}

fn again_inside(name: &str, error: rustix::io::Errno) {
    let ran = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "yes")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && said.contains("1 passed"),
        "a small disk is needed: nothing can be mounted ({error}), and in a namespace of its own the \
         test did not pass. Where small disks can't be had at all, set {NONE_TO_BE_HAD}.\n{said}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

impl SmallDisk {
    fn mount(bytes: u64) -> rustix::io::Result<Self> {
        let dir = TempDir::new().unwrap();
        let size = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        let flags = MountFlags::empty();
        mount("tmpfs", dir.path(), "tmpfs", flags, Some(size.as_c_str()))?;
        Ok(Self { dir })
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    fn grow(&self, bytes: u64) {
        let size = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        mount_remount(self.path(), MountFlags::empty(), size.as_c_str()).unwrap();
    }

    fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(self.path()).unwrap();
        found.f_bavail * found.f_frsize
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

/// Asks the disk until `wanted` says yes: it looks for room again and again by itself.
fn until(disk: &mut Disk, what: &str, mut wanted: impl FnMut(&mut Disk) -> bool) {
    let asked = Instant::now();
    while !wanted(disk) {
        let waited = asked.elapsed();
        assert!(waited < Duration::from_secs(30), "{what}: it never comes");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn fresh(small: &SmallDisk) -> (Disk, Keeper) {
    let dir = small.data();
    Disk::format(
        &dir,
        OWNER.identity(INCARNATION),
        bytes::Bytes::new(),
        &options(),
    )
    .unwrap();
    let opening = Opening::begin(&dir, OWNER, options()).unwrap();
    let (mut disk, keeper, _) = opening.finish().unwrap();
    disk.promise(ballot(1), None).unwrap();
    (disk, keeper)
}

/// A snapshot of so many chunks of 256 KiB.
fn snapshot(keeper: &mut Keeper, slot: u64, chunks: u32) -> Kept {
    let slot = Slot::new(slot);
    for index in 0..chunks {
        keeper.chunk(slot, index, &[7; 256 << 10]).unwrap();
    }
    keeper
        .done(SnapshotId { slot, hash: 9 }, chunks, &[])
        .unwrap()
}

#[test]
fn a_full_disk_is_said_before_anything_is_appended() {
    let name = "full::a_full_disk_is_said_before_anything_is_appended";
    on_small_disk(name, 1 << 20, |small| {
        let (mut disk, _) = fresh(small);
        assert_eq!(disk.space().unwrap(), Space::Enough);
        let acked = fill(&mut disk);
        assert!(acked > 50, "{acked} records fit in a megabyte");
        assert_eq!(disk.space().unwrap(), Space::Low);
        // The promise and what was written before are not touched.
        disk.promise(ballot(2), None).unwrap();
        let again = put(&mut disk, acked + 1, &accepted(acked + 1, 3000));
        assert!(matches!(again, Err(DiskError::Full { .. })), "{again:?}");
        drop(disk);
        let (mut disk, recovered) = Disk::open(&small.data(), OWNER, options()).unwrap();
        assert_eq!(slots(&recovered), (1..=acked).collect::<Vec<u64>>());
        // With more room it goes on.
        small.grow(4 << 20);
        let record = accepted(acked + 1, 3000);
        until(&mut disk, "room", |disk| put(disk, 1, &record).is_ok());
        until(&mut disk, "room", |disk| {
            disk.space().unwrap() == Space::Enough
        });
    });
}

/// The emergency segment is for what was begun: the disk is low before it is used, and a whole segment
/// of work goes on; with room, all is as before, without a restart.
#[test]
fn a_whole_segment_is_left_when_the_disk_is_low() {
    let name = "full::a_whole_segment_is_left_when_the_disk_is_low";
    on_small_disk(name, 2 << 20, |small| {
        let (mut disk, _) = fresh(small);
        let mut slot = 0;
        while disk.space().unwrap() == Space::Enough {
            slot += 1;
            put(&mut disk, slot, &accepted(slot, 3000)).unwrap();
            // A disk's syncs leave the filler its time; this one's take none.
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let low = slot;
        let full = loop {
            slot += 1;
            match put(&mut disk, slot, &accepted(slot, 3000)) {
                Ok(()) => assert_eq!(disk.space().unwrap(), Space::Low, "it stays low at {slot}"),
                Err(error) => break error,
            }
        };
        assert!(full.is_full(), "{full}");
        // A record takes a group of 4096 bytes here.
        let segment = 256 << 10;
        assert!((slot - low) * 4096 >= segment, "{low} to {slot}");
        small.grow(8 << 20);
        let record = accepted(slot, 3000);
        until(&mut disk, "room", |disk| put(disk, slot, &record).is_ok());
        until(&mut disk, "room", |disk| {
            disk.space().unwrap() == Space::Enough
        });
        for slot in slot + 1..slot + 100 {
            put(&mut disk, slot, &accepted(slot, 3000)).unwrap();
        }
        assert_eq!(disk.space().unwrap(), Space::Enough);
    });
}

/// What is free and too little for a segment is left to snapshots, at every moment.
#[test]
fn a_low_disk_is_not_filled_with_zeros_in_vain() {
    let name = "full::a_low_disk_is_not_filled_with_zeros_in_vain";
    on_small_disk(name, 2 << 20, |small| {
        let (mut disk, _) = fresh(small);
        let acked = fill(&mut disk);
        let free = small.free();
        assert!(free > 0 && free < 256 << 10, "{free} bytes are left");
        let asked = Instant::now();
        // It looks for room once a second.
        while asked.elapsed() < Duration::from_millis(2500) {
            assert_eq!(disk.space().unwrap(), Space::Low);
            assert_eq!(small.free(), free, "after {acked} records");
            std::thread::park_timeout(Duration::from_micros(200));
        }
    });
}

/// A snapshot for which there is no room is given up, and the log goes on.
#[test]
fn a_snapshot_without_room_is_given_up_and_nothing_else() {
    let name = "full::a_snapshot_without_room_is_given_up_and_nothing_else";
    on_small_disk(name, 2 << 20, |small| {
        let (mut disk, mut keeper) = fresh(small);
        let given_up = snapshot(&mut keeper, 5, 20);
        assert!(
            matches!(&given_up, Kept::GivenUp(why) if why.contains("tmp/5.snap")),
            "{given_up:?}"
        );
        assert_eq!(fs::read_dir(small.data().join("tmp")).unwrap().count(), 0);
        put(&mut disk, 1, &accepted(1, 3000)).unwrap();
        assert!(
            matches!(snapshot(&mut keeper, 5, 1), Kept::Durable),
            "a small one has room"
        );
    });
}

/// Two that are kept and one that is written need room for three. With room for two the first try
/// takes the older one away, and the next has room.
#[test]
fn a_snapshot_without_room_takes_that_of_the_oldest_one() {
    let name = "full::a_snapshot_without_room_takes_that_of_the_oldest_one";
    on_small_disk(name, 4 << 20, |small| {
        let (_disk, mut keeper) = fresh(small);
        for slot in [5, 6] {
            assert!(matches!(snapshot(&mut keeper, slot, 5), Kept::Durable));
        }
        let names = || {
            let found = fs::read_dir(small.data().join("snap")).unwrap();
            let mut names: Vec<_> = found.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names.into_iter().map(|name| name.into_string().unwrap())
        };
        assert!(matches!(snapshot(&mut keeper, 7, 5), Kept::GivenUp(_)));
        let left: Vec<String> = names().collect();
        assert_eq!(left, ["6-0000000000000009.snap"], "the newest stays");
        assert!(matches!(snapshot(&mut keeper, 7, 5), Kept::Durable));
        assert_eq!(names().count(), 2);
    });
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
