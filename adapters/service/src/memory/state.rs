//! The machine, its clock, and who waits.

use super::ZONE;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tenure_core::entry::{Entry, EntryKind};
use tenure_core::ids::{Boot, NodeId, TicketId};
use tenure_core::machine::answer::{Answer, Event, Grant};
use tenure_core::machine::command::{Client, Command, Operation, Via};
use tenure_core::machine::{Machine, codec};
use tenure_core::node::input::Proof;
use tenure_core::node::{Proofs, Secrets};
use tenure_core::time::Stamp;
use tenure_rt::sync::oneshot;

/// Gives each its own tokens.
static MADE: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
pub(super) struct State {
    pub(super) machine: Machine,
    pub(super) proofs: Proofs,
    /// What agreed time is to a cluster.
    pub(super) now: Stamp,
    /// The number of the last command.
    seq: u64,
    waiting: BTreeMap<TicketId, oneshot::Sender<Answer>>,
}

impl State {
    pub(super) fn new() -> Self {
        let mut token_key = [0; 32];
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        token_key[..8].copy_from_slice(&made.to_be_bytes());
        Self {
            machine: Machine::new(),
            proofs: Proofs::new(&Secrets { token_key }),
            now: Stamp::ZERO,
            seq: 0,
            waiting: BTreeMap::new(),
        }
    }

    pub(super) fn proof_of(&self, grant: &Grant) -> Proof {
        Proof {
            key: grant.key().clone(),
            fence: grant.fence,
            session: grant.session,
            token: self.proofs.of_grant(grant),
        }
    }

    /// Applies a command, and what follows from it. The end of a wait goes to `ended`.
    pub(super) fn decide(
        &mut self,
        operation: Operation,
        ended: Option<oneshot::Sender<Answer>>,
    ) -> Result<Answer, &'static str> {
        let (via, command) = self.command(operation);
        command.check()?;
        let (mut answer, mut after) = (None, Vec::new());
        for event in self.apply(self.now, &[codec::encode(&command)]) {
            match event {
                Event::Answered {
                    via: to,
                    answer: is,
                } if to == via => answer = Some(is),
                other => after.push(other),
            }
        }
        let answer = answer.expect("a new command is answered in its entry");
        if let (Answer::Queued { ticket, .. }, Some(ended)) = (&answer, ended) {
            self.waiting.insert(*ticket, ended);
        }
        self.follow(after);
        Ok(answer)
    }

    /// Lets time pass, in the steps in which something is due.
    pub(super) fn advance(&mut self, time: Duration) {
        let then = self.now.plus(time);
        while let Some(due) = self.machine.next_deadline().filter(|due| *due <= then) {
            self.now = self.now.max(due);
            let events = self.apply(self.now, &[]);
            self.follow(events);
        }
        self.now = then;
        let events = self.apply(then, &[]);
        self.follow(events);
    }

    fn command(&mut self, operation: Operation) -> (Via, Command) {
        self.seq += 1;
        let via = Via {
            node: NodeId::new(1),
            boot: Boot::new(1),
            seq: self.seq,
        };
        let command = Command {
            zone: ZONE,
            principal: Bytes::new(),
            client: Client::None,
            via,
            operation,
        };
        (via, command)
    }

    fn apply(&mut self, stamp: Stamp, commands: &[Bytes]) -> Vec<Event> {
        let kind = if commands.is_empty() {
            EntryKind::Noop
        } else {
            EntryKind::Batch
        };
        let mut events = Vec::new();
        let slot = self.machine.applied().next();
        let entry = Entry::new(kind, stamp, commands);
        self.machine.apply(slot, &entry, &mut events);
        events
    }

    /// Does what a server does about what the log decided: confirms offers whose caller is there, and tells
    /// waiters of their end.
    fn follow(&mut self, events: Vec<Event>) {
        let mut events = VecDeque::from(events);
        while let Some(event) = events.pop_front() {
            let operation = match event {
                Event::Offered { ticket } => {
                    let caller = self.waiting.get(&ticket);
                    if caller.is_some_and(|caller| !caller.is_closed()) {
                        Operation::Confirm { ticket }
                    } else {
                        Operation::Cancel { ticket }
                    }
                }
                Event::Ended { ticket, answer } => {
                    let caller = self.waiting.remove(&ticket);
                    let unheard = caller.and_then(|caller| caller.send(answer).err());
                    let Some(Answer::Granted(grant)) = unheard else {
                        continue;
                    };
                    let key = grant.key().clone();
                    let fence = grant.fence;
                    let all = true;
                    Operation::Release { key, fence, all }
                }
                Event::Answered { .. } | Event::Lost { .. } | Event::SessionExpired { .. } => {
                    continue;
                }
            };
            let (_, command) = self.command(operation);
            let bytes = codec::encode(&command);
            events.extend(self.apply(self.now, &[bytes]));
        }
    }
}
