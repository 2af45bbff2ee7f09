//! Conversion of a grant, law by law.

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

/// Another share of these keys, if need be after a wait.
fn convert(fence: Fence, names: &[(&str, Mode)], wait_ms: u64) -> Operation {
    Operation::Convert(Convert {
        fence,
        parts: parts(names),
        wait_ms,
    })
}

fn to(fence: Fence, mode: Mode) -> Operation {
    convert(fence, &[("a", mode)], 0)
}

fn wait_to(fence: Fence, mode: Mode) -> Operation {
    convert(fence, &[("a", mode)], 60_000)
}

fn granted(world: &mut World, mode: Mode) -> Fence {
    world.granted(Client::None, take("a", mode)).fence
}

fn modes(world: &World) -> Vec<(Mode, Fence)> {
    let holders = world.inspect("a").holders;
    holders.iter().map(|h| (h.mode, h.fence)).collect()
}

fn refused(answer: Answer) -> Refusal {
    match answer {
        Answer::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn by(fence: Fence, mode: Mode) -> Vec<Blocker> {
    let Refusal::Held { by } = held_by(fence, mode) else {
        panic!("who holds it")
    };
    by
}

#[test]
fn less_is_had_at_once_under_the_same_fence() {
    let mut world = World::new();
    let fence = granted(&mut world, Exclusive);
    for mode in [ProtectedWrite, Shared, ConcurrentRead, Null, Null] {
        let answer = world.ask(Client::None, to(fence, mode));
        assert_eq!(answer, Answer::Converted { fence });
        assert_eq!(modes(&world), [(mode, fence)]);
    }
    assert!(granted(&mut world, Exclusive) > fence);
}

#[test]
fn who_fits_after_less_is_served() {
    let mut world = World::new();
    let fence = granted(&mut world, Exclusive);
    let (ticket, _) = world.queued(Client::None, wait("a", Shared));
    let (answer, events) = world.told(Client::None, to(fence, Shared));
    assert_eq!(answer, Answer::Converted { fence });
    assert_eq!(events, [Event::Offered { ticket }]);
}

#[test]
fn more_is_a_new_grant_for_what_is_left_of_its_life() {
    let mut world = World::new();
    let old = world.granted(key(1), take("a", Shared));
    world.ms += 4_000;
    let new = world.granted(key(2), to(old.fence, Exclusive));
    let expected = Granted {
        parts: parts(&[("a", Exclusive)]),
        fence: old.fence.next(),
        remaining_ms: Some(6_000),
        ..old.clone()
    };
    assert_eq!(new, expected);
    assert_eq!(modes(&world), [(Exclusive, new.fence)]);
    // The old fence is over, and its token with it.
    let answer = world.ask(Client::None, renew("a", old.fence, None));
    assert_eq!(refused(answer), Refusal::NotHeld);
    let retried = world.ask(key(1), take("a", Shared));
    assert_eq!(refused(retried), Refusal::NotHeld);
    let Answer::Released { already: true, .. } = world.ask(Client::None, release("a", old.fence))
    else {
        panic!("the old grant is no more")
    };
    // A retry is told of the new one.
    let again = world.granted(key(2), to(old.fence, Exclusive));
    assert_eq!((again.fence, again.replayed), (new.fence, true));
    let lost = world.pass(6_000);
    assert!(matches!(lost[..], [Event::Lost { fence, .. }] if fence == new.fence));
}

#[test]
fn more_is_had_past_those_who_hold_nothing() {
    let mut world = World::new();
    let first = granted(&mut world, Shared);
    let second = granted(&mut world, Shared);
    let (waiter, _) = world.queued(key(1), wait("a", Exclusive));
    // It is in line, and the waiter behind it.
    let (ticket, position) = world.queued(key(2), wait_to(first, Exclusive));
    assert_eq!(position, 1);
    let waiters = world.inspect("a").waiters;
    let waiters: Vec<_> = waiters.iter().map(|w| (w.ticket, w.mode)).collect();
    assert_eq!(waiters, [(ticket, Exclusive), (waiter, Exclusive)]);
    let retried = world.ask(key(1), wait("a", Exclusive));
    let (ticket_again, position) = (waiter, 2);
    let queued = Answer::Queued {
        ticket: ticket_again,
        position,
    };
    assert_eq!(retried, queued);
    // Meanwhile it has what it had, and nobody new gets in.
    assert_eq!(modes(&world), [(Shared, first), (Shared, second)]);
    let answer = world.ask(Client::None, take("a", Shared));
    assert!(matches!(refused(answer), Refusal::Held { .. }));

    let (_, events) = world.told(Client::None, release("a", second));
    assert_eq!(events, [Event::Offered { ticket }]);
    // What is offered stands beside what is held.
    assert_eq!(modes(&world), [(Shared, first)]);
    let (answer, _) = world.told(Client::None, Operation::Confirm { ticket });
    let Answer::Granted(grant) = answer else {
        panic!("{answer:?}")
    };
    assert!(grant.fence > second);
    assert_eq!(modes(&world), [(Exclusive, grant.fence)]);
}

#[test]
fn a_session_converts_without_being_asked() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let other = granted(&mut world, Shared);
    let own = acquire("a", Shared, Life::Session, 0);
    let old = world.granted(numbered(session, 1, 0), own);
    let wants = wait_to(old.fence, Exclusive);
    let (ticket, _) = world.queued(numbered(session, 2, 0), wants);
    let (_, events) = world.told(Client::None, release("a", other));
    let ended = ends(&events);
    let [(id, Answer::Granted(new))] = &ended[..] else {
        panic!("{ended:?}")
    };
    assert_eq!(*id, ticket);
    assert_eq!((new.session, new.life), (Some(session), Life::Session));
    assert_eq!(modes(&world), [(Exclusive, new.fence)]);
}

#[test]
fn who_converts_later_waits_behind() {
    let mut world = World::new();
    let other = granted(&mut world, ConcurrentWrite);
    let [first, second] = [Null, Null].map(|mode| granted(&mut world, mode));
    let (one, _) = world.queued(key(1), wait_to(first, Shared));
    // It would fit at once beside all who hold the lock.
    let answer = world.ask(Client::None, to(second, ConcurrentRead));
    let Refusal::Held { by } = refused(answer) else {
        panic!("who converts waits behind who converts")
    };
    let fences: Vec<_> = by.iter().map(|holder| holder.fence).collect();
    assert_eq!(fences, [other, first]);
    let (two, position) = world.queued(key(2), wait_to(second, ConcurrentRead));
    assert_eq!(position, 2);
    let (_, events) = world.told(Client::None, release("a", other));
    let offered = [one, two].map(|ticket| Event::Offered { ticket });
    assert_eq!(events, offered);
}

#[test]
fn two_who_wait_for_each_other_are_told() {
    let mut world = World::new();
    let first = granted(&mut world, Shared);
    let second = granted(&mut world, Shared);
    let (ticket, _) = world.queued(key(1), wait_to(first, Exclusive));
    let answer = world.ask(Client::None, wait_to(second, Exclusive));
    let deadlock = Refusal::UpgradeDeadlock {
        by: by(first, Shared),
    };
    assert_eq!(refused(answer), deadlock);
    // It helps to want less, or to go.
    let (_, events) = world.told(Client::None, to(second, Null));
    assert_eq!(events, [Event::Offered { ticket }]);
}

#[test]
fn one_who_does_not_keep_the_other_out_may_wait_behind_him() {
    let mut world = World::new();
    let other = granted(&mut world, ConcurrentWrite);
    let first = granted(&mut world, Null);
    let second = granted(&mut world, ConcurrentRead);
    world.queued(key(1), wait_to(first, Shared));
    // He holds what the first one's target may stand beside.
    world.queued(key(2), wait_to(second, Shared));
    let (_, events) = world.told(Client::None, release("a", other));
    assert_eq!(events.len(), 2, "{events:?}");
}

#[test]
fn permits_change_in_number() {
    let mut world = World::new();
    let first = granted(&mut world, permits(2, 5));
    let second = granted(&mut world, permits(2, 5));
    let answer = world.ask(Client::None, to(first, permits(1, 5)));
    assert_eq!(answer, Answer::Converted { fence: first });
    let more = world.granted(Client::None, to(first, permits(3, 5))).fence;
    assert!(more > second);
    let answer = world.ask(Client::None, to(second, permits(3, 5)));
    assert_eq!(refused(answer), held_by(more, permits(3, 5)));
    let otherwise = [(permits(1, 4), Refusal::HasCapacity { capacity: 5 })];
    for (mode, refusal) in otherwise {
        let answer = world.ask(Client::None, to(second, mode));
        assert_eq!(refused(answer), refusal);
    }
    let modes = granted_in_modes(&mut world);
    let answer = world.ask(Client::None, convert(modes, &[("b", permits(1, 2))], 0));
    assert_eq!(refused(answer), Refusal::NoPermits);
}

fn granted_in_modes(world: &mut World) -> Fence {
    world.granted(Client::None, take("b", Shared)).fence
}

#[test]
fn permits_that_are_kept_are_never_had() {
    let mut world = World::new();
    let [first, second] = [2, 2].map(|n| granted(&mut world, permits(n, 5)));
    world.queued(key(1), wait_to(first, permits(4, 5)));
    // The first one wants 4 and this one keeps 2 of 5.
    let answer = world.ask(Client::None, wait_to(second, permits(3, 5)));
    let deadlock = Refusal::UpgradeDeadlock {
        by: by(first, permits(2, 5)),
    };
    assert_eq!(refused(answer), deadlock);
}

#[test]
fn who_comes_to_be_first_and_waits_for_one_behind_is_told() {
    let mut world = World::new();
    let other = granted(&mut world, permits(5, 10));
    let [first, second, third] = [1, 2, 2].map(|n| granted(&mut world, permits(n, 10)));
    world.queued(key(1), wait_to(first, permits(3, 10)));
    let (stuck, _) = world.queued(key(2), wait_to(second, permits(9, 10)));
    let (behind, _) = world.queued(key(3), wait_to(third, permits(3, 10)));
    let (_, events) = world.told(Client::None, release("a", other));
    let deadlock = Refusal::UpgradeDeadlock {
        by: by(third, permits(2, 10)),
    };
    assert_eq!(ends(&events), [(stuck, Answer::Refused(deadlock))]);
    assert!(events.contains(&Event::Offered { ticket: behind }));
}

#[test]
fn a_lock_that_shrank_is_converted_to_less_of_it() {
    let mut world = World::new();
    let fence = granted(&mut world, permits(4, 5));
    let other = granted(&mut world, permits(1, 5));
    let (ticket, _) = world.queued(key(1), wait_to(fence, permits(5, 5)));
    let resize = Operation::Resize {
        key: path("a"),
        capacity: 2,
    };
    let (_, events) = world.told(Client::None, resize);
    let refusal = Answer::Refused(Refusal::HasCapacity { capacity: 2 });
    assert_eq!(ends(&events), [(ticket, refusal)]);
    let answer = world.ask(Client::None, to(fence, permits(2, 2)));
    assert_eq!(answer, Answer::Converted { fence });
    assert_eq!(
        modes(&world),
        [(permits(2, 2), fence), (permits(1, 2), other)]
    );
}

#[test]
fn a_grant_is_converted_once_at_a_time_and_ends_its_conversion() {
    let mut world = World::new();
    let fence = granted(&mut world, Shared);
    let other = granted(&mut world, Shared);
    let (ticket, _) = world.queued(key(1), wait_to(fence, Exclusive));
    for mode in [Exclusive, Null] {
        let answer = world.ask(Client::None, to(fence, mode));
        assert_eq!(refused(answer), Refusal::Converting);
    }
    let (_, events) = world.told(Client::None, release("a", fence));
    let not_held = Answer::Refused(Refusal::NotHeld);
    assert_eq!(ends(&events), [(ticket, not_held.clone())]);
    assert_eq!(world.ask(key(1), wait_to(fence, Exclusive)), not_held);
    assert_eq!(modes(&world), [(Shared, other)]);
}

#[test]
fn a_wait_that_ends_leaves_the_grant_as_it_is() {
    let mut world = World::new();
    let fence = world.granted(Client::None, acquire("a", Shared, Life::Static, 0));
    let other = world.granted(Client::None, acquire("a", Shared, Life::Static, 0));
    let (fence, other) = (fence.fence, other.fence);
    let (ticket, _) = world.queued(key(1), wait_to(fence, Exclusive));
    let events = world.pass(60_000);
    let timeout = Refusal::WaitTimeout {
        by: by(other, Shared),
    };
    assert_eq!(ends(&events), [(ticket, Answer::Refused(timeout))]);
    assert_eq!(modes(&world), [(Shared, fence), (Shared, other)]);
    // An offer that nobody confirms, too.
    let (ticket, _) = world.queued(key(2), wait_to(fence, Exclusive));
    world.told(Client::None, release("a", other));
    let events = world.pass(OFFER_MS);
    let cancelled = Answer::Refused(Refusal::Cancelled);
    assert_eq!(ends(&events), [(ticket, cancelled)]);
    assert_eq!(modes(&world), [(Shared, fence)]);
    granted(&mut world, Shared);
}

#[test]
fn what_is_entered_more_than_once_is_not_converted() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let mut again = acquire("a", Shared, Life::Session, 0);
    if let Operation::Acquire(acquire) = &mut again {
        acquire.reentrant = true;
    }
    let fence = world.granted(numbered(session, 1, 0), again.clone()).fence;
    world.granted(numbered(session, 2, 0), again.clone());
    let answer = world.ask(numbered(session, 3, 0), to(fence, Exclusive));
    assert_eq!(refused(answer), Refusal::Entered { entered: 2 });
    world.ask(numbered(session, 4, 0), release("a", fence));
    // And it is not entered while it is being converted.
    let other = granted(&mut world, Shared);
    world.queued(numbered(session, 5, 0), wait_to(fence, Exclusive));
    let answer = world.ask(numbered(session, 6, 0), again.clone());
    assert_eq!(refused(answer), Refusal::Converting);
    world.told(Client::None, release("a", other));
    let entered = world.granted(numbered(session, 7, 0), again);
    assert_eq!(entered.entered, 2);
    assert_eq!(modes(&world), [(Exclusive, entered.fence)]);
}

#[test]
fn a_claim_is_converted_as_a_whole() {
    let mut world = World::new();
    let both = claim(&[("a", Shared), ("b", Exclusive)], 0);
    let fence = world.granted(Client::None, both).fence;
    let other = granted(&mut world, Shared);
    let not_its = convert(fence, &[("a", Shared), ("c", Shared)], 0);
    let answer = world.ask(Client::None, not_its);
    assert_eq!(refused(answer), Refusal::NotHeld);
    // More of one and less of the other: both wait.
    let change = convert(fence, &[("a", Exclusive), ("b", Shared)], 60_000);
    let (ticket, _) = world.queued(key(1), change);
    assert_eq!(world.inspect("b").holders[0].mode, Exclusive);
    let (_, events) = world.told(Client::None, release("a", other));
    assert_eq!(events, [Event::Offered { ticket }]);
    let (answer, _) = world.told(Client::None, Operation::Confirm { ticket });
    let Answer::Granted(grant) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(grant.parts, parts(&[("a", Exclusive), ("b", Shared)]));
    // A key that is not named stays as it is.
    let answer = world.ask(Client::None, to(grant.fence, Shared));
    let fence = grant.fence;
    assert_eq!(answer, Answer::Converted { fence });
    assert_eq!(world.inspect("b").holders[0].mode, Shared);
}

#[test]
fn what_is_dead_is_neither_converted_nor_in_the_way() {
    let mut world = World::with_limits(Limits {
        expiry_batch: 1,
        ..Limits::default()
    });
    let fence = granted(&mut world, Shared);
    let other = granted(&mut world, Shared);
    let answer = world.ask(Client::None, to(Fence::new(5), Null));
    assert_eq!(refused(answer), Refusal::NotHeld);
    // Both end at once, and an entry has room for one of them.
    world.ms += 10_000;
    let (answer, _) = world.told(Client::None, to(other, Null));
    assert_eq!(refused(answer), Refusal::NotHeld);
    assert_eq!(modes(&world), []);
    assert!(fence < other);
}
