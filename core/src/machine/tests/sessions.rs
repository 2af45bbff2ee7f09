use super::*;

#[test]
fn a_session_lives_by_its_keep_alives_and_its_locks_with_it() {
    let mut world = World::new();
    let session = world.session(1000, "");
    let grant = world.granted(
        numbered(session, 1, 0),
        acquire("a", Exclusive, Life::Session, 0),
    );
    assert_eq!(
        (grant.session, grant.remaining_ms),
        (Some(session), Some(1000))
    );
    world.ms += 900;
    let alive = Answer::KeptAlive {
        session,
        ttl_ms: 1000,
        taken: alloc::vec![],
    };
    assert_eq!(
        world.ask(Client::None, Operation::KeepAlive { session }),
        alive
    );
    assert_eq!(world.pass(999), []);
    assert_eq!(
        world.pass(1),
        [
            Event::SessionExpired { session },
            Event::Lost {
                zone: ZoneId::new(0),
                keys: alloc::vec![path("a")],
                fence: grant.fence,
                session: Some(session),
                loss: Loss::Expired,
            },
        ]
    );
    let gone = Answer::Refused(Refusal::SessionGone);
    assert_eq!(
        world.ask(Client::None, Operation::KeepAlive { session }),
        gone
    );
    assert_eq!(world.ask(numbered(session, 2, 0), lease("b")), gone);
    assert!(!world.machine.has_session(ZoneId::new(0), session));
}

#[test]
fn who_closes_a_session_has_lost_nothing() {
    let mut world = World::new();
    let [session, other] = [world.session(9000, "x"), world.session(9000, "y")];
    world.granted(
        numbered(session, 1, 0),
        acquire("a", Exclusive, Life::Session, 0),
    );
    let held = world.granted(Client::None, lease("b")).fence;
    let (ticket, _) = world.queued(
        numbered(session, 2, 0),
        acquire("b", Exclusive, Life::Session, 5000),
    );
    let (next, _) = world.queued(
        numbered(other, 1, 0),
        acquire("a", Exclusive, Life::Session, 5000),
    );
    let (answer, events) = world.told(numbered(session, 3, 0), Operation::CloseSession { session });
    assert_eq!(answer, Answer::SessionClosed { session });
    let ends = ends(&events);
    assert_eq!(ends.len(), events.len(), "nothing is lost");
    assert_eq!(ends[0].0, next);
    assert_eq!(ends[1], (ticket, Answer::Refused(Refusal::Cancelled)));
    let again = world.ask(Client::None, Operation::CloseSession { session });
    assert_eq!(again, Answer::Refused(Refusal::SessionGone));
    assert_eq!(world.inspect("b").holders[0].fence, held);
    world.session(9000, "x");
}

#[test]
fn an_identifier_has_one_live_session() {
    let mut world = World::new();
    let open = || Operation::OpenSession {
        ttl_ms: 1000,
        identifier: Bytes::from_static(b"web-1"),
        threads: false,
    };
    let first = world.session(1000, "web-1");
    assert_eq!(
        world.ask(Client::None, open()),
        Answer::Refused(Refusal::IdentifierInUse)
    );
    world.session(1000, "");
    world.session(1000, "");
    world.ms += 1000;
    let (answer, events) = world.told(Client::None, open());
    assert!(matches!(answer, Answer::SessionOpened { session, .. } if session != first));
    assert!(events.contains(&Event::SessionExpired { session: first }));
}

#[test]
fn a_lease_outlives_the_session_that_asked_for_it() {
    let mut world = World::new();
    let session = world.session(1000, "");
    let grant = world.granted(numbered(session, 1, 0), lease("a"));
    assert_eq!(world.pass(1000), [Event::SessionExpired { session }]);
    assert_eq!(world.inspect("a").holders[0].fence, grant.fence);
}

#[test]
fn the_limit_of_sessions_is_an_answer() {
    let mut world = World::with_limits(Limits {
        sessions: 1,
        ..Limits::default()
    });
    let session = world.session(1000, "");
    let open = Operation::OpenSession {
        ttl_ms: 1000,
        identifier: Bytes::new(),
        threads: false,
    };
    let full = Answer::Refused(Refusal::Quota {
        what: answer::Table::Sessions,
    });
    assert_eq!(world.ask(Client::None, open), full);
    world.told(Client::None, Operation::CloseSession { session });
    world.session(1000, "");
}
