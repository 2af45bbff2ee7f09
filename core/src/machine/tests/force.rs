//! An operator takes what is another's.

use super::*;
use alloc::vec;

fn forced(fence: Fence, remaining_ms: Option<u64>) -> Answer {
    Answer::Forced {
        fence,
        holder: Bytes::from_static(b"h"),
        remaining_ms,
    }
}

fn changed(by: &[(Fence, Mode)]) -> Answer {
    let blocker = |(fence, mode): &(Fence, Mode)| Blocker {
        holder: Bytes::from_static(b"h"),
        fence: *fence,
        mode: *mode,
    };
    let by = by.iter().map(blocker).collect();
    Answer::Refused(Refusal::FenceChanged { by })
}

fn kept(session: SessionId, taken: &[Fence]) -> Answer {
    Answer::KeptAlive {
        session,
        ttl_ms: 60_000,
        taken: taken.into(),
    }
}

#[test]
fn only_the_grant_that_was_looked_at_is_taken() {
    let mut world = World::new();
    let seen = world.granted(Client::None, lease("a")).fence;
    world.ask(Client::None, release("a", seen));
    assert_eq!(world.ask(Client::None, force("a", seen)), changed(&[]));
    let now = world.granted(Client::None, lease("a")).fence;
    let refused = changed(&[(now, Exclusive)]);
    for fence in [seen, now.next()] {
        assert_eq!(world.ask(Client::None, force("a", fence)), refused);
    }
    // A fence of another lock is none of this one.
    let other = world.granted(Client::None, lease("b")).fence;
    assert_eq!(world.ask(Client::None, force("a", other)), refused);
    assert_eq!(world.inspect("a").holders.len(), 1);
    // One whose time is over is not there either, swept or not.
    world.ms += 10_000;
    let (answer, _) = world.told(Client::None, force("a", now));
    assert_eq!(answer, changed(&[]));
}

#[test]
fn who_waits_gets_it_at_once_and_who_had_it_hears_so() {
    let mut world = World::new();
    let held = world.granted(Client::None, lease("a")).fence;
    let session = world.session(60_000, "");
    let waits = acquire("a", Exclusive, Life::Session, 30_000);
    let (ticket, _) = world.queued(numbered(session, 1, 0), waits);
    world.ms += 4_000;
    world.principal = "";
    let (answer, events) = world.told(key(1), force("a", held));
    assert_eq!(answer, forced(held, Some(6_000)));
    let lost = Event::Lost {
        zone: ZoneId::new(0),
        keys: vec![path("a")],
        fence: held,
        session: None,
        loss: Loss::Forced(cause()),
    };
    assert_eq!(events[0], lost);
    assert_eq!(ends(&events).len(), 1);
    assert_eq!(ends(&events)[0].0, ticket);

    let not_held = Answer::Refused(Refusal::NotHeld);
    assert_eq!(world.ask(Client::None, renew("a", held, None)), not_held);
    let Answer::Released { already, .. } = world.ask(Client::None, release("a", held)) else {
        panic!("a release is answered")
    };
    assert!(already, "there is nothing to give back");
    // Asked again by the same name: the same, and nothing more.
    assert_eq!(
        world.ask(key(1), force("a", held)),
        forced(held, Some(6_000))
    );
    assert_eq!(world.inspect("a").holders.len(), 1);
}

#[test]
fn a_session_is_told_of_what_was_taken_as_long_as_it_lives() {
    let mut world = World::new();
    let session = world.session(60_000, "");
    let mut take = |name: &str, seq| {
        let operation = acquire(name, Exclusive, Life::Session, 0);
        world.granted(numbered(session, seq, 0), operation).fence
    };
    let fences = [take("a", 1), take("b", 2), take("c", 3)];
    let keep_alive = || Operation::KeepAlive { session };
    assert_eq!(world.ask(Client::None, keep_alive()), kept(session, &[]));
    for (name, fence) in [("a", fences[0]), ("c", fences[2])] {
        let (answer, _) = world.told(Client::None, force(name, fence));
        assert_eq!(answer, forced(fence, Some(60_000)));
    }
    let taken = [fences[0], fences[2]];
    for _ in 0..5 {
        world.ms += 50_000;
        let answer = world.ask(Client::None, keep_alive());
        assert_eq!(answer, kept(session, &taken));
    }
    assert_eq!(world.inspect("b").holders[0].fence, fences[1]);
    assert!(world.inspect("a").holders.is_empty());
}

#[test]
fn of_one_session_only_so_much_is_taken_as_a_keep_alive_tells() {
    let mut world = World::with_limits(Limits {
        taken: 1,
        ..Limits::default()
    });
    let session = world.session(60_000, "");
    let mut take = |name: &str, seq| {
        let operation = acquire(name, Exclusive, Life::Session, 0);
        world.granted(numbered(session, seq, 0), operation).fence
    };
    let (first, second) = (take("a", 1), take("b", 2));
    world.told(Client::None, force("a", first));
    let what = answer::Table::Taken;
    let answer = world.ask(Client::None, force("b", second));
    assert_eq!(answer, Answer::Refused(Refusal::Quota { what }));
    assert_eq!(world.inspect("b").holders[0].fence, second);
}

#[test]
fn a_claim_goes_as_a_whole_by_any_of_its_keys() {
    let mut world = World::new();
    let both = claim(&[("a", Exclusive), ("b", Shared)], 0);
    let fence = world.granted(Client::None, both).fence;
    let (_, events) = world.told(Client::None, force("b", fence));
    let Event::Lost { keys, .. } = &events[0] else {
        panic!("a grant is lost")
    };
    assert_eq!(*keys, [path("a"), path("b")]);
    assert_eq!(world.machine.locks_len(), 0);
}

#[test]
fn however_often_it_was_entered() {
    let mut world = World::new();
    let session = world.session(60_000, "");
    let mut again = acquire("a", Exclusive, Life::Session, 0);
    if let Operation::Acquire(acquire) = &mut again {
        acquire.reentrant = true;
    }
    let fence = world.granted(numbered(session, 1, 0), again.clone()).fence;
    world.granted(numbered(session, 2, 0), again.clone());
    world.told(Client::None, force("a", fence));
    let next = world.granted(numbered(session, 3, 0), again);
    assert!(next.fence > fence, "what was taken is not entered again");
    assert_eq!(next.entered, 1);
}

#[test]
fn who_was_authenticated_counts_more_than_what_he_calls_himself() {
    let mut world = World::new();
    let fence = world.granted(Client::None, lease("a")).fence;
    world.principal = "petra";
    let (_, events) = world.told(Client::None, force("a", fence));
    let by = Cause {
        by: "petra".into(),
        ..cause()
    };
    let is_his = |event: &Event| matches!(event, Event::Lost { loss: Loss::Forced(cause), .. } if *cause == by);
    assert!(is_his(&events[0]), "{events:?}");
}

#[test]
fn nothing_is_taken_without_a_reason() {
    let mut world = World::new();
    let fence = world.granted(Client::None, lease("a")).fence;
    for (reason, by) in [
        ("", "olga"),
        (&*"x".repeat(256), "olga"),
        ("so", &*"x".repeat(129)),
    ] {
        let cause = Cause {
            by: by.into(),
            reason: reason.into(),
        };
        let operation = Operation::Force(Force {
            key: path("a"),
            fence,
            cause,
        });
        let answer = world.ask(Client::None, operation);
        assert!(matches!(answer, Answer::Refused(Refusal::Invalid { .. })));
    }
    assert_eq!(world.inspect("a").holders.len(), 1);
}
