//! The session that a client takes along from server to server.

use super::calls::Kind;
use super::link::Phase;
use super::{Client, Loss, Output, belief};
use crate::ids::{Fence, RequestId, RequestSeq, SessionId};
use crate::node::input::{Ask, Token};
use crate::time::Timestamp;
use crate::wire::client::Rejection;
use alloc::vec::Vec;
use core::time::Duration;

/// The session of a client.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) open: Option<Open>,
    /// The attempt to keep it alive that is on its way.
    pub(super) keeping: Option<RequestId>,
    /// The user closed it: the next call opens another.
    pub(super) closed: bool,
}

#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: SessionId,
    pub(super) secret: Token,
    pub(super) ttl: Duration,
    /// Until when its grants may be believed in (rule 33).
    pub(super) until: Timestamp,
    /// When to keep it alive next.
    pub(super) keep_at: Timestamp,
    /// What an operator took from it so far.
    pub(super) taken: Vec<Fence>,
}

impl Session {
    pub(super) fn id(&self) -> Option<SessionId> {
        self.open.as_ref().map(|open| open.id)
    }

    pub(super) fn ttl(&self) -> Duration {
        self.open.as_ref().map_or(Duration::ZERO, |open| open.ttl)
    }
}

impl Client {
    /// Opens the session, or proves it to a server that has not seen it yet.
    pub(super) fn join(&mut self, now: Timestamp) {
        self.link.phase = Phase::Joining;
        let Some(settings) = &self.settings.session else {
            return self.joined(now);
        };
        if let Some(open) = &self.session.open {
            let (session, secret) = (open.id, open.secret);
            return self.attempt(now, Kind::Resume, Ask::Resume { session, secret });
        }
        if self.session.closed {
            return self.joined(now);
        }
        // One id for all tries: a retry finds the session that the first one opened.
        let opening = self.pending.iter().find(|(_, p)| p.kind == Kind::Open);
        if let Some((id, _)) = opening {
            let id = *id;
            return self.send(now, id);
        }
        let ask = Ask::OpenSession {
            ttl_ms: settings.ttl_ms,
            identifier: settings.identifier.clone(),
            threads: settings.threads,
        };
        self.attempt(now, Kind::Open, ask);
    }

    /// The session is open; it was first asked for at `sent`.
    pub(super) fn session_opened(
        &mut self,
        now: Timestamp,
        sent: Timestamp,
        (id, secret): (SessionId, Token),
        ttl_ms: u64,
    ) {
        let ttl = Duration::from_millis(ttl_ms);
        self.session.open = Some(Open {
            id,
            secret,
            ttl,
            until: belief::until(sent, ttl),
            keep_at: sent.plus(ttl / 3),
            taken: Vec::new(),
        });
        self.unanswered.clear();
        self.next_seq = RequestSeq::new(1);
        self.joined(now);
    }

    /// The server knows the secret; whether the session still lives, a keep-alive tells at once.
    pub(super) fn session_resumed(&mut self, now: Timestamp) {
        if let Some(open) = &mut self.session.open {
            open.keep_at = now;
        }
        self.joined(now);
    }

    /// A keep-alive that was sent at `sent` was answered. It says nothing good of what was `taken`.
    pub(super) fn session_kept(
        &mut self,
        now: Timestamp,
        sent: Timestamp,
        (ttl_ms, taken): (u64, &[Fence]),
        out: &mut Vec<Output>,
    ) {
        let Some(open) = &mut self.session.open else {
            return;
        };
        let ttl = Duration::from_millis(ttl_ms);
        open.ttl = ttl;
        open.until = open.until.max(belief::until(sent, ttl));
        open.keep_at = sent.plus(ttl / 3).max(now);
        open.taken = taken.to_vec();
        let keep_at = open.keep_at;
        self.wake_by(keep_at);
        for fence in taken {
            drop(self.lose(*fence, Loss::Taken, out));
        }
        self.session_extended(now, out);
    }

    /// A keep-alive was refused for now.
    pub(super) fn session_not_kept(&mut self, now: Timestamp) {
        let again = now.plus(self.backoff(0));
        if let Some(open) = &mut self.session.open {
            open.keep_at = again;
        }
        self.wake_by(again);
    }

    /// The service does not know the session any more: what it held is lost, and what was asked in
    /// it has no answer. Another one is opened.
    pub(super) fn session_gone(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let Some(open) = self.session.open.take() else {
            return;
        };
        out.push(Output::SessionLost);
        self.unanswered.clear();
        self.lose_session(open.id, out);
        self.fail_session(open.id, out);
        if matches!(self.link.phase, Phase::Joining | Phase::Ready) {
            self.join(now);
        }
    }

    /// No session can be opened: who waits for one is told. It is tried again, later.
    pub(super) fn session_refused(
        &mut self,
        now: Timestamp,
        no: &Rejection,
        out: &mut Vec<Output>,
    ) {
        self.fail_all(no, out);
        let delay = self.backoff(4);
        self.rejoin_at(now.plus(delay));
    }

    /// The user closed the session, and the service knows.
    pub(super) fn session_closed(&mut self) {
        self.session.open = None;
        self.session.closed = true;
        self.unanswered.clear();
    }

    /// A call after the session was closed opens another one.
    pub(super) fn reopen(&mut self, now: Timestamp) {
        if self.session.closed && self.session.open.is_none() {
            self.session.closed = false;
            if self.link.phase == Phase::Ready {
                self.join(now);
            }
        }
    }

    pub(super) fn session_due(&mut self, now: Timestamp) {
        let Some(open) = &self.session.open else {
            return;
        };
        if self.link.phase != Phase::Ready || self.session.keeping.is_some() {
            return;
        }
        let (session, keep_at) = (open.id, open.keep_at);
        if now >= keep_at {
            self.attempt(now, Kind::KeepAlive, Ask::KeepAlive { session });
        } else {
            self.wake_by(keep_at);
        }
    }
}
