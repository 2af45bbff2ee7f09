//! What was done to the files of a data directory, in order, for tests that make crash images of it.

use bytes::Bytes;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;

/// One thing that was done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Trace {
    /// A group was stored into a mapped segment, in the order first byte 8 to the end, then 0 to 7.
    Stored {
        /// Which.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// A file is there, and empty.
    Created {
        /// Which.
        path: PathBuf,
    },
    /// Bytes were written to a file that is not mapped.
    Written {
        /// Which.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// All that was written to the file, or stored into it, so far is synced.
    FileSynced {
        /// Which.
        path: PathBuf,
    },
    /// A file has another name.
    Renamed {
        /// Its old one.
        from: PathBuf,
        /// Its new one.
        to: PathBuf,
    },
    /// A file's name is gone.
    Removed {
        /// Which.
        path: PathBuf,
    },
    /// The names in a folder, as they are now, are synced.
    FolderSynced {
        /// Which.
        path: PathBuf,
    },
}

/// Tells a test, if one listens.
pub(crate) fn trace(to: &Option<SyncSender<Trace>>, what: impl FnOnce() -> Trace) {
    if let Some(to) = to {
        // A test that no longer listens does not stop the disk.
        drop(to.send(what()));
    }
}
