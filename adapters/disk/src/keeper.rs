//! Snapshots in files, and what they allow to remove. Everything here may take long: it is done on a
//! thread of its own.
//!
//! A snapshot is written to `tmp/`, synced, renamed into `snap/`, and the folder is synced, in this
//! order: so what has a name is whole, and what `Kept::Durable` says stays said.

use crate::disk::Shared;
use crate::error::DiskError;
use crate::files::Files;
use crate::lock::Lock;
use crate::truncation::Truncation;
use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tenure_core::ids::{ClusterId, Slot, SnapshotId};
use tenure_core::wal::snapshot::{Contents, END_BYTES, Encoder, Reader, chunks_at_end};

/// How many snapshots stay: the newest, and the one that the log goes on from.
const KEPT: usize = 2;
/// A snapshot is synced in steps while it is written, so that a group's sync, which goes to the same
/// disk at the same time, waits for one of them at most.
const SYNC_EVERY: u64 = 1 << 20;

/// What became of a snapshot.
#[derive(Debug)]
pub enum Kept {
    /// It survives a crash, with its name.
    Durable,
    /// There is no room for it, or not all of its chunks came. Nothing of it is left.
    GivenUp(String),
}

/// The snapshots of a data directory.
#[derive(Debug)]
pub struct Keeper {
    cluster: ClusterId,
    folder: PathBuf,
    unfinished: PathBuf,
    files: Files,
    shared: Arc<Shared>,
    writing: Option<Writing>,
    /// Why the last one that was begun is not written on.
    given_up: Option<String>,
    /// Those that were written, or read to their end, by this process.
    whole: BTreeMap<SnapshotId, Contents>,
    damaged: BTreeSet<SnapshotId>,
    /// Segments that the superblock names no more, and their folder.
    let_go: Vec<(PathBuf, PathBuf)>,
    /// Nobody else has the directory while this writes to it.
    _lock: Arc<Lock>,
}

/// The snapshot under construction.
#[derive(Debug)]
struct Writing {
    path: PathBuf,
    file: File,
    encoder: Encoder,
    at: u64,
    synced: u64,
}

impl Keeper {
    /// The snapshots in `dir`, whose folders are made. What was never finished is thrown away.
    pub(crate) fn open(
        dir: &Path,
        cluster: ClusterId,
        files: Files,
        shared: Arc<Shared>,
        lock: Arc<Lock>,
    ) -> Result<Self, DiskError> {
        let keeper = Self {
            cluster,
            folder: dir.join("snap"),
            unfinished: dir.join("tmp"),
            files,
            shared,
            writing: None,
            given_up: None,
            whole: BTreeMap::new(),
            damaged: BTreeSet::new(),
            let_go: Vec::new(),
            _lock: lock,
        };
        for folder in [&keeper.folder, &keeper.unfinished] {
            fs::create_dir_all(folder).map_err(DiskError::io("made", folder))?;
        }
        keeper.files.sync_folder(dir)?;
        let read = || DiskError::io("read", &keeper.unfinished);
        for entry in fs::read_dir(&keeper.unfinished).map_err(read())? {
            keeper.files.remove(&entry.map_err(read())?.path())?;
        }
        // A name that only a killed process left in the cache is believed like a durable one.
        keeper.files.sync_folder(&keeper.folder)?;
        Ok(keeper)
    }

    /// Adds a chunk to the snapshot under construction; the first one begins it, and drops another.
    /// What can't be written for want of room is said by [`Keeper::done`].
    ///
    /// # Errors
    ///
    /// The disk failed, now or before.
    pub fn chunk(&mut self, slot: Slot, index: u32, bytes: &[u8]) -> Result<(), DiskError> {
        self.shared.check()?;
        self.shared.keeps(Some(Instant::now()));
        if index == 0 {
            self.abandon(None)?;
        }
        let written = match self.writing.take() {
            Some(writing) => self.add(writing, slot, index, bytes).map(Some),
            None if index == 0 => self
                .begin(slot)
                .and_then(|writing| self.add(writing, slot, index, bytes))
                .map(Some),
            // It was given up; the rest of it comes to nothing.
            None => Ok(None),
        };
        match written {
            Ok(writing) => self.writing = writing,
            Err(error) if error.is_full() => self.no_room(slot, &error)?,
            Err(error) => return self.shared.fail(error),
        }
        Ok(())
    }

    /// There is no room for the rest of the one under construction. The next try finds what the
    /// older ones take, which nobody but peers in the middle of one needs.
    fn no_room(&mut self, slot: Slot, error: &DiskError) -> Result<(), DiskError> {
        self.abandon(Some((slot, error.to_string())))?;
        let newest = self.named()?.first().copied();
        if newest.is_none_or(|newest| self.damaged.contains(&newest)) {
            return Ok(());
        }
        match self.prune(1, &[]) {
            Ok(()) => Ok(()),
            Err(error) => self.shared.fail(error),
        }
    }

    /// Drops the snapshot under construction.
    ///
    /// # Errors
    ///
    /// The disk failed, now or before.
    pub fn give_up(&mut self) -> Result<(), DiskError> {
        self.shared.check()?;
        self.shared.keeps(None);
        self.abandon(None)
    }

    /// Ends the snapshot under construction, makes it durable, and gives it its name. Then all but
    /// the two newest and those to `keep` are removed.
    ///
    /// # Errors
    ///
    /// The disk failed, now or before.
    pub fn done(
        &mut self,
        id: SnapshotId,
        chunks: u32,
        keep: &[SnapshotId],
    ) -> Result<Kept, DiskError> {
        self.shared.check()?;
        self.shared.keeps(None);
        let Some(writing) = self.writing.take() else {
            let why = self.given_up.take();
            let why = why.unwrap_or_else(|| format!("snapshot {id} was never begun"));
            return Ok(Kept::GivenUp(why));
        };
        let (slot, found) = (writing.encoder.slot(), writing.encoder.next_chunk());
        if (slot, found) != (id.slot, chunks) {
            let why = format!("of snapshot {id}, {chunks} chunks, {found} of slot {slot} came");
            self.abandon(Some((slot, why.clone())))?;
            return Ok(Kept::GivenUp(why));
        }
        match self.finish(writing, id) {
            Ok(contents) => {
                self.damaged.remove(&id);
                self.whole.insert(id, contents);
            }
            Err(error) if error.is_full() => {
                self.no_room(slot, &error)?;
                return Ok(Kept::GivenUp(error.to_string()));
            }
            Err(error) => return self.shared.fail(error),
        };
        self.shared.snapshot_is_durable(id.slot);
        match self.prune(KEPT, keep) {
            Ok(()) => Ok(Kept::Durable),
            Err(error) => self.shared.fail(error),
        }
    }

    /// A chunk of a snapshot; nothing if that is gone, or has no such chunk.
    ///
    /// # Errors
    ///
    /// The file can't be read, or is damaged. The disk is as good as before.
    pub fn load(&mut self, id: SnapshotId, index: u32) -> Result<Option<Bytes>, DiskError> {
        self.shared.check()?;
        let path = self.path(id);
        if !self.whole.contains_key(&id) {
            if self.damaged.contains(&id) || !path.exists() {
                return Ok(None);
            }
            self.read(id, &mut |_| Ok(()))?;
        }
        let Some((contents, place)) = self
            .whole
            .get(&id)
            .and_then(|contents| Some((contents, contents.place(index)?)))
        else {
            return Ok(None);
        };
        let io = || DiskError::io("read", &path);
        let mut bytes = vec![0; place.bytes];
        let file = File::open(&path).map_err(io())?;
        file.read_exact_at(&mut bytes, place.offset).map_err(io())?;
        let payload = match contents.payload(index, &bytes) {
            Ok(payload) => payload.len(),
            Err(damage) => {
                self.whole.remove(&id);
                self.damaged.insert(id);
                return Err(DiskError::SnapshotDamaged { path, damage });
            }
        };
        let head = bytes.len() - payload;
        Ok(Some(Bytes::from(bytes).slice(head..)))
    }

    /// Does the first half of what [`crate::Disk::begin_truncate`] prepared: it changes the superblock.
    /// What that names no more is removed by [`Keeper::tidy`], so that the superblock need not wait.
    ///
    /// # Errors
    ///
    /// The disk failed, now or before.
    pub fn truncate(&mut self, truncation: &mut Truncation) -> Result<(), DiskError> {
        self.shared.check()?;
        match truncation.run() {
            Ok(segments) => self.let_go.extend(segments),
            Err(error) => return self.shared.fail(error),
        }
        Ok(())
    }

    /// Removes the segments that truncations let go. If that never comes, a start does it.
    ///
    /// # Errors
    ///
    /// The disk failed, now or before.
    pub fn tidy(&mut self) -> Result<(), DiskError> {
        self.shared.check()?;
        let let_go = std::mem::take(&mut self.let_go);
        let removed = let_go
            .iter()
            .try_for_each(|(_, segment)| self.files.remove(segment));
        let last = let_go.last();
        let synced = removed
            .and_then(|()| last.map_or(Ok(()), |(folder, _)| self.files.sync_folder(folder)));
        match synced {
            Ok(()) => Ok(()),
            Err(error) => self.shared.fail(error),
        }
    }

    /// How many chunks a snapshot says that it has.
    pub(crate) fn chunks_at_end(&self, id: SnapshotId) -> Result<u32, DiskError> {
        let path = self.path(id);
        let io = || DiskError::io("read", &path);
        let file = File::open(&path).map_err(io())?;
        let len = file.metadata().map_err(io())?.len();
        let mut end = [0; END_BYTES];
        let at = len.saturating_sub(u64::try_from(END_BYTES).unwrap_or(u64::MAX));
        file.read_exact_at(&mut end, at).map_err(io())?;
        let chunks = chunks_at_end(self.cluster, id, &end, len);
        chunks.map_err(|damage| DiskError::SnapshotDamaged { path, damage })
    }

    /// The snapshots that have a name, the newest first. Names that mean nothing are left alone.
    pub(crate) fn named(&self) -> Result<Vec<SnapshotId>, DiskError> {
        let read = || DiskError::io("read", &self.folder);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(read())? {
            let name = entry.map_err(read())?.file_name();
            found.extend(name.to_str().and_then(id_of));
        }
        found.sort();
        found.reverse();
        Ok(found)
    }

    /// Reads a snapshot to its end, from the disk and not from what the kernel remembers of it, and
    /// hands over each chunk. Gives how many there were.
    pub(crate) fn read(
        &mut self,
        id: SnapshotId,
        take: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<u32, DiskError> {
        match self.read_file(id, take) {
            Ok(contents) => {
                let chunks = contents.chunks();
                self.whole.insert(id, contents);
                self.shared.snapshot_is_durable(id.slot);
                Ok(chunks)
            }
            Err(error) => {
                self.damaged.insert(id);
                Err(error)
            }
        }
    }

    /// Whether a snapshot was read to its end, or written.
    pub(crate) fn is_whole(&self, id: SnapshotId) -> bool {
        self.whole.contains_key(&id)
    }

    pub(crate) fn path(&self, id: SnapshotId) -> PathBuf {
        self.folder.join(format!("{id}.snap"))
    }

    fn begin(&self, slot: Slot) -> Result<Writing, DiskError> {
        let path = self.unfinished.join(format!("{slot}.snap"));
        let file = self.files.create(&path)?;
        let (encoder, header) = Encoder::begin(self.cluster, slot);
        let mut writing = Writing {
            path,
            file,
            encoder,
            at: 0,
            synced: 0,
        };
        self.append(&mut writing, &header)?;
        Ok(writing)
    }

    fn add(
        &self,
        mut writing: Writing,
        slot: Slot,
        index: u32,
        bytes: &[u8],
    ) -> Result<Writing, DiskError> {
        if (slot, index) != (writing.encoder.slot(), writing.encoder.next_chunk()) {
            // One before it was dropped. What was begun stays, and `done` will miss its chunks.
            return Ok(writing);
        }
        let head = writing.encoder.chunk(bytes);
        self.append(&mut writing, &[&head, bytes].concat())?;
        if writing.at - writing.synced >= SYNC_EVERY {
            self.files.sync((&writing.file, &writing.path))?;
            writing.synced = writing.at;
        }
        Ok(writing)
    }

    fn append(&self, writing: &mut Writing, bytes: &[u8]) -> Result<(), DiskError> {
        let place = (&writing.file, &*writing.path);
        self.files.write(place, writing.at, bytes)?;
        writing.at += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// The file first, then its name, then the folder that holds the name.
    fn finish(&self, writing: Writing, id: SnapshotId) -> Result<Contents, DiskError> {
        let Writing {
            path,
            file,
            encoder,
            at,
            ..
        } = writing;
        let (end, contents) = encoder.finish(id.hash);
        self.files.write((&file, &path), at, &end)?;
        self.files.sync((&file, &path))?;
        self.files.rename(&path, &self.path(id))?;
        self.files.sync_folder(&self.folder)?;
        Ok(contents)
    }

    /// Drops what is under construction.
    fn abandon(&mut self, why: Option<(Slot, String)>) -> Result<(), DiskError> {
        let begun = self.writing.take().map(|writing| writing.encoder.slot());
        let slot = why.as_ref().map(|(slot, _)| *slot).or(begun);
        self.given_up = why.map(|(_, why)| why);
        let Some(slot) = slot else {
            return Ok(());
        };
        match self
            .files
            .remove(&self.unfinished.join(format!("{slot}.snap")))
        {
            Ok(()) => Ok(()),
            Err(error) => self.shared.fail(error),
        }
    }

    /// Removes all but the newest ones and some more. One that is known to be damaged does not count.
    fn prune(&mut self, keep: usize, also: &[SnapshotId]) -> Result<(), DiskError> {
        let named = self.named()?;
        let good = named.iter().filter(|id| !self.damaged.contains(id));
        let mut kept: Vec<SnapshotId> = good.take(keep).copied().collect();
        kept.extend(also);
        let mut removed = false;
        for id in named {
            if !kept.contains(&id) {
                self.files.remove(&self.path(id))?;
                self.whole.remove(&id);
                self.damaged.remove(&id);
                removed = true;
            }
        }
        if removed {
            self.files.sync_folder(&self.folder)?;
        }
        Ok(())
    }

    fn read_file(
        &self,
        id: SnapshotId,
        take: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<Contents, DiskError> {
        let path = self.path(id);
        let io = || DiskError::io("read", &path);
        let file = File::open(&path).map_err(io())?;
        let forgotten = fadvise(&file, 0, None, Advice::DontNeed).map_err(io::Error::from);
        forgotten.map_err(DiskError::io("advised", &path))?;
        let len = file.metadata().map_err(io())?.len();
        let damaged = |damage| DiskError::SnapshotDamaged {
            path: path.clone(),
            damage,
        };
        let mut reader = Reader::new(self.cluster, id, len);
        let (mut at, mut bytes) = (0, Vec::new());
        while !reader.is_done() {
            let wanted = reader.wants().map_err(damaged)?;
            bytes.resize(wanted, 0);
            file.read_exact_at(&mut bytes, at).map_err(io())?;
            at += u64::try_from(wanted).unwrap_or(u64::MAX);
            if let Some(chunk) = reader.take(&bytes).map_err(damaged)? {
                take(chunk).map_err(|reason| DiskError::SnapshotRefused {
                    path: path.clone(),
                    reason,
                })?;
            }
        }
        Ok(reader.finish())
    }
}

/// What a snapshot's file is named: slot, and hash in sixteen hexadecimal digits.
fn id_of(name: &str) -> Option<SnapshotId> {
    let (slot, hash) = name.strip_suffix(".snap")?.split_once('-')?;
    let id = SnapshotId {
        slot: Slot::new(slot.parse().ok()?),
        hash: u64::from_str_radix(hash, 16).ok()?,
    };
    // Only what this server writes: no sign, no leading zeros, no capitals.
    (format!("{id}.snap") == name).then_some(id)
}
