//! What goes wrong.

use tenure_core::client::Failed;
use tenure_core::machine::key::KeyError;
use tenure_core::wire::client::Rejection;
use tenure_core::wire::codes;
use tenure_core::wire::codes::Code;

/// Why a call has no good answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No, or nobody answered.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// The name of a lock that can't be one.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Options that can't work.
    #[error("{0}")]
    Options(&'static str),
    /// The system gave no random number for the client's ids.
    #[error("the system has no random numbers: {0}")]
    Random(getrandom::Error),
    /// The server answered something else than what was asked.
    #[error("the server answered something else than what was asked")]
    Confused,
    /// The client's task ended, with its runtime.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    /// The service's refusal, if that is what it is.
    pub const fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Failed(Failed::Rejected(rejection)) => Some(rejection),
            _ => None,
        }
    }

    /// Whether the service refused with this code.
    pub fn is(&self, code: Code) -> bool {
        self.rejection().is_some_and(|no| no.code == code.number)
    }

    /// Whether somebody else has the lock, at once or to the end of the wait.
    pub fn is_held(&self) -> bool {
        self.is(codes::HELD) || self.is(codes::WAIT_TIMEOUT)
    }

    /// Whether no server answered in time.
    pub const fn is_no_service(&self) -> bool {
        matches!(self, Self::Failed(Failed::TimedOut { .. }) | Self::Closed)
    }
}
