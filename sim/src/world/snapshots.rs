//! What servers want done with their snapshots.

use super::World;
use crate::marks::Mark;
use tenure_core::machine::Form;
use tenure_core::node::input::Input;
use tenure_core::node::output::Output;
use tenure_core::replica::message::Message;

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
            Output::SnapshotDone { id, chunks } => server.finish_snapshot(now, (id, chunks), marks),
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
    pub(super) fn mark_arrival(&mut self, to: usize, from: usize, message: &Message) {
        let Some(process) = self.servers[to].process() else {
            return;
        };
        match message {
            Message::SnapshotOffer { id, .. } => {
                let view = process.node.view();
                let leads = view.role == "leader" && id.slot > view.decided;
                self.marks.sometimes(leads, Mark::OfferedWhileLeading);
            }
            Message::SnapshotChunk { id, .. } => {
                let resumed = process
                    .fetched_from
                    .is_some_and(|(of, peer)| of == *id && peer != from);
                self.marks.sometimes(resumed, Mark::TransferResumed);
                process.fetched_from = Some((*id, from));
            }
            _ => {}
        }
    }
}
