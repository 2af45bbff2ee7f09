//! What the disk adapter does, on a simulated disk: groups and syncs, copies of the superblock,
//! reads of decided entries.

use super::snapshots::storms;
use super::{Process, Server};
use crate::Nanos;
use crate::disk::{Disk, SUPERBLOCK, Sync};
use crate::judges::Judges;
use crate::marks::{Mark, Marks};
use std::collections::VecDeque;
use tenure_core::config::Membership;
use tenure_core::entry::Entry;
use tenure_core::ids::{Ballot, RecordNo, SegmentNo, Slot, SnapshotId};
use tenure_core::limits::TRAILING_SEAL_AFTER;
use tenure_core::node::input::{Input, Space};
use tenure_core::replica::record::Record;
use tenure_core::time::Timestamp;
use tenure_core::wal::Sizes;
use tenure_core::wal::superblock::{Durable, Pending};
use tenure_core::wal::writer::{AppendError, Group, Writer};

/// What ended on a disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DiskDone {
    /// The sync of a group.
    Group,
    /// The sync of one copy of the superblock.
    Copy,
    /// A chunk of the snapshot under construction was written.
    Chunk {
        /// Of the snapshot of this slot.
        slot: Slot,
        /// Which one.
        index: u32,
    },
    /// The sync of a snapshot's content, or of its name.
    Snapshot,
}

/// Something that a disk was asked for, and when it is done.
pub type Stored = (Nanos, DiskDone);

type Records = Vec<(Slot, Option<Ballot>, Entry)>;

/// A group on its way to the disk.
#[derive(Debug)]
struct Flying {
    group: Group,
    sync: Sync,
    records: Records,
    /// An empty seal makes nothing durable that was not.
    empty: bool,
}

/// Why the superblock is written.
#[derive(Clone, Copy, Debug)]
enum Change {
    Promise(Ballot),
    Truncate(SegmentNo),
}

/// A superblock on its way to the disk.
#[derive(Debug)]
struct Writing {
    change: Change,
    pending: Pending,
    written: usize,
    sync: Sync,
}

/// The log and the superblock of a process.
#[derive(Debug)]
pub struct Storage {
    superblock: Option<Durable>,
    writing: Option<Writing>,
    /// What comes next; one write of the superblock at a time.
    promise_next: Option<(Ballot, Option<Membership>)>,
    truncate_next: Option<(Slot, SnapshotId)>,
    writer: Writer,
    backlog: VecDeque<(RecordNo, Record)>,
    flying: Option<Flying>,
    trailing_seal_at: Option<Timestamp>,
    tail: RecordNo,
    durable: RecordNo,
    /// Segments that are made ahead, and take room.
    ahead: u64,
    /// There is no room for the next record.
    waits_for_room: bool,
    /// What the node was told of the room.
    space: Space,
}

/// Segments that are kept ahead, the emergency one among them.
const AHEAD: u64 = 3;

impl Storage {
    /// A log that was opened.
    pub fn new(superblock: Durable, writer: Writer) -> Self {
        Self {
            superblock: Some(superblock),
            writing: None,
            promise_next: None,
            truncate_next: None,
            writer,
            backlog: VecDeque::new(),
            flying: None,
            trailing_seal_at: Some(Timestamp::ZERO),
            tail: RecordNo::new(0),
            durable: RecordNo::new(0),
            ahead: 0,
            waits_for_room: false,
            space: Space::Enough,
        }
    }

    /// When it wants to write a trailing seal.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.trailing_seal_at.filter(|_| self.flying.is_none())
    }

    /// The last record of this start that it took, and the last that is durable.
    pub const fn numbers(&self) -> (RecordNo, RecordNo) {
        (self.tail, self.durable)
    }

    /// Whether a sync is under way.
    pub const fn is_syncing(&self) -> bool {
        self.flying.is_some()
    }

    /// Whether the superblock is being written.
    pub const fn is_promising(&self) -> bool {
        self.writing.is_some()
    }

    /// Takes a record for the next group.
    pub fn append(&mut self, number: RecordNo, record: Record) {
        self.tail = number;
        self.backlog.push_back((number, record));
    }

    /// What was gathered becomes a group; nothing if there is nothing, or no seal is due.
    fn next_group(&mut self, local: Timestamp) -> Option<(Group, Records, bool)> {
        let mut records = Vec::new();
        self.waits_for_room = false;
        while let Some((number, record)) = self.backlog.front() {
            if self.ahead == 0 && self.writer.may_need_next_segment(payload_of(record)) {
                self.waits_for_room = true;
                break;
            }
            match self.writer.append(*number, record) {
                Ok(()) => {}
                Err(AppendError::Full) => break,
                Err(error @ AppendError::TooLarge { .. }) => panic!("the log takes it: {error}"),
            }
            match self.backlog.pop_front() {
                Some((
                    _,
                    Record::Accepted {
                        ballot,
                        slot,
                        entry,
                        ..
                    },
                )) => {
                    records.push((slot, Some(ballot), entry));
                }
                Some((_, Record::Decided { slot, entry })) => records.push((slot, None, entry)),
                Some((_, Record::DecidedHint { .. })) | None => {}
            }
        }
        if let Some(group) = self.writer.seal() {
            self.trailing_seal_at = Some(local.plus(TRAILING_SEAL_AFTER));
            return Some((group, records, false));
        }
        let due = self.trailing_seal_at.is_some_and(|when| when <= local);
        if due {
            self.trailing_seal_at = None;
            if self.ahead == 0 && self.writer.may_need_next_segment(0) {
                return None;
            }
            return self
                .writer
                .trailing_seal()
                .map(|group| (group, records, true));
        }
        None
    }

    /// Bytes of the segments that are made ahead: nobody else can take them.
    pub(super) fn reserved(&self, sizes: Sizes) -> u64 {
        let bytes = sizes.of(self.writer.segment());
        self.ahead * bytes
    }

    /// Makes segments ahead, as far as there is room.
    fn top_up(&mut self, disk: &Disk, sizes: Sizes) {
        let bytes = sizes.of(self.writer.segment());
        while self.ahead < AHEAD && disk.has_room((self.ahead + 1) * bytes) {
            self.ahead += 1;
        }
    }

    const fn room(&self) -> Space {
        if self.waits_for_room {
            Space::Full
        } else if self.ahead < AHEAD - 1 {
            Space::Low
        } else {
            Space::Enough
        }
    }

    /// Decided entries from the log, as the disk's cache has them.
    pub fn load(&self, disk: &Disk, from: Slot, upto: Slot) -> Vec<Entry> {
        let mut plan = self.writer.index().plan(from, upto);
        while let Some(piece) = plan.next_piece() {
            let bytes = disk.read(piece.segment.get());
            let (start, len) = (piece.offset as usize, piece.len as usize);
            let taken = plan.take(&piece, &bytes[start..start + len]);
            taken.unwrap_or_else(|damage| panic!("the log can be read again: {damage}"));
        }
        plan.finish()
    }
}

impl Server {
    /// Begins a sync of what was appended, unless one is under way.
    pub fn begin_sync(&mut self, now: Nanos, marks: &mut Marks) -> Option<Stored> {
        let local = self.clock.read(now);
        let sizes = self.sizes();
        let disk = &mut self.disk;
        let process = super::process_of(&mut self.life)?;
        process.storage.top_up(disk, sizes);
        if process.storage.flying.is_some() {
            return None;
        }
        let next = process.storage.next_group(local);
        process.look_at_the_room(marks);
        let (group, records, empty) = next?;
        let (segment, offset) = (group.segment.get(), group.offset as usize);
        let segment_bytes = sizes.of(group.segment);
        if disk.create(segment, segment_bytes as usize) {
            process.storage.ahead -= 1;
        }
        self.disk.write(segment, offset, &group.bytes);
        let sync = self.disk.begin_sync(segment, offset, group.bytes.len());
        if let Some(process) = self.process() {
            process.storage.flying = Some(Flying {
                group,
                sync,
                records,
                empty,
            });
        }
        Some(self.sync_ends(now, DiskDone::Group, marks))
    }

    /// A sync begins now.
    pub(super) fn sync_ends(&mut self, now: Nanos, done: DiskDone, marks: &mut Marks) -> Stored {
        let mut slow = false;
        let delay = self.sync_delay(now, &mut slow);
        marks.sometimes(slow, Mark::SlowSync);
        (now + delay, done)
    }

    /// Begins to write a promise, as soon as the superblock is not being written.
    pub fn begin_promise(
        &mut self,
        now: Nanos,
        promise: (Ballot, Option<Membership>),
        marks: &mut Marks,
    ) -> Option<Stored> {
        let storage = &mut self.process()?.storage;
        let open = storage.promise_next.replace(promise);
        assert!(open.is_none(), "at most one promise is in flight (rule 4)");
        self.begin_superblock(now, marks)
    }

    /// Begins to let files of the log go, as soon as the superblock is not being written.
    pub fn begin_truncate(
        &mut self,
        now: Nanos,
        upto: Slot,
        snapshot: SnapshotId,
        marks: &mut Marks,
    ) -> Option<Stored> {
        let storage = &mut self.process()?.storage;
        storage.truncate_next = Some((upto, snapshot));
        self.begin_superblock(now, marks)
    }

    fn begin_superblock(&mut self, now: Nanos, marks: &mut Marks) -> Option<Stored> {
        let storage = &mut self.process()?.storage;
        let durable = storage.superblock.take()?;
        let first = durable.superblock().first_segment;
        let (pending, change) = if let Some((ballot, membership)) = storage.promise_next.take() {
            (durable.promise(ballot, membership), Change::Promise(ballot))
        } else if let Some((upto, snapshot)) = storage.truncate_next.take() {
            let needed = storage.writer.first_needed(upto);
            if needed <= first {
                storage.superblock = Some(durable);
                self.truncated(first);
                return None;
            }
            let pending = durable.truncate(needed, snapshot.slot);
            (pending, Change::Truncate(needed))
        } else {
            storage.superblock = Some(durable);
            return None;
        };
        Some(self.write_superblock(now, change, pending, 0, marks))
    }

    fn write_superblock(
        &mut self,
        now: Nanos,
        change: Change,
        pending: Pending,
        written: usize,
        marks: &mut Marks,
    ) -> Stored {
        let write = pending.writes()[written].clone();
        self.disk
            .write(SUPERBLOCK, write.offset as usize, &write.bytes);
        let sync = self
            .disk
            .begin_sync(SUPERBLOCK, write.offset as usize, write.bytes.len());
        if let Some(process) = self.process() {
            process.storage.writing = Some(Writing {
                change,
                pending,
                written,
                sync,
            });
        }
        self.sync_ends(now, DiskDone::Copy, marks)
    }

    /// The log begins with `first`, for good: what is before it goes.
    pub(super) fn truncated(&mut self, first: SegmentNo) {
        let gone: Vec<u64> = self
            .disk
            .files()
            .filter(|file| is_before(*file, first))
            .collect();
        for file in gone {
            self.disk.remove(file);
        }
        if let Some(process) = super::process_of(&mut self.life) {
            process.storage.writer.forget_before(first);
        }
    }

    /// Reads decided entries.
    pub fn load(&mut self, from: Slot, upto: Slot) -> Vec<Entry> {
        let disk = &self.disk;
        let process = self.process_ref();
        process.map_or_else(Vec::new, |process| process.storage.load(disk, from, upto))
    }

    /// Something on the disk of its process is done. Gives what was begun next.
    pub(super) fn stored(
        &mut self,
        now: Nanos,
        done: DiskDone,
        judges: &mut Judges,
        marks: &mut Marks,
    ) -> Option<Stored> {
        match done {
            DiskDone::Group => {
                self.group_done(judges);
                self.begin_sync(now, marks)
            }
            DiskDone::Copy => self.copy_done(now, judges, marks),
            DiskDone::Chunk { slot, index } => {
                let process = self.process()?;
                process.inbox.push_back(Input::ChunkStored { slot, index });
                None
            }
            DiskDone::Snapshot => self.snapshot_done(now, judges, marks),
        }
    }

    fn group_done(&mut self, judges: &mut Judges) {
        let index = self.index;
        let flying = self
            .process()
            .and_then(|process| process.storage.flying.take());
        let Some(flying) = flying else {
            return;
        };
        self.disk.end_sync(&flying.sync);
        let group = &flying.group;
        // Judges believe the image, not the sync.
        if self
            .disk
            .holds(group.segment.get(), group.offset as usize, &group.bytes)
        {
            for (slot, ballot, entry) in &flying.records {
                judges.promises[index].on_image(*slot, *ballot, entry);
                if let Some(ballot) = ballot {
                    judges
                        .votes
                        .on_vote(index, *ballot, *slot, entry, &mut judges.docket);
                }
            }
        }
        let through = flying.group.through;
        if let Some(process) = self.process()
            && !flying.empty
        {
            process.storage.durable = through;
            process.inbox.push_back(Input::Durable { through });
        }
    }

    fn copy_done(&mut self, now: Nanos, judges: &mut Judges, marks: &mut Marks) -> Option<Stored> {
        let index = self.index;
        let writing = self
            .process()
            .and_then(|process| process.storage.writing.take())?;
        self.disk.end_sync(&writing.sync);
        let Writing {
            change,
            pending,
            written,
            ..
        } = writing;
        if written + 1 < pending.writes().len() {
            return Some(self.write_superblock(now, change, pending, written + 1, marks));
        }
        self.process()?.storage.superblock = Some(pending.done());
        match change {
            Change::Promise(ballot) => {
                if let Some((_, on_image)) = self.promise_on_image() {
                    judges.promises[index].on_promise_durable(index, on_image, &mut judges.docket);
                }
                let process = self.process()?;
                process.inbox.push_back(Input::Promised { ballot });
            }
            Change::Truncate(first) => {
                marks.hit(Mark::Truncated);
                if let Some(process) = self.process() {
                    let last = &mut process.snapshots.truncated_at;
                    marks.sometimes(storms(last, now), Mark::TruncateStorm);
                }
                self.truncated(first);
            }
        }
        self.begin_superblock(now, marks)
    }
}

impl Server {
    /// Whether its process knows what a file is for: the superblock, a segment of its log, a snapshot
    /// that is kept or made.
    pub fn has_use_of(&self, file: u64) -> bool {
        self.process_ref().is_none_or(|process| {
            let storage = &process.storage;
            // While it is being written, what comes of it may be either.
            let superblock = storage.superblock.as_ref();
            let first = superblock.map(|durable| durable.superblock().first_segment);
            // A crash may leave segments that were made ahead.
            let last = storage.writer.segment().get() + AHEAD;
            let is_log = first.is_none_or(|first| file >= first.get()) && file <= last;
            file == SUPERBLOCK || is_log || process.snapshots.has_use_of(file)
        })
    }
}

fn payload_of(record: &Record) -> usize {
    match record {
        Record::Accepted { entry, .. } | Record::Decided { entry, .. } => entry.bytes().len(),
        Record::DecidedHint { .. } => 0,
    }
}

impl Process {
    /// Tells the node what changed of the room on its disk.
    fn look_at_the_room(&mut self, marks: &mut Marks) {
        let (before, space) = (self.storage.space, self.storage.room());
        if space == before {
            return;
        }
        self.storage.space = space;
        self.inbox.push_back(Input::Space { space });
        marks.sometimes(space == Space::Low, Mark::DiskLow);
        marks.sometimes(space == Space::Full, Mark::DiskFull);
        marks.sometimes(before == Space::Full, Mark::RoomAgain);
    }
}

/// Whether a file is a segment before `first`.
pub(super) const fn is_before(file: u64, first: SegmentNo) -> bool {
    file != SUPERBLOCK && file < first.get()
}
