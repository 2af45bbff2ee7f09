//! The log after a crash, after rot, and after anything at all.

use self::image::Image;
use self::log::{Log, Said};
use crate::draw::Draw;
use tenure_core::ids::{SegmentNo, Slot};
use tenure_core::wal::ATOM_BYTES;
use tenure_core::wal::recovery::{Tail, Verdict};

mod forge;
mod image;
mod log;

/// The first byte says what happens, the next ones what was written before, the last ones where.
pub fn wal(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    match draw.byte() {
        5 => truncated(&mut draw),
        kind => match kind % 5 {
            0 => power_cut(&mut draw),
            1 => rot(&mut draw),
            2 => anything(&mut draw),
            3 => forge::strange_segment(&mut draw),
            _ => raw(draw.rest()),
        },
    }
}

/// The last group was being stored: any of its 512-byte atoms may be missing. It is there whole or
/// not at all, and recovery always succeeds.
fn power_cut(draw: &mut Draw<'_>) {
    let mut log = Log::written(draw);
    let Some(last) = log.groups.last().cloned() else {
        return;
    };
    let at = usize::try_from(last.offset).expect("a segment fits memory");
    let segment = log.image.segment(last.segment);
    let (mut whole, mut mask) = (true, 0);
    for (index, atom) in last.bytes.chunks(ATOM_BYTES).enumerate() {
        if index % 8 == 0 {
            mask = draw.byte();
        }
        if mask >> (index % 8) & 1 == 1 {
            whole &= atom.iter().all(|byte| *byte == 0);
            let from = at + index * ATOM_BYTES;
            segment[from..from + ATOM_BYTES].fill(0);
        }
    }
    let expected = log.says(log.groups.len() - usize::from(!whole));
    let tail = log.image.recover().expect("a power cut is survived");
    let (said, _) = believe(&mut log, tail);
    assert_eq!(said, expected, "the last group is there, or nothing of it");
}

/// A few bits turned. Only the last group may be taken for one that was never synced.
fn rot(draw: &mut Draw<'_>) {
    let mut log = Log::written(draw);
    for _ in 0..=draw.below(3) {
        let segment = log.image.segment(any_segment(draw, &log.image));
        let at = draw.below(segment.len());
        segment[at] ^= 1 << draw.below(8);
    }
    let written = log.groups.len();
    if let Ok(tail) = log.image.recover() {
        let (_, groups) = believe(&mut log, tail);
        assert!(
            groups + 1 >= written,
            "{groups} of {written} groups are left"
        );
    }
}

/// The log begins late: a snapshot stands for what went. What is above it is recovered as if all were
/// there; with rot in it, it is what some first groups said, or refused.
fn truncated(draw: &mut Draw<'_>) {
    let mut log = Log::written(draw);
    let said = log.says(log.groups.len());
    let below = |draw: &mut Draw<'_>, slot: Slot| {
        let bound = usize::try_from(slot.get()).expect("slots are few");
        u64::try_from(draw.below(bound + 1)).expect("it is small")
    };
    let upto = Slot::new(below(draw, said.decided()));
    let floor = Slot::new(upto.get() + u64::from(draw.byte() % 4));
    let superblock = log.truncate(upto);
    let rots = draw.byte() % 4 == 3;
    if rots {
        let last = log.image.last();
        let segment = log.image.segment(last);
        let at = draw.below(segment.len());
        segment[at] ^= 1 << draw.below(8);
    }
    let found = log.image.recover_above(&superblock, floor);
    let tail = match found {
        Ok(tail) => tail,
        Err(damage) => {
            assert!(rots, "nothing is wrong with it: {damage}");
            return;
        }
    };
    log.image.settle(&tail);
    let found = Said::of(tail.done().0);
    let mut groups = (0..=log.groups.len()).rev();
    let groups = groups.find(|groups| log.says(*groups).above(floor) == found);
    let groups = groups.expect("what is believed was written, with all that was before it");
    assert!(rots || groups == log.groups.len(), "all of it is there");
}

fn any_segment(draw: &mut Draw<'_>, image: &Image) -> SegmentNo {
    SegmentNo::new(1 + u64::from(draw.byte()) % image.last().get())
}

/// Bytes were written, copied, lost. What is believed then was there at some time.
fn anything(draw: &mut Draw<'_>) {
    let mut log = Log::written(draw);
    for _ in 0..=draw.below(8) {
        let number = any_segment(draw, &log.image);
        let bytes = log.image.segment(number);
        let at = draw.below(bytes.len());
        let len = draw.below(8192).min(bytes.len() - at);
        match draw.byte() % 5 {
            0 => bytes[at..at + len].fill(0),
            1 => bytes[at..at + len].fill(draw.byte()),
            2 => bytes[at] ^= draw.byte(),
            3 => {
                let copy = bytes[at..at + len].to_vec();
                let other = any_segment(draw, &log.image);
                let to = log.image.segment(other);
                let at = draw.below(to.len());
                let len = len.min(to.len() - at);
                to[at..at + len].copy_from_slice(&copy[..len]);
            }
            _ => log.image.lose(number),
        }
    }
    if let Ok(tail) = log.image.recover() {
        believe(&mut log, tail);
    }
}

/// A segment that begins with these bytes.
fn raw(bytes: &[u8]) {
    let mut image = Image::fresh();
    let segment = image.segment(SegmentNo::new(1));
    let len = bytes.len().min(segment.len());
    segment[..len].copy_from_slice(&bytes[..len]);
    if let Ok(tail) = image.recover() {
        image.settle(&tail);
        let clean = image.recover().expect("what was settled is clean");
        assert_eq!(clean.verdict, Verdict::Clean, "settled once and for all");
        assert_eq!(Said::of(clean.done().0), Said::of(tail.done().0));
    }
}

/// Goes on after a recovery: what is believed must be what some first groups said, it can be loaded,
/// and what is written next comes after it. Says what was believed, and how many groups that is.
fn believe(log: &mut Log, tail: Tail) -> (Said, usize) {
    assert!(
        tail.verdict == Verdict::Clean || tail.zero.is_some(),
        "what is dropped is set to zero"
    );
    log.image.settle(&tail);
    let (recovered, writer) = tail.done();
    let said = Said::of(recovered);
    let groups = (0..=log.groups.len()).rev();
    let groups = groups.into_iter().find(|groups| log.says(*groups) == said);
    let groups = groups.expect("what is believed was written, with all that was before it");
    log.go_on(groups, writer);
    log.check_loads(&said);
    log.add_one_more(&said);
    let again = log.image.recover().expect("the log goes on where it ended");
    assert_eq!(again.verdict, Verdict::Clean, "and ends with a seal");
    assert_eq!(Said::of(again.done().0), log.says(log.groups.len()));
    (said, groups)
}
