//! A machine from a snapshot is the machine that wrote it.

use super::compare::{Choice, Pair, entries, limits};
use super::snapshot::{Restore, RestoreError, Slice};
use super::*;
use crate::ids::SnapshotId;
use alloc::vec;
use proptest::prelude::*;

/// A snapshot that was written to its end, or is being written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Written {
    pub(super) id: Option<SnapshotId>,
    pub(super) chunks: Vec<Bytes>,
}

impl Written {
    /// Goes on; false when it is whole.
    fn go_on(&mut self, machine: &mut Machine, records_max: usize) -> bool {
        match machine.snapshot_slice(records_max) {
            Some(Slice::More) => true,
            Some(Slice::Chunk { slot, index, bytes }) => {
                assert_eq!(Some(slot), machine.snapshot_open());
                assert_eq!(index as usize, self.chunks.len());
                assert!(!bytes.is_empty() && bytes.len() <= machine.limits.snapshot_chunk_bytes);
                self.chunks.push(bytes);
                true
            }
            Some(Slice::Done { id, chunks }) => {
                assert_eq!(chunks as usize, self.chunks.len());
                assert_eq!(machine.snapshot_open(), None);
                self.id = Some(id);
                false
            }
            None => false,
        }
    }

    /// All at once.
    pub(super) fn of(machine: &mut Machine) -> Self {
        let mut written = Self::default();
        machine.open_snapshot();
        while written.go_on(machine, 100) {}
        written
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    /// Read back, in pieces of another size.
    pub(super) fn restored(&self, limits: Limits, seed: u64) -> Result<Machine, RestoreError> {
        restored(self.id.unwrap(), &self.bytes(), limits, seed)
    }
}

pub(super) fn restored(
    id: SnapshotId,
    bytes: &[u8],
    limits: Limits,
    seed: u64,
) -> Result<Machine, RestoreError> {
    let mut restore = Restore::new(id, limits, Seed::new(seed));
    let piece = 1 + seed as usize % 100;
    bytes
        .chunks(piece)
        .try_for_each(|chunk| restore.chunk(chunk))?;
    restore.finish()
}

/// Applies the last entry of `pair` to another machine, which does the same.
fn follow(pair: &Pair, machine: &mut Machine) -> Result<(), TestCaseError> {
    let mut events = vec![];
    let slot = machine.applied().next();
    machine.apply(slot, pair.entry.as_ref().unwrap(), &mut events);
    prop_assert_eq!(&events, &pair.events);
    prop_assert_eq!(machine.digest(), pair.machine.digest());
    prop_assert_eq!(machine.snapshot_due(), pair.machine.snapshot_due());
    prop_assert_eq!(machine.next_deadline(), pair.machine.next_deadline());
    Ok(())
}

type History = Vec<(u8, Vec<Choice>)>;

/// Snapshots in the middle of a history, on servers with other seeds and other slices.
fn goes_on(
    limits: Limits,
    histories: &[History; 3],
    slices: &[usize],
) -> Result<(), TestCaseError> {
    let [before, during, after] = histories;
    let mut pair = Pair::new(limits);
    let mut twin = Machine::configured(limits, Seed::new(5));
    for (time, choices) in before {
        pair.step(*time, choices)?;
        follow(&pair, &mut twin)?;
    }
    let (mut ours, mut theirs) = (Written::default(), Written::default());
    let full = pair.machine.digest_full();
    pair.machine.open_snapshot();
    twin.open_snapshot();
    let mut entries = vec![];
    for ((time, choices), slice) in during.iter().zip(slices.iter().cycle()) {
        pair.step(*time, choices)?;
        follow(&pair, &mut twin)?;
        entries.push((pair.entry.clone().unwrap(), pair.events.clone()));
        ours.go_on(&mut pair.machine, *slice);
        theirs.go_on(&mut twin, slice / 3);
    }
    while ours.go_on(&mut pair.machine, 1) {}
    while theirs.go_on(&mut twin, 1000) {}
    prop_assert_eq!(&ours, &theirs, "equal logs give equal bytes");
    let mut third = ours.restored(limits, 77).unwrap();
    prop_assert_eq!(third.digest_full(), full);
    for (entry, expected) in entries {
        let mut events = vec![];
        third.apply(third.applied().next(), &entry, &mut events);
        prop_assert_eq!(events, expected);
    }
    for (time, choices) in after {
        pair.step(*time, choices)?;
        follow(&pair, &mut third)?;
    }
    prop_assert_eq!(third.audit(), Ok(()));
    prop_assert_eq!(third.digest_full(), pair.machine.digest_full());
    let again = Written::of(&mut third);
    prop_assert_eq!(
        &again,
        &Written::of(&mut pair.machine),
        "whatever way they came there"
    );
    let mut fourth = again.restored(limits, 3).unwrap();
    prop_assert_eq!(Written::of(&mut fourth), again);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_restored_machine_goes_on_as_the_one_that_wrote_it(
        limits in limits(),
        histories in [entries(), entries(), entries()],
        slices in prop::collection::vec(1..200usize, 1..8),
    ) {
        goes_on(limits, &histories, &slices)?;
    }
}
