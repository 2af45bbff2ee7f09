//! The superblock's file.

use crate::error::DiskError;
use crate::files::Files;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tenure_core::wal::superblock::{
    COPIES, COPY_BYTES, COPY_STRIDE, Durable, FILE_BYTES, Pending, SuperblockError, open,
};

/// The file with the four copies.
#[derive(Debug)]
pub(crate) struct SuperblockFile {
    file: File,
    path: PathBuf,
    files: Files,
}

impl SuperblockFile {
    /// Makes the file at `path`, which is no name that a start would believe.
    pub(crate) fn make(path: &Path, first: Pending, files: Files) -> Result<(), DiskError> {
        let file = files.create(path)?;
        let zeros = vec![0; COPY_BYTES];
        let len = u64::try_from(COPY_BYTES).unwrap_or(u64::MAX);
        for at in (0..FILE_BYTES / len).map(|index| index * len) {
            files.write((&file, path), at, &zeros)?;
        }
        files.sync((&file, path))?;
        let path = path.to_owned();
        Self { file, path, files }.write(first).map(drop)
    }

    pub(crate) fn open(path: &Path, files: Files) -> Result<Self, DiskError> {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        Ok(Self {
            file: opened.map_err(DiskError::io("opened", path))?,
            path: path.to_owned(),
            files,
        })
    }

    /// Reads the copies, and what to write before anything is said.
    pub(crate) fn read(&self) -> Result<Result<Pending, SuperblockError>, DiskError> {
        let mut copies: [Vec<u8>; COPIES] = Default::default();
        for (copy, at) in copies.iter_mut().zip((0..).step_by(step())) {
            let mut bytes = vec![0; COPY_BYTES];
            match self.file.read_exact_at(&mut bytes, at) {
                Ok(()) => *copy = bytes,
                // One copy that can't be read is one copy lost.
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {}
                Err(error) => return Err(DiskError::io("read", &self.path)(error)),
            }
        }
        Ok(open([&copies[0], &copies[1], &copies[2], &copies[3]]))
    }

    /// Writes a change: one copy after another, each synced before the next.
    pub(crate) fn write(&self, pending: Pending) -> Result<Durable, DiskError> {
        for write in pending.writes() {
            let place = (&self.file, &*self.path);
            self.files.write(place, write.offset, &write.bytes)?;
            self.files.sync(place)?;
        }
        Ok(pending.done())
    }
}

fn step() -> usize {
    usize::try_from(COPY_STRIDE).unwrap_or(usize::MAX)
}

#[cfg(test)]
impl SuperblockFile {
    pub(crate) fn break_file(&mut self, file: File) {
        self.file = file;
    }
}
