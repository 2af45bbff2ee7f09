//! One request, one effect (K19, K21), whoever carried it and however often.

use super::Docket;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tenure_core::ids::{RequestId, SessionId, ZoneId};
use tenure_core::limits::DEDUPE_MS;
use tenure_core::machine::answer::Answer;
use tenure_core::machine::command::{Client, Command, Via};
use tenure_core::time::Stamp;

/// What makes two commands the same request.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Identity {
    Via(Via),
    Key(ZoneId, RequestId),
    Session(SessionId, u64),
}

fn identity(command: &Command) -> Identity {
    match command.client {
        Client::None => Identity::Via(command.via),
        Client::Key(id) => Identity::Key(command.zone, id),
        Client::Session { id, seq, .. } => Identity::Session(id, seq.get()),
    }
}

/// The book of effects.
#[derive(Debug, Default)]
pub struct Once {
    effects: BTreeMap<Identity, (Effect, Stamp)>,
    ends: BTreeMap<Identity, Answer>,
    /// Those that were refused because something was full.
    refused: BTreeSet<Identity>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Effect {
    Granted(u64),
    Queued(u64),
    Opened(u128),
}

fn effect(answer: &Answer) -> Option<Effect> {
    match answer {
        Answer::Granted(grant) if !grant.replayed => Some(Effect::Granted(grant.fence.get())),
        Answer::Queued { ticket, .. } => Some(Effect::Queued(ticket.get())),
        Answer::SessionOpened { session, .. } => Some(Effect::Opened(session.get())),
        Answer::Granted(_)
        | Answer::Offered { .. }
        | Answer::Released { .. }
        | Answer::Renewed { .. }
        | Answer::Cancelled { .. }
        | Answer::KeptAlive { .. }
        | Answer::SessionClosed { .. }
        | Answer::Converted { .. }
        | Answer::Resized { .. }
        | Answer::Forced { .. }
        | Answer::Configured { .. }
        | Answer::Refused(_) => None,
    }
}

impl Once {
    /// Whether this is the answer to a retry, told again from memory: it changes nothing.
    pub fn is_retold(&mut self, command: &Command, answer: &Answer, docket: &mut Docket) -> bool {
        let ends = match answer {
            Answer::Released { .. }
            | Answer::Cancelled { .. }
            | Answer::SessionClosed { .. }
            | Answer::Converted { .. }
            | Answer::Resized { .. }
            | Answer::Forced { .. } => true,
            Answer::Granted(_)
            | Answer::Queued { .. }
            | Answer::Offered { .. }
            | Answer::Renewed { .. }
            | Answer::SessionOpened { .. }
            | Answer::KeptAlive { .. }
            | Answer::Configured { .. }
            | Answer::Refused(_) => false,
        };
        if !ends {
            return false;
        }
        let identity = identity(command);
        let Some(before) = self.ends.get(&identity) else {
            self.ends.insert(identity, answer.clone());
            return false;
        };
        docket.check(before == answer, "a retry gets its answer", || {
            format!("{identity:?}: {before:?}, then {answer:?}")
        });
        true
    }

    /// Whether a request is refused for the first time. Told again from memory, the reason may be
    /// gone.
    pub fn is_refused_first(&mut self, command: &Command) -> bool {
        self.refused.insert(identity(command))
    }

    /// A command was applied and answered.
    pub fn on_answer(
        &mut self,
        command: &Command,
        answer: &Answer,
        stamp: Stamp,
        docket: &mut Docket,
    ) {
        let Some(effect) = effect(answer) else {
            return;
        };
        let identity = identity(command);
        if let Some((before, when)) = self.effects.get(&identity) {
            let window = Duration::from_millis(DEDUPE_MS);
            let remembered = match identity {
                Identity::Key(..) => stamp < when.plus(window),
                Identity::Via(_) | Identity::Session(..) => true,
            };
            let again = remembered && *before != effect;
            docket.check(!again, "a request has its effect once", || {
                format!("{identity:?}: {before:?}, and again {effect:?}")
            });
        }
        self.effects.insert(identity, (effect, stamp));
    }
}
