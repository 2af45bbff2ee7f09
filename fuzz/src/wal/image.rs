//! Segments in memory.

use crate::memory;
use bytes::Bytes;
use std::collections::BTreeMap;
use tenure_core::ids::{Ballot, ClusterId, Epoch, Incarnation, NodeId, Round, SegmentNo, Slot};
use tenure_core::wal::damage::Damage;
use tenure_core::wal::recovery::{Floor, Recovery, Tail};
use tenure_core::wal::superblock::{self, Durable, Superblock};
use tenure_core::wal::writer::Group;
use tenure_core::wal::{Identity, Sizes};

/// Small, so that a log has several.
const SIZES: Sizes = Sizes::new(16 << 10, 20 << 10);

pub(super) fn identity() -> Identity {
    Identity {
        cluster: ClusterId(*b"0123456789abcdef"),
        node: NodeId::new(3),
        incarnation: Incarnation::new(0xfeed_beef),
    }
}

pub(super) fn ballot(round: u64) -> Ballot {
    Ballot {
        epoch: Epoch::new(1),
        round: Round::new(round),
        node: NodeId::new(2),
    }
}

/// One that promised ballot 99.
pub(super) fn superblock() -> Durable {
    let made = superblock::format(identity(), Bytes::new()).done();
    made.promise(ballot(99), None).done()
}

#[derive(Clone, Debug)]
pub(super) struct Image(BTreeMap<SegmentNo, Vec<u8>>);

impl Image {
    /// One segment of zeros.
    pub(super) fn fresh() -> Self {
        let mut image = Self(BTreeMap::new());
        image.segment(SegmentNo::new(1));
        image
    }

    /// The segment; of zeros, if there was none.
    pub(super) fn segment(&mut self, number: SegmentNo) -> &mut Vec<u8> {
        let bytes = usize::try_from(SIZES.of(number)).expect("a segment fits memory");
        self.0.entry(number).or_insert_with(|| vec![0; bytes])
    }

    /// The bytes of a segment that is there.
    pub(super) fn at(&self, number: SegmentNo) -> &[u8] {
        &self.0[&number]
    }

    /// The last segment; the first, if there is none.
    pub(super) fn last(&self) -> SegmentNo {
        let last = self.0.last_key_value();
        last.map_or(SegmentNo::new(1), |(number, _)| *number)
    }

    pub(super) fn lose(&mut self, number: SegmentNo) {
        self.0.remove(&number);
    }

    pub(super) fn store(&mut self, group: &Group) {
        let at = usize::try_from(group.offset).expect("a segment fits memory");
        let place = &mut self.segment(group.segment)[at..at + group.bytes.len()];
        assert!(place.iter().all(|byte| *byte == 0), "written only once");
        place.copy_from_slice(&group.bytes);
    }

    pub(super) fn recover(&self) -> Result<Tail, Damage> {
        let bytes = self.0.values().map(Vec::len).sum();
        let superblock = superblock();
        let none = Slot::new(0);
        memory::within(bytes, 4, || self.read(superblock.superblock(), none))
    }

    /// Recovers what is above a whole snapshot of slot `whole`.
    pub(super) fn recover_above(
        &self,
        superblock: &Superblock,
        whole: Slot,
    ) -> Result<Tail, Damage> {
        let bytes = self.0.values().map(Vec::len).sum();
        memory::within(bytes, 4, || self.read(superblock, whole))
    }

    fn read(&self, superblock: &Superblock, whole: Slot) -> Result<Tail, Damage> {
        let floor = Floor::of(superblock, whole, whole).expect("the snapshot is there");
        let mut recovery = Recovery::new(superblock, SIZES, floor);
        for (number, bytes) in &self.0 {
            if *number != recovery.next_segment() {
                return Err(recovery.hole(recovery.next_segment()));
            }
            recovery.segment(*number, bytes)?;
        }
        recovery.finish()
    }

    /// Does to the image what a server does after recovery.
    pub(super) fn settle(&mut self, tail: &Tail) {
        if let Some(zero) = tail.zero {
            let from = usize::try_from(zero.offset).expect("a segment fits memory");
            let len = usize::try_from(zero.len).expect("a segment fits memory");
            self.segment(zero.segment)[from..from + len].fill(0);
        }
    }
}
