//! How the edges reach the node: bounded, and full is an answer.

use crate::host::HostError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tenure_core::ids::{Boot, NodeId, Tag};
use tenure_core::node::input::Request;
use tenure_core::node::output::Reply;
use tenure_core::replica::message::Message;
use tenure_rt::sync::mpsc;

/// Peer messages that wait for the node. A full queue makes the connection wait, and with it the
/// peer: at most so many batches lie here.
const PEER_QUEUE: usize = 512;
/// Requests that wait for the node. Beyond it callers hear "busy".
const CALLER_QUEUE: usize = 8192;

/// Where the replies to one connection's requests go. Called on the node's thread: it must not
/// wait. A connection that does not take its replies is ended by whoever implements this.
pub trait Replies: Send {
    /// Takes a reply; it may stay here until [`Replies::flush`].
    fn deliver(&mut self, request: u64, reply: Reply);

    /// Sends what was delivered: once for all that one round brought.
    fn flush(&mut self) {}
}

/// The queue is full: the request was not taken, and nothing was changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the server is busy; nothing was changed")]
pub struct Full;

/// The server stops: nobody takes requests any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the server is stopping")]
pub struct Stopped;

/// What a peer's connection tells.
pub(crate) enum FromPeer {
    /// A message, of one of its starts.
    Said(NodeId, Boot, Message),
    /// The connection was made, or broke.
    Link(NodeId, bool),
    /// Stop.
    Stop,
    /// Stop, because this server can't serve: why.
    Fail(HostError),
}

/// What a caller's connection tells.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all of them are requests: a box for each would only cost"
)]
pub(crate) enum FromCaller {
    /// A new one.
    Open(u64, Box<dyn Replies>),
    /// It asks.
    Request(Tag, Request),
    /// Nobody waits for the answer to this any more.
    Gone(Tag),
    /// It is over, and with it all its requests.
    Close(u64),
}

impl fmt::Debug for FromCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(conn, _) => write!(f, "Open({conn})"),
            Self::Request(tag, request) => write!(f, "Request({tag:?}, {request:?})"),
            Self::Gone(tag) => write!(f, "Gone({tag:?})"),
            Self::Close(conn) => write!(f, "Close({conn})"),
        }
    }
}

/// What the host hears. Made with its [`Door`].
pub struct Inbox {
    pub(crate) peers: mpsc::Receiver<FromPeer>,
    pub(crate) callers: mpsc::Receiver<FromCaller>,
}

/// The way in, for every edge. Cloned for each.
#[derive(Clone)]
pub struct Door {
    peers: mpsc::Sender<FromPeer>,
    callers: mpsc::Sender<FromCaller>,
    conns: Arc<AtomicU64>,
}

impl Door {
    /// A door, and the inbox behind it.
    pub fn new() -> (Self, Inbox) {
        let (peers, from_peers) = mpsc::channel(PEER_QUEUE);
        let (callers, from_callers) = mpsc::channel(CALLER_QUEUE);
        let door = Self {
            peers,
            callers,
            conns: Arc::default(),
        };
        let inbox = Inbox {
            peers: from_peers,
            callers: from_callers,
        };
        (door, inbox)
    }

    /// Hands in what a peer said; waits while the node has much to do.
    ///
    /// # Errors
    ///
    /// The server stops.
    pub async fn said(&self, from: NodeId, boot: Boot, message: Message) -> Result<(), Stopped> {
        self.tell(FromPeer::Said(from, boot, message)).await
    }

    /// Tells that the connection to a peer was made, or broke.
    ///
    /// # Errors
    ///
    /// The server stops.
    pub async fn link(&self, peer: NodeId, up: bool) -> Result<(), Stopped> {
        self.tell(FromPeer::Link(peer, up)).await
    }

    /// Asks the host to stop after what it does now.
    pub async fn stop(&self) {
        if self.tell(FromPeer::Stop).await.is_err() {
            tracing::debug!("it stopped already");
        }
    }

    /// Asks the host to stop, because this server can't serve.
    pub async fn fail(&self, why: HostError) {
        if self.tell(FromPeer::Fail(why)).await.is_err() {
            tracing::debug!("it stopped already");
        }
    }

    /// A new connection of a caller. Its replies go to `replies`, which is dropped with it.
    ///
    /// # Errors
    ///
    /// The server stops.
    pub async fn open(&self, replies: Box<dyn Replies>) -> Result<Conn, Stopped> {
        let id = self.conns.fetch_add(1, Ordering::Relaxed);
        let open = FromCaller::Open(id, replies);
        self.callers.send(open).await.map_err(|_| Stopped)?;
        Ok(Conn {
            id,
            callers: self.callers.clone(),
        })
    }

    async fn tell(&self, what: FromPeer) -> Result<(), Stopped> {
        self.peers.send(what).await.map_err(|_| Stopped)
    }
}

/// One connection of a caller. Whoever has it says [`Conn::close`] when the caller is gone.
pub struct Conn {
    id: u64,
    callers: mpsc::Sender<FromCaller>,
}

impl Conn {
    /// Hands in a request. `request` is the caller's number for it, unique on this connection
    /// until its last reply.
    ///
    /// # Errors
    ///
    /// Too many wait already, or the server stops: the edge answers "busy".
    pub fn request(&self, request: u64, what: Request) -> Result<(), Full> {
        let request = FromCaller::Request(self.tag(request), what);
        self.callers.try_send(request).map_err(|_| Full)
    }

    /// Nobody waits for the answer to `request` any more.
    pub async fn gone(&self, request: u64) {
        self.tell(FromCaller::Gone(self.tag(request))).await;
    }

    /// The caller is gone, and waits for nothing any more.
    pub async fn close(self) {
        self.tell(FromCaller::Close(self.id)).await;
    }

    async fn tell(&self, what: FromCaller) {
        // A host that stopped has forgotten all connections anyway.
        drop(self.callers.send(what).await);
    }

    const fn tag(&self, request: u64) -> Tag {
        Tag {
            conn: self.id,
            request,
        }
    }
}
