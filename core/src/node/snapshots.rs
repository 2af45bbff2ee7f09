//! Snapshots: making them, installing those of others, and what they allow to forget.
//!
//! ```text
//!  own:    due ──> open ──> chunks ... done ──> durable ──> truncate to the one before
//!  other:          offer ─> chunks ... done ──> durable ──> swap the machine, the log jumps
//!                                  └ each is checked by a Restore beside the disk; at the end the hash is
//! ```
//! A witness makes none. When one is due it asks its peers for theirs, and keeps it like an own one: to
//! serve it, and to let its log go.
//!
//! One file is under construction at a time: what comes while another is, waits or is skipped. An own
//! one for which there was no room is tried again, of the state as it is then.

use super::Node;
use super::input::Space;
use super::output::{Note, Output, Received, Retired};
use crate::ids::{NodeId, Slot, SnapshotId};
use crate::limits::{SNAPSHOT_CHUNKS_OPEN, SNAPSHOT_SLICE_RECORDS};
use crate::machine::Form;
use crate::machine::Machine;
use crate::machine::snapshot::Slice;
use crate::replica::Effect;
use crate::time::Timestamp;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// The newest whole snapshot of a disk, as `machine::snapshot::Restore` read it.
#[derive(Debug)]
pub struct Restored {
    /// Which.
    pub id: SnapshotId,
    /// Of how many chunks.
    pub chunks: u32,
    /// What it holds.
    pub machine: Machine,
    /// The one before, with the number of its chunks, if the disk has it too: peers may be in the
    /// middle of it.
    pub older: Option<(SnapshotId, u32)>,
}

/// What the file under construction is to become.
#[derive(Debug, Default)]
enum Making {
    #[default]
    Nothing,
    /// The own machine is swept.
    Own(Sweep),
    /// A peer's comes in.
    Received(SnapshotId),
    /// It is whole, and the disk makes it durable.
    Storing(Storing),
}

/// Chunks that the sweep gave, and those of them that the disk has.
#[derive(Clone, Copy, Debug)]
struct Sweep {
    slot: Slot,
    chunks: u32,
    stored: u32,
    /// When the next slice is due.
    at: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Storing {
    id: SnapshotId,
    chunks: u32,
    /// Who sent the end of a received one.
    from: Option<NodeId>,
}

#[derive(Debug, Default)]
pub(super) struct Snapshots {
    making: Making,
    /// The newest durable one.
    newest: Option<SnapshotId>,
    /// The log at or below is not to be believed: an installed snapshot jumped over it, and what it
    /// holds may never have been chosen. After a restart it is not known whether one did.
    floor: Slot,
    /// The last own one was not kept.
    missed: Option<Missed>,
}

/// An own snapshot that the disk did not keep.
#[derive(Clone, Copy, Debug)]
struct Missed {
    /// When another one is tried.
    again_at: Timestamp,
    /// How long the next wait is, if that is not kept either.
    next_wait: Duration,
}

/// How long after an own snapshot was not kept the next is tried, and at most: each costs a sweep.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(64);

/// Between two slices of a sweep: it takes at most half of the time.
const SWEEP_PAUSE: Duration = Duration::from_millis(1);

impl Snapshots {
    pub(super) fn new(found: Option<SnapshotId>) -> Self {
        Self {
            newest: found,
            floor: found.map_or(Slot::new(0), |id| id.slot),
            ..Self::default()
        }
    }

    /// Slots up to here are not to be read from the log.
    pub(super) const fn floor(&self) -> Slot {
        self.floor
    }

    /// When the next slice of the sweep is due, or the next try; none while the disk has enough to
    /// write.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        match &self.making {
            Making::Own(sweep) => sweep.may_go_on().then_some(sweep.at),
            Making::Nothing => self.missed.map(|missed| missed.again_at),
            Making::Received(_) | Making::Storing(_) => None,
        }
    }

    /// There may be room now for what was not kept.
    pub(super) fn retry_now(&mut self, now: Timestamp) {
        if let Some(missed) = &mut self.missed {
            missed.again_at = now;
        }
    }

    fn miss(&mut self, now: Timestamp) {
        let wait = self.missed.map_or(AGAIN_AFTER, |missed| missed.next_wait);
        self.missed = Some(Missed {
            again_at: now.plus(wait),
            next_wait: (wait * 2).min(AGAIN_AFTER_MAX),
        });
    }

    fn is_missed(&self, now: Timestamp) -> bool {
        self.missed.is_some_and(|missed| missed.again_at <= now)
    }

    const fn is_idle(&self) -> bool {
        matches!(self.making, Making::Nothing)
    }
}

impl Sweep {
    fn may_go_on(&self) -> bool {
        let open = usize::try_from(self.chunks.saturating_sub(self.stored));
        open.is_ok_and(|open| open < SNAPSHOT_CHUNKS_OPEN)
    }
}

impl Node {
    /// An entry was applied. If it made a snapshot due, the state is frozen as it is now; unless one
    /// is under way, which then stands for it. A witness gets one of its peers.
    pub(super) fn open_snapshot_if_due(&mut self) {
        let Some(due) = self.machine.snapshot_due() else {
            return;
        };
        match self.machine.form() {
            Form::Full if self.snapshots.is_idle() => self.open_snapshot(),
            Form::Full => {}
            Form::Witness => self.replica.want_snapshot(due),
        }
    }

    fn open_snapshot(&mut self) {
        self.machine.open_snapshot();
        self.snapshots.making = Making::Own(Sweep {
            slot: self.machine.applied(),
            chunks: 0,
            stored: 0,
            at: self.now,
        });
    }

    /// One slice of the sweep, if it is time.
    pub(super) fn sweep(&mut self, out: &mut Vec<Output>) {
        if self.snapshots.is_idle() && self.snapshots.is_missed(self.now) {
            self.open_snapshot();
        }
        let Making::Own(sweep) = &mut self.snapshots.making else {
            return;
        };
        if self.now < sweep.at || !sweep.may_go_on() {
            return;
        }
        sweep.at = self.now.plus(SWEEP_PAUSE);
        match self.machine.snapshot_slice(SNAPSHOT_SLICE_RECORDS) {
            None | Some(Slice::More) => {}
            Some(Slice::Chunk { slot, index, bytes }) => {
                assert!(slot == sweep.slot, "the snapshot that was opened is swept");
                sweep.chunks = index.saturating_add(1);
                out.push(Output::SnapshotChunk {
                    slot,
                    index,
                    bytes,
                    received: None,
                });
            }
            Some(Slice::Done { id, chunks }) => self.store(id, chunks, None, out),
        }
    }

    /// The disk has room for another chunk.
    pub(super) fn chunk_stored(&mut self, slot: Slot, index: u32, effects: &mut Vec<Effect>) {
        let stored = index.saturating_add(1);
        match &mut self.snapshots.making {
            Making::Own(sweep) if sweep.slot == slot => sweep.stored = sweep.stored.max(stored),
            Making::Received(id) if id.slot == slot => {
                self.replica.on_chunk_stored(*id, stored, effects);
            }
            Making::Own(_) | Making::Received(_) | Making::Nothing | Making::Storing(_) => {}
        }
    }

    fn store(&mut self, id: SnapshotId, chunks: u32, from: Option<NodeId>, out: &mut Vec<Output>) {
        let keep = self.replica.pin_snapshots();
        out.push(Output::SnapshotDone { id, chunks, keep });
        self.snapshots.making = Making::Storing(Storing { id, chunks, from });
    }

    /// A chunk of a peer's snapshot, in its turn.
    pub(super) fn receive(&mut self, part: Part, out: &mut Vec<Output>) {
        let Part {
            from,
            id,
            index,
            chunks,
            bytes,
        } = part;
        if index == 0 && !self.begin_to_receive(id, from, out) {
            return;
        }
        if !matches!(self.snapshots.making, Making::Received(receiving) if receiving == id) {
            return;
        }
        let received = Received {
            id,
            limits: self.limits.machine,
            seed: self.seed,
            form: self.machine.form(),
        };
        out.push(Output::SnapshotChunk {
            slot: id.slot,
            index,
            bytes,
            received: (index == 0).then_some(received),
        });
        if index + 1 == chunks {
            self.store(id, chunks, Some(from), out);
        }
    }

    fn begin_to_receive(&mut self, id: SnapshotId, from: NodeId, out: &mut Vec<Output>) -> bool {
        if matches!(self.snapshots.making, Making::Own(_) | Making::Storing(_)) {
            self.replica.postpone_snapshot(id); // one after another
            return false;
        }
        out.push(Output::Note(Note::Fetching { id, from }));
        self.snapshots.making = Making::Received(id);
        true
    }

    /// What came is not what its id says. Nothing of it was believed.
    pub(super) fn snapshot_bad(&mut self, id: SnapshotId, out: &mut Vec<Output>) {
        if let Some(from) = self.stored(id).and_then(|storing| storing.from) {
            self.replica.reject_snapshot(id);
            out.push(Output::Note(Note::BadSnapshot { id, from }));
        }
    }

    /// The log came faster, or nobody has the rest.
    pub(super) fn abandon(&mut self, id: SnapshotId) {
        if matches!(self.snapshots.making, Making::Received(receiving) if receiving == id) {
            self.snapshots.making = Making::Nothing;
        }
    }

    pub(super) fn snapshot_durable(
        &mut self,
        id: SnapshotId,
        received: Option<Box<Machine>>,
        effects: &mut Vec<Effect>,
        out: &mut Vec<Output>,
    ) {
        let Some(storing) = self.stored(id) else {
            return;
        };
        assert!(
            storing.from.is_some() == received.is_some(),
            "what a peer sent is read back before it has a name"
        );
        self.replica.on_snapshot_durable(id, storing.chunks);
        let before = self.snapshots.newest.replace(id);
        self.snapshots.missed = None;
        if let Some(machine) = received {
            let membership = machine.shared().membership();
            if self.replica.install(id, membership, effects) {
                return self.install(id, *machine, effects, out);
            }
            out.push(Output::Retire(Retired::new(*machine)));
        }
        if self.replica.space() != Space::Enough {
            return self.truncate_to_newest(out);
        }
        // Between one and two intervals of log stay for those who lag a little, and for those who lag more
        // what is behind the snapshot that they fetch.
        if let Some(snapshot) = before {
            let pinned = self.replica.pinned();
            let pinned = pinned.first().map_or(snapshot.slot, |oldest| oldest.slot);
            let upto = snapshot.slot.min(pinned);
            out.push(Output::Truncate { upto, snapshot });
        }
    }

    /// Room is worth more than what laggards would find in the log: they get the snapshot.
    pub(super) fn truncate_to_newest(&self, out: &mut Vec<Output>) {
        if let Some(snapshot) = self.snapshots.newest {
            // A peer's may be of a slot that is decided here and not applied yet.
            let upto = snapshot.slot.min(self.machine.applied());
            out.push(Output::Truncate { upto, snapshot });
        }
    }

    /// The disk has it no more, or can't read it. If it was the newest one, there must be another soon:
    /// the next start would find none to begin from.
    pub(super) fn snapshot_lost(&mut self, id: SnapshotId) {
        self.replica.on_snapshot_lost(id);
        if self.snapshots.newest == Some(id) {
            self.snapshots.newest = None;
            match self.machine.form() {
                Form::Full => {
                    self.snapshots.miss(self.now);
                    self.snapshots.retry_now(self.now);
                }
                Form::Witness => self.replica.want_snapshot(id.slot),
            }
        }
    }

    /// The disk did not keep it. Nothing was forgotten for it.
    pub(super) fn snapshot_failed(&mut self, id: SnapshotId, out: &mut Vec<Output>) {
        if let Some(storing) = self.stored(id) {
            if storing.from.is_none() {
                self.snapshots.miss(self.now);
            }
            self.replica.reject_snapshot(id);
            out.push(Output::Note(Note::SnapshotFailed { id }));
        }
    }

    fn stored(&mut self, id: SnapshotId) -> Option<Storing> {
        let making = core::mem::take(&mut self.snapshots.making);
        if let Making::Storing(storing) = making {
            assert!(storing.id == id, "the disk keeps what it was given");
            return Some(storing);
        }
        self.snapshots.making = making;
        None
    }

    /// The machine is another one from here on, and the log below its slot counts for nothing.
    fn install(
        &mut self,
        id: SnapshotId,
        machine: Machine,
        effects: &mut Vec<Effect>,
        out: &mut Vec<Output>,
    ) {
        assert!(
            machine.applied() == id.slot,
            "a snapshot holds what its id says"
        );
        self.snapshots.floor = id.slot;
        let before = core::mem::replace(&mut self.machine, machine);
        out.push(Output::Retire(Retired::new(before)));
        self.hear_applied();
        let (upto, snapshot) = (id.slot, id);
        out.push(Output::Truncate { upto, snapshot });
        out.push(Output::Note(Note::Installed { id }));
        self.settle_skipped(effects, out);
        self.answer_reads(out);
    }
}

/// A chunk that came from a peer.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) from: NodeId,
    pub(super) id: SnapshotId,
    pub(super) index: u32,
    pub(super) chunks: u32,
    pub(super) bytes: Bytes,
}
