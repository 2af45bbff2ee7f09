//! What goes wrong, the same whoever is asked.

use crate::views::Holder;
use tenure_core::wire::codes;
use tenure_core::wire::codes::{Code, Outcome};

/// Why a call has no good answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// Somebody else has the lock.
    #[error("the lock is held{}", by.first().map_or(String::new(), |holder| format!(" by {}", holder.name)))]
    Held {
        /// Some of those who stand in the way.
        by: Vec<Holder>,
        /// The claim waited for it, to the end of its wait.
        waited: bool,
    },
    /// No such grant: it was released, it expired, or it never was.
    #[error("the grant is not held")]
    NotHeld,
    /// A grant without a ttl of its own can't be renewed.
    #[error("the grant is not leased")]
    NotLeased,
    /// The token is not this grant's.
    #[error("the token is not this grant's")]
    BadProof,
    /// The request is out of bounds; nothing changed.
    #[error("{0}")]
    Invalid(String),
    /// Another refusal by the service.
    #[error("{text} ({code})")]
    Refused {
        /// Its name, as in `docs/WIRE.md`.
        code: String,
        /// For people.
        text: String,
    },
    /// No server answered in time, or none had a quorum.
    #[error("no service: {text}")]
    Unavailable {
        /// What became of the request.
        outcome: Outcome,
        /// For people.
        text: String,
    },
}

impl Error {
    /// Whether somebody else has the lock, at once or to the end of the wait.
    pub const fn is_held(&self) -> bool {
        matches!(self, Self::Held { .. })
    }

    /// The error of a refusal with this code.
    pub(crate) fn of_code(code: Option<Code>, name: &str, text: String, by: Vec<Holder>) -> Self {
        let Some(code) = code else {
            let code = name.to_owned();
            return Self::Refused { code, text };
        };
        match code {
            codes::HELD => Self::Held { by, waited: false },
            codes::WAIT_TIMEOUT => Self::Held { by, waited: true },
            codes::NOT_HELD => Self::NotHeld,
            codes::NOT_LEASED => Self::NotLeased,
            codes::BAD_PROOF => Self::BadProof,
            codes::NO_QUORUM | codes::OUTCOME_UNKNOWN | codes::NOT_READY | codes::BUSY => {
                let outcome = code.outcome;
                Self::Unavailable { outcome, text }
            }
            codes::INVALID | codes::BAD_VALUE | codes::INVALID_COMMAND_BODY => Self::Invalid(text),
            _ => Self::Refused {
                code: code.name.to_owned(),
                text,
            },
        }
    }
}
