//! The six classical modes, and permits.

use super::*;
use crate::machine::command::Mode::{ConcurrentRead, ConcurrentWrite, Null, ProtectedWrite};

const fn permits(n: u32, capacity: u32) -> Mode {
    Mode::Permits { n, capacity }
}

fn take(name: &str, mode: Mode) -> Operation {
    acquire(name, mode, LEASE, 0)
}

fn wait(name: &str, mode: Mode) -> Operation {
    acquire(name, mode, LEASE, 60_000)
}

fn resize(name: &str, capacity: u32) -> Operation {
    Operation::Resize {
        key: path(name),
        capacity,
    }
}

fn modes(world: &World, name: &str) -> Vec<Mode> {
    world.inspect(name).holders.iter().map(|h| h.mode).collect()
}

fn has_capacity(capacity: u32) -> Answer {
    Answer::Refused(Refusal::HasCapacity { capacity })
}

#[test]
fn holders_have_modes_of_their_own() {
    let mut world = World::new();
    let all = [ConcurrentRead, Null, ProtectedWrite, ConcurrentRead];
    let fences = all.map(|mode| world.granted(Client::None, take("a", mode)).fence);
    assert_eq!(modes(&world, "a"), all);
    for mode in [Exclusive, Shared, ConcurrentWrite, ProtectedWrite] {
        let answer = world.ask(Client::None, take("a", mode));
        assert!(
            matches!(answer, Answer::Refused(Refusal::Held { .. })),
            "{mode:?}"
        );
    }
    // The strongest goes, and weaker ones stay.
    world.ask(Client::None, release("a", fences[2]));
    let shared = world.granted(Client::None, take("a", Shared)).fence;
    world.ask(Client::None, release("a", shared));
    for fence in [fences[0], fences[3]] {
        world.ask(Client::None, release("a", fence));
    }
    world.granted(Client::None, take("a", Exclusive));
    assert_eq!(modes(&world, "a"), [Null, Exclusive]);
    world.granted(Client::None, take("a", Null));
    let Answer::Refused(Refusal::Held { .. }) = world.ask(Client::None, take("a", ConcurrentRead))
    else {
        panic!("an exclusive one is there")
    };
}

/// Whoever fits waits all the same behind one who doesn't.
#[test]
fn a_mode_that_does_not_fit_blocks_those_behind_it() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let writer = world
        .granted(Client::None, take("a", ConcurrentWrite))
        .fence;
    let (reader, _) = world.queued(numbered(session, 1, 0), wait("a", Shared));
    let (second, _) = world.queued(numbered(session, 2, 0), wait("a", ConcurrentWrite));
    let (_, events) = world.told(Client::None, release("a", writer));
    let [(ended, Answer::Granted(grant))] = &ends(&events)[..] else {
        panic!("{events:?}")
    };
    assert_eq!(*ended, reader);
    let (_, events) = world.told(Client::None, release("a", grant.fence));
    assert_eq!(ends(&events)[0].0, second);
}

/// In a backlog the dead stand behind the living, and count for nobody.
#[test]
fn dead_holders_behind_living_ones_stand_in_nobodys_way() {
    let mut world = World::with_limits(Limits {
        expiry_batch: 1,
        ..Limits::default()
    });
    let short = Life::Lease { ttl_ms: 1000 };
    world.granted(Client::None, acquire("a", Null, Life::Static, 0));
    world.granted(Client::None, acquire("b", Exclusive, short, 0));
    let dead = acquire("a", Exclusive, short, 0);
    world.granted(Client::None, dead);
    world.ms += 1000;
    let (answer, events) = world.told(Client::None, take("a", Shared));
    assert!(matches!(answer, Answer::Granted(_)), "{answer:?}");
    assert_eq!(events.len(), 2, "both are lost: one is due, one in the way");
    assert_eq!(modes(&world, "a"), [Null, Shared]);
}

#[test]
fn permits_are_taken_up_to_the_capacity() {
    let mut world = World::new();
    let two = world.granted(Client::None, take("p", permits(2, 5))).fence;
    world.granted(Client::None, take("p", permits(3, 5)));
    let Answer::Refused(Refusal::Held { by }) = world.ask(Client::None, take("p", permits(1, 5)))
    else {
        panic!("all are taken")
    };
    assert_eq!(by.len(), 2);
    world.ask(Client::None, release("p", two));
    world.granted(Client::None, take("p", permits(1, 5)));
    assert_eq!(modes(&world, "p"), [permits(3, 5), permits(1, 5)]);
}

#[test]
fn a_large_waiter_is_not_passed_by_small_ones() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let held = world.granted(Client::None, take("p", permits(2, 4))).fence;
    let (large, _) = world.queued(numbered(session, 1, 0), wait("p", permits(3, 4)));
    let (small, position) = world.queued(numbered(session, 2, 0), wait("p", permits(1, 4)));
    assert_eq!(position, 2);
    let (_, events) = world.told(Client::None, release("p", held));
    let ended: Vec<TicketId> = ends(&events).iter().map(|end| end.0).collect();
    assert_eq!(ended, [large, small]);
}

#[test]
fn the_capacity_is_that_of_the_first_as_long_as_the_lock_is_in_use() {
    let mut world = World::new();
    let fence = world.granted(Client::None, take("p", permits(1, 3))).fence;
    assert_eq!(
        world.ask(Client::None, take("p", permits(1, 4))),
        has_capacity(3)
    );
    assert_eq!(world.ask(Client::None, take("p", Null)), has_capacity(3));
    let (ticket, _) = world.queued(Client::None, wait("p", permits(3, 3)));
    world.told(Client::None, release("p", fence));
    // Offered, and not confirmed: it is in use.
    assert_eq!(
        world.ask(Client::None, take("p", permits(1, 4))),
        has_capacity(3)
    );
    world.told(Client::None, Operation::Cancel { ticket });
    world.granted(Client::None, take("p", permits(1, 4)));
    let fence = world.inspect("p").holders[0].fence;
    world.ask(Client::None, release("p", fence));
    world.granted(Client::None, take("p", Shared));
    let no_permits = Answer::Refused(Refusal::NoPermits);
    assert_eq!(
        world.ask(Client::None, take("p", permits(1, 4))),
        no_permits
    );
    assert_eq!(world.ask(Client::None, resize("p", 4)), no_permits);
    assert_eq!(world.ask(Client::None, resize("nobody", 4)), no_permits);
}

#[test]
fn a_lock_that_grows_serves_who_waits() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    world.granted(Client::None, take("p", permits(2, 2)));
    let (ticket, _) = world.queued(numbered(session, 1, 0), wait("p", permits(2, 2)));
    assert_eq!(
        world.ask(Client::None, resize("p", 3)),
        Answer::Resized { capacity: 3 }
    );
    let (answer, events) = world.told(Client::None, resize("p", 4));
    assert_eq!(answer, Answer::Resized { capacity: 4 });
    let [(ended, Answer::Granted(grant))] = &ends(&events)[..] else {
        panic!("{events:?}")
    };
    assert_eq!(*ended, ticket);
    assert_eq!(grant.parts.first().mode, permits(2, 4), "as it is by now");
    assert_eq!(modes(&world, "p"), [permits(2, 4), permits(2, 4)]);
}

/// Nobody loses what he holds, and nothing is granted until it fits.
#[test]
fn a_lock_that_shrinks_drains() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(world.granted(Client::None, take("p", permits(1, 4))).fence);
    }
    let waits = world.queued(numbered(session, 1, 0), wait("p", permits(1, 4)));
    let beyond = world.queued(numbered(session, 2, 0), wait("p", permits(3, 4)));
    world.ask(Client::None, resize("p", 2));
    assert_eq!(world.inspect("p").holders.len(), 4);
    for fence in &held[..2] {
        let released = world.ask(Client::None, release("p", *fence));
        assert!(matches!(released, Answer::Released { .. }));
    }
    let (_, events) = world.told(Client::None, release("p", held[2]));
    let ends = ends(&events);
    assert_eq!(ends[0].0, waits.0, "two are left, one of them new");
    assert_eq!(
        ends[1],
        (beyond.0, has_capacity(2)),
        "who can never have it is told so when it is its turn"
    );
    assert_eq!(world.inspect("p").holders.len(), 2);
}

/// What is offered is as good as held.
#[test]
fn an_offer_outlives_a_shrink() {
    let mut world = World::new();
    let held = world.granted(Client::None, take("p", permits(4, 4))).fence;
    let (ticket, _) = world.queued(Client::None, wait("p", permits(3, 4)));
    world.told(Client::None, release("p", held));
    world.ask(Client::None, resize("p", 2));
    let (answer, _) = world.told(Client::None, Operation::Confirm { ticket });
    let Answer::Granted(grant) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(grant.parts.first().mode, permits(3, 2));
    let answer = world.ask(Client::None, take("p", permits(1, 2)));
    assert!(matches!(answer, Answer::Refused(Refusal::Held { .. })));
}

#[test]
fn permits_out_of_bounds_are_no_claim() {
    let mut world = World::new();
    let refused = |world: &mut World, mode, what| {
        let answer = world.ask(Client::None, take("p", mode));
        assert_eq!(answer, Answer::Refused(Refusal::Invalid { what }));
        assert_eq!(world.machine.locks_len(), 0);
    };
    let n = "the permits are from 1 to the capacity";
    refused(&mut world, permits(0, 5), n);
    refused(&mut world, permits(6, 5), n);
    let all = "the capacity is from 1 to 2^30";
    refused(&mut world, permits(0, 0), all);
    refused(&mut world, permits(1, (1 << 30) + 1), all);
    let most = permits(1 << 30, 1 << 30);
    world.granted(Client::None, take("p", most));
    let answer = world.ask(Client::None, resize("p", 0));
    assert_eq!(answer, Answer::Refused(Refusal::Invalid { what: all }));
}

#[test]
fn a_claim_may_mix_modes_and_permits_of_many_locks() {
    let mut world = World::new();
    let names = [
        ("a", Exclusive),
        ("b", ConcurrentRead),
        ("p", permits(2, 3)),
    ];
    let grant = world.granted(Client::None, claim(&names, 0));
    assert_eq!(grant.parts, parts(&names));
    let other = claim(&[("b", Exclusive), ("p", permits(1, 9))], 0);
    assert_eq!(world.ask(Client::None, other), has_capacity(3));
    assert_eq!(world.machine.locks_len(), 3, "nothing was taken");
}

#[test]
fn a_retry_of_a_resize_gets_its_answer() {
    let mut world = World::new();
    world.granted(Client::None, take("p", permits(1, 3)));
    let answer = world.ask(key(1), resize("p", 5));
    assert_eq!(answer, Answer::Resized { capacity: 5 });
    world.ask(Client::None, resize("p", 6));
    assert_eq!(world.ask(key(1), resize("p", 5)), answer);
    assert_eq!(modes(&world, "p"), [permits(1, 6)]);
    assert_eq!(
        world.ask(key(1), resize("p", 7)),
        Answer::Refused(Refusal::RequestIdReused)
    );
}

#[test]
fn a_mode_is_known_by_its_name() {
    let modes = [
        Exclusive,
        Shared,
        Null,
        ConcurrentRead,
        ConcurrentWrite,
        ProtectedWrite,
    ];
    for mode in modes {
        assert_eq!(Mode::named(mode.name()), Some(mode));
    }
    assert_eq!(Mode::named("ex"), Some(Exclusive));
    assert_eq!(Mode::named("pr"), Some(Shared));
    assert_eq!(Mode::named("permits"), None, "how many?");
}
