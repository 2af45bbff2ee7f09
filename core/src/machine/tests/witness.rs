//! A machine without locks comes to the same configuration as one that has them.

use super::snapshots::Written;
use super::*;
use crate::config::{Change, Member, Policy, Role, Seat, Shared};
use crate::ids::{ChangeId, ClusterId};
use alloc::vec;
use command::Configure;
use proptest::prelude::*;
use snapshot::{Restore, RestoreError};

fn limits() -> Limits {
    Limits {
        snapshot_bytes: 900,
        snapshot_entry_bytes_min: 100,
        snapshot_chunk_bytes: 64,
        ..Limits::default()
    }
}

fn genesis() -> Shared {
    let member = |node| Member {
        node: NodeId::new(node),
        ..Member::default()
    };
    Shared::genesis(ClusterId([7; 16]), [1, 2, 3].map(member).into()).unwrap()
}

fn full() -> Machine {
    Machine::with_limits(limits()).in_cluster(genesis())
}

fn witness() -> Machine {
    full().in_form(Form::Witness)
}

/// One choice: what to do, and two numbers.
type Choice = (u8, u8, u8);

fn operation((kind, a, b): Choice, shared: &Shared) -> Operation {
    let mark = shared.mark().change.get();
    // What is, what was, what never was.
    let expect = ChangeId::new(mark.saturating_sub(u64::from(b % 3)));
    let change = match a % 4 {
        0 => Change::Policy(Policy {
            members_min: a / 4 % 5,
            ..Policy::default()
        }),
        1 => Change::Role {
            node: NodeId::new(u64::from(a / 4 % 4)),
            role: Role::QuorumOnly,
        },
        2 => Change::Invite {
            secret_hash: [b; 32],
            role: Role::Voter,
            approve: false,
            ttl_ms: 1_500,
        },
        _ => Change::Uninvite {
            secret_hash: [b; 32],
        },
    };
    match kind % 4 {
        0 => lease("a"),
        1 => Operation::OpenSession {
            ttl_ms: 1000,
            identifier: Bytes::new(),
            threads: false,
        },
        _ => Operation::Configure(Configure {
            expect,
            by: "bob".into(),
            change,
        }),
    }
}

/// An entry of these choices; some of its commands were in the log before.
fn entry(machine: &Machine, ms: u64, choices: &[Choice], sent: &mut Vec<Bytes>) -> Entry {
    let mut commands = vec![];
    for choice in choices {
        let again = sent.get(usize::from(choice.1)).filter(|_| choice.2 > 200);
        let command = again.cloned().unwrap_or_else(|| {
            let via = Via {
                node: NodeId::new(1 + u64::from(choice.2 % 2)),
                boot: Boot::new(1),
                seq: 1 + sent.len() as u64,
            };
            codec::encode(&Command {
                zone: ZoneId::new(0),
                principal: Bytes::new(),
                client: Client::None,
                via,
                operation: operation(*choice, machine.shared()),
            })
        });
        sent.push(command.clone());
        commands.push(command);
    }
    let stamp = Stamp::ZERO.plus(Duration::from_millis(ms));
    Entry::new(EntryKind::Batch, stamp, &commands)
}

/// The next epoch, with one more that keeps no locks.
fn stop(machine: &Machine) -> Option<Entry> {
    let next = machine
        .shared()
        .next_membership(machine.applied().next(), |_| true)?;
    assert!(
        next.seats()
            .iter()
            .any(|seat: &Seat| seat.role == Role::QuorumOnly)
    );
    Some(Entry::new(
        EntryKind::Stop,
        machine.stamp(),
        &[next.encode()],
    ))
}

fn apply(machine: &mut Machine, entry: &Entry) -> Vec<Event> {
    let mut events = vec![];
    machine.apply(machine.applied().next(), entry, &mut events);
    assert_eq!(machine.audit(), Ok(()));
    events
}

fn agree(full: &Machine, witness: &Machine) -> Result<(), TestCaseError> {
    prop_assert_eq!(full.shared(), witness.shared());
    prop_assert_eq!(full.applied(), witness.applied());
    prop_assert_eq!(full.stamp(), witness.stamp());
    prop_assert_eq!(full.log_bytes, witness.log_bytes);
    prop_assert_eq!(full.grace, witness.grace);
    prop_assert_eq!(full.started(), witness.started());
    prop_assert_eq!(full.fence_floor, witness.fence_floor);
    prop_assert_eq!(full.unreadable, witness.unreadable);
    let seen = |machine: &Machine| -> Vec<_> {
        let vias = machine.vias.iter();
        vias.map(|(node, via)| (*node, via.boot, via.highest, via.seen.clone()))
            .collect()
    };
    prop_assert_eq!(seen(full), seen(witness));
    Ok(())
}

/// What was said of changes of the configuration.
fn of_changes(events: &[Event]) -> Vec<&Event> {
    let is_of_change = |event: &&Event| match event {
        Event::Answered { answer, .. } => matches!(
            answer,
            Answer::Configured { .. }
                | Answer::Refused(Refusal::ConfigMoved { .. } | Refusal::ConfigUnfit { .. })
        ),
        Event::Offered { .. }
        | Event::Ended { .. }
        | Event::Lost { .. }
        | Event::SessionExpired { .. } => false,
    };
    events.iter().filter(is_of_change).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn all_that_it_keeps_is_what_the_others_have(
        entries in prop::collection::vec((0..2000u64, prop::collection::vec(any::<Choice>(), 0..4)), 1..40),
        restore_at in 0..40usize,
    ) {
        let (mut full, mut witness) = (full(), witness());
        let (mut ms, mut sent) = (0, vec![]);
        for (number, (step, choices)) in entries.iter().enumerate() {
            ms += step;
            let entry = match step % 8 {
                0 => Entry::leader_start(
                    Ballot::opening(full.shared().epoch()).above(NodeId::new(1 + step % 3)),
                    Stamp::ZERO.plus(Duration::from_millis(ms)),
                    &codec::encode_start(Fence::new(1 << 20)),
                ),
                1 => stop(&full).unwrap_or_else(|| entry(&full, ms, choices, &mut sent)),
                _ => entry(&full, ms, choices, &mut sent),
            };
            let (ours, theirs) = (apply(&mut full, &entry), apply(&mut witness, &entry));
            prop_assert_eq!(of_changes(&ours), theirs.iter().collect::<Vec<_>>());
            prop_assert_eq!(full.snapshot_due(), witness.snapshot_due());
            agree(&full, &witness)?;
            if number == restore_at {
                let mut restored = read(&Written::of(&mut full)).unwrap();
                agree(&full, &restored)?;
                core::mem::swap(&mut restored, &mut witness);
            }
        }
        prop_assert_eq!((witness.locks_len(), witness.sessions_len(), witness.zones.len()), (0, 0, 0));
        prop_assert_eq!(witness.digest(), 0);
    }
}

fn read(written: &Written) -> Result<Machine, RestoreError> {
    let restore = Restore::new(written.id.unwrap(), limits(), Seed::new(1));
    let mut restore = restore.in_form(Form::Witness);
    let mut chunks = written.chunks.iter();
    chunks.try_for_each(|chunk| restore.chunk(chunk))?;
    restore.finish()
}

/// A snapshot of some locks, in many chunks.
fn written() -> Written {
    let mut world = World::with_limits(limits());
    for name in ["a", "b", "c", "d"] {
        world.granted(Client::None, lease(name));
    }
    Written::of(&mut world.machine)
}

#[test]
fn a_snapshot_is_read_to_where_the_locks_begin_and_its_hash_to_the_end() {
    let written = written();
    let machine = read(&written).unwrap();
    assert_eq!(machine.applied(), written.id.unwrap().slot);
    assert_eq!((machine.form(), machine.locks_len()), (Form::Witness, 0));

    // Of the last chunk it looks at nothing but the hash.
    let mut other = written.clone();
    let mut last = other.chunks.pop().unwrap().to_vec();
    last[0] ^= 1;
    other.chunks.push(last.into());
    let found = read(&other).unwrap_err();
    assert!(matches!(found, RestoreError::Hash { .. }), "{found}");
}

#[test]
fn a_snapshot_that_ends_before_the_locks_is_none() {
    let mut written = written();
    written.chunks.truncate(1);
    let found = read(&written).unwrap_err();
    assert!(matches!(found, RestoreError::Ends { .. }), "{found}");
}

#[test]
fn a_snapshot_of_another_slot_is_not_this_one() {
    let mut written = written();
    let slot = written.id.unwrap().slot.next();
    written.id.as_mut().unwrap().slot = slot;
    let found = read(&written).unwrap_err();
    assert!(matches!(found, RestoreError::Slot { .. }), "{found}");
}

#[test]
#[should_panic(expected = "who has not all can't write it down")]
fn it_writes_no_snapshot() {
    witness().open_snapshot();
}
