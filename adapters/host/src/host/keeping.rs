//! The loop's dealings with the disk beside the log: snapshots, truncation, room.

use super::{Host, HostError, Steps, disk};
use crate::log::{Kept, Log};
use crate::peers::Peers;
use crate::snapshots::{Event, Job};
use bytes::Bytes;
use tenure_core::ids::{Slot, SnapshotId};
use tenure_core::node::input::{Input, Space};
use tenure_core::node::output::Received;

impl<N: Steps, L: Log, P: Peers> Host<N, L, P> {
    /// Hands a chunk on. One that can't be is dropped, and with it its snapshot: the end will tell.
    pub(super) fn store_chunk(
        &mut self,
        (slot, index): (Slot, u32),
        bytes: Bytes,
        received: Option<Received>,
    ) {
        let chunk = Job::Chunk(slot, index, bytes, received);
        if !self.snapshots.begin(chunk) {
            self.inputs.push(Input::ChunkStored { slot, index });
        }
    }

    pub(super) fn end_snapshot(&mut self, id: SnapshotId, chunks: u32, keep: Vec<SnapshotId>) {
        if !self.snapshots.begin(Job::Done(id, chunks, keep)) {
            self.inputs.push(Input::SnapshotFailed { id });
        }
    }

    pub(super) fn load_chunk(&mut self, id: SnapshotId, index: u32) {
        if !self.snapshots.begin(Job::Load(id, index)) {
            let bytes = None;
            self.inputs.push(Input::ChunkLoaded { id, index, bytes });
        }
    }

    /// Takes what ended on the thread that keeps snapshots.
    pub(super) fn take_snapshots(&mut self) -> Result<(), HostError> {
        while let Some(event) = self.event.take().or_else(|| self.snapshots.take_event()) {
            match event {
                Event::Stored(slot, index) => {
                    self.inputs.push(Input::ChunkStored { slot, index });
                }
                Event::Kept(id, Kept::Durable) => {
                    tracing::info!(%id, "a snapshot is durable");
                    self.inputs.push(Input::SnapshotDurable { id });
                }
                Event::Kept(id, Kept::Restored(machine)) => {
                    tracing::info!(%id, "a snapshot of a peer is durable");
                    self.inputs.push(Input::SnapshotRestored { id, machine });
                }
                Event::Kept(id, Kept::Bad(why)) => {
                    tracing::warn!(%id, %why, "a peer sent what is no snapshot of that name");
                    self.inputs.push(Input::SnapshotBad { id });
                }
                Event::Kept(id, Kept::GivenUp(why)) => {
                    tracing::warn!(%id, %why, "a snapshot was given up; it is tried again");
                    self.inputs.push(Input::SnapshotFailed { id });
                }
                Event::Loaded(id, index, loaded) => {
                    let bytes = loaded.unwrap_or_else(|error| {
                        tracing::error!(%id, index, %error, "a snapshot can't be read: no peer gets it any more, and if it is the \
                             newest another one is made");
                        None
                    });
                    self.inputs.push(Input::ChunkLoaded { id, index, bytes });
                }
                Event::Truncated(truncation) => {
                    self.log.end_truncate(truncation);
                    self.truncating = false;
                    self.snapshots.begin(Job::Tidy);
                }
                Event::Tidied | Event::Retired => {}
                Event::Failed(doing, error) => return Err(disk(doing)(error)),
            }
            self.change_superblock()?;
        }
        Ok(())
    }

    /// Looks at the room on the disk, and tells the node what changed. What waited for room is tried
    /// again first.
    pub(super) fn take_space(&mut self) -> Result<(), HostError> {
        let mut space = self.log.space().map_err(disk("extended"))?;
        if self.waits_for_room {
            self.sync_appended()?;
        }
        if self.waits_for_room {
            space = Space::Full;
        }
        if space == self.space {
            return Ok(());
        }
        self.space = space;
        match space {
            Space::Enough => tracing::info!("there is room on the disk again"),
            Space::Low => tracing::error!(
                "the disk is full: new work is refused, and what was granted goes on while the \
                 emergency segment lasts; make room"
            ),
            Space::Full => tracing::error!(
                "the emergency segment is full too: this server accepts nothing, and serves nobody, \
                 until there is room; make room"
            ),
        }
        self.inputs.push(Input::Space { space });
        Ok(())
    }
}
