//! The laws of a log whose beginning was removed: what is above the snapshot is recovered as if
//! nothing had gone, and nothing goes that no snapshot stands for.

use crate::ids::{RecordNo, Seed, SegmentNo, Slot};
use crate::replica::record::{Record, Recovered};
use crate::rng::Rng;
use crate::wal::damage::{Damage, Problem};
use crate::wal::recovery::{Floor, SnapshotMissing, Tail};
use crate::wal::superblock::{Superblock, open};
use crate::wal::testing::{Image, Log, Model, accepted, durable, entry, superblock};
use alloc::vec::Vec;

/// A log of `slots`, each accepted under ballot 1 and decided soon after.
fn log_of(slots: u64, rng: &mut Rng) -> Log {
    let mut log = Log::new();
    for slot in 1..=slots {
        let len = rng.below(3000) as usize;
        log.append(accepted(1, slot, entry(slot, 9, len)));
        if rng.below(3) == 0 {
            log.append(Record::DecidedHint {
                upto: Slot::new(slot),
            });
        }
        if rng.below(2) == 0 {
            log.sync();
        }
    }
    log.append(Record::DecidedHint {
        upto: Slot::new(slots),
    });
    log.sync();
    log
}

/// What a disk does: the superblock first, then the segments.
fn truncate(log: &mut Log, upto: Slot) -> Superblock {
    let first = log.writer.first_needed(upto);
    let next = durable().truncate(first, upto).done();
    log.image.0.retain(|number, _| *number >= first);
    log.writer.forget_before(first);
    let mut superblock = superblock();
    superblock.first_segment = next.superblock().first_segment;
    superblock.snapshot = next.superblock().snapshot;
    superblock
}

fn recover(image: &Image, superblock: &Superblock, whole: u64) -> Result<Tail, Damage> {
    let whole = Slot::new(whole);
    image.recover_above(superblock, Floor::of(superblock, whole, whole).unwrap())
}

/// What the model says above `floor`.
fn says(recovered: &Recovered, model: &Model, floor: u64) -> bool {
    let decided = model.decided().max(Slot::new(floor));
    let mut accepted = model.accepted();
    accepted.retain(|held| held.slot > decided);
    recovered.decided == decided && recovered.accepted == accepted
}

/// Every decided slot above `floor` is loaded as it was written.
fn loads(log: &Log, floor: u64) {
    let mut next = Slot::new(floor + 1);
    while next <= log.model.decided() {
        let mut plan = log.writer.index().plan(next, log.model.decided());
        while let Some(piece) = plan.next_piece() {
            let from = piece.offset as usize;
            let bytes = &log.image.0[&piece.segment][from..from + piece.len as usize];
            plan.take(&piece, bytes).unwrap();
        }
        let entries = plan.finish();
        assert!(!entries.is_empty(), "slot {next} is in the log");
        for found in entries {
            assert_eq!(log.model.best(next).unwrap().1, &found);
            next = next.next();
        }
    }
}

#[test]
fn what_is_above_the_snapshot_is_recovered_as_if_nothing_had_gone() {
    let mut rng = Rng::new(Seed::new(21));
    let mut removed = 0;
    for round in 0..60 {
        let slots = 20 + rng.below(60);
        let mut log = log_of(slots, &mut rng);
        let (mut below, mut number) = (0, log.number());
        for _ in 0..3 {
            let upto = below + rng.below(log.model.decided().get() - below + 1);
            below = upto;
            let superblock = truncate(&mut log, Slot::new(upto));
            removed += superblock.first_segment.get() - 1;
            loads(&log, upto);
            // The snapshot may be newer than the one that was relied on.
            let whole = upto + rng.below(log.model.decided().get() - upto + 3);
            let tail = recover(&log.image, &superblock, whole).unwrap();
            let (recovered, writer) = tail.done();
            assert!(says(&recovered, &log.model, whole), "round {round}");
            // It goes on, by the one that wrote it or after a restart.
            if rng.below(2) == 0 {
                log.writer = writer;
                number = RecordNo::default();
            }
            log.go_on(number);
            let next = log.model.top().max(whole) + 1;
            log.append(accepted(2, next, entry(next, 3, 900)));
            log.sync();
            number = log.number();
            loads(&log, whole);
        }
    }
    assert!(removed > 50, "{removed} segments were removed");
}

#[test]
fn only_segments_without_a_record_above_go() {
    let mut rng = Rng::new(Seed::new(22));
    let mut log = log_of(40, &mut rng);
    let last = log.writer.segment();
    for upto in 0..=40 {
        let upto = Slot::new(upto);
        let first = log.writer.first_needed(upto);
        assert!(first <= last, "the segment that is written to stays");
        for group in log.groups.iter().filter(|group| group.segment < first) {
            let slots = log.slots_of(group);
            assert!(slots.iter().all(|slot| *slot <= upto), "{upto}: {slots:?}");
        }
    }
    assert!(log.writer.first_needed(Slot::new(40)) >= last.before());
    // A late acceptance of a high slot keeps everything from its segment on.
    log.append(accepted(3, 90, entry(90, 1, 10)));
    log.sync();
    let kept = log.writer.segment();
    while log.writer.segment() <= kept.next() {
        log.append(accepted(3, 41, entry(41, 1, 5000)));
        log.sync();
    }
    assert_eq!(log.writer.first_needed(Slot::new(89)), kept);
    assert!(log.writer.first_needed(Slot::new(90)) > kept);
}

/// The group that opens a segment may not be synced yet: the log can't begin with it.
#[test]
fn a_segment_that_was_just_opened_is_not_the_first() {
    let mut log = Log::new();
    let mut slot = 0;
    while log.writer.segment() == SegmentNo::new(1) {
        slot += 1;
        log.append(accepted(1, slot, entry(slot, 9, 5000)));
        log.sync();
    }
    let all = Slot::new(slot);
    assert_eq!(log.writer.first_needed(all), SegmentNo::new(1));
    log.trail();
    assert_eq!(log.writer.first_needed(all), SegmentNo::new(2));
}

#[test]
fn a_log_above_no_snapshot_is_refused_with_the_one_that_is_missing() {
    let mut rng = Rng::new(Seed::new(23));
    let mut log = log_of(60, &mut rng);
    let superblock = truncate(&mut log, Slot::new(40));
    for whole in [0, 39] {
        let whole = Slot::new(whole);
        let missing = SnapshotMissing {
            needed: Slot::new(40),
            found: whole,
        };
        let floor = Floor::of(&superblock, whole, whole);
        assert_eq!(floor.unwrap_err(), missing);
    }
    assert!(Floor::of(&superblock, Slot::new(40), Slot::new(40)).is_ok());
}

/// An older snapshot will not do, even if the log goes on from it: the newer one may have jumped over
/// entries that were never chosen.
#[test]
fn a_snapshot_that_has_a_name_must_be_whole() {
    let superblock = superblock();
    let missing = SnapshotMissing {
        needed: Slot::new(30),
        found: Slot::new(10),
    };
    let floor = Floor::of(&superblock, Slot::new(10), Slot::new(30));
    assert_eq!(floor.unwrap_err(), missing);
}

/// The log says that slots are decided which neither it nor the snapshot holds.
#[test]
fn a_hole_between_the_snapshot_and_what_is_decided_is_refused() {
    let mut log = Log::new();
    for slot in [1, 2, 3, 8, 9] {
        log.append(accepted(1, slot, entry(slot, 9, 10)));
    }
    log.append(Record::DecidedHint { upto: Slot::new(9) });
    log.sync();
    let superblock = superblock();
    for whole in [0, 3, 6] {
        let damage = recover(&log.image, &superblock, whole).unwrap_err();
        let upto = Slot::new(9);
        assert_eq!(damage.problem, Problem::SlotMissing { upto }, "{whole}");
    }
    for whole in [7, 9, 20] {
        let (recovered, _) = recover(&log.image, &superblock, whole).unwrap().done();
        assert_eq!(recovered.decided, Slot::new(whole.max(9)));
    }
}

#[test]
fn the_first_segment_that_is_left_is_believed_only_whole() {
    let mut rng = Rng::new(Seed::new(25));
    let mut log = log_of(60, &mut rng);
    let superblock = truncate(&mut log, Slot::new(40));
    let first = superblock.first_segment;
    assert!(first > SegmentNo::new(1));
    let group = log.groups.iter().find(|group| group.segment == first);
    let group = group.unwrap().clone();
    for byte in (0..group.bytes.len()).step_by(37) {
        let mut image = log.image.clone();
        image.segment(first)[byte] ^= 1 << (byte % 8);
        let damage = recover(&image, &superblock, 40).unwrap_err();
        assert_eq!(damage.segment, first, "byte {byte}: {damage}");
    }
    // It is never dropped as torn: the log was truncated to it because it was synced.
    let mut only = Image::default();
    only.segment(first).fill(0);
    let damage = recover(&only, &superblock, 40).unwrap_err();
    assert_eq!(damage.problem, Problem::Missing);
    only.store_atoms(&group, |atom| atom != 9);
    let damage = recover(&only, &superblock, 40).unwrap_err();
    assert_eq!(damage.segment, first);
    // Nor is another in its place, nor a later one without it.
    let mut without = log.image.clone();
    without.0.remove(&first);
    let damage = recover(&without, &superblock, 40).unwrap_err();
    assert_eq!((damage.segment, damage.problem), (first, Problem::Missing));
    let mut later = superblock.clone();
    later.first_segment = first.next();
    let moved = log.image.0.remove(&first).unwrap();
    log.image.0.insert(first.next(), moved);
    assert!(recover(&log.image, &later, 40).is_err());
}

#[test]
fn segments_that_were_to_go_are_not_read() {
    let mut rng = Rng::new(Seed::new(26));
    let mut log = log_of(60, &mut rng);
    let whole_image = log.image.clone();
    let superblock = truncate(&mut log, Slot::new(40));
    // The superblock was written, and the power went before a file was removed.
    let mut left = whole_image;
    left.segment(SegmentNo::new(1)).fill(0xee);
    let (recovered, _) = recover(&left, &superblock, 40).unwrap().done();
    assert!(says(&recovered, &log.model, 40));
}

#[test]
fn the_superblock_remembers_what_was_relied_on() {
    let change = durable().truncate(SegmentNo::new(3), Slot::new(77));
    let copies: Vec<_> = change.writes().iter().map(|write| &*write.bytes).collect();
    assert_eq!(
        copies[0][112..128],
        [3, 0, 0, 0, 0, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0]
    );
    let opened = open([copies[0], copies[1], copies[2], copies[3]]).unwrap();
    let superblock = opened.superblock();
    assert_eq!(superblock.first_segment, SegmentNo::new(3));
    assert_eq!(superblock.snapshot, Slot::new(77));
}

#[test]
#[should_panic(expected = "what was removed from the log does not come back")]
fn what_was_removed_does_not_come_back() {
    let durable = durable().truncate(SegmentNo::new(3), Slot::new(77)).done();
    let _ = durable.truncate(SegmentNo::new(2), Slot::new(80));
}
