//! A full disk is an answer, never a signal.

use crate::common::{OWNER, accepted, ballot, put, slots, tiny};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tenure_core::wal::Sizes;
use tenure_disk::{Disk, DiskError, Options, Space};

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

/// The other way to run out: a limit on the size of files, which needs no rights.
#[test]
fn a_limit_on_file_sizes_is_an_answer_too() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    // 2 MiB is room for the first segment and not for the second.
    let script = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$1\" acks";
    let ran = Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_disk-bench")])
        .arg(&data)
        .output()
        .unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(said.contains("no room for 4194304 bytes at"), "{said}");
    assert!(said.contains("00000002.seg"), "{said}");
    let acked = String::from_utf8(ran.stdout).unwrap();
    assert!(
        acked.lines().count() > 100,
        "{} lines",
        acked.lines().count()
    );
    assert!(fs::exists(data.join("superblock")).unwrap());
    assert!(!fs::exists(data.join("wal/00000002.new")).unwrap());
}
