//! Groups are whole sectors in the right place, and say what they hold.

use super::*;
use crate::wal::testing::{Log, SIZES, accepted, entry, hex, identity, writer};

#[test]
fn the_bytes_of_a_group_are_the_golden_ones() {
    let mut writer = writer();
    let record = accepted(7, 1, entry(1, 0x61, 10));
    writer.append(RecordNo::new(1), &record).unwrap();
    let group = writer.seal().unwrap();
    assert_eq!((group.segment, group.offset), (SegmentNo::new(1), 0));
    assert_eq!(group.bytes.len(), 2 * SECTOR_BYTES);
    // The header, the payload verbatim, and a hash of all of it.
    let payload = SECTOR_BYTES + HEAD_BYTES;
    assert_eq!(
        group.bytes[payload..payload + 30],
        entry(1, 0x61, 10).bytes()[..]
    );
    assert_eq!(
        hex(&group.bytes[SECTOR_BYTES..payload]),
        "\
         341b6bf30100010000100000000000001e000000068378850000000000100000\
         0100000000000000010000000000000007000000000000000200000000000000\
         00000000000000000100000000000000"
    );
    assert_eq!(
        alloc::format!("{:016x}", hash64(&group.bytes)),
        "5949d45c98cfd1f3"
    );
}

#[test]
fn groups_follow_each_other_and_never_span_segments() {
    let mut log = Log::new();
    for slot in 1..60 {
        log.append(accepted(
            1,
            slot,
            entry(slot, 1, (slot * 371 % 7000) as usize),
        ));
        log.sync();
    }
    let mut next = (SegmentNo::new(1), 0);
    for group in &log.groups {
        let len = group.bytes.len() as u64;
        assert!(len.is_multiple_of(4096) && group.offset + len <= SIZES.of(group.segment));
        if group.segment == next.0 {
            assert_eq!(group.offset, next.1);
        } else {
            assert_eq!((group.segment, group.offset), (next.0.next(), 0));
        }
        next = (group.segment, group.offset + len);
    }
    assert!(log.image.0.len() > 4);
}

#[test]
fn no_atom_is_zero_unless_a_payload_is() {
    let mut log = Log::new();
    for slot in 1..40 {
        log.append(accepted(1, slot, entry(slot, 1, (slot * 97) as usize)));
        log.sync();
    }
    for group in &log.groups {
        assert!(
            !group.bytes.chunks(ATOM_BYTES).any(is_zero),
            "at {}",
            group.offset
        );
    }
}

#[test]
fn a_trailing_seal_follows_once() {
    let mut writer = writer();
    // A new log begins with one, so that a start is in the log.
    let group = writer.trailing_seal().unwrap();
    assert_eq!(group.bytes.len(), 2 * SECTOR_BYTES);
    assert_eq!((writer.trailing_seal(), writer.seal()), (None, None));
    writer
        .append(RecordNo::new(1), &accepted(1, 1, entry(1, 1, 1)))
        .unwrap();
    assert_eq!(
        writer.trailing_seal(),
        None,
        "the seal of the group will do"
    );
    assert_eq!(writer.seal().unwrap().through, RecordNo::new(1));
    assert!(writer.wants_trailing_seal());
    let group = writer.trailing_seal().unwrap();
    assert_eq!(
        (group.through, group.bytes.len()),
        (RecordNo::new(1), SECTOR_BYTES)
    );
    assert!(!writer.wants_trailing_seal());
}

#[test]
fn a_full_group_and_a_record_too_large_are_typed_answers() {
    let mut writer = writer();
    let large = accepted(1, 1, entry(1, 1, 20_000));
    writer.append(RecordNo::new(1), &large).unwrap();
    let second = RecordNo::new(2);
    assert_eq!(writer.append(second, &large), Err(AppendError::Full));
    let group = writer.seal().unwrap();
    assert_eq!(group.through, RecordNo::new(1));
    writer.append(second, &large).unwrap();
    assert_eq!(writer.seal().unwrap().segment, SegmentNo::new(2));
    let commands = alloc::vec![Bytes::from_static(&[1; 24_000]); 2];
    let larger = Entry::new(
        crate::entry::EntryKind::Batch,
        crate::time::Stamp::ZERO,
        &commands,
    );
    let refused = writer.append(RecordNo::new(3), &accepted(1, 2, larger));
    assert!(
        matches!(refused, Err(AppendError::TooLarge { bytes: 48_024, .. })),
        "{refused:?}"
    );
}

#[test]
fn the_next_segment_is_announced_before_it_is_needed() {
    let mut log = Log::new();
    for slot in 1..200 {
        let size = (slot * 733 % 9000) as usize;
        let record = accepted(1, slot, entry(slot, 0, size));
        let announced = log.writer.may_need_next_segment(size + 20);
        let before = log.writer.segment();
        log.append(record);
        log.sync();
        assert!(announced || log.writer.segment() == before, "slot {slot}");
    }
}

#[test]
#[should_panic(expected = "without gaps")]
fn records_have_no_gaps() {
    let mut writer = writer();
    let record = accepted(1, 1, entry(1, 1, 1));
    writer.append(RecordNo::new(5), &record).unwrap();
    writer.append(RecordNo::new(7), &record).unwrap();
}

#[test]
fn the_acknowledgements_of_peers_are_carried() {
    let mut log = Log::new();
    log.writer.remember_acks(alloc::vec![Ack {
        node: crate::ids::NodeId::new(1),
        boot: Boot::new(2),
        ballot: crate::ids::Ballot::ZERO,
        slot: Slot::new(9),
    }]);
    log.append(accepted(1, 1, entry(1, 1, 1)));
    log.sync();
    assert!(log.image.recover().is_ok());
    assert_eq!(identity(), log.writer.identity);
}
