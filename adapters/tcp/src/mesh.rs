//! One connection between each two servers. The one with the greater number dials, so there are
//! never two; both speak and hear on it.

use crate::link::{self, Frames, LinkError};
use bytes::BytesMut;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tenure_core::config::Config;
use tenure_core::ids::{Boot, NodeId};
use tenure_core::replica::message::Message;
use tenure_core::wire::peer::{Body, Doorman, Header, Hello, HelloRefusal};
use tenure_host::{Door, Peers, Published};
use tenure_rt::line::{self, Limits, Speaker};
use tenure_rt::net::{Listener, Stream, resolve};
use tenure_rt::sync::Semaphore;
use tenure_rt::{clock, spawn};

/// What one peer's network did not take. What is more is lost, as by a network.
const LIMITS: Limits = Limits {
    output_bytes_max: 8 << 20,
    deaf_above_bytes: None,
};
/// Connections that have not said hello.
const STRANGERS_MAX: usize = 32;
/// How long a connection may take to be made.
const DIAL_PATIENCE: Duration = Duration::from_secs(1);
/// The wait before the first try to dial again, doubled up to the last.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// The connections to all peers: the node's end of them.
pub struct Mesh {
    shared: Arc<Shared>,
    /// Those that something was said to since the last flush.
    touched: Vec<NodeId>,
}

struct Shared {
    me: NodeId,
    header: Header,
    quorum: usize,
    members: usize,
    doorman: Mutex<Doorman>,
    links: Mutex<BTreeMap<NodeId, Link>>,
    /// Who refuses whom, as it was logged last: each peer that tries again says the same.
    refusals: Mutex<BTreeMap<NodeId, HelloRefusal>>,
    /// The members that do not let this server in, and why, each until it does.
    unwelcome_at: Mutex<BTreeMap<NodeId, HelloRefusal>>,
    door: Door,
    published: Published,
}

/// What stands of a connection while it does.
struct Link {
    /// Which of the connections to this peer: only the newest one counts.
    generation: u64,
    speaker: Speaker,
}

impl Mesh {
    /// Takes connections at `listener`, dials the members below this one, and hands what they say
    /// to `door`.
    pub fn start(
        config: &Config,
        published: Published,
        doorman: Doorman,
        listener: Listener,
        door: Door,
    ) -> Self {
        let me = config.me();
        let shared = Arc::new(Shared {
            me,
            header: doorman.header(),
            quorum: config.quorum(),
            members: config.members().len(),
            doorman: Mutex::new(doorman),
            links: Mutex::default(),
            refusals: Mutex::default(),
            unwelcome_at: Mutex::default(),
            door,
            published,
        });
        for member in config.members() {
            if member.node < me {
                let dial = Arc::clone(&shared).dial(member.node, member.peer.clone());
                drop(spawn(dial));
            }
        }
        drop(spawn(Arc::clone(&shared).take(listener)));
        Self {
            shared,
            touched: Vec::new(),
        }
    }
}

impl Peers for Mesh {
    fn send(&mut self, to: NodeId, message: &Message) {
        let links = lock(&self.shared.links);
        let Some(link) = links.get(&to) else {
            return;
        };
        let header = &self.shared.header;
        // What does not fit is lost, as by a network: the core says everything again that matters.
        let said = link
            .speaker
            .say(|out| link::put_message(header, message, out));
        if said && !self.touched.contains(&to) {
            self.touched.push(to);
        }
    }

    fn flush(&mut self) {
        let links = lock(&self.shared.links);
        for peer in self.touched.drain(..) {
            if let Some(link) = links.get(&peer) {
                link.speaker.flush();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// The doorman, with today's configuration.
    fn doorman(&self) -> MutexGuard<'_, Doorman> {
        let mut doorman = lock(&self.doorman);
        doorman.update(Config::clone(&self.published.now()));
        doorman
    }

    /// Takes connections, for ever.
    async fn take(self: Arc<Self>, listener: Listener) {
        let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        loop {
            let (stream, from) = match listener.accept().await {
                Ok(taken) => taken,
                Err(error) => {
                    tracing::warn!(%error, "a peer's connection can't be taken");
                    clock::sleep(BACKOFF_MIN).await;
                    continue;
                }
            };
            let Ok(stranger) = Arc::clone(&strangers).try_acquire_owned() else {
                tracing::warn!(%from, "too many connections have not said hello; one is closed");
                continue;
            };
            let shared = Arc::clone(&self);
            drop(spawn(async move {
                match shared.greet_caller(stream).await {
                    Ok((stream, input, hello)) => {
                        drop(stranger);
                        let ended = shared.run(stream, input, hello).await;
                        shared.report(Some(hello.node), from, &ended).await;
                    }
                    Err((peer, ended)) => shared.report(peer, from, &ended).await,
                }
            }));
        }
    }

    /// Hears who calls, and lets him in or says why not.
    async fn greet_caller(
        &self,
        mut stream: Stream,
    ) -> Result<(Stream, BytesMut, Hello), (Option<NodeId>, LinkError)> {
        let mut input = BytesMut::new();
        let heard = link::hear_hello(&mut stream, &mut input).await;
        let hello = heard.map_err(|error| (None, error))?;
        let known = |error| (Some(hello.node), error);
        let admitted = self.doorman().admit(&hello);
        let word = match admitted {
            Ok(()) => Body::Hello(self.doorman().hello(hello.node)),
            Err(refusal) => Body::Refused(refusal),
        };
        let said = link::say(&mut stream, &self.header, &word).await;
        said.map_err(known)?;
        admitted.map_err(|refusal| known(LinkError::Refused(refusal)))?;
        Ok((stream, input, hello))
    }

    /// Keeps a connection to a peer, for ever.
    async fn dial(self: Arc<Self>, peer: NodeId, address: String) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let (stood, ended) = self.dial_once(peer, &address).await;
            if matches!(ended, LinkError::Stopped(_)) {
                return;
            }
            self.report(Some(peer), &address, &ended).await;
            if stood {
                backoff = BACKOFF_MIN;
            }
            clock::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Dials, and keeps the connection until it ends; tells whether it stood at all.
    async fn dial_once(&self, peer: NodeId, address: &str) -> (bool, LinkError) {
        match self.greet_called(peer, address).await {
            Ok((stream, input, hello)) => (true, self.run(stream, input, hello).await),
            Err(ended) => (false, ended),
        }
    }

    async fn greet_called(
        &self,
        peer: NodeId,
        address: &str,
    ) -> Result<(Stream, BytesMut, Hello), LinkError> {
        let address = resolve(address).await?;
        let dialed = clock::timeout(DIAL_PATIENCE, Stream::connect(address));
        let mut stream = dialed.await.ok_or(LinkError::Silent)??;
        let hello = self.doorman().hello(peer);
        link::say(&mut stream, &self.header, &Body::Hello(hello)).await?;
        let mut input = BytesMut::new();
        let hello = link::hear_hello(&mut stream, &mut input).await?;
        let mut admitted = self.doorman().admit(&hello);
        if admitted.is_ok() && hello.node != peer {
            let (expected, found) = (hello.node, peer);
            admitted = Err(HelloRefusal::NotMe { expected, found });
        }
        if let Err(refusal) = admitted {
            link::say(&mut stream, &self.header, &Body::Refused(refusal)).await?;
            return Err(LinkError::Refused(refusal));
        }
        Ok((stream, input, hello))
    }

    /// Hands in what the peer says, until the link ends.
    async fn run(&self, stream: Stream, input: BytesMut, hello: Hello) -> LinkError {
        let peer = hello.node;
        let (speaker, hearer) = line::split(stream, LIMITS);
        let generation = self.link_up(peer, speaker);
        let mut frames = Frames::new(hearer, input, hello);
        let ended = match self.door.link(peer, true).await {
            Ok(()) => self.hear(peer, hello.boot, &mut frames).await,
            Err(stopped) => stopped.into(),
        };
        if self.link_down(peer, generation)
            && let Err(stopped) = self.door.link(peer, false).await
        {
            return stopped.into();
        }
        ended
    }

    async fn hear(&self, peer: NodeId, boot: Boot, frames: &mut Frames) -> LinkError {
        tracing::info!(%peer, "connected");
        lock(&self.refusals).remove(&peer);
        lock(&self.unwelcome_at).remove(&peer);
        loop {
            match frames.next().await {
                Ok(message) => {
                    if let Err(stopped) = self.door.said(peer, boot, message).await {
                        return stopped.into();
                    }
                }
                Err(ended) => return ended,
            }
        }
    }

    /// The newest connection to a peer replaces the one before: the peer, which made it, knows
    /// better whether that still works.
    fn link_up(&self, peer: NodeId, speaker: Speaker) -> u64 {
        let mut links = lock(&self.links);
        let generation = links.get(&peer).map_or(1, |link| link.generation + 1);
        let link = Link {
            generation,
            speaker,
        };
        if let Some(old) = links.insert(peer, link) {
            old.speaker.hang_up();
        }
        generation
    }

    /// Forgets a connection; false if a newer one stands.
    fn link_down(&self, peer: NodeId, generation: u64) -> bool {
        let mut links = lock(&self.links);
        let is_newest = links
            .get(&peer)
            .is_some_and(|link| link.generation == generation);
        if is_newest {
            links.remove(&peer);
        }
        is_newest
    }

    /// Logs why a link ended. A refusal is somebody's wrong configuration: it is an error, logged
    /// once; and a server that no quorum lets in stops.
    async fn report(
        &self,
        peer: Option<NodeId>,
        address: impl std::fmt::Display,
        ended: &LinkError,
    ) {
        let name = peer.map_or_else(|| "a stranger".to_owned(), |peer| format!("server {peer}"));
        match ended {
            LinkError::Refused(refusal) | LinkError::Unwelcome(refusal) => {
                let known = peer.unwrap_or_default();
                let old = lock(&self.refusals).insert(known, *refusal);
                if old != Some(*refusal) {
                    tracing::error!("{name} at {address}: {ended}");
                }
                if let LinkError::Unwelcome(refusal) = ended {
                    self.unwelcome(known, refusal).await;
                }
            }
            LinkError::Stopped(_) => {}
            LinkError::Io(_) | LinkError::Silent | LinkError::Closed => {
                tracing::debug!("{name} at {address}: {ended}");
            }
            LinkError::Frame(_) | LinkError::Order => {
                tracing::warn!("{name} at {address}: {ended}")
            }
        }
    }

    /// Stops this server if so many members refuse it that it can never serve. Whom this server
    /// refuses does not count: a stranger, or one forked member, must not stop those that agree.
    async fn unwelcome(&self, at: NodeId, refusal: &HelloRefusal) {
        let refusing = {
            let mut unwelcome_at = lock(&self.unwelcome_at);
            unwelcome_at.insert(at, *refusal);
            unwelcome_at.len()
        };
        if self.members - refusing.min(self.members) < self.quorum {
            let me = self.me;
            let reason = format!("{refusing} members refuse server {me}: {refusal}");
            self.door.fail(reason).await;
        }
    }
}
