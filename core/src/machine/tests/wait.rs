use super::*;

fn wait(name: &str, mode: Mode, wait_ms: u64) -> Operation {
    acquire(name, mode, LEASE, wait_ms)
}

/// The fence with which a ticket ended.
fn fence_of(answer: &Answer) -> Fence {
    match answer {
        Answer::Granted(grant) => grant.fence,
        other => panic!("{other:?}"),
    }
}

#[test]
fn first_come_first_served() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let held = world.granted(Client::None, lease("a")).fence;
    let mut tickets = Vec::new();
    for seq in 1..=3 {
        let (ticket, position) =
            world.queued(numbered(session, seq, 0), wait("a", Exclusive, 5000));
        assert_eq!(position, seq);
        tickets.push(ticket);
    }
    let mut fence = held;
    for ticket in tickets {
        let (_, events) = world.told(Client::None, release("a", fence));
        let ends = ends(&events);
        assert_eq!(ends.len(), 1);
        assert_eq!(ends[0].0, ticket);
        assert!(fence_of(&ends[0].1) > fence);
        fence = fence_of(&ends[0].1);
    }
}

#[test]
fn who_shares_is_served_together_and_nobody_overtakes() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let held = world.granted(Client::None, lease("a")).fence;
    let line = [Shared, Shared, Exclusive, Shared];
    let mut tickets = Vec::new();
    for (seq, mode) in (1..).zip(line) {
        tickets.push(
            world
                .queued(numbered(session, seq, 0), wait("a", mode, 5000))
                .0,
        );
    }
    let (_, events) = world.told(Client::None, release("a", held));
    let shared = ends(&events);
    assert_eq!(
        shared.iter().map(|end| end.0).collect::<Vec<_>>(),
        tickets[..2]
    );
    // A newcomer that would fit stands behind the exclusive one.
    assert_eq!(
        world.ask(Client::None, wait("a", Shared, 0)),
        Answer::Refused(Refusal::Held {
            by: shared
                .iter()
                .map(|end| Blocker {
                    holder: Bytes::from_static(b"h"),
                    fence: fence_of(&end.1),
                    mode: Shared
                })
                .collect(),
        })
    );
    world.ask(Client::None, release("a", fence_of(&shared[0].1)));
    let (_, events) = world.told(Client::None, release("a", fence_of(&shared[1].1)));
    let exclusive = ends(&events);
    assert_eq!(exclusive[0].0, tickets[2]);
    let (_, events) = world.told(Client::None, release("a", fence_of(&exclusive[0].1)));
    assert_eq!(ends(&events)[0].0, tickets[3]);
}

#[test]
fn the_ttl_starts_with_the_grant() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let held = world
        .granted(Client::None, acquire("a", Exclusive, Life::Static, 0))
        .fence;
    world.queued(numbered(session, 1, 0), wait("a", Exclusive, 60_000));
    world.pass(25_000);
    let (_, events) = world.told(Client::None, release("a", held));
    let Answer::Granted(grant) = &ends(&events)[0].1 else {
        panic!("granted")
    };
    assert_eq!(grant.remaining_ms, Some(10_000));
    assert_eq!(grant.session, None, "a lease is its own");
}

#[test]
fn a_wait_ends_with_who_is_in_the_way() {
    let mut world = World::new();
    let held = world
        .granted(Client::None, acquire("a", Exclusive, Life::Static, 0))
        .fence;
    let (ticket, _) = world.queued(Client::None, wait("a", Exclusive, 5000));
    assert_eq!(world.pass(4999), []);
    let Refusal::Held { by } = held_by(held, Exclusive) else {
        panic!("held")
    };
    let timeout = Answer::Refused(Refusal::WaitTimeout { by });
    assert_eq!(ends(&world.pass(1)), [(ticket, timeout)]);
    assert_eq!(world.machine.tickets_len(), 0);
}

#[test]
fn a_caller_without_a_session_is_asked_first() {
    let mut world = World::new();
    let held = world.granted(Client::None, lease("a")).fence;
    let (ticket, _) = world.queued(key(1), wait("a", Exclusive, 60_000));
    let (next, _) = world.queued(Client::None, wait("a", Exclusive, 60_000));
    let confirm = |ticket| Operation::Confirm { ticket };
    let still = Answer::Queued {
        ticket,
        position: 1,
    };
    assert_eq!(
        world.ask(Client::None, confirm(ticket)),
        still,
        "not offered yet"
    );
    let (_, events) = world.told(Client::None, release("a", held));
    assert_eq!(events, [Event::Offered { ticket }]);
    assert_eq!(world.inspect("a").holders, []);
    assert_eq!(
        world.ask(key(1), wait("a", Exclusive, 60_000)),
        Answer::Offered { ticket }
    );
    // What is offered is taken.
    assert_eq!(
        world.ask(Client::None, lease("a")),
        Answer::Refused(Refusal::Held { by: Vec::new() })
    );
    world.ms += 3000;
    let (answer, events) = world.told(Client::None, confirm(ticket));
    let Answer::Granted(grant) = &answer else {
        panic!("{answer:?}")
    };
    assert_eq!(grant.remaining_ms, Some(10_000), "the ttl starts here");
    assert_eq!(
        events,
        [Event::Ended {
            ticket,
            answer: answer.clone()
        }]
    );
    let gone = Answer::Refused(Refusal::NoSuchTicket);
    assert_eq!(world.ask(Client::None, confirm(ticket)), gone);
    let (_, events) = world.told(Client::None, release("a", grant.fence));
    assert_eq!(events, [Event::Offered { ticket: next }]);
}

#[test]
fn an_offer_that_nobody_takes_passes_on() {
    let mut world = World::new();
    let held = world.granted(Client::None, lease("a")).fence;
    let (first, _) = world.queued(Client::None, wait("a", Exclusive, 1000));
    let (second, _) = world.queued(Client::None, wait("a", Exclusive, 60_000));
    world.told(Client::None, release("a", held));
    assert_eq!(world.pass(OFFER_MS - 1), [], "the offer outlives the wait");
    let cancelled = Event::Ended {
        ticket: first,
        answer: Answer::Refused(Refusal::Cancelled),
    };
    assert_eq!(
        world.pass(1),
        [cancelled, Event::Offered { ticket: second }]
    );
}

#[test]
fn who_shares_is_asked_together() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    let held = world.granted(Client::None, lease("a")).fence;
    let (first, _) = world.queued(Client::None, wait("a", Shared, 60_000));
    let (second, _) = world.queued(numbered(session, 1, 0), wait("a", Shared, 60_000));
    let (third, _) = world.queued(Client::None, wait("a", Shared, 60_000));
    let (fourth, _) = world.queued(Client::None, wait("a", Exclusive, 60_000));
    let (_, events) = world.told(Client::None, release("a", held));
    assert_eq!(events[0], Event::Offered { ticket: first });
    assert_eq!(ends(&events)[0].0, second);
    assert_eq!(events[2], Event::Offered { ticket: third });
    assert_eq!(events.len(), 3);
    // The first leaves; the third confirms, and the exclusive one waits for both who hold it.
    world.told(Client::None, Operation::Cancel { ticket: first });
    let (answer, _) = world.told(Client::None, Operation::Confirm { ticket: third });
    world.ask(Client::None, release("a", fence_of(&ends(&events)[0].1)));
    let (_, events) = world.told(Client::None, release("a", fence_of(&answer)));
    assert_eq!(events, [Event::Offered { ticket: fourth }]);
}

#[test]
fn who_leaves_the_line_lets_the_next_go_on() {
    let mut world = World::new();
    world.granted(Client::None, acquire("a", Shared, LEASE, 0));
    let (exclusive, _) = world.queued(Client::None, wait("a", Exclusive, 60_000));
    let (shared, _) = world.queued(Client::None, wait("a", Shared, 60_000));
    let (answer, events) = world.told(Client::None, Operation::Cancel { ticket: exclusive });
    assert_eq!(answer, Answer::Cancelled { ticket: exclusive });
    let cancelled = Event::Ended {
        ticket: exclusive,
        answer: Answer::Refused(Refusal::Cancelled),
    };
    assert_eq!(events, [cancelled, Event::Offered { ticket: shared }]);
    let again = world.ask(Client::None, Operation::Cancel { ticket: exclusive });
    assert_eq!(again, Answer::Refused(Refusal::NoSuchTicket));
}

#[test]
fn a_sessions_ticket_is_cancelled_by_that_session_only() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    world.granted(Client::None, lease("a"));
    let (ticket, _) = world.queued(numbered(session, 1, 0), wait("a", Exclusive, 60_000));
    let refused = Answer::Refused(Refusal::NoSuchTicket);
    assert_eq!(
        world.ask(Client::None, Operation::Cancel { ticket }),
        refused
    );
    let (answer, _) = world.told(numbered(session, 2, 0), Operation::Cancel { ticket });
    assert_eq!(answer, Answer::Cancelled { ticket });
}

#[test]
fn the_limit_of_tickets_is_an_answer() {
    let mut world = World::with_limits(Limits {
        tickets: 1,
        ..Limits::default()
    });
    world.granted(Client::None, lease("a"));
    world.queued(Client::None, wait("a", Exclusive, 1000));
    let full = Answer::Refused(Refusal::Quota {
        what: answer::Table::Tickets,
    });
    assert_eq!(world.ask(Client::None, wait("a", Exclusive, 1000)), full);
    world.granted(Client::None, wait("b", Exclusive, 1000));
}

#[test]
fn a_lock_shows_its_line() {
    let mut world = World::new();
    let session = world.session(100_000, "web");
    world.granted(Client::None, lease("a"));
    let (ticket, _) = world.queued(numbered(session, 1, 0), wait("a", Shared, 60_000));
    world.pass(2000);
    let view = world.inspect("a");
    assert_eq!(view.waiting, 1);
    assert_eq!(
        (view.waiters[0].ticket, view.waiters[0].waiting_ms),
        (ticket, 2000)
    );
    assert_eq!(view.holders[0].remaining_ms, Some(8000));
    let seen = world.machine.ticket(ZoneId::new(0), ticket).unwrap();
    assert_eq!(
        (seen.session, seen.offered, seen.position),
        (Some(session), false, 1)
    );
}
