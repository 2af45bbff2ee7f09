//! One data directory, open.

use crate::counters::{Counters, Tally};
use crate::error::DiskError;
use crate::files::Files;
use crate::lock::Lock;
use crate::mapping::Mapping;
use crate::segments::Segments;
use crate::spare::Spares;
use crate::superblock::SuperblockFile;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tenure_core::config::Membership;
use tenure_core::entry::Entry;
use tenure_core::ids::{Ballot, RecordNo, SegmentNo, Slot};
use tenure_core::replica::record::Record;
use tenure_core::wal::superblock::{Durable, Superblock};
use tenure_core::wal::writer::{Group, Writer};

/// Files that stay open for reading.
const READERS_MAX: usize = 8;

/// Whether new work can be taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Space {
    /// Yes.
    Enough,
    /// No: only the emergency segment is left, for the work that has begun, and no other can be made.
    /// It is tried again, every second if the system says that there is room.
    Low,
}

/// One data directory, open. Dropping it waits for the segment that is being made, if one is.
pub struct Disk {
    pub(crate) dir: PathBuf,
    pub(crate) segments: Segments,
    pub(crate) superblock_file: Arc<SuperblockFile>,
    /// Taken only while it is written: by a promise, or while a truncation has it.
    pub(crate) superblock: Option<Durable>,
    pub(crate) writer: Writer,
    pub(crate) active: Active,
    pub(crate) spares: Spares,
    pub(crate) readers: BTreeMap<SegmentNo, File>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) files: Files,
    /// The last thing that goes.
    pub(crate) _lock: Arc<Lock>,
}

/// The segment that groups are stored into.
pub(crate) struct Active {
    number: SegmentNo,
    file: Arc<File>,
    mapping: Mapping,
}

impl Active {
    pub(crate) fn new(number: SegmentNo, file: File) -> std::io::Result<Self> {
        Ok(Self {
            number,
            mapping: Mapping::new(&file)?,
            file: Arc::new(file),
        })
    }
}

/// What the thread that syncs shares with the one that appends.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    tally: Tally,
    /// A write or a sync failed.
    failed: AtomicBool,
    /// A group was stored and is not synced yet.
    in_flight: AtomicBool,
    /// The slot of the newest snapshot that is durable; zero if none is.
    newest_snapshot: AtomicU64,
    /// When a snapshot was last written to.
    kept_at: Mutex<Option<Instant>>,
}

/// A snapshot that is not written to for so long is not under construction any more.
const KEEPS: Duration = Duration::from_secs(2);

impl Shared {
    pub(crate) fn fail<T>(&self, error: DiskError) -> Result<T, DiskError> {
        self.failed.store(true, Ordering::SeqCst);
        Err(error)
    }

    pub(crate) fn check(&self) -> Result<(), DiskError> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(DiskError::Failed);
        }
        Ok(())
    }

    pub(crate) fn snapshot_is_durable(&self, slot: Slot) {
        self.newest_snapshot.fetch_max(slot.get(), Ordering::SeqCst);
    }

    /// A snapshot is written to; or is not any more.
    pub(crate) fn keeps(&self, at: Option<Instant>) {
        *self.kept_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Whether a snapshot is being written: where room is scarce, it comes before a spare segment.
    pub(crate) fn is_keeping(&self) -> bool {
        let at = *self.kept_at.lock().unwrap_or_else(PoisonError::into_inner);
        at.is_some_and(|at| at.elapsed() < KEEPS)
    }

    pub(crate) fn newest_snapshot(&self) -> Slot {
        Slot::new(self.newest_snapshot.load(Ordering::SeqCst))
    }
}

/// The counters of a disk, wherever that is.
#[derive(Clone, Debug)]
pub struct Counting(Arc<Shared>);

impl Counting {
    /// What was done since the disk was opened.
    pub fn read(&self) -> Counters {
        self.0.tally.read()
    }
}

/// A group that was stored. It is durable when [`Sealed::sync`] returns, which may be called on
/// another thread; until then no other group can be sealed.
#[must_use = "a group is durable only once it is synced"]
pub struct Sealed {
    shared: Arc<Shared>,
    stored: Option<Stored>,
}

struct Stored {
    file: Arc<File>,
    path: PathBuf,
    bytes: u64,
    through: RecordNo,
    files: Files,
    /// Nobody opens the directory while a sync of it may still fail.
    _lock: Arc<Lock>,
}

impl Sealed {
    /// Whether there is nothing to sync.
    pub const fn is_empty(&self) -> bool {
        self.stored.is_none()
    }

    /// Waits until the group, and everything before it, survives a crash. Returns the last record
    /// that does, if any was sealed.
    ///
    /// # Errors
    ///
    /// It may not survive. Every later call on this disk is refused: stop the server.
    pub fn sync(self) -> Result<Option<RecordNo>, DiskError> {
        self.shared.check()?;
        let Some(stored) = self.stored else {
            return Ok(None);
        };
        let began = Instant::now();
        if let Err(error) = stored.files.sync((&stored.file, &stored.path)) {
            return self.shared.fail(error);
        }
        self.shared.tally.synced(stored.bytes, began.elapsed());
        self.shared.in_flight.store(false, Ordering::SeqCst);
        Ok(Some(stored.through))
    }
}

impl Disk {
    /// Adds a record to the open group. `number` is one more than the last.
    ///
    /// # Errors
    ///
    /// No room for the next segment ([`DiskError::Full`]: nothing was appended), or the disk failed
    /// before, or the group is full (`DiskError::Append`: seal, sync, and try again).
    pub fn append(&mut self, number: RecordNo, record: &Record) -> Result<(), DiskError> {
        self.check()?;
        let payload = match record {
            Record::Accepted { entry, .. } | Record::Decided { entry, .. } => entry.bytes().len(),
            Record::DecidedHint { .. } => 0,
        };
        if self.writer.may_need_next_segment(payload) {
            self.need_segment()?;
        }
        Ok(self.writer.append(number, record)?)
    }

    /// Closes the open group and stores it. Without records it is the trailing seal (rule 12), or
    /// nothing if there is one already, or no room for one.
    ///
    /// # Errors
    ///
    /// The group before is not synced yet, or the disk failed.
    pub fn seal(&mut self) -> Result<Sealed, DiskError> {
        self.shared.check()?;
        if self.shared.in_flight.load(Ordering::SeqCst) {
            return Err(DiskError::NotSynced);
        }
        let group = if self.writer.is_empty() {
            self.trailing_seal()?
        } else {
            self.writer.seal()
        };
        let stored = match group.map(|group| self.store(group)).transpose() {
            Ok(stored) => stored,
            // The writer has gone on without the disk.
            Err(error) => return self.shared.fail(error),
        };
        Ok(Sealed {
            shared: Arc::clone(&self.shared),
            stored,
        })
    }

    /// Writes the superblock with this promise, and with who votes if an epoch begins with it. It survives a crash when this returns.
    ///
    /// # Errors
    ///
    /// The disk failed, now or before; or a truncation has the superblock, which is the caller's
    /// mistake.
    pub fn promise(
        &mut self,
        ballot: Ballot,
        membership: Option<Membership>,
    ) -> Result<(), DiskError> {
        self.shared.check()?;
        let Some(durable) = self.superblock.take() else {
            return Err(DiskError::SuperblockAway);
        };
        match self
            .superblock_file
            .write(durable.promise(ballot, membership))
        {
            Ok(durable) => self.superblock = Some(durable),
            Err(error) => return self.shared.fail(error),
        }
        self.shared.tally.promised();
        Ok(())
    }

    /// Decided entries in a row from slot `from`, none above `upto`: as many as fit a bounded
    /// answer, or none if the log does not have the first one. What the log holds for a slot that
    /// is not decided is given as well; the caller knows how far is decided.
    ///
    /// # Errors
    ///
    /// A segment can't be read, or is damaged.
    pub fn load(&mut self, from: Slot, upto: Slot) -> Result<Vec<Entry>, DiskError> {
        self.shared.check()?;
        let mut plan = self.writer.index().plan(from, upto);
        while let Some(piece) = plan.next_piece() {
            let file = reader(&mut self.readers, &self.segments, piece.segment)?;
            let bytes = self
                .segments
                .read(piece.segment, file, piece.offset, piece.len)?;
            let taken = plan.take(&piece, &bytes);
            taken.map_err(|damage| DiskError::Damaged {
                dir: self.dir.clone(),
                damage: Box::new(damage),
            })?;
        }
        Ok(plan.finish())
    }

    /// Whether new work can be taken. Asks again for room, now and then, if there was none.
    ///
    /// # Errors
    ///
    /// The disk failed, now or before.
    pub fn space(&mut self) -> Result<Space, DiskError> {
        self.check()?;
        Ok(if self.spares.are_low() {
            Space::Low
        } else {
            Space::Enough
        })
    }

    /// Waits for the segment that is being made ahead. Who opens this disk again in the same process asks
    /// first: an opening takes what is in the cache for what was stored.
    ///
    /// # Errors
    ///
    /// The disk failed, now or before.
    pub fn close(&mut self) -> Result<(), DiskError> {
        self.spares.wait();
        self.check()
    }

    /// Whether the last group has records, so that a trailing seal is due.
    pub fn wants_trailing_seal(&self) -> bool {
        self.writer.wants_trailing_seal()
    }

    /// What the superblock says; nothing while a truncation has it, or after a write of it failed.
    pub fn superblock(&self) -> Option<&Superblock> {
        self.superblock.as_ref().map(Durable::superblock)
    }

    /// What was done since the disk was opened.
    pub fn counters(&self) -> Counters {
        self.shared.tally.read()
    }

    /// Tells [`Disk::counters`] also while somebody else has the disk.
    pub fn counting(&self) -> Counting {
        Counting(Arc::clone(&self.shared))
    }

    fn trailing_seal(&mut self) -> Result<Option<Group>, DiskError> {
        if self.writer.may_need_next_segment(0) {
            match self.need_segment() {
                Err(error) if error.is_full() => return Ok(None),
                needed => needed?,
            }
        }
        Ok(self.writer.trailing_seal())
    }

    /// Whether anything failed so far, also while the next segment was made.
    fn check(&mut self) -> Result<(), DiskError> {
        self.shared.check()?;
        match self.spares.check() {
            Ok(()) => Ok(()),
            Err(error) => self.shared.fail(error),
        }
    }

    fn need_segment(&mut self) -> Result<(), DiskError> {
        match self.spares.need() {
            Err(error) if error.is_failed_sync() => self.shared.fail(error),
            needed => needed,
        }
    }

    fn store(&mut self, group: Group) -> Result<Stored, DiskError> {
        if group.segment != self.active.number {
            self.next_segment(group.segment)?;
        }
        let path = self.segments.path(group.segment);
        let offset = usize::try_from(group.offset)
            .map_err(|error| DiskError::io("mapped", &path)(std::io::Error::other(error)))?;
        let (first, others) = group.halves();
        self.active.mapping.store(offset, first, others);
        self.shared.in_flight.store(true, Ordering::SeqCst);
        let bytes = u64::try_from(group.bytes.len()).unwrap_or(u64::MAX);
        self.files.stored(&path, group.offset, group.bytes);
        Ok(Stored {
            file: Arc::clone(&self.active.file),
            path,
            bytes,
            through: group.through,
            files: self.files.clone(),
            _lock: Arc::clone(&self._lock),
        })
    }

    /// Maps the next segment.
    fn next_segment(&mut self, wanted: SegmentNo) -> Result<(), DiskError> {
        let (number, file) = self.spares.take()?;
        assert!(number == wanted, "segments are used in their order");
        let path = self.segments.path(number);
        self.active = Active::new(number, file).map_err(DiskError::io("mapped", &path))?;
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The lock goes after this: nobody else may find a segment half made.
        self.spares.wait();
    }
}

/// An open file to read segment `number` from.
fn reader<'r>(
    readers: &'r mut BTreeMap<SegmentNo, File>,
    segments: &Segments,
    number: SegmentNo,
) -> Result<&'r File, DiskError> {
    if !readers.contains_key(&number) {
        let file = segments.open(number)?;
        if readers.len() >= READERS_MAX {
            readers.pop_first();
        }
        readers.insert(number, file);
    }
    Ok(&readers[&number])
}

#[cfg(test)]
mod tests;
