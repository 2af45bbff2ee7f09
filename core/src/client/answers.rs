//! What answers do: to calls, to the session, and to what is believed.

use super::calls::{Kind, Pending};
use super::{CallId, Client, Failed, Loss, Output};
use crate::ids::RequestId;
use crate::limits::SESSION_WINDOW;
use crate::machine::answer::Answer;
use crate::machine::command;
use crate::node::input::{Ask, Proof};
use crate::time::Timestamp;
use crate::wire::client::{Rejection, Word};
use crate::wire::codes;
use alloc::vec::Vec;
use core::time::Duration;

impl Client {
    /// A server said something.
    pub(super) fn heard(
        &mut self,
        now: Timestamp,
        id: RequestId,
        word: Word,
        out: &mut Vec<Output>,
    ) {
        if let Word::Hello { cluster, .. } = &word {
            let meant = self.settings.cluster.unwrap_or(*cluster);
            return match meant == *cluster {
                true => self.greeted(now),
                false => self.drop_link(now, out),
            };
        }
        if self.waits(now, id, &word) {
            return;
        }
        let Some(pending) = self.pending.remove(&id) else {
            return; // a pong, or the answer to what was given up
        };
        if let Word::Rejected(no) = word {
            self.rejected(now, id, pending, no, out);
        } else {
            self.quorum_serves();
            self.forget_seq(now, &pending);
            self.accepted(now, id, &pending, word, out);
        }
    }

    /// Whether the word says that a claim waits: its answer is yet to come.
    fn waits(&mut self, now: Timestamp, id: RequestId, word: &Word) -> bool {
        let Word::Decided {
            answer: Answer::Queued { ticket, .. } | Answer::Offered { ticket },
            ..
        } = word
        else {
            return false;
        };
        let ticket = *ticket;
        if let Some(pending) = self.pending.get_mut(&id) {
            let first = pending.ticket.replace(ticket).is_none();
            if first && pending.kind == Kind::Quiet {
                self.attempt(now, Kind::Quiet, Ask::Cancel { ticket });
            }
        }
        true
    }

    /// The answer to a numbered request is here: later ones may be sent.
    fn forget_seq(&mut self, now: Timestamp, pending: &Pending) {
        if let Some(command::Client::Session { seq, .. }) = pending.client {
            let full = self.window_is_full();
            self.unanswered.remove(&seq);
            if full && !self.window_is_full() {
                self.send_all(now);
            }
        }
    }

    fn window_is_full(&self) -> bool {
        let oldest = self.unanswered.first().copied().unwrap_or(self.next_seq);
        self.next_seq.get() > oldest.before().get() + SESSION_WINDOW
    }

    fn accepted(
        &mut self,
        now: Timestamp,
        id: RequestId,
        pending: &Pending,
        word: Word,
        out: &mut Vec<Output>,
    ) {
        let sent = pending.first_sent.unwrap_or(now);
        if let Ask::Convert(convert) = &pending.ask {
            self.no_more_converting(convert.fence, id);
        }
        if let Word::Resumed { .. } = word {
            return self.session_resumed(now);
        }
        let Word::Decided { answer, token, .. } = &word else {
            return self.finish(pending.kind, Ok(word), out);
        };
        match (answer, *token) {
            (Answer::SessionOpened { session, ttl_ms }, Some(secret)) => {
                self.session_opened(now, sent, (*session, secret), *ttl_ms);
            }
            (Answer::KeptAlive { ttl_ms, taken, .. }, _) => {
                self.session.keeping = None;
                self.session_kept(now, sent, (*ttl_ms, taken), out);
            }
            (Answer::Renewed { fence, ttl_ms }, _) => {
                let (fence, ttl_ms) = (*fence, *ttl_ms);
                self.finish(pending.kind, Ok(word), out);
                if self.no_more_renewing(fence, id) {
                    self.renewed(now, sent, fence, ttl_ms, out);
                }
            }
            (Answer::Granted(grant), Some(token)) => match pending.kind {
                Kind::Call(call) => {
                    let grant = grant.clone();
                    if let Ask::Convert(convert) = &pending.ask {
                        let of = (convert.fence, call);
                        return self.converted(now, of, (&grant, token), word, out);
                    }
                    let (call, grant) = ((call, pending.renew), (&grant, token));
                    self.granted(now, sent, call, grant, word, out);
                }
                Kind::Quiet | Kind::Open | Kind::Resume | Kind::KeepAlive | Kind::Renewal(_) => {
                    let counts = grant.entered > 0;
                    let proof = Proof {
                        key: grant.key().clone(),
                        fence: grant.fence,
                        session: grant.session,
                        token,
                    };
                    // Who gave up a conversion that was made all the same holds neither.
                    if let Ask::Convert(convert) = &pending.ask {
                        drop(self.lose(convert.fence, Loss::Refused, out));
                    }
                    self.release_quietly(now, proof, counts);
                }
            },
            (Answer::SessionClosed { .. }, _) => {
                self.session_closed();
                self.finish(pending.kind, Ok(word), out);
            }
            _ => self.finish(pending.kind, Ok(word), out),
        }
    }

    fn rejected(
        &mut self,
        now: Timestamp,
        id: RequestId,
        mut pending: Pending,
        no: Rejection,
        out: &mut Vec<Output>,
    ) {
        let code = no.code;
        let later = is_for_now(code);
        let gone = code == codes::SESSION_GONE.number;
        match pending.kind {
            Kind::KeepAlive => {
                self.session.keeping = None;
                match gone {
                    true => self.session_gone(now, out),
                    false => self.session_not_kept(now),
                }
            }
            Kind::Resume if later => self.rejoin_at(now.plus(Duration::from_millis(50))),
            Kind::Resume => self.session_gone(now, out),
            Kind::Renewal(fence) => {
                let counts = self.no_more_renewing(fence, id);
                match later || self.is_being_converted(fence) {
                    true => self.not_renewed(now, fence),
                    false if counts => drop(self.lose(fence, Loss::Refused, out)),
                    false => {}
                }
            }
            Kind::Open if !later => self.session_refused(now, &no, out),
            Kind::Open | Kind::Call(_) | Kind::Quiet if later => {
                pending.sent = false;
                pending.tries += 1;
                let delay = self.backoff(pending.tries);
                pending.again_at = Some(now.plus(delay));
                self.wake_by(now.plus(delay));
                self.pending.insert(id, pending);
            }
            Kind::Open | Kind::Call(_) | Kind::Quiet => {
                self.forget_seq(now, &pending);
                self.doubt(now, &pending.ask, id, out);
                let failed = match gone && self.session.id().is_some() {
                    true => Failed::SessionLost,
                    false => Failed::Rejected(no),
                };
                self.finish(pending.kind, Err(failed), out);
                if gone {
                    self.session_gone(now, out);
                }
            }
        }
        if is_service_gone(code) {
            self.no_quorum(now, out);
        } else {
            self.quorum_serves();
        }
    }

    /// A refused renewal says that the grant is no more, unless it may have become another one. A refused conversion
    /// may say so: the next renewal tells.
    fn doubt(&mut self, now: Timestamp, ask: &Ask, id: RequestId, out: &mut Vec<Output>) {
        if let Ask::Renew { proof, .. } = ask {
            let counts = self.no_more_renewing(proof.fence, id);
            if counts && !self.is_being_converted(proof.fence) {
                drop(self.lose(proof.fence, Loss::Refused, out));
            }
        }
        if let Ask::Convert(convert) = ask {
            self.no_more_converting(convert.fence, id);
            self.renew_soon(now, convert.fence);
        }
    }

    pub(super) fn finish(
        &mut self,
        kind: Kind,
        result: Result<Word, Failed>,
        out: &mut Vec<Output>,
    ) {
        if let Kind::Call(call) = kind {
            self.answer(call, result, out);
        }
    }

    /// Ends a call, once.
    pub(super) fn answer(
        &mut self,
        call: CallId,
        result: Result<Word, Failed>,
        out: &mut Vec<Output>,
    ) {
        if self.calls.remove(&call).is_some() {
            out.push(Output::Answer { call, result });
        }
    }
}

/// Refusals that speak of the whole server: another one may serve.
const fn is_service_gone(code: u16) -> bool {
    code == codes::NO_QUORUM.number
        || code == codes::OUTCOME_UNKNOWN.number
        || code == codes::NOT_READY.number
}

/// Refusals that another try, or another server, may not meet: the client tries by itself.
const fn is_for_now(code: u16) -> bool {
    code == codes::BUSY.number
        || code == codes::DISK_FULL.number
        || is_service_gone(code)
        || code == codes::SESSION_BUSY.number
        || code == codes::UNPROVED_SESSION.number
}
