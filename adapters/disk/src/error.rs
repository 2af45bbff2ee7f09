//! What can be wrong with a data directory, in sentences that name it.

use std::io;
use std::path::{Path, PathBuf};
use tenure_core::ids::{ClusterId, NodeId};
use tenure_core::wal::damage::Damage;
use tenure_core::wal::recovery::SnapshotMissing;
use tenure_core::wal::snapshot::SnapshotDamage;
use tenure_core::wal::superblock::SuperblockError;
use tenure_core::wal::writer::AppendError;

/// What was tried when a sync fails.
pub(crate) const SYNCED: &str = "synced";

/// What can be wrong with a data directory.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Another process has it.
    #[error("the data directory {} is in use by another server", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// There is no log in it yet.
    #[error("{} is not a data directory yet", dir.display())]
    NotFormatted {
        /// The directory.
        dir: PathBuf,
    },
    /// There is a log in it already.
    #[error("{} is a data directory already", dir.display())]
    AlreadyFormatted {
        /// The directory.
        dir: PathBuf,
    },
    /// Segments, and no superblock: what this server promised is lost.
    #[error("the data directory {} has a log and no superblock", dir.display())]
    SuperblockMissing {
        /// The directory.
        dir: PathBuf,
    },
    /// The superblock can't be believed.
    #[error("the data directory {}: {error}", dir.display())]
    Superblock {
        /// The directory.
        dir: PathBuf,
        /// Why.
        error: SuperblockError,
    },
    /// It belongs to another cluster.
    #[error("the data directory {} belongs to cluster {found}, not to {expected}", dir.display())]
    OtherCluster {
        /// The directory.
        dir: PathBuf,
        /// The cluster of the configuration.
        expected: ClusterId,
        /// The cluster of the directory.
        found: ClusterId,
    },
    /// It belongs to another server.
    #[error("the data directory {} belongs to server {found}, not to {expected}", dir.display())]
    OtherNode {
        /// The directory.
        dir: PathBuf,
        /// The server of the configuration.
        expected: NodeId,
        /// The server of the directory.
        found: NodeId,
    },
    /// What was removed from the log stands in no snapshot that is whole.
    #[error("the data directory {}: {missing}", dir.display())]
    SnapshotMissing {
        /// The directory.
        dir: PathBuf,
        /// Which snapshot must be there.
        missing: SnapshotMissing,
    },
    /// A snapshot's file is not whole. It is left as it is; an older one may do.
    #[error("{}: {damage}", path.display())]
    SnapshotDamaged {
        /// The file.
        path: PathBuf,
        /// Where, and what.
        damage: SnapshotDamage,
    },
    /// A snapshot's file is whole, and nothing can be restored from it.
    #[error("{} can't be restored: {reason}", path.display())]
    SnapshotRefused {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The log is damaged. It is left as it is.
    #[error("the log in {} is damaged at {damage}", dir.display())]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// Where, and what.
        #[source]
        damage: Box<Damage>,
    },
    /// No room for a segment. Nothing was appended; new work must be refused until there is room.
    #[error("no room for {bytes} bytes at {}: {error}", path.display())]
    Full {
        /// The file that could not be made.
        path: PathBuf,
        /// How large it would be.
        bytes: u64,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The record was not taken.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A group was sealed while the one before it was not synced: the caller is wrong.
    #[error("the group before is not synced yet")]
    NotSynced,
    /// A promise was made while a truncation had the superblock: the caller is wrong.
    #[error("the superblock is being changed already")]
    SuperblockAway,
    /// A write or a sync failed before. Only a restart tells what the disk holds.
    #[error("the disk failed before; restart to find out what it holds")]
    Failed,
    /// The system said no.
    #[error("{} can't be {doing}: {error}", path.display())]
    Io {
        /// What was tried, as a participle: `synced`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

impl DiskError {
    /// For `map_err` around a system call on `path`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::Io { doing, path, error }
    }
}

impl DiskError {
    /// Whether a sync failed. It is never tried again, nor what it was for: the kernel says it once, and
    /// calls the next one a success (Rebello et al., "Can Applications Recover from fsync Failures?", ATC
    /// 2020).
    pub fn is_failed_sync(&self) -> bool {
        matches!(self, Self::Io { doing: SYNCED, .. }) && !self.is_full()
    }

    /// Whether there is no room, so that what was written can be given up, and tried again later.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Io { error, .. } => is_full(error),
            Self::InUse { .. }
            | Self::NotFormatted { .. }
            | Self::AlreadyFormatted { .. }
            | Self::SuperblockMissing { .. }
            | Self::Superblock { .. }
            | Self::OtherCluster { .. }
            | Self::OtherNode { .. }
            | Self::SnapshotMissing { .. }
            | Self::SnapshotDamaged { .. }
            | Self::SnapshotRefused { .. }
            | Self::Damaged { .. }
            | Self::Append(_)
            | Self::NotSynced
            | Self::SuperblockAway
            | Self::Failed => false,
        }
    }
}

/// Whether the system said that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

impl From<DiskError> for io::Error {
    fn from(error: DiskError) -> Self {
        let kind = match &error {
            DiskError::Io { error, .. } | DiskError::Full { error, .. } => error.kind(),
            DiskError::Damaged { .. }
            | DiskError::SnapshotDamaged { .. }
            | DiskError::SnapshotRefused { .. }
            | DiskError::Superblock { .. } => io::ErrorKind::InvalidData,
            DiskError::SnapshotMissing { .. } => io::ErrorKind::NotFound,
            DiskError::InUse { .. } => io::ErrorKind::ResourceBusy,
            DiskError::NotFormatted { .. } | DiskError::SuperblockMissing { .. } => {
                io::ErrorKind::NotFound
            }
            DiskError::AlreadyFormatted { .. } => io::ErrorKind::AlreadyExists,
            DiskError::OtherCluster { .. }
            | DiskError::OtherNode { .. }
            | DiskError::Append(_)
            | DiskError::NotSynced
            | DiskError::SuperblockAway
            | DiskError::Failed => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
