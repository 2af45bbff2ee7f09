//! A server's first start: from nothing to a data directory that knows whose it is.

use crate::join;
use crate::key;
use crate::members_file;
use crate::server::StartError;
use crate::settings::{Origin, Settings};
use tenure_core::config::{Member, Shared};
use tenure_core::ids::{ClusterId, NodeId};
use tenure_disk::{Disk, DiskError, Options, Owner};

/// Whose data directory this is; it is made if there is none.
pub(crate) async fn owner(settings: &Settings) -> Result<Owner, StartError> {
    let dir = &settings.data;
    if let Some(owner) = Disk::owner(dir).map_err(StartError::of_disk)? {
        return match &settings.origin {
            Origin::Bootstrap => Err(StartError::NotEmpty { data: dir.clone() }),
            Origin::Listed(config) => Ok(Owner {
                cluster: config.cluster(),
                node: config.me(),
            }),
            Origin::Join(_) | Origin::Remembered => Ok(owner),
        };
    }
    let (node, genesis) = match &settings.origin {
        Origin::Listed(config) => (config.me(), config.shared().clone()),
        Origin::Bootstrap => found(&settings.member)?,
        Origin::Join(how) => {
            // What is missing here is found before anybody is asked.
            key::load(&settings.token_key)?;
            let joined = join::join(how, &settings.member).await?;
            members_file::save(dir, &joined.config);
            (joined.node, joined.genesis)
        }
        Origin::Remembered => return Err(StartError::Empty { data: dir.clone() }),
    };
    let owner = Owner {
        cluster: genesis.cluster(),
        node,
    };
    format(settings, owner, &genesis).map_err(StartError::of_disk)?;
    Ok(owner)
}

fn format(settings: &Settings, owner: Owner, genesis: &Shared) -> Result<(), DiskError> {
    Disk::format(&settings.data, owner, genesis.encode(), &Options::default())
}

/// A cluster of one, unlike every other one.
fn found(member: &Member) -> Result<(NodeId, Shared), StartError> {
    let mut cluster = [0; 16];
    getrandom::fill(&mut cluster).map_err(|error| StartError::System(error.into()))?;
    let node = NodeId::new(1);
    let member = Member {
        node,
        ..member.clone()
    };
    let genesis = Shared::genesis(ClusterId(cluster), vec![member]);
    Ok((node, genesis.map_err(StartError::Founder)?))
}
