//! One connection between each two servers. The one with the greater number dials, so there are
//! never two; both speak and hear on it. The other one dials only if nobody came for a while: it may
//! be no member any more, and should hear that. Who the others are, the shared configuration says: links
//! come and go with it.

use crate::link::{self, First, Frames, LinkError};
use bytes::BytesMut;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tenure_core::config::Config;
use tenure_core::founding::Word;
use tenure_core::ids::{Boot, Incarnation, NodeId};
use tenure_core::replica::message::Message;
use tenure_core::wire::peer::{self, Body, Doorman, Header, Hello, HelloRefusal};
use tenure_host::{Door, Peers, Published};
use tenure_rt::line::{self, Limits, Speaker};
use tenure_rt::net::{Listener, Stream};
use tenure_rt::sync::Semaphore;
use tenure_rt::{clock, spawn};

mod contacts;
mod refusals;

pub use contacts::Contacts;
use refusals::Refusals;

/// What one peer's network did not take. What is more is lost, as by a network.
const LIMITS: Limits = Limits {
    output_bytes_max: 8 << 20,
    deaf_above_bytes: None,
};
/// Connections that have not said hello.
const STRANGERS_MAX: usize = 32;
/// The wait before the first try to dial again, doubled up to the last.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How long a server waits for one with a greater number before it dials itself.
const KNOCK_AFTER: Duration = Duration::from_secs(2);

/// The connections to all peers: the node's end of them.
pub struct Mesh {
    shared: Arc<Shared>,
    /// Those that something was said to since the last flush.
    touched: Vec<NodeId>,
}

struct Shared {
    contacts: Contacts,
    admission: Mutex<Admission>,
    links: Mutex<BTreeMap<NodeId, Link>>,
    /// Whom a task dials.
    dialed: Mutex<BTreeSet<NodeId>>,
    refusals: Mutex<Refusals>,
    door: Door,
    published: Published,
}

/// What a server that starts again must know of those that it let in before: a number whose data
/// directory is another one by then has forgotten what it promised.
pub trait Memory: Send + 'static {
    /// Remembers the data directory of each member. It survives a crash when this returns.
    ///
    /// # Errors
    ///
    /// The disk says no.
    fn keep(&mut self, incarnations: &BTreeMap<NodeId, Incarnation>) -> io::Result<()>;
}

/// Nothing is remembered.
#[derive(Clone, Copy, Debug)]
pub struct NoMemory;

impl Memory for NoMemory {
    fn keep(&mut self, _: &BTreeMap<NodeId, Incarnation>) -> io::Result<()> {
        Ok(())
    }
}

/// Who is let in.
struct Admission {
    doorman: Doorman,
    memory: Box<dyn Memory>,
    /// What was kept last.
    kept: BTreeMap<NodeId, Incarnation>,
}

impl Admission {
    /// Lets a peer in, which is remembered first; or says why not.
    fn admit(&mut self, hello: &Hello) -> io::Result<Result<(), HelloRefusal>> {
        let admitted = self.doorman.admit(hello);
        let known = self.doorman.incarnations();
        if admitted.is_ok() && known != self.kept {
            self.memory.keep(&known)?;
            self.kept = known;
        }
        Ok(admitted)
    }
}

/// What stands of a connection while it does.
struct Link {
    /// Which of the connections to this peer: only the newest one counts.
    generation: u64,
    /// Of every frame on it: what this server said of itself in its hello.
    header: Header,
    speaker: Speaker,
}

/// A connection on which both said hello.
struct Met {
    stream: Stream,
    /// What came behind the hello.
    input: BytesMut,
    /// The peer's.
    hello: Hello,
    /// This server's.
    header: Header,
}

impl Mesh {
    /// Takes connections at `listener`, dials the members, and hands what they say to `door`.
    /// `contacts` are more addresses to find them at, and `memory` keeps whose data directories were
    /// let in.
    pub fn start(
        contacts: Contacts,
        published: Published,
        doorman: Doorman,
        memory: impl Memory,
        listener: Listener,
        door: Door,
    ) -> Self {
        let shared = Arc::new(Shared {
            contacts,
            admission: Mutex::new(Admission {
                kept: doorman.incarnations(),
                doorman,
                memory: Box::new(memory),
            }),
            links: Mutex::default(),
            dialed: Mutex::default(),
            refusals: Mutex::default(),
            door,
            published,
        });
        shared.meet();
        drop(spawn(Arc::clone(&shared).follow()));
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
        let header = &link.header;
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
    /// Who is let in, by today's configuration.
    fn admission(&self) -> MutexGuard<'_, Admission> {
        let mut admission = lock(&self.admission);
        let config = Config::clone(&self.published.now());
        admission.doorman.update(config);
        admission
    }

    /// Keeps the links to those that the configuration names, while it changes.
    async fn follow(self: Arc<Self>) {
        let mut published = self.published.clone();
        while published.changed().await {
            self.meet();
            self.part();
        }
    }

    /// Dials whom nobody dials yet.
    fn meet(self: &Arc<Self>) {
        let config = self.published.now();
        for peer in self.contacts.wanted(&config) {
            if lock(&self.dialed).insert(peer) {
                drop(spawn(Arc::clone(self).dial(peer)));
            }
        }
    }

    /// Hangs up on those that are no members any more: they hear why when they call again.
    fn part(&self) {
        let config = self.published.now();
        for (peer, link) in &*lock(&self.links) {
            let is_newer = *peer > config.shared().node_last();
            if !is_newer && !config.peers().any(|known| known == *peer) {
                link.speaker.hang_up();
            }
        }
    }

    /// Takes connections, for ever.
    async fn take(self: Arc<Self>, listener: Listener) {
        let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        loop {
            let (stream, from) = listener.accept().await;
            let Ok(stranger) = Arc::clone(&strangers).try_acquire_owned() else {
                tracing::warn!(%from, "too many connections have not said hello; one is closed");
                continue;
            };
            let shared = Arc::clone(&self);
            drop(spawn(async move {
                match shared.greet_caller(stream).await {
                    Ok(met) => {
                        drop(stranger);
                        let peer = met.hello.node;
                        let ended = shared.run(met).await;
                        shared.report(Some(peer), from, &ended).await;
                    }
                    Err((peer, ended)) => shared.report(peer, from, &ended).await,
                }
            }));
        }
    }

    /// Hears who calls, and lets him in or says why not.
    async fn greet_caller(&self, mut stream: Stream) -> Result<Met, (Option<NodeId>, LinkError)> {
        let mut input = BytesMut::new();
        let heard = link::hear_first(&mut stream, &mut input).await;
        let hello = match heard.map_err(|error| (None, error))? {
            First::Hello(hello) => hello,
            First::Founding(word) => {
                let ended = self.answer_founder(&mut stream, &word).await;
                return Err((Some(word.node), ended));
            }
        };
        let known = |error| (Some(hello.node), error);
        let (admitted, ours) = {
            let mut admission = self.admission();
            let admitted = admission.admit(&hello);
            let admitted = admitted.map_err(|error| known(error.into()))?;
            (admitted, admission.doorman.hello(hello.node))
        };
        let word = match admitted {
            Ok(()) => Body::Hello(ours),
            Err(refusal) => Body::Refused(refusal),
        };
        let header = ours.header();
        let said = link::say(&mut stream, &header, &word).await;
        said.map_err(known)?;
        admitted.map_err(|refusal| known(LinkError::Refused(refusal)))?;
        Ok(Met {
            stream,
            input,
            hello,
            header,
        })
    }

    /// Answers one that would found the cluster, and tells how the connection ended.
    async fn answer_founder(&self, stream: &mut Stream, word: &Word) -> LinkError {
        let (answer, ours) = {
            let admission = self.admission();
            let answer = admission.doorman.answer_founder(word);
            (answer, admission.doorman.header())
        };
        let said = match &answer {
            Ok(ours) => {
                let header = peer::founding_header(ours);
                link::say(stream, &header, &Body::Founding(ours.clone())).await
            }
            Err(refusal) => link::say(stream, &ours, &Body::Refused(*refusal)).await,
        };
        match (said, answer) {
            (Err(error), _) => error,
            (Ok(()), Err(refusal)) => LinkError::Refused(refusal),
            (Ok(()), Ok(_)) => LinkError::Closed,
        }
    }

    /// Keeps a connection to a peer, as long as it is one.
    async fn dial(self: Arc<Self>, peer: NodeId) {
        let mut backoff = BACKOFF_MIN;
        let me = self.published.now().me();
        for attempt in 0.. {
            if peer > me {
                clock::sleep(KNOCK_AFTER).await;
                if lock(&self.links).contains_key(&peer) {
                    continue;
                }
            }
            let address = self.contacts.address(&self.published.now(), peer, attempt);
            let Some(address) = address else {
                lock(&self.dialed).remove(&peer);
                return;
            };
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
            Ok(met) => (true, self.run(met).await),
            Err(ended) => (false, ended),
        }
    }

    async fn greet_called(&self, peer: NodeId, address: &str) -> Result<Met, LinkError> {
        let mut stream = link::dial(address).await?;
        let ours = self.admission().doorman.hello(peer);
        let header = ours.header();
        link::say(&mut stream, &header, &Body::Hello(ours)).await?;
        let mut input = BytesMut::new();
        let First::Hello(hello) = link::hear_first(&mut stream, &mut input).await? else {
            return Err(LinkError::Order);
        };
        let mut admitted = self.admission().admit(&hello)?;
        if admitted.is_ok() && hello.node != peer {
            let (expected, found) = (hello.node, peer);
            admitted = Err(HelloRefusal::NotMe { expected, found });
        }
        if let Err(refusal) = admitted {
            link::say(&mut stream, &header, &Body::Refused(refusal)).await?;
            return Err(LinkError::Refused(refusal));
        }
        Ok(Met {
            stream,
            input,
            hello,
            header,
        })
    }

    /// Hands in what the peer says, until the link ends.
    async fn run(&self, met: Met) -> LinkError {
        let hello = met.hello;
        let peer = hello.node;
        let (speaker, hearer) = line::split(met.stream, LIMITS);
        let generation = self.link_up(peer, met.header, speaker);
        let mut frames = Frames::new(hearer, met.input, hello);
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
        lock(&self.refusals).forget(peer);
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
    fn link_up(&self, peer: NodeId, header: Header, speaker: Speaker) -> u64 {
        let mut links = lock(&self.links);
        let generation = links.get(&peer).map_or(1, |link| link.generation + 1);
        let link = Link {
            generation,
            header,
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
}
