//! A native client with a session, as the client library has one, and nothing around it: what is
//! measured is the service.

use bytes::BytesMut;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tenure_core::ids::{Fence, RequestId, RequestSeq, SessionId};
use tenure_core::machine::answer::Answer;
use tenure_core::machine::command::{self, Life, Mode};
use tenure_core::machine::key::Key;
use tenure_core::machine::parts::Parts;
use tenure_core::node::input::{Ask, Proof, Token};
use tenure_core::wire::client::{Caller, Word};
use tenure_rt::net::Stream;

/// Longer than any run.
const SESSION_TTL: Duration = Duration::from_secs(3600);
/// How long one waits for a contended lock.
const WAIT: Duration = Duration::from_secs(600);

pub(super) struct Client {
    stream: Stream,
    caller: Caller,
    input: BytesMut,
    output: BytesMut,
    acquire: Ask,
    key: Key,
    session: SessionId,
    seq: u64,
}

/// What the release must show.
pub(super) struct Grant {
    fence: Fence,
    token: Token,
}

impl Client {
    pub(super) async fn connect(endpoint: SocketAddr, path: &str) -> io::Result<Self> {
        let key = Key::from_path(path).map_err(io::Error::other)?;
        let mut client = Self::connect_only(endpoint, key).await?;
        let open = Ask::OpenSession {
            ttl_ms: u64::try_from(SESSION_TTL.as_millis()).map_err(io::Error::other)?,
            identifier: bytes::Bytes::new(),
            threads: false,
        };
        let id = RequestId::new(1);
        let output = &mut client.output;
        client.caller.ask(id, &command::Client::None, &open, output);
        match client.answer().await? {
            Word::Decided {
                answer: Answer::SessionOpened { session, .. },
                ..
            } => client.session = session,
            word => return Err(unexpected(&word)),
        }
        Ok(client)
    }

    /// Without a session.
    async fn connect_only(endpoint: SocketAddr, key: Key) -> io::Result<Self> {
        let mut client = Self {
            stream: Stream::connect(endpoint).await?,
            caller: Caller::default(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            acquire: take(key.clone())?,
            key,
            session: SessionId::new(0),
            seq: 0,
        };
        let first = client.hear().await?;
        if !matches!(first, Word::Hello { .. }) {
            return Err(unexpected(&first));
        }
        Ok(client)
    }

    pub(super) async fn acquire(&mut self) -> io::Result<Grant> {
        let (id, known) = self.next();
        self.caller.ask(id, &known, &self.acquire, &mut self.output);
        match self.answer().await? {
            Word::Decided {
                answer: Answer::Granted(grant),
                token: Some(token),
                ..
            } => Ok(Grant {
                fence: grant.fence,
                token,
            }),
            word => Err(unexpected(&word)),
        }
    }

    /// Takes another lock, and keeps it.
    pub(super) async fn hold(&mut self, path: &str) -> io::Result<()> {
        let key = Key::from_path(path).map_err(io::Error::other)?;
        let (id, known) = self.next();
        self.caller.ask(id, &known, &take(key)?, &mut self.output);
        match self.answer().await? {
            Word::Decided {
                answer: Answer::Granted(_),
                ..
            } => Ok(()),
            word => Err(unexpected(&word)),
        }
    }

    pub(super) async fn release(&mut self, grant: Grant) -> io::Result<()> {
        let (id, known) = self.next();
        let proof = Proof {
            key: self.key.clone(),
            fence: grant.fence,
            session: Some(self.session),
            token: grant.token,
        };
        let release = Ask::release(proof);
        self.caller.ask(id, &known, &release, &mut self.output);
        match self.answer().await? {
            Word::Decided {
                answer: Answer::Released { already: false, .. },
                ..
            } => Ok(()),
            word => Err(unexpected(&word)),
        }
    }

    fn next(&mut self) -> (RequestId, command::Client) {
        self.seq += 1;
        let known = command::Client::Session {
            id: self.session,
            seq: RequestSeq::new(self.seq),
            done_through: RequestSeq::new(self.seq - 1),
        };
        (RequestId::new(self.seq.into()), known)
    }

    /// The last answer to what was said.
    async fn answer(&mut self) -> io::Result<Word> {
        loop {
            match self.hear().await? {
                Word::Decided {
                    answer: Answer::Queued { .. } | Answer::Offered { .. },
                    ..
                } => {}
                word => return Ok(word),
            }
        }
    }

    async fn hear(&mut self) -> io::Result<Word> {
        loop {
            let heard = self.caller.read(&mut self.input);
            if let Some(heard) = heard.map_err(io::Error::other)? {
                return Ok(heard.word);
            }
            self.stream.write_all(&mut self.output).await?;
            if self.stream.read(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// What a server has applied, by a connection of its own.
pub(super) async fn applied(endpoint: SocketAddr) -> io::Result<u64> {
    let mut client = Client::connect_only(
        endpoint,
        Key::from_path("bench/applied").map_err(io::Error::other)?,
    )
    .await?;
    let id = RequestId::new(1);
    let output = &mut client.output;
    client
        .caller
        .ask(id, &command::Client::None, &Ask::Servers, output);
    match client.answer().await? {
        Word::Servers { applied, .. } => Ok(applied.get()),
        word => Err(unexpected(&word)),
    }
}

fn take(key: Key) -> io::Result<Ask> {
    Ok(Ask::Acquire(command::Acquire {
        parts: Parts::one(key, Mode::Exclusive),
        life: Life::Session,
        wait_ms: u64::try_from(WAIT.as_millis()).map_err(io::Error::other)?,
        holder: bytes::Bytes::new(),
        reentrant: false,
    }))
}

fn unexpected(word: &Word) -> io::Error {
    io::Error::other(format!("not the answer that was waited for: {word:?}"))
}
