//! Crash images of everything that a data directory goes through: any subset of the atoms that were
//! not synced, and any subset of the names that were not, at each step.

use crate::common::{OWNER, accepted, ballot, format, put, slots, tiny};
use crate::snapshots::{id, keep, open_all, truncate};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use tempfile::TempDir;
use tenure_core::ids::{Seed, Slot};
use tenure_core::rng::Rng;
use tenure_disk::{Kept, Opening, Options, Trace};

const ATOM: usize = 512;

/// What was done, and what was acknowledged.
enum Step {
    Did(Trace),
    Slot(u64),
    Snapshot(u64),
    Promise(u64),
}

#[derive(Clone, Default)]
struct Bytes {
    cache: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    /// Atoms that were ever written: the others are holes, or beyond the end.
    written: BTreeSet<usize>,
}

/// A change of names in a folder that is not synced.
#[derive(Clone)]
enum Naming {
    Add(PathBuf, usize),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

impl Naming {
    fn folders(&self) -> Vec<&Path> {
        match self {
            Self::Add(path, _) | Self::Remove(path) => vec![path.parent().unwrap()],
            // What moves is there for good when the folder that gets the name is.
            Self::Rename(_, to, _) => vec![to.parent().unwrap()],
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Add(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
        }
    }
}

#[derive(Default)]
struct World {
    files: Vec<Bytes>,
    names: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    pending: Vec<Naming>,
}

impl World {
    fn of(dir: &Path) -> Self {
        let mut world = Self::default();
        for name in ["superblock", "wal/00000001.seg"] {
            let bytes = fs::read(dir.join(name)).unwrap();
            let path = dir.join(name);
            world.durable.insert(path.clone(), world.files.len());
            world.names.insert(path, world.files.len());
            world.files.push(Bytes {
                written: (0..bytes.len() / ATOM).collect(),
                cache: bytes.clone(),
                durable: bytes,
                dirty: BTreeSet::new(),
            });
        }
        world
    }

    fn write(&mut self, path: &Path, offset: u64, bytes: &[u8]) {
        let file = &mut self.files[self.names[path]];
        let (from, to) = (offset as usize, offset as usize + bytes.len());
        if file.cache.len() < to {
            file.cache.resize(to, 0);
        }
        file.cache[from..to].copy_from_slice(bytes);
        file.dirty.extend(from / ATOM..to.div_ceil(ATOM));
        file.written.extend(from / ATOM..to.div_ceil(ATOM));
    }

    fn sync(&mut self, path: &Path) {
        let file = &mut self.files[self.names[path]];
        file.durable.clone_from(&file.cache);
        file.dirty.clear();
    }

    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.pending.push(naming);
    }

    fn did(&mut self, trace: &Trace) {
        match trace {
            Trace::Stored {
                path,
                offset,
                bytes,
            } => {
                self.may_be_stored_into(path);
                self.write(path, *offset, bytes);
            }
            Trace::Created { path } => {
                self.files.push(Bytes::default());
                self.name(Naming::Add(path.clone(), self.files.len() - 1));
            }
            Trace::Written {
                path,
                offset,
                bytes,
            } => self.write(path, *offset, bytes),
            Trace::FileSynced { path } => self.sync(path),
            Trace::Renamed { from, to } => {
                let file = self.names[from];
                self.name(Naming::Rename(from.clone(), to.clone(), file));
            }
            Trace::Removed { path } => self.name(Naming::Remove(path.clone())),
            Trace::FolderSynced { path } => {
                let folder: &Path = path;
                let Self {
                    pending, durable, ..
                } = self;
                pending.retain(|naming| {
                    let here = naming.folders().contains(&folder);
                    if here {
                        naming.apply(durable);
                    }
                    !here
                });
            }
        }
    }

    /// A store meets no hole, for which there may be no room, and goes into no file whose name a power
    /// cut takes away: all of it was written and synced before, and its folder too.
    fn may_be_stored_into(&self, path: &Path) {
        let file = self
            .durable
            .get(path)
            .expect("the name of a segment is synced");
        let file = &self.files[*file];
        let is_full = file
            .written
            .iter()
            .copied()
            .eq(0..file.durable.len() / ATOM);
        assert!(
            is_full && file.durable.len() == file.cache.len(),
            "every byte of a segment is written and synced before it is used"
        );
    }

    /// A data directory as a power cut may leave it.
    fn crash(&self, dir: &Path, rng: &mut Rng, how: u64) -> TempDir {
        let image = fast_folder();
        for folder in ["wal", "snap", "tmp"] {
            fs::create_dir(image.path().join(folder)).unwrap();
        }
        let mut keep = || match how {
            0 => false,
            1 => true,
            _ => rng.below(2) == 0,
        };
        let mut names = self.durable.clone();
        for naming in self.pending.iter().filter(|_| keep()) {
            naming.apply(&mut names);
        }
        for (path, file) in names {
            let file = &self.files[file];
            let mut bytes = file.durable.clone();
            for atom in &file.dirty {
                let from = atom * ATOM;
                let to = (from + ATOM).min(file.cache.len());
                if keep() {
                    if bytes.len() < to {
                        bytes.resize(to, 0);
                    }
                    bytes[from..to].copy_from_slice(&file.cache[from..to]);
                }
            }
            let name = path.strip_prefix(dir).unwrap();
            fs::write(image.path().join(name), bytes).unwrap();
        }
        image
    }
}

/// Runs a disk through two truncations, and tells what it did and acknowledged.
fn recorded(dir: &Path) -> Vec<Step> {
    let (tell, told) = sync_channel(100_000);
    let mut steps = Vec::new();
    let options = Options {
        trace: Some(tell),
        ..tiny()
    };
    let opening = Opening::begin(dir, OWNER, options).unwrap();
    let (mut disk, mut keeper, _) = opening.finish().unwrap();
    let mut acked = |step: Step, told: &Receiver<Trace>| {
        steps.extend(told.try_iter().map(Step::Did));
        steps.push(step);
    };
    disk.promise(ballot(1), None).unwrap();
    acked(Step::Promise(1), &told);
    let mut before = 0;
    for slot in 1..=45_u64 {
        put(&mut disk, slot, &accepted(slot, 2500)).unwrap();
        acked(Step::Slot(slot), &told);
        if slot % 11 == 0 {
            let at = slot - 2;
            assert!(matches!(keep(&mut keeper, at), Kept::Durable));
            acked(Step::Snapshot(at), &told);
            if before > 0 {
                truncate(&mut disk, &mut keeper, before, at);
            }
            before = at;
            disk.promise(ballot(slot), None).unwrap();
            acked(Step::Promise(slot), &told);
        }
    }
    assert!(disk.superblock().unwrap().first_segment.get() > 2);
    drop((disk, keeper));
    steps.extend(told.try_iter().map(Step::Did));
    steps
}

/// In memory, where there is such a place: an image is made to be read, and is not synced.
fn fast_folder() -> TempDir {
    TempDir::new_in("/dev/shm").unwrap_or_else(|_| TempDir::new().unwrap())
}

/// What was acknowledged so far.
#[derive(Clone, Copy, Debug, Default)]
struct Acked {
    slot: u64,
    snapshot: u64,
    promise: u64,
}

fn check(image: &Path, acked: Acked) -> Result<bool, String> {
    let (disk, _, recovered, whole) = open_all(image).map_err(|error| error.to_string())?;
    let floor = whole.map_or(0, |id| id.slot.get());
    if floor < acked.snapshot {
        return Err(format!("the newest whole snapshot is {floor}"));
    }
    if recovered.decided != Slot::new(floor) || recovered.promised.round.get() < acked.promise {
        return Err(format!("{recovered:?}"));
    }
    let found = slots(&recovered);
    let expected = floor + 1..=acked.slot.max(floor);
    if !expected.clone().all(|slot| found.contains(&slot)) {
        return Err(format!("{found:?} and not {expected:?}"));
    }
    Ok(disk.superblock().unwrap().first_segment.get() > 1)
}

#[test]
fn no_crash_image_forgets_what_was_acknowledged() {
    let dir = TempDir::new().unwrap();
    format(dir.path());
    let mut world = World::of(dir.path());
    let steps = recorded(dir.path());
    let mut rng = Rng::new(Seed::new(31));
    let mut acked = Acked::default();
    let (mut images, mut late) = (0, 0);
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Did(trace) => world.did(trace),
            Step::Slot(slot) => acked.slot = *slot,
            Step::Snapshot(slot) => acked.snapshot = *slot,
            Step::Promise(round) => acked.promise = *round,
        }
        let about_files = match step {
            Step::Did(Trace::Stored { .. } | Trace::FileSynced { .. }) => false,
            // The zeros of the next segment.
            Step::Did(Trace::Written { path, .. }) => {
                path.extension().is_none_or(|name| name != "new")
            }
            _ => true,
        };
        let tries = if about_files { 4 } else { 1 };
        for how in 0..tries {
            let how = if about_files { how } else { 2 };
            let image = world.crash(dir.path(), &mut rng, how);
            match check(image.path(), acked) {
                Ok(begins_late) => late += usize::from(begins_late),
                Err(why) => panic!("step {number}, image {how}, after {acked:?}: {why}"),
            }
            images += 1;
        }
    }
    assert_eq!(acked.slot, 45);
    assert_eq!(acked.snapshot, id(42).slot.get());
    assert!(
        images > 400 && late > 100,
        "{images} images, {late} begin late"
    );
}
