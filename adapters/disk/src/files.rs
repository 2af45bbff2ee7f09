//! What is done to files, each step told to a test that makes crash images of it.

use crate::error::{DiskError, SYNCED};
use crate::trace::{Trace, trace};
use bytes::Bytes;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::SyncSender;

/// Steps on files: made, written, synced, named, removed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    trace: Option<SyncSender<Trace>>,
}

impl Files {
    pub(crate) const fn new(trace: Option<SyncSender<Trace>>) -> Self {
        Self { trace }
    }

    /// Tells that a group was stored into a mapped file.
    pub(crate) fn stored(&self, path: &Path, offset: u64, bytes: Bytes) {
        self.tell(|| Trace::Stored {
            path: path.to_owned(),
            offset,
            bytes,
        });
    }

    /// An empty file, whatever was there.
    pub(crate) fn create(&self, path: &Path) -> Result<File, DiskError> {
        let mut options = OpenOptions::new();
        let made = options.read(true).write(true).create(true).truncate(true);
        let file = made.open(path).map_err(DiskError::io("made", path))?;
        self.tell(|| Trace::Created {
            path: path.to_owned(),
        });
        Ok(file)
    }

    pub(crate) fn write(
        &self,
        (file, path): (&File, &Path),
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), DiskError> {
        let written = file.write_all_at(bytes, offset);
        written.map_err(DiskError::io("written", path))?;
        self.tell(|| Trace::Written {
            path: path.to_owned(),
            offset,
            bytes: Bytes::copy_from_slice(bytes),
        });
        Ok(())
    }

    /// Waits until what was written to a file, or stored into its mapping, survives a crash: the kernel
    /// finds those pages dirty too.
    pub(crate) fn sync(&self, (file, path): (&File, &Path)) -> Result<(), DiskError> {
        file.sync_data().map_err(DiskError::io(SYNCED, path))?;
        self.tell(|| Trace::FileSynced {
            path: path.to_owned(),
        });
        Ok(())
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        fs::rename(from, to).map_err(DiskError::io("renamed", from))?;
        self.tell(|| Trace::Renamed {
            from: from.to_owned(),
            to: to.to_owned(),
        });
        Ok(())
    }

    /// Makes the names in a folder durable, and that other names are not in it any more.
    pub(crate) fn sync_folder(&self, folder: &Path) -> Result<(), DiskError> {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(DiskError::io(SYNCED, folder))?;
        self.tell(|| Trace::FolderSynced {
            path: folder.to_owned(),
        });
        Ok(())
    }

    /// Removes a file's name. That it is not there is as good.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), DiskError> {
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(DiskError::io("removed", path)(error)),
        }
        self.tell(|| Trace::Removed {
            path: path.to_owned(),
        });
        Ok(())
    }

    fn tell(&self, what: impl FnOnce() -> Trace) {
        trace(&self.trace, what);
    }
}
