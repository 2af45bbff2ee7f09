//! The laws of the whole room: what was synced is recovered, what was not is dropped whole or
//! kept whole, and what is damaged is refused by name.

mod truncated;

use super::damage::Problem;
use super::recovery::Verdict;
use super::testing::{Image, Log, Model, accepted, agrees, ballot, entry, superblock};
use super::{ATOM_BYTES, SECTOR_BYTES};
use crate::entry::{Entry, Start};
use crate::ids::{RecordNo, Seed, SegmentNo, Slot};
use crate::replica::record::Record;
use crate::rng::Rng;
use crate::time::Stamp;
use alloc::vec::Vec;
use bytes::Bytes;

/// A log of random records in random groups, and how many records the last group has.
fn random_log(rng: &mut Rng) -> (Log, usize) {
    let mut log = Log::new();
    let mut last = 0;
    let (mut top, mut decided) = (0_u64, 0_u64);
    for _ in 0..=rng.below(8) {
        for _ in 0..=rng.below(5) {
            let size = match rng.below(4) {
                0 => rng.below(9000),
                _ => rng.below(700),
            };
            let fill = if rng.below(2) == 0 {
                0
            } else {
                rng.below(256) as u8
            };
            let round = 1 + rng.below(4);
            // One value for one slot and ballot, as the protocol has it.
            let slot = 1 + decided + rng.below(top - decided + 1);
            let value = entry(slot * 100 + round, fill, size as usize);
            match rng.below(8) {
                0 if top > decided => {
                    decided += 1 + rng.below(top - decided);
                    log.append(Record::DecidedHint {
                        upto: Slot::new(decided),
                    });
                }
                1 => {
                    top = top.max(slot);
                    log.append(Record::Decided {
                        slot: Slot::new(slot),
                        entry: entry(slot, 7, 40),
                    });
                }
                _ => {
                    top = top.max(slot);
                    let mine = accepted(round, slot, value);
                    let clash = |r: &&Record| {
                        matches!((r, &mine),
                        (Record::Accepted { ballot: a, slot: s, .. }, Record::Accepted { ballot: b, slot: t, .. }) if a == b && s == t)
                    };
                    let known = log.model.records.iter().chain(&log.gathered).find(clash);
                    let record = known.cloned().unwrap_or(mine);
                    log.append(record);
                }
            }
        }
        last = log.gathered.len();
        log.sync();
        if rng.below(3) == 0 {
            log.trail();
            last = 0;
        }
    }
    (log, last)
}

#[test]
fn what_was_synced_is_recovered() {
    let mut rng = Rng::new(Seed::new(1));
    for round in 0..100 {
        let (log, _) = random_log(&mut rng);
        let tail = log.image.recover().unwrap();
        assert_eq!(tail.verdict, Verdict::Clean, "round {round}");
        assert!(agrees(tail, &log.model), "round {round}");
    }
}

/// Recovers an image in which some atoms of `group` were not stored, and goes on from there.
fn crash(
    image: &Image,
    model: &Model,
    group: &super::writer::Group,
    whole: &Model,
    lost: &[usize],
) {
    let mut torn = image.clone();
    torn.store_atoms(group, |atom| !lost.contains(&atom));
    let full = |atom: &usize| {
        let from = atom * ATOM_BYTES;
        group.bytes[from..from + ATOM_BYTES]
            .iter()
            .any(|byte| *byte != 0)
    };
    let differs = lost.iter().any(full);
    let mut stored = (0..group.bytes.len() / ATOM_BYTES).filter(|atom| !lost.contains(atom));
    let nothing = !stored.any(|atom| full(&atom));
    let tail = torn
        .recover()
        .unwrap_or_else(|damage| panic!("lost {lost:?}: {damage}"));
    assert_eq!(
        tail.verdict == Verdict::Clean,
        !differs || nothing,
        "lost {lost:?}: {:?}",
        tail.verdict
    );
    let expected = if differs { model } else { whole };
    torn.settle(&tail);
    let (recovered, mut writer) = tail.done();
    assert_eq!(recovered.decided, expected.decided(), "lost {lost:?}");
    assert_eq!(recovered.accepted, expected.accepted(), "lost {lost:?}");
    // The log goes on where it was cut off.
    let mut more = expected.clone();
    let record = accepted(50, expected.decided().get() + 1, entry(5, 5, 600));
    writer.append(RecordNo::new(1), &record).unwrap();
    more.records.push(record);
    torn.store(&writer.seal().unwrap());
    torn.store(&writer.trailing_seal().unwrap());
    assert!(agrees(torn.recover().unwrap(), &more), "lost {lost:?}");
}

#[test]
fn a_group_that_was_not_synced_is_there_whole_or_not_at_all() {
    let mut rng = Rng::new(Seed::new(2));
    for _ in 0..12 {
        let (log, records) = random_log(&mut rng);
        let (image, model, group) = log.before_last(records);
        let atoms = group.bytes.len() / ATOM_BYTES;
        let mut images: Vec<Vec<usize>> = (0..atoms).map(|atom| Vec::from([atom])).collect();
        images.extend((0..=atoms).map(|cut| (cut..atoms).collect()));
        images.extend((0..=atoms).map(|cut| (0..cut).collect()));
        for _ in 0..40 {
            let (mask, more) = (rng.next(), rng.next());
            let chosen = |atom: &usize| (mask & more) >> (atom % 64) & 1 == 1;
            images.push((0..atoms).filter(chosen).collect());
        }
        for lost in &images {
            crash(&image, &model, &group, &log.model, lost);
        }
    }
}

#[test]
fn every_image_of_one_sector_is_recovered() {
    let mut log = Log::new();
    log.append(accepted(1, 1, entry(1, 9, 100)));
    log.sync();
    log.append(accepted(1, 2, entry(2, 0, 1500)));
    log.append(accepted(2, 1, entry(3, 8, 60)));
    log.sync();
    let (image, model, group) = log.before_last(2);
    assert_eq!(group.bytes.len(), SECTOR_BYTES);
    for mask in 0..256_usize {
        let lost: Vec<usize> = (0..8).filter(|atom| mask >> atom & 1 == 1).collect();
        crash(&image, &model, &group, &log.model, &lost);
    }
}

#[test]
fn every_image_of_a_segments_first_group_is_recovered() {
    let mut log = Log::new();
    log.append(accepted(1, 1, entry(1, 0, 1200)));
    log.sync();
    let (image, model, group) = log.before_last(1);
    assert_eq!((group.offset, group.bytes.len()), (0, 2 * SECTOR_BYTES));
    for mask in 0..1 << 16 {
        if mask % 211 != 0 {
            continue;
        }
        let lost: Vec<usize> = (0..16).filter(|atom| mask >> atom & 1 == 1).collect();
        crash(&image, &model, &group, &log.model, &lost);
    }
}

/// Stores that were cut off in the middle of an atom: a page of a mapping was written back while
/// the group was being copied into it. The first eight bytes are stored last.
#[test]
fn a_group_whose_stores_were_cut_off_is_dropped() {
    let mut log = Log::new();
    log.append(accepted(1, 1, entry(1, 9, 100)));
    log.sync();
    log.append(accepted(1, 2, entry(2, 9, 3000)));
    log.sync();
    let (image, model, group) = log.before_last(1);
    let mut cut_off = group.bytes.to_vec();
    cut_off[..8].fill(0);
    for len in (8..=cut_off.len()).step_by(11) {
        let mut torn = image.clone();
        let at = group.offset as usize;
        torn.segment(group.segment)[at..at + len].copy_from_slice(&cut_off[..len]);
        let tail = torn
            .recover()
            .unwrap_or_else(|damage| panic!("after {len} bytes: {damage}"));
        assert!(agrees(tail, &model), "after {len} bytes");
    }
}

/// Flips each byte of each group in turn; recovery must name the segment, and a byte of the group.
fn flip_everywhere(log: &Log, step: usize) {
    let mut image = log.image.clone();
    for group in &log.groups {
        let at = group.offset as usize;
        for byte in (at..at + group.bytes.len()).step_by(step) {
            let bit = 1 << (byte % 8);
            image.segment(group.segment)[byte] ^= bit;
            let what = image.recover();
            image.segment(group.segment)[byte] ^= bit;
            let Err(damage) = what else {
                panic!(
                    "byte {byte} of segment {} was flipped, unseen",
                    group.segment
                );
            };
            assert_eq!(damage.segment, group.segment, "byte {byte}: {damage}");
            let offset = damage.offset as usize;
            assert!(
                (at..at + group.bytes.len()).contains(&offset) && offset <= byte,
                "byte {byte} in {at}..: {damage}"
            );
        }
    }
}

#[test]
fn a_flipped_bit_in_any_synced_group_is_refused() {
    let mut log = Log::new();
    log.append(accepted(1, 1, entry(1, 9, 100)));
    log.sync();
    log.append(accepted(1, 2, entry(2, 0, 2600)));
    log.append(accepted(2, 1, entry(3, 8, 60)));
    log.sync();
    log.append(Record::DecidedHint { upto: Slot::new(1) });
    log.sync();
    // As the last group, without a trailing seal, and then with one.
    log.append(accepted(2, 3, entry(3, 0, 3000)));
    log.sync();
    flip_everywhere(&log, 31);
    log.trail();
    flip_everywhere(&log, 31);
}

#[test]
fn a_flipped_bit_in_any_segment_is_refused() {
    let mut rng = Rng::new(Seed::new(3));
    let (log, _) = (0..)
        .map(|_| random_log(&mut rng))
        .find(|(log, _)| log.image.0.len() > 2)
        .unwrap();
    flip_everywhere(&log, 509);
}

#[test]
fn the_slot_of_a_damaged_record_is_named() {
    let mut log = Log::new();
    log.append(accepted(1, 1, entry(1, 9, 100)));
    log.append(accepted(1, 2, entry(2, 9, 100)));
    log.sync();
    log.trail();
    let group = log.groups[0].clone();
    let second = SECTOR_BYTES + 80 + 120 + 4;
    // The header, whose slot only the seal still tells, and the payload.
    for byte in [second + 30, second + 100] {
        let mut image = log.image.clone();
        image.segment(group.segment)[byte] ^= 1;
        let damage = image.recover().unwrap_err();
        assert_eq!(damage.slot, Some(Slot::new(2)), "{damage}");
    }
    // Header and seal are both gone: the next group's seal repeats what was there.
    let mut image = log.image.clone();
    image.segment(group.segment)[second + 30] ^= 1;
    image.segment(group.segment)[2 * SECTOR_BYTES - 60] ^= 1;
    let damage = image.recover().unwrap_err();
    assert_eq!(damage.slot, Some(Slot::new(2)), "{damage}");
}

#[test]
fn an_acknowledged_group_that_was_lost_is_missed() {
    let mut log = Log::new();
    for slot in 1..=2 {
        log.append(accepted(1, slot, entry(slot, 9, 100)));
        log.sync();
    }
    log.trail();
    let lost = &log.groups[1];
    let at = lost.offset as usize;
    log.image.segment(lost.segment)[at..at + lost.bytes.len()].fill(0);
    let damage = log.image.recover().unwrap_err();
    assert_eq!((damage.segment, damage.offset), (lost.segment, lost.offset));
}

#[test]
fn a_lost_group_at_the_end_of_a_segment_is_missed_there() {
    let mut log = Log::new();
    while log.image.0.len() < 2 {
        let slot = log.model.records.len() as u64 + 1;
        log.append(accepted(1, slot, entry(slot, 9, 5000)));
        log.sync();
    }
    let first = SegmentNo::new(1);
    let mut groups = log.groups.iter().rev();
    let lost = groups.find(|group| group.segment == first).unwrap();
    let at = lost.offset as usize;
    log.image.segment(first)[at..at + lost.bytes.len()].fill(0);
    let damage = log.image.recover().unwrap_err();
    assert_eq!((damage.segment, damage.offset), (first, lost.offset));
}

/// A group that lost an atom after it was synced, and after it a group of which only the middle of
/// a payload was stored: no header tells of it, but something is there.
#[test]
fn a_group_with_anything_after_it_was_synced() {
    let mut log = Log::new();
    log.append(accepted(1, 1, entry(1, 9, 1000)));
    log.sync();
    log.append(accepted(1, 2, entry(2, 9, 3000)));
    log.sync();
    let (mut image, _, torn) = log.before_last(1);
    image.store_atoms(&torn, |atom| atom == 3);
    let hurt = &log.groups[0];
    let at = hurt.offset as usize + SECTOR_BYTES + ATOM_BYTES;
    image.segment(hurt.segment)[at..at + ATOM_BYTES].fill(0);
    let damage = image.recover().unwrap_err();
    assert_eq!((damage.segment, damage.offset), (hurt.segment, 4096));
}

#[test]
fn a_missing_or_empty_segment_is_named() {
    let mut log = Log::new();
    while log.image.0.len() < 3 {
        let slot = log.model.records.len() as u64 + 1;
        log.append(accepted(1, slot, entry(slot, 9, 5000)));
        log.sync();
    }
    for number in [1, 2].map(SegmentNo::new) {
        let mut without = log.image.clone();
        without.0.remove(&number);
        let damage = without.recover().unwrap_err();
        assert_eq!((damage.segment, damage.problem), (number, Problem::Missing));
        let mut empty = log.image.clone();
        empty.segment(number).fill(0);
        let damage = empty.recover().unwrap_err();
        assert_eq!((damage.segment, damage.problem), (number, Problem::Missing));
    }
    let nothing = Image::default().recover().unwrap_err();
    assert_eq!(nothing.problem, Problem::Missing);
}

#[test]
fn a_torn_end_of_a_segment_that_is_not_the_last_is_damage() {
    let mut log = Log::new();
    while log.image.0.len() < 2 {
        let slot = log.model.records.len() as u64 + 1;
        log.append(accepted(1, slot, entry(slot, 9, 5000)));
        log.sync();
    }
    let last = log
        .groups
        .iter()
        .rev()
        .find(|group| group.segment == SegmentNo::new(1))
        .unwrap();
    let at = last.offset as usize;
    log.image.segment(last.segment)[at + 512..at + 1024].fill(0);
    let damage = log.image.recover().unwrap_err();
    assert_eq!((damage.segment, damage.offset), (last.segment, last.offset));
}

#[test]
fn a_record_above_the_promise_means_that_the_superblock_was_lost() {
    let mut log = Log::new();
    log.append(accepted(99, 1, entry(1, 1, 10)));
    log.sync();
    assert!(log.image.recover().is_ok());
    let mut old = superblock();
    old.promised = ballot(98);
    let damage = log.image.recover_with(&old).unwrap_err();
    assert!(
        matches!(damage.problem, Problem::PromiseLost { .. }),
        "{damage}"
    );
    assert_eq!(damage.slot, Some(Slot::new(1)));
}

#[test]
fn another_logs_segment_is_refused() {
    let mut log = Log::new();
    log.append(accepted(1, 1, entry(1, 1, 10)));
    log.sync();
    let mut other = superblock();
    other.identity.incarnation = crate::ids::Incarnation::new(1);
    let damage = log.image.recover_with(&other).unwrap_err();
    assert_eq!(
        damage.problem,
        Problem::SegmentHeader("it belongs to another log")
    );
}

#[test]
fn the_highest_ballot_wins_and_never_the_last_record() {
    let mut log = Log::new();
    log.append(accepted(5, 1, entry(5, 1, 10)));
    log.append(accepted(2, 1, entry(2, 1, 10)));
    log.sync();
    let (recovered, _) = log.image.recover().unwrap().done();
    assert_eq!(recovered.accepted[0].ballot, Some(ballot(5)));
    log.append(Record::Decided {
        slot: Slot::new(1),
        entry: entry(2, 1, 10),
    });
    log.append(accepted(9, 1, entry(2, 1, 10)));
    log.sync();
    let (recovered, _) = log.image.recover().unwrap().done();
    assert_eq!(recovered.accepted[0].ballot, None);
    assert_eq!(recovered.accepted[0].entry, entry(2, 1, 10));
}

/// A later leader proposes an earlier one's start again, and what is decided is left in the log: still
/// the latest start is the one that counts.
#[test]
fn the_log_says_who_began_last_also_below_what_is_decided() {
    let start = |round| Entry::leader_start(ballot(round), Stamp::from_nanos(round), &Bytes::new());
    let mut log = Log::new();
    log.append(accepted(1, 1, start(1)));
    log.append(accepted(2, 1, start(1)));
    log.append(accepted(2, 2, start(2)));
    log.append(accepted(3, 1, start(1)));
    log.append(accepted(3, 3, entry(3, 1, 10)));
    log.append(Record::DecidedHint { upto: Slot::new(2) });
    log.sync();
    let (recovered, _) = log.image.recover().unwrap().done();
    assert_eq!(recovered.decided, Slot::new(2));
    let (ballot, slot) = (ballot(2), Slot::new(2));
    assert_eq!(recovered.started, Start { ballot, slot });
}

/// Time is told of whom a server followed last, also when all that it accepted of them is decided; what
/// was learned as decided was followed by others.
#[test]
fn the_log_says_who_was_followed_last_also_below_what_is_decided() {
    let mut log = Log::new();
    log.append(accepted(4, 1, entry(4, 1, 10)));
    log.append(accepted(4, 2, entry(4, 2, 10)));
    log.append(Record::DecidedHint { upto: Slot::new(2) });
    log.append(Record::Decided {
        slot: Slot::new(3),
        entry: entry(7, 3, 10),
    });
    log.sync();
    let (recovered, _) = log.image.recover().unwrap().done();
    assert_eq!(recovered.decided, Slot::new(2));
    assert_eq!(recovered.followed, Some(ballot(4)));
}

/// A machine that starts from nothing is told how much it is about to get.
#[test]
fn the_log_says_how_much_of_it_is_to_be_applied() {
    let mut log = Log::new();
    let entries = [10, 20, 30].map(|len| entry(4, 1, len));
    for (slot, entry) in (1..).zip(&entries) {
        log.append(accepted(4, slot, entry.clone()));
    }
    log.sync();
    let bytes = |entries: &[Entry]| -> u64 {
        let lens = entries.iter().map(|entry| entry.bytes().len());
        lens.sum::<usize>().try_into().unwrap()
    };
    let (recovered, _) = log.image.recover().unwrap().done();
    assert_eq!(recovered.bytes, bytes(&entries));
}

#[test]
fn two_values_under_one_ballot_are_refused() {
    let mut log = Log::new();
    log.append(accepted(5, 1, entry(5, 1, 10)));
    log.append(accepted(5, 1, entry(5, 2, 10)));
    log.sync();
    let damage = log.image.recover().unwrap_err();
    assert!(
        matches!(damage.problem, Problem::TwoValues { .. }),
        "{damage}"
    );
}

#[test]
fn a_decided_slot_that_the_log_does_not_hold_is_refused() {
    let mut log = Log::new();
    log.append(accepted(1, 1, entry(1, 1, 10)));
    log.append(accepted(1, 3, entry(3, 1, 10)));
    log.append(Record::DecidedHint { upto: Slot::new(3) });
    log.sync();
    let damage = log.image.recover().unwrap_err();
    let upto = Slot::new(3);
    assert_eq!(damage.problem, Problem::SlotMissing { upto });
}
