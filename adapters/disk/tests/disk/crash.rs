//! Crash images made from what the real adapter stored and synced, and a process that is killed.

use crate::common::{OWNER, accepted, ballot, format, open, slots, tiny};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use tempfile::TempDir;
use tenure_core::ids::{ClusterId, NodeId, RecordNo, Seed};
use tenure_core::rng::Rng;
use tenure_disk::{Disk, Options, Owner, Trace};

const ATOM: usize = 512;

/// The log's files after some of what was stored reached the disk.
struct Files(BTreeMap<PathBuf, Vec<u8>>);

impl Files {
    fn store(&mut self, path: &Path, offset: u64, bytes: &[u8], kept: impl Fn(usize) -> bool) {
        let file = self.0.get_mut(path).unwrap();
        for (index, atom) in bytes.chunks(ATOM).enumerate() {
            if kept(index) {
                let at = offset as usize + index * ATOM;
                file[at..at + atom.len()].copy_from_slice(atom);
            }
        }
    }

    /// A data directory with these files and the superblock of another.
    fn directory(&self, like: &Path) -> TempDir {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("wal")).unwrap();
        fs::copy(like.join("superblock"), dir.path().join("superblock")).unwrap();
        for (path, bytes) in &self.0 {
            let name = path.strip_prefix(like).unwrap();
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        dir
    }
}

/// Runs a disk, and returns what it stored and synced.
fn recorded(dir: &Path) -> Vec<Trace> {
    format(dir);
    let (tell, told) = sync_channel(10_000);
    let options = Options {
        trace: Some(tell),
        ..tiny()
    };
    let mut disk = Disk::open(dir, OWNER, options).unwrap().0;
    disk.promise(ballot(1), None).unwrap();
    let mut number = 0;
    for slot in 1..=25_u64 {
        number += 1;
        let len = (slot * 1237 % 6000) as usize;
        disk.append(RecordNo::new(number), &accepted(slot, len))
            .unwrap();
        if slot % 3 != 0 {
            disk.seal().unwrap().sync().unwrap();
        }
        if slot % 5 == 0 {
            disk.seal().unwrap().sync().unwrap();
        }
    }
    drop(disk);
    told.into_iter().collect()
}

#[test]
fn every_crash_image_gives_the_synced_groups_and_at_most_the_next() {
    let dir = TempDir::new().unwrap();
    let trace = recorded(dir.path());
    let mut rng = Rng::new(Seed::new(5));
    let mut files = Files(BTreeMap::from([(
        dir.path().join("wal/00000001.seg"),
        vec![0; 32 << 10],
    )]));
    let mut durable: Vec<u64> = Vec::new();
    let (mut images, mut kept_whole) = (0, 0);
    for (index, event) in trace.iter().enumerate() {
        match event {
            Trace::Renamed { to, .. } => {
                files.0.insert(to.clone(), vec![0; 64 << 10]);
            }
            // Also of the superblock, which is copied as it is at the end; `images.rs` has the rest.
            Trace::Created { .. }
            | Trace::Written { .. }
            | Trace::FileSynced { .. }
            | Trace::Removed { .. }
            | Trace::FolderSynced { .. } => {}
            Trace::Stored {
                path,
                offset,
                bytes,
            } => {
                // Segments are made meanwhile, on another thread.
                let next = trace[index + 1..].iter().find(|event| match event {
                    Trace::Stored { .. } => true,
                    Trace::FileSynced { path: synced } => synced == path,
                    _ => false,
                });
                let synced = Trace::FileSynced { path: path.clone() };
                assert_eq!(next, Some(&synced), "a group is synced before the next");
                let atoms = bytes.len() / ATOM;
                let whole = recovered_with(&files, dir.path(), (path, *offset, bytes), |_| true);
                assert!(whole.starts_with(&durable));
                for image in 0..6 {
                    let mask = rng.next();
                    let cut = rng.below(atoms as u64) as usize;
                    let kept = |atom: usize| match image {
                        0 | 1 => atom != cut,
                        2 => atom < cut,
                        _ => mask >> (atom % 64) & 1 == 1,
                    };
                    let found = recovered_with(&files, dir.path(), (path, *offset, bytes), kept);
                    assert!(
                        found == durable || found == whole,
                        "{found:?} after {durable:?}"
                    );
                    kept_whole += usize::from(found == whole && whole != durable);
                    images += 1;
                }
                files.store(path, *offset, bytes, |_| true);
                durable = whole;
            }
        }
    }
    assert_eq!(durable, (1..=25).collect::<Vec<u64>>());
    assert!(
        images > 100 && kept_whole < images / 2,
        "{images} images, {kept_whole} whole"
    );
}

/// The slots of a log whose last group was stored in part.
fn recovered_with(
    files: &Files,
    like: &Path,
    (path, offset, bytes): (&Path, u64, &[u8]),
    kept: impl Fn(usize) -> bool,
) -> Vec<u64> {
    let mut torn = Files(files.0.clone());
    torn.store(path, offset, bytes, kept);
    let dir = torn.directory(like);
    let first = slots(&open(dir.path()).unwrap().1);
    // What recovery did to the end of the log is itself recovered.
    assert_eq!(slots(&open(dir.path()).unwrap().1), first);
    first
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let dir = TempDir::new().unwrap();
    let mut acked = 0;
    for round in 0..5 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_disk-bench"))
            .arg(dir.path())
            .arg("acks")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed at a different place each time, in the middle of its work.
        for line in lines.take(40 + round * 17) {
            let slot: u64 = line.unwrap().parse().unwrap();
            assert!(slot > acked, "the log went on after {acked}, not at {slot}");
            acked = slot;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let owner = Owner {
        cluster: ClusterId(*b"disk-bench......"),
        node: NodeId::new(1),
    };
    let (_, recovered) = Disk::open(dir.path(), owner, Options::default()).unwrap();
    let found = slots(&recovered);
    assert!(
        found.len() as u64 >= acked,
        "{} of {acked} are there",
        found.len()
    );
    assert_eq!(found, (1..=found.len() as u64).collect::<Vec<u64>>());
}
