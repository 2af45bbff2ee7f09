//! What the disk remembers, put together again: the newest snapshot into a machine, and the log above.

use crate::server::StartError;
use std::path::Path;
use tenure_core::config::Shared;
use tenure_core::ids::Seed;
use tenure_core::machine::snapshot::Restore;
use tenure_core::machine::{Form, Limits};
use tenure_core::node::snapshots::Restored;
use tenure_core::replica::record::Recovered;
use tenure_core::wal::superblock::Superblock;
use tenure_disk::{Disk, DiskError, Keeper, Opening, Options, Owner};

/// A data directory that was opened.
pub(crate) struct Opened {
    pub(crate) disk: Disk,
    pub(crate) keeper: Keeper,
    pub(crate) recovered: Recovered,
    pub(crate) restored: Option<Restored>,
}

/// Opens the data directory, which must be this owner's.
pub(crate) fn open(dir: &Path, owner: Owner, seed: Seed) -> Result<Opened, StartError> {
    let mut opening =
        Opening::begin(dir, owner, Options::default()).map_err(StartError::of_disk)?;
    let newest = opening.newest().map(tracing::field::display);
    tracing::info!(newest, "the data directory is opened");
    let restored = opening.beside_log(|opening| {
        let restored = restore(opening, seed)?;
        if let Some(Restored { id, .. }) = &restored {
            tracing::info!(%id, "the newest snapshot is restored");
        }
        Ok(restored)
    });
    let restored = restored.map_err(StartError::of_disk)?;
    let (disk, keeper, recovered) = opening.finish().map_err(StartError::of_disk)?;
    tracing::info!(decided = %recovered.decided, bytes = recovered.bytes, "the log is checked");
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
    let restore = Restore::new(id, Limits::default(), seed);
    let mut restore = restore.in_form(form_of(opening.superblock()));
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

/// What this server keeps in the epoch that its superblock says.
fn form_of(superblock: &Superblock) -> Form {
    let membership = superblock.membership.clone();
    // What can't be read is said when the cluster's beginning is needed for more than this.
    let genesis = || Shared::parse(&superblock.config).map(|genesis| genesis.membership());
    let membership = membership.map_or_else(genesis, Ok).unwrap_or_default();
    Form::of(&membership, superblock.identity.node)
}
