//! The bytes of a command in the log: postcard of the format structs below, kept apart from the
//! live types so that these can change and the log cannot.
//!
//! ```text
//! command = zone  principal  client  via  number  body
//! client  = 0 | 1 request-id | 2 session seq done-through
//! via     = node  boot  seq
//! ```
//! Integers are postcard's varints, byte strings have a varint length before them. The body is a
//! byte string whose meaning the number gives. The header and the bodies are frozen:
//! `codec/tests.rs` holds golden bytes.

use super::command::{Acquire, Client, Command, Configure, Convert, Force, Operation, Via};
use super::key::{Key, KeyError};
use super::parts::{Part, Parts, PartsError};
use crate::config::Change;
use crate::ids::{Boot, Fence, NodeId, RequestId, RequestSeq, SessionId, TicketId, ZoneId};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use form::{
    AcquireFormat, AcquireOneFormat, ClientFormat, ConfigureFormat, ConvertFormat, ForceFormat,
    HeaderFormat, OpenFormat, PartFormat, ReleaseFormat, RenewFormat, ResizeFormat, StartFormat,
};
use serde::{Deserialize, Serialize};

mod form;

/// Why bytes are no command.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CodecError {
    /// Not even the header can be read: nobody knows whom to answer.
    #[error("the header of the command cannot be read")]
    Header,
    /// Bytes after the end.
    #[error("{extra} bytes after the end of the command")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// A number that this version does not know.
    #[error("command number {number} does not exist")]
    Number {
        /// Which.
        number: u16,
    },
    /// The body does not have the form that the number says.
    #[error("the body of command {number} cannot be read")]
    Body {
        /// Of which.
        number: u16,
    },
    /// The key is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The keys are no claim.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// Out of bounds, as [`Command::check`] says.
    #[error("{0}")]
    Invalid(&'static str),
}

impl CodecError {
    /// What a refusal says about it.
    pub const fn what(&self) -> &'static str {
        match self {
            Self::Header => "the header cannot be read",
            Self::Trailing { .. } => "there are bytes after its end",
            Self::Number { .. } => "its number does not exist",
            Self::Body { .. } => "its body cannot be read",
            Self::Key(_) => "its key is not canonical",
            Self::Parts(PartsError::Empty) => "it claims no key",
            Self::Parts(PartsError::Twice) => "it claims a key twice",
            Self::Parts(PartsError::TooMany { .. }) => "it claims too many keys",
            Self::Parts(PartsError::TooLong { .. }) => "its keys are too long together",
            Self::Invalid(what) => what,
        }
    }
}

/// Only read: no version writes it any more.
const ACQUIRE_ONE: u16 = 1;
const RELEASE: u16 = 2;
const RENEW: u16 = 3;
const CANCEL: u16 = 4;
const CONFIRM: u16 = 5;
const OPEN_SESSION: u16 = 6;
const KEEP_ALIVE: u16 = 7;
const CLOSE_SESSION: u16 = 8;
const CONFIGURE: u16 = 9;
const ACQUIRE: u16 = 10;
const RESIZE: u16 = 11;
/// A re-entrant claim: the body of `ACQUIRE`.
const REENTER: u16 = 12;
/// However often it was entered: the body of `RELEASE`.
const RELEASE_ALL: u16 = 13;
const CONVERT: u16 = 14;
/// Hard. One that waits for what the holder believes would be another number.
const FORCE: u16 = 15;
/// A session whose client has many threads.
const OPEN_THREADED: u16 = 30;

/// The bytes of `command`. Whether it is within the limits is for [`Command::check`] to say.
pub fn encode(command: &Command) -> Bytes {
    let (number, body) = encode_body(&command.operation);
    let header = HeaderFormat {
        zone: command.zone.get(),
        principal: &command.principal,
        client: match command.client {
            Client::None => ClientFormat::None,
            Client::Key(id) => ClientFormat::Key(id.get()),
            Client::Session {
                id,
                seq,
                done_through,
            } => ClientFormat::Session(id.get(), seq.get(), done_through.get()),
        },
        via: (
            command.via.node.get(),
            command.via.boot.get(),
            command.via.seq,
        ),
        number,
        body: &body,
    };
    bytes_of(&header).into()
}

fn encode_body(operation: &Operation) -> (u16, Vec<u8>) {
    match operation {
        Operation::Acquire(acquire) => {
            let format = AcquireFormat {
                parts: parts_format(&acquire.parts),
                life: acquire.life.into(),
                holder: &acquire.holder,
                wait_ms: acquire.wait_ms,
            };
            let number = if acquire.reentrant { REENTER } else { ACQUIRE };
            (number, bytes_of(&format))
        }
        Operation::Release { key, fence, all } => (
            if *all { RELEASE_ALL } else { RELEASE },
            bytes_of(&ReleaseFormat {
                key: key.as_bytes(),
                fence: fence.get(),
            }),
        ),
        Operation::Renew { key, fence, ttl_ms } => (
            RENEW,
            bytes_of(&RenewFormat {
                key: key.as_bytes(),
                fence: fence.get(),
                ttl_ms: *ttl_ms,
            }),
        ),
        Operation::Cancel { ticket } => (CANCEL, bytes_of(&ticket.get())),
        Operation::Confirm { ticket } => (CONFIRM, bytes_of(&ticket.get())),
        Operation::OpenSession {
            ttl_ms,
            identifier,
            threads,
        } => open_body(*ttl_ms, identifier, *threads),
        Operation::KeepAlive { session } => (KEEP_ALIVE, bytes_of(&session.get())),
        Operation::CloseSession { session } => (CLOSE_SESSION, bytes_of(&session.get())),
        Operation::Resize { key, capacity } => (
            RESIZE,
            bytes_of(&ResizeFormat {
                key: key.as_bytes(),
                capacity: *capacity,
            }),
        ),
        Operation::Convert(convert) => (
            CONVERT,
            bytes_of(&ConvertFormat {
                fence: convert.fence.get(),
                parts: parts_format(&convert.parts),
                wait_ms: convert.wait_ms,
            }),
        ),
        Operation::Configure(configure) => (
            CONFIGURE,
            bytes_of(&ConfigureFormat {
                expect: configure.expect,
                by: configure.by.as_str(),
                change: &configure.change,
            }),
        ),
        Operation::Force(force) => (
            FORCE,
            bytes_of(&ForceFormat {
                key: force.key.as_bytes(),
                fence: force.fence.get(),
                cause: (&force.cause).into(),
            }),
        ),
    }
}

fn open_body(ttl_ms: u64, identifier: &[u8], threads: bool) -> (u16, Vec<u8>) {
    let number = if threads { OPEN_THREADED } else { OPEN_SESSION };
    (number, bytes_of(&OpenFormat { ttl_ms, identifier }))
}

fn parts_format(parts: &Parts) -> Vec<PartFormat<'_>> {
    let parts = parts.iter().map(|part| PartFormat {
        key: part.key.as_bytes(),
        mode: part.mode.into(),
    });
    parts.collect()
}

fn bytes_of(format: &impl Serialize) -> Vec<u8> {
    let Ok(bytes) = postcard::to_allocvec(format) else {
        panic!("numbers and byte strings always have a form in postcard, and memory for it");
    };
    bytes
}

/// A command whose body was not looked at yet.
#[derive(Clone, Debug)]
pub struct Header {
    /// The tenant.
    pub zone: ZoneId,
    /// Who was authenticated.
    pub principal: Bytes,
    /// How a retry of the same request is known.
    pub client: Client,
    /// The server that took the request.
    pub via: Via,
    number: u16,
    body: Bytes,
}

/// Reads a command and checks every limit. The result shares the bytes of `command`, so what lives
/// long copies what it keeps.
pub fn decode(command: &Bytes) -> Result<Command, CodecError> {
    decode_header(command)?.decode()
}

/// Reads only the header: enough to know the server that waits for an answer.
pub fn decode_header(command: &Bytes) -> Result<Header, CodecError> {
    let (header, rest) =
        postcard::take_from_bytes::<HeaderFormat<'_>>(command).map_err(|_| CodecError::Header)?;
    if !rest.is_empty() {
        return Err(CodecError::Trailing { extra: rest.len() });
    }
    let (node, boot, seq) = header.via;
    Ok(Header {
        zone: ZoneId::new(header.zone),
        principal: command.slice_ref(header.principal),
        client: match header.client {
            ClientFormat::None => Client::None,
            ClientFormat::Key(id) => Client::Key(RequestId::new(id)),
            ClientFormat::Session(id, seq, done_through) => Client::Session {
                id: SessionId::new(id),
                seq: RequestSeq::new(seq),
                done_through: RequestSeq::new(done_through),
            },
        },
        via: Via {
            node: NodeId::new(node),
            boot: Boot::new(boot),
            seq,
        },
        number: header.number,
        body: command.slice_ref(header.body),
    })
}

impl Header {
    /// Reads the body and checks every limit.
    pub fn decode(self) -> Result<Command, CodecError> {
        let operation = self.operation()?;
        let command = Command {
            zone: self.zone,
            principal: self.principal,
            client: self.client,
            via: self.via,
            operation,
        };
        command.check().map_err(CodecError::Invalid)?;
        Ok(command)
    }

    /// Whether it is a change of the configuration, which asks for no lock.
    pub const fn is_configure(&self) -> bool {
        self.number == CONFIGURE
    }

    /// Whether it is a renewal or a keep-alive, which an entry applies before all else (rule 22).
    pub const fn is_renewal(&self) -> bool {
        matches!(self.number, RENEW | KEEP_ALIVE)
    }

    fn operation(&self) -> Result<Operation, CodecError> {
        let session = || self.body::<u128>().map(SessionId::new);
        let ticket = || self.body::<u64>().map(TicketId::new);
        Ok(match self.number {
            ACQUIRE | REENTER => self.acquire()?,
            ACQUIRE_ONE => self.acquire_one()?,
            RELEASE | RELEASE_ALL => {
                let body = self.body::<ReleaseFormat<'_>>()?;
                Operation::Release {
                    key: self.key(body.key)?,
                    fence: Fence::new(body.fence),
                    all: self.number == RELEASE_ALL,
                }
            }
            RENEW => {
                let body = self.body::<RenewFormat<'_>>()?;
                Operation::Renew {
                    key: self.key(body.key)?,
                    fence: Fence::new(body.fence),
                    ttl_ms: body.ttl_ms,
                }
            }
            CANCEL => Operation::Cancel { ticket: ticket()? },
            CONFIRM => Operation::Confirm { ticket: ticket()? },
            OPEN_SESSION | OPEN_THREADED => {
                let body = self.body::<OpenFormat<'_>>()?;
                Operation::OpenSession {
                    ttl_ms: body.ttl_ms,
                    identifier: self.body.slice_ref(body.identifier),
                    threads: self.number == OPEN_THREADED,
                }
            }
            KEEP_ALIVE => Operation::KeepAlive {
                session: session()?,
            },
            CLOSE_SESSION => Operation::CloseSession {
                session: session()?,
            },
            RESIZE => {
                let body = self.body::<ResizeFormat<'_>>()?;
                Operation::Resize {
                    key: self.key(body.key)?,
                    capacity: body.capacity,
                }
            }
            CONVERT => {
                let body = self.body::<ConvertFormat<'_>>()?;
                Operation::Convert(Convert {
                    fence: Fence::new(body.fence),
                    parts: self.parts(&body.parts)?,
                    wait_ms: body.wait_ms,
                })
            }
            CONFIGURE => {
                let body = self.body::<ConfigureFormat<String, Change>>()?;
                Operation::Configure(Configure {
                    expect: body.expect,
                    by: body.by,
                    change: body.change,
                })
            }
            FORCE => {
                let body = self.body::<ForceFormat<'_>>()?;
                Operation::Force(Force {
                    key: self.key(body.key)?,
                    fence: Fence::new(body.fence),
                    cause: body.cause.into(),
                })
            }
            number => return Err(CodecError::Number { number }),
        })
    }

    fn acquire(&self) -> Result<Operation, CodecError> {
        let body = self.body::<AcquireFormat<'_>>()?;
        Ok(Operation::Acquire(Acquire {
            parts: self.parts(&body.parts)?,
            life: body.life.into(),
            wait_ms: body.wait_ms,
            holder: self.body.slice_ref(body.holder),
            reentrant: self.number == REENTER,
        }))
    }

    fn acquire_one(&self) -> Result<Operation, CodecError> {
        let body = self.body::<AcquireOneFormat<'_>>()?;
        Ok(Operation::Acquire(Acquire {
            parts: Parts::one(self.key(body.key)?, (&body.mode).into()),
            life: body.life.into(),
            wait_ms: body.wait_ms,
            holder: self.body.slice_ref(body.holder),
            reentrant: false,
        }))
    }

    fn body<'a, T: Deserialize<'a>>(&'a self) -> Result<T, CodecError> {
        let number = self.number;
        let (body, rest) =
            postcard::take_from_bytes(&self.body).map_err(|_| CodecError::Body { number })?;
        if !rest.is_empty() {
            return Err(CodecError::Trailing { extra: rest.len() });
        }
        Ok(body)
    }

    fn parts(&self, parts: &[PartFormat<'_>]) -> Result<Parts, CodecError> {
        let part = |part: &PartFormat<'_>| {
            Ok(Part {
                key: self.key(part.key)?,
                mode: (&part.mode).into(),
            })
        };
        let parts: Result<Vec<Part>, CodecError> = parts.iter().map(part).collect();
        Ok(Parts::new(parts?)?)
    }

    fn key(&self, bytes: &[u8]) -> Result<Key, CodecError> {
        Ok(Key::parse(self.body.slice_ref(bytes))?)
    }
}

/// What a `LeaderStart` entry notes beside its ballot. `fence_floor` is unix seconds << 20 of the new leader's
/// wall clock; only the first of a cluster's life has any effect (rule 31).
pub fn encode_start(fence_floor: Fence) -> Bytes {
    let start = StartFormat {
        fence_floor: fence_floor.get(),
    };
    bytes_of(&start).into()
}

/// Reads what [`encode_start`] wrote.
pub fn decode_start(command: &[u8]) -> Result<Fence, CodecError> {
    let (start, rest) =
        postcard::take_from_bytes::<StartFormat>(command).map_err(|_| CodecError::Header)?;
    if !rest.is_empty() {
        return Err(CodecError::Trailing { extra: rest.len() });
    }
    Ok(Fence::new(start.fence_floor))
}

#[cfg(test)]
pub(super) mod tests;
