//! A client of each kind, that gets its answer whatever happens to the servers: it asks another
//! server, with the same request, until one answers.

use crate::oracle::Entered;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tenure_core::hash::hash64_after;
use tenure_core::ids::{Seed, SessionId};
use tenure_core::machine::command::{Life, Mode};
use tenure_core::node::input::Token;
use tenure_core::rng::Rng;
use tenure_core::wire::codes;

mod http;
mod native;

pub(crate) use http::HttpSeat;
pub(crate) use native::{Again, NativeSeat};

/// How long one try may take before another server is asked. Longer than an election.
const TRY: Duration = Duration::from_secs(2);
/// How long a request may take in all, whatever is killed meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);
/// The ttl of sessions: longer than the whole test.
pub(crate) const SESSION_TTL: Duration = Duration::from_secs(300);

/// Where the servers are.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    pub(crate) native: Arc<[SocketAddr]>,
    pub(crate) http: Arc<[SocketAddr]>,
}

/// A lock that this client has.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) key: String,
    pub(crate) fence: u64,
    pub(crate) token: Token,
    pub(crate) session: Option<SessionId>,
    /// When the request was first sent: from here its time to live counts.
    pub(crate) sent: Instant,
    pub(crate) entered: Option<Entered>,
    pub(crate) is_replayed: bool,
}

/// What a claim says.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) key: String,
    pub(crate) mode: Mode,
    pub(crate) life: Life,
    pub(crate) wait: Duration,
}

/// How an acquire ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Granted(Grant),
    /// With the code of the refusal.
    Refused(u16),
    /// No server gave an answer in all that time.
    NoAnswer(String),
}

/// How a release ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Released {
    pub(crate) fence: u64,
    pub(crate) already: bool,
}

/// Codes after which the same request is asked again, and tells what became of it.
fn is_passing(code: u16) -> bool {
    [
        codes::BUSY,
        codes::NO_QUORUM,
        codes::OUTCOME_UNKNOWN,
        codes::UNPROVED_SESSION,
        codes::NOT_READY,
    ]
    .iter()
    .any(|passing| passing.number == code)
}

/// A stream of request ids that no other client has.
fn ids(seed: u64, name: &str) -> Rng {
    Rng::new(Seed::new(hash64_after(seed, name.as_bytes())))
}

/// The part of a time to live that a client may count on its own clock (`docs/LOCKS.md`).
pub(crate) fn trusted(ttl: Duration) -> Duration {
    ttl.mul_f64(0.999)
}
