//! A seal's bytes are frozen, and nothing in them is believed unless all of it is right.

use super::*;
use crate::hash::hash64;
use crate::wal::testing::{ballot, hex};
use alloc::vec;

fn golden() -> Seal {
    let sealed = |slot| Sealed {
        back: 0,
        len: 24,
        kind: Kind::Accepted,
        chain: 0xabcd,
        slot: Slot::new(slot),
        ballot: ballot(7),
        hash: 0x1122_3344_5566_7788,
    };
    let summary = |start, slot| Summary {
        start: Lsn::new(start),
        records: vec![sealed(slot)],
        zeros: vec![ZeroRun { first: 1, count: 2 }],
    };
    Seal {
        boot: Boot::new(4),
        number: 12,
        through: RecordNo::new(33),
        group: summary(0x3000, 8),
        before: summary(0x2000, 7),
        before_end: End {
            lsn: Lsn::new(0x3000),
            chain: 0xbeef,
        },
        acks: vec![Ack {
            node: NodeId::new(2),
            boot: Boot::new(6),
            ballot: ballot(7),
            slot: Slot::new(8),
        }],
    }
}

#[test]
fn the_bytes_are_the_golden_ones() {
    let bytes = golden().encode();
    assert_eq!(
        hex(&bytes),
        "\
         65eb75beac61ff4904000000000000000c000000000000002100000000000000\
         003000000000000000200000000000000030000000000000efbe000001000000\
         01000000010000000100000001000000000000001800000001000000cdab0000\
         0800000000000000010000000000000007000000000000000200000000000000\
         88776655443322110100000002000000000000001800000001000000cdab0000\
         0700000000000000010000000000000007000000000000000200000000000000\
         8877665544332211010000000200000002000000000000000600000000000000\
         0100000000000000070000000000000002000000000000000800000000000000"
    );
    assert_eq!(Seal::decode(&bytes), Ok(golden()));
}

#[test]
fn no_bit_of_a_seal_may_change_and_none_be_missing() {
    let mut bytes = golden().encode();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Seal::decode(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    for len in 0..bytes.len() {
        assert!(Seal::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn a_seal_with_absurd_counts_is_refused_before_anything_is_allocated() {
    let mut bytes = golden().encode();
    for at in (60..80).step_by(4) {
        let before = bytes[at..at + 4].to_vec();
        bytes[at..at + 4].fill(0xff);
        let check = hash64(&bytes[8..]).to_le_bytes();
        bytes[..8].copy_from_slice(&check);
        assert_eq!(
            Seal::decode(&bytes),
            Err(Problem::Seal("its lists are not as long as it says"))
        );
        bytes[at..at + 4].copy_from_slice(&before);
    }
}

#[test]
fn a_summary_knows_which_atoms_may_be_zero() {
    let group = golden().group;
    let allowed: Vec<bool> = (0..4).map(|atom| group.allows_zero(atom)).collect();
    assert_eq!(allowed, [false, true, true, false]);
}
