//! The client's half of the service, as a pure state machine with one door.
//!
//! [`Client`] numbers requests and repeats them, with the same number, over other servers until one
//! answers; opens a session and takes it along; renews what it holds; and says until when its user
//! may believe to hold it. It has no clock, no socket, and no randomness but the seed, so it is
//! simulated together with the servers.
//!
//! What it may believe is the point (`docs/LOCKS.md`): belief grows only by an answer, and counts
//! from the moment when the request that the answer echoes was *first* sent (rule 14), less what two
//! clocks may drift apart ([`belief`]). The answer to a retry extends nothing (rule 15).

use crate::config::Mark;
use crate::ids::{ClusterId, Fence, RequestId, RequestSeq, Seed};
use crate::limits::IDENTIFIER_BYTES_MAX;
use crate::machine::command::{Acquire, Force};
use crate::machine::parts::Parts;
use crate::node::input::{Ask, Proof};
use crate::rng::Rng;
use crate::time::Timestamp;
use crate::wire::client::{AnswerError, Caller, Rejection, Word};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};
use core::time::Duration;

pub mod belief;

mod answers;
mod calls;
mod holds;
mod link;
mod session;

use calls::{Kind, Pending};
use holds::Hold;
use link::Link;

pub use link::CONNECT_PATIENCE;
use session::Session;

/// Calls that wait for their answer; one more is refused.
pub const CALLS_MAX: usize = 2048;
/// Grants that one client holds; one more is refused.
pub const HOLDS_MAX: usize = 64 << 10;

/// How often in one step something that was due makes something else due.
const DUE_ROUNDS_MAX: u32 = 8;

/// What its user calls one call. Never used twice.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct CallId(pub u64);

/// What its user calls one connection.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct LinkId(pub u64);

/// How the client behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many servers it knows the addresses of; 1 at least.
    pub servers: usize,
    /// The cluster that it means, if it cares.
    pub cluster: Option<ClusterId>,
    /// The session that it opens; without one, its claims are remembered by their ids for 60 s.
    pub session: Option<SessionSettings>,
    /// How long a call is tried; a claim's wait is added.
    pub patience: Duration,
}

/// The session that a client opens.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// How long it outlives its last keep-alive, in milliseconds.
    pub ttl_ms: u64,
    /// What the client calls itself; may be empty.
    pub identifier: Bytes,
    /// Whether one of its tasks may let go of what another one waits for: if not, a claim for which the session
    /// would wait for itself is refused.
    pub threads: bool,
}

/// What the user wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Want {
    /// Take a lock, and keep it: the client renews it until it is released, or lost.
    Acquire {
        /// What.
        acquire: Acquire,
        /// Whether the client renews a lease on its own.
        renew: bool,
    },
    /// Give back a grant of this client.
    Release {
        /// Which.
        fence: Fence,
    },
    /// Give back a grant by its proof, whoever took it.
    ReleaseBy(Proof),
    /// The same, however often its session has entered it.
    ReleaseAll(Proof),
    /// Renew a grant by its proof, whoever took it. If it is one of this client, that extends what
    /// the client believes.
    RenewBy {
        /// Which.
        proof: Proof,
        /// The new time to live.
        ttl_ms: Option<u64>,
    },
    /// Take a grant from its holder, at once, whatever he believes.
    Force(Force),
    /// Another share of what a grant of this client holds. For more it becomes another grant, whose fence and token the
    /// answer tells; what is believed of it counts from the renewals of the old one, of which nothing is told any more.
    Convert {
        /// Which.
        fence: Fence,
        /// Keys of it, the first of them all among them, and how each is to be shared.
        parts: Parts,
        /// How long to wait for more, in milliseconds.
        wait_ms: u64,
    },
    /// A question: `Inspect`, `Verify`, `List`, `Servers`, or one of the first three as `Stale`.
    Query(Ask),
    /// End the session, and with it all that it holds. Opened again by the next call.
    CloseSession,
}

/// What happened outside.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed, and nothing else.
    Tick,
    /// Nothing more is at hand: what is to be said is sent.
    Flush,
    /// The user wants something.
    Call {
        /// What he calls it.
        call: CallId,
        /// What.
        want: Want,
    },
    /// The user does not want it any more. A claim leaves its line; if it is granted all the same,
    /// it is given back.
    Abandon {
        /// Which call.
        call: CallId,
    },
    /// The user takes care of a grant himself: the client neither renews it nor speaks of it.
    Forget {
        /// Which.
        fence: Fence,
    },
    /// The connection that was asked for is there.
    Connected {
        /// Which.
        link: LinkId,
    },
    /// Bytes came.
    Received {
        /// On which connection.
        link: LinkId,
        /// Which.
        bytes: Bytes,
    },
    /// The connection broke, or could not be made.
    Down {
        /// Which.
        link: LinkId,
    },
}

/// What to do outside.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all outputs are answers, and they are not kept"
)]
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Connect to a server; then say `Connected`, or `Down`. An earlier connection is closed.
    Connect {
        /// What the client calls the connection.
        link: LinkId,
        /// Which server, from 0.
        server: usize,
    },
    /// Close the connection; nothing is said about it any more.
    Disconnect {
        /// Which.
        link: LinkId,
    },
    /// Send, in order.
    Send {
        /// On which connection.
        link: LinkId,
        /// What.
        bytes: Bytes,
    },
    /// The end of a call.
    Answer {
        /// Which call.
        call: CallId,
        /// How it ended.
        result: Result<Word, Failed>,
    },
    /// Something about a grant of this client.
    Grant {
        /// Which.
        fence: Fence,
        /// What.
        news: News,
    },
    /// The session ended, and not because the user closed it. All that it held is lost.
    SessionLost,
}

/// What is to be known about a grant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum News {
    /// It may be believed in until then, by the user's own clock; for ever if none.
    Until(Option<Timestamp>),
    /// No renewal was answered for a while: it may soon be lost.
    Jeopardy,
    /// It must not be believed in any more.
    Lost(Loss),
}

/// How a grant was lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Loss {
    /// Its time is over, by this client's clock, and no renewal was answered.
    #[error("its time is over and no renewal was answered")]
    Time,
    /// The service said that it is not held.
    #[error("the service says that it is not held")]
    Refused,
    /// Its session ended.
    #[error("its session ended")]
    Session,
    /// An operator took it, while it was believed in.
    #[error("an operator took it")]
    Taken,
}

/// Why a call has no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Failed {
    /// The service said no.
    #[error(transparent)]
    Rejected(Rejection),
    /// The client has too many calls or grants; nothing was sent.
    #[error("too many calls of this client wait for their answers")]
    Busy,
    /// The fence is not that of a grant of this client.
    #[error("this client holds nothing under fence {0}")]
    NotMine(Fence),
    /// Out of bounds; nothing was sent.
    #[error("{0}")]
    Invalid(&'static str),
    /// No server answered in time.
    #[error("no server answered in time{}", if *.sent { "; it may have happened" } else { "" })]
    TimedOut {
        /// Whether it was sent: if so, it may have happened, or may yet.
        sent: bool,
    },
    /// The session ended before the answer came.
    #[error("the session ended")]
    SessionLost,
    /// It was granted so late that its time was over when the answer came; it is given back.
    #[error("the grant was over when its answer came")]
    TooLate,
}

/// The client's half of the service.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    rng: Rng,
    /// Half of every request id: what makes them this client's.
    ids: u64,
    next_id: u64,
    link: Link,
    session: Session,
    caller: Caller,
    /// The newest state of the shared configuration that any server spoke of.
    config: Option<Mark>,
    incoming: BytesMut,
    outgoing: BytesMut,
    pending: BTreeMap<RequestId, Pending>,
    calls: BTreeMap<CallId, RequestId>,
    /// Numbers of requests in the session that have no answer yet (rule 38).
    unanswered: BTreeSet<RequestSeq>,
    next_seq: RequestSeq,
    holds: BTreeMap<Fence, Hold>,
    /// Nothing is due before.
    wake: Timestamp,
}

impl Client {
    /// A client that begins to connect at its first step. Panics without a server.
    pub fn new(settings: Settings, seed: Seed, now: Timestamp) -> Self {
        assert!(settings.servers > 0, "a client knows at least one server");
        let identifier = settings.session.as_ref().map(|session| &session.identifier);
        assert!(
            identifier.is_none_or(|identifier| identifier.len() <= IDENTIFIER_BYTES_MAX),
            "an identifier has at most 1 KiB"
        );
        let mut rng = Rng::new(seed);
        let first = rng.below(u64::try_from(settings.servers).unwrap_or(1));
        let link = Link::new(usize::try_from(first).unwrap_or(0), now);
        Self {
            ids: rng.next(),
            rng,
            settings,
            next_id: 1,
            link,
            session: Session::default(),
            caller: Caller::default(),
            config: None,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            pending: BTreeMap::new(),
            calls: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            next_seq: RequestSeq::new(1),
            holds: BTreeMap::new(),
            wake: now,
        }
    }

    /// Takes one input. Cannot fail, never blocks. `now` never goes back.
    pub fn step(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Tick => {}
            Input::Flush => self.flush(out),
            Input::Call { call, want } => self.call(now, call, want, out),
            Input::Abandon { call } => self.abandon(now, call),
            Input::Forget { fence } => drop(self.let_go(fence)),
            Input::Connected { link } => self.connected(now, link),
            Input::Received { link, bytes } => self.received(now, link, &bytes, out),
            Input::Down { link } => {
                if self.link.is(link) {
                    self.link_down(now);
                }
            }
        }
        // One thing that is due may bring another: a link that is given up, the next one.
        for _ in 0..DUE_ROUNDS_MAX {
            if now < self.wake {
                return;
            }
            self.due(now, out);
        }
        assert!(self.wake > now, "what was due is done");
    }

    /// When to call `step` with `Tick` at the latest.
    pub const fn wake_at(&self) -> Timestamp {
        self.wake
    }

    /// Calls that wait for their answer.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Whether nothing is under way that the user asked for, or that follows from it: a claim that he
    /// abandoned is under way until it left its line, or what it was granted is given back.
    pub fn is_idle(&self) -> bool {
        let mut kinds = self.pending.values().map(|pending| pending.kind);
        !kinds.any(|kind| matches!(kind, Kind::Call(_) | Kind::Quiet))
    }

    /// Until when a grant of this client may be believed in; none if it must not be. The inner
    /// none is "for ever".
    pub fn belief(&self, fence: Fence) -> Option<Option<Timestamp>> {
        let hold = self.holds.get(&fence)?;
        Some(self.until(hold))
    }

    /// The newest state of the shared configuration that any server spoke of, in its hello, a pong, the
    /// answer to a keep-alive or to `Servers`. Another one is a reason to ask for the servers again.
    pub const fn config(&self) -> Option<Mark> {
        self.config
    }

    /// A server that is behind says nothing new. Of one change two hashes are news: servers are forked.
    fn learn_config(&mut self) {
        let heard = self.caller.mark();
        let is_old = |heard: &Mark| self.config.is_some_and(|known| heard.change < known.change);
        self.config = heard.filter(|heard| !is_old(heard)).or(self.config);
    }

    fn flush(&mut self, out: &mut Vec<Output>) {
        if !self.outgoing.is_empty() {
            let (link, bytes) = (self.link.id(), self.outgoing.split().freeze());
            out.push(Output::Send { link, bytes });
        }
    }

    fn received(&mut self, now: Timestamp, link: LinkId, bytes: &[u8], out: &mut Vec<Output>) {
        if !self.link.is(link) {
            return;
        }
        self.link.heard(now);
        self.incoming.extend_from_slice(bytes);
        loop {
            match self.caller.read(&mut self.incoming) {
                Ok(Some(heard)) => {
                    self.learn_config();
                    self.heard(now, heard.id, heard.word, out);
                }
                Ok(None) => return,
                Err(error) => return self.garbled(now, error, out),
            }
            if !self.link.is(link) {
                return; // what was heard ended the link
            }
        }
    }

    /// A server that speaks another language is no server.
    fn garbled(&mut self, now: Timestamp, _error: AnswerError, out: &mut Vec<Output>) {
        self.drop_link(now, out);
    }

    /// Does what is due, and finds out when the next thing is.
    fn due(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.wake = Timestamp::MAX;
        self.link_due(now, out);
        self.session_due(now);
        self.holds_due(now, out);
        self.calls_due(now, out);
    }

    fn wake_by(&mut self, when: Timestamp) {
        self.wake = self.wake.min(when);
    }

    fn new_id(&mut self) -> RequestId {
        let id = (u128::from(self.ids) << 64) | u128::from(self.next_id);
        self.next_id += 1;
        RequestId::new(id)
    }
}

#[cfg(test)]
mod tests;
