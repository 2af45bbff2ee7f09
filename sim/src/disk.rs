//! A disk as a power cut leaves it: files of sectors, each with what is stored for good and what
//! is only in a cache. A crash keeps or loses each unsynced sector by itself, which is what tears a
//! group; one sector of 512 bytes is never half written (rule 12).

mod folder;

pub use folder::{Folder, FolderSync};

use crate::marks::{Mark, Marks};
use crate::rand::Rand;
use std::collections::{BTreeMap, BTreeSet};
use tenure_core::wal::ATOM_BYTES;

/// The superblock's file. Segments have their own numbers, from 1.
pub const SUPERBLOCK: u64 = 0;
/// Files of snapshots have numbers from here on.
const UNNAMED: u64 = 1 << 40;

/// One file.
#[derive(Clone, Debug, Default)]
struct File {
    cache: Vec<u8>,
    /// As far as anything was stored; behind that there are zeros. Most of a segment that is made ahead is
    /// never written, and zeros cost time.
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    /// It has no name any more, and a crash may bring that back.
    removed: bool,
}

impl File {
    fn sector(&self, sector: usize) -> std::ops::Range<usize> {
        let from = sector * ATOM_BYTES;
        from..(from + ATOM_BYTES).min(self.cache.len())
    }

    fn store(&mut self, range: std::ops::Range<usize>, bytes: &[u8]) {
        if self.durable.len() < range.end {
            self.durable.resize(range.end, 0);
        }
        self.durable[range].copy_from_slice(bytes);
    }
}

/// What a sync that is under way will have stored: the sectors as they were when it began.
#[derive(Clone, Debug)]
pub struct Sync {
    file: u64,
    sectors: Vec<(usize, Vec<u8>)>,
}

/// How a crash treats what was not synced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// All of it is lost.
    Lost,
    /// All of it is there.
    Kept,
    /// Each sector by itself.
    Mixed,
    /// All of it is there to be read, and is not stored: the process died alone. The power may go later (D3, D4).
    Cached,
}

impl Fate {
    /// Whether one change that was not synced is there after a crash.
    fn keeps(self, rand: &mut Rand) -> bool {
        match self {
            Self::Lost => false,
            Self::Kept | Self::Cached => true,
            Self::Mixed => rand.chance(500_000),
        }
    }
}

/// One server's disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: BTreeMap<u64, File>,
    unnamed: u64,
    /// Bytes that its files may take together; none if nobody counts them.
    capacity: Option<u64>,
    /// The names of snapshots.
    pub snapshots: Folder,
}

impl Disk {
    /// Makes a file of zeros, stored for good with its name; nothing if it is there, which it says.
    pub fn create(&mut self, file: u64, len: usize) -> bool {
        let is_new = !self.files.contains_key(&file);
        if is_new {
            let made = File {
                cache: vec![0; len],
                durable: Vec::new(),
                dirty: BTreeSet::new(),
                removed: false,
            };
            self.files.insert(file, made);
        }
        is_new
    }

    /// Makes an empty file without a name; gives its number. A crash before it has one loses it.
    pub fn create_unnamed(&mut self) -> u64 {
        self.unnamed += 1;
        let file = UNNAMED + self.unnamed;
        self.create(file, 0);
        file
    }

    /// Stores into the cache, behind what is there.
    pub fn append(&mut self, file: u64, bytes: &[u8]) {
        let Some(held) = self.files.get_mut(&file) else {
            panic!("a host writes only to files that it made");
        };
        let offset = held.cache.len();
        held.cache.resize(offset + bytes.len(), 0);
        self.write(file, offset, bytes);
    }

    /// Takes a file's name away. Until the next crash nobody sees it; then it may be there again.
    pub fn remove(&mut self, file: u64) {
        if let Some(file) = self.files.get_mut(&file) {
            file.removed = true;
        }
    }

    /// Whether its files may grow by so many bytes (D6: a full disk is an answer to growth).
    pub fn has_room(&self, bytes: u64) -> bool {
        let full = |capacity| self.used().saturating_add(bytes) > capacity;
        !self.capacity.is_some_and(full)
    }

    /// From now on its files may grow by so many bytes and no more; without a bound if none is given.
    pub fn bound(&mut self, growth: Option<u64>) {
        self.capacity = growth.map(|growth| self.used() + growth);
    }

    fn used(&self) -> u64 {
        let there = self.files.values().filter(|file| !file.removed);
        there.map(|file| file.cache.len() as u64).sum()
    }

    /// The numbers of all files.
    pub fn files(&self) -> impl Iterator<Item = u64> + '_ {
        let there = self.files.iter().filter(|(_, file)| !file.removed);
        there.map(|(number, _)| *number)
    }

    /// Whether the log and the superblock are stored as far as they were written.
    pub fn has_log_stored(&self) -> bool {
        let mut log = self.files.range(..UNNAMED);
        log.all(|(_, file)| file.removed || file.dirty.is_empty())
    }

    /// What a process reads.
    pub fn read(&self, file: u64) -> &[u8] {
        let held = self.files.get(&file).filter(|file| !file.removed);
        held.map_or(&[], |file| &file.cache)
    }

    /// What is stored for good; what it leaves out of its file is zeros.
    pub fn image(&self, file: u64) -> &[u8] {
        self.files.get(&file).map_or(&[], |file| &file.durable)
    }

    /// Whether `bytes` are stored for good.
    pub fn holds(&self, file: u64, offset: usize, bytes: &[u8]) -> bool {
        let image = self.image(file);
        let end = (offset + bytes.len()).min(image.len());
        let stored = image.get(offset..end).unwrap_or(&[]);
        let (head, zeros) = bytes.split_at(stored.len());
        head == stored && zeros.iter().all(|byte| *byte == 0)
    }

    /// Stores into the cache.
    pub fn write(&mut self, file: u64, offset: usize, bytes: &[u8]) {
        let Some(file) = self.files.get_mut(&file) else {
            panic!("a host writes only to files that it made");
        };
        let end = offset + bytes.len();
        assert!(
            end <= file.cache.len(),
            "a host writes only inside of files"
        );
        file.cache[offset..end].copy_from_slice(bytes);
        file.dirty
            .extend(offset / ATOM_BYTES..end.div_ceil(ATOM_BYTES));
    }

    /// Begins to store for good what is in the cache of the first `bytes_max` bytes from `from`.
    pub fn begin_sync(&self, file: u64, from: usize, bytes_max: usize) -> Sync {
        let Some(held) = self.files.get(&file) else {
            panic!("a host syncs only files that it made");
        };
        let last = from.saturating_add(bytes_max).div_ceil(ATOM_BYTES);
        let copy = |sector: &usize| (*sector, held.cache[held.sector(*sector)].to_vec());
        let sectors = held
            .dirty
            .range(from / ATOM_BYTES..last)
            .map(copy)
            .collect();
        Sync { file, sectors }
    }

    /// It is stored.
    pub fn end_sync(&mut self, sync: &Sync) {
        let Some(file) = self.files.get_mut(&sync.file) else {
            return;
        };
        for (sector, bytes) in &sync.sectors {
            let range = file.sector(*sector);
            if file.cache[range.clone()] == bytes[..] {
                file.dirty.remove(sector);
            }
            file.store(range, bytes);
        }
    }

    /// The process dies, or the power goes. What was not synced has `fate`.
    pub fn crash(&mut self, fate: Fate, rand: &mut Rand, marks: &mut Marks) {
        if fate == Fate::Cached {
            let is_dirty = self.files.values().any(|file| !file.dirty.is_empty());
            marks.sometimes(is_dirty, Mark::OnlyCached);
            let folder = &self.snapshots;
            return self
                .files
                .retain(|number, _| *number < UNNAMED || folder.knows(*number));
        }
        self.snapshots.crash(fate, rand, marks);
        let folder = &self.snapshots;
        self.files.retain(|number, file| {
            let was_removed = core::mem::take(&mut file.removed);
            if *number >= UNNAMED {
                return folder.knows(*number);
            }
            let gone = was_removed && fate.keeps(rand);
            marks.sometimes(was_removed && !gone, Mark::Undeleted);
            !gone
        });
        for file in self.files.values_mut() {
            let (mut kept, mut lost) = (0, 0);
            file.durable.resize(file.cache.len(), 0);
            for sector in std::mem::take(&mut file.dirty) {
                let keep = fate.keeps(rand);
                let range = file.sector(sector);
                if keep {
                    kept += 1;
                    let File { cache, durable, .. } = file;
                    durable[range.clone()].copy_from_slice(&cache[range]);
                } else {
                    lost += 1;
                }
            }
            marks.sometimes(kept > 0, Mark::SectorKept);
            marks.sometimes(lost > 0, Mark::SectorLost);
            marks.sometimes(kept > 0 && lost > 0, Mark::Torn);
            file.cache.clone_from(&file.durable);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Disk {
        let mut disk = Disk::default();
        disk.create(1, 4 * ATOM_BYTES);
        disk.write(1, 0, &[7; 2 * ATOM_BYTES]);
        disk
    }

    #[test]
    fn a_crash_loses_what_was_not_synced() {
        let mut disk = written();
        let sync = disk.begin_sync(1, 0, ATOM_BYTES);
        disk.end_sync(&sync);
        disk.crash(Fate::Lost, &mut Rand::stream(1, "t"), &mut Marks::default());
        assert!(disk.holds(1, 0, &[7; ATOM_BYTES]));
        assert!(disk.holds(1, ATOM_BYTES, &[0; ATOM_BYTES]));
    }

    #[test]
    fn a_name_lives_by_itself_until_the_folder_is_synced() {
        let id = tenure_core::ids::SnapshotId::default();
        let (mut rand, mut marks) = (Rand::stream(1, "t"), Marks::default());
        let mut disk = Disk::default();
        let file = disk.create_unnamed();
        disk.append(file, &[7; 3]);
        disk.snapshots.name(id, file);
        disk.crash(Fate::Lost, &mut rand, &mut marks);
        assert!(disk.snapshots.names().is_empty() && disk.read(file).is_empty());

        let file = disk.create_unnamed();
        disk.append(file, &[7; 3]);
        let sync = disk.begin_sync(file, 0, usize::MAX);
        disk.end_sync(&sync);
        disk.snapshots.name(id, file);
        let sync = disk.snapshots.begin_sync();
        disk.snapshots.end_sync(&sync);
        disk.crash(Fate::Lost, &mut rand, &mut marks);
        assert_eq!(disk.snapshots.image(id), Some(file));
        assert_eq!(disk.read(file), [7; 3]);
    }

    #[test]
    fn what_was_removed_may_be_there_after_a_crash() {
        let mut disk = written();
        disk.remove(1);
        assert!(disk.read(1).is_empty());
        disk.crash(Fate::Lost, &mut Rand::stream(1, "t"), &mut Marks::default());
        assert!(!disk.read(1).is_empty());
    }

    #[test]
    fn a_sync_stores_what_was_there_when_it_began() {
        let mut disk = written();
        let sync = disk.begin_sync(1, 0, usize::MAX);
        disk.write(1, 0, &[9; ATOM_BYTES]);
        disk.end_sync(&sync);
        assert!(disk.holds(1, 0, &[7; 2 * ATOM_BYTES]));
        disk.crash(Fate::Kept, &mut Rand::stream(1, "t"), &mut Marks::default());
        assert!(disk.holds(1, 0, &[9; ATOM_BYTES]));
    }
}
