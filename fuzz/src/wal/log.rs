//! A log written by choices, and a naive model of what it says.

use super::image::{Image, ballot, superblock};
use crate::draw::Draw;
use bytes::Bytes;
use std::collections::BTreeSet;
use tenure_core::entry::{Entry, EntryKind};
use tenure_core::ids::{Ballot, RecordNo, SegmentNo, Slot};
use tenure_core::replica::record::{Record, Recovered, RecoveredEntry};
use tenure_core::time::Stamp;
use tenure_core::wal::superblock::Superblock;
use tenure_core::wal::writer::{Group, Writer};

const STEPS_MAX: usize = 64;
/// How far above the decided slots records are.
const SLOTS_AHEAD: usize = 8;

/// What a recovered log says.
#[derive(Debug, PartialEq)]
pub(super) struct Said {
    decided: Slot,
    accepted: Vec<RecoveredEntry>,
}

impl Said {
    pub(super) const fn decided(&self) -> Slot {
        self.decided
    }

    /// What it says if a snapshot has everything up to `floor`.
    pub(super) fn above(mut self, floor: Slot) -> Self {
        self.decided = self.decided.max(floor);
        self.accepted.retain(|entry| entry.slot > self.decided);
        self
    }

    pub(super) fn of(recovered: Recovered) -> Self {
        Self {
            decided: recovered.decided,
            accepted: recovered.accepted,
        }
    }
}

#[derive(Debug)]
pub(super) struct Log {
    pub(super) image: Image,
    pub(super) groups: Vec<Group>,
    /// The records of each group.
    records: Vec<Vec<Record>>,
    gathered: Vec<Record>,
    writer: Writer,
    number: RecordNo,
}

/// The one value of a slot and a ballot's round; round 0 is what was decided.
fn value(slot: u64, round: u64) -> Entry {
    let len = match (slot * 7 + round * 3) % 16 {
        0 => 0,
        1 => 6000,
        2 => 3000,
        other => other * 40,
    };
    let fill = u8::try_from((slot * 31 + round) % 256).expect("it is below 256");
    let fill = if slot.is_multiple_of(3) { 0 } else { fill };
    let len = usize::try_from(len).expect("it is small");
    let stamp = Stamp::from_nanos(slot * 100 + round);
    Entry::new(EntryKind::Batch, stamp, &[Bytes::from(vec![fill; len])])
}

impl Log {
    fn new() -> Self {
        let image = Image::fresh();
        let (_, writer) = image.recover().expect("nothing is a log").done();
        Self {
            image,
            groups: Vec::new(),
            records: Vec::new(),
            gathered: Vec::new(),
            writer,
            number: RecordNo::default(),
        }
    }

    /// A log of records, groups, trailing seals and restarts.
    pub(super) fn written(draw: &mut Draw<'_>) -> Self {
        let mut log = Self::new();
        let (mut decided, mut held) = (0, BTreeSet::new());
        for _ in 0..draw.below(STEPS_MAX) {
            let slot = decided + 1 + u64::try_from(draw.below(SLOTS_AHEAD)).expect("it is small");
            match draw.byte() {
                0..=39 => log.sync(),
                40..=55 => log.trail(),
                56..=71 => log.restart(),
                72..=103 => {
                    let whole = (decided + 1..=slot).all(|slot| held.contains(&slot));
                    if whole {
                        decided = slot;
                        let upto = Slot::new(decided);
                        log.append(Record::DecidedHint { upto });
                    }
                }
                104..=127 => {
                    held.insert(slot);
                    log.append(Record::Decided {
                        slot: Slot::new(slot),
                        entry: value(slot, 0),
                    });
                }
                choice => {
                    held.insert(slot);
                    let round = 1 + u64::from(choice % 4);
                    log.append(accepted(round, slot));
                }
            }
        }
        log.sync();
        log
    }

    fn append(&mut self, record: Record) {
        let number = self.number.next();
        if self.writer.append(number, &record).is_err() {
            self.sync();
            let room = self.writer.append(number, &record);
            assert_eq!(room, Ok(()), "an empty group has room");
        }
        self.number = number;
        self.gathered.push(record);
    }

    fn sync(&mut self) {
        if let Some(group) = self.writer.seal() {
            self.keep(group);
        }
    }

    fn trail(&mut self) {
        if let Some(group) = self.writer.trailing_seal() {
            self.keep(group);
        }
    }

    fn keep(&mut self, group: Group) {
        self.image.store(&group);
        self.groups.push(group);
        self.records.push(std::mem::take(&mut self.gathered));
    }

    /// Removes what holds nothing above slot `upto`. Gives the superblock that says so.
    pub(super) fn truncate(&mut self, upto: Slot) -> Superblock {
        let first = self.writer.first_needed(upto);
        for number in (1..first.get()).map(SegmentNo::new) {
            self.image.lose(number);
        }
        self.writer.forget_before(first);
        superblock()
            .truncate(first, upto)
            .done()
            .superblock()
            .clone()
    }

    fn restart(&mut self) {
        self.sync();
        let tail = self.image.recover().expect("what was synced is whole");
        let (recovered, writer) = tail.done();
        assert_eq!(Said::of(recovered), self.says(self.groups.len()));
        self.go_on(self.groups.len(), writer);
    }

    /// Forgets all groups but the first `groups`; what comes next comes from `writer`.
    pub(super) fn go_on(&mut self, groups: usize, writer: Writer) {
        self.groups.truncate(groups);
        self.records.truncate(groups);
        self.writer = writer;
        self.number = RecordNo::default();
    }

    /// Adds a record above all that was said, and a trailing seal.
    pub(super) fn add_one_more(&mut self, said: &Said) {
        let slot = said.accepted.last().map_or(said.decided, |last| last.slot);
        self.append(accepted(98, slot.get() + 1));
        self.sync();
        self.trail();
    }

    fn until(&self, groups: usize) -> impl Iterator<Item = &Record> {
        self.records[..groups].iter().flatten()
    }

    /// What the first groups say, worked out the slow way.
    pub(super) fn says(&self, groups: usize) -> Said {
        let hints = self.until(groups).filter_map(|record| match record {
            Record::DecidedHint { upto } => Some(*upto),
            Record::Accepted { .. } | Record::Decided { .. } => None,
        });
        let decided = hints.max().unwrap_or_default();
        let slots = self.until(groups).filter_map(slot_of);
        let open: BTreeSet<Slot> = slots.filter(|slot| *slot > decided).collect();
        let accepted = open.into_iter().map(|slot| {
            let (ballot, entry) = self.best(groups, slot).expect("it has a record");
            RecoveredEntry {
                slot,
                ballot,
                entry,
            }
        });
        Said {
            decided,
            accepted: accepted.collect(),
        }
    }

    /// The value that counts for a slot: the decided one, else that of the highest ballot.
    fn best(&self, groups: usize, slot: Slot) -> Option<(Option<Ballot>, Entry)> {
        let values = self.until(groups).filter_map(|record| match record {
            Record::Accepted {
                ballot,
                slot: at,
                entry,
                ..
            } if *at == slot => Some((Some(*ballot), entry)),
            Record::Decided { slot: at, entry } if *at == slot => Some((None, entry)),
            Record::Accepted { .. } | Record::Decided { .. } | Record::DecidedHint { .. } => None,
        });
        let best = values.max_by_key(|(ballot, _)| (ballot.is_none(), *ballot));
        best.map(|(ballot, entry)| (ballot, entry.clone()))
    }

    /// Every decided slot is found through the index.
    pub(super) fn check_loads(&self, said: &Said) {
        let mut next = Slot::new(1);
        while next <= said.decided {
            let mut plan = self.writer.index().plan(next, said.decided);
            while let Some(piece) = plan.next_piece() {
                let from = usize::try_from(piece.offset).expect("a segment fits memory");
                let len = usize::try_from(piece.len).expect("a segment fits memory");
                let bytes = &self.image.at(piece.segment)[from..from + len];
                plan.take(&piece, bytes)
                    .expect("what was recovered is whole");
            }
            let entries = plan.finish();
            assert!(!entries.is_empty(), "slot {next} is decided");
            for entry in entries {
                let best = self.best(self.groups.len(), next);
                let (_, expected) = best.expect("what is loaded was written");
                assert_eq!(entry, expected, "slot {next}");
                next = next.next();
            }
        }
    }
}

fn accepted(round: u64, slot: u64) -> Record {
    Record::Accepted {
        ballot: ballot(round),
        base: Slot::new(0),
        slot: Slot::new(slot),
        entry: value(slot, round),
    }
}

fn slot_of(record: &Record) -> Option<Slot> {
    match record {
        Record::Accepted { slot, .. } | Record::Decided { slot, .. } => Some(*slot),
        Record::DecidedHint { .. } => None,
    }
}
