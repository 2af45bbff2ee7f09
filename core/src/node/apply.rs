//! Applying what was decided, and telling this server's own callers.

use super::Node;
use super::output::{Halt, Note, Output, Reply};
use super::pending::Caller;
use crate::entry::Entry;
use crate::ids::{Slot, Tag, TicketId, ZoneId};
use crate::machine::Form;
use crate::machine::answer::{Answer, Event, Grant, Loss};
use crate::machine::command::{Client, Operation};
use crate::replica::Effect;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Gives back what nobody was told of. No session has it, so nothing of it is counted.
fn release(grant: &Grant) -> Operation {
    Operation::Release {
        key: grant.key().clone(),
        fence: grant.fence,
        all: true,
    }
}

impl Node {
    /// Applies decided entries in order, as far as they are in memory; asks for the others.
    pub(super) fn apply_decided(&mut self, effects: &mut Vec<Effect>, out: &mut Vec<Output>) {
        let before = self.machine.applied();
        while self.machine.applied() < self.replica.decided() && !self.halted {
            let slot = self.machine.applied().next();
            let Some(entry) = self.replica.decided_entry(slot).cloned() else {
                self.load_own(slot);
                break;
            };
            self.apply(slot, &entry, effects, out);
        }
        if self.machine.applied() != before {
            self.hear_applied();
            self.answer_reads(out);
        }
    }

    /// How far agreed time came, and who led last, is what the replica tells candidates.
    pub(super) fn hear_applied(&mut self) {
        let (stamp, started) = (self.machine.stamp(), self.machine.started());
        self.replica.hear_applied(stamp, started);
    }

    /// Tells of another configuration, whichever way it came here.
    pub(super) fn announce(&mut self, out: &mut Vec<Output>) {
        let (shared, known) = (self.machine.shared(), self.config.shared());
        // A newcomer knows more of the members than its log, until that has come as far.
        let is_newer = shared.mark().change > known.mark().change;
        let is_same = shared.mark() == known.mark() && shared.leaving() != known.leaving();
        if is_newer || is_same {
            self.replica.learn_shared(shared.clone());
        } else if self.replica.config().epoch() == self.config.epoch() {
            return;
        }
        if self.replica.config().epoch() != self.config.epoch() {
            let membership = self.replica.config().membership().clone();
            out.push(Output::Note(Note::Epoch { membership }));
        }
        self.config = self.replica.config().clone();
        out.push(Output::Configured {
            config: Box::new(self.config.clone()),
        });
        self.halt_if_removed(out);
        self.halt_if_role_changed(out);
    }

    /// From here on this server keeps more than it has, or less: it starts again from its disk, and
    /// votes and leads as what it is then. Nothing is lost, and no word of it depends on what it did.
    fn halt_if_role_changed(&mut self, out: &mut Vec<Output>) {
        let (me, membership) = (self.config.me(), self.config.membership());
        // Who leaves needs no locks for that.
        let is_member = self.config.shared().member(me).is_some();
        let is_right = Form::of(membership, me) == self.machine.form();
        if is_member && !is_right && !self.halted {
            let epoch = membership.epoch();
            self.halt(Halt::Role { epoch }, out);
        }
    }

    /// A member that left, and is needed no more to tell others what it has (rule 30).
    fn halt_if_removed(&mut self, out: &mut Vec<Output>) {
        let (me, shared) = (self.config.me(), self.machine.shared());
        let mut known = shared.members().iter().chain(shared.leaving());
        let was_member = me <= shared.node_last();
        if was_member && !known.any(|member| member.node == me) {
            let change = shared.mark().change;
            self.halt(Halt::Removed { change }, out);
        }
    }

    pub(super) fn apply(
        &mut self,
        slot: Slot,
        entry: &Entry,
        effects: &mut Vec<Effect>,
        out: &mut Vec<Output>,
    ) {
        let mut events = Vec::new();
        self.machine.apply(slot, entry, &mut events);
        self.open_snapshot_if_due();
        for event in events {
            self.tell(slot, event, effects, out);
        }
    }

    /// Every server sees every event, and answers those that wait at it.
    fn tell(&mut self, slot: Slot, event: Event, effects: &mut Vec<Effect>, out: &mut Vec<Output>) {
        match event {
            Event::Answered { via, answer } => {
                if let Some(caller) = self.pending.answered(via) {
                    self.answer(slot, caller, answer, effects, out);
                }
            }
            Event::Offered { ticket } => {
                // The caller is there: the ticket becomes a grant (rule 32).
                if let Some(zone) = self.pending.zone_of_waiter(ticket) {
                    self.order(zone, Operation::Confirm { ticket }, effects);
                }
            }
            Event::Ended { ticket, answer } => {
                let (zone, tags) = self.pending.ended(ticket);
                if self.pending.was_abandoned(ticket)
                    && let Answer::Granted(grant) = &answer
                {
                    // Its caller went away between the confirm and this, and nobody knows of it.
                    self.order(grant.zone, release(grant), effects);
                }
                for tag in tags {
                    self.say(slot, zone, tag, answer.clone(), out);
                }
            }
            Event::Lost {
                keys,
                fence,
                loss: Loss::Forced(cause),
                ..
            } => {
                let note = Note::Forced { keys, fence, cause };
                out.push(Output::Note(note));
            }
            Event::Lost {
                loss: Loss::Expired,
                ..
            }
            | Event::SessionExpired { .. } => {}
        }
    }

    fn answer(
        &mut self,
        slot: Slot,
        caller: Caller,
        answer: Answer,
        effects: &mut Vec<Effect>,
        out: &mut Vec<Output>,
    ) {
        let Some(tag) = caller.tag else {
            return self.undo(&caller, &answer, effects);
        };
        match &answer {
            Answer::Queued { ticket, .. } => {
                self.pending
                    .wait(*ticket, caller.zone, tag, caller.client == Client::None);
                self.say(slot, caller.zone, tag, answer, out);
            }
            Answer::Offered { ticket } => {
                self.pending
                    .wait(*ticket, caller.zone, tag, caller.client == Client::None);
                self.order(caller.zone, Operation::Confirm { ticket: *ticket }, effects);
            }
            Answer::Granted(_)
            | Answer::Released { .. }
            | Answer::Renewed { .. }
            | Answer::Converted { .. }
            | Answer::Cancelled { .. }
            | Answer::SessionOpened { .. }
            | Answer::KeptAlive { .. }
            | Answer::SessionClosed { .. }
            | Answer::Resized { .. }
            | Answer::Forced { .. }
            | Answer::Configured { .. }
            | Answer::Refused(_) => self.say(slot, caller.zone, tag, answer, out),
        }
    }

    /// The caller went away before the answer, and nothing but its connection stood for it: what it
    /// got is of no use to anybody.
    fn undo(&mut self, caller: &Caller, answer: &Answer, effects: &mut Vec<Effect>) {
        if !caller.is_request || caller.client != Client::None {
            return;
        }
        match answer {
            Answer::Granted(grant) => {
                self.order(caller.zone, release(grant), effects);
            }
            Answer::Queued { ticket, .. } | Answer::Offered { ticket } => {
                self.order(caller.zone, Operation::Cancel { ticket: *ticket }, effects);
            }
            Answer::Released { .. }
            | Answer::Renewed { .. }
            | Answer::Converted { .. }
            | Answer::Cancelled { .. }
            | Answer::SessionOpened { .. }
            | Answer::KeptAlive { .. }
            | Answer::SessionClosed { .. }
            | Answer::Resized { .. }
            | Answer::Forced { .. }
            | Answer::Configured { .. }
            | Answer::Refused(_) => {}
        }
    }

    fn say(&self, slot: Slot, zone: ZoneId, tag: Tag, answer: Answer, out: &mut Vec<Output>) {
        let token = match &answer {
            Answer::Granted(grant) => Some(self.proofs.of_grant(grant)),
            Answer::SessionOpened { session, .. } => Some(self.proofs.of_session(zone, *session)),
            Answer::Queued { .. }
            | Answer::Offered { .. }
            | Answer::Released { .. }
            | Answer::Renewed { .. }
            | Answer::Converted { .. }
            | Answer::Cancelled { .. }
            | Answer::KeptAlive { .. }
            | Answer::SessionClosed { .. }
            | Answer::Resized { .. }
            | Answer::Forced { .. }
            | Answer::Configured { .. }
            | Answer::Refused(_) => None,
        };
        let reply = Reply::Decided {
            answer,
            token,
            slot,
        };
        out.push(Output::Reply { tag, reply });
    }

    /// A caller went away.
    pub(super) fn gone(&mut self, tag: Tag, effects: &mut Vec<Effect>) {
        self.reads.gone(tag);
        let abandoned: Option<(ZoneId, TicketId)> = self.pending.gone(tag);
        if let Some((zone, ticket)) = abandoned {
            self.order(zone, Operation::Cancel { ticket }, effects);
        }
    }
}
