//! The client's half of one connection: requests in, bytes out; bytes in, words out.

use super::numbers as n;
use super::numbers::Kind;
use super::registers::{Bad, Registers};
use super::request;
use super::{ANSWER_BYTES_MAX, Param, StreamError, lex, put_execute, put_fixed};
use crate::config::Mark;
use crate::ids::{ChangeId, ClusterId, Fence, NodeId, RequestId, SessionId, Slot};
use crate::machine::answer::{Answer, Blocker, Grant};
use crate::machine::command::{Client, Life};
use crate::node::input::{Ask, Token};
use crate::query::{HolderView, LockView, Page, Verdict, WaiterView};
use crate::time::Stamp;
use crate::wire::codes;
use crate::wire::codes::Outcome;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::{Buf, Bytes, BytesMut};

/// Something that a server said.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// The request that it answers; zero for none.
    pub id: RequestId,
    /// What.
    pub word: Word,
}

/// What a server says.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    /// Who it is.
    Hello {
        /// Its cluster.
        cluster: ClusterId,
        /// Its number.
        server: NodeId,
        /// The version of the protocol.
        version: u16,
    },
    /// It is there.
    Pong,
    /// The registers are forgotten.
    Reset,
    /// What the log decided; never `Answer::Refused`, which is [`Word::Rejected`].
    Decided {
        /// What.
        answer: Answer,
        /// The grant's token, or the session's secret.
        token: Option<Token>,
        /// Where in the log.
        slot: Slot,
    },
    /// The session's secret is right.
    Resumed {
        /// The session.
        session: SessionId,
    },
    /// One lock.
    Lock {
        /// How it is.
        view: LockView,
        /// Where in the log this is true.
        slot: Slot,
        /// The cluster's time.
        stamp: Stamp,
        /// Only the server that says so was asked: it may be over since.
        is_stale: bool,
    },
    /// Whether a grant holds.
    Verdict {
        /// Whether.
        verdict: Verdict,
        /// Where in the log this is true.
        slot: Slot,
        /// The cluster's time.
        stamp: Stamp,
        /// Only the server that says so was asked: it may be over since.
        is_stale: bool,
    },
    /// Some locks.
    Locks {
        /// Which.
        page: Page,
        /// Where in the log this is true.
        slot: Slot,
        /// The cluster's time.
        stamp: Stamp,
        /// Only the server that says so was asked: it may be over since.
        is_stale: bool,
    },
    /// The servers.
    Servers {
        /// All of them.
        servers: Vec<ServerRow>,
        /// Which of them says so.
        by: NodeId,
        /// What it has applied.
        applied: Slot,
        /// The rolling digest of its state there.
        digest: u64,
    },
    /// No.
    Rejected(Rejection),
}

/// A server, as another one knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerRow {
    /// Its number.
    pub node: NodeId,
    /// Where native clients reach it.
    pub client: String,
    /// Where HTTP clients reach it.
    pub http: String,
    /// Where it stands.
    pub location: String,
    /// Whether it leads, as far as the server that answers knows.
    pub leader: bool,
}

/// No, and why.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text} ({})", codes::by_number(*code).map_or("a newer code", |code| code.name))]
pub struct Rejection {
    /// See `wire::codes`; perhaps one that this version does not have.
    pub code: u16,
    /// Whether the same request, unchanged, may succeed later.
    pub retryable: bool,
    /// What became of the request.
    pub outcome: Outcome,
    /// For people.
    pub text: String,
    /// Who stands in the way, if that is the reason.
    pub by: Vec<Blocker>,
    /// Where in the log it was decided; none if the log was not asked.
    pub slot: Option<Slot>,
}

/// Why what a server said can't be understood. The connection is closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AnswerError {
    /// Not the stream of commands.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// An answer without what it must say.
    #[error("the answer {answer:#06x} is wrong: {what} ({number:#06x})")]
    Answer {
        /// The command that ends it.
        answer: u16,
        /// The register.
        number: u16,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An answer without end.
    #[error("an answer of more than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
}

/// The client's half of one connection.
#[derive(Debug, Default)]
pub struct Caller {
    /// The session that the server has in its registers.
    session: Option<SessionId>,
    registers: Registers,
    holders: Vec<HolderView>,
    waiters: Vec<WaiterView>,
    locks: Vec<LockView>,
    servers: Vec<ServerRow>,
    answer_bytes: usize,
    skipped: u64,
    mark: Option<Mark>,
}

impl Caller {
    /// Writes a request. With `Client::Key` the key is `id`; a request in a session that proves a
    /// grant must prove one of that session, or this panics.
    pub fn ask(&mut self, id: RequestId, client: &Client, ask: &Ask, out: &mut BytesMut) {
        request::write(out, &mut self.session, id, client, ask);
    }

    /// Asks whether the server is there.
    pub fn ping(&mut self, id: RequestId, out: &mut BytesMut) {
        put_fixed(out, n::REQUEST_ID, &id.get().to_be_bytes());
        put_execute(out, n::PING);
    }

    /// Asks whether the server is of `cluster`.
    pub fn hello(&mut self, id: RequestId, cluster: ClusterId, out: &mut BytesMut) {
        put_fixed(out, n::REQUEST_ID, &id.get().to_be_bytes());
        put_fixed(out, n::CLUSTER_ID, &cluster.0);
        put_execute(out, n::HELLO);
    }

    /// How many commands were skipped because this version does not know them.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The state of the shared configuration that the server spoke of last.
    pub const fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// Takes the next whole answer from the front of `bytes`.
    pub fn read(&mut self, bytes: &mut BytesMut) -> Result<Option<Heard>, AnswerError> {
        while let Some((command, len)) = lex(bytes)? {
            self.answer_bytes += len;
            if self.answer_bytes > ANSWER_BYTES_MAX {
                return Err(AnswerError::TooLong);
            }
            let number = command.number;
            let known = n::kind(number);
            match (known, command.param) {
                (None | Some(Kind::Reserved), param) => {
                    self.skipped += 1;
                    if param == Param::Nothing {
                        // An answer or a push of a later version: nothing here understands it.
                        self.clear();
                    }
                }
                (Some(_), Param::Nothing) => {}
                (Some(_), _) => self.registers.set(command),
            }
            let ends = known.is_some_and(|kind| matches!(kind, Kind::Execute | Kind::Answer));
            let row = known == Some(Kind::Row);
            bytes.advance(len);
            if row {
                self.row(number).map_err(|bad| wrong(number, bad))?;
            }
            if ends {
                let id = self.registers.request_id();
                self.mark = mark(&self.registers).or(self.mark);
                let word = self.word(number).map_err(|bad| wrong(number, bad))?;
                self.clear();
                return Ok(Some(Heard { id, word }));
            }
        }
        Ok(None)
    }

    fn clear(&mut self) {
        self.registers.clear();
        self.holders.clear();
        self.waiters.clear();
        self.locks.clear();
        self.servers.clear();
        self.answer_bytes = 0;
    }

    /// Closes a row. What is set after it belongs to the next one, but for whose answer it is.
    fn row(&mut self, number: u16) -> Result<(), Bad> {
        if number == n::ADD_KEY {
            return self.registers.add_part();
        }
        let registers = &self.registers;
        match number {
            n::HOLDER_ROW => self.holders.push(HolderView {
                holder: registers.text(n::HOLDER).unwrap_or_default(),
                mode: registers.mode()?,
                fence: registers.fence()?,
                session: registers.session(),
                held_ms: registers.int(n::HELD_MS).unwrap_or(0),
                remaining_ms: registers.int(n::REMAINING_MS),
                entered: registers.entered(),
            }),
            n::WAITER_ROW => self.waiters.push(WaiterView {
                holder: registers.text(n::HOLDER).unwrap_or_default(),
                mode: registers.mode()?,
                ticket: registers.ticket()?,
                waiting_ms: registers.need_int(n::WAITING_MS)?,
            }),
            n::LOCK_ROW => self.locks.push(LockView {
                key: registers.key()?,
                holders: core::mem::take(&mut self.holders),
                waiters: core::mem::take(&mut self.waiters),
                waiting: registers.need_int(n::WAITERS)?,
            }),
            _ => self.servers.push(ServerRow {
                node: NodeId::new(registers.need_int(n::SERVER_ID)?),
                client: text(registers, n::CLIENT_ADDRESS),
                http: text(registers, n::HTTP_ADDRESS),
                location: text(registers, n::LOCATION_DOMAIN),
                leader: registers.flag(n::LEADER)?,
            }),
        }
        self.registers.clear_row();
        Ok(())
    }

    fn word(&mut self, end: u16) -> Result<Word, Bad> {
        let registers = &self.registers;
        Ok(match end {
            n::HELLO => Word::Hello {
                cluster: ClusterId(registers.need_bytes16(n::CLUSTER_ID)?),
                server: NodeId::new(registers.need_int(n::SERVER_ID)?),
                version: u16::try_from(registers.need_int(n::VERSION)?).unwrap_or(u16::MAX),
            },
            n::PONG => Word::Pong,
            n::RESET => Word::Reset,
            n::RESUME_SESSION => Word::Resumed {
                session: registers.need_session()?,
            },
            n::QUERY => Word::Lock {
                view: self.locks.pop().ok_or(missing_lock())?,
                slot: slot(registers)?,
                stamp: stamp(registers)?,
                is_stale: registers.flag(n::STALE)?,
            },
            n::VERIFY => Word::Verdict {
                slot: slot(registers)?,
                stamp: stamp(registers)?,
                is_stale: registers.flag(n::STALE)?,
                verdict: Verdict {
                    key: registers.key()?,
                    fence: registers.fence()?,
                    highest: registers.int(n::HIGHEST_FENCE).map(Fence::new),
                    held: self.holders.pop(),
                },
            },
            n::LIST => Word::Locks {
                slot: slot(registers)?,
                stamp: stamp(registers)?,
                is_stale: registers.flag(n::STALE)?,
                page: Page {
                    more: registers.flag(n::MORE)?,
                    locks: core::mem::take(&mut self.locks),
                },
            },
            n::SERVERS => Word::Servers {
                by: NodeId::new(registers.need_int(n::SERVER_ID)?),
                applied: slot(registers)?,
                digest: registers.need_int(n::DIGEST)?,
                servers: core::mem::take(&mut self.servers),
            },
            n::REJECTED | n::LOCK_FAILED => self.rejection()?,
            _ => decided(registers, end)?,
        })
    }

    fn rejection(&self) -> Result<Word, Bad> {
        let registers = &self.registers;
        let blocker = |view: &HolderView| Blocker {
            holder: view.holder.clone(),
            fence: view.fence,
            mode: view.mode,
        };
        Ok(Word::Rejected(Rejection {
            code: u16::try_from(registers.need_int(n::ERROR_CODE)?).unwrap_or(u16::MAX),
            retryable: registers.flag(n::RETRYABLE)?,
            outcome: Outcome::from_number(registers.need_int(n::OUTCOME)?),
            text: text(registers, n::ERROR_TEXT),
            by: self.holders.iter().map(blocker).collect(),
            slot: registers.int(n::LOG_INDEX).map(Slot::new),
        }))
    }
}

fn decided(registers: &Registers, end: u16) -> Result<Word, Bad> {
    let answer = match end {
        n::LOCKED => Answer::Granted(grant(registers)?),
        n::ACCEPTED => {
            let ticket = registers.ticket()?;
            match registers.int(n::POSITION) {
                Some(position) => Answer::Queued { ticket, position },
                None => Answer::Offered { ticket },
            }
        }
        n::UNLOCK => Answer::Released {
            fence: registers.fence()?,
            already: registers.flag(n::ALREADY)?,
            entered: registers.entered(),
        },
        n::RENEW => Answer::Renewed {
            fence: registers.fence()?,
            ttl_ms: registers.need_int(n::TTL_MS)?,
        },
        n::CONVERT => Answer::Converted {
            fence: registers.fence()?,
        },
        n::CANCEL => Answer::Cancelled {
            ticket: registers.ticket()?,
        },
        n::OPEN_SESSION => Answer::SessionOpened {
            session: registers.need_session()?,
            ttl_ms: registers.need_int(n::TTL_MS)?,
        },
        n::KEEP_ALIVE => Answer::KeptAlive {
            session: registers.need_session()?,
            ttl_ms: registers.need_int(n::TTL_MS)?,
            taken: taken(registers)?,
        },
        n::RESIZE => Answer::Resized {
            capacity: registers.capacity()?,
        },
        n::FORCE_UNLOCK => Answer::Forced {
            fence: registers.fence()?,
            holder: registers.text(n::HOLDER).unwrap_or_default(),
            remaining_ms: registers.int(n::REMAINING_MS),
        },
        n::CLOSE_SESSION => Answer::SessionClosed {
            session: registers.need_session()?,
        },
        number => {
            let what = "a client's command is no answer";
            return Err(super::registers::bad_value(number, what));
        }
    };
    let token = registers.token(n::UNLOCK_TOKEN);
    Ok(Word::Decided {
        answer,
        token: token.or(registers.token(n::SESSION_SECRET)),
        slot: slot(registers)?,
    })
}

fn grant(registers: &Registers) -> Result<Grant, Bad> {
    let life = match registers.need_int(n::LIFE)? {
        0 => Life::Lease {
            ttl_ms: registers.need_int(n::TTL_MS)?,
        },
        1 => Life::Static,
        2 => Life::Session,
        _ => return Err(super::registers::bad_value(n::LIFE, "no such life")),
    };
    Ok(Grant {
        zone: crate::ids::ZoneId::new(0),
        parts: registers.parts()?,
        fence: registers.fence()?,
        life,
        session: registers.session(),
        holder: registers.text(n::HOLDER).unwrap_or_default(),
        remaining_ms: registers.int(n::REMAINING_MS),
        replayed: registers.flag(n::REPLAYED)?,
        entered: registers.entered(),
    })
}

/// What an operator took from a session; nothing from most.
fn taken(registers: &Registers) -> Result<Vec<Fence>, Bad> {
    let bytes = registers.text(n::TAKEN).unwrap_or_default();
    let (fences, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        let what = "fences of 8 bytes were expected";
        return Err(super::registers::bad_value(n::TAKEN, what));
    }
    let fences = fences.iter().map(|fence| u64::from_be_bytes(*fence));
    Ok(fences.map(Fence::new).collect())
}

fn slot(registers: &Registers) -> Result<Slot, Bad> {
    registers.need_int(n::LOG_INDEX).map(Slot::new)
}

fn stamp(registers: &Registers) -> Result<Stamp, Bad> {
    let nanos = registers.need_int(n::AGREED_TIME_NS)?;
    Ok(Stamp::from_nanos(nanos))
}

/// A server of an earlier version says no hash, and so names no state.
fn mark(registers: &Registers) -> Option<Mark> {
    Some(Mark {
        change: ChangeId::new(registers.int(n::CONFIG_ID)?),
        hash: registers.int(n::CONFIG_HASH)?,
    })
}

fn text(registers: &Registers, number: u16) -> String {
    let text: Bytes = registers.text(number).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

const fn missing_lock() -> Bad {
    super::registers::missing(n::LOCK_ROW)
}

const fn wrong(answer: u16, bad: Bad) -> AnswerError {
    AnswerError::Answer {
        answer,
        number: bad.number,
        what: bad.what,
    }
}
