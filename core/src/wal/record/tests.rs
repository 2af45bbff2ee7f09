//! The header's bytes are frozen, and every bit of them counts.

use super::*;
use crate::ids::SegmentNo;
use crate::wal::testing::{ballot, hex, identity};

fn head() -> Head {
    Head {
        kind: Kind::Accepted,
        lsn: Lsn::new(0x1000),
        len: 5,
        chain: 0,
        group: GroupId::new(0),
        back: 0x1000,
        epoch: Epoch::new(1),
        ballot: ballot(7),
        base: Slot::new(9),
        slot: Slot::new(10),
    }
}

fn golden() -> Head {
    let head = head();
    Head {
        chain: head.chain_after(0x1234_5678, b"hello\0\0\0"),
        ..head
    }
}

#[test]
fn the_bytes_are_the_golden_ones() {
    let seed = identity().seed(SegmentNo::new(1));
    let bytes = golden().encode(seed);
    assert_eq!(
        hex(&bytes),
        "\
         db1d4c8d01000100001000000000000005000000275b2d370000000000100000\
         0100000000000000010000000000000007000000000000000200000000000000\
         09000000000000000a00000000000000"
    );
    assert_eq!(Head::decode(&bytes, seed), Ok(golden()));
}

#[test]
fn the_codes_of_kinds_are_frozen() {
    let kinds = [
        Kind::Accepted,
        Kind::Decided,
        Kind::DecidedHint,
        Kind::Seal,
        Kind::Pad,
    ];
    for (code, kind) in (1..).zip(kinds) {
        assert_eq!((kind.code(), Kind::from_code(code)), (code, Some(kind)));
    }
    assert_eq!((Kind::from_code(0), Kind::from_code(6)), (None, None));
}

#[test]
fn every_bit_of_a_record_counts() {
    let seed = identity().seed(SegmentNo::new(1));
    let mut bytes = golden().encode(seed).to_vec();
    bytes.extend_from_slice(b"hello\0\0\0");
    let read =
        |bytes: &[u8]| record_at(bytes, 0, Lsn::new(0x1000), seed, 0x1234_5678).map(|r| r.head);
    assert_eq!(read(&bytes), Ok(golden()));
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_record_is_refused_where_it_does_not_belong() {
    let seed = identity().seed(SegmentNo::new(1));
    let mut bytes = golden().encode(seed).to_vec();
    bytes.extend_from_slice(b"hello\0\0\0");
    let read = |first, seed, chain| record_at(&bytes, 0, Lsn::new(first), seed, chain).err();
    let other = identity().seed(SegmentNo::new(2));
    assert!(matches!(
        read(0x1000, other, 0x1234_5678),
        Some(Problem::HeadCrc { .. })
    ));
    assert!(matches!(
        read(0x2000, seed, 0x1234_5678),
        Some(Problem::Misplaced { .. })
    ));
    assert!(matches!(
        read(0x1000, seed, 0x1234_5679),
        Some(Problem::Chain { .. })
    ));
    let short = record_at(&bytes[..87], 0, Lsn::new(0x1000), seed, 0x1234_5678).err();
    assert_eq!(short, Some(Problem::Length { len: 88, room: 87 }));
    let short = record_at(&bytes[..79], 0, Lsn::new(0x1000), seed, 0x1234_5678).err();
    assert_eq!(short, Some(Problem::Length { len: 80, room: 79 }));
}

#[test]
fn what_a_later_version_wrote_is_named() {
    let mut bytes = head().bytes(0);
    for (at, value, problem) in [
        (6, 2, Problem::Version { found: 2 }),
        (4, 9, Problem::Kind { found: 9 }),
    ] {
        let before = bytes[at];
        bytes[at] = value;
        let crc = head_crc(1, &bytes);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Head::decode(&bytes, 1), Err(problem));
        bytes[at] = before;
    }
}
