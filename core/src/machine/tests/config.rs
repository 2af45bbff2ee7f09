//! The shared configuration is state of the machine.

use super::*;
use crate::config::Shared;
use crate::config::{Change, Mark, Member, Policy, Quota, Unfit};
use crate::ids::{ChangeId, ClusterId};
use command::Configure;

fn genesis() -> Shared {
    let member = |node| Member {
        node: NodeId::new(node),
        ..Member::default()
    };
    Shared::genesis(ClusterId([7; 16]), [1, 2, 3].map(member).into()).unwrap()
}

fn world() -> World {
    let mut world = World::new();
    world.machine = Machine::new().in_cluster(genesis());
    world
}

fn configure(expect: Mark, change: Change) -> Operation {
    Operation::Configure(Configure {
        expect: expect.change,
        by: "bob".into(),
        change,
    })
}

fn policy(members_min: u8) -> Change {
    Change::Policy(Policy {
        members_min,
        ..Policy::default()
    })
}

fn quota(name: &str, quota: Quota) -> Change {
    Change::Zone {
        name: name.into(),
        quota,
    }
}

fn configured(world: &mut World, change: Change) -> Mark {
    let expect = world.machine.shared().mark();
    match world.ask(Client::None, configure(expect, change)) {
        Answer::Configured { mark } => mark,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_change_is_named_by_its_slot_and_says_who_made_it() {
    let mut world = world();
    let mark = configured(&mut world, policy(2));
    assert_eq!(mark, world.machine.shared().mark());
    assert_eq!(mark.change.get(), world.machine.applied().get());
    assert_eq!(world.machine.shared().policy().members_min, 2);
    let past = world.machine.shared().history().next().unwrap();
    // Who was authenticated counts more than what he calls himself.
    assert_eq!(past.by, "ann");
    assert_eq!(past.stamp, world.machine.stamp());
}

#[test]
fn who_looked_before_another_change_is_refused_with_what_is() {
    let mut world = world();
    let seen = world.machine.shared().mark();
    let now = configured(&mut world, policy(2));
    let late = world.ask(Client::None, configure(seen, policy(3)));
    assert_eq!(late, Answer::Refused(Refusal::ConfigMoved { now }));
    assert_eq!(world.machine.shared().policy().members_min, 2);
}

#[test]
fn of_two_in_one_entry_the_first_wins() {
    let mut world = world();
    let seen = world.machine.shared().mark();
    let next = Mark {
        change: ChangeId::new(world.machine.applied().next().get()),
        hash: 0,
    };
    let none = Client::None;
    let events = world.batch(&[
        (none, configure(seen, policy(1))),
        (none, configure(seen, policy(2))),
        // Not even who guesses the number of the slot.
        (none, configure(next, policy(3))),
    ]);
    let now = world.machine.shared().mark();
    let answers = events.iter().map(|event| match event {
        Event::Answered { answer, .. } => answer.clone(),
        other => panic!("{other:?}"),
    });
    let moved = Answer::Refused(Refusal::ConfigMoved { now });
    let expected = [Answer::Configured { mark: now }, moved.clone(), moved];
    assert_eq!(answers.collect::<Vec<_>>(), expected);
    assert_eq!(world.machine.shared().policy().members_min, 1);
}

#[test]
fn what_makes_no_sense_changes_nothing() {
    let mut world = world();
    let before = world.machine.shared().clone();
    let answer = world.ask(Client::None, configure(before.mark(), policy(4)));
    let why = Unfit::MembersMin;
    assert_eq!(answer, Answer::Refused(Refusal::ConfigUnfit { why }));
    assert_eq!(*world.machine.shared(), before);
}

#[test]
fn a_retry_is_told_what_the_first_try_made() {
    let mut world = world();
    let seen = world.machine.shared().mark();
    let first = world.ask(Client::None, configure(seen, policy(2)));
    let now = configured(&mut world, policy(1));
    assert_eq!(world.ask(Client::None, configure(seen, policy(2))), first);
    assert_eq!(world.machine.shared().policy().members_min, 1);
    let moved = Answer::Refused(Refusal::ConfigMoved { now });
    let other = world.ask(Client::None, configure(seen, policy(3)));
    assert_eq!(other, moved, "another change is no retry");
    // Whoever has seen what came between, and asks for the same, means it.
    assert_ne!(world.ask(Client::None, configure(now, policy(2))), first);
}

#[test]
fn another_ones_equal_change_is_not_this_ones() {
    let mut world = world();
    let seen = world.machine.shared().mark();
    let now = configured(&mut world, policy(2));
    world.principal = "eve";
    let answer = world.ask(Client::None, configure(seen, policy(2)));
    assert_eq!(answer, Answer::Refused(Refusal::ConfigMoved { now }));
}

#[test]
fn what_followed_a_forgotten_change_is_not_known_any_more() {
    let mut world = world();
    let seen = world.machine.shared().mark();
    for _ in 0..=limits::CONFIG_HISTORY_MAX {
        configured(&mut world, policy(2));
    }
    let now = world.machine.shared().mark();
    let answer = world.ask(Client::None, configure(seen, policy(2)));
    assert_eq!(answer, Answer::Refused(Refusal::ConfigMoved { now }));
}

#[test]
fn a_change_needs_no_room_among_the_locks() {
    let mut world = World::with_limits(Limits {
        zones: 0,
        answers: 0,
        ..Limits::default()
    });
    let limits = world.machine.limits;
    world.machine = Machine::with_limits(limits).in_cluster(genesis());
    let seen = world.machine.shared().mark();
    let key = Client::Key(RequestId::new(7));
    let mark = match world.ask(key, configure(seen, policy(2))) {
        Answer::Configured { mark } => mark,
        other => panic!("{other:?}"),
    };
    let gone = Client::Session {
        id: SessionId::new(77),
        seq: RequestSeq::new(1),
        done_through: RequestSeq::new(0),
    };
    let again = world.ask(gone, configure(seen, policy(2)));
    assert_eq!(again, Answer::Configured { mark });
}

#[test]
fn a_zone_has_no_more_than_its_quota() {
    let mut world = world();
    let few = Quota {
        locks: Some(2),
        tickets: Some(1),
        sessions: Some(1),
    };
    configured(&mut world, quota("small", few));
    world.zone = 1;
    world.granted(Client::None, lease("a"));
    let wait = || acquire("a", Exclusive, Life::Lease { ttl_ms: 1000 }, 1000);
    world.queued(Client::None, wait());
    let full = |what| Answer::Refused(Refusal::Quota { what });
    assert_eq!(
        world.ask(Client::None, lease("b")),
        full(answer::Table::Locks)
    );
    world.session(9000, "");
    let open = Operation::OpenSession {
        ttl_ms: 9000,
        identifier: Bytes::new(),
        threads: false,
    };
    assert_eq!(world.ask(Client::None, open), full(answer::Table::Sessions));
    // The others have what they had.
    world.zone = 0;
    world.granted(Client::None, lease("b"));
    configured(
        &mut world,
        quota(
            "small",
            Quota {
                locks: Some(9),
                ..few
            },
        ),
    );
    world.zone = 1;
    assert_eq!(
        world.ask(Client::None, wait()),
        full(answer::Table::Tickets)
    );
    world.granted(Client::None, lease("b"));
}

#[test]
fn two_configurations_have_two_digests() {
    let [mut one, mut other] = [world(), world()];
    assert_eq!(one.machine.digest_full(), other.machine.digest_full());
    configured(&mut one, policy(1));
    configured(&mut other, policy(2));
    assert_ne!(one.machine.digest(), other.machine.digest());
    let nobody = Machine::new();
    let somebody = Machine::new().in_cluster(genesis());
    assert_ne!(nobody.digest_full(), somebody.digest_full());
}

#[test]
fn a_snapshot_holds_the_configuration_and_what_was_answered() {
    let mut world = world();
    let none = Client::None;
    let seen = world.machine.shared().mark();
    let made = world.ask(none, configure(seen, policy(2)));
    let late = world.ask(none, configure(seen, policy(3)));
    let now = world.machine.shared().mark();
    let written = snapshots::Written::of(&mut world.machine);
    let restored = written.restored(Limits::default(), 7);
    let full = world.machine.digest_full();
    world.machine = restored.unwrap();
    assert_eq!(world.machine.digest_full(), full);
    assert_eq!(world.machine.shared().mark(), now);
    assert_eq!(world.machine.shared().history().count(), 1);
    assert_eq!(world.ask(none, configure(seen, policy(2))), made);
    assert_eq!(world.ask(none, configure(seen, policy(3))), late);
}
