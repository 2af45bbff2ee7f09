//! Making a data directory, and opening one.

use crate::disk::{Active, Disk, Shared};
use crate::error::DiskError;
use crate::files::Files;
use crate::keeper::Keeper;
use crate::lock::Lock;
use crate::segments::Segments;
use crate::spare::{AHEAD, Spares};
use crate::superblock::SuperblockFile;
use crate::trace::Trace;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;
use tenure_core::ids::{ClusterId, Incarnation, NodeId, SegmentNo, SnapshotId};
use tenure_core::replica::record::Recovered;
use tenure_core::wal::damage::Damage;
use tenure_core::wal::recovery::{Floor, Recovery, Tail};
use tenure_core::wal::superblock::{self, Durable, Superblock};
use tenure_core::wal::{Identity, Sizes};

/// Whose directory it must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Owner {
    /// The cluster.
    pub cluster: ClusterId,
    /// The server.
    pub node: NodeId,
}

impl Owner {
    /// One data directory of it: `incarnation` is no other one's.
    pub const fn identity(self, incarnation: Incarnation) -> Identity {
        Identity {
            cluster: self.cluster,
            node: self.node,
            incarnation,
        }
    }
}

/// What may differ.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How large new segments are.
    pub sizes: Sizes,
    /// Where to tell what is stored and synced. It must be read while the disk is used.
    pub trace: Option<SyncSender<Trace>>,
}

impl Disk {
    /// Whether there is a data directory, so that it is to be opened and not made.
    pub fn is_formatted(dir: &Path) -> bool {
        dir.join(SUPERBLOCK).exists()
    }

    /// Whose data directory this is; none if it is to be made.
    ///
    /// # Errors
    ///
    /// There is one that can't be read or believed.
    pub fn owner(dir: &Path) -> Result<Option<Owner>, DiskError> {
        if !Self::is_formatted(dir) {
            return Ok(None);
        }
        let file = SuperblockFile::open(&dir.join(SUPERBLOCK), Files::default())?;
        let found = file.read()?.map_err(|error| DiskError::Superblock {
            dir: dir.to_owned(),
            error,
        })?;
        let Identity { cluster, node, .. } = found.superblock().identity;
        Ok(Some(Owner { cluster, node }))
    }

    /// Makes a data directory with an empty log, whose `incarnation` was drawn for it. `config` is kept in the superblock. What a crash
    /// leaves half made is made anew.
    ///
    /// # Errors
    ///
    /// There is one already, somebody makes one, or the system says no.
    pub fn format(
        dir: &Path,
        identity: Identity,
        config: Bytes,
        options: &Options,
    ) -> Result<(), DiskError> {
        let files = Files::new(options.trace.clone());
        let segments = Segments::of(dir, files.clone());
        let made = fs::create_dir_all(segments.folder());
        made.map_err(DiskError::io("made", segments.folder()))?;
        let _lock = Lock::take(dir)?;
        let dir_owned = || dir.to_owned();
        if Self::is_formatted(dir) {
            return Err(DiskError::AlreadyFormatted { dir: dir_owned() });
        }
        let unfinished = dir.join(UNFINISHED);
        for number in segments.list()? {
            // Only a format that was cut off leaves segments and no superblock of that name.
            if !unfinished.exists() {
                return Err(DiskError::SuperblockMissing { dir: dir_owned() });
            }
            segments.remove(number)?;
        }
        let first = superblock::format(identity, config);
        SuperblockFile::make(&unfinished, first, files.clone())?;
        files.sync_folder(dir)?;
        let number = SegmentNo::new(1);
        segments.make(number, options.sizes.of(number))?;
        files.rename(&unfinished, &dir.join(SUPERBLOCK))?;
        files.sync_folder(dir)?;
        dir.parent()
            .filter(|parent| parent.is_dir())
            .map_or(Ok(()), |parent| files.sync_folder(parent))
    }

    /// Opens a data directory above its newest snapshot, of which nothing is kept: see [`Opening`].
    ///
    /// # Errors
    ///
    /// It is in use, belongs to somebody else, is damaged (then nothing was changed but the
    /// superblock), or the system says no.
    pub fn open(
        dir: &Path,
        owner: Owner,
        options: Options,
    ) -> Result<(Self, Recovered), DiskError> {
        let mut opening = Opening::begin(dir, owner, options)?;
        opening.read_snapshot(|_| Ok(()))?;
        let (disk, _, recovered) = opening.finish()?;
        Ok((disk, recovered))
    }
}

/// A data directory whose boot has begun: the newest snapshot is read, and the log above it, one after the
/// other or both at once. The caller restores its state from the snapshot's chunks.
pub struct Opening {
    dir: PathBuf,
    lock: Arc<Lock>,
    options: Options,
    segments: Segments,
    file: SuperblockFile,
    superblock: Durable,
    shared: Arc<Shared>,
    keeper: Keeper,
    newest: Option<SnapshotId>,
    /// The log above the newest snapshot, if it was read already.
    log: Option<Result<Tail, DiskError>>,
}

impl Opening {
    /// Takes the directory, and begins a new boot.
    ///
    /// # Errors
    ///
    /// It is in use, belongs to somebody else, has no superblock that can be believed, or the system
    /// says no.
    pub fn begin(dir: &Path, owner: Owner, options: Options) -> Result<Self, DiskError> {
        let files = Files::new(options.trace.clone());
        let segments = Segments::of(dir, files.clone());
        check_formatted(dir, &segments)?;
        let lock = Arc::new(Lock::take(dir)?);
        let file = SuperblockFile::open(&dir.join(SUPERBLOCK), files.clone())?;
        let superblock = open_superblock(dir, owner, &file)?;
        let shared = Arc::new(Shared::default());
        let keeper = Keeper::open(
            dir,
            owner.cluster,
            files,
            Arc::clone(&shared),
            Arc::clone(&lock),
        )?;
        let newest = keeper.named()?.first().copied();
        Ok(Self {
            dir: dir.to_owned(),
            lock,
            options,
            segments,
            file,
            superblock,
            shared,
            keeper,
            newest,
            log: None,
        })
    }

    /// The newest snapshot that is there.
    pub const fn newest(&self) -> Option<SnapshotId> {
        self.newest
    }

    /// What the superblock says.
    pub const fn superblock(&self) -> &Superblock {
        self.superblock.superblock()
    }

    /// Does `restore`, which is to read the newest snapshot, while another thread checks the log above it:
    /// where there is much state, each takes about as long. What the log says is used by
    /// [`Opening::finish`] alone, which finds out first whether the snapshot was read to its end.
    pub fn beside_log<T>(&mut self, restore: impl FnOnce(&mut Self) -> T) -> T {
        let Ok(recovery) = self.recovery_above(self.newest) else {
            return restore(self); // no log can be read above it, and `finish` says so
        };
        let (dir, segments) = (self.dir.clone(), self.segments.clone());
        let superblock = self.superblock().clone();
        thread::scope(|scope| {
            let check = move || recover(&dir, &segments, &superblock, recovery);
            let checking = thread::Builder::new().spawn_scoped(scope, check);
            let restored = restore(self);
            self.log = checking
                .ok() // without a thread it is read afterwards
                .map(|log| log.join().unwrap_or_else(|panic| resume_unwind(panic)));
            restored
        })
    }

    /// How the log is read above a snapshot that is whole.
    fn recovery_above(&self, whole: Option<SnapshotId>) -> Result<Recovery, DiskError> {
        let superblock = self.superblock();
        let slot = |id: Option<SnapshotId>| id.map(|id| id.slot).unwrap_or_default();
        let floor = Floor::of(superblock, slot(whole), slot(self.newest));
        let floor = floor.map_err(|missing| DiskError::SnapshotMissing {
            dir: self.dir.clone(),
            missing,
        })?;
        Ok(Recovery::new(superblock, self.options.sizes, floor))
    }

    /// Reads the newest snapshot, and hands over each chunk. Gives how many there were; only then what
    /// was handed over may be believed.
    ///
    /// # Errors
    ///
    /// It can't be read, is not whole, or a chunk was refused. The server must not start: what was
    /// acknowledged since the snapshot before it may be in no other place.
    pub fn read_snapshot(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<u32, DiskError> {
        self.newest
            .map_or(Ok(0), |id| self.keeper.read(id, &mut take))
    }

    /// The snapshot before the newest one, with the number of its chunks, if its end can be believed.
    /// Its chunks are checked when a peer asks for the first of them.
    pub fn older(&self) -> Option<(SnapshotId, u32)> {
        let named = self.keeper.named().ok()?;
        let older = *named.get(1)?;
        Some((older, self.keeper.chunks_at_end(older).ok()?))
    }

    /// The error that says that nothing can be restored from the newest snapshot, and why.
    pub fn refuse(&self, reason: String) -> DiskError {
        let path = self
            .newest
            .map_or_else(|| self.dir.clone(), |id| self.keeper.path(id));
        DiskError::SnapshotRefused { path, reason }
    }

    /// Recovers the log above the snapshot that was read, and makes its end safe.
    ///
    /// # Errors
    ///
    /// The log begins above it, or is damaged; or the system says no.
    pub fn finish(mut self) -> Result<(Disk, Keeper, Recovered), DiskError> {
        let whole = self.newest.filter(|id| self.keeper.is_whole(*id));
        // An error here is the end of it, whatever was read of the log.
        let recovery = self.recovery_above(whole)?;
        let read = self.log.take();
        let superblock = self.superblock.superblock();
        let tail =
            read.unwrap_or_else(|| recover(&self.dir, &self.segments, superblock, recovery))?;
        let first = superblock.first_segment;
        let found = settle(&self.segments, &tail, first, self.options.sizes)?;
        let (recovered, writer) = tail.done();
        let number = writer.segment();
        let active = Active::new(number, self.segments.open(number)?);
        let active = active.map_err(DiskError::io("mapped", &self.segments.path(number)))?;
        let (segments, sizes) = (self.segments.clone(), self.options.sizes);
        let spares = Spares::new(
            segments,
            sizes,
            number.next(),
            found,
            Arc::clone(&self.shared),
        );
        let mut disk = Disk {
            dir: self.dir,
            segments: self.segments,
            superblock_file: Arc::new(self.file),
            superblock: Some(self.superblock),
            writer,
            active,
            spares,
            readers: BTreeMap::new(),
            shared: self.shared,
            files: Files::new(self.options.trace),
            _lock: self.lock,
        };
        // What was recovered is no longer the last thing in the log.
        disk.seal()?.sync()?;
        Ok((disk, self.keeper, recovered))
    }
}

const SUPERBLOCK: &str = "superblock";
const UNFINISHED: &str = "superblock.new";

fn check_formatted(dir: &Path, segments: &Segments) -> Result<(), DiskError> {
    if Disk::is_formatted(dir) {
        return Ok(());
    }
    let dir_owned = dir.to_owned();
    let unfinished = dir.join(UNFINISHED).exists() || !segments.folder().is_dir();
    if unfinished || segments.list()?.is_empty() {
        return Err(DiskError::NotFormatted { dir: dir_owned });
    }
    Err(DiskError::SuperblockMissing { dir: dir_owned })
}

/// Begins a boot, unless the directory is somebody else's.
fn open_superblock(dir: &Path, owner: Owner, file: &SuperblockFile) -> Result<Durable, DiskError> {
    let dir = || dir.to_owned();
    let pending = file
        .read()?
        .map_err(|error| DiskError::Superblock { dir: dir(), error })?;
    let found = pending.superblock().identity;
    if found.cluster != owner.cluster {
        return Err(DiskError::OtherCluster {
            dir: dir(),
            expected: owner.cluster,
            found: found.cluster,
        });
    }
    if found.node != owner.node {
        return Err(DiskError::OtherNode {
            dir: dir(),
            expected: owner.node,
            found: found.node,
        });
    }
    file.write(pending)
}

/// Reads every segment.
fn recover(
    dir: &Path,
    segments: &Segments,
    superblock: &Superblock,
    mut recovery: Recovery,
) -> Result<Tail, DiskError> {
    let damaged = |damage: Damage| DiskError::Damaged {
        dir: dir.to_owned(),
        damage: Box::new(damage),
    };
    for number in segments.list()? {
        let next = recovery.next_segment();
        if number < superblock.first_segment {
            continue;
        }
        if number != next {
            return Err(damaged(recovery.hole(next)));
        }
        let bytes = segments.read_from_disk(number)?;
        recovery.segment(number, &bytes).map_err(damaged)?;
    }
    recovery.finish().map_err(damaged)
}

/// Makes the end of the log safe, and removes what is before its beginning: a truncation that was cut
/// off. Gives the segments after it that are good.
fn settle(
    segments: &Segments,
    tail: &Tail,
    first: SegmentNo,
    sizes: Sizes,
) -> Result<Vec<(SegmentNo, File)>, DiskError> {
    if let Some(zero) = tail.zero {
        segments.zero(zero.segment, zero.offset, zero.len)?;
    }
    // A group that only a killed process left in the page cache was read like a durable one.
    let synced = segments.open(tail.sync)?.sync_data();
    synced.map_err(DiskError::io("synced", &segments.path(tail.sync)))?;
    let mut spares = Vec::with_capacity(AHEAD);
    let mut next = tail.spare;
    for number in segments.list()? {
        if (first..tail.spare).contains(&number) {
            continue;
        }
        let fits = number == next && spares.len() < AHEAD;
        if fits && segments.len(number)? == sizes.of(number) {
            spares.push((number, segments.open(number)?));
            next = number.next();
        } else {
            segments.remove(number)?;
        }
    }
    Ok(spares)
}
