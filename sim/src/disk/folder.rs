//! Names. A file that was given a name has it for good only once the folder is synced; until then a
//! crash keeps or loses each change of a name by itself, whatever became of the file's content (D14).

use super::Fate;
use crate::marks::{Mark, Marks};
use crate::rand::Rand;
use std::collections::{BTreeMap, BTreeSet};
use tenure_core::ids::SnapshotId;

/// The folder of snapshots: the number of the file behind each name.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    cache: BTreeMap<SnapshotId, u64>,
    durable: BTreeMap<SnapshotId, u64>,
}

/// What a sync that is under way will have stored.
#[derive(Clone, Debug)]
pub struct FolderSync(BTreeMap<SnapshotId, u64>);

impl Folder {
    /// Gives a file its name.
    pub fn name(&mut self, id: SnapshotId, file: u64) {
        self.cache.insert(id, file);
    }

    /// Takes a name away.
    pub fn unname(&mut self, id: SnapshotId) {
        self.cache.remove(&id);
    }

    /// What a process sees, oldest first.
    pub const fn names(&self) -> &BTreeMap<SnapshotId, u64> {
        &self.cache
    }

    /// The file that has this name for good.
    pub fn image(&self, id: SnapshotId) -> Option<u64> {
        self.durable.get(&id).copied()
    }

    /// Begins to store all names for good.
    pub fn begin_sync(&self) -> FolderSync {
        FolderSync(self.cache.clone())
    }

    /// They are stored.
    pub fn end_sync(&mut self, sync: &FolderSync) {
        self.durable.clone_from(&sync.0);
    }

    /// Whether a file has a name that a process or a crash may find.
    pub fn knows(&self, file: u64) -> bool {
        let mut files = self.cache.values().chain(self.durable.values());
        files.any(|known| *known == file)
    }

    /// The power goes: each name that is not synced is there or not.
    pub(super) fn crash(&mut self, fate: Fate, rand: &mut Rand, marks: &mut Marks) {
        let both = self.cache.keys().chain(self.durable.keys());
        let ids: BTreeSet<SnapshotId> = both.copied().collect();
        for id in ids {
            let (new, old) = (self.cache.get(&id), self.durable.get(&id));
            if new == old {
                continue;
            }
            let keep = fate.keeps(rand);
            marks.sometimes(!keep && new.is_some(), Mark::NameLost);
            marks.sometimes(keep && new.is_some(), Mark::NameKept);
            if keep {
                match new.copied() {
                    Some(file) => self.durable.insert(id, file),
                    None => self.durable.remove(&id),
                };
            }
        }
        self.cache.clone_from(&self.durable);
    }
}
