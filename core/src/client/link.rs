//! The one connection that a client has, and which server it goes to.

use super::calls::Kind;
use super::{Client, LinkId, Output};
use crate::time::Timestamp;
use crate::wire::client::Caller;
use alloc::vec::Vec;
use core::time::Duration;

/// A connection that is not made for this long is given up, and one on which the server does not say hello
/// for as long again.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// A server that was silent for this long, while something waits for it, is asked whether it is
/// there; and given up after as long again and again.
const SILENCE: Duration = Duration::from_millis(500);
/// So many silences, and the server is given up.
const SILENCES: u32 = 3;
/// How long all servers are left alone after none of them could be reached; doubled each time.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// At most.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// So many answers in a row without a quorum, and another server is tried.
const REFUSALS_MAX: u32 = 2;

/// How far a connection is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// There is none; the next one is made then.
    Down(Timestamp),
    /// It was asked for.
    Connecting(Timestamp),
    /// It is there, and the server has not said hello.
    Greeting(Timestamp),
    /// The session is being opened, or proved to this server.
    Joining,
    /// Requests flow.
    Ready,
}

#[derive(Debug)]
pub(super) struct Link {
    number: u64,
    server: usize,
    pub(super) phase: Phase,
    heard_at: Timestamp,
    /// The last ping.
    asked_at: Timestamp,
    /// Pings since the server was heard.
    silences: u32,
    /// Connections that failed since one worked.
    failures: u32,
    /// Answers in a row that said "no quorum".
    refusals: u32,
    rejoin_at: Option<Timestamp>,
}

impl Link {
    pub(super) const fn new(server: usize, now: Timestamp) -> Self {
        Self {
            number: 0,
            server,
            phase: Phase::Down(now),
            heard_at: now,
            asked_at: now,
            silences: 0,
            failures: 0,
            refusals: 0,
            rejoin_at: None,
        }
    }

    pub(super) const fn id(&self) -> LinkId {
        LinkId(self.number)
    }

    /// Whether this is the connection that there is.
    pub(super) fn is(&self, link: LinkId) -> bool {
        self.id() == link && !matches!(self.phase, Phase::Down(_))
    }

    pub(super) fn heard(&mut self, now: Timestamp) {
        self.heard_at = now;
        self.silences = 0;
    }
}

impl Client {
    pub(super) fn connected(&mut self, now: Timestamp, link: LinkId) {
        if self.link.is(link) && matches!(self.link.phase, Phase::Connecting(_)) {
            self.link.phase = Phase::Greeting(now);
            self.link.heard(now);
        }
    }

    /// The server said who it is.
    pub(super) fn greeted(&mut self, now: Timestamp) {
        if matches!(self.link.phase, Phase::Greeting(_)) {
            self.join(now);
        }
    }

    /// The session is proved, or there is none to prove: requests flow.
    pub(super) fn joined(&mut self, now: Timestamp) {
        self.link.phase = Phase::Ready;
        self.link.failures = 0;
        self.send_all(now);
        self.wake_by(now);
    }

    /// Closes the connection and goes on to the next server.
    pub(super) fn drop_link(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let link = self.link.id();
        out.push(Output::Disconnect { link });
        self.link_down(now);
    }

    /// The connection is gone; whatever was in flight on it is unanswered.
    pub(super) fn link_down(&mut self, now: Timestamp) {
        let servers = u32::try_from(self.settings.servers).unwrap_or(u32::MAX);
        let rounds = self.link.failures / servers;
        self.link.failures = self.link.failures.saturating_add(1);
        self.link.server = (self.link.server + 1) % self.settings.servers;
        self.link.refusals = 0;
        self.link.rejoin_at = None;
        // Another server may be fine: it is asked at once. When none was, all get a rest.
        let delay = match self.link.failures < servers {
            true => Duration::ZERO,
            false => self.backoff(rounds),
        };
        self.link.phase = Phase::Down(now.plus(delay));
        self.caller = Caller::default();
        self.incoming.clear();
        self.outgoing.clear();
        self.forget_attempts();
        self.wake_by(now.plus(delay));
    }

    /// Half of a doubling delay for certain, and up to the whole by chance, so that clients of a
    /// server that died don't come back all at once.
    pub(super) fn backoff(&mut self, tries: u32) -> Duration {
        let longest = BACKOFF_MIN.saturating_mul(1 << tries.min(10));
        let half = longest.min(BACKOFF_MAX) / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos(self.rng.below(nanos))
    }

    /// A server that has no quorum may be cut off from one that has. So may be another one behind the same
    /// address, if that is a name of several or a balancer's: it is left also if there is only one.
    pub(super) fn no_quorum(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.link.refusals += 1;
        if self.link.refusals >= REFUSALS_MAX {
            self.drop_link(now, out);
        }
    }

    /// Joins again after a while, on this connection or, if it is gone by then, on another.
    pub(super) fn rejoin_at(&mut self, when: Timestamp) {
        self.link.rejoin_at = Some(when);
        self.wake_by(when);
    }

    pub(super) const fn quorum_serves(&mut self) {
        self.link.refusals = 0;
    }

    pub(super) fn link_due(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        match self.link.phase {
            Phase::Down(at) if at > now => self.wake_by(at),
            Phase::Down(_) => {
                self.link.number += 1;
                self.link.phase = Phase::Connecting(now);
                self.link.heard(now);
                out.push(Output::Connect {
                    link: self.link.id(),
                    server: self.link.server,
                });
                self.wake_by(now.plus(CONNECT_PATIENCE));
            }
            Phase::Connecting(since) | Phase::Greeting(since) => {
                let patience = since.plus(CONNECT_PATIENCE);
                match now >= patience {
                    true => self.drop_link(now, out),
                    false => self.wake_by(patience),
                }
            }
            Phase::Joining | Phase::Ready => {
                match self.link.rejoin_at {
                    Some(at) if now >= at => {
                        self.link.rejoin_at = None;
                        self.join(now);
                    }
                    Some(at) => self.wake_by(at),
                    None => {}
                }
                self.listen(now, out);
            }
        }
    }

    /// Finds out whether a silent server is dead. One that nothing waits for may be silent.
    fn listen(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let silences = self.link.silences + 1;
        let patience = self.link.heard_at.max(self.link.asked_at).plus(SILENCE);
        if now < patience {
            return self.wake_by(patience);
        }
        if self.pending.is_empty() && self.holds.is_empty() && self.session.open.is_none() {
            self.link.heard(now);
            return self.wake_by(now.plus(SILENCE));
        }
        if silences > SILENCES {
            return self.drop_link(now, out);
        }
        self.link.silences = silences;
        self.link.asked_at = now;
        let id = self.new_id();
        self.caller.ping(id, &mut self.outgoing);
        self.wake_by(now.plus(SILENCE));
    }

    /// Drops attempts that are made anew on the next connection, with numbers of their own.
    fn forget_attempts(&mut self) {
        self.pending.retain(|_, pending| match pending.kind {
            Kind::Call(_) | Kind::Quiet | Kind::Open => true,
            Kind::Resume | Kind::KeepAlive | Kind::Renewal(_) => false,
        });
        for pending in self.pending.values_mut() {
            pending.sent = false;
        }
        for hold in self.holds.values_mut() {
            hold.renewing = None;
        }
        self.session.keeping = None;
    }
}
