//! A log in memory, a naive model of what it says, and ways to hurt it.

use super::damage::Damage;
use super::recovery::{Floor, Recovery, Tail};
use super::superblock::{self, Durable, Superblock};
use super::writer::{Group, Writer};
use super::{ATOM_BYTES, Identity, Sizes};
use crate::entry::{Entry, EntryKind};
use crate::ids::{
    Ballot, Boot, ClusterId, Epoch, Incarnation, NodeId, RecordNo, Round, SegmentNo, Slot,
};
use crate::replica::record::{Record, RecoveredEntry};
use crate::time::Stamp;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

pub(super) const SIZES: Sizes = Sizes::new(32 << 10, 48 << 10);

pub(super) fn identity() -> Identity {
    Identity {
        cluster: ClusterId(*b"0123456789abcdef"),
        node: NodeId::new(3),
        incarnation: Incarnation::new(0xfeed_beef),
    }
}

pub(super) fn ballot(round: u64) -> Ballot {
    Ballot {
        epoch: Epoch::new(1),
        round: Round::new(round),
        node: NodeId::new(2),
    }
}

/// An entry with one command of `len` bytes, all of them `fill`.
pub(super) fn entry(stamp: u64, fill: u8, len: usize) -> Entry {
    let command = Bytes::from(vec![fill; len]);
    Entry::new(EntryKind::Batch, Stamp::from_nanos(stamp), &[command])
}

pub(super) fn accepted(round: u64, slot: u64, entry: Entry) -> Record {
    Record::Accepted {
        ballot: ballot(round),
        base: Slot::new(0),
        slot: Slot::new(slot),
        entry,
    }
}

/// A superblock that promised ballot 99.
pub(super) fn durable() -> Durable {
    let made = superblock::format(identity(), Bytes::new());
    made.done().promise(ballot(99), None).done()
}

pub(super) fn superblock() -> Superblock {
    let mut made = durable().superblock().clone();
    made.boot = Boot::new(4);
    made
}

/// Segments in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Image(pub(super) BTreeMap<SegmentNo, Vec<u8>>);

impl Image {
    pub(super) fn fresh() -> Self {
        let mut image = Self::default();
        image.segment(SegmentNo::new(1));
        image
    }

    pub(super) fn segment(&mut self, number: SegmentNo) -> &mut Vec<u8> {
        let bytes = SIZES.of(number) as usize;
        self.0.entry(number).or_insert_with(|| vec![0; bytes])
    }

    pub(super) fn store(&mut self, group: &Group) {
        self.store_atoms(group, |_| true);
    }

    /// Stores only some atoms of a group, as a power cut in the middle of its sync may.
    pub(super) fn store_atoms(&mut self, group: &Group, stored: impl Fn(usize) -> bool) {
        let at = group.offset as usize;
        let segment = self.segment(group.segment);
        for (index, atom) in group.bytes.chunks(ATOM_BYTES).enumerate() {
            if stored(index) {
                let from = at + index * ATOM_BYTES;
                segment[from..from + ATOM_BYTES].copy_from_slice(atom);
            }
        }
    }

    pub(super) fn recover(&self) -> Result<Tail, Damage> {
        self.recover_with(&superblock())
    }

    pub(super) fn recover_with(&self, superblock: &Superblock) -> Result<Tail, Damage> {
        let none = Slot::new(0);
        let floor = Floor::of(superblock, none, none).unwrap();
        self.recover_above(superblock, floor)
    }

    pub(super) fn recover_above(
        &self,
        superblock: &Superblock,
        floor: Floor,
    ) -> Result<Tail, Damage> {
        let mut recovery = Recovery::new(superblock, SIZES, floor);
        for (number, bytes) in &self.0 {
            if *number < superblock.first_segment {
                continue;
            }
            if *number != recovery.next_segment() {
                return Err(recovery.hole(recovery.next_segment()));
            }
            recovery.segment(*number, bytes)?;
        }
        recovery.finish()
    }

    /// Does to the image what a server does after recovery.
    pub(super) fn settle(&mut self, tail: &Tail) {
        if let Some(zero) = tail.zero {
            let from = zero.offset as usize;
            self.segment(zero.segment)[from..from + zero.len as usize].fill(0);
        }
    }
}

/// A fresh log's writer.
pub(super) fn writer() -> Writer {
    Image::fresh().recover().unwrap().done().1
}

/// What the records mean, worked out the slow way.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) records: Vec<Record>,
}

impl Model {
    pub(super) fn decided(&self) -> Slot {
        let hints = self.records.iter().filter_map(|record| match record {
            Record::DecidedHint { upto } => Some(*upto),
            _ => None,
        });
        hints.max().unwrap_or_default()
    }

    /// The highest slot of any record.
    pub(super) fn top(&self) -> u64 {
        let slots = self.records.iter().map(|record| match record {
            Record::Accepted { slot, .. } | Record::Decided { slot, .. } => slot.get(),
            Record::DecidedHint { upto } => upto.get(),
        });
        slots.max().unwrap_or_default()
    }

    /// The best value of a slot, with its ballot.
    pub(super) fn best(&self, slot: Slot) -> Option<(Option<Ballot>, &Entry)> {
        let values = self.records.iter().filter_map(|record| match record {
            Record::Accepted {
                ballot,
                slot: at,
                entry,
                ..
            } if *at == slot => Some((0, Some(*ballot), entry)),
            Record::Decided { slot: at, entry } if *at == slot => Some((1, None, entry)),
            _ => None,
        });
        let best = values.max_by_key(|(decided, ballot, _)| (*decided, *ballot));
        best.map(|(_, ballot, entry)| (ballot, entry))
    }

    pub(super) fn accepted(&self) -> Vec<RecoveredEntry> {
        let from = self.decided().next();
        let slots = (from.get()..from.get() + 200).map(Slot::new);
        let found = slots.filter_map(|slot| {
            let (ballot, entry) = self.best(slot)?;
            Some(RecoveredEntry {
                slot,
                ballot,
                entry: entry.clone(),
            })
        });
        found.collect()
    }
}

/// A log as it was written: its image, and what each group added.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) image: Image,
    pub(super) writer: Writer,
    pub(super) model: Model,
    pub(super) groups: Vec<Group>,
    pub(super) gathered: Vec<Record>,
    slots: Vec<Vec<Slot>>,
    number: RecordNo,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            image: Image::fresh(),
            writer: writer(),
            model: Model::default(),
            groups: Vec::new(),
            gathered: Vec::new(),
            slots: Vec::new(),
            number: RecordNo::default(),
        }
    }

    pub(super) fn append(&mut self, record: Record) {
        if self.writer.append(self.number.next(), &record).is_err() {
            self.sync();
            self.writer.append(self.number.next(), &record).unwrap();
        }
        self.number = self.number.next();
        self.gathered.push(record);
    }

    pub(super) fn sync(&mut self) {
        if let Some(group) = self.writer.seal() {
            self.keep(group);
        }
    }

    pub(super) fn trail(&mut self) {
        if let Some(group) = self.writer.trailing_seal() {
            self.keep(group);
        }
    }

    /// The last record's number.
    pub(super) const fn number(&self) -> RecordNo {
        self.number
    }

    /// The next record has the number after `number`.
    pub(super) const fn go_on(&mut self, number: RecordNo) {
        self.number = number;
    }

    /// The slots that a group holds entries for.
    pub(super) fn slots_of(&self, group: &Group) -> Vec<Slot> {
        let mut at = self.groups.iter().zip(&self.slots);
        let found = at.find(|(other, _)| *other == group);
        found.map(|(_, slots)| slots.clone()).unwrap_or_default()
    }

    fn keep(&mut self, group: Group) {
        self.image.store(&group);
        let slots = self.gathered.iter().filter_map(|record| match record {
            Record::Accepted { slot, .. } | Record::Decided { slot, .. } => Some(*slot),
            Record::DecidedHint { .. } => None,
        });
        self.slots.push(slots.collect());
        self.model.records.append(&mut self.gathered);
        self.groups.push(group);
    }

    /// The log as it was before its last group, and that group.
    pub(super) fn before_last(&self, records: usize) -> (Image, Model, Group) {
        let mut image = Image::fresh();
        let (last, others) = self.groups.split_last().unwrap();
        others.iter().for_each(|group| image.store(group));
        let mut model = self.model.clone();
        model.records.truncate(model.records.len() - records);
        (image, model, last.clone())
    }
}

/// Whether a recovered log says what the model says.
pub(super) fn agrees(tail: Tail, model: &Model) -> bool {
    let (recovered, _) = tail.done();
    recovered.decided == model.decided() && recovered.accepted == model.accepted()
}

/// Bytes as text, for golden vectors.
pub(super) fn hex(bytes: &[u8]) -> alloc::string::String {
    bytes
        .iter()
        .map(|byte| alloc::format!("{byte:02x}"))
        .collect()
}
