//! What the disk adapter does with snapshots, on a simulated disk: a file without a name grows chunk
//! by chunk, is synced, gets its name, and the folder is synced; only then is it durable.

use super::storage::{DiskDone, Stored};
use super::{CLUSTER, Server};
use crate::Nanos;
use crate::check::usage;
use crate::disk::{Disk, FolderSync, Sync};
use crate::judges::Judges;
use crate::marks::{Mark, Marks};
use crate::scenario::MS;
use bytes::Bytes;
use std::collections::BTreeMap;
use tenure_core::ids::{Seed, Slot, SnapshotId};
use tenure_core::machine::snapshot::Restore;
use tenure_core::machine::{Form, Machine};
use tenure_core::node::input::Input;
use tenure_core::node::output::Received;
use tenure_core::node::snapshots::Restored;
use tenure_core::wal::snapshot::{Contents, Encoder, Reader};

/// How many whole snapshots are kept.
const KEPT: usize = usage::NEWEST;
/// More than what stands around a chunk, and behind the last one.
const HEAD_BYTES: u64 = 64;

/// The file under construction.
#[derive(Debug)]
struct Building {
    file: u64,
    encoder: Encoder,
    /// What a peer sends is read back on the way.
    restore: Option<Restore>,
}

/// A whole file on its way to its name.
#[derive(Debug)]
struct Finishing {
    file: u64,
    contents: Contents,
    step: Step,
    /// Older ones that stay beside the two newest.
    keep: Vec<SnapshotId>,
    /// What a peer's holds.
    machine: Option<Box<Machine>>,
}

#[derive(Debug)]
enum Step {
    Content(Sync),
    Name(FolderSync),
}

/// The snapshots of a process.
#[derive(Debug, Default)]
pub struct Snapshots {
    building: Option<Building>,
    finishing: Option<Finishing>,
    kept: BTreeMap<SnapshotId, (u64, Contents)>,
    /// One was given up since the last one that was kept: the next may be of any slot.
    pub is_late: bool,
    /// Since the last one that was kept, some that others may be in the middle of were let go for want
    /// of room.
    pub was_pruned: bool,
    /// Its node was told that there is not enough: it keeps nothing for others.
    is_low: bool,
    /// When the last one was kept, and when the log was truncated the last time.
    made_at: Nanos,
    pub(super) truncated_at: Nanos,
}

/// Two of a kind come so soon one after the other that nothing else gets done in between.
const STORM: Nanos = 100 * MS;

/// Whether something happens `now`, and did just before.
pub(super) const fn storms(last: &mut Nanos, now: Nanos) -> bool {
    let is_soon = *last > 0 && now < *last + STORM;
    *last = now;
    is_soon
}

impl Snapshots {
    /// Its node is told whether there is room enough.
    pub(super) const fn on_room(&mut self, is_enough: bool) {
        self.is_low = !is_enough;
        self.was_pruned |= self.is_low;
    }

    /// Whether what is under construction came from a peer.
    pub fn is_received(&self) -> bool {
        let building = self.building.as_ref();
        building.is_some_and(|building| building.restore.is_some())
    }

    /// Whether a name was given that is not stored for good yet.
    pub const fn is_naming(&self) -> bool {
        matches!(
            self.finishing,
            Some(Finishing {
                step: Step::Name(_),
                ..
            })
        )
    }
}

/// What an opening found on the disk: the snapshots, and what the newest one holds.
pub(super) type Kept = (Snapshots, Option<Restored>);

/// What a file says, if it is whole to the last byte.
fn read_whole(id: SnapshotId, bytes: &[u8]) -> Result<(Contents, Vec<Bytes>), String> {
    let mut reader = Reader::new(CLUSTER, id, bytes.len() as u64);
    let (mut at, mut chunks) = (0, Vec::new());
    while !reader.is_done() {
        let wanted = reader.wants().map_err(|damage| damage.to_string())?;
        let taken = reader.take(&bytes[at..at + wanted]);
        if let Some(chunk) = taken.map_err(|damage| damage.to_string())? {
            chunks.push(Bytes::copy_from_slice(chunk));
        }
        at += wanted;
    }
    Ok((reader.finish(), chunks))
}

impl Server {
    /// The newest snapshot of the disk, read back into a machine. A name without its whole content
    /// is what the order of the syncs must never leave.
    pub(super) fn read_snapshots(&self, form: Form) -> Result<Kept, String> {
        let mut snapshots = Snapshots::default();
        let (mut newest, mut older) = (None, None);
        for (id, file) in self.disk.snapshots.names() {
            let found = read_whole(*id, self.disk.read(*file));
            let (contents, chunks) =
                found.map_err(|damage| format!("server {}: {damage}", self.index + 1))?;
            snapshots.kept.insert(*id, (*file, contents));
            older = newest.replace((*id, chunks));
        }
        let Some((id, chunks)) = newest else {
            return Ok((snapshots, None));
        };
        let limits = self.knobs.limits();
        let restore = Restore::new(id, limits.machine, Seed::new(self.seed));
        let mut restore = restore.in_form(form);
        let fed = chunks.iter().try_for_each(|chunk| restore.chunk(chunk));
        let machine = fed.and_then(|()| restore.finish());
        let machine = machine.map_err(|error| format!("server {}: {error}", self.index + 1))?;
        let chunks = chunks.len() as u32;
        Ok((
            snapshots,
            Some(Restored {
                id,
                chunks,
                machine,
                older: older.map(|(id, chunks)| (id, chunks.len() as u32)),
            }),
        ))
    }

    /// Writes a chunk behind the others; the first one begins a file.
    pub fn add_chunk(
        &mut self,
        now: Nanos,
        (slot, index): (Slot, u32),
        bytes: &[u8],
        received: Option<Received>,
        marks: &mut Marks,
    ) -> Option<Stored> {
        let sizes = self.sizes();
        let is_dropped = self.rand.at(now).chance(self.knobs.chunk_drop_ppm);
        marks.sometimes(is_dropped, Mark::ChunkDropped);
        let disk = &mut self.disk;
        let process = super::process_of(&mut self.life)?;
        let stored = (now + self.knobs.sync_min, DiskDone::Chunk { slot, index });
        let snapshots = &mut process.snapshots;
        if index == 0 {
            snapshots.abandon(disk);
            let (encoder, header) = Encoder::begin(CLUSTER, slot);
            let file = disk.create_unnamed();
            disk.append(file, &header);
            let restore = received.map(|of| of.restore());
            snapshots.building = Some(Building {
                file,
                encoder,
                restore,
            });
        }
        let Some(building) = &mut snapshots.building else {
            return Some(stored); // it was given up
        };
        let next = (building.encoder.slot(), building.encoder.next_chunk());
        if is_dropped || next != (slot, index) {
            return Some(stored); // its end will miss it
        }
        if !disk.has_room(process.storage.reserved(sizes) + bytes.len() as u64 + HEAD_BYTES) {
            snapshots.abandon(disk);
            snapshots.drop_old(disk, 1, &[]);
            snapshots.was_pruned = true;
            return Some(stored);
        }
        if let Some(restore) = &mut building.restore {
            drop(restore.chunk(bytes)); // what is wrong is said at its end
        }
        let head = building.encoder.chunk(bytes);
        disk.append(building.file, &head);
        disk.append(building.file, bytes);
        Some(stored)
    }

    /// The file is whole: it is synced first.
    pub fn finish_snapshot(
        &mut self,
        now: Nanos,
        (id, chunks): (SnapshotId, u32),
        keep: Vec<SnapshotId>,
        marks: &mut Marks,
    ) -> Option<Stored> {
        let disk = &mut self.disk;
        let process = super::process_of(&mut self.life)?;
        let snapshots = &mut process.snapshots;
        let is_whole = |building: &mut Building| building.encoder.next_chunk() == chunks;
        let building = snapshots.building.take_if(is_whole);
        let Some(Building {
            file,
            encoder,
            restore,
        }) = building
        else {
            marks.hit(Mark::SnapshotGivenUp);
            snapshots.abandon(disk);
            snapshots.is_late = true;
            process.inbox.push_back(Input::SnapshotFailed { id });
            return None;
        };
        let machine = match restore.map(Restore::finish).transpose() {
            Ok(machine) => machine.map(Box::new),
            Err(_) => {
                disk.remove(file);
                process.inbox.push_back(Input::SnapshotBad { id });
                return None;
            }
        };
        assert!(
            snapshots.finishing.is_none() && encoder.slot() == id.slot,
            "one snapshot after another becomes durable"
        );
        let (end, contents) = encoder.finish(id.hash);
        disk.append(file, &end);
        let step = Step::Content(disk.begin_sync(file, 0, usize::MAX));
        snapshots.finishing = Some(Finishing {
            file,
            contents,
            step,
            keep,
            machine,
        });
        Some(self.sync_ends(now, DiskDone::Snapshot, marks))
    }

    /// The content is stored, and the name comes next; or the name is.
    pub(super) fn snapshot_done(
        &mut self,
        now: Nanos,
        judges: &mut Judges,
        marks: &mut Marks,
    ) -> Option<Stored> {
        let index = self.index;
        let disk = &mut self.disk;
        let process = super::process_of(&mut self.life)?;
        let mut finishing = process.snapshots.finishing.take()?;
        let id = finishing.contents.id;
        match &finishing.step {
            Step::Content(sync) => {
                disk.end_sync(sync);
                disk.snapshots.name(id, finishing.file);
                finishing.step = Step::Name(disk.snapshots.begin_sync());
                process.snapshots.finishing = Some(finishing);
                return Some(self.sync_ends(now, DiskDone::Snapshot, marks));
            }
            Step::Name(sync) => disk.snapshots.end_sync(sync),
        }
        marks.hit(Mark::SnapshotMade);
        let Finishing {
            file,
            contents,
            keep,
            machine,
            ..
        } = finishing;
        process.snapshots.kept.insert(id, (file, contents));
        marks.sometimes(process.snapshots.is_late, Mark::SnapshotLate);
        process.snapshots.is_late = false;
        process.snapshots.was_pruned = process.snapshots.is_low;
        marks.sometimes(
            storms(&mut process.snapshots.made_at, now),
            Mark::SnapshotStorm,
        );
        let is_witness = process.node.view().machine.form() == Form::Witness;
        marks.sometimes(is_witness, Mark::OpaqueTaken);
        process.snapshots.drop_old(disk, KEPT, &keep);
        let kept = process.snapshots.kept.len();
        let (whose, usage) = ((index, self.servers), &mut judges.usage[index]);
        usage.on_snapshot(whose, id.slot, kept, &mut judges.docket);
        let is_pinned = kept > KEPT;
        marks.sometimes(is_pinned, Mark::SnapshotPinned);
        process.inbox.push_back(match machine {
            Some(machine) => Input::SnapshotRestored { id, machine },
            None => Input::SnapshotDurable { id },
        });
        // Judges believe the image, not the sync.
        let image = disk.snapshots.image(id).map(|file| disk.image(file));
        if image.is_some_and(|bytes| read_whole(id, bytes).is_ok()) {
            judges.promises[index].on_snapshot(id.slot);
        }
        None
    }

    /// A chunk of a snapshot that is kept.
    pub fn load_chunk(&self, id: SnapshotId, index: u32) -> Option<Bytes> {
        let (file, contents) = self.process_ref()?.snapshots.kept.get(&id)?;
        let place = contents.place(index)?;
        let from = place.offset as usize;
        let bytes = &self.disk.read(*file)[from..from + place.bytes];
        let payload = contents.payload(index, bytes);
        let payload = payload.unwrap_or_else(|damage| panic!("it was whole: {damage}"));
        Some(Bytes::copy_from_slice(payload))
    }
}

impl Snapshots {
    /// Whether this file is one of them, or will be.
    pub(super) fn has_use_of(&self, file: u64) -> bool {
        let building = self.building.as_ref().map(|building| building.file);
        let finishing = self.finishing.as_ref().map(|finishing| finishing.file);
        let is_kept = self.kept.values().any(|(kept, _)| *kept == file);
        is_kept || building == Some(file) || finishing == Some(file)
    }

    /// What is under construction goes.
    fn abandon(&mut self, disk: &mut Disk) {
        if let Some(building) = self.building.take() {
            disk.remove(building.file);
        }
    }

    /// Only the newest ones stay, and some more. The names of the others go at once, and may be back
    /// after a crash.
    fn drop_old(&mut self, disk: &mut Disk, keep: usize, also: &[SnapshotId]) {
        let old = self.kept.keys().rev().skip(keep);
        let old: Vec<SnapshotId> = old.filter(|id| !also.contains(id)).copied().collect();
        for id in old {
            if let Some((file, _)) = self.kept.remove(&id) {
                disk.snapshots.unname(id);
                disk.remove(file);
            }
        }
    }
}
