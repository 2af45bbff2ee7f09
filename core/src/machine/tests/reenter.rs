//! Counted re-entry by the same session.

use super::*;

/// A re-entrant claim over these keys.
fn again(names: &[(&str, Mode)], wait_ms: u64) -> Operation {
    let mut operation = claim(names, wait_ms);
    if let Operation::Acquire(acquire) = &mut operation {
        acquire.life = Life::Session;
        acquire.reentrant = true;
    }
    operation
}

fn release_all(name: &str, fence: Fence) -> Operation {
    Operation::Release {
        key: path(name),
        fence,
        all: true,
    }
}

fn left(fence: Fence, entered: u32) -> Answer {
    Answer::Released {
        fence,
        already: false,
        entered,
    }
}

fn not_covered(fence: Fence, mode: Mode) -> Answer {
    Answer::Refused(Refusal::NotCovered {
        by: alloc::vec![Blocker {
            holder: Bytes::from_static(b"h"),
            fence,
            mode,
        }],
    })
}

#[test]
fn a_session_enters_again_and_leaves_as_often() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let first = world.granted(numbered(session, 1, 0), again(&[("a", Exclusive)], 0));
    let second = world.granted(numbered(session, 2, 0), again(&[("a", Exclusive)], 0));
    assert_eq!((first.entered, second.entered), (1, 2));
    let expected = Granted {
        entered: 2,
        ..first.clone()
    };
    assert_eq!(second, expected, "the same grant under the same fence");
    assert_eq!(world.inspect("a").holders[0].entered, 2);

    let fence = first.fence;
    let once = world.ask(numbered(session, 3, 0), release("a", fence));
    assert_eq!(once, left(fence, 1));
    let refused = world.ask(Client::None, lease("a"));
    assert_eq!(refused, Answer::Refused(held_by(fence, Exclusive)));
    let last = world.ask(numbered(session, 4, 0), release("a", fence));
    assert_eq!(last, left(fence, 0));
    assert!(world.granted(Client::None, lease("a")).fence > fence);
}

#[test]
fn a_retry_neither_enters_twice_nor_leaves_twice() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let claim = || again(&[("a", Exclusive)], 0);
    let fence = world.granted(numbered(session, 1, 0), claim()).fence;
    for replayed in [false, true, true] {
        let grant = world.granted(numbered(session, 2, 0), claim());
        assert_eq!((grant.entered, grant.replayed), (2, replayed));
    }
    for _ in 0..2 {
        let answer = world.ask(numbered(session, 3, 0), release("a", fence));
        assert_eq!(answer, left(fence, 1));
    }
    assert_eq!(world.inspect("a").holders[0].entered, 1);
}

#[test]
fn only_a_release_that_is_known_again_counts_down() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let claim = || again(&[("a", Exclusive)], 0);
    let fence = world.granted(numbered(session, 1, 0), claim()).fence;
    world.granted(numbered(session, 2, 0), claim());
    let unknown = world.ask(Client::None, release("a", fence));
    assert!(matches!(unknown, Answer::Refused(Refusal::Invalid { .. })));
    assert_eq!(world.inspect("a").holders[0].entered, 2);
    assert_eq!(world.ask(key(1), release("a", fence)), left(fence, 1));
    // Nobody can do the last one twice.
    assert_eq!(world.ask(Client::None, release("a", fence)), left(fence, 0));
}

#[test]
fn one_release_of_all_ends_it() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let claim = || again(&[("a", Exclusive)], 0);
    let fence = world.granted(numbered(session, 1, 0), claim()).fence;
    world.granted(numbered(session, 2, 0), claim());
    let answer = world.ask(Client::None, release_all("a", fence));
    assert_eq!(answer, left(fence, 0));
    assert_eq!(world.inspect("a").holders, []);
}

#[test]
fn both_claims_say_that_they_are_reentrant() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let plain = |name| acquire(name, Exclusive, Life::Session, 0);
    let a = world.granted(numbered(session, 1, 0), plain("a"));
    let b = world.granted(numbered(session, 2, 0), again(&[("b", Exclusive)], 0));
    let held = |fence| Answer::Refused(held_by(fence, Exclusive));
    let unasked = world.ask(numbered(session, 3, 0), again(&[("a", Exclusive)], 0));
    assert_eq!(unasked, held(a.fence));
    assert_eq!(
        world.ask(numbered(session, 4, 0), plain("b")),
        held(b.fence)
    );
}

#[test]
fn another_session_waits() {
    let mut world = World::new();
    let (one, other) = (world.session(100_000, ""), world.session(100_000, ""));
    let fence = world
        .granted(numbered(one, 1, 0), again(&[("a", Exclusive)], 0))
        .fence;
    let refused = world.ask(numbered(other, 1, 0), again(&[("a", Exclusive)], 0));
    assert_eq!(refused, Answer::Refused(held_by(fence, Exclusive)));
}

#[test]
fn a_part_of_it_or_a_weaker_mode_is_covered() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let whole = [("a", Mode::ProtectedWrite), ("b", Shared)];
    let grant = world.granted(numbered(session, 1, 0), again(&whole, 0));
    let covered = [
        [("a", Mode::ConcurrentWrite), ("b", Mode::ConcurrentRead)],
        [("a", Shared), ("b", Mode::Null)],
    ];
    for (seq, names) in (2..).zip(covered) {
        let entered = world.granted(numbered(session, seq, 0), again(&names, 0));
        assert_eq!(
            entered.parts, grant.parts,
            "what is held, not what was asked"
        );
        assert_eq!(u64::from(entered.entered), seq);
    }
    let part = world.granted(numbered(session, 4, 0), again(&[("b", Shared)], 0));
    assert_eq!((part.fence, part.entered), (grant.fence, 4));
}

#[test]
fn what_is_not_covered_is_refused_instead_of_waiting_for_itself() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let shared = [("a", Shared)];
    let fence = world
        .granted(numbered(session, 1, 0), again(&shared, 0))
        .fence;
    let stronger = [
        again(&[("a", Exclusive)], 60_000),
        again(&[("a", Mode::ConcurrentWrite)], 60_000),
        again(&[("a", Shared), ("b", Shared)], 60_000),
    ];
    for (seq, operation) in (2..).zip(stronger) {
        let answer = world.ask(numbered(session, seq, 0), operation);
        assert_eq!(answer, not_covered(fence, Shared));
    }
    assert_eq!(world.inspect("a").holders[0].entered, 1);
    assert_eq!(world.inspect("a").waiting + world.inspect("b").waiting, 0);
}

#[test]
fn who_waits_enters_when_its_session_came_to_hold_it() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let held = world.granted(Client::None, lease("a")).fence;
    let mut tickets = alloc::vec![];
    for (seq, mode) in [(1, Exclusive), (2, Shared)] {
        let operation = again(&[("a", mode)], 60_000);
        tickets.push(world.queued(numbered(session, seq, 0), operation).0);
    }
    let (_, events) = world.told(Client::None, release("a", held));
    let ends = ends(&events);
    let entered = ends.iter().map(|(ticket, answer)| match answer {
        Answer::Granted(grant) => (*ticket, grant.fence, grant.entered),
        other => panic!("{other:?}"),
    });
    let fence = Fence::new(held.get() + 1);
    let expected = [(tickets[0], fence, 1), (tickets[1], fence, 2)];
    assert_eq!(entered.collect::<Vec<_>>(), expected);
}

#[test]
fn who_waits_for_more_than_its_session_came_to_hold_is_refused() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let held = world.granted(Client::None, lease("a")).fence;
    world.queued(numbered(session, 1, 0), again(&[("a", Shared)], 60_000));
    let stronger = again(&[("a", Exclusive)], 60_000);
    let (ticket, _) = world.queued(numbered(session, 2, 0), stronger);
    let (_, events) = world.told(Client::None, release("a", held));
    let fence = Fence::new(held.get() + 1);
    let refused = (ticket, not_covered(fence, Shared));
    assert_eq!(ends(&events)[1], refused);
}

#[test]
fn who_stands_between_is_not_passed() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let held = world.granted(Client::None, lease("a")).fence;
    let claim = || again(&[("a", Exclusive)], 60_000);
    world.queued(numbered(session, 1, 0), claim());
    let (bob, _) = world.queued(key(1), acquire("a", Exclusive, LEASE, 60_000));
    world.queued(numbered(session, 2, 0), claim());
    let (_, events) = world.told(Client::None, release("a", held));
    assert_eq!(ends(&events).len(), 1);
    let fence = Fence::new(held.get() + 1);
    let (_, events) = world.told(Client::None, release_all("a", fence));
    assert!(events.contains(&Event::Offered { ticket: bob }));
}

#[test]
fn the_end_of_its_session_ends_it_however_often_it_was_entered() {
    let mut world = World::new();
    let session = world.session(1_000, "");
    let claim = || again(&[("a", Exclusive), ("b", Shared)], 0);
    for seq in 1..=3 {
        world.granted(numbered(session, seq, 0), claim());
    }
    let events = world.pass(2_000);
    let lost = events
        .iter()
        .filter(|event| matches!(event, Event::Lost { .. }));
    assert_eq!(lost.count(), 1);
    assert_eq!(world.machine.grants_len(), 0);
    // Its name may be that of another one soon.
    let session = world.session(1_000, "");
    assert_eq!(world.granted(numbered(session, 1, 0), claim()).entered, 1);
}

#[test]
fn a_grant_is_entered_only_so_often() {
    let limits = Limits {
        entries: 2,
        ..Limits::default()
    };
    let mut world = World::with_limits(limits);
    let session = world.session(100_000, "");
    let claim = || again(&[("a", Exclusive)], 60_000);
    for seq in 1..=2 {
        world.granted(numbered(session, seq, 0), claim());
    }
    let what = answer::Table::Entries;
    let refused = world.ask(numbered(session, 3, 0), claim());
    assert_eq!(refused, Answer::Refused(Refusal::Quota { what }));
    assert_eq!(world.inspect("a").holders[0].entered, 2);
}

#[test]
fn permits_and_leases_are_never_reentrant() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let permits = Mode::Permits { n: 1, capacity: 3 };
    let mut leased = again(&[("a", Exclusive)], 0);
    if let Operation::Acquire(acquire) = &mut leased {
        acquire.life = LEASE;
    }
    for (seq, operation) in [(1, again(&[("a", permits)], 0)), (2, leased)] {
        let answer = world.ask(numbered(session, seq, 0), operation);
        assert!(matches!(answer, Answer::Refused(Refusal::Invalid { .. })));
    }
    assert_eq!(world.machine.grants_len(), 0);
}
