//! What clients asked and were told, lock by lock, in true time and without a word of the log: the
//! history that a linearizability checker needs which knows nothing of slots (K23).

use crate::Nanos;
use std::collections::BTreeMap;
use tenure_core::ids::Fence;
use tenure_core::machine::command::Mode;
use tenure_core::machine::key::Key;

/// What was asked, and what the answer was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Told {
    /// A grant. One that is `kept` ends by a release alone; others may end by time.
    Granted {
        /// Its fence.
        fence: Fence,
        /// How it is shared.
        mode: Mode,
        /// Whether time does not end it.
        kept: bool,
    },
    /// A grant was given back; or, if nobody was told so, perhaps.
    Released {
        /// Its fence.
        fence: Fence,
        /// Whether it had ended before.
        already: bool,
    },
    /// The lock was looked at.
    Read {
        /// Who held it.
        fences: Vec<Fence>,
    },
}

/// One call of a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// Who.
    pub client: usize,
    /// Which lock.
    pub key: Key,
    /// When it was first sent.
    pub called: Nanos,
    /// When it was answered; never, if the client gave up or died.
    pub returned: Option<Nanos>,
    /// What.
    pub told: Told,
}

/// All calls of a run.
#[derive(Debug, Default)]
pub struct Calls {
    done: Vec<Call>,
    /// Releases that were not answered yet.
    open: BTreeMap<(usize, Fence, Key), Call>,
}

impl Calls {
    /// A call was answered.
    pub fn on_answer(&mut self, call: Call) {
        if let Told::Released { fence, .. } = call.told {
            self.open.remove(&(call.client, fence, call.key.clone()));
        }
        self.done.push(call);
    }

    /// A client gives back what it holds: from now on that may happen at any time.
    pub fn on_release(&mut self, client: usize, key: &Key, called: Nanos, fence: Fence) {
        let call = Call {
            client,
            key: key.clone(),
            called,
            returned: None,
            told: Told::Released {
                fence,
                already: true,
            },
        };
        self.open
            .entry((client, fence, key.clone()))
            .or_insert(call);
    }

    /// An operator takes it: from now on it may end at any time.
    pub fn on_taken(&mut self, key: &Key, called: Nanos, fence: Fence) {
        self.on_release(usize::MAX, key, called, fence);
    }

    /// All of them, those that were never answered last.
    pub fn take(&mut self) -> Vec<Call> {
        let mut calls = std::mem::take(&mut self.done);
        calls.extend(std::mem::take(&mut self.open).into_values());
        calls
    }
}
