//! Every refusal and failure by number and by name, for all protocols alike.
//!
//! Numbers and names never change and are never used again: scripts and clients know them. The
//! hundreds tell who says no: 1 the log, 2 the server without the log, 3 the protocol.

use crate::machine::answer::Refusal;
use crate::node::output::Failure;

/// What became of the request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Nothing changed.
    NotApplied,
    /// It may have happened, or may yet.
    Unknown,
    /// It has happened.
    Applied,
}

impl Outcome {
    /// As it stands in problem documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotApplied => "not_applied",
            Self::Unknown => "unknown",
            Self::Applied => "applied",
        }
    }

    /// As it stands in the native protocol.
    pub const fn number(self) -> u8 {
        match self {
            Self::NotApplied => 0,
            Self::Unknown => 1,
            Self::Applied => 2,
        }
    }

    /// The outcome with this number; [`Outcome::Unknown`], which promises least, for a new one.
    pub const fn from_number(number: u64) -> Self {
        match number {
            0 => Self::NotApplied,
            2 => Self::Applied,
            _ => Self::Unknown,
        }
    }
}

/// One way to say no.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Code {
    /// In the native protocol.
    pub number: u16,
    /// In HTTP, on the command line and in logs.
    pub name: &'static str,
    /// Whether the same request, unchanged, may succeed later.
    pub retryable: bool,
    /// What became of the request.
    pub outcome: Outcome,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $number:literal $name:literal $retryable:ident $outcome:ident,)*) => {
        $(
            $(#[$doc])*
            pub const $code: Code = Code {
                number: $number,
                name: $name,
                retryable: codes!(@ $retryable),
                outcome: Outcome::$outcome,
            };
        )*

        /// All of them, by number.
        pub const ALL: &[Code] = &[$($code),*];
    };
    (@ retryable) => { true };
    (@ lasting) => { false };
}

codes! {
    /// Somebody else has the lock.
    HELD = 101 "held" retryable NotApplied,
    /// The wait ended before the lock was free.
    WAIT_TIMEOUT = 102 "wait-timeout" retryable NotApplied,
    /// The ticket was cancelled.
    CANCELLED = 103 "cancelled" lasting NotApplied,
    /// No such grant: released, expired, or never made.
    NOT_HELD = 104 "not-held" lasting NotApplied,
    /// A grant without a ttl of its own.
    NOT_LEASED = 105 "not-leased" lasting NotApplied,
    /// No such ticket.
    NO_SUCH_TICKET = 106 "no-such-ticket" lasting NotApplied,
    /// The session expired, was closed, or never was.
    SESSION_GONE = 107 "session-gone" lasting NotApplied,
    /// Another live session has the identifier.
    IDENTIFIER_IN_USE = 108 "identifier-in-use" retryable NotApplied,
    /// Too many unconfirmed answers in the session.
    SESSION_BUSY = 109 "session-busy" retryable NotApplied,
    /// The caller confirmed this answer and asks again.
    FORGOTTEN = 110 "forgotten" lasting Applied,
    /// One request id, two requests.
    REQUEST_ID_REUSED = 111 "request-id-reused" lasting NotApplied,
    /// A table of the zone is full.
    QUOTA = 112 "quota" retryable NotApplied,
    /// The shared configuration changed since the caller looked at it.
    CONFIG_MOVED = 114 "config-moved" lasting NotApplied,
    /// The shared configuration can't be like this.
    CONFIG_UNFIT = 115 "config-unfit" lasting NotApplied,
    /// Nobody was invited with this secret.
    NOT_INVITED = 116 "not-invited" lasting NotApplied,
    /// The invitation was used by another server.
    INVITATION_USED = 117 "invitation-used" lasting NotApplied,
    /// The invitation's time is over.
    INVITATION_OVER = 118 "invitation-over" lasting NotApplied,
    /// The lock is in use by permits, of another capacity or not for modes.
    HAS_CAPACITY = 119 "has-capacity" lasting NotApplied,
    /// The lock is in use in modes, or not at all.
    NO_PERMITS = 120 "no-permits" lasting NotApplied,
    /// The session holds the lock by a re-entrant grant that does not cover the claim.
    NOT_COVERED = 121 "not-covered" lasting NotApplied,
    /// The grant was entered more than once by its session.
    ENTERED = 122 "entered" retryable NotApplied,
    /// A conversion of the grant waits.
    CONVERTING = 123 "converting" retryable NotApplied,
    /// One who converts already waits for this grant.
    UPGRADE_DEADLOCK = 124 "upgrade-deadlock" retryable NotApplied,
    /// The session would wait for itself.
    DEADLOCK = 128 "deadlock" lasting NotApplied,
    /// Too many hold and wait to say that the claim would close no circle.
    SEARCH_LIMIT = 129 "search-limit" retryable NotApplied,
    /// The lock is not held under the fence that was looked at.
    FENCE_CHANGED = 130 "fence-changed" lasting NotApplied,
    /// Out of bounds, found by the log.
    INVALID_COMMAND_BODY = 113 "invalid-command-body" lasting NotApplied,

    /// A queue of the server is full.
    BUSY = 201 "busy" retryable NotApplied,
    /// No leader, or no quorum, in time.
    NO_QUORUM = 202 "no-quorum" retryable NotApplied,
    /// Proposed, and not answered in time. A retry with the same request id tells.
    OUTCOME_UNKNOWN = 203 "outcome-unknown" retryable Unknown,
    /// A wrong token or secret.
    BAD_PROOF = 204 "bad-proof" lasting NotApplied,
    /// Out of bounds, found by the server.
    INVALID = 205 "invalid" lasting NotApplied,
    /// The disk of the server is full. Another one may have room.
    DISK_FULL = 206 "disk-full" retryable NotApplied,

    /// The server takes no clients now; another one may.
    NOT_READY = 207 "not-ready" retryable NotApplied,

    /// An execute command that this server does not know.
    INVALID_COMMAND = 301 "invalid-command" lasting NotApplied,
    /// A length over its cap. The connection is closed.
    TOO_LONG = 302 "too-long" lasting NotApplied,
    /// A stream number over 63. The connection is closed.
    BAD_STREAM = 303 "bad-stream" lasting NotApplied,
    /// A register that the command needs was not set.
    MISSING = 304 "missing" lasting NotApplied,
    /// A register holds what the command can't use.
    BAD_VALUE = 305 "bad-value" lasting NotApplied,
    /// No such zone.
    UNKNOWN_ZONE = 306 "unknown-zone" lasting NotApplied,
    /// This is not the cluster that the client looks for.
    WRONG_CLUSTER = 307 "wrong-cluster" lasting NotApplied,
    /// The session was neither opened nor resumed on this connection.
    UNPROVED_SESSION = 308 "unproved-session" retryable NotApplied,
    /// A command or register with a number of its own, which this version does not serve.
    UNSUPPORTED = 309 "unsupported" lasting NotApplied,
    /// No such resource, or no such verb on it.
    NOT_FOUND = 310 "not-found" lasting NotApplied,
    /// The resource does not know this method.
    METHOD_NOT_ALLOWED = 311 "method-not-allowed" lasting NotApplied,
    /// A parameter or field that the request does not have.
    UNKNOWN_FIELD = 312 "unknown-field" lasting NotApplied,
    /// A body that is neither a form nor JSON.
    UNSUPPORTED_MEDIA_TYPE = 313 "unsupported-media-type" lasting NotApplied,
    /// The condition names another fence than the token.
    FENCE_MISMATCH = 314 "fence-mismatch" lasting NotApplied,
}

/// The code of a refusal.
pub const fn of_refusal(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::Held { .. } => HELD,
        Refusal::WaitTimeout { .. } => WAIT_TIMEOUT,
        Refusal::Cancelled => CANCELLED,
        Refusal::NotHeld => NOT_HELD,
        Refusal::NotLeased => NOT_LEASED,
        Refusal::NoSuchTicket => NO_SUCH_TICKET,
        Refusal::SessionGone => SESSION_GONE,
        Refusal::IdentifierInUse => IDENTIFIER_IN_USE,
        Refusal::SessionBusy => SESSION_BUSY,
        Refusal::Forgotten => FORGOTTEN,
        Refusal::RequestIdReused => REQUEST_ID_REUSED,
        Refusal::Quota { .. } => QUOTA,
        Refusal::HasCapacity { .. } => HAS_CAPACITY,
        Refusal::NoPermits => NO_PERMITS,
        Refusal::NotCovered { .. } => NOT_COVERED,
        Refusal::Entered { .. } => ENTERED,
        Refusal::Converting => CONVERTING,
        Refusal::UpgradeDeadlock { .. } => UPGRADE_DEADLOCK,
        Refusal::Deadlock { .. } => DEADLOCK,
        Refusal::SearchLimit => SEARCH_LIMIT,
        Refusal::FenceChanged { .. } => FENCE_CHANGED,
        Refusal::ConfigMoved { .. } => CONFIG_MOVED,
        Refusal::ConfigUnfit { .. } => CONFIG_UNFIT,
        Refusal::Invalid { .. } => INVALID_COMMAND_BODY,
    }
}

/// The code of a failure.
pub const fn of_failure(failure: &Failure) -> Code {
    match failure {
        Failure::Busy => BUSY,
        Failure::DiskFull => DISK_FULL,
        Failure::NotReady(_) => NOT_READY,
        Failure::NoQuorum => NO_QUORUM,
        Failure::Unknown => OUTCOME_UNKNOWN,
        Failure::BadProof => BAD_PROOF,
        Failure::Invalid(_) => INVALID,
    }
}

/// The code with this number, if this version has it.
pub fn by_number(number: u16) -> Option<Code> {
    ALL.iter().find(|code| code.number == number).copied()
}

#[cfg(test)]
mod tests;
