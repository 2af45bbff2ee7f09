//! A change of state, as the log carries it.

use super::key::Key;
use super::parts::Parts;
use crate::config::Change;
use crate::ids::{
    Boot, ChangeId, Fence, NodeId, RequestId, RequestSeq, SessionId, TicketId, ZoneId,
};
use crate::limits::{
    HOLDER_BYTES_MAX, IDENTIFIER_BYTES_MAX, PERMITS_MAX, PRINCIPAL_BYTES_MAX, REASON_BYTES_MAX,
    TTL_MS_MAX, TTL_MS_MIN, WAIT_MS_MAX,
};
use alloc::string::String;
use bytes::Bytes;

/// A command with its header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    /// The tenant.
    pub zone: ZoneId,
    /// Who was authenticated; empty if nobody was.
    pub principal: Bytes,
    /// How a retry of the same request is known.
    pub client: Client,
    /// The server that took the request, and will answer it.
    pub via: Via,
    /// What to do.
    pub operation: Operation,
}

impl Command {
    /// Whether it is within every limit; if not, what is wrong with it. The door asks before it
    /// proposes, and the machine asks again: what reached the log is answered, not trusted.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.principal.len() > PRINCIPAL_BYTES_MAX {
            return Err("the principal's name is too long");
        }
        if let Client::Session { seq, .. } = self.client
            && seq.get() == 0
        {
            return Err("requests of a session are numbered from 1");
        }
        self.operation.check(self.client)
    }
}

/// How a retry of a request is known as one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Client {
    /// It is not: only the connection stands for the caller.
    None,
    /// By a key that the caller gave.
    Key(RequestId),
    /// By its number in a session.
    Session {
        /// The session.
        id: SessionId,
        /// The number of this request.
        seq: RequestSeq,
        /// The caller has the answers of all requests up to this one (rule 38).
        done_through: RequestSeq,
    },
}

/// The server that took a request: each (server, boot) is itself a session for what it forwards.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Via {
    /// The server.
    pub node: NodeId,
    /// Its start.
    pub boot: Boot,
    /// The number of the command, unique in that boot.
    pub seq: u64,
}

/// How a lock is shared. The six classical modes meet each other as in the table of `machine/crowd.rs`;
/// permits meet only permits.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Mode {
    /// One holder (EX), beside any number of null ones.
    Exclusive,
    /// Any number of shared holders, and no exclusive one (PR, protected read).
    Shared,
    /// Says that somebody is interested, and excludes nobody (NL).
    Null,
    /// Reads, whatever others do, but for an exclusive one (CR).
    ConcurrentRead,
    /// Writes, beside others that do (CW).
    ConcurrentWrite,
    /// Writes alone, beside those that read whatever others do (PW).
    ProtectedWrite,
    /// So many of the lock's permits.
    Permits {
        /// How many: from 1 to the capacity.
        n: u32,
        /// How many the lock has. Who uses it first says so; the others say the same.
        capacity: u32,
    },
}

impl Mode {
    /// What it is called in text. Permits have their numbers besides.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Shared => "shared",
            Self::Null => "nl",
            Self::ConcurrentRead => "cr",
            Self::ConcurrentWrite => "cw",
            Self::ProtectedWrite => "pw",
            Self::Permits { .. } => "permits",
        }
    }

    /// The mode that is called so, also by its short name where it has a long one (`ex`, `pr`). None for permits: they
    /// are numbers.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "exclusive" | "ex" => Self::Exclusive,
            "shared" | "pr" => Self::Shared,
            "nl" => Self::Null,
            "cr" => Self::ConcurrentRead,
            "cw" => Self::ConcurrentWrite,
            "pw" => Self::ProtectedWrite,
            _ => return None,
        })
    }

    const fn check(self) -> Result<(), &'static str> {
        match self {
            Self::Permits { n, capacity } => match check_capacity(capacity) {
                Ok(()) if n == 0 || n > capacity => Err("the permits are from 1 to the capacity"),
                checked => checked,
            },
            Self::Exclusive
            | Self::Shared
            | Self::Null
            | Self::ConcurrentRead
            | Self::ConcurrentWrite
            | Self::ProtectedWrite => Ok(()),
        }
    }
}

/// How long a grant lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Life {
    /// For this long, renewed by its token.
    Lease {
        /// Milliseconds of agreed time.
        ttl_ms: u64,
    },
    /// Until it is released by proof.
    Static,
    /// As long as the session of the request. (A leased or static grant belongs to no session, also
    /// when one asked for it: the session then only numbers the request.)
    Session,
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Operation {
    /// Take locks, or wait in their lines.
    Acquire(Acquire),
    /// Give a grant back. The server that took the request checked the proof (rule 24).
    Release {
        /// The lock; of a claim over many, any of them.
        key: Key,
        /// The grant.
        fence: Fence,
        /// However often a re-entrant one was entered. Else it ends with the release of the first entry that is
        /// left, and the others count down.
        all: bool,
    },
    /// Let a leased grant live for its ttl from now.
    Renew {
        /// The lock; of a claim over many, any of them.
        key: Key,
        /// The grant.
        fence: Fence,
        /// The new time to live; the grant's own if none.
        ttl_ms: Option<u64>,
    },
    /// Leave the line.
    Cancel {
        /// The place in it.
        ticket: TicketId,
    },
    /// The caller of an offered ticket is still there: make it a grant (rule 32).
    Confirm {
        /// The ticket.
        ticket: TicketId,
    },
    /// Begin a session.
    OpenSession {
        /// Milliseconds of agreed time that it outlives its last keep-alive.
        ttl_ms: u64,
        /// What the client calls itself; empty or unique among the zone's live sessions.
        identifier: Bytes,
        /// The client has many threads: while one of them waits, another one may let go of what it waits for,
        /// so no deadlock is looked for. Without it a claim for which the session would wait for itself is
        /// refused.
        threads: bool,
    },
    /// Let the session and all its grants live for its ttl from now. Never answered from memory
    /// (rule 15).
    KeepAlive {
        /// The session.
        session: SessionId,
    },
    /// End the session and release its grants.
    CloseSession {
        /// The session.
        session: SessionId,
    },
    /// Change how many permits a lock has that is shared by permits. Nobody loses what he holds: after
    /// it shrank nothing is granted until it fits.
    Resize {
        /// The lock.
        key: Key,
        /// How many from now on.
        capacity: u32,
    },
    /// Change how a grant shares some of its locks. For less, or as much, it goes on under its fence, at once.
    /// For more it waits like a claim, before those who hold nothing, and is granted anew, under the next fence.
    Convert(Convert),
    /// Change the configuration that all servers share.
    Configure(Configure),
    /// End a grant that is another's, at once: an operator wants it.
    Force(Force),
}

impl Operation {
    /// Whether it asks for more than what was granted before: refused first where room is scarce.
    pub const fn is_new_work(&self) -> bool {
        match self {
            Self::Acquire(_) | Self::Convert(_) | Self::OpenSession { .. } => true,
            Self::Release { .. }
            | Self::Renew { .. }
            | Self::Cancel { .. }
            | Self::Confirm { .. }
            | Self::KeepAlive { .. }
            | Self::CloseSession { .. }
            | Self::Resize { .. }
            | Self::Force(_)
            | Self::Configure(_) => false,
        }
    }

    fn check(&self, client: Client) -> Result<(), &'static str> {
        match self {
            Self::Acquire(acquire) => acquire.check(client),
            Self::Convert(convert) => convert.check(),
            Self::Renew { ttl_ms, .. } => ttl_ms.map_or(Ok(()), check_ttl),
            Self::OpenSession {
                ttl_ms,
                identifier,
                threads: _,
            } => {
                if identifier.len() > IDENTIFIER_BYTES_MAX {
                    return Err("the session's identifier is too long");
                }
                check_ttl(*ttl_ms)
            }
            Self::Resize { capacity, .. } => check_capacity(*capacity),
            Self::Configure(configure) => configure.change.check_from(&configure.by),
            Self::Force(force) => force.cause.check(),
            Self::Release { .. }
            | Self::Cancel { .. }
            | Self::Confirm { .. }
            | Self::KeepAlive { .. }
            | Self::CloseSession { .. } => Ok(()),
        }
    }
}

impl Acquire {
    fn check(&self, client: Client) -> Result<(), &'static str> {
        if self.holder.len() > HOLDER_BYTES_MAX {
            return Err("the holder's name is too long");
        }
        check_wait(self.wait_ms)?;
        self.parts.iter().try_for_each(|part| part.mode.check())?;
        let mut modes = self.parts.iter().map(|part| part.mode);
        if self.reentrant && modes.any(|mode| matches!(mode, Mode::Permits { .. })) {
            return Err("permits are never re-entrant: each claim takes its own");
        }
        if self.reentrant && self.life != Life::Session {
            return Err("only a lock that lives with its session is re-entrant");
        }
        match (self.life, client) {
            (Life::Lease { ttl_ms }, _) => check_ttl(ttl_ms),
            (Life::Session, Client::None | Client::Key(_)) => {
                Err("a lock that lives with a session is asked for by that session")
            }
            (Life::Session, Client::Session { .. }) | (Life::Static, _) => Ok(()),
        }
    }
}

impl Convert {
    fn check(&self) -> Result<(), &'static str> {
        check_wait(self.wait_ms)?;
        self.parts.iter().try_for_each(|part| part.mode.check())
    }
}

const fn check_wait(wait_ms: u64) -> Result<(), &'static str> {
    if wait_ms > WAIT_MS_MAX {
        return Err("the wait is too long");
    }
    Ok(())
}

const fn check_capacity(capacity: u32) -> Result<(), &'static str> {
    if capacity == 0 || capacity > PERMITS_MAX {
        return Err("the capacity is from 1 to 2^30");
    }
    Ok(())
}

const fn check_ttl(ttl_ms: u64) -> Result<(), &'static str> {
    if ttl_ms < TTL_MS_MIN {
        return Err("the ttl is too short");
    }
    if ttl_ms > TTL_MS_MAX {
        return Err("the ttl is too long");
    }
    Ok(())
}

/// Change the configuration that all servers share: a compare-and-set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Configure {
    /// The change that the caller has seen as the last one.
    pub expect: ChangeId,
    /// Who asks for it, for people; the principal counts more. At most `HOLDER_BYTES_MAX` bytes.
    pub by: String,
    /// What is to be different.
    pub change: Change,
}

/// End a grant at once, whatever its holder believes (rule 16): hard, so that from here on the fence alone protects
/// what it wrote to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Force {
    /// The lock; of a claim over many, any of them.
    pub key: Key,
    /// The grant that the operator has looked at. If another one holds the lock by now, or nobody, it is refused.
    pub fence: Fence,
    /// Who wants it, and why.
    pub cause: Cause,
}

/// Who takes something from its holder, and why: for people, in the log and in what servers write down.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cause {
    /// Who; the principal counts more. At most `HOLDER_BYTES_MAX` bytes.
    pub by: String,
    /// Why: 1 to `REASON_BYTES_MAX` bytes.
    pub reason: String,
}

impl Cause {
    fn check(&self) -> Result<(), &'static str> {
        if self.by.len() > HOLDER_BYTES_MAX {
            return Err("the name of who wants it is too long");
        }
        if self.reason.is_empty() {
            return Err("what is taken from its holder is taken for a reason");
        }
        if self.reason.len() > REASON_BYTES_MAX {
            return Err("the reason is too long");
        }
        Ok(())
    }
}

/// A claim: take all of some locks at once, or wait in their lines.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Acquire {
    /// What, and how each key is shared: all of it, or nothing.
    pub parts: Parts,
    /// How long the grant lives.
    pub life: Life,
    /// How long to wait for it, in milliseconds of agreed time; 0 is "now or not at all".
    pub wait_ms: u64,
    /// The holder's name, for people.
    pub holder: Bytes,
    /// If the session holds all of it already, by a claim that was re-entrant too and as strong in each key, it
    /// enters that grant once more instead of waiting for itself.
    pub reentrant: bool,
}

/// Change how a grant shares its locks: all of the change at once, or wait for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Convert {
    /// The grant.
    pub fence: Fence,
    /// Keys of the grant, and how each is to be shared. Those that are not named stay as they are.
    pub parts: Parts,
    /// How long to wait for more, in milliseconds of agreed time; 0 is "now or not at all".
    pub wait_ms: u64,
}
