//! The server's half of one connection: bytes in, requests out; replies in, bytes out.

use super::answer;
use super::answer::To;
use super::numbers as n;
use super::numbers::Kind;
use super::registers::{Bad, Registers};
use super::request;
use super::{Command, Param, REQUESTS_MAX, SESSIONS_MAX, STREAMS_MAX, StreamError, lex};
use crate::config::Config;
use crate::ids::SessionId;
use crate::machine::answer::Answer;
use crate::machine::command::Client;
use crate::node::input::{Ask, Request};
use crate::node::output::Reply;
use crate::wire::codes;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bytes::{Buf, Bytes, BytesMut};

/// A request that the connection made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// Its number on this connection, never used twice: `Tag::request`.
    pub number: u64,
    /// What is wanted.
    pub request: Request,
}

/// What is remembered of a request until its last answer.
#[derive(Debug)]
struct Open {
    to: To,
    execute: u16,
    session: Option<SessionId>,
    /// What the server has applied will do for it.
    is_stale: bool,
}

/// The server's half of one connection.
///
/// Its user reads bytes from a socket into a buffer, calls [`Edge::read`], hands what was asked to
/// the node, and brings the node's replies back to [`Edge::reply`]. Both write answers to `out`;
/// a user that can't send them as fast stops reading. After the connection is closed the node is
/// told of everything in [`Edge::open`] that nobody waits any more (`Input::Gone`).
#[derive(Debug)]
pub struct Edge {
    principal: Bytes,
    streams: Vec<Registers>,
    stream: u32,
    open: BTreeMap<u64, Open>,
    next: u64,
    proved: BTreeSet<SessionId>,
    skipped: u64,
}

impl Edge {
    /// A new connection of `principal`, as the transport proved it; empty if nobody was proved.
    /// Writes the hello, which is the server's first word.
    pub fn new(principal: Bytes, config: &Config, out: &mut BytesMut) -> Self {
        let edge = Self {
            principal,
            streams: Vec::new(),
            stream: 0,
            open: BTreeMap::new(),
            next: 1,
            proved: BTreeSet::new(),
            skipped: 0,
        };
        answer::put_hello(out, edge.to(), config);
        edge
    }

    /// Takes whole commands from the front of `bytes`; adds what they ask to `asked`, and what the
    /// protocol itself answers to `out`. After an error `out` says what was wrong; it is sent, and
    /// the connection closed.
    pub fn read(
        &mut self,
        config: &Config,
        bytes: &mut BytesMut,
        asked: &mut Vec<Asked>,
        out: &mut BytesMut,
    ) -> Result<(), StreamError> {
        let mut at = 0;
        let read = loop {
            match lex(bytes.get(at..).unwrap_or_default()) {
                Ok(Some((command, len))) => {
                    at += len;
                    if let Err(error) = self.take(config, command, asked, out) {
                        break Err(error);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        bytes.advance(at);
        if let Err(error) = read {
            answer::put_stream_error(out, self.to(), error);
        }
        read
    }

    /// Writes the reply to a request. False if the request is not open: it was answered.
    pub fn reply(
        &mut self,
        config: &Config,
        number: u64,
        reply: &Reply,
        out: &mut BytesMut,
    ) -> bool {
        let Some(open) = self.open.get(&number) else {
            return false;
        };
        let (session, is_stale) = (open.session, open.is_stale);
        let asked = (session, is_stale);
        answer::put_reply(out, open.to, open.execute, asked, config, reply);
        self.learn_session(session, reply);
        if answer::is_last(reply) {
            self.open.remove(&number);
        }
        true
    }

    /// The numbers of all requests that still wait for their last answer.
    pub fn open(&self) -> impl Iterator<Item = u64> {
        self.open.keys().copied()
    }

    /// How many commands were skipped because this version does not know them.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whoever opened a session on this connection, or showed its secret, may use it here.
    fn learn_session(&mut self, asked: Option<SessionId>, reply: &Reply) {
        match reply {
            Reply::Resumed => self.proved.extend(asked),
            Reply::Decided { answer, .. } => match answer {
                Answer::SessionOpened { session, .. } => {
                    self.proved.insert(*session);
                }
                Answer::SessionClosed { session } => {
                    self.proved.remove(session);
                }
                Answer::Granted(_)
                | Answer::Queued { .. }
                | Answer::Offered { .. }
                | Answer::Released { .. }
                | Answer::Renewed { .. }
                | Answer::Converted { .. }
                | Answer::Cancelled { .. }
                | Answer::KeptAlive { .. }
                | Answer::Resized { .. }
                | Answer::Forced { .. }
                | Answer::Configured { .. }
                | Answer::Refused(_) => {}
            },
            Reply::Config { .. }
            | Reply::Lock { .. }
            | Reply::Verdict { .. }
            | Reply::Locks { .. }
            | Reply::Servers { .. }
            | Reply::Failed(_) => {}
        }
    }

    /// Whom an answer to what is being read now goes to.
    fn to(&self) -> To {
        let registers = usize::try_from(self.stream).ok();
        let registers = registers.and_then(|stream| self.streams.get(stream));
        To {
            stream: self.stream,
            id: registers.map(Registers::request_id).unwrap_or_default(),
        }
    }

    fn registers(&mut self) -> &mut Registers {
        assert!(self.stream < STREAMS_MAX, "a stream is checked when chosen");
        let stream = usize::try_from(self.stream).unwrap_or_default();
        if self.streams.len() <= stream {
            self.streams.resize_with(stream + 1, Registers::default);
        }
        let registers = self.streams.get_mut(stream);
        registers.expect("the streams were just made as many")
    }

    fn take(
        &mut self,
        config: &Config,
        command: Command<'_>,
        asked: &mut Vec<Asked>,
        out: &mut BytesMut,
    ) -> Result<(), StreamError> {
        let number = command.number;
        if let (n::STREAM_ID, Param::Int(stream)) = (number, command.param) {
            let found = u32::try_from(stream).unwrap_or(u32::MAX);
            if found >= STREAMS_MAX {
                return Err(StreamError::BadStream { found });
            }
            self.stream = found;
            return Ok(());
        }
        match (n::kind(number), command.param) {
            (Some(Kind::Reserved), _) => {
                // What a claim can't say here must not be lost on the way to its grant.
                let what = "this version does not serve it";
                self.registers().spoil(codes::UNSUPPORTED, number, what);
            }
            (_, Param::Nothing) => self.execute(config, number, asked, out),
            (Some(_), _) => self.registers().set(command),
            (None, _) => self.skipped += 1,
        }
        Ok(())
    }

    fn execute(
        &mut self,
        config: &Config,
        execute: u16,
        asked: &mut Vec<Asked>,
        out: &mut BytesMut,
    ) {
        if execute == n::ADD_KEY {
            let registers = self.registers();
            if let Err(bad) = registers.add_part() {
                registers.spoil(bad.code, bad.number, bad.what);
            }
            return;
        }
        let to = self.to();
        match execute {
            n::PING => answer::put_pong(out, to, config),
            n::RESET => {
                self.registers().clear();
                answer::put_plain(out, to, n::RESET);
            }
            n::HELLO => self.greet(config, to, out),
            _ => match self.ask(config, execute, to) {
                Ok(ask) => asked.push(ask),
                Err(bad) => answer::put_bad(out, to, execute, bad),
            },
        }
        self.registers().clear_claim();
    }

    fn greet(&mut self, config: &Config, to: To, out: &mut BytesMut) {
        let meant = self.registers().bytes16(n::CLUSTER_ID);
        if meant.is_some_and(|meant| meant != config.cluster().0) {
            let bad = Bad {
                code: codes::WRONG_CLUSTER,
                number: n::CLUSTER_ID,
                what: "this server is of another cluster",
            };
            answer::put_bad(out, to, n::HELLO, bad);
        } else {
            answer::put_hello(out, to, config);
        }
    }

    fn ask(&mut self, config: &Config, execute: u16, to: To) -> Result<Asked, Bad> {
        let mut request = request::read(self.registers(), config.shared(), execute)?;
        if self.open.len() >= REQUESTS_MAX {
            let what = "too many requests of this connection wait for their answers";
            return Err(Bad {
                code: codes::BUSY,
                number: execute,
                what,
            });
        }
        self.check_session(&request, execute)?;
        request.principal = self.principal.clone();
        let (number, session) = (self.next, self.registers().session());
        self.next += 1;
        let open = Open {
            to,
            execute,
            session,
            is_stale: matches!(request.ask, Ask::Stale(_)),
        };
        self.open.insert(number, open);
        Ok(Asked { number, request })
    }

    /// Only who proved a session on this connection speaks in it.
    fn check_session(&self, request: &Request, execute: u16) -> Result<(), Bad> {
        let by_ask = match request.ask {
            Ask::KeepAlive { session } | Ask::CloseSession { session } => Some(session),
            Ask::OpenSession { .. } | Ask::Resume { .. } if self.proved.len() >= SESSIONS_MAX => {
                return Err(Bad {
                    code: codes::BUSY,
                    number: execute,
                    what: "a connection has at most 64 sessions",
                });
            }
            Ask::OpenSession { .. }
            | Ask::Resume { .. }
            | Ask::Acquire(_)
            | Ask::Release { .. }
            | Ask::Renew { .. }
            | Ask::Cancel { .. }
            | Ask::Convert(_)
            | Ask::Resize { .. }
            | Ask::Force(_)
            | Ask::Admin(_)
            | Ask::Inspect { .. }
            | Ask::Verify(_)
            | Ask::List(_)
            | Ask::Stale(_)
            | Ask::Servers => None,
        };
        let by_client = match request.client {
            Client::Session { id, .. } => Some(id),
            Client::None | Client::Key(_) => None,
        };
        match by_ask.or(by_client) {
            Some(session) if !self.proved.contains(&session) => Err(Bad {
                code: codes::UNPROVED_SESSION,
                number: n::SESSION_ID,
                what: "open or resume the session on this connection first",
            }),
            Some(_) | None => Ok(()),
        }
    }
}
