//! What the disk remembers, put together again: the newest snapshot into a machine, and the log above.

use crate::server::StartError;
use crate::settings::Settings;
use tenure_core::ids::Seed;
use tenure_core::machine::Limits;
use tenure_core::machine::snapshot::Restore;
use tenure_core::node::snapshots::Restored;
use tenure_core::replica::record::Recovered;
use tenure_disk::{Disk, DiskError, Keeper, Opening, Options, Owner};

/// A data directory that was opened.
pub(crate) struct Opened {
    pub(crate) disk: Disk,
    pub(crate) keeper: Keeper,
    pub(crate) recovered: Recovered,
    pub(crate) restored: Option<Restored>,
}

/// Opens the data directory, or makes it at the first start.
pub(crate) fn open(settings: &Settings, seed: Seed) -> Result<Opened, StartError> {
    let owner = Owner {
        cluster: settings.config.cluster(),
        node: settings.config.me(),
    };
    let dir = &settings.data;
    if !Disk::is_formatted(dir) {
        let genesis = settings.config.shared().encode();
        Disk::format(dir, owner, genesis, &Options::default()).map_err(data_error)?;
    }
    let mut opening = Opening::begin(dir, owner, Options::default()).map_err(data_error)?;
    let restored = restore(&mut opening, seed).map_err(data_error)?;
    let (disk, keeper, recovered) = opening.finish().map_err(data_error)?;
    Ok(Opened {
        disk,
        keeper,
        recovered,
        restored,
    })
}

fn restore(opening: &mut Opening, seed: Seed) -> Result<Option<Restored>, DiskError> {
    let Some(id) = opening.newest() else {
        return Ok(None);
    };
    let mut restore = Restore::new(id, Limits::default(), seed);
    let chunks = opening.read_snapshot(|chunk| {
        let read = restore.chunk(chunk);
        read.map_err(|error| error.to_string())
    })?;
    let machine = restore
        .finish()
        .map_err(|error| opening.refuse(error.to_string()))?;
    Ok(Some(Restored {
        id,
        chunks,
        machine,
        older: opening.older(),
    }))
}

fn data_error(error: DiskError) -> StartError {
    match error {
        DiskError::InUse { .. } => StartError::DataInUse(error),
        DiskError::OtherCluster { .. } | DiskError::OtherNode { .. } => {
            StartError::WrongData(error)
        }
        DiskError::NotFormatted { .. }
        | DiskError::AlreadyFormatted { .. }
        | DiskError::SuperblockMissing { .. }
        | DiskError::Superblock { .. }
        | DiskError::SnapshotMissing { .. }
        | DiskError::SnapshotDamaged { .. }
        | DiskError::SnapshotRefused { .. }
        | DiskError::Damaged { .. }
        | DiskError::Full { .. }
        | DiskError::Append(_)
        | DiskError::NotSynced
        | DiskError::SuperblockAway
        | DiskError::Failed
        | DiskError::Io { .. } => StartError::Disk(error),
    }
}
