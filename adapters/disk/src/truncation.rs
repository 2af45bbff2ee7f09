//! Removing the beginning of the log.

use crate::disk::Disk;
use crate::error::DiskError;
use crate::segments::Segments;
use crate::superblock::SuperblockFile;
use std::path::PathBuf;
use std::sync::Arc;
use tenure_core::ids::{SegmentNo, Slot, SnapshotId};
use tenure_core::wal::superblock::Durable;

/// The beginning of the log, on its way to the thread that removes it and back. While it is away,
/// so is the superblock: at most one change of it is in flight (rule 4).
#[derive(Debug)]
#[must_use = "the superblock comes back only by `Disk::end_truncate`"]
pub struct Truncation {
    file: Arc<SuperblockFile>,
    superblock: Option<Durable>,
    segments: Segments,
    first: SegmentNo,
    snapshot: Slot,
}

impl Truncation {
    /// Changes the superblock: it must never name a segment that is gone. Gives what may go then, each
    /// with its folder.
    pub(crate) fn run(&mut self) -> Result<Vec<(PathBuf, PathBuf)>, DiskError> {
        let Some(before) = self.superblock.take() else {
            return Err(DiskError::Failed);
        };
        let old = before.superblock().first_segment;
        let after = self
            .file
            .write(before.truncate(self.first, self.snapshot))?;
        self.superblock = Some(after);
        let folder = self.segments.folder();
        let gone = (old.get()..self.first.get()).map(SegmentNo::new);
        let paths = gone.map(|number| (folder.to_owned(), self.segments.path(number)));
        Ok(paths.collect())
    }
}

impl Disk {
    /// Prepares to remove the segments that hold nothing above slot `upto`, and to remember that
    /// `snapshot` is there: from now on nothing is found in those segments. Nothing if nothing would
    /// change, or the last truncation is not done. Hand it to [`crate::Keeper::truncate`], and then to
    /// [`Disk::end_truncate`]; until then the superblock can't change.
    ///
    /// # Panics
    ///
    /// `snapshot` is not durable here, or does not cover `upto` (rule 5).
    ///
    /// # Errors
    ///
    /// The disk failed before.
    pub fn begin_truncate(
        &mut self,
        upto: Slot,
        snapshot: SnapshotId,
    ) -> Result<Option<Truncation>, DiskError> {
        self.shared.check()?;
        assert!(
            upto <= snapshot.slot && snapshot.slot <= self.shared.newest_snapshot(),
            "what goes from the log stands in a durable snapshot of this server (rule 5)"
        );
        let first = self.writer.first_needed(upto);
        let removes = |durable: &mut Durable| {
            let now = durable.superblock();
            first >= now.first_segment
                && snapshot.slot >= now.snapshot
                && (first, snapshot.slot) != (now.first_segment, now.snapshot)
        };
        let Some(superblock) = self.superblock.take_if(removes) else {
            return Ok(None);
        };
        self.writer.forget_before(first);
        self.readers = self.readers.split_off(&first);
        Ok(Some(Truncation {
            file: Arc::clone(&self.superblock_file),
            superblock: Some(superblock),
            segments: self.segments.clone(),
            first,
            snapshot: snapshot.slot,
        }))
    }

    /// Takes the superblock back.
    pub fn end_truncate(&mut self, truncation: Truncation) {
        self.superblock = truncation.superblock;
    }
}
