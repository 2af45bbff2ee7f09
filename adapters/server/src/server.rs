//! A running server: everything put together.

use crate::boot::{self, Opened};
use crate::first::{self, Lobby};
use crate::join::JoinError;
use crate::key::{self, KeyError};
use crate::log::FileLog;
use crate::members_file;
use crate::settings::{Origin, Settings};
use crate::web::{Served, Serving, Web};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use tenure_core::config::{Config, ConfigError, FormError, Member, Shared};
use tenure_core::founding::OtherList;
use tenure_core::ids::{Boot, Fence, NodeId, Seed};
use tenure_core::node;
use tenure_core::node::{Node, Secrets};
use tenure_core::replica::record::Recovered;
use tenure_core::wire::peer::Doorman;
use tenure_disk::{Counting, Disk, DiskError};
use tenure_host::{Door, Host, HostError, Options, Status, SyncMode};
use tenure_rt::net::{Listener, resolve};
use tenure_rt::sync::watch;
use tenure_rt::{clock, spawn};
use tenure_tcp::{Contacts, FoundingError, Mesh, native};

/// Why a server did not start. Nothing was changed but what a start changes in its own data.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The token key is not there, or not readable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An address is in use, or not one of this machine.
    #[error("can't listen for {what} at {address}: {error}")]
    Listen {
        /// For whom: "peers", "native clients", "HTTP".
        what: &'static str,
        /// Where.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// Another process has the data directory.
    #[error("{0}")]
    DataInUse(DiskError),
    /// The data directory is another server's.
    #[error("{0}")]
    WrongData(DiskError),
    /// A cluster was to be founded, and the data directory has one.
    #[error("{data} has a cluster already: start without --bootstrap", data = data.display())]
    NotEmpty {
        /// The directory.
        data: PathBuf,
    },
    /// Nothing says which cluster this server is of.
    #[error(
        "{data} is empty, and nothing says how to begin: found a cluster with --bootstrap, join one \
         with `[join]` or --join, or list the `[members]` of a new one",
        data = data.display()
    )]
    Empty {
        /// The directory.
        data: PathBuf,
    },
    /// A cluster does not let it in.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The cluster that was to be founded stands, or can't be founded with this data directory.
    #[error(transparent)]
    Founding(#[from] FoundingError),
    /// Its data directory has agreed to another list of members.
    #[error(transparent)]
    OtherList(#[from] OtherList),
    /// It can't be a member like this.
    #[error("{0}")]
    Founder(ConfigError),
    /// The data directory can't be read, or can't be believed.
    #[error("{0}")]
    Disk(DiskError),
    /// The data directory says what no cluster can be like.
    #[error("{data}: {error}", data = data.display())]
    Config {
        /// The directory.
        data: PathBuf,
        /// What is wrong.
        error: FormError,
    },
    /// The system refuses something else.
    #[error("{0}")]
    System(io::Error),
}

impl StartError {
    pub(crate) fn of_disk(error: DiskError) -> Self {
        match error {
            DiskError::InUse { .. } => Self::DataInUse(error),
            DiskError::OtherCluster { .. } | DiskError::OtherNode { .. } => Self::WrongData(error),
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
            | DiskError::Io { .. } => Self::Disk(error),
        }
    }
}

/// A server that listens, and is about to serve.
pub struct Server {
    host: Host<Node, FileLog, Mesh>,
    door: Door,
    counting: Counting,
    web: Serving,
}

impl Server {
    /// Opens the data directory, or makes it at the first start, and listens. With a list of members that
    /// lasts until all of them are there.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn start(settings: &Settings) -> Result<Self, StartError> {
        // Listen first: a second server on the same machine goes no further, and touches no data.
        let listening = Listening::begin(settings.member()).await?;
        let seed = getrandom::u64().map_err(|error| StartError::System(error.into()))?;
        let seed = Seed::new(seed);
        let owner = first::owner(settings, listening.lobby()).await?;
        let opened = boot::open(&settings.data, owner, seed)?;
        let Opened {
            disk,
            keeper,
            recovered,
            restored,
        } = opened;
        let token_key = key::load(&settings.token_key)?;

        let (door, inbox) = Door::new();
        let genesis = begun(&disk, settings)?;
        let newest = members_file::load(&settings.data, &genesis);
        let config = &seen(owner.node, &genesis, newest.as_ref(), &recovered);
        let doorman = doorman(settings, &disk, config, recovered.boot)?;
        let (publisher, published) = tenure_host::publish(config.clone());
        let mesh = Mesh::start(
            contacts(settings, newest.as_ref()),
            published.clone(),
            doorman,
            members_file::PeersFile(settings.data.clone()),
            listening.peers,
            door.clone(),
        );
        if config.takes_clients() {
            let serving = native::serve(listening.clients, published.clone(), door.clone());
            drop(spawn(serving));
        } else {
            drop(listening.clients); // nobody comes there for nothing
        }
        let members = members_file::keep(settings.data.clone(), published.clone());
        drop(spawn(members));

        let web = listening.web.serve(Served {
            config: published,
            genesis: genesis.encode(),
            door: door.clone(),
        });

        let node = Node::boot(
            config,
            node::Origin {
                genesis,
                fence_floor: Fence::new(clock::since_1970().as_secs() << 20),
            },
            recovered,
            restored,
            &Secrets { token_key },
            seed,
            clock::now(),
        );
        let options = Options {
            me: config.me(),
            sync: SyncMode::Adaptive,
        };
        let counting = disk.counting();
        let host =
            Host::new(node, FileLog::new(disk, keeper), mesh, inbox, options).publishing(publisher);
        Ok(Self {
            host,
            door,
            counting,
            web,
        })
    }

    /// The way in, for one more edge, and to stop it.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// Tells what the disk does, also while the server runs.
    pub fn counting(&self) -> Counting {
        self.counting.clone()
    }

    /// Tells who leads, as far as this server knows.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.host.status()
    }

    /// Serves until it is asked to stop.
    ///
    /// # Errors
    ///
    /// The server must not go on. After `Halt::Role` it is to be started again at once, on a runtime of
    /// its own (what this one spawned ends with its runtime), from [`Settings::again`].
    ///
    /// # Panics
    ///
    /// The host did: an invariant is broken.
    pub async fn run(self) -> Result<(), HostError> {
        let ended = self.host.run().await;
        self.web.end().await;
        ended
    }
}

/// Where others come, before anybody is let in.
struct Listening {
    peers: Listener,
    clients: Listener,
    web: Web,
}

impl Listening {
    async fn begin(member: &Member) -> Result<Self, StartError> {
        Ok(Self {
            peers: listen("peers", &member.peer).await?,
            clients: listen("native clients", &member.client).await?,
            web: listen_with("HTTP", &member.http, Web::listen).await?,
        })
    }

    const fn lobby(&self) -> Lobby<'_> {
        Lobby {
            for_peers: &self.peers,
            for_clients: &self.clients,
            waits: self.web.waits(),
        }
    }
}

async fn listen(what: &'static str, address: &str) -> Result<Listener, StartError> {
    listen_with(what, address, Listener::bind).await
}

async fn listen_with<T, F: Future<Output = io::Result<T>>>(
    what: &'static str,
    address: &str,
    bind: impl FnOnce(SocketAddr) -> F,
) -> Result<T, StartError> {
    let bound = async { bind(resolve(address).await?).await };
    bound.await.map_err(|error| StartError::Listen {
        what,
        address: address.to_owned(),
        error,
    })
}

/// What `me` knows of the cluster before its log has been read again: a newcomer's does not say yet who
/// is there now.
fn seen(me: NodeId, genesis: &Shared, newest: Option<&Shared>, recovered: &Recovered) -> Config {
    let membership = recovered.membership.clone();
    let membership = membership.unwrap_or_else(|| genesis.membership());
    Config::seen_by(me, newest.unwrap_or(genesis).clone(), membership)
}

/// Who is let in: whoever was before, with the data directory that it had then.
fn doorman(
    settings: &Settings,
    disk: &Disk,
    config: &Config,
    boot: Boot,
) -> Result<Doorman, StartError> {
    let incarnation = disk.superblock().map(|block| block.identity.incarnation);
    let mut doorman = Doorman::new(config.clone(), incarnation.unwrap_or_default(), boot);
    let known = members_file::load_peers(&settings.data).map_err(StartError::System)?;
    for (node, incarnation) in known {
        doorman.remember(node, incarnation, Boot::new(0));
    }
    Ok(doorman)
}

/// Where the others may be found: where the file says, which may be newer than the log, and where
/// they were last.
fn contacts(settings: &Settings, newest: Option<&Shared>) -> Contacts {
    let listed = match &settings.origin {
        Origin::Listed(config) => config.members(),
        Origin::Bootstrap | Origin::Join(_) | Origin::Remembered => &[],
    };
    let known = newest.map_or(&[][..], Shared::members);
    let mut contacts = Contacts::default();
    for member in listed.iter().chain(known) {
        contacts.add(member.node, member.peer.clone());
    }
    contacts
}

/// What the cluster began with, as the data directory remembers it: it outranks the file, which may
/// have been edited since (rule 36).
fn begun(disk: &Disk, settings: &Settings) -> Result<Shared, StartError> {
    let superblock = disk.superblock();
    let bytes = superblock.map_or(&[][..], |block| &block.config);
    let genesis = Shared::parse(bytes).map_err(|error| StartError::Config {
        data: settings.data.clone(),
        error,
    })?;
    let nodes = |shared: &Shared| -> Vec<_> {
        let members = shared.members().iter();
        members.map(|member| member.node).collect()
    };
    if let Origin::Listed(config) = &settings.origin
        && nodes(&genesis) != nodes(config.shared())
    {
        tracing::warn!(
            "the members in the file are not those that the cluster began with, which count"
        );
    }
    Ok(genesis)
}
