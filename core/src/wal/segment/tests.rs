//! A segment's header is frozen, and every byte of its sector counts.

use super::*;
use crate::wal::bytes::is_zero;
use crate::wal::testing::{hex, identity};

fn golden() -> SegmentHeader {
    SegmentHeader {
        identity: identity(),
        number: SegmentNo::new(2),
        bytes: 0x1_0000,
        first: Lsn::new(0x8000),
        before: End {
            lsn: Lsn::new(0x7000),
            chain: 0xbeef,
        },
        groups: 5,
        boot: Boot::new(4),
    }
}

#[test]
fn the_bytes_are_the_golden_ones() {
    let sector = golden().encode();
    assert_eq!(
        hex(&sector[..COPY_BYTES]),
        "\
         544e5253454700000100000065bd3b8c30313233343536373839616263646566\
         0300000000000000efbeedfe0000000002000000000000000000010000000000\
         00800000000000000070000000000000efbe0000000000000500000000000000\
         04000000000000000000000000000000"
    );
    assert_eq!(sector[..COPY_BYTES], sector[HALF..HALF + COPY_BYTES]);
    assert_eq!(SegmentHeader::decode(&sector), Ok(golden()));
}

#[test]
fn every_byte_counts_and_no_atom_is_zero() {
    let mut sector = golden().encode();
    assert!(!sector.chunks(512).any(is_zero));
    for byte in 0..sector.len() {
        sector[byte] ^= 0x10;
        assert!(SegmentHeader::decode(&sector).is_err(), "byte {byte}");
        sector[byte] ^= 0x10;
    }
    for len in [0, 15, 16, 111, 112, 4095] {
        assert!(
            SegmentHeader::decode(&sector[..len]).is_err(),
            "{len} bytes"
        );
    }
}

#[test]
fn a_header_is_compared_field_by_field() {
    let other = SegmentHeader {
        groups: 6,
        ..golden()
    };
    let problem = Problem::Field {
        what: "the number of groups before",
        expected: 5,
        found: 6,
    };
    assert_eq!(other.compare(&golden()), Err(problem));
    assert_eq!(golden().compare(&golden()), Ok(()));
}
