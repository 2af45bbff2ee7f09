//! Clients that speak the native protocol (`docs/WIRE.md`). Its words are `core`'s: here are only
//! the sockets.

use bytes::BytesMut;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tenure_core::node::output::{Failure, Reply};
use tenure_core::wire::client::{Asked, Edge, StreamError};
use tenure_host::{Door, Published, Replies};
use tenure_rt::line::{self, Hearer, Limits, Speaker};
use tenure_rt::net::{Listener, Stream};
use tenure_rt::sync::{Semaphore, watch};
use tenure_rt::{clock, spawn};

/// Connections at once.
const CONNECTIONS_MAX: usize = 16 << 10;
/// Answers that one client has not taken. It is not listened to until it listens; one that gets on
/// to the last limit has thousands of requests open and reads nothing, and is hung up on.
const LIMITS: Limits = Limits {
    output_bytes_max: 32 << 20,
    deaf_above_bytes: Some(1 << 20),
};
/// How long a client that sent garbage may take to read what was wrong with it.
const LAST_WORD_PATIENCE: Duration = Duration::from_secs(1);

/// Serves native clients, for ever; while this server only votes, whoever calls is hung up on.
pub async fn serve(listener: Listener, config: Published, door: Door) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let (stream, from) = listener.accept().await;
        if !config.now().takes_clients() {
            tracing::debug!(%from, "a server that only votes takes no clients");
            continue;
        }
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%from, "{CONNECTIONS_MAX} clients are connected; one more is closed");
            continue;
        };
        let (config, door) = (config.clone(), door.clone());
        drop(spawn(async move {
            match connection(stream, config, door).await {
                Ok(()) => {}
                Err(Ended::Stream(error)) => tracing::warn!(%from, "a client is closed: {error}"),
                Err(Ended::Io(error)) => tracing::debug!(%from, %error, "a client went away"),
                Err(Ended::Stopped(_)) => {}
            }
            drop(place);
        }));
    }
}

/// Hangs up on whoever calls, for ever, once there is something that this server `waits` for: another one
/// may serve.
pub async fn turn_away(listener: &Listener, mut waits: watch::Receiver<String>) -> Infallible {
    let waits = async { waits.wait_for(|why| !why.is_empty()).await.is_ok() };
    if !waits.await {
        std::future::pending::<()>().await;
    }
    loop {
        let (_, from) = listener.accept().await;
        tracing::debug!(%from, "this server takes no clients yet");
    }
}

/// Why a connection ended, if not by the client's wish.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Stopped(#[from] tenure_host::Stopped),
}

/// The protocol's half of a connection, for the task that reads and for the node's replies.
#[derive(Clone)]
struct Shared {
    edge: Arc<Mutex<Edge>>,
    config: Published,
    speaker: Speaker,
}

impl Shared {
    fn edge(&self) -> MutexGuard<'_, Edge> {
        self.edge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reply(&self, request: u64, reply: &Reply) {
        let mut edge = self.edge();
        let answer = |out: &mut BytesMut| {
            edge.reply(&self.config.now(), request, reply, out);
        };
        if !self.speaker.say(answer) {
            self.speaker.hang_up();
        }
    }
}

impl Replies for Shared {
    fn deliver(&mut self, request: u64, reply: Reply) {
        self.reply(request, &reply);
    }

    fn flush(&mut self) {
        self.speaker.flush();
    }
}

async fn connection(stream: Stream, config: Published, door: Door) -> Result<(), Ended> {
    let (speaker, mut hearer) = line::split(stream, LIMITS);
    let mut hello = BytesMut::new();
    // Without TLS nobody is proved.
    let edge = Edge::new(bytes::Bytes::new(), &config.now(), &mut hello);
    speaker.say(|out| out.extend_from_slice(&hello));
    speaker.flush();
    let shared = Shared {
        edge: Arc::new(Mutex::new(edge)),
        config,
        speaker,
    };
    let conn = door.open(Box::new(shared.clone())).await?;
    let ended = read(&shared, &mut hearer, &conn).await;
    conn.close().await;
    if matches!(ended, Err(Ended::Stream(_))) {
        let last_word = drain(&mut hearer);
        if clock::timeout(LAST_WORD_PATIENCE, last_word)
            .await
            .is_none()
        {
            tracing::debug!("a client that sent garbage did not close");
        }
    }
    ended
}

/// Hands in what the client asks, until it goes away.
async fn read(shared: &Shared, hearer: &mut Hearer, conn: &tenure_host::Conn) -> Result<(), Ended> {
    let mut input = BytesMut::new();
    let mut asked: Vec<Asked> = Vec::new();
    while hearer.read(&mut input).await? > 0 {
        let mut read = Ok(());
        let take = |out: &mut BytesMut| {
            let mut edge = shared.edge();
            read = edge.read(&shared.config.now(), &mut input, &mut asked, out);
        };
        if !shared.speaker.say(take) {
            return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into());
        }
        for Asked { number, request } in asked.drain(..) {
            if conn.request(number, request).is_err() {
                shared.reply(number, &Reply::Failed(Failure::Busy));
            }
        }
        shared.speaker.flush();
        read?;
    }
    Ok(())
}

/// Reads on without listening, until the client closes: a socket that is closed with bytes unread
/// takes back what was said last.
async fn drain(hearer: &mut Hearer) {
    let mut ignored = BytesMut::new();
    while matches!(hearer.read(&mut ignored).await, Ok(1..)) {
        ignored.clear();
    }
}
