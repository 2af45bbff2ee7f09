//! Servers with empty data directories that found a cluster of their list together: they ask each other how
//! they are until all of them agree (`tenure_core::founding`). There is no mesh yet, and no node.

use crate::link::{self, First, LinkError};
use bytes::BytesMut;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tenure_core::config::Config;
use tenure_core::founding::{Founders, Founding, Obstacle, Record, Stage, Step, Word};
use tenure_core::ids::{Incarnation, NodeId};
use tenure_core::time::Timestamp;
use tenure_core::wire::peer::{self, Body, HelloRefusal};
use tenure_rt::net::{Listener, Stream};
use tenure_rt::sync::{Notify, Semaphore, watch};
use tenure_rt::{clock, select, spawn};

/// Connections that have not asked yet.
const STRANGERS_MAX: usize = 32;
/// The wait before all are asked again, doubled up to the last while nobody has news.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// The wait when somebody has: for a stranger can have news all the time.
const PAUSE: Duration = Duration::from_millis(5);
/// How long servers that are started together may take before it is worth a word.
const SILENCE_AT_FIRST: Duration = Duration::from_secs(1);
/// After how long the same is said again.
const REPEAT_AFTER: Duration = Duration::from_secs(30);

/// Why this server founds no cluster.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    /// The cluster stands, and will never have this server like this.
    #[error("server {node} at {address} refuses server {me}: {refusal}")]
    Refused {
        /// This server.
        me: NodeId,
        /// Who refuses it.
        node: NodeId,
        /// Where.
        address: String,
        /// Why.
        refusal: HelloRefusal,
    },
    /// What must not be forgotten can't be kept.
    #[error("the founding can't be kept: {0}")]
    Memory(#[from] io::Error),
}

/// Founds a cluster with all others of the list, however long they take, and answers them at `listener`
/// meanwhile. `keep` makes a record durable. `waits` is told whom this server waits for, after a moment.
///
/// # Errors
///
/// See [`FoundingError`].
pub async fn found(
    listener: &Listener,
    founding: Founding,
    mut keep: impl FnMut(&Record) -> io::Result<()>,
    waits: &watch::Sender<String>,
) -> Result<Founders, FoundingError> {
    // Before the first word.
    keep(founding.record())?;
    let shared = Arc::new(Shared {
        founding: Mutex::new(founding),
        heard: Mutex::default(),
        news: Notify::new(),
    });
    select! { biased;
        founders = shared.seek(&mut keep, waits) => founders,
        never = shared.listen(listener) => match never {},
    }
}

/// What was heard when all others were asked once. Who did not answer is not in it.
#[derive(Default)]
struct Round {
    answers: BTreeMap<NodeId, Word>,
    /// Who answers at a member's address, and would have nothing to do with this server.
    refusals: BTreeMap<NodeId, HelloRefusal>,
}

/// Whether a refusal is the last word of the cluster that this server was to found. The others are those of a
/// stranger, who may stand at a member's address for a while: a port that was another server's, a file that is
/// not mended yet.
const fn is_final(refusal: &HelloRefusal) -> bool {
    match refusal {
        HelloRefusal::Stands { .. }
        | HelloRefusal::Incarnation { .. }
        | HelloRefusal::Removed { .. } => true,
        HelloRefusal::Version { .. }
        | HelloRefusal::Cluster { .. }
        | HelloRefusal::UnknownMember { .. }
        | HelloRefusal::NotMe { .. }
        | HelloRefusal::OldBoot { .. }
        | HelloRefusal::Forked { .. }
        | HelloRefusal::NotApproved { .. } => false,
    }
}

struct Shared {
    founding: Mutex<Founding>,
    /// How each member was that asked last.
    heard: Mutex<BTreeMap<NodeId, (Incarnation, Stage)>>,
    /// A member is not as it was: ask all again.
    news: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Asks all, round by round, until all agree.
    async fn seek(
        &self,
        keep: &mut impl FnMut(&Record) -> io::Result<()>,
        waits: &watch::Sender<String>,
    ) -> Result<Founders, FoundingError> {
        let mut teller = Teller::new(waits);
        let mut backoff = BACKOFF_MIN;
        loop {
            let Round { answers, refusals } = self.ask_all().await?;
            let step = lock(&self.founding).judge(&answers);
            match step {
                Step::Keep(record) => {
                    keep(&record)?;
                    lock(&self.founding).kept(record);
                }
                Step::Found(founders) => return Ok(founders),
                Step::Wait(obstacles) => {
                    let config = lock(&self.founding).config().clone();
                    teller.tell(&whom(&config, &obstacles, &refusals));
                    backoff = select! { biased;
                        () = self.news.notified() => {
                            clock::sleep(PAUSE).await;
                            BACKOFF_MIN
                        }
                        () = clock::sleep(backoff) => (backoff * 2).min(BACKOFF_MAX),
                    };
                }
            }
        }
    }

    /// Asks every other member once.
    async fn ask_all(&self) -> Result<Round, FoundingError> {
        let founding = lock(&self.founding).clone();
        let config = founding.config();
        let ask = |peer| {
            let member = config.shared().member(peer);
            let address = member.map_or_else(String::new, |member| member.peer.clone());
            let question = founding.word(peer);
            (peer, address.clone(), spawn(ask(address, question)))
        };
        let asked: Vec<_> = config.peers().map(ask).collect();
        let mut round = Round::default();
        for (node, address, asking) in asked {
            match asking.await {
                Ok(Ok(word)) => {
                    lock(&self.founding).hear(&word);
                    round.answers.insert(node, word);
                }
                Ok(Err(LinkError::Unwelcome(refusal))) if is_final(&refusal) => {
                    return Err(FoundingError::Refused {
                        me: config.me(),
                        node,
                        address,
                        refusal,
                    });
                }
                Ok(Err(LinkError::Unwelcome(refusal))) => {
                    round.refusals.insert(node, refusal);
                }
                Ok(Err(error)) => tracing::debug!("server {node} at {address}: {error}"),
                Err(error) => tracing::error!(%error, "asking a server ended early"),
            }
        }
        Ok(round)
    }

    /// Takes questions, for ever.
    async fn listen(self: &Arc<Self>, listener: &Listener) -> Infallible {
        let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        loop {
            let (stream, from) = listener.accept().await;
            let Ok(stranger) = Arc::clone(&strangers).try_acquire_owned() else {
                tracing::warn!(%from, "too many connections have not asked yet; one is closed");
                continue;
            };
            let shared = Arc::clone(self);
            drop(spawn(async move {
                if let Err(error) = shared.answer(stream).await {
                    tracing::debug!(%from, %error, "a question has no answer");
                }
                drop(stranger);
            }));
        }
    }

    async fn answer(&self, mut stream: Stream) -> Result<(), LinkError> {
        let mut input = BytesMut::new();
        match link::hear_first(&mut stream, &mut input).await? {
            // It knows a cluster that stands: if this server belongs to it, a question will tell.
            First::Hello(_) => self.news.notify_one(),
            First::Founding(question) => {
                let ours = {
                    let mut founding = lock(&self.founding);
                    founding.hear(&question);
                    founding.word(question.node)
                };
                say(&mut stream, ours).await?;
                if self.is_news(question) {
                    self.news.notify_one();
                }
            }
        }
        Ok(())
    }

    /// Whether a member is not as it was when it asked last.
    fn is_news(&self, word: Word) -> bool {
        let is_member = lock(&self.founding)
            .config()
            .peers()
            .any(|peer| peer == word.node);
        let now = (word.incarnation, word.stage);
        is_member && lock(&self.heard).insert(word.node, now.clone()) != Some(now)
    }
}

async fn say(stream: &mut Stream, word: Word) -> Result<(), LinkError> {
    let header = peer::founding_header(&word);
    link::say(stream, &header, &Body::Founding(word)).await
}

async fn ask(address: String, question: Word) -> Result<Word, LinkError> {
    let mut stream = link::dial(&address).await?;
    say(&mut stream, question).await?;
    let mut input = BytesMut::new();
    match link::hear_first(&mut stream, &mut input).await? {
        First::Founding(word) => Ok(word),
        First::Hello(_) => Err(LinkError::Order),
    }
}

/// Says whom this server waits for: in the log once, and then every so often; and to its callers.
struct Teller<'w> {
    waits: &'w watch::Sender<String>,
    began: Timestamp,
    said_at: Option<Timestamp>,
}

impl<'w> Teller<'w> {
    fn new(waits: &'w watch::Sender<String>) -> Self {
        Self {
            waits,
            began: clock::now(),
            said_at: None,
        }
    }

    fn tell(&mut self, text: &str) {
        let now = clock::now();
        if now.since(self.began) < SILENCE_AT_FIRST {
            return;
        }
        let is_old = |at| now.since(at) >= REPEAT_AFTER;
        if *self.waits.borrow() != text || self.said_at.is_none_or(is_old) {
            tracing::warn!("a new cluster begins when all its members are there: {text}");
            self.said_at = Some(now);
        }
        self.waits.send_replace(text.to_owned());
    }
}

/// Whom this server waits for, where, and why.
fn whom(
    config: &Config,
    obstacles: &[(NodeId, Obstacle)],
    refusals: &BTreeMap<NodeId, HelloRefusal>,
) -> String {
    let one = |(node, obstacle): &(NodeId, Obstacle)| {
        let member = config.shared().member(*node);
        let address = member.map_or("", |member| &member.peer);
        let refusal = refusals.get(node);
        let why = refusal.map_or_else(|| obstacle.to_string(), why_refused);
        format!("server {node} at {address}: {why}")
    };
    let all: Vec<String> = obstacles.iter().map(one).collect();
    format!("waiting for {}", all.join("; "))
}

fn why_refused(refusal: &HelloRefusal) -> String {
    format!("who answers there refuses this server: {refusal}")
}
