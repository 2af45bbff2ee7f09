//! What a client holds, and until when it believes so.

use super::calls::Kind;
use super::link::Phase;
use super::{CallId, Client, Failed, Loss, News, Output, belief};
use crate::ids::{Fence, RequestId, SessionId};
use crate::machine::answer::Grant;
use crate::machine::command::Life;
use crate::machine::key::Key;
use crate::node::input::{Ask, Proof, Token};
use crate::time::Timestamp;
use crate::wire::client::Word;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

/// A grant of this client.
#[derive(Debug)]
pub(super) struct Hold {
    key: Key,
    life: Life,
    session: Option<SessionId>,
    token: Token,
    /// Until when a lease may be believed in; a session's grants live by the session's deadline.
    until: Timestamp,
    /// When to renew a lease next.
    renew_at: Timestamp,
    /// Whether the client renews it.
    renews: bool,
    /// The renewal whose answer counts.
    pub(super) renewing: Option<RequestId>,
    /// The conversion that was asked for: until its answer is here, that the grant is not held any more may mean that it
    /// is another one.
    pub(super) converting: Option<RequestId>,
    jeopardy: bool,
    /// How often this client has entered it; zero: it is not re-entrant.
    entries: usize,
    /// The calls that are answered as soon as the grant may be believed in (rules 13, 33): one, or some of those
    /// that entered it.
    handing: Vec<Handing>,
}

#[derive(Debug)]
struct Handing {
    call: CallId,
    word: Word,
    give_up: Timestamp,
}

impl Hold {
    /// The time to live of a lease.
    pub(super) const fn ttl(&self) -> Duration {
        match self.life {
            Life::Lease { ttl_ms } => Duration::from_millis(ttl_ms),
            Life::Static | Life::Session => Duration::MAX,
        }
    }

    /// Whether no user has heard of it yet.
    fn is_unheard(&self) -> bool {
        self.handing.len() >= self.entries.max(1)
    }

    fn proof(&self, fence: Fence) -> Proof {
        Proof {
            key: self.key.clone(),
            fence,
            session: self.session,
            token: self.token,
        }
    }
}

impl Client {
    /// Until when a hold may be believed in; for ever if none.
    pub(super) fn until(&self, hold: &Hold) -> Option<Timestamp> {
        match hold.life {
            Life::Static => None,
            Life::Lease { .. } => Some(hold.until),
            Life::Session => {
                let open = self.session.open.as_ref();
                let open = open.filter(|open| Some(open.id) == hold.session);
                Some(open.map_or(Timestamp::ZERO, |open| open.until))
            }
        }
    }

    /// From when on its user is warned that it may be lost; none if it has no end.
    fn jeopardy_at(&self, hold: &Hold) -> Option<Timestamp> {
        let third = match hold.life {
            Life::Static => return None,
            Life::Lease { .. } => hold.ttl() / 3,
            Life::Session => self.session.ttl() / 3,
        };
        let until = self.until(hold)?.since(Timestamp::ZERO);
        Some(Timestamp::ZERO.plus(until.saturating_sub(third)))
    }

    /// The service granted what was first asked for at `sent`.
    pub(super) fn granted(
        &mut self,
        now: Timestamp,
        sent: Timestamp,
        (call, renew): (CallId, bool),
        (grant, token): (&Grant, Token),
        word: Word,
        out: &mut Vec<Output>,
    ) {
        let (until, renew_at) = match grant.life {
            Life::Lease { ttl_ms } => {
                let ttl = Duration::from_millis(ttl_ms);
                (belief::until(sent, ttl), sent.plus(ttl / 3))
            }
            Life::Static | Life::Session => (Timestamp::MAX, Timestamp::MAX),
        };
        let give_up = now.plus(self.settings.patience);
        let handing = Handing {
            call,
            word,
            give_up,
        };
        self.wake_by(give_up);
        let open = self.session.open.as_ref();
        if open.is_some_and(|open| open.taken.contains(&grant.fence)) {
            return self.answer(call, Err(Failed::TooLate), out); // an operator was faster
        }
        if let Some(hold) = self.holds.get_mut(&grant.fence)
            && hold.entries > 0
        {
            hold.entries += 1;
            hold.handing.push(handing);
            return self.hand_out(now, grant.fence, out);
        }
        let hold = Hold {
            key: grant.key().clone(),
            life: grant.life,
            session: grant.session,
            token,
            until,
            renew_at: if renew { renew_at } else { Timestamp::MAX },
            renews: renew,
            renewing: None,
            converting: None,
            jeopardy: false,
            entries: usize::from(grant.entered > 0),
            handing: vec![handing],
        };
        self.holds.insert(grant.fence, hold);
        self.hand_out(now, grant.fence, out);
    }

    /// What proves a grant that is to be converted; none if nobody has heard of it yet, or it is not this client's.
    pub(super) fn proof_of(&self, fence: Fence) -> Option<Proof> {
        let hold = self.holds.get(&fence)?;
        (!hold.is_unheard()).then(|| hold.proof(fence))
    }

    /// A grant of this client became another one, for what is left of its life.
    pub(super) fn converted(
        &mut self,
        now: Timestamp,
        (old, call): (Fence, CallId),
        (grant, token): (&Grant, Token),
        word: Word,
        out: &mut Vec<Output>,
    ) {
        let Some(mut hold) = self.holds.remove(&old) else {
            // It was given back meanwhile, or its time is over: nobody believes in the new one.
            let proof = Proof {
                key: grant.key().clone(),
                fence: grant.fence,
                session: grant.session,
                token,
            };
            self.release_quietly(now, proof, grant.entered > 0);
            return self.answer(call, Err(Failed::TooLate), out);
        };
        (hold.token, hold.renewing, hold.converting) = (token, None, None);
        let fence = grant.fence;
        let news = News::Until(self.until(&hold));
        let news = if hold.jeopardy { News::Jeopardy } else { news };
        self.holds.insert(fence, hold);
        // Its user believes in it already, as far as he may.
        self.answer(call, Ok(word), out);
        out.push(Output::Grant { fence, news });
        self.wake_by(now);
    }

    /// Answers the call for a grant, if the grant may be believed in for a while yet. If not, since
    /// it was waited for, a renewal of its own comes first: the ttl began at the grant, and all that
    /// is known is that this was after the first send.
    fn hand_out(&mut self, now: Timestamp, fence: Fence, out: &mut Vec<Output>) {
        let Some(hold) = self.holds.get(&fence) else {
            return;
        };
        let until = self.until(hold);
        let enough = match hold.life {
            Life::Static => true,
            Life::Lease { .. } => hold.until > now.plus(hold.ttl() / 3),
            Life::Session => until > Some(now),
        };
        let jeopardy_at = self.jeopardy_at(hold).unwrap_or(Timestamp::MAX);
        let Some(hold) = self.holds.get_mut(&fence) else {
            return;
        };
        if !enough {
            hold.renew_at = now;
            if let Some(open) = &mut self.session.open
                && hold.life == Life::Session
            {
                open.keep_at = now;
            }
            return self.wake_by(now);
        }
        hold.jeopardy = false;
        let next = jeopardy_at.min(hold.renew_at);
        for handing in core::mem::take(&mut hold.handing) {
            let (call, word) = (handing.call, handing.word);
            self.answer(call, Ok(word), out);
        }
        let news = News::Until(until);
        out.push(Output::Grant { fence, news });
        self.wake_by(next);
    }

    /// Whether this is the renewal whose answer counts; it is on its way no more.
    pub(super) fn no_more_renewing(&mut self, fence: Fence, id: RequestId) -> bool {
        let hold = self.holds.get_mut(&fence);
        hold.is_some_and(|hold| hold.renewing.take_if(|of| *of == id).is_some())
    }

    /// The answer to a conversion is here, or nobody waits for it any more.
    pub(super) fn no_more_converting(&mut self, fence: Fence, id: RequestId) {
        if let Some(hold) = self.holds.get_mut(&fence) {
            hold.converting.take_if(|of| *of == id);
        }
    }

    pub(super) fn is_being_converted(&self, fence: Fence) -> bool {
        let hold = self.holds.get(&fence);
        hold.is_some_and(|hold| hold.converting.is_some())
    }

    /// Whether a lease is held is asked at once, if this client renews it.
    pub(super) fn renew_soon(&mut self, now: Timestamp, fence: Fence) {
        if let Some(hold) = self.holds.get_mut(&fence).filter(|hold| hold.renews) {
            hold.renew_at = now;
            self.wake_by(now);
        }
    }

    /// A shorter ttl is asked for: the lease may end by it as soon as this is sent (rule 14).
    pub(super) fn shorten(&mut self, now: Timestamp, fence: Fence, ttl_ms: Option<u64>) {
        if let (Some(hold), Some(ttl_ms)) = (self.holds.get_mut(&fence), ttl_ms) {
            let shorter = belief::until(now, Duration::from_millis(ttl_ms));
            hold.until = hold.until.min(shorter);
            let until = hold.until;
            self.wake_by(until);
        }
    }

    /// A renewal that was sent at `sent` was answered.
    pub(super) fn renewed(
        &mut self,
        now: Timestamp,
        sent: Timestamp,
        fence: Fence,
        ttl_ms: u64,
        out: &mut Vec<Output>,
    ) {
        let Some(hold) = self.holds.get_mut(&fence) else {
            return;
        };
        let ttl = Duration::from_millis(ttl_ms);
        let renews = hold.renews;
        hold.life = Life::Lease { ttl_ms };
        hold.until = belief::until(sent, ttl);
        if renews {
            hold.renew_at = sent.plus(ttl / 3).max(now);
        } else {
            hold.renew_at = Timestamp::MAX;
        }
        self.hand_out(now, fence, out);
    }

    /// A renewal was refused for now.
    pub(super) fn not_renewed(&mut self, now: Timestamp, fence: Fence) {
        let again = now.plus(self.backoff(0));
        if let Some(hold) = self.holds.get_mut(&fence) {
            hold.renew_at = again;
        }
        self.wake_by(again);
    }

    /// All grants of the session may be believed in for longer.
    pub(super) fn session_extended(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let bound = |hold: &Hold| hold.life == Life::Session;
        for fence in self.fences(bound) {
            self.hand_out(now, fence, out);
        }
    }

    fn fences(&self, which: impl Fn(&Hold) -> bool) -> Vec<Fence> {
        let found = self.holds.iter().filter(|(_, hold)| which(hold));
        found.map(|(fence, _)| *fence).collect()
    }

    /// All grants of a session are lost with it.
    pub(super) fn lose_session(&mut self, session: SessionId, out: &mut Vec<Output>) {
        for fence in self.fences(|hold| hold.session == Some(session)) {
            self.lose(fence, Loss::Session, out);
        }
    }

    /// The grant must not be believed in any more.
    pub(super) fn lose(
        &mut self,
        fence: Fence,
        loss: Loss,
        out: &mut Vec<Output>,
    ) -> Option<Proof> {
        let mut hold = self.holds.remove(&fence)?;
        if !hold.is_unheard() {
            let news = News::Lost(loss);
            out.push(Output::Grant { fence, news });
        }
        for handing in core::mem::take(&mut hold.handing) {
            let failed = match loss {
                Loss::Session => Failed::SessionLost,
                Loss::Time | Loss::Refused | Loss::Taken => Failed::TooLate,
            };
            self.answer(handing.call, Err(failed), out);
        }
        Some(hold.proof(fence))
    }

    /// Whether a release of this grant counts down how often it was entered.
    pub(super) fn counts(&self, fence: Fence) -> bool {
        self.holds.get(&fence).is_some_and(|hold| hold.entries > 0)
    }

    /// Stops believing in a grant that is given back: at the send, not at the answer (rule 14). Of a re-entrant
    /// one, that is when its last entry is.
    pub(super) fn let_go(&mut self, fence: Fence) -> Option<Proof> {
        let hold = self.holds.get_mut(&fence)?;
        if hold.is_unheard() {
            return None; // its user has not heard of it
        }
        if hold.entries > 1 {
            hold.entries -= 1;
            return Some(hold.proof(fence));
        }
        let hold = self.holds.remove(&fence)?;
        Some(hold.proof(fence))
    }

    /// Gives back what a call was granted that nobody waits for any more.
    pub(super) fn release_handed(&mut self, now: Timestamp, call: CallId) {
        let of_call = |hold: &Hold| hold.handing.iter().any(|handing| handing.call == call);
        for fence in self.fences(of_call) {
            let Some(hold) = self.holds.get_mut(&fence) else {
                continue;
            };
            hold.handing.retain(|handing| handing.call != call);
            let (proof, counts) = (hold.proof(fence), hold.entries > 0);
            if hold.entries > 1 {
                hold.entries -= 1;
            } else {
                self.holds.remove(&fence);
            }
            self.release_quietly(now, proof, counts);
        }
    }

    /// Gives a grant back without anybody waiting for the answer.
    pub(super) fn release_quietly(&mut self, now: Timestamp, proof: Proof, counts: bool) {
        let ask = Ask::Release { proof, all: false };
        self.attempt_counted(now, Kind::Quiet, ask, counts);
    }

    pub(super) fn holds_due(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        for fence in self.fences(|_| true) {
            self.hold_due(now, fence, out);
        }
    }

    fn hold_due(&mut self, now: Timestamp, fence: Fence, out: &mut Vec<Output>) {
        let Some(hold) = self.holds.get(&fence) else {
            return;
        };
        let until = self.until(hold).unwrap_or(Timestamp::MAX);
        let unheard = hold.handing.first().filter(|_| hold.is_unheard());
        let end = unheard.map_or(until, |handing| handing.give_up);
        if now >= end {
            // It may yet be held at the servers. Its user is told that it is lost, so it is given
            // back.
            if let Some(proof) = self.lose(fence, Loss::Time, out) {
                let ask = Ask::Release { proof, all: true };
                self.attempt(now, Kind::Quiet, ask);
            }
            return;
        }
        self.wake_by(end);
        self.warn(now, fence, out);
        self.renew(now, fence);
    }

    /// Tells the user once that no renewal was answered for two thirds of the ttl.
    fn warn(&mut self, now: Timestamp, fence: Fence, out: &mut Vec<Output>) {
        let Some(hold) = self.holds.get(&fence) else {
            return;
        };
        let at = self.jeopardy_at(hold).unwrap_or(Timestamp::MAX);
        if hold.jeopardy || hold.is_unheard() {
            return;
        }
        if now < at {
            return self.wake_by(at);
        }
        let news = News::Jeopardy;
        out.push(Output::Grant { fence, news });
        if let Some(hold) = self.holds.get_mut(&fence) {
            hold.jeopardy = true;
        }
    }

    fn renew(&mut self, now: Timestamp, fence: Fence) {
        let Some(hold) = self.holds.get(&fence) else {
            return;
        };
        let lease = matches!(hold.life, Life::Lease { .. });
        if !lease || hold.renewing.is_some() || self.link.phase != Phase::Ready {
            return;
        }
        let renew_at = hold.renew_at;
        if now < renew_at {
            return self.wake_by(renew_at);
        }
        let (proof, ttl_ms) = (hold.proof(fence), None);
        self.attempt(now, Kind::Renewal(fence), Ask::Renew { proof, ttl_ms });
    }
}
