//! A server's first start: from nothing to a data directory that knows whose it is.

use crate::founding_file;
use crate::join;
use crate::key;
use crate::members_file;
use crate::server::StartError;
use crate::settings::{Origin, Settings};
use tenure_core::config::{Config, Member, Shared};
use tenure_core::founding::Founding;
use tenure_core::ids::{ClusterId, Incarnation, NodeId};
use tenure_core::wal::Identity;
use tenure_disk::{Disk, Lock, Options, Owner};
use tenure_rt::net::Listener;
use tenure_rt::select;
use tenure_rt::sync::watch;
use tenure_tcp::{Memory as _, native};

/// Where the others and the callers of a server come that founds a cluster.
pub(crate) struct Lobby<'l> {
    pub(crate) for_peers: &'l Listener,
    pub(crate) for_clients: &'l Listener,
    /// Whom it waits for, in words.
    pub(crate) waits: &'l watch::Sender<String>,
}

/// Whose data directory this is; it is made if there is none.
pub(crate) async fn owner(settings: &Settings, lobby: Lobby<'_>) -> Result<Owner, StartError> {
    let dir = &settings.data;
    if let Some(owner) = Disk::owner(dir).map_err(StartError::of_disk)? {
        founding_file::remove(dir);
        return match &settings.origin {
            Origin::Bootstrap => Err(StartError::NotEmpty { data: dir.clone() }),
            Origin::Listed(config) => Ok(Owner {
                cluster: config.cluster(),
                node: config.me(),
            }),
            Origin::Join(_) | Origin::Remembered => Ok(owner),
        };
    }
    let (node, genesis, incarnation) = match &settings.origin {
        Origin::Listed(config) if config.members().len() > 1 => {
            let incarnation = found_together(settings, config, lobby).await?;
            (config.me(), config.shared().clone(), incarnation)
        }
        Origin::Listed(config) => (config.me(), config.shared().clone(), draw()?),
        Origin::Bootstrap => {
            let (node, genesis) = found_alone(&settings.member)?;
            (node, genesis, draw()?)
        }
        Origin::Join(how) => {
            // What is missing here is found before anybody is asked.
            key::load(&settings.token_key)?;
            let joined = join::join(how, &settings.member).await?;
            members_file::save(dir, &joined.config);
            (joined.node, joined.genesis, draw()?)
        }
        Origin::Remembered => return Err(StartError::Empty { data: dir.clone() }),
    };
    let identity = Identity {
        cluster: genesis.cluster(),
        node,
        incarnation,
    };
    Disk::format(dir, identity, genesis.encode(), &Options::default())
        .map_err(StartError::of_disk)?;
    founding_file::remove(dir);
    Ok(Owner {
        cluster: identity.cluster,
        node,
    })
}

/// Waits until all members of the list are there and agree, and remembers their data directories. Gives
/// this server's.
async fn found_together(
    settings: &Settings,
    config: &Config,
    lobby: Lobby<'_>,
) -> Result<Incarnation, StartError> {
    // What is missing here is found before anybody is waited for.
    key::load(&settings.token_key)?;
    let dir = &settings.data;
    std::fs::create_dir_all(dir).map_err(StartError::System)?;
    let lock = Lock::take(dir).map_err(StartError::of_disk)?;
    let kept = founding_file::load(dir).map_err(StartError::System)?;
    let founding = Founding::begin(config.clone(), kept, draw()?)?;
    let incarnation = founding.record().incarnation;
    let keep = |record: &_| founding_file::keep(dir, record);
    let founders = select! { biased;
        founders = tenure_tcp::found(lobby.for_peers, founding, keep, lobby.waits) => founders?,
        never = native::turn_away(lobby.for_clients, lobby.waits.subscribe()) => match never {},
    };
    // Before there is a data directory that knows a cluster: whoever comes later is judged by it.
    let mut peers = members_file::PeersFile(dir.clone());
    let kept = peers.keep(&founders.others(config.me()));
    kept.map_err(StartError::System)?;
    drop(lock);
    Ok(incarnation)
}

/// Names a data directory, as no other one is.
fn draw() -> Result<Incarnation, StartError> {
    let drawn = getrandom::u64();
    let drawn = drawn.map_err(|error| StartError::System(error.into()))?;
    Ok(Incarnation::new(drawn))
}

/// A cluster of one, unlike every other one.
fn found_alone(member: &Member) -> Result<(NodeId, Shared), StartError> {
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
