//! Two of four copies must agree, and what they agreed on is never forgotten.

use super::*;
use crate::wal::testing::{ballot, hex, identity};
use alloc::vec;

/// The file, in memory.
#[derive(Clone)]
struct File(Vec<u8>);

impl File {
    fn new() -> Self {
        Self(vec![0; FILE_BYTES as usize])
    }

    fn write(&mut self, write: &CopyWrite) {
        let at = write.offset as usize;
        self.0[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
    }

    fn all(mut self, pending: &Pending) -> Self {
        pending.writes().iter().for_each(|write| self.write(write));
        self
    }

    fn copy(&self, copy: usize) -> &[u8] {
        let at = copy * COPY_STRIDE as usize;
        &self.0[at..at + COPY_BYTES]
    }

    fn lose(&mut self, copy: usize) {
        let at = copy * COPY_STRIDE as usize;
        self.0[at..at + COPY_BYTES].fill(0xee);
    }

    fn open(&self) -> Result<Pending, SuperblockError> {
        open([0, 1, 2, 3].map(|copy| self.copy(copy)))
    }

    fn promised(&self) -> Result<Ballot, SuperblockError> {
        self.open().map(|pending| pending.done().now.promised)
    }
}

/// A file that promised ballots 1 to `round`.
fn promised(round: u64) -> (File, Durable) {
    let pending = format(identity(), Bytes::from_static(b"config"));
    let mut file = File::new().all(&pending);
    let mut durable = pending.done();
    for round in 1..=round {
        let pending = durable.promise(ballot(round), None);
        file = file.all(&pending);
        durable = pending.done();
    }
    (file, durable)
}

#[test]
fn the_bytes_are_the_golden_ones() {
    let (file, _) = promised(1);
    assert_eq!(
        hex(&file.copy(2)[..HEAD_BYTES + 8]),
        "\
         ada00d05cc72a249544e52535550455202000000000000000100000006000000\
         0200000000000000c752ff3836338f0530313233343536373839616263646566\
         0300000000000000efbeedfe0000000000000000000000000100000000000000\
         0100000000000000020000000000000001000000000000000000000000000000\
         636f6e6669670000"
    );
    assert!(file.copy(2)[HEAD_BYTES + 6..].iter().all(|byte| *byte == 0));
}

#[test]
fn what_was_written_is_read_and_the_boot_is_one_more() {
    let (file, durable) = promised(3);
    let before = durable.superblock().clone();
    let pending = file.open().unwrap();
    let file = file.all(&pending);
    let after = pending.done();
    assert_eq!(
        after.now,
        Superblock {
            boot: before.boot.next(),
            ..before.child()
        }
    );
    let again = file.open().unwrap().done();
    assert_eq!(again.now.boot, Boot::new(2));
}

#[test]
fn any_two_copies_may_be_lost() {
    let (file, _) = promised(3);
    for (one, two) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        let mut hurt = file.clone();
        hurt.lose(one);
        assert_eq!(hurt.promised(), Ok(ballot(3)));
        hurt.lose(two);
        assert_eq!(hurt.promised(), Ok(ballot(3)));
        let third = (0..4).find(|copy| ![one, two].contains(copy)).unwrap();
        hurt.lose(third);
        assert_eq!(
            hurt.promised(),
            Err(SuperblockError::QuorumLost { readable: 1 })
        );
    }
}

/// A change that was cut off after some copies, with the next one torn at any atom.
#[test]
fn a_change_that_was_cut_off_is_there_or_not() {
    let (file, durable) = promised(3);
    let pending = durable.promise(ballot(4), None);
    for written in 0..COPIES {
        for atoms in 0..=8 {
            let mut cut = file.clone();
            pending.writes()[..written]
                .iter()
                .for_each(|write| cut.write(write));
            let next = &pending.writes()[written];
            let bytes = next.bytes.slice(..atoms * 512);
            cut.write(&CopyWrite { bytes, ..*next });
            // One atom holds all that is not zero, so a copy is new with its first atom.
            let new = if atoms > 0 { written + 1 } else { written };
            let expected = if new >= 2 { 4 } else { 3 };
            assert_eq!(
                cut.promised(),
                Ok(ballot(expected)),
                "{written} and {atoms} atoms"
            );
        }
    }
}

/// Opening a 2:2 split writes the chosen one to all copies first, so that it survives the loss of
/// any copy, even if opening itself is cut off.
#[test]
fn a_split_is_healed_before_anything_is_said() {
    let (file, durable) = promised(3);
    let pending = durable.promise(ballot(4), None);
    let mut split = file;
    pending.writes()[..2]
        .iter()
        .for_each(|write| split.write(write));
    let opening = split.open().unwrap();
    for cut in 0..=opening.writes().len() {
        let mut opened = split.clone();
        opening.writes()[..cut]
            .iter()
            .for_each(|write| opened.write(write));
        assert_eq!(opened.promised(), Ok(ballot(4)), "after {cut} writes");
        if cut < 2 {
            continue;
        }
        for copy in 0..COPIES {
            let mut hurt = opened.clone();
            hurt.lose(copy);
            assert_eq!(
                hurt.promised(),
                Ok(ballot(4)),
                "after {cut} writes, without {copy}"
            );
        }
    }
}

#[test]
fn what_can_not_be_is_refused_by_name() {
    let (old, _) = promised(3);
    let (new, durable) = promised(5);
    // Three copies fell back by two promises: the one between was in all four once.
    let mut fallen = new.clone();
    for copy in 0..3 {
        let bytes = Bytes::copy_from_slice(old.copy(copy));
        let offset = copy as u64 * COPY_STRIDE;
        fallen.write(&CopyWrite { offset, bytes });
    }
    let skipped = SuperblockError::Skipped {
        agreed: 4,
        found: 6,
    };
    assert_eq!(fallen.promised(), Err(skipped));
    // Two versions of one number.
    let (_, other) = promised(4);
    let mut forked = new.clone();
    let fork = other.promise(ballot(9), None);
    fork.writes()[..2]
        .iter()
        .for_each(|write| forked.write(write));
    assert_eq!(
        forked.promised(),
        Err(SuperblockError::Fork { sequence: 6 })
    );
    // The next number, but not a child.
    let stranger = Superblock {
        parent: 1,
        ..durable.now.child()
    };
    let mut strange = new;
    strange.write(&stranger.write(0));
    assert_eq!(
        strange.promised(),
        Err(SuperblockError::ParentUnknown { sequence: 7 })
    );
}

#[test]
fn a_copy_in_the_place_of_another_does_not_count() {
    let (mut file, _) = promised(1);
    let bytes = Bytes::copy_from_slice(file.copy(0));
    for copy in 1..4 {
        let bytes = bytes.clone();
        file.write(&CopyWrite {
            offset: copy * COPY_STRIDE,
            bytes,
        });
    }
    assert_eq!(
        file.promised(),
        Err(SuperblockError::QuorumLost { readable: 1 })
    );
}

#[test]
#[should_panic(expected = "a promise never goes back")]
fn a_promise_never_goes_back() {
    let (_, durable) = promised(3);
    let _ = durable.promise(ballot(2), None);
}

#[test]
fn a_counter_without_a_next_number_is_a_damaged_copy() {
    let (_, durable) = promised(1);
    let good = durable.superblock().clone();
    let end = u64::MAX;
    let strange = [
        Superblock {
            sequence: end,
            ..good.clone()
        },
        Superblock {
            boot: Boot::new(end),
            ..good.clone()
        },
        Superblock {
            promised: ballot(end),
            ..good.clone()
        },
        Superblock {
            first_segment: SegmentNo::new(end),
            ..good
        },
    ];
    for superblock in strange {
        let copies = [0, 1, 2, 3].map(|copy| superblock.encode(copy));
        let opened = open([0, 1, 2, 3].map(|copy: usize| &*copies[copy]));
        let lost = SuperblockError::QuorumLost { readable: 0 };
        assert_eq!(opened.unwrap_err(), lost, "{superblock:?}");
    }
}
