//! A native client: one connection, one request at a time, core's own words.

use bytes::{Bytes, BytesMut};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use tenure_core::ids::{ClusterId, NodeId, RequestId};
use tenure_core::machine::answer::Answer;
use tenure_core::machine::command::{Acquire, Client, Life, Mode};
use tenure_core::machine::key::Key;
use tenure_core::machine::parts::Parts;
use tenure_core::node::input::Ask;
use tenure_core::wire::client::{Caller, Heard, Word};

/// A connection.
#[derive(Debug)]
pub struct Native {
    stream: TcpStream,
    caller: Caller,
    inbox: BytesMut,
    cluster: ClusterId,
    server: NodeId,
}

/// An answer, and what came before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// "You wait": when the server said so before the answer.
    pub queued: Option<Word>,
    /// The answer.
    pub word: Word,
}

impl Native {
    /// Connects, and hears the server's first word.
    ///
    /// # Errors
    ///
    /// Nobody listens, or nobody speaks within `patience`.
    pub fn connect(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let until = Instant::now() + patience;
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        let mut native = Self {
            stream,
            caller: Caller::default(),
            inbox: BytesMut::new(),
            cluster: ClusterId::default(),
            server: NodeId::new(0),
        };
        let heard = native.hear(until)?;
        let Word::Hello {
            cluster, server, ..
        } = heard.word
        else {
            return Err(io::Error::other(format!("not a first word: {heard:?}")));
        };
        (native.cluster, native.server) = (cluster, server);
        Ok(native)
    }

    /// The cluster that the server is of.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The server's number.
    pub fn server(&self) -> NodeId {
        self.server
    }

    /// Asks, and waits for the last answer.
    ///
    /// # Errors
    ///
    /// The connection is of no more use: an answer may still be under way on it.
    pub fn ask(
        &mut self,
        id: RequestId,
        client: &Client,
        ask: &Ask,
        patience: Duration,
    ) -> io::Result<Answered> {
        let until = Instant::now() + patience;
        self.say(id, client, ask)?;
        let mut queued = None;
        loop {
            let heard = self.hear(until)?;
            if heard.id != id {
                return Err(io::Error::other(format!("not asked for: {heard:?}")));
            }
            match heard.word {
                Word::Decided {
                    answer: Answer::Queued { .. } | Answer::Offered { .. },
                    ..
                } => queued = Some(heard.word),
                word => return Ok(Answered { queued, word }),
            }
        }
    }

    /// Asks, and does not wait.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub fn say(&mut self, id: RequestId, client: &Client, ask: &Ask) -> io::Result<()> {
        let mut out = BytesMut::new();
        self.caller.ask(id, client, ask, &mut out);
        self.stream.write_all(&out)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// Asks whether the server is of this cluster.
    ///
    /// # Errors
    ///
    /// The connection is broken, or no answer comes within `patience`.
    pub fn hello(&mut self, cluster: ClusterId, patience: Duration) -> io::Result<Word> {
        let mut out = BytesMut::new();
        self.caller.hello(RequestId::new(1), cluster, &mut out);
        self.stream.write_all(&out)?;
        self.hear(Instant::now() + patience).map(|heard| heard.word)
    }

    /// The next thing that the server says.
    ///
    /// # Errors
    ///
    /// Nothing until then, or nothing more, or nonsense.
    pub fn hear(&mut self, until: Instant) -> io::Result<Heard> {
        loop {
            let read = self.caller.read(&mut self.inbox);
            if let Some(heard) = read.map_err(io::Error::other)? {
                return Ok(heard);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => self.inbox.extend_from_slice(&piece[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A claim on a path.
///
/// # Panics
///
/// It is no path.
pub fn acquire(path: &str, mode: Mode, life: Life, wait: Duration, holder: &str) -> Ask {
    Ask::Acquire(Acquire {
        parts: Parts::one(Key::from_path(path).expect("it is a path"), mode),
        life,
        wait_ms: u64::try_from(wait.as_millis()).expect("it is short"),
        holder: Bytes::copy_from_slice(holder.as_bytes()),
        reentrant: false,
    })
}
