use super::*;
use crate::limits::DEDUPE_MS;

#[test]
fn a_retried_acquire_gets_what_it_has_and_extends_nothing() {
    let mut world = World::new();
    let session = world.session(100_000, "");
    for (client, name) in [(key(1), "a"), (numbered(session, 1, 0), "b")] {
        let first = world.granted(client, lease(name));
        world.ms += 4000;
        let again = world.granted(client, lease(name));
        assert_eq!(again.fence, first.fence);
        assert!(again.replayed);
        assert_eq!(again.remaining_ms, Some(6000));
    }
    assert_eq!(world.machine.grants_len(), 2);
}

#[test]
fn a_retried_wait_keeps_its_place() {
    let mut world = World::new();
    let held = world.granted(Client::None, lease("a")).fence;
    world.queued(Client::None, acquire("a", Exclusive, LEASE, 5000));
    let wait = |ms| acquire("a", Exclusive, LEASE, ms);
    let (ticket, position) = world.queued(key(1), wait(9000));
    assert_eq!(position, 2);
    assert_eq!(
        world.queued(key(1), wait(100)),
        (ticket, 2),
        "a retry may want to wait less"
    );
    world.told(Client::None, release("a", held));
    world.pass(OFFER_MS);
    let (answer, _) = world.told(Client::None, Operation::Confirm { ticket });
    let again = world.granted(key(1), wait(9000));
    assert!(matches!(answer, Answer::Granted(grant) if grant.fence == again.fence));
    assert!(again.replayed);
}

#[test]
fn a_retry_after_the_end_takes_nothing() {
    let mut world = World::new();
    let session = world.session(1_000_000, "");
    for (client, name) in [(key(1), "a"), (numbered(session, 1, 0), "b")] {
        let fence = world.granted(client, lease(name)).fence;
        world.ask(Client::None, release(name, fence));
        assert_eq!(
            world.ask(client, lease(name)),
            Answer::Refused(Refusal::NotHeld)
        );
        let held = world.granted(Client::None, lease(name)).fence;
        assert_eq!(
            world.ask(client, lease(name)),
            Answer::Refused(Refusal::NotHeld)
        );
        assert_eq!(world.inspect(name).holders[0].fence, held);
    }
}

#[test]
fn the_first_answer_is_given_again() {
    let mut world = World::new();
    let session = world.session(1_000_000, "");
    for (client, other, name) in [
        (key(1), key(2), "a"),
        (numbered(session, 1, 0), numbered(session, 2, 0), "b"),
    ] {
        let fence = world.granted(Client::None, lease(name)).fence;
        let refused = world.ask(other, lease(name));
        let released = world.ask(client, release(name, fence));
        assert_eq!(
            released,
            Answer::Released {
                fence,
                already: false,
                entered: 0,
            }
        );
        assert_eq!(world.ask(client, release(name, fence)), released);
        assert_eq!(
            world.ask(other, lease(name)),
            refused,
            "though it would be free now"
        );
    }
    let open = Operation::OpenSession {
        ttl_ms: 1000,
        identifier: Bytes::from_static(b"i"),
        threads: false,
    };
    let opened = world.ask(key(3), open.clone());
    assert_eq!(world.ask(key(3), open), opened);
}

#[test]
fn an_id_names_one_request() {
    let mut world = World::new();
    let session = world.session(1_000_000, "");
    for client in [key(1), numbered(session, 1, 0)] {
        world.ask(client, lease("a"));
        let reused = Answer::Refused(Refusal::RequestIdReused);
        assert_eq!(world.ask(client, lease("b")), reused);
        assert_eq!(world.ask(client, acquire("a", Shared, LEASE, 0)), reused);
    }
    world.zone = 1;
    world.granted(key(1), lease("b"));
}

#[test]
fn a_renewal_is_never_answered_from_memory() {
    let mut world = World::new();
    let fence = world.granted(Client::None, lease("a")).fence;
    for _ in 0..3 {
        world.ms += 8000;
        let renewed = Answer::Renewed {
            fence,
            ttl_ms: 10_000,
        };
        assert_eq!(world.ask(key(1), renew("a", fence, None)), renewed);
        assert_eq!(world.inspect("a").holders[0].remaining_ms, Some(10_000));
    }
    let renewed = Answer::Renewed { fence, ttl_ms: 500 };
    assert_eq!(world.ask(key(1), renew("a", fence, Some(500))), renewed);
    assert_eq!(world.inspect("a").holders[0].remaining_ms, Some(500));
}

#[test]
fn a_session_has_a_window_and_what_is_confirmed_is_forgotten() {
    let mut world = World::with_limits(Limits {
        session_window: 2,
        ..Limits::default()
    });
    let session = world.session(1_000_000, "");
    world.granted(numbered(session, 2, 0), lease("b"));
    let busy = Answer::Refused(Refusal::SessionBusy);
    assert_eq!(world.ask(numbered(session, 3, 0), lease("c")), busy);
    world.granted(numbered(session, 1, 0), lease("a"));
    assert!(
        world.granted(numbered(session, 2, 0), lease("b")).replayed,
        "in any order"
    );
    world.granted(numbered(session, 3, 1), lease("c"));
    let forgotten = Answer::Refused(Refusal::Forgotten);
    assert_eq!(world.ask(numbered(session, 1, 0), lease("a")), forgotten);
    assert!(world.granted(numbered(session, 2, 0), lease("b")).replayed);
}

#[test]
fn a_key_is_kept_for_its_time_and_no_longer() {
    let mut world = World::new();
    let fence = world.granted(Client::None, lease("a")).fence;
    world.ask(key(1), release("a", fence));
    world.ms += DEDUPE_MS - 1;
    assert_eq!(
        world.ask(key(1), lease("b")),
        Answer::Refused(Refusal::RequestIdReused)
    );
    world.ms += 2000;
    world.granted(key(1), lease("b"));
}

#[test]
fn a_key_is_kept_while_its_grant_lives() {
    let mut world = World::new();
    let lock = acquire("a", Exclusive, Life::Static, 0);
    let fence = world.granted(key(1), lock.clone()).fence;
    world.pass(DEDUPE_MS * 10);
    assert!(world.granted(key(1), lock.clone()).replayed);
    world.ask(Client::None, release("a", fence));
    assert_eq!(
        world.ask(key(1), lock.clone()),
        Answer::Refused(Refusal::NotHeld)
    );
    world.pass(DEDUPE_MS + 1000);
    assert!(!world.granted(key(1), lock).replayed);
}

#[test]
fn a_full_table_of_answers_refuses_new_keys_and_keeps_the_old() {
    let mut world = World::with_limits(Limits {
        answers: 1,
        ..Limits::default()
    });
    let fence = world.granted(key(1), lease("a")).fence;
    let released = world.ask(key(2), release("a", fence));
    let full = Answer::Refused(Refusal::Quota {
        what: answer::Table::Answers,
    });
    assert_eq!(world.ask(key(3), lease("b")), full);
    assert_eq!(world.ask(key(2), release("a", fence)), released);
    world.granted(Client::None, lease("b"));
    world.pass(DEDUPE_MS + 1000);
    world.granted(key(3), lease("c"));
}
