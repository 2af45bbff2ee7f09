//! Promises about retries: once, and not twice.

use super::{Broken, Ledger, hold};
use tenure_core::ids::{RequestId, RequestSeq, SessionId, ZoneId};
use tenure_core::limits::DEDUPE_MS;
use tenure_core::machine::answer::Answer;
use tenure_core::machine::command::{Client, Command, Operation};

const SECOND: u64 = 1_000_000_000;

/// A request with a name, and what it was told first.
pub(super) struct Request {
    zone: ZoneId,
    name: Name,
    operation: Operation,
    answer: Answer,
    /// When its name may be used for something else.
    until: Option<u64>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Name {
    Key(RequestId),
    Number(SessionId, RequestSeq),
}

impl Ledger {
    /// Whether this is the answer to a retry, which changes nothing; and then it is the first answer, or tells of
    /// the same grant or place.
    pub(super) fn a_retry_is_told_what_was(
        &mut self,
        command: &Command,
        answer: &Answer,
    ) -> Result<bool, Broken> {
        let Some(name) = name_of(command) else {
            return Ok(false);
        };
        let mut all = self.requests.iter();
        let first = all.find(|one| one.zone == command.zone && one.name == name);
        let Some(first) = first else {
            self.note(command, name, answer);
            return Ok(false);
        };
        if without_wait(&first.operation) != without_wait(&command.operation) {
            let refused = matches!(answer, Answer::Refused(_));
            hold(refused, "a name is that of one request", || {
                format!("{command:?}: {answer:?}")
            })?;
            return Ok(true);
        }
        let same = match (&first.answer, answer) {
            (_, Answer::Refused(_)) => true,
            (Answer::Granted(was), Answer::Granted(is)) => is.replayed && was.fence == is.fence,
            (Answer::Queued { .. }, Answer::Granted(is)) => is.replayed,
            (
                Answer::Queued { ticket: was, .. },
                Answer::Queued { ticket: is, .. } | Answer::Offered { ticket: is },
            ) => was == is,
            (was, is) => was == is,
        };
        hold(same, "a retry is told what was", || {
            format!("{:?}, then {answer:?}", first.answer)
        })?;
        Ok(true)
    }

    fn note(&mut self, command: &Command, name: Name, answer: &Answer) {
        let kept = match (name, answer) {
            (_, Answer::Refused(_)) => return,
            (Name::Number(..), _) => None,
            (Name::Key(_), _) => Some(kept_until(self.now)),
        };
        self.requests.push(Request {
            zone: command.zone,
            name,
            operation: command.operation.clone(),
            answer: answer.clone(),
            until: kept,
        });
    }

    /// A name is kept while what its request led to lives, and for a while after that.
    pub(super) fn forget(&mut self) {
        let (held, waiting, now) = (&self.held, &self.waiting, self.now);
        self.requests.retain_mut(|one| {
            let zone = one.zone;
            let lives = match &one.answer {
                Answer::Granted(grant) => {
                    let mut all = held.iter();
                    all.any(|held| (held.zone, held.fence) == (zone, grant.fence))
                }
                Answer::Queued { ticket, .. } => waiting.iter().any(|w| w.id == *ticket),
                _ => false,
            };
            if lives && one.until.is_some() {
                one.until = Some(kept_until(now));
            }
            one.until.is_none_or(|until| now < until)
        });
    }
}

/// 60 s from now, rounded up to a second (0011).
const fn kept_until(now: u64) -> u64 {
    (now + DEDUPE_MS * 1_000_000).div_ceil(SECOND) * SECOND
}

/// Renewals, keep-alives and confirms are done anew each time.
const fn name_of(command: &Command) -> Option<Name> {
    match (&command.operation, command.client) {
        (Operation::Renew { .. } | Operation::KeepAlive { .. } | Operation::Confirm { .. }, _)
        | (_, Client::None) => None,
        (_, Client::Key(id)) => Some(Name::Key(id)),
        (_, Client::Session { id, seq, .. }) => Some(Name::Number(id, seq)),
    }
}

fn without_wait(operation: &Operation) -> Operation {
    let mut operation = operation.clone();
    if let Operation::Acquire(claim) = &mut operation {
        claim.wait_ms = 0;
    }
    operation
}
