//! From power on to the first word: the superblock is opened and rewritten, the log is read, its
//! end is made safe.

use super::snapshots::Kept;
use super::storage::{DiskDone, Storage, Stored};
use super::{CLUSTER, Life, Server, node_id};
use crate::Nanos;
use crate::check::Docket;
use crate::disk::{SUPERBLOCK, Sync};
use crate::judges::Judges;
use crate::marks::{Mark, Marks};
use tenure_core::ids::{Boot, SegmentNo, Slot};
use tenure_core::machine::Form;
use tenure_core::wal::recovery::{Floor, Recovery, Tail, Verdict};
use tenure_core::wal::superblock::{self, Durable, FILE_BYTES, Pending, Superblock};
use tenure_core::wal::{Identity, Sizes};

/// A process that reads its disk.
#[derive(Debug)]
pub struct Opening {
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// The superblock's copies are written, one after another.
    Copies {
        pending: Pending,
        written: usize,
        sync: Sync,
    },
    /// The end of the log is made safe.
    Tail {
        durable: Durable,
        tail: Box<Tail>,
        kept: Box<Kept>,
        syncs: Vec<Sync>,
    },
}

impl Server {
    fn identity(&self) -> Identity {
        Identity {
            cluster: CLUSTER,
            node: node_id(self.index),
            incarnation: self.door.incarnation,
        }
    }

    /// Power on. Gives when the first write is done.
    pub fn open(&mut self, now: Nanos, marks: &mut Marks, docket: &mut Docket) -> Option<Nanos> {
        if self.disk.read(SUPERBLOCK).is_empty() {
            self.format();
        }
        // A name that only a dead process left in the cache is believed like a durable one.
        let names = self.disk.snapshots.begin_sync();
        self.disk.snapshots.end_sync(&names);
        match superblock::open(superblock_copies(self.disk.read(SUPERBLOCK))) {
            Ok(pending) => Some(self.write_copy(now, pending, 0, marks)),
            Err(error) => {
                docket.broken("a crash leaves a superblock", format!("{error}"));
                None
            }
        }
    }

    /// A new data directory, made and synced before the world begins.
    fn format(&mut self) {
        self.disk.create(SUPERBLOCK, FILE_BYTES as usize);
        let pending = superblock::format(self.identity(), self.config_bytes());
        for write in pending.writes() {
            self.disk
                .write(SUPERBLOCK, write.offset as usize, &write.bytes);
        }
        let sync = self.disk.begin_sync(SUPERBLOCK, 0, usize::MAX);
        self.disk.end_sync(&sync);
        let durable = pending.done();
        let first = durable.superblock().first_segment;
        let bytes = self.sizes().of(first);
        self.disk.create(first.get(), bytes as usize);
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes::new(self.knobs.segment_bytes, self.knobs.segment_bytes)
    }

    fn write_copy(
        &mut self,
        now: Nanos,
        pending: Pending,
        written: usize,
        marks: &mut Marks,
    ) -> Nanos {
        let write = pending.writes()[written].clone();
        self.disk
            .write(SUPERBLOCK, write.offset as usize, &write.bytes);
        let sync = self
            .disk
            .begin_sync(SUPERBLOCK, write.offset as usize, write.bytes.len());
        let mut slow = false;
        let at = now + self.sync_delay(now, &mut slow);
        marks.sometimes(slow, Mark::SlowSync);
        self.life = Life::Opening(Box::new(Opening {
            step: Step::Copies {
                pending,
                written,
                sync,
            },
        }));
        at
    }

    /// A write of the opening is done. Gives when the next one is; none if the server serves now,
    /// or never will.
    pub fn opening_done(
        &mut self,
        now: Nanos,
        judges: &mut Judges,
        marks: &mut Marks,
    ) -> Option<Nanos> {
        let Life::Opening(opening) = std::mem::replace(&mut self.life, Life::Down) else {
            return None;
        };
        match opening.step {
            Step::Copies {
                pending,
                written,
                sync,
            } => {
                self.disk.end_sync(&sync);
                if written + 1 < pending.writes().len() {
                    return Some(self.write_copy(now, pending, written + 1, marks));
                }
                self.recover(now, pending.done(), judges, marks)
            }
            Step::Tail {
                durable,
                tail,
                kept,
                syncs,
            } => {
                for sync in &syncs {
                    self.disk.end_sync(sync);
                }
                let (recovered, writer) = tail.done();
                marks.sometimes(!recovered.accepted.is_empty(), Mark::Recovered);
                marks.sometimes(kept.1.is_some(), Mark::Restored);
                self.judge_recovered(&recovered, judges);
                if let Some(restored) = &kept.1 {
                    judges.on_installed(self.index, restored.id, &restored.machine);
                    // Its name may have come to the disk in the moment of the crash.
                    judges.promises[self.index].on_snapshot(restored.id.slot);
                }
                let first = durable.superblock().first_segment;
                let storage = Storage::new(durable, writer);
                self.serve(now, recovered, storage, *kept);
                self.truncated(first); // what a crash brought back
                None
            }
        }
    }

    fn recover(
        &mut self,
        now: Nanos,
        durable: Durable,
        judges: &mut Judges,
        marks: &mut Marks,
    ) -> Option<Nanos> {
        let kept = match self.read_snapshots(self.form(durable.superblock())) {
            Ok(kept) => kept,
            Err(damage) => {
                judges
                    .docket
                    .broken("a crash leaves whole snapshots", damage);
                return None;
            }
        };
        let whole = kept.1.as_ref().map_or(Slot::new(0), |found| found.id.slot);
        let tail = match self.read_log(durable.superblock(), whole) {
            Ok(tail) => tail,
            Err(damage) => {
                judges.docket.broken("a crash leaves a log", damage);
                return None;
            }
        };
        marks.sometimes(tail.verdict == Verdict::Torn, Mark::RecoveredTorn);
        let mut syncs = Vec::new();
        if let Some(zeroing) = tail.zero {
            let segment = zeroing.segment.get();
            let zeros = vec![0; zeroing.len as usize];
            self.disk.write(segment, zeroing.offset as usize, &zeros);
            // Another segment than the last one that holds something, if its first group is dropped.
            syncs.push(self.disk.begin_sync(segment, 0, usize::MAX));
        }
        syncs.push(self.disk.begin_sync(tail.sync.get(), 0, usize::MAX));
        let mut slow = false;
        let at = now + self.sync_delay(now, &mut slow);
        self.life = Life::Opening(Box::new(Opening {
            step: Step::Tail {
                durable,
                tail: Box::new(tail),
                kept: Box::new(kept),
                syncs,
            },
        }));
        Some(at)
    }

    /// What its role in the epoch of its superblock keeps.
    fn form(&self, superblock: &Superblock) -> Form {
        let membership = superblock.membership.clone();
        let membership = membership.unwrap_or_else(|| self.genesis().membership());
        Form::of(&membership, node_id(self.index))
    }

    fn read_log(&self, superblock: &Superblock, whole: Slot) -> Result<Tail, String> {
        let floor = Floor::of(superblock, whole, whole);
        let floor = floor.map_err(|missing| format!("server {}: {missing}", self.index + 1))?;
        let mut recovery = Recovery::new(superblock, self.sizes(), floor);
        loop {
            let number: SegmentNo = recovery.next_segment();
            let bytes = self.disk.read(number.get());
            if bytes.is_empty() {
                break;
            }
            let read = recovery.segment(number, bytes);
            read.map_err(|damage| format!("server {}: {damage}", self.index + 1))?;
        }
        let tail = recovery.finish();
        tail.map_err(|damage| format!("server {}: {damage}", self.index + 1))
    }

    /// What was recovered counts as a vote if the image has it, whether or not its sync ended before the
    /// crash: a process that died alone may have left it in the cache, and then it is to be synced first.
    fn judge_recovered(
        &self,
        recovered: &tenure_core::replica::record::Recovered,
        judges: &mut Judges,
    ) {
        let Judges {
            docket,
            votes,
            promises,
            usage,
            ..
        } = judges;
        let is_stored = self.disk.has_log_stored();
        for held in recovered.accepted.iter().filter(|_| is_stored) {
            if let Some(ballot) = held.ballot {
                votes.on_vote(self.index, ballot, held.slot, &held.entry, docket);
            }
        }
        usage[self.index].on_start();
        let promises = &mut promises[self.index];
        promises.on_recovered(self.index, recovered, votes, docket);
        for held in recovered.accepted.iter().filter(|_| is_stored) {
            promises.on_image(held.slot, held.ballot, &held.entry);
        }
    }

    /// What kind of opening ended, for the trace.
    pub fn is_opening(&self) -> bool {
        matches!(self.life, Life::Opening(_))
    }

    /// The promise that the superblock's image holds.
    pub(super) fn promise_on_image(&self) -> Option<(Boot, tenure_core::ids::Ballot)> {
        let copies = superblock_copies(self.disk.image(SUPERBLOCK));
        let pending = superblock::open(copies).ok()?;
        let durable = pending.done();
        let superblock = durable.superblock();
        Some((superblock.boot, superblock.promised))
    }
}

fn superblock_copies(bytes: &[u8]) -> [&[u8]; superblock::COPIES] {
    std::array::from_fn(|copy| {
        let from = copy * superblock::COPY_STRIDE as usize;
        bytes
            .get(from..from + superblock::COPY_BYTES)
            .unwrap_or(&[])
    })
}

/// A done write belongs to an opening, or to a process that serves.
impl Server {
    /// Something on its disk is done. Gives what was begun next.
    pub fn disk_done(
        &mut self,
        now: Nanos,
        done: DiskDone,
        judges: &mut Judges,
        marks: &mut Marks,
    ) -> Option<Stored> {
        if self.is_opening() {
            let next = self.opening_done(now, judges, marks);
            return next.map(|at| (at, DiskDone::Copy));
        }
        self.stored(now, done, judges, marks)
    }
}
