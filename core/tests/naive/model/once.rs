//! Once, and not twice: what a retry is told.

use super::claims::session_of;
use super::seen::Seen;
use super::{Model, Name, Nanos, Remembered, What, Zone, forgotten_at};
use tenure_core::machine::Limits;
use tenure_core::machine::answer::{Answer, Event, Refusal, Table};
use tenure_core::machine::command::{Client, Command, Operation};

impl Model {
    pub(super) fn answer(
        &mut self,
        command: &Command,
        now: Nanos,
        seen: &Seen<'_>,
        said: &mut Vec<Event>,
    ) -> Answer {
        let told = seen.answer(command.via);
        if !super::commands::is_within_bounds(command) {
            return invalid(told);
        }
        let limits = self.limits;
        let Some(zone) = self.zones.iter_mut().find(|z| z.id == command.zone) else {
            let what = Table::Zones;
            return Answer::Refused(Refusal::Quota { what });
        };
        zone.once(command, now, &limits, told, said)
    }
}

/// What is wrong with a command is said in words, which are not promised.
pub(super) fn invalid(told: Option<&Answer>) -> Answer {
    match told {
        Some(told @ Answer::Refused(Refusal::Invalid { .. })) => told.clone(),
        _ => Answer::Refused(Refusal::Invalid { what: "" }),
    }
}

impl Zone {
    fn once(
        &mut self,
        command: &Command,
        now: Nanos,
        limits: &Limits,
        told: Option<&Answer>,
        said: &mut Vec<Event>,
    ) -> Answer {
        // What is done anew each time needs no session to number it (0128).
        if !is_remembered(&command.operation) {
            return self.operate(command, now, limits, told, said);
        }
        if let Some(id) = session_of(command.client)
            && self.session(id).is_none()
        {
            return Answer::Refused(Refusal::SessionGone);
        }
        if let Some(answer) = self.again(command, now, limits, told) {
            return answer;
        }
        let answer = self.operate(command, now, limits, told, said);
        self.remember(command, &answer, now);
        answer
    }

    /// The answer to a retry, or why this request can't be remembered.
    fn again(
        &mut self,
        command: &Command,
        now: Nanos,
        limits: &Limits,
        told: Option<&Answer>,
    ) -> Option<Answer> {
        match command.client {
            Client::None => None,
            Client::Key(id) => {
                let known = find(&self.keyed, Name::Key(id));
                if known.is_none()
                    && self
                        .keyed
                        .iter()
                        .filter(|kept| kept.until.is_some())
                        .count()
                        >= limits.answers
                {
                    let what = Table::Answers;
                    return Some(Answer::Refused(Refusal::Quota { what }));
                }
                Some(self.replay(known?, command, now, told))
            }
            Client::Session {
                id,
                seq,
                done_through,
            } => {
                let mut all = self.sessions.iter_mut();
                let session = all.find(|session| session.id == id)?;
                session.done_through = session.done_through.max(done_through.get());
                let done = session.done_through;
                let confirmed = |kept: &Remembered| matches!(kept.name, Name::Seq(n) if n <= done);
                session.answers.retain(|kept| !confirmed(kept));
                if seq.get() <= done {
                    return Some(Answer::Refused(Refusal::Forgotten));
                }
                if seq.get() > done + limits.session_window {
                    return Some(Answer::Refused(Refusal::SessionBusy));
                }
                let session = self.session(id)?;
                let known = find(&session.answers, Name::Seq(seq.get()))?;
                Some(self.replay(known, command, now, told))
            }
        }
    }

    /// The first answer; of what still lives, the present state.
    fn replay(
        &self,
        known: &Remembered,
        command: &Command,
        now: Nanos,
        told: Option<&Answer>,
    ) -> Answer {
        if known.operation != without_wait(&command.operation) {
            return Answer::Refused(Refusal::RequestIdReused);
        }
        match &known.what {
            What::Said(answer) => answer.clone(),
            What::Holds(fence) => {
                let grant = self.grants.iter().find(|grant| grant.fence == *fence);
                grant.map_or(Answer::Refused(Refusal::NotHeld), |grant| {
                    Answer::Granted(self.tell(grant, now, true))
                })
            }
            What::Waits(id) => {
                let mut all = self.tickets.iter();
                let ticket = all.find(|ticket| ticket.id == *id).expect("it waits");
                if ticket.offered {
                    return Answer::Offered { ticket: *id };
                }
                Answer::Queued {
                    ticket: *id,
                    position: self.position(ticket, Seen::position(told)),
                }
            }
        }
    }

    fn remember(&mut self, command: &Command, answer: &Answer, now: Nanos) {
        let operation = without_wait(&command.operation);
        let what = match answer {
            Answer::Granted(grant) => What::Holds(grant.fence),
            Answer::Queued { ticket, .. } => What::Waits(*ticket),
            said => What::Said(said.clone()),
        };
        let until = matches!(what, What::Said(_)).then(|| forgotten_at(now));
        match command.client {
            Client::None => {}
            Client::Key(id) => self.keyed.push(Remembered {
                name: Name::Key(id),
                operation,
                what,
                until,
            }),
            Client::Session { id, seq, .. } => {
                // Who closed its own session has nobody left who remembers.
                let mut all = self.sessions.iter_mut();
                if let Some(session) = all.find(|session| session.id == id) {
                    session.answers.push(Remembered {
                        name: Name::Seq(seq.get()),
                        operation,
                        what,
                        until: None,
                    });
                }
            }
        }
    }
}

fn find(kept: &[Remembered], name: Name) -> Option<&Remembered> {
    kept.iter().find(|kept| kept.name == name)
}

/// Renewals, keep-alives and confirms are done anew each time (rule 15, 0011).
const fn is_remembered(operation: &Operation) -> bool {
    !matches!(
        operation,
        Operation::Renew { .. } | Operation::KeepAlive { .. } | Operation::Confirm { .. }
    )
}

fn without_wait(operation: &Operation) -> Operation {
    let mut operation = operation.clone();
    if let Operation::Acquire(claim) = &mut operation {
        claim.wait_ms = 0;
    }
    operation
}
