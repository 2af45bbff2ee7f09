//! A disk as a power cut leaves it: files of sectors, each with what is stored for good and what
//! is only in a cache. A crash keeps or loses each unsynced sector by itself, which is what tears a
//! group; one sector of 512 bytes is never half written (rule 12).

use crate::marks::{Mark, Marks};
use crate::rand::Rand;
use std::collections::{BTreeMap, BTreeSet};
use tenure_core::wal::ATOM_BYTES;

/// The superblock's file. Segments have their own numbers, from 1.
pub const SUPERBLOCK: u64 = 0;

/// One file.
#[derive(Clone, Debug, Default)]
struct File {
    cache: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

impl File {
    fn sector(&self, sector: usize) -> std::ops::Range<usize> {
        let from = sector * ATOM_BYTES;
        from..(from + ATOM_BYTES).min(self.cache.len())
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
}

/// One server's disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: BTreeMap<u64, File>,
}

impl Disk {
    /// Makes a file of zeros, stored for good with its name; nothing if it is there.
    pub fn create(&mut self, file: u64, len: usize) {
        self.files.entry(file).or_insert_with(|| File {
            cache: vec![0; len],
            durable: vec![0; len],
            dirty: BTreeSet::new(),
        });
    }

    /// The numbers of all files.
    pub fn files(&self) -> impl Iterator<Item = u64> + '_ {
        self.files.keys().copied()
    }

    /// What a process reads.
    pub fn read(&self, file: u64) -> &[u8] {
        self.files.get(&file).map_or(&[], |file| &file.cache)
    }

    /// What is stored for good.
    pub fn image(&self, file: u64) -> &[u8] {
        self.files.get(&file).map_or(&[], |file| &file.durable)
    }

    /// Whether `bytes` are stored for good.
    pub fn holds(&self, file: u64, offset: usize, bytes: &[u8]) -> bool {
        self.image(file).get(offset..offset + bytes.len()) == Some(bytes)
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
            file.durable[range].copy_from_slice(bytes);
        }
    }

    /// The power goes. What was not synced has `fate`.
    pub fn crash(&mut self, fate: Fate, rand: &mut Rand, marks: &mut Marks) {
        for file in self.files.values_mut() {
            let (mut kept, mut lost) = (0, 0);
            for sector in std::mem::take(&mut file.dirty) {
                let keep = match fate {
                    Fate::Lost => false,
                    Fate::Kept => true,
                    Fate::Mixed => rand.chance(500_000),
                };
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
