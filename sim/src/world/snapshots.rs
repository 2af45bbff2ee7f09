//! What servers want done with their snapshots.

use super::World;
use crate::Nanos;
use crate::marks::Mark;
use crate::scenario::MS;
use crate::server::Fetched;
use tenure_core::ids::{Boot, SnapshotId};
use tenure_core::machine::Form;
use tenure_core::node::input::Input;
use tenure_core::node::output::Output;
use tenure_core::replica::message::Message;

/// Who was sent a chunk less than this ago is in the middle of its snapshot: less than it waits for one.
const FRESH: Nanos = 400 * MS;
/// How many snapshots in a row may be taken away from a server before it is done with them.
const TAKEN_AWAY_MAX: u32 = 3;

impl World {
    pub(super) fn do_snapshot(&mut self, index: usize, output: Output) {
        let (now, marks) = (self.now, &mut self.marks);
        let server = &mut self.servers[index];
        let begun = match output {
            Output::SnapshotChunk {
                slot,
                index: chunk,
                bytes,
                received,
            } => server.add_chunk(now, (slot, chunk), &bytes, received, marks),
            Output::SnapshotDone { id, chunks, keep } => {
                // Nothing more is said of one that is kept for others only.
                let process = server.process_ref();
                let fetched = process.and_then(|process| process.fetched);
                let is_fetched = fetched.is_some_and(|fetched| fetched.id == id);
                let begun = server.finish_snapshot(now, (id, chunks), keep, marks);
                if is_fetched {
                    self.fetch_ended(index, id, true);
                }
                begun
            }
            Output::Truncate { upto, snapshot } => {
                server.begin_truncate(now, upto, snapshot, marks)
            }
            Output::LoadChunk { id, index: chunk } => {
                let bytes = server.load_chunk(id, chunk);
                let view = server.process_ref().map(|process| process.node.view());
                let is_witness = view.is_some_and(|view| view.machine.form() == Form::Witness);
                marks.sometimes(is_witness && bytes.is_some(), Mark::OpaqueServed);
                let loaded = Input::ChunkLoaded {
                    id,
                    index: chunk,
                    bytes,
                };
                return self.tell(index, loaded);
            }
            Output::Send { .. }
            | Output::Reply { .. }
            | Output::Append { .. }
            | Output::Promise { .. }
            | Output::Load { .. }
            | Output::Retire(_)
            | Output::Configured { .. }
            | Output::Note(_)
            | Output::Halt { .. } => return,
        };
        self.expect_disk(index, begun);
    }

    /// Notes what arrives at a server.
    pub(super) fn mark_arrival(&mut self, to: usize, source: (usize, Boot), message: &Message) {
        let at = self.now;
        if let Message::SnapshotOffer { id, .. } = message {
            self.judge_offer(to, source, *id);
        }
        let Some(process) = self.servers[to].process() else {
            return;
        };
        if let Message::SnapshotChunk { id, .. } = message
            && process.done_with.is_none_or(|done| done.slot < id.slot)
        {
            let resumed = |last: Fetched| last.id == *id && last.source.0 != source.0;
            let resumed = process.fetched.is_some_and(resumed);
            self.marks.sometimes(resumed, Mark::TransferResumed);
            let id = *id;
            process.fetched = Some(Fetched { id, source, at });
        }
    }

    /// A server in the middle of a snapshot is told that there is a newer one instead. That may be, for
    /// words overtake each other, but not again and again: it would never get done under load.
    fn judge_offer(&mut self, to: usize, source: (usize, Boot), id: SnapshotId) {
        let now = self.now;
        let has_room = self.servers[source.0]
            .process_ref()
            .is_some_and(|process| !process.snapshots.was_pruned);
        let Some(process) = self.servers[to].process() else {
            return;
        };
        let view = process.node.view();
        let leads = view.role == "leader" && id.slot > view.decided;
        self.marks.sometimes(leads, Mark::OfferedWhileLeading);
        let is_cut = |last: &mut Fetched| {
            last.source == source && last.id.slot < id.slot && now - last.at < FRESH
        };
        let Some(last) = process.fetched.take_if(is_cut) else {
            return;
        };
        process.taken_away += u32::from(has_room);
        let docket = &mut self.judges.docket;
        let stays = process.taken_away <= TAKEN_AWAY_MAX;
        docket.check(stays, "who fetches a snapshot gets done with it", || {
            let (to, from) = (to + 1, source.0 + 1);
            format!(
                "server {from} sends server {to} snapshot {id} after a part of {}",
                last.id
            )
        });
    }

    /// A server begins to fetch a snapshot, perhaps anew.
    pub(super) fn fetch_began(&mut self, index: usize, id: SnapshotId) {
        if let Some(process) = self.servers[index].process() {
            process.done_with = process.done_with.filter(|done| done.slot < id.slot);
        }
    }

    /// A fetch came to its end, good or bad: what is offered next takes nothing away.
    pub(super) fn fetch_ended(&mut self, index: usize, id: SnapshotId, is_whole: bool) {
        if let Some(process) = self.servers[index].process() {
            process.fetched = None;
            process.done_with = Some(id);
            if is_whole {
                process.taken_away = 0;
            }
        }
    }
}
