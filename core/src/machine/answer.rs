//! What the log decided about a command, and what it decided on its own.

use super::command::{Cause, Life, Mode, Via};
use super::key::Key;
use super::parts::Parts;
use crate::config::Mark;
use crate::config::Unfit;
use crate::ids::{Fence, SessionId, TicketId, ZoneId};
use alloc::vec::Vec;
use bytes::Bytes;

/// A claim that holds: all of its locks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// The tenant.
    pub zone: ZoneId,
    /// The locks, and how each is shared.
    pub parts: Parts,
    /// Greater than every fence granted before in this zone.
    pub fence: Fence,
    /// How long it lives.
    pub life: Life,
    /// The session it belongs to, if any: part of what the token proves.
    pub session: Option<SessionId>,
    /// The holder's name, for people.
    pub holder: Bytes,
    /// What is left of its life at this answer, in milliseconds of agreed time; none if it has no
    /// end of its own.
    pub remaining_ms: Option<u64>,
    /// The answer to a retry: it tells what is, and extends nothing (rule 15).
    pub replayed: bool,
    /// How often its session has entered it by now; zero: it is not re-entrant.
    pub entered: u32,
}

impl Grant {
    /// The lock that names the claim: the first in canonical order. Its token is made of it.
    pub const fn key(&self) -> &Key {
        &self.parts.first().key
    }
}

/// The answer to a command. Refusals are answers, not errors.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// The lock is held.
    Granted(Grant),
    /// The claim waits. Its end comes as an [`Event`].
    Queued {
        /// Its place.
        ticket: TicketId,
        /// How many are before it at most, plus one.
        position: u64,
    },
    /// The answer to a retry: the ticket is offered to its caller, who confirms it within `OFFER_MS`
    /// (rule 32).
    Offered {
        /// The ticket.
        ticket: TicketId,
    },
    /// The grant is no more, or was left once.
    Released {
        /// Which.
        fence: Fence,
        /// It had ended before: a retry, or it expired.
        already: bool,
        /// How often its session is still in it: it is no more if that is zero.
        entered: u32,
    },
    /// The grant lives on.
    Renewed {
        /// Which.
        fence: Fence,
        /// For this long from now, in agreed time.
        ttl_ms: u64,
    },
    /// The grant shares its locks as was asked, under the same fence: it has no more than before.
    Converted {
        /// Which.
        fence: Fence,
    },
    /// The ticket is no more.
    Cancelled {
        /// Which.
        ticket: TicketId,
    },
    /// The session lives.
    SessionOpened {
        /// Which.
        session: SessionId,
        /// For this long after its last keep-alive, in agreed time.
        ttl_ms: u64,
    },
    /// The session and its grants live on.
    KeptAlive {
        /// Which.
        session: SessionId,
        /// For this long from now, in agreed time.
        ttl_ms: u64,
        /// But for the grants under these fences: an operator took them. Told as long as the session lives.
        taken: Vec<Fence>,
    },
    /// The session is no more.
    SessionClosed {
        /// Which.
        session: SessionId,
    },
    /// The lock has another capacity.
    Resized {
        /// How many permits from now on.
        capacity: u32,
    },
    /// The grant was taken from its holder, who may not know yet.
    Forced {
        /// Which.
        fence: Fence,
        /// Who had it.
        holder: Bytes,
        /// What was left of its life, in milliseconds of agreed time: its holder may believe in it for so long, or for
        /// ever if none.
        remaining_ms: Option<u64>,
    },
    /// The shared configuration is another one.
    Configured {
        /// Its name.
        mark: Mark,
    },
    /// Understood, and refused. Nothing changed.
    Refused(Refusal),
}

/// Who stands in the way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Blocker {
    /// The holder's name, for people.
    pub holder: Bytes,
    /// Its grant.
    pub fence: Fence,
    /// How it is shared.
    pub mode: Mode,
}

/// Why a command was refused. Part of the protocol: clients know these by their code.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Somebody else has it, and the caller did not want to wait.
    #[error("the lock is held")]
    Held {
        /// Who; at most a few.
        by: Vec<Blocker>,
    },
    /// The wait ended before the lock was free.
    #[error("the wait ended before the lock was free")]
    WaitTimeout {
        /// Who; at most a few.
        by: Vec<Blocker>,
    },
    /// The ticket was cancelled, by its caller or because its caller went away.
    #[error("the wait was cancelled")]
    Cancelled,
    /// No such grant: it was released, or it expired, or never was.
    #[error("the lock is not held under this fence")]
    NotHeld,
    /// A grant of another kind: it has no ttl of its own.
    #[error("this grant has no ttl to renew")]
    NotLeased,
    /// No such ticket.
    #[error("there is no such ticket")]
    NoSuchTicket,
    /// The session expired or was closed, or never was.
    #[error("the session is gone")]
    SessionGone,
    /// Another live session has this identifier.
    #[error("another live session has this identifier")]
    IdentifierInUse,
    /// The request's number is beyond the window of unconfirmed answers (rule 38).
    #[error("too many requests of this session are unconfirmed")]
    SessionBusy,
    /// The caller confirmed that it has this answer, and asks again.
    #[error("the answer to this request was confirmed and forgotten")]
    Forgotten,
    /// The same request id with a different request.
    #[error("this request id was used for another request")]
    RequestIdReused,
    /// A table of the zone is full.
    #[error("the zone has too many {what}")]
    Quota {
        /// Of what.
        what: Table,
    },
    /// The lock is in use by permits: it has another capacity than the claim says, or the claim is for no
    /// permits.
    #[error("the lock is in use by permits, of a capacity of {capacity}")]
    HasCapacity {
        /// How many it has now.
        capacity: u32,
    },
    /// The lock is not in use by permits, but in modes, or not at all.
    #[error("the lock is not in use by permits")]
    NoPermits,
    /// A re-entrant claim for a lock that its session holds by a re-entrant grant which has not all of the keys, or
    /// one in a weaker mode: it would wait for itself.
    #[error("the session holds the lock by a grant that does not cover the claim")]
    NotCovered {
        /// That grant.
        by: Vec<Blocker>,
    },
    /// A re-entrant grant is converted only while it is entered once: the others who are inside know it by the
    /// token that it has now.
    #[error("the session has entered the grant {entered} times")]
    Entered {
        /// How often.
        entered: u32,
    },
    /// A conversion of the grant waits: it can neither be converted otherwise nor be entered again meanwhile.
    #[error("the grant is being converted")]
    Converting,
    /// One who converts and waits before this one waits for what this one holds. Neither could ever go on.
    #[error("one who converts already waits for this grant")]
    UpgradeDeadlock {
        /// That one.
        by: Vec<Blocker>,
    },
    /// The lock is not held under the fence that the caller looked at.
    #[error("the lock is not held under this fence any more, or never was")]
    FenceChanged {
        /// Who has it now; at most a few.
        by: Vec<Blocker>,
    },
    /// The session would wait for itself: what it waits for waits for what it holds, or asked for before.
    #[error("the session would wait for itself")]
    Deadlock {
        /// The circle, as far as it is shown: what the claim waits for, what that one's session waits for, and
        /// so on, to one of the caller's own. Fence zero: not a grant, but a claim that waits before.
        by: Vec<Blocker>,
    },
    /// So many hold and wait that the search for a deadlock came to its limit.
    #[error("too many hold and wait to say that this is no deadlock")]
    SearchLimit,
    /// The shared configuration changed since the caller looked at it.
    #[error("the configuration changed since: it is at change {now}")]
    ConfigMoved {
        /// What it is by now.
        now: Mark,
    },
    /// The shared configuration can't be like this.
    #[error("{why}")]
    ConfigUnfit {
        /// Why not.
        why: Unfit,
    },
    /// The command is not one that this version knows, or is out of bounds.
    #[error("the command is not valid: {what}")]
    Invalid {
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A table with a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Table {
    /// Locks.
    Locks,
    /// Tickets.
    Tickets,
    /// Sessions.
    Sessions,
    /// Remembered answers.
    Answers,
    /// Zones, of the whole cluster.
    Zones,
    /// How often a session has entered one grant.
    Entries,
    /// Grants that were taken from one session.
    Taken,
}

impl core::fmt::Display for Table {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Locks => "locks",
            Self::Tickets => "tickets",
            Self::Sessions => "sessions",
            Self::Answers => "remembered answers",
            Self::Zones => "zones beside it",
            Self::Entries => "entries of one grant",
            Self::Taken => "grants taken from one session",
        })
    }
}

/// What one entry did, for those who wait: every server gets the same, and tells its own callers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A command was applied, for the first time. Its server answers its caller.
    Answered {
        /// Which command.
        via: Via,
        /// What was decided.
        answer: Answer,
    },
    /// A ticket of a caller without a session reached the front: the server that has the caller
    /// proposes `Confirm` within `OFFER_MS`, or the next is served (rule 32).
    Offered {
        /// Which.
        ticket: TicketId,
    },
    /// A ticket ended: with a grant, or without. Also when its end is the doing of a command (a
    /// confirm, a cancel), whose own answer follows.
    Ended {
        /// Which.
        ticket: TicketId,
        /// How.
        answer: Answer,
    },
    /// A grant ended without its holder asking for it.
    Lost {
        /// The tenant.
        zone: ZoneId,
        /// Its locks, in canonical order.
        keys: Vec<Key>,
        /// The grant.
        fence: Fence,
        /// The session that held it, if any.
        session: Option<SessionId>,
        /// How.
        loss: Loss,
    },
    /// A session ended without its client asking for it.
    SessionExpired {
        /// Which.
        session: SessionId,
    },
}

/// How a grant was lost.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Loss {
    /// Its time was over, or its session's.
    Expired,
    /// An operator took it, at once: its holder may still believe (rule 16).
    Forced(Cause),
}
