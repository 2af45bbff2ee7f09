//! A load reads only what may hold its slots, and finds what the model finds.

use super::*;
use crate::ids::{RecordNo, Seed};
use crate::replica::record::Record;
use crate::rng::Rng;
use crate::wal::testing::{Image, Log, accepted, entry};

fn load(image: &Image, index: &SlotIndex, from: u64, upto: u64) -> (Vec<Entry>, u64) {
    let mut plan = index.plan(Slot::new(from), Slot::new(upto));
    let mut read = 0;
    while let Some(piece) = plan.next_piece() {
        let at = piece.offset as usize;
        let bytes = &image.0[&piece.segment][at..at + piece.len as usize];
        plan.take(&piece, bytes).unwrap();
        read += piece.len;
    }
    (plan.finish(), read)
}

/// A log of `slots` slots, some accepted twice or learned as decided, in pieces of every kind.
fn log(slots: u64, size: u64) -> Log {
    let mut rng = Rng::new(Seed::new(slots));
    let mut log = Log::new();
    for slot in 1..=slots {
        let again = slot.saturating_sub(rng.below(6)).max(1);
        for (slot, round) in [
            (slot, 3),
            (again, 1 + rng.below(2)),
            (again, 4 + rng.below(2)),
        ] {
            let len = size as usize + (slot % 100) as usize;
            log.append(accepted(round, slot, entry(slot * 10 + round, 1, len)));
        }
        if rng.below(4) == 0 {
            let slot = Slot::new(again);
            log.append(Record::Decided {
                slot,
                entry: entry(again * 10 + 9, 2, 50),
            });
        }
        if rng.below(3) == 0 {
            log.sync();
        }
    }
    log.sync();
    log
}

#[test]
fn a_load_finds_what_the_model_finds() {
    let log = log(120, 900);
    let (_, recovered) = log.image.recover().unwrap().done();
    for (from, upto) in [
        (1, 120),
        (1, 1),
        (50, 60),
        (120, 500),
        (121, 130),
        (33, 119),
    ] {
        for index in [log.writer.index(), recovered.index()] {
            let (entries, _) = load(&log.image, index, from, upto);
            let slots = (from..=upto.min(120)).map(Slot::new);
            let expected: Vec<Entry> = slots
                .map(|slot| log.model.best(slot).unwrap().1.clone())
                .collect();
            let whole = expected.len() == entries.len();
            let bytes: usize = entries.iter().map(|entry| entry.bytes().len()).sum();
            assert!(expected.starts_with(&entries), "{from}..={upto}");
            assert!(whole || bytes + 1100 > BATCH_BYTES_MAX, "{from}..={upto}");
        }
    }
}

#[test]
fn a_log_is_replayed_in_bounded_pieces() {
    let log = log(3000, 900);
    let mut next = 1;
    let mut loads = 0;
    while next <= 3000 {
        let (entries, read) = load(&log.image, log.writer.index(), next, 3000);
        assert!(
            read <= LOAD_BYTES_MAX + 4 * PIECE_BYTES,
            "{read} bytes were read"
        );
        let bytes: usize = entries.iter().map(|entry| entry.bytes().len()).sum();
        assert!(bytes <= BATCH_BYTES_MAX && !entries.is_empty());
        for entry in entries {
            assert_eq!(entry, *log.model.best(Slot::new(next)).unwrap().1);
            next += 1;
        }
        loads += 1;
    }
    assert!(loads < 40, "{loads} loads");
}

/// A load holds up the loop of its server: it reads what it gives, and little more.
#[test]
fn a_load_reads_what_it_gives() {
    let mut log = Log::new();
    for slot in 1..=3000 {
        log.append(accepted(3, slot, entry(slot, 1, 900)));
        if slot % 20 == 0 {
            log.sync();
        }
    }
    let mut next = 1;
    while next <= 3000 {
        let (entries, read) = load(&log.image, log.writer.index(), next, 3000);
        let given: usize = entries.iter().map(|entry| entry.bytes().len()).sum();
        assert!(given + 1000 > BATCH_BYTES_MAX || next > 2700, "as before");
        // Heads, seals, pads, and what stands in the first and last piece for others.
        let most = given as u64 * 5 / 4 + 3 * PIECE_BYTES;
        assert!(read <= most, "{read} bytes for {given}");
        next += entries.len() as u64;
    }
}

#[test]
fn one_slot_costs_one_or_two_pieces() {
    let log = log(3000, 900);
    let shelves = &log.writer.index().shelves;
    let pieces: usize = shelves.iter().map(|shelf| shelf.pieces.len()).sum();
    assert!(pieces > 100, "{pieces} pieces");
    let plan = log.writer.index().plan(Slot::new(1500), Slot::new(1500));
    assert!(
        (1..=3).contains(&plan.pieces.len()),
        "{}",
        plan.pieces.len()
    );
}

#[test]
fn a_piece_that_rotted_is_named() {
    let mut log = log(20, 100);
    let piece = log.writer.index().plan(Slot::new(1), Slot::new(1)).pieces[0];
    let at = piece.offset as usize;
    log.image.segment(piece.segment)[at + 90] ^= 1;
    let bytes = log.image.0[&piece.segment][at..at + piece.len as usize].to_vec();
    let mut plan = log.writer.index().plan(Slot::new(1), Slot::new(1));
    let damage = plan.take(&piece, &bytes).unwrap_err();
    assert_eq!(
        (damage.segment, damage.offset),
        (piece.segment, piece.offset)
    );
    assert!(matches!(damage.problem, Problem::Chain { .. }));
}

#[test]
fn an_empty_log_has_nothing() {
    let mut log = Log::new();
    log.trail();
    assert_eq!(load(&log.image, log.writer.index(), 1, 10), (Vec::new(), 0));
    let record = Record::DecidedHint { upto: Slot::new(0) };
    log.writer.append(RecordNo::new(1), &record).unwrap();
    assert!(
        log.writer
            .index()
            .plan(Slot::new(0), Slot::new(5))
            .pieces
            .is_empty()
    );
}
