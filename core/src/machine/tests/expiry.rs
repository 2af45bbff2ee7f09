use super::*;

fn lost(name: &str, fence: Fence) -> Event {
    Event::Lost {
        zone: ZoneId::new(0),
        keys: alloc::vec![path(name)],
        fence,
        session: None,
        loss: Loss::Expired,
    }
}

#[test]
fn a_lease_ends_at_its_ttl_and_not_before() {
    let mut world = World::new();
    let fence = world.granted(Client::None, lease("a")).fence;
    assert_eq!(
        world.machine.next_deadline(),
        Some(Stamp::ZERO.plus(Duration::from_millis(11_000)))
    );
    assert_eq!(world.pass(9_999), []);
    assert_eq!(world.pass(1), [lost("a", fence)]);
    assert_eq!(world.machine.next_deadline(), None);
    let refused = Answer::Refused(Refusal::NotHeld);
    assert_eq!(world.ask(Client::None, renew("a", fence, None)), refused);
    let already = Answer::Released {
        fence,
        already: true,
        entered: 0,
    };
    assert_eq!(world.ask(Client::None, release("a", fence)), already);
}

/// A paused leader wakes up with the renewals still in its socket (rule 22, schedule F4d).
#[test]
fn a_renewal_in_the_entry_that_would_end_it_comes_first() {
    let mut world = World::new();
    let session = world.session(10_000, "");
    let fence = world.granted(Client::None, lease("a")).fence;
    world.ms += 60_000;
    let events = world.batch(&[
        (Client::None, lease("b")),
        (Client::None, Operation::KeepAlive { session }),
        (Client::None, renew("a", fence, None)),
    ]);
    assert_eq!(events.len(), 3, "nothing is lost: {events:?}");
    assert!(matches!(
        events[0],
        Event::Answered {
            answer: Answer::KeptAlive { .. },
            ..
        }
    ));
    assert!(matches!(
        events[1],
        Event::Answered {
            answer: Answer::Renewed { .. },
            ..
        }
    ));
    // And it counts from the stamp of that entry.
    assert_eq!(world.pass(9_999), []);
    assert_eq!(world.inspect("a").holders.len(), 1);
}

#[test]
fn a_renewal_after_the_end_is_too_late() {
    let mut world = World::new();
    let fence = world.granted(Client::None, lease("a")).fence;
    world.pass(10_000);
    world.ms += 1;
    let answer = world.ask(Client::None, renew("a", fence, None));
    assert_eq!(answer, Answer::Refused(Refusal::NotHeld));
}

#[test]
fn a_new_leader_gives_grace_once_in_a_while() {
    let mut world = World::new();
    let grace = u64::try_from(GRACE.as_millis()).unwrap();
    world.pass(20_000);
    let fence = world.granted(Client::None, lease("a")).fence;
    world.ms += 9_900;
    assert_eq!(world.start(Fence::default()), []);
    assert_eq!(world.inspect("a").holders[0].remaining_ms, Some(grace));
    world.ms += grace - 1;
    assert_eq!(
        world.start(Fence::default()),
        [],
        "within the grace, and no second one"
    );
    assert_eq!(world.pass(1), [lost("a", fence)]);
    let fence = world.granted(Client::None, lease("a")).fence;
    world.ms += 9_000;
    world.start(Fence::default());
    assert_eq!(
        world.pass(1_000),
        [lost("a", fence)],
        "less than ten seconds after the last"
    );
}

#[test]
fn grace_wakes_nobody_who_was_dead() {
    let limits = Limits {
        expiry_batch: 1,
        ..Limits::default()
    };
    let mut world = World::with_limits(limits);
    world.pass(20_000);
    for name in ["a", "b", "c"] {
        world.granted(Client::None, lease(name));
    }
    assert_eq!(
        world.pass(10_000).len(),
        1,
        "the others are dead and not reaped"
    );
    assert_eq!(world.start(Fence::default()).len(), 1);
    assert_eq!(world.batch(&[]).len(), 1);
    assert_eq!(world.machine.grants_len(), 0);
}

#[test]
fn grace_is_not_for_waits_and_offers() {
    let mut world = World::new();
    world.pass(20_000);
    world.granted(Client::None, acquire("a", Exclusive, Life::Static, 0));
    let (ticket, _) = world.queued(Client::None, acquire("a", Exclusive, LEASE, 1000));
    world.ms += 999;
    assert_eq!(world.start(Fence::default()), []);
    assert_eq!(ends(&world.pass(1))[0].0, ticket);
}

#[test]
fn one_entry_ends_so_many_and_the_rest_is_dead_meanwhile() {
    let mut world = World::with_limits(Limits {
        expiry_batch: 2,
        ..Limits::default()
    });
    let names: Vec<_> = (0..7).map(|n| std::format!("k{n}")).collect();
    let fences: Vec<Fence> = names
        .iter()
        .map(|name| world.granted(Client::None, lease(name)).fence)
        .collect();
    assert_eq!(
        world.pass(10_000),
        [lost("k0", fences[0]), lost("k1", fences[1])]
    );
    assert_eq!(
        world.machine.next_deadline(),
        Some(world.machine.stamp()),
        "at once"
    );
    assert_eq!(world.inspect("k6").holders, [], "dead for reads");
    let renewal = (Client::None, renew("k6", fences[6], None));
    let events = world.batch(&[
        renewal,
        (Client::None, release("k5", fences[5])),
        (Client::None, lease("k4")),
    ]);
    let answers: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Answered { answer, .. } => Some(answer.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(
        answers[0],
        Answer::Refused(Refusal::NotHeld),
        "dead for renewals"
    );
    assert_eq!(
        answers[1],
        Answer::Released {
            fence: fences[5],
            already: true,
            entered: 0,
        }
    );
    assert!(
        matches!(answers[2], Answer::Granted(_)),
        "dead for newcomers"
    );
    let lost_now: Vec<_> = events
        .iter()
        .filter(|event| matches!(event, Event::Lost { .. }))
        .collect();
    assert_eq!(
        lost_now.len(),
        4,
        "two due ones, and the two that commands met"
    );
    world.batch(&[]);
    assert_eq!(world.machine.grants_len(), 1);
}

#[test]
fn a_crowd_is_served_in_pieces_and_in_order() {
    let mut world = World::with_limits(Limits {
        expiry_batch: 2,
        ..Limits::default()
    });
    let session = world.session(1_000_000, "");
    let held = world.granted(Client::None, lease("a")).fence;
    let mut tickets = Vec::new();
    for seq in 1..=7 {
        let operation = acquire("a", Shared, Life::Session, 60_000);
        tickets.push(world.queued(numbered(session, seq, 0), operation).0);
    }
    let (_, events) = world.told(Client::None, release("a", held));
    let mut served = ends(&events);
    assert_eq!(served.len(), 2);
    assert_eq!(world.machine.next_deadline(), Some(world.machine.stamp()));
    while served.len() < 7 {
        let more = ends(&world.batch(&[]));
        assert!(!more.is_empty() && more.len() <= 2);
        served.extend(more);
    }
    assert_eq!(served.iter().map(|end| end.0).collect::<Vec<_>>(), tickets);
}

#[test]
fn a_session_with_many_locks_loses_them_in_pieces() {
    let mut world = World::with_limits(Limits {
        expiry_batch: 3,
        ..Limits::default()
    });
    let session = world.session(1000, "");
    for seq in 1..=8 {
        let name = std::format!("k{seq}");
        world.granted(
            numbered(session, seq, 0),
            acquire(&name, Exclusive, Life::Session, 0),
        );
    }
    let mut events = world.pass(1000);
    assert_eq!(events.len(), 3, "the session itself and two of its locks");
    let (answer, more) = world.told(Client::None, lease("x"));
    assert!(matches!(answer, Answer::Granted(_)));
    events.extend(more);
    events.extend(world.batch(&[]));
    assert_eq!(world.machine.sessions_len(), 0);
    assert_eq!(world.machine.grants_len(), 1);
}

/// 70,000 grants in one slot had made fences overflow into the next slot's (schedule F12a).
#[test]
fn many_grants_of_one_slot_have_fences_of_their_own() {
    let mut world = World::with_limits(Limits {
        expiry_batch: 100_000,
        ..Limits::default()
    });
    let session = world.session(10_000_000, "");
    let held = world
        .granted(Client::None, acquire("a", Exclusive, Life::Static, 0))
        .fence;
    for part in 0..70 {
        let commands: Vec<_> = (1..=1000)
            .map(|n| {
                (
                    numbered(session, part * 1000 + n, part * 1000),
                    acquire("a", Shared, Life::Static, 9_000),
                )
            })
            .collect();
        let world = &mut world;
        // A window of 128: numbers beyond it are refused, so each confirms those before.
        for chunk in commands.chunks(100) {
            let chunk: Vec<_> = chunk
                .iter()
                .map(|(client, operation)| match client {
                    Client::Session { id, seq, .. } => {
                        (numbered(*id, seq.get(), seq.get() - 1), operation.clone())
                    }
                    _ => panic!("a session"),
                })
                .collect();
            world.batch_unaudited(&chunk);
        }
    }
    let (_, events) = world.told(Client::None, release("a", held));
    assert_eq!(ends(&events).len(), 70_000);
    assert_eq!(world.machine.audit(), Ok(()));
    assert!(
        world
            .granted(Client::None, acquire("b", Shared, LEASE, 0))
            .fence
            > held
    );
}
