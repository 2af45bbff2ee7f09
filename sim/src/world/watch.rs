//! What the judges are shown of a server, after each of its rounds.

use super::World;
use crate::check::promises::Part;
use crate::judges::Judges;
use crate::marks::{Mark, Marks};
use crate::server::{Server, index_of, node_id};
use tenure_core::config::{Membership, Seat};
use tenure_core::entry::Entry;
use tenure_core::ids::{Ballot, Boot, Slot};
use tenure_core::node::Node;
use tenure_core::node::output::{Note, Output, Reply};
use tenure_core::replica::message::Message;
use tenure_core::replica::record::Record;

impl World {
    /// Shows the judges what a server is and what it wants done.
    pub(super) fn watch(&mut self, index: usize, outputs: &[Output], audit: bool) {
        let server = &self.servers[index];
        if audit && let Some(process) = server.process_ref() {
            self.judges.audit(index, &process.node);
            self.judges.look_for_orphans(server);
        }
        self.judges.watch(server, outputs, &mut self.marks);
    }
}

/// The slot of an entry that is to be appended.
const fn entry_of(output: &Output) -> Option<Slot> {
    match output {
        Output::Append {
            record: Record::Accepted { slot, .. } | Record::Decided { slot, .. },
            ..
        } => Some(*slot),
        _ => None,
    }
}

impl Judges {
    fn audit(&mut self, index: usize, node: &Node) {
        if let Err(violation) = node.audit() {
            let detail = format!("server {}: {violation}", index + 1);
            self.docket.broken("a server's own invariants", detail);
        }
        for load in node.load() {
            let docket = &mut self.docket;
            docket.check(
                load.now <= load.most,
                "what a server holds has a bound",
                || format!("server {}: {load:?}", index + 1),
            );
        }
    }

    /// Each file on the disk of a server that serves is there for something (K30).
    pub fn look_for_orphans(&mut self, server: &Server) {
        let orphan = server.disk.files().find(|file| !server.has_use_of(*file));
        self.docket
            .check(orphan.is_none(), "each file is there for something", || {
                format!("server {}: file {orphan:?}", server.index + 1)
            });
    }

    /// Shows the judges what a server is after a round, and what it wants done.
    pub fn watch(&mut self, server: &Server, outputs: &[Output], marks: &mut Marks) {
        let Some(process) = server.process_ref() else {
            return;
        };
        let (index, view, docket) = (server.index, process.node.view(), &mut self.docket);
        self.votes.on_decided(index, view.decided, docket);
        self.promises[index].on_decided(index, view.decided, docket);
        self.history.on_machine(index, view.machine, docket);
        for output in outputs {
            self.watch_output(index, process.boot, output);
            if process.is_full
                && let Some(slot) = entry_of(output)
            {
                let detail = format!("server {}, slot {slot}", index + 1);
                self.docket
                    .broken("a full disk is asked for nothing", detail);
            }
            // A peer's is judged when it was read back and installed.
            if let Output::SnapshotDone { id, .. } = output
                && !process.snapshots.is_received()
            {
                let (snapshots, is_late) = (&mut self.history.snapshots, process.snapshots.is_late);
                snapshots.on_whole(index, *id, is_late, &mut self.docket);
            }
            if let Output::Note(Note::Installed { id }) = output {
                marks.hit(Mark::Installed);
                self.on_installed(index, *id, view.machine);
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
    fn watch_output(&mut self, index: usize, boot: Boot, output: &Output) {
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
                self.usage[index].on_truncate(*upto);
            }
            Output::Promise {
                membership: Some(next),
                ..
            } => self.watch_epoch(index, next),
            Output::Append { .. }
            | Output::Reply { .. }
            | Output::Promise { .. }
            | Output::Load { .. }
            | Output::SnapshotChunk { .. }
            | Output::SnapshotDone { .. }
            | Output::LoadChunk { .. }
            | Output::Retire(_)
            | Output::Configured { .. }
            | Output::Note(_)
            | Output::Halt { .. } => {}
        }
    }

    fn watch_proposal(&mut self, index: usize, boot: Boot, at: (Ballot, Slot), entry: &Entry) {
        let (ballot, slot) = at;
        if let Some(next) = entry.next_membership()
            && !self.votes.knows_stop(&next)
        {
            self.watch_stop(slot, &next);
        }
        self.votes.on_lead(index, boot, ballot, &mut self.docket);
        self.promises[index].on_lead(ballot);
        self.votes.on_propose(ballot, slot, entry, &mut self.docket);
        self.history.on_stamp(entry.stamp(), &mut self.docket);
    }

    /// A new stop-sign: a majority of those that are to vote has all that is below it, or the next epoch
    /// would begin without its past (rule 29).
    fn watch_stop(&mut self, slot: Slot, next: &Membership) {
        let Some(last) = slot.get().checked_sub(1) else {
            return;
        };
        let has_all = |seat: &&Seat| {
            let promises = self.promises.get(index_of(seat.node));
            promises.is_some_and(|promises| promises.has_all(Slot::new(last), &self.votes))
        };
        let ready = next.seats().iter().filter(has_all).count();
        let is_ready = ready >= next.quorum();
        self.docket
            .check(is_ready, "the next voters have the past", || {
                format!("{ready} of {next:?} have all below the stop-sign at {slot}")
            });
    }

    /// A server writes down that an epoch began, and may vote in it from then on: all up to the stop-sign
    /// is on its disk (rule 29).
    fn watch_epoch(&mut self, index: usize, next: &Membership) {
        let has_all = self.promises[index].has_all(next.base(), &self.votes);
        let law = "an epoch begins when its past is durable";
        self.docket.check(has_all, law, || {
            format!("server {}, of slot {}", index + 1, next.base())
        });
    }

    fn watch_promise(&mut self, index: usize, message: &Message) {
        let Message::Promise {
            ballot,
            first,
            next,
            decided,
            reports,
            ..
        } = message
        else {
            return;
        };
        let (promises, docket) = (&mut self.promises[index], &mut self.docket);
        promises.on_say_promise(index, *ballot, docket);
        let part = Part {
            ballot: *ballot,
            first: (*first).max(decided.next()),
            next: *next,
            reports,
        };
        promises.on_say_part(index, &part, &self.votes, docket);
    }

    fn watch_message(&mut self, index: usize, boot: Boot, message: &Message) {
        match message {
            Message::Ping { mark, .. } => self.history.on_mark(index, *mark, &mut self.docket),
            Message::Prepare { ballot, .. } => {
                self.votes.on_lead(index, boot, *ballot, &mut self.docket);
                self.promises[index].on_say_promise(index, *ballot, &mut self.docket);
            }
            Message::Promise { .. } => self.watch_promise(index, message),
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
            | Message::SnapshotWish { .. }
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
