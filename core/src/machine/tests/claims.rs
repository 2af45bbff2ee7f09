//! Claims over many keys: all or nothing.

use super::*;
use crate::limits::CLAIM_KEYS_MAX;

const AB: [(&str, Mode); 2] = [("a", Exclusive), ("b", Exclusive)];

/// The fence under which a lock is held, if it is.
fn held(world: &World, name: &str) -> Option<Fence> {
    world.inspect(name).holders.first().map(|h| h.fence)
}

#[test]
fn a_claim_holds_all_of_its_keys_under_one_fence() {
    let mut world = World::new();
    let grant = world.granted(
        Client::None,
        claim(&[("c", Exclusive), ("a", Shared), ("b", Exclusive)], 0),
    );
    let keys = ["a", "b", "c"].map(path);
    assert!(grant.parts.iter().map(|part| &part.key).eq(&keys));
    assert_eq!(
        grant.key(),
        &path("a"),
        "the first by order names the claim"
    );
    for name in ["a", "b", "c"] {
        assert_eq!(held(&world, name), Some(grant.fence));
    }
    assert_eq!(world.inspect("a").holders[0].mode, Shared);
    assert_eq!(world.inspect("b").holders[0].mode, Exclusive);
    // Any of its keys names it, and all of them go.
    world.ask(Client::None, renew("c", grant.fence, Some(60_000)));
    let released = Answer::Released {
        fence: grant.fence,
        already: false,
        entered: 0,
    };
    assert_eq!(world.ask(Client::None, release("b", grant.fence)), released);
    assert_eq!(world.machine.locks_len(), 0);
    assert_eq!(world.machine.grants_len(), 0);
}

#[test]
fn a_key_that_is_not_its_own_does_not_name_a_claim() {
    let mut world = World::new();
    let other = world.granted(Client::None, lease("c")).fence;
    let fence = world.granted(Client::None, claim(&AB, 0)).fence;
    let already = Answer::Released {
        fence,
        already: true,
        entered: 0,
    };
    assert_eq!(world.ask(Client::None, release("c", fence)), already);
    assert_eq!(
        world.ask(Client::None, renew("c", fence, None)),
        Answer::Refused(Refusal::NotHeld)
    );
    assert_eq!(held(&world, "a"), Some(fence));
    assert_eq!(held(&world, "c"), Some(other));
}

#[test]
fn half_of_a_claim_is_not_taken() {
    let mut world = World::new();
    let b = world.granted(Client::None, lease("b")).fence;
    let answer = world.ask(Client::None, claim(&AB, 0));
    assert_eq!(answer, Answer::Refused(held_by(b, Exclusive)));
    assert_eq!(held(&world, "a"), None);
    assert_eq!(world.machine.locks_len(), 1);
}

#[test]
fn a_claim_that_waits_blocks_each_of_its_lines() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let b = world.granted(Client::None, lease("b")).fence;
    let (both, position) = world.queued(numbered(session, 1, 0), claim(&AB, 60_000));
    assert_eq!(position, 1);
    // `a` is free, and nobody passes.
    let answer = world.ask(Client::None, lease("a"));
    assert_eq!(answer, Answer::Refused(Refusal::Held { by: Vec::new() }));
    let (later, position) = world.queued(
        numbered(session, 2, 0),
        acquire("a", Exclusive, LEASE, 60_000),
    );
    assert_eq!(position, 2);
    let (_, events) = world.told(Client::None, release("b", b));
    let ends = ends(&events);
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0].0, both);
    let Answer::Granted(grant) = &ends[0].1 else {
        panic!("granted")
    };
    assert_eq!(grant.parts, parts(&AB));
    let (_, events) = world.told(Client::None, release("a", grant.fence));
    assert_eq!(super::ends(&events)[0].0, later);
}

/// Who leaves both lines lets those behind it go on in both.
#[test]
fn a_claim_that_leaves_wakes_all_of_its_lines() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    world.granted(Client::None, acquire("b", Shared, LEASE, 0));
    let (both, _) = world.queued(
        numbered(session, 1, 0),
        claim(&[("a", Shared), ("b", Exclusive)], 60_000),
    );
    let a = world.queued(
        numbered(session, 2, 0),
        acquire("a", Exclusive, LEASE, 9000),
    );
    let b = world.queued(numbered(session, 3, 0), acquire("b", Shared, LEASE, 9000));
    let cancel = Operation::Cancel { ticket: both };
    let (_, events) = world.told(numbered(session, 4, 0), cancel);
    let ended: Vec<TicketId> = ends(&events).iter().map(|end| end.0).collect();
    assert_eq!(ended, [both, a.0, b.0]);
}

/// One grant makes room for another, which makes room for a third.
#[test]
fn what_a_claim_gets_lets_those_behind_it_in_its_other_lines_go_on() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let a = world.granted(Client::None, lease("a")).fence;
    let wait = |names: &[(&str, Mode)]| claim(names, 60_000);
    let all = [
        wait(&[("a", Shared), ("b", Shared)]),
        wait(&[("b", Shared), ("c", Shared)]),
        wait(&[("c", Shared), ("d", Exclusive)]),
        wait(&[("d", Shared)]),
    ];
    let tickets: Vec<TicketId> = (1..)
        .zip(all)
        .map(|(seq, claim)| world.queued(numbered(session, seq, 0), claim).0)
        .collect();
    let (_, events) = world.told(Client::None, release("a", a));
    let ended: Vec<TicketId> = ends(&events).iter().map(|end| end.0).collect();
    assert_eq!(ended, tickets[..3], "and the fourth is behind the third");
}

#[test]
fn a_claim_is_offered_and_confirmed_as_a_whole() {
    let mut world = World::new();
    let a = world.granted(Client::None, lease("a")).fence;
    let (ticket, _) = world.queued(Client::None, claim(&AB, 60_000));
    let (_, events) = world.told(Client::None, release("a", a));
    assert_eq!(events, [Event::Offered { ticket }]);
    let answer = world.ask(Client::None, lease("b"));
    assert_eq!(answer, Answer::Refused(Refusal::Held { by: Vec::new() }));
    let (answer, _) = world.told(Client::None, Operation::Confirm { ticket });
    let Answer::Granted(grant) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(held(&world, "b"), Some(grant.fence));
    let seen = world.machine.ticket(ZoneId::new(0), ticket);
    assert_eq!(seen, None);
}

#[test]
fn a_claim_is_lost_as_a_whole() {
    let mut world = World::new();
    let fence = world.granted(Client::None, claim(&AB, 0)).fence;
    let lost = Event::Lost {
        zone: ZoneId::new(0),
        keys: ["a", "b"].map(path).to_vec(),
        fence,
        session: None,
        loss: Loss::Expired,
    };
    assert_eq!(world.pass(10_000), [lost]);
    assert_eq!(world.machine.locks_len(), 0);
}

/// Two claims over the same keys in the opposite order wait for each other in no circle.
#[test]
fn claims_never_wait_in_a_circle() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let mut seq = 0;
    let mut next = || {
        seq += 1;
        numbered(session, seq, 0)
    };
    let first = world.granted(next(), claim(&AB, 0)).fence;
    let (second, _) = world.queued(next(), claim(&[AB[1], AB[0]], 60_000));
    let (third, _) = world.queued(next(), claim(&AB, 60_000));
    let mut fence = first;
    for ticket in [second, third] {
        let (_, events) = world.told(next(), release("a", fence));
        let ends = ends(&events);
        let [(ended, Answer::Granted(grant))] = &ends[..] else {
            panic!("{ends:?}")
        };
        assert_eq!(*ended, ticket);
        fence = grant.fence;
    }
}

#[test]
fn limits_count_keys() {
    let mut world = World::with_limits(Limits {
        locks: 3,
        tickets: 1,
        ..Limits::default()
    });
    let quota = |what| Answer::Refused(Refusal::Quota { what });
    world.granted(Client::None, claim(&AB, 0));
    let three = claim(&[AB[0], AB[1], ("c", Exclusive)], 0);
    let two = claim(&[("c", Exclusive), ("d", Exclusive)], 0);
    assert_eq!(world.ask(Client::None, two), quota(answer::Table::Locks));
    world.granted(Client::None, lease("c"));
    world.pass(10_000);
    let fence = world.granted(Client::None, three).fence;
    world.ask(Client::None, release("a", fence));
    world.granted(Client::None, lease("a"));
    let answer = world.ask(Client::None, claim(&AB, 1000));
    assert_eq!(answer, quota(answer::Table::Tickets));
}

/// One entry takes and gives a bounded number of keys, not of claims.
#[test]
fn the_room_of_an_entry_is_counted_in_keys() {
    let mut world = World::with_limits(Limits {
        expiry_batch: 3,
        ..Limits::default()
    });
    world.granted(Client::None, claim(&AB, 0));
    world.granted(Client::None, claim(&[("c", Shared), ("d", Shared)], 0));
    world.granted(Client::None, lease("e"));
    assert_eq!(
        world.pass(10_000).len(),
        2,
        "two keys leave room for one more claim"
    );
    assert_eq!(world.pass(0).len(), 1);
}

#[test]
fn what_is_no_claim_is_answered_and_changes_nothing() {
    let name = |n: usize| alloc::format!("{n:02}");
    let names: Vec<_> = (0..=CLAIM_KEYS_MAX).map(name).collect();
    let bodies = [
        ("it claims no key", Vec::new()),
        ("it claims a key twice", ["a", "b", "a"].map(path).to_vec()),
        (
            "it claims too many keys",
            names.iter().map(|n| path(n)).collect(),
        ),
    ];
    for (what, keys) in bodies {
        let command = codec::tests::forged(&keys);
        let mut world = World::new();
        let events = world.entry(EntryKind::Batch, &[command]);
        let [Event::Answered { answer, .. }] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(answer, &Answer::Refused(Refusal::Invalid { what }));
        assert_eq!(world.machine.locks_len(), 0);
    }
}
