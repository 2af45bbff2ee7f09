//! What is asked, until it is answered: the same number on every server that it is asked of.

use super::link::Phase;
use super::{CALLS_MAX, CallId, Client, Failed, HOLDS_MAX, Hold, Output, Want};
use crate::ids::{Fence, RequestId, SessionId, TicketId};
use crate::limits::{HOLDER_BYTES_MAX, KEY_BYTES_MAX, SESSION_WINDOW};
use crate::machine::command;
use crate::machine::parts::Parts;
use crate::node::input::{Ask, Convert, Question};
use crate::time::Timestamp;
use crate::wire::client::Rejection;
use alloc::vec::Vec;
use core::time::Duration;

/// What a request is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// The user waits for it.
    Call(CallId),
    /// Nobody waits for it.
    Quiet,
    /// The session is opened.
    Open,
    /// The session is proved to another server.
    Resume,
    /// The session is kept alive.
    KeepAlive,
    /// A lease is renewed.
    Renewal(Fence),
}

/// A request that has no answer yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) kind: Kind,
    pub(super) ask: Ask,
    /// How a retry is known as one; chosen when it is first sent.
    pub(super) client: Option<command::Client>,
    /// When its id was first sent: what a belief in its answer counts from (rule 14).
    pub(super) first_sent: Option<Timestamp>,
    /// It was sent on the connection that there is.
    pub(super) sent: bool,
    pub(super) tries: u32,
    pub(super) again_at: Option<Timestamp>,
    give_up: Timestamp,
    /// What a claim may wait in its line beyond that, once a server has it.
    wait: Duration,
    /// Whether what it takes is renewed.
    pub(super) renew: bool,
    /// Each time that it is done counts: a retry must be known as one.
    pub(super) counts: bool,
    pub(super) ticket: Option<TicketId>,
}

impl Pending {
    const fn new(kind: Kind, ask: Ask, give_up: Timestamp) -> Self {
        Self {
            kind,
            ask,
            client: None,
            first_sent: None,
            sent: false,
            tries: 0,
            again_at: None,
            give_up,
            wait: Duration::ZERO,
            renew: false,
            counts: false,
            ticket: None,
        }
    }

    pub(super) const fn is_claim(&self) -> bool {
        matches!(self.ask, Ask::Acquire(_) | Ask::Convert(_))
    }
}

impl Client {
    /// The user wants something.
    pub(super) fn call(&mut self, now: Timestamp, call: CallId, want: Want, out: &mut Vec<Output>) {
        assert!(!self.calls.contains_key(&call), "a call id is used once");
        if self.calls.len() >= CALLS_MAX || self.holds.len() >= HOLDS_MAX {
            let result = Err(Failed::Busy);
            return out.push(Output::Answer { call, result });
        }
        if let Some(what) = out_of_bounds(&want) {
            let result = Err(Failed::Invalid(what));
            return out.push(Output::Answer { call, result });
        }
        let (mut renews, mut counts) = (false, false);
        let mut wait = Duration::ZERO;
        let ask = match want {
            Want::Acquire { acquire, renew } => {
                renews = renew;
                wait = Duration::from_millis(acquire.wait_ms);
                Ok(Ask::Acquire(acquire))
            }
            Want::Release { fence } => {
                counts = self.counts(fence);
                let proof = self.let_go(fence).ok_or(Failed::NotMine(fence));
                proof.map(|proof| Ask::Release { proof, all: false })
            }
            Want::ReleaseBy(proof) => {
                counts = self.counts(proof.fence);
                self.let_go(proof.fence);
                Ok(Ask::Release { proof, all: false })
            }
            Want::ReleaseAll(proof) => {
                self.holds.remove(&proof.fence);
                Ok(Ask::Release { proof, all: true })
            }
            Want::Convert {
                fence,
                parts,
                wait_ms,
            } => {
                wait = Duration::from_millis(wait_ms);
                self.conversion(fence, parts, wait_ms)
            }
            Want::RenewBy { proof, ttl_ms } => {
                self.shorten(now, proof.fence, ttl_ms);
                Ok(Ask::Renew { proof, ttl_ms })
            }
            Want::Force(force) => {
                counts = true; // once more it would meet another fence
                Ok(Ask::Force(force))
            }
            Want::Query(ask) => Ok(ask),
            Want::CloseSession => self.close(out),
        };
        match ask {
            Ok(ask) => {
                let give_up = now.plus(self.settings.patience);
                let mut pending = Pending::new(Kind::Call(call), ask, give_up);
                pending.renew = renews;
                pending.counts = counts;
                pending.wait = wait;
                let id = self.new_id();
                self.note_conversion(&pending.ask, id);
                self.calls.insert(call, id);
                self.wake_by(pending.give_up);
                self.pending.insert(id, pending);
                self.reopen(now);
                self.send(now, id);
            }
            Err(failed) => out.push(Output::Answer {
                call,
                result: Err(failed),
            }),
        }
    }

    fn conversion(&self, fence: Fence, parts: Parts, wait_ms: u64) -> Result<Ask, Failed> {
        let proof = self.proof_of(fence).ok_or(Failed::NotMine(fence))?;
        Ok(Ask::Convert(Convert {
            parts,
            fence,
            session: proof.session,
            token: proof.token,
            wait_ms,
        }))
    }

    fn note_conversion(&mut self, ask: &Ask, id: RequestId) {
        if let Ask::Convert(convert) = ask
            && let Some(hold) = self.holds.get_mut(&convert.fence)
        {
            hold.converting = Some(id);
        }
    }

    fn close(&mut self, out: &mut Vec<Output>) -> Result<Ask, Failed> {
        let session = self.session.id().ok_or(Failed::SessionLost)?;
        self.lose_session(session, out);
        Ok(Ask::CloseSession { session })
    }

    /// The user does not want it any more.
    pub(super) fn abandon(&mut self, now: Timestamp, call: CallId) {
        let Some(id) = self.calls.remove(&call) else {
            return;
        };
        self.release_handed(now, call);
        self.quieten(now, id);
    }

    /// Nobody waits for this request any more. A claim that is under way leaves its line.
    fn quieten(&mut self, now: Timestamp, id: RequestId) {
        let give_up = now.plus(self.settings.patience);
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        if pending.first_sent.is_none() {
            self.pending.remove(&id);
            return;
        }
        pending.kind = Kind::Quiet;
        pending.give_up = give_up;
        if let Some(ticket) = pending.ticket {
            self.attempt(now, Kind::Quiet, Ask::Cancel { ticket });
        }
    }

    /// Sends something under an id of its own.
    pub(super) fn attempt(&mut self, now: Timestamp, kind: Kind, ask: Ask) {
        self.attempt_counted(now, kind, ask, false);
    }

    /// The same, if each time that it is done `counts`.
    pub(super) fn attempt_counted(&mut self, now: Timestamp, kind: Kind, ask: Ask, counts: bool) {
        let id = self.new_id();
        if kind == Kind::KeepAlive {
            self.session.keeping = Some(id);
        }
        // A renewal that is not answered soon is tried at another server, while there is time.
        let patience = match kind {
            Kind::KeepAlive => self.session.ttl() / 6,
            Kind::Renewal(fence) => self.holds.get(&fence).map_or(Duration::ZERO, Hold::ttl) / 6,
            Kind::Call(_) | Kind::Quiet | Kind::Resume | Kind::Open => Duration::MAX,
        };
        let give_up = now.plus(patience.min(self.settings.patience));
        let mut pending = Pending::new(kind, ask, give_up);
        pending.counts = counts;
        self.pending.insert(id, pending);
        self.wake_by(give_up);
        self.send(now, id);
    }

    /// Sends everything that was not sent on this connection yet, in its order.
    pub(super) fn send_all(&mut self, now: Timestamp) {
        let unsent = self.pending.iter().filter(|(_, pending)| !pending.sent);
        let unsent: Vec<RequestId> = unsent.map(|(id, _)| *id).collect();
        for id in unsent {
            let id = self.renumbered(id);
            self.send(now, id);
        }
    }

    /// A renewal is never the same request twice: its answer must tell which try it answers.
    fn renumbered(&mut self, id: RequestId) -> RequestId {
        let again = |pending: &Pending| {
            pending.first_sent.is_some() && matches!(pending.ask, Ask::Renew { .. })
        };
        if !self.pending.get(&id).is_some_and(again) {
            return id;
        }
        let Some(mut pending) = self.pending.remove(&id) else {
            return id;
        };
        let fresh = self.new_id();
        pending.first_sent = None;
        if let Kind::Call(call) = pending.kind {
            self.calls.insert(call, fresh);
        }
        self.pending.insert(fresh, pending);
        fresh
    }

    /// Sends a request, if it is its time.
    pub(super) fn send(&mut self, now: Timestamp, id: RequestId) {
        let Some(pending) = self.pending.get(&id) else {
            return;
        };
        let joins = matches!(pending.kind, Kind::Open | Kind::Resume);
        let may = match self.link.phase {
            Phase::Ready => true,
            Phase::Joining => joins,
            Phase::Down(_) | Phase::Connecting(_) | Phase::Greeting(_) => false,
        };
        if !may || pending.sent || pending.again_at.is_some_and(|at| at > now) {
            return;
        }
        let Some(client) = self.identity(id) else {
            return; // the session's window is full
        };
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        pending.client = Some(client);
        if pending.first_sent.is_none() {
            pending.first_sent = Some(now);
            let wait = core::mem::take(&mut pending.wait);
            pending.give_up = pending.give_up.plus(wait);
        }
        pending.sent = true;
        pending.again_at = None;
        self.caller
            .ask(id, &client, &pending.ask, &mut self.outgoing);
        if let Ask::Renew { proof, .. } = &pending.ask
            && let Some(hold) = self.holds.get_mut(&proof.fence)
        {
            hold.renewing = Some(id); // the one whose answer counts
        }
    }

    /// How a retry of this request is known as one. Only a claim needs it, and a release that counts down: all
    /// else is harmless to repeat, or never the same twice. None if the session's window is full (rule 38).
    fn identity(&mut self, id: RequestId) -> Option<command::Client> {
        let pending = self.pending.get(&id)?;
        let claims = pending.is_claim() || pending.counts;
        let known = pending.client;
        let oldest = self.unanswered.first().copied();
        match (known, self.session.id()) {
            (Some(command::Client::Session { id, seq, .. }), _) => {
                let done_through = oldest.unwrap_or(seq).before();
                Some(command::Client::Session {
                    id,
                    seq,
                    done_through,
                })
            }
            (Some(client), _) => Some(client),
            (None, Some(session)) if claims => {
                let seq = self.next_seq;
                let done_through = oldest.unwrap_or(seq).before();
                if seq.get() > done_through.get() + SESSION_WINDOW {
                    return None;
                }
                self.next_seq = seq.next();
                self.unanswered.insert(seq);
                Some(command::Client::Session {
                    id: session,
                    seq,
                    done_through,
                })
            }
            (None, _) if claims || pending.kind == Kind::Open => Some(command::Client::Key(id)),
            (None, _) => Some(command::Client::None),
        }
    }

    /// Ends all calls that were asked in a session that is gone.
    pub(super) fn fail_session(&mut self, session: SessionId, out: &mut Vec<Output>) {
        let mut failed = Vec::new();
        self.pending.retain(|_, pending| {
            let of = match pending.client {
                Some(command::Client::Session { id, .. }) => id == session,
                Some(command::Client::None | command::Client::Key(_)) | None => false,
            };
            if of {
                failed.push(pending.kind);
            }
            !of
        });
        for kind in failed {
            self.finish(kind, Err(Failed::SessionLost), out);
        }
    }

    /// Ends all calls.
    pub(super) fn fail_all(&mut self, no: &Rejection, out: &mut Vec<Output>) {
        let pending = core::mem::take(&mut self.pending);
        for (_, pending) in pending {
            self.finish(pending.kind, Err(Failed::Rejected(no.clone())), out);
        }
    }

    pub(super) fn calls_due(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let (mut over, mut again) = (Vec::new(), Vec::new());
        let mut wake = Timestamp::MAX;
        for (id, pending) in &self.pending {
            if now >= pending.give_up {
                over.push(*id);
                continue;
            }
            wake = wake.min(pending.give_up);
            match pending.again_at {
                Some(at) if now >= at => again.push(*id),
                Some(at) => wake = wake.min(at),
                None => {}
            }
        }
        self.wake_by(wake);
        for id in again {
            let id = self.renumbered(id);
            self.send(now, id);
            // A connection that is not ready sends it when it is.
            if let Some(pending) = self.pending.get_mut(&id) {
                pending.again_at = None;
            }
        }
        for id in over {
            self.give_up(now, id, out);
        }
    }

    /// Nobody answered in time.
    fn give_up(&mut self, now: Timestamp, id: RequestId, out: &mut Vec<Output>) {
        let Some(pending) = self.pending.get(&id) else {
            return;
        };
        let (kind, sent) = (pending.kind, pending.first_sent.is_some());
        match kind {
            Kind::Call(_) => {
                let claims = pending.is_claim();
                self.finish(kind, Err(Failed::TimedOut { sent }), out);
                if claims {
                    return self.quieten(now, id);
                }
                self.drop_pending(id);
            }
            Kind::Quiet => self.drop_pending(id),
            Kind::Open | Kind::Resume | Kind::KeepAlive | Kind::Renewal(_) => {
                // A server that answers pings and not this is of no use.
                self.drop_pending(id);
                self.drop_link(now, out);
            }
        }
    }

    fn drop_pending(&mut self, id: RequestId) {
        let Some(pending) = self.pending.remove(&id) else {
            return;
        };
        if let Some(command::Client::Session { seq, .. }) = pending.client {
            self.unanswered.remove(&seq);
        }
        if let Ask::Convert(convert) = &pending.ask {
            self.no_more_converting(convert.fence, id);
        }
    }
}

/// What no server would take, found before a connection is lost over it.
fn out_of_bounds(want: &Want) -> Option<&'static str> {
    match want {
        Want::Acquire { acquire, .. } if acquire.holder.len() > HOLDER_BYTES_MAX => {
            Some("the holder's name is longer than 128 bytes")
        }
        Want::Query(Ask::List(listing) | Ask::Stale(Question::List(listing)))
            if listing.prefix.len() > KEY_BYTES_MAX =>
        {
            Some("the prefix is longer than any key")
        }
        Want::Query(
            Ask::Inspect { .. }
            | Ask::Verify(_)
            | Ask::List(_)
            | Ask::Servers
            | Ask::Stale(Question::Inspect { .. } | Question::Verify(_) | Question::List(_)),
        ) => None,
        Want::Query(_) => Some("this is not a question"),
        Want::Acquire { .. }
        | Want::Convert { .. }
        | Want::Release { .. }
        | Want::ReleaseBy(_)
        | Want::ReleaseAll(_)
        | Want::RenewBy { .. }
        | Want::Force(_)
        | Want::CloseSession => None,
    }
}
