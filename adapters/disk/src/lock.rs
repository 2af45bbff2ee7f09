//! One server on one data directory.

use crate::error::DiskError;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

/// A data directory that nobody else can open.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the directory, until it is dropped.
    ///
    /// # Errors
    ///
    /// Somebody has it, or the system says no.
    pub fn take(dir: &Path) -> Result<Self, DiskError> {
        let path = dir.join("LOCK");
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let file = opened.map_err(DiskError::io("opened", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(DiskError::InUse {
                dir: dir.to_owned(),
            }),
            Err(TryLockError::Error(error)) => Err(DiskError::io("locked", &path)(error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Said aloud, because closing is not enough: a child between its fork and its exec has
        // the file open too, and with it the lock. An error leaves it to the close.
        drop(self.file.unlock());
    }
}
