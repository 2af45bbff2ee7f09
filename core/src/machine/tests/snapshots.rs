//! A machine from a snapshot is the machine that wrote it.

use super::compare::{Choice, Pair, entries, limits};
use super::snapshot::{Restore, RestoreError, Slice};
use super::*;
use crate::ids::SnapshotId;
use alloc::vec;
use proptest::prelude::*;

mod one_of_each;

use one_of_each::one_of_each;

/// Records lie across many ends of chunks.
const CHUNK_BYTES: usize = 100;

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

    /// Read back.
    pub(super) fn restored(&self, limits: Limits, seed: u64) -> Result<Machine, RestoreError> {
        let mut restore = Restore::new(self.id.unwrap(), limits, Seed::new(seed));
        let mut chunks = self.chunks.iter();
        chunks.try_for_each(|chunk| restore.chunk(chunk))?;
        restore.finish()
    }
}

pub(super) fn restored(
    id: SnapshotId,
    bytes: &[u8],
    limits: Limits,
    seed: u64,
) -> Result<Machine, RestoreError> {
    let mut restore = Restore::new(id, limits, Seed::new(seed));
    let mut chunks = bytes.chunks(CHUNK_BYTES);
    chunks.try_for_each(|chunk| restore.chunk(chunk))?;
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

/// The golden bytes under this name.
fn golden(name: &str) -> &'static str {
    let all = include_str!("../../../../tests/vectors/snapshot.txt").lines();
    let mut named = all.filter(|line| line.split(' ').next() == Some(name));
    named.next().unwrap_or_default()
}

/// A snapshot of an earlier version is read, and written again in this one.
#[test]
fn what_was_written_before_is_still_read() {
    let mut words = golden("one_of_each_3").split(' ').skip(2);
    let hex = words.next().unwrap();
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(digit).collect();
    assert_eq!(bytes[..2], [3, 0]);
    let mut machine = restored(id_of(&bytes), &bytes, Limits::default(), 9).unwrap();
    assert_eq!(machine.audit(), Ok(()));
    let written = Written::of(&mut machine);
    let again = written.restored(Limits::default(), 8).unwrap();
    assert_eq!(again.digest_full(), machine.digest_full());
}

#[test]
fn the_bytes_are_the_golden_ones() {
    let mut machine = one_of_each();
    assert_eq!(machine.work.len(), 2, "there is work of both kinds");
    let written = Written::of(&mut machine);
    let hex: std::string::String = written
        .bytes()
        .iter()
        .map(|b| std::format!("{b:02x}"))
        .collect();
    let found = std::format!("one_of_each {} {hex}", written.id.unwrap());
    assert!(
        found == golden("one_of_each"),
        "frozen bytes changed; now:\n{found}"
    );
}

/// The name that these bytes would have, as far as they say.
fn id_of(bytes: &[u8]) -> SnapshotId {
    let slot = bytes.get(2..10).map(|slot| slot.try_into().unwrap());
    SnapshotId {
        slot: Slot::new(slot.map_or(0, u64::from_le_bytes)),
        hash: snapshot::hash_of(bytes.chunks(CHUNK_BYTES)),
    }
}

/// Bytes that are not what a machine wrote, under a name that fits them: they are refused, or they
/// are what some machine would have written, which then goes on.
fn refused_or_written(bytes: &[u8]) -> Option<RestoreError> {
    let mut machine = match restored(id_of(bytes), bytes, Limits::default(), 9) {
        Ok(machine) => machine,
        Err(error) => return Some(error),
    };
    assert_eq!(machine.audit(), Ok(()));
    assert_eq!(Written::of(&mut machine).bytes(), bytes);
    for hours in 1..4 {
        let stamp = machine.stamp().plus(Duration::from_secs(3600 * hours));
        let entry = Entry::new(EntryKind::Batch, stamp, &[]);
        machine.apply(machine.applied().next(), &entry, &mut vec![]);
        assert_eq!(machine.audit(), Ok(()));
    }
    None
}

#[test]
fn every_bit_counts() {
    let written = Written::of(&mut one_of_each());
    let (id, bytes) = (written.id.unwrap(), written.bytes());
    assert_eq!(id_of(&bytes), id);
    assert_eq!(refused_or_written(&bytes), None);
    let mut refused = 0;
    for at in 0..bytes.len() {
        for change in [1 << (at % 8), 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= change;
            let error = restored(id, &bytes, Limits::default(), 9);
            assert!(error.is_err(), "byte {at}: the name is that of other bytes");
            refused += usize::from(refused_or_written(&bytes).is_some());
        }
    }
    assert!(
        refused > bytes.len() / 2,
        "{refused} were refused for themselves"
    );
}

#[test]
fn a_snapshot_that_ends_early_or_late_is_refused() {
    let bytes = Written::of(&mut one_of_each()).bytes();
    for len in 0..bytes.len() {
        let error = refused_or_written(&bytes[..len]);
        assert_eq!(error, Some(RestoreError::Ends { offset: len as u64 }));
    }
    let longer = [&bytes[..], &[0; 3]].concat();
    let Some(RestoreError::Bad {
        offset, expected, ..
    }) = refused_or_written(&longer)
    else {
        panic!("bytes after the end are refused")
    };
    assert_eq!((offset, expected), (bytes.len() as u64, "the end"));
}

/// A chunk of one is a chunk of the other if their names are equal: whatever chunks a server makes.
#[test]
fn equal_names_have_equal_chunks() {
    let with = |chunk: usize| {
        let mut machine = one_of_each();
        machine.limits.snapshot_chunk_bytes = chunk;
        Written::of(&mut machine)
    };
    let (one, other) = (with(CHUNK_BYTES), with(CHUNK_BYTES + 1));
    assert_eq!(one.bytes(), other.bytes());
    assert_ne!(one.id, other.id);
    let mut mixed = one.clone();
    mixed.chunks.clone_from(&other.chunks);
    let error = mixed.restored(Limits::default(), 1).err();
    assert!(
        matches!(error, Some(RestoreError::Hash { .. })),
        "{error:?}"
    );
    assert!(one.restored(Limits::default(), 1).is_ok());
}

#[test]
fn chunks_of_two_snapshots_are_refused() {
    let mut machine = one_of_each();
    let one = Written::of(&mut machine);
    let entry = Entry::new(EntryKind::Noop, Stamp::ZERO, &[]);
    machine.apply(machine.applied().next(), &entry, &mut vec![]);
    let other = Written::of(&mut machine);
    let both = one.chunks.len().min(other.chunks.len());
    for at in 0..both {
        let mut mixed = one.clone();
        mixed.chunks[at] = other.chunks[at].clone();
        let same = mixed == one;
        assert_eq!(
            mixed.restored(Limits::default(), 1).is_ok(),
            same,
            "chunk {at}"
        );
        mixed.chunks.swap(at, 0);
        let same = mixed == one;
        assert_eq!(
            mixed.restored(Limits::default(), 1).is_ok(),
            same,
            "chunk {at}"
        );
    }
}

#[test]
fn a_snapshot_of_another_version_or_slot_is_refused() {
    let written = Written::of(&mut one_of_each());
    let bytes = written.bytes();
    let mut other = bytes.clone();
    other[0] = 1;
    assert_eq!(
        refused_or_written(&other),
        Some(RestoreError::Version {
            found: 1,
            expected: 4
        })
    );
    let mut id = written.id.unwrap();
    let found = id.slot;
    id.slot = found.next();
    assert_eq!(
        restored(id, &bytes, Limits::default(), 1).err(),
        Some(RestoreError::Slot {
            found,
            expected: found.next()
        })
    );
}

#[test]
fn after_an_error_all_further_chunks_give_the_same() {
    let mut restore = Restore::new(SnapshotId::default(), Limits::default(), Seed::new(1));
    let error = restore.chunk(&[9, 9]).unwrap_err();
    assert_eq!(restore.chunk(&[1, 0]), Err(error.clone()));
    assert_eq!(restore.finish().err(), Some(error));
}

#[test]
fn a_snapshot_is_due_after_so_many_bytes() {
    let mut world = World::with_limits(Limits {
        snapshot_bytes: 1000,
        snapshot_entry_bytes_min: 20,
        ..Limits::default()
    });
    let mut bytes = world.machine.log_bytes;
    assert!(bytes > 0, "the first entry is counted");
    let mut due = 0;
    for step in 0..300 {
        world.batch(&[(Client::None, acquire("a", Shared, LEASE, 0))][..step % 2]);
        let before = bytes;
        bytes = world.machine.log_bytes;
        if let Some(slot) = world.machine.snapshot_due() {
            assert_eq!(slot, world.machine.applied());
            assert!(before > 900 && bytes == 0, "{before} then {bytes}");
            due += 1;
        } else {
            assert!(before + 20 <= bytes && bytes <= 1000);
        }
    }
    assert!(due > 5, "{due}");
    assert!(
        !Written::of(&mut world.machine).chunks.is_empty(),
        "also when none is due"
    );
}

/// While a snapshot is open everything may change; what it says is what was.
#[test]
fn a_slice_is_bounded_and_the_image_stands_still() {
    let limits = Limits {
        snapshot_chunk_bytes: 4096,
        ..Limits::default()
    };
    let mut world = World::with_limits(limits);
    let names: Vec<_> = (0..1000).map(|n| std::format!("lock-{n}")).collect();
    let claims: Vec<_> = names
        .iter()
        .map(|name| (Client::None, lease(name)))
        .collect();
    world.batch_unaudited(&claims);
    let full = world.machine.digest_full();
    world.machine.open_snapshot();
    world.audits = false;
    world.pass(60_000);
    let mut written = Written::default();
    let mut slices = 0;
    while written.go_on(&mut world.machine, 10) {
        slices += 1;
        world.batch(&[(Client::None, lease(&names[slices % 1000]))]);
    }
    assert!(slices > 2000 / 128, "{slices} slices of at most two groups");
    let restored = written.restored(limits, 5).unwrap();
    assert_eq!(restored.digest_full(), full);
    assert_eq!(restored.grants_len(), 1000);
}

#[test]
fn one_snapshot_at_a_time() {
    let mut machine = one_of_each();
    machine.open_snapshot();
    assert_eq!(machine.snapshot_open(), Some(machine.applied()));
    let twice = std::panic::AssertUnwindSafe(|| machine.open_snapshot());
    assert!(std::panic::catch_unwind(twice).is_err());
    assert_eq!(one_of_each().snapshot_slice(1), None);
}

/// A refusal that is remembered names its holder; by the session's identifier, if that says who it is.
#[test]
fn the_longest_names_are_written_and_read_back() {
    let mut world = World::with_limits(Limits::default());
    let open = Operation::OpenSession {
        ttl_ms: 10_000,
        identifier: vec![b'i'; limits::IDENTIFIER_BYTES_MAX].into(),
        threads: false,
    };
    let Answer::SessionOpened { session, .. } = world.ask(Client::None, open) else {
        panic!("a session is opened");
    };
    let nameless = |name: &str, life| {
        let mut operation = acquire(name, Exclusive, life, 0);
        if let Operation::Acquire(acquire) = &mut operation {
            acquire.holder = Bytes::new();
        }
        operation
    };
    world.granted(numbered(session, 1, 0), nameless("a", Life::Session));
    let refused = world.ask(key(7), lease("a"));
    assert!(matches!(&refused, Answer::Refused(Refusal::Held { by }) if by[0].holder.len() > 100));
    let written = Written::of(&mut world.machine);
    let machine = written.restored(Limits::default(), 3).unwrap();
    assert_eq!(machine.digest_full(), world.machine.digest_full());
    world.machine = machine;
    assert_eq!(world.ask(key(7), lease("a")), refused, "remembered");
}
