//! What the judges are shown of a server, after each of its rounds.

use super::World;
use crate::judges::Judges;
use crate::marks::Mark;
use crate::server::node_id;
use tenure_core::entry::Entry;
use tenure_core::ids::{Ballot, Boot, Slot};
use tenure_core::node::output::{Note, Output, Reply};
use tenure_core::replica::message::Message;
use tenure_core::replica::record::Record;

impl World {
    /// Shows the judges what a server is and what it wants done.
    pub(super) fn watch(&mut self, index: usize, outputs: &[Output], audit: bool) {
        let Self {
            servers,
            judges,
            marks,
            ..
        } = self;
        let Some(process) = servers[index].process_ref() else {
            return;
        };
        let view = process.node.view();
        judges
            .votes
            .on_decided(index, view.decided, &mut judges.docket);
        judges.promises[index].on_decided(index, view.decided, &mut judges.docket);
        let (applied, digest) = (view.applied, view.machine.digest());
        judges
            .history
            .on_digest(index, applied, digest, &mut judges.docket);
        if audit && let Err(violation) = process.node.audit() {
            let detail = format!("server {}: {violation}", index + 1);
            judges.docket.broken("a server's own invariants", detail);
        }
        let boot = process.boot;
        for output in outputs {
            judges.watch_output(index, boot, output);
            if let Output::SnapshotDone { id, .. } = output {
                let (snapshots, is_late) =
                    (&mut judges.history.snapshots, process.snapshots.is_late);
                snapshots.on_whole(index, *id, is_late, &mut judges.docket);
            }
            if let Output::Note(Note::Installed { id }) = output {
                marks.hit(Mark::Installed);
                judges.on_installed(index, *id, process.node.view().machine);
            }
            if let Output::Send { message, .. } = output {
                marks.sometimes(matches!(message, Message::Nack { .. }), Mark::Nacked);
                let outranked = matches!(message, Message::Outranked { .. });
                marks.sometimes(outranked, Mark::Outranked);
                let caught_up =
                    matches!(message, Message::Decided { entries, .. } if !entries.is_empty());
                marks.sometimes(caught_up, Mark::CaughtUp);
            }
        }
    }
}

impl Judges {
    /// Shows the judges what a server wants done.
    pub(crate) fn watch_output(&mut self, index: usize, boot: Boot, output: &Output) {
        match output {
            Output::Send { message, .. } => self.watch_message(index, boot, message),
            Output::Append {
                record:
                    Record::Accepted {
                        ballot,
                        base,
                        slot,
                        entry,
                    },
                ..
            } if ballot.node == node_id(index) => {
                self.votes.on_base(*ballot, *base, &mut self.docket);
                self.watch_proposal(index, boot, (*ballot, *slot), entry);
            }
            Output::Reply {
                reply: Reply::Decided { answer, slot, .. },
                ..
            } => {
                let who = (node_id(index), boot);
                self.history.on_reply(who, *slot, answer, &mut self.docket);
            }
            Output::Truncate { upto, .. } => {
                self.promises[index].on_truncate(index, *upto, &mut self.docket);
            }
            Output::Append { .. }
            | Output::Reply { .. }
            | Output::Promise { .. }
            | Output::Load { .. }
            | Output::SnapshotChunk { .. }
            | Output::SnapshotDone { .. }
            | Output::LoadChunk { .. }
            | Output::Configured { .. }
            | Output::Note(_)
            | Output::Halt { .. } => {}
        }
    }

    fn watch_proposal(&mut self, index: usize, boot: Boot, at: (Ballot, Slot), entry: &Entry) {
        let (ballot, slot) = at;
        self.votes.on_lead(index, boot, ballot, &mut self.docket);
        self.votes.on_propose(ballot, slot, entry, &mut self.docket);
        self.history.on_stamp(entry.stamp(), &mut self.docket);
    }

    fn watch_message(&mut self, index: usize, boot: Boot, message: &Message) {
        match message {
            Message::Ping { mark, .. } => self.history.on_mark(index, *mark, &mut self.docket),
            Message::Prepare { ballot } => {
                self.votes.on_lead(index, boot, *ballot, &mut self.docket);
                self.promises[index].on_say_promise(index, *ballot, &mut self.docket);
            }
            Message::Promise { ballot, .. } => {
                self.promises[index].on_say_promise(index, *ballot, &mut self.docket);
            }
            Message::Accept {
                ballot,
                base,
                first,
                entries,
                commit,
            } => {
                self.votes.on_base(*ballot, *base, &mut self.docket);
                self.votes.on_decided(index, *commit, &mut self.docket);
                let mut slot = *first;
                for entry in entries {
                    self.watch_proposal(index, boot, (*ballot, slot), entry);
                    slot = slot.next();
                }
            }
            Message::Accepted { ballot, upto } => {
                let base = self.votes.base(*ballot);
                let promises = &mut self.promises[index];
                promises.on_say_accepted(
                    index,
                    *ballot,
                    (base, *upto),
                    &self.votes,
                    &mut self.docket,
                );
            }
            Message::Decided { first, entries, .. } => {
                let mut slot = *first;
                for entry in entries {
                    self.votes.on_decided_entry(slot, entry, &mut self.docket);
                    slot = slot.next();
                }
            }
            Message::Pong { .. }
            | Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::Nack { .. }
            | Message::CatchUp { .. }
            | Message::SnapshotOffer { .. }
            | Message::SnapshotGet { .. }
            | Message::SnapshotChunk { .. }
            | Message::ReadIndex { .. }
            | Message::ReadAt { .. }
            | Message::Forward { .. }
            | Message::HandOver { .. }
            | Message::TakeOver { .. }
            | Message::Outranked { .. }
            | Message::Refuse { .. } => {}
        }
    }
}
