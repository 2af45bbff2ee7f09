//! The files of the log.

use crate::error::{DiskError, is_full};
use crate::files::Files;
use rustix::fs::{Advice, fadvise, statvfs};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tenure_core::ids::SegmentNo;

/// Zeros are written in pieces of one page. Larger ones leave larger folios in the page cache, and
/// each later sync of 4 KiB would write a whole folio (190 to 270 µs instead of 30).
const PAGE: [u8; 4096] = [0; 4096];

/// A segment is synced in steps while it is filled, so that a group's sync, which goes to the same
/// disk at the same time, waits for one of them at most.
const SYNC_EVERY: u64 = 1 << 20;

/// The folder of the log.
#[derive(Clone, Debug)]
pub(crate) struct Segments {
    folder: PathBuf,
    files: Files,
}

impl Segments {
    pub(crate) fn of(dir: &Path, files: Files) -> Self {
        Self {
            folder: dir.join("wal"),
            files,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn path(&self, number: SegmentNo) -> PathBuf {
        self.folder.join(format!("{:08}.seg", number.get()))
    }

    /// The segments that are there, by number. Throws away what was never finished.
    pub(crate) fn list(&self) -> Result<Vec<SegmentNo>, DiskError> {
        let read = || DiskError::io("read", &self.folder);
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(read())? {
            let path = entry.map_err(read())?.path();
            let extension = path.extension().and_then(|name| name.to_str());
            let stem = path.file_stem().and_then(|name| name.to_str());
            let number = stem.and_then(|stem| stem.parse().ok());
            match (extension, number) {
                (Some("seg"), Some(number)) => numbers.push(SegmentNo::new(number)),
                (Some("new"), Some(_)) => {
                    self.files.remove(&path)?;
                }
                (Some(_) | None, _) => {}
            }
        }
        numbers.sort();
        Ok(numbers)
    }

    /// Whether the system says that so many bytes are free. It may be wrong either way (quotas,
    /// reserved blocks): a no saves the try, a yes promises nothing.
    pub(crate) fn may_hold(&self, bytes: u64) -> bool {
        let free = statvfs(&self.folder).map(|found| found.f_bavail.saturating_mul(found.f_frsize));
        !free.is_ok_and(|free| free < bytes)
    }

    /// Makes a segment: zero in every byte, synced, and then named.
    pub(crate) fn make(&self, number: SegmentNo, bytes: u64) -> Result<File, DiskError> {
        let path = self.path(number);
        let unfinished = path.with_extension("new");
        let made = self.fill(&unfinished, bytes).map_err(|error| {
            // The room is given back; if even that fails, a start will do it.
            drop(self.files.remove(&unfinished));
            full(&path, bytes, error)
        })?;
        self.files.rename(&unfinished, &path)?;
        self.files.sync_folder(&self.folder)?;
        Ok(made)
    }

    fn fill(&self, path: &Path, bytes: u64) -> Result<File, DiskError> {
        let file = self.files.create(path)?;
        calm(&file).map_err(DiskError::io("advised", path))?;
        let page = u64::try_from(PAGE.len()).unwrap_or(u64::MAX);
        for at in (0..bytes).step_by(PAGE.len()) {
            self.files.write((&file, path), at, &PAGE)?;
            if (at + page).is_multiple_of(SYNC_EVERY) {
                self.files.sync((&file, path))?;
            }
        }
        self.files.sync((&file, path))?;
        Ok(file)
    }

    pub(crate) fn open(&self, number: SegmentNo) -> Result<File, DiskError> {
        let path = self.path(number);
        let opened = OpenOptions::new().read(true).write(true).open(&path);
        let file = opened.map_err(DiskError::io("opened", &path))?;
        calm(&file).map_err(DiskError::io("advised", &path))?;
        Ok(file)
    }

    pub(crate) fn len(&self, number: SegmentNo) -> Result<u64, DiskError> {
        let path = self.path(number);
        let found = fs::metadata(&path).map_err(DiskError::io("read", &path))?;
        Ok(found.len())
    }

    /// Reads a whole segment from the disk, and not from what the kernel remembers of it: after a
    /// sync that failed its pages are clean, and say what never reached the disk (Rebello et al.,
    /// "Can Applications Recover from fsync Failures?", ATC 2020). What a killed process left in
    /// them is written first.
    pub(crate) fn read_from_disk(&self, number: SegmentNo) -> Result<Vec<u8>, DiskError> {
        let path = self.path(number);
        let file = self.open(number)?;
        file.sync_data().map_err(DiskError::io("synced", &path))?;
        let forgotten = fadvise(&file, 0, None, Advice::DontNeed).map_err(io::Error::from);
        forgotten.map_err(DiskError::io("advised", &path))?;
        self.read(number, &file, 0, self.len(number)?)
    }

    /// Reads a part of a segment.
    pub(crate) fn read(
        &self,
        number: SegmentNo,
        file: &File,
        offset: u64,
        len: u64,
    ) -> Result<Vec<u8>, DiskError> {
        let io = || DiskError::io("read", &self.path(number));
        let len = usize::try_from(len).map_err(|error| io()(io::Error::other(error)))?;
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, offset).map_err(io())?;
        Ok(bytes)
    }

    /// Sets a part of a segment that is not mapped to zero, and syncs it.
    pub(crate) fn zero(&self, number: SegmentNo, offset: u64, len: u64) -> Result<(), DiskError> {
        let path = self.path(number);
        let file = self.open(number)?;
        for at in (offset..offset + len).step_by(PAGE.len()) {
            self.files.write((&file, &path), at, &PAGE)?;
        }
        self.files.sync((&file, &path))
    }

    pub(crate) fn remove(&self, number: SegmentNo) -> Result<(), DiskError> {
        self.files.remove(&self.path(number))?;
        self.files.sync_folder(&self.folder)
    }
}

/// Reading ahead would leave large folios in the page cache, as large zeros would.
fn calm(file: &File) -> io::Result<()> {
    Ok(fadvise(file, 0, None, Advice::Random)?)
}

fn full(path: &Path, bytes: u64, error: DiskError) -> DiskError {
    let path = path.to_owned();
    match error {
        DiskError::Io { error, .. } if is_full(&error) => DiskError::Full { path, bytes, error },
        other => other,
    }
}
