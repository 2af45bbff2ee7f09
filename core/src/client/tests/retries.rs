//! The same request until somebody answers, and never another one by mistake.

use super::*;
use crate::limits::SESSION_WINDOW;
use crate::node::output::NotReady;
use crate::wire::codes;

fn failed(world: &World, of: CallId) -> Option<&Failed> {
    world.heard.iter().find_map(|output| match output {
        Output::Answer {
            call,
            result: Err(failed),
        } if *call == of => Some(failed),
        _ => None,
    })
}

#[test]
fn a_call_before_there_is_a_connection_is_sent_when_there_is_one() {
    let mut world = World::plain();
    world.unreachable = true;
    world.server_dies();
    world.want(Want::Query(Ask::Servers));
    assert!(world.asked.is_empty());
    world.unreachable = false;
    world.pass(3_000);
    assert_eq!(world.asked[0].request.ask, Ask::Servers);
}

#[test]
fn when_a_server_dies_the_next_is_asked_at_once_and_then_they_get_a_rest() {
    let mut world = World::new(3, None);
    world.unreachable = true;
    world.server_dies();
    world.pass(0);
    let mut servers = world.servers.clone();
    assert_eq!(servers.len(), 3, "each once, without waiting");
    servers.sort_unstable();
    assert_eq!(servers, [0, 1, 2]);
    world.pass(60_000);
    let tries = world.servers.len();
    assert!((30..90).contains(&tries), "{tries} tries in a minute");
}

#[test]
fn a_silent_server_is_pinged_and_given_up() {
    let mut world = World::plain();
    world.want(Want::Query(Ask::Servers));
    let link = world.edge.take().unwrap(); // it hears nothing and says nothing
    world.pass(1_900);
    assert_eq!(world.servers.len(), 1);
    world.pass(200);
    assert_eq!(world.servers.len(), 2);
    assert_eq!(world.asked[0].request.ask, Ask::Servers);
    // A word from the old connection is nobody's.
    let bytes = Bytes::from_static(b"\xff\xff");
    let link = link.0;
    world.step(Input::Received { link, bytes });
    assert_eq!(world.servers.len(), 2);
}

#[test]
fn a_slow_server_that_answers_pings_is_kept() {
    let mut world = World::plain();
    world.want(acquire(LEASE, 20_000));
    world.pass(20_000);
    assert_eq!(world.servers.len(), 1);
}

#[test]
fn a_server_of_another_cluster_is_left() {
    let mut world = World::plain();
    world.client.settings.cluster = Some(ClusterId([8; 16]));
    world.want(Want::Query(Ask::Servers));
    world.server_dies();
    world.pass(1_000);
    assert!(world.servers.len() > 2);
    assert!(world.asked.is_empty(), "nothing is asked of it");
}

#[test]
fn bytes_of_no_sense_end_the_connection() {
    let mut world = World::plain();
    let link = world.client.link.id();
    let bytes = Bytes::from_static(b"\x90\x05\xff\xff");
    world.step(Input::Received { link, bytes });
    assert_eq!(world.servers.len(), 2);
}

#[test]
fn the_session_is_opened_once_however_often_it_is_asked_for() {
    let mut world = World::new(2, Some(10_000));
    let first = world.asked[0].request.client;
    assert!(matches!(first, command::Client::Key(_)));
    world.pass(1_000);
    world.server_dies();
    assert_eq!(world.asked[0].request.client, first);
    world.answer(&opened());
    let until = world.client.session.open.as_ref().map(|open| open.until);
    let expected = world.now.plus(Duration::from_millis(8_990));
    assert_eq!(until, Some(expected), "from the first send");
}

#[test]
fn a_claim_keeps_its_number_over_servers_and_confirms_what_was_answered() {
    let mut world = World::session();
    let number = |world: &World, at: usize| match world.asked[at].request.client {
        command::Client::Session {
            seq, done_through, ..
        } => (seq.get(), done_through.get()),
        other => panic!("{other:?}"),
    };
    for _ in 0..3 {
        world.want(acquire(Life::Session, 0));
    }
    let numbers: Vec<_> = (0..3).map(|at| number(&world, at)).collect();
    assert_eq!(numbers, [(1, 0), (2, 0), (3, 0)]);
    // The second is answered first: nothing below it may be forgotten.
    let second = world.asked.remove(1).number;
    world.reply(second, &refused(Refusal::Held { by: vec![] }));
    world.server_dies();
    world.answer(&Reply::Resumed);
    world
        .asked
        .retain(|one| matches!(one.request.ask, Ask::Acquire(_)));
    let numbers: Vec<_> = (0..2).map(|at| number(&world, at)).collect();
    assert_eq!(numbers, [(1, 0), (3, 0)]);
    world.answer(&refused(Refusal::Held { by: vec![] }));
    world.answer(&refused(Refusal::Held { by: vec![] }));
    world.want(acquire(Life::Session, 0));
    assert_eq!(number(&world, 0), (4, 3));
}

#[test]
fn a_full_window_holds_claims_back_until_the_oldest_is_answered() {
    let mut world = World::session();
    let window = usize::try_from(SESSION_WINDOW).unwrap();
    for _ in 0..window + 5 {
        world.want(acquire(Life::Session, 0));
    }
    assert_eq!(world.asked.len(), window);
    let second = world.asked.remove(1).number;
    world.reply(second, &refused(Refusal::Held { by: vec![] }));
    assert_eq!(world.asked.len(), window - 1, "the first is still open");
    world.answer(&refused(Refusal::Held { by: vec![] }));
    assert_eq!(world.asked.len(), window, "two are confirmed");
}

#[test]
fn no_quorum_is_tried_again_and_then_elsewhere() {
    let mut world = World::plain();
    let call = world.want(acquire(LEASE, 0));
    let first = world.asked[0].request.client;
    world.answer(&Reply::Failed(Failure::NoQuorum));
    assert!(world.asked.is_empty(), "after a while");
    world.pass(200);
    world.answer(&Reply::Failed(Failure::Unknown));
    assert_eq!(world.servers.len(), 2);
    world.pass(400);
    let again = world.answer(&granted(LEASE));
    assert_eq!(again.client, first);
    assert!(is_ok(&world.heard[0], call));
}

/// Its only address may be that of a balancer, before a server that is cut off and others that are not.
#[test]
fn one_address_is_dialed_again_when_who_answers_there_has_no_quorum() {
    let mut world = World::new(1, None);
    let call = world.want(acquire(LEASE, 0));
    for failure in [Failure::NoQuorum, Failure::NotReady(NotReady::OnlyVotes)] {
        world.answer(&Reply::Failed(failure));
        world.pass(200);
    }
    assert_eq!(
        world.servers,
        [0, 0],
        "the same address, another connection"
    );
    world.pass(400);
    world.answer(&granted(LEASE));
    assert!(is_ok(&world.heard[0], call));
}

#[test]
fn a_refusal_of_the_log_is_the_answer() {
    let mut world = World::plain();
    let call = world.want(acquire(LEASE, 0));
    world.answer(&refused(Refusal::Held { by: vec![] }));
    match failed(&world, call) {
        Some(Failed::Rejected(no)) => assert_eq!(no.code, codes::HELD.number),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_that_nobody_answers_ends_and_says_whether_it_was_sent() {
    let mut world = World::plain();
    let sent = world.want(acquire(LEASE, 0));
    world.unreachable = true;
    world.server_dies();
    let unsent = world.want(acquire(LEASE, 0));
    world.pass(30_000);
    assert_eq!(failed(&world, sent), Some(&Failed::TimedOut { sent: true }));
    let no = Failed::TimedOut { sent: false };
    assert_eq!(failed(&world, unsent), Some(&no));
}

#[test]
fn what_is_granted_after_its_user_left_is_given_back() {
    let mut world = World::plain();
    let call = world.want(acquire(LEASE, 0));
    world.step(Input::Abandon { call });
    world.answer(&granted(LEASE));
    assert!(
        matches!(&world.asked[0].request.ask, Ask::Release { proof, all: false } if proof.fence == FENCE)
    );
    assert_eq!(world.take_heard(), []);
    assert_eq!(world.client.calls(), 0);
    assert!(!world.client.is_idle());
    let (fence, already) = (FENCE, false);
    world.answer(&decided(
        Answer::Released {
            fence,
            already,
            entered: 0,
        },
        None,
    ));
    assert!(world.client.is_idle());
}

#[test]
fn a_claim_whose_user_left_leaves_its_line() {
    let mut world = World::plain();
    let ticket = TicketId::new(7);
    let position = 1;
    let queued = decided(Answer::Queued { ticket, position }, None);
    let call = world.want(acquire(LEASE, 60_000));
    let number = world.asked.remove(0).number;
    world.reply(number, &queued);
    world.step(Input::Abandon { call });
    assert_eq!(world.asked.remove(0).request.ask, Ask::Cancel { ticket });
    // Also if he left before it was known that it waits.
    let call = world.want(acquire(LEASE, 60_000));
    let number = world.asked.remove(0).number;
    world.step(Input::Abandon { call });
    assert!(world.asked.is_empty());
    world.reply(number, &queued);
    assert_eq!(world.asked[0].request.ask, Ask::Cancel { ticket });
}

#[test]
fn one_call_too_many_is_refused_and_nothing_sent() {
    let mut world = World::plain();
    world.unreachable = true;
    world.server_dies();
    for _ in 0..CALLS_MAX {
        world.want(Want::Query(Ask::Servers));
    }
    assert_eq!(world.take_heard(), []);
    let call = world.want(Want::Query(Ask::Servers));
    assert_eq!(failed(&world, call), Some(&Failed::Busy));
}

#[test]
fn what_no_server_would_take_is_not_sent() {
    let mut world = World::plain();
    let Want::Acquire { mut acquire, renew } = acquire(LEASE, 0) else {
        panic!("a claim");
    };
    acquire.holder = Bytes::from(vec![b'x'; 129]);
    let call = world.want(Want::Acquire { acquire, renew });
    assert!(matches!(failed(&world, call), Some(Failed::Invalid(_))));
    assert!(world.asked.is_empty());
}

#[test]
fn an_identifier_in_use_is_told_to_all_who_wait_and_tried_again() {
    let mut world = World::new(2, Some(10_000));
    let call = world.want(Want::Query(Ask::Servers));
    world.answer(&refused(Refusal::IdentifierInUse));
    match failed(&world, call) {
        Some(Failed::Rejected(no)) => assert_eq!(no.code, codes::IDENTIFIER_IN_USE.number),
        other => panic!("{other:?}"),
    }
    world.pass(2_500);
    assert!(matches!(
        world.asked[0].request.ask,
        Ask::OpenSession { .. }
    ));
}

#[test]
fn a_closed_session_is_opened_again_by_the_next_call() {
    let mut world = World::session();
    world.want(acquire(Life::Session, 0));
    world.answer(&granted_in_session(Life::Session));
    world.take_heard();
    let call = world.want(Want::CloseSession);
    assert_eq!(world.take_heard(), [lost(Loss::Session)], "at the send");
    let session = SESSION;
    world.answer(&decided(Answer::SessionClosed { session }, None));
    assert!(is_ok(&world.heard[0], call));
    world.pass(60_000);
    assert!(world.asked.is_empty(), "nothing is kept alive");
    world.want(Want::Query(Ask::Servers));
    assert!(matches!(
        world.asked[0].request.ask,
        Ask::OpenSession { .. }
    ));
}

#[test]
fn the_same_seed_and_inputs_give_the_same_bytes() {
    let run = || {
        let mut world = World::session();
        world.want(acquire(Life::Session, 0));
        world.pass(5_000);
        world.server_dies();
        world.pass(20_000);
        (format!("{:?}", world.asked), world.servers.clone())
    };
    assert_eq!(run(), run());
}

#[test]
fn a_wait_counts_only_once_a_server_has_the_claim() {
    let mut world = World::plain();
    world.unreachable = true;
    world.server_dies();
    let call = world.want(acquire(LEASE, 3_600_000));
    world.pass(29_900);
    assert_eq!(failed(&world, call), None);
    world.pass(200);
    let no = Failed::TimedOut { sent: false };
    assert_eq!(failed(&world, call), Some(&no), "nobody to wait in line at");
    world.unreachable = false;
    world.pass(3_000);
    let call = world.want(acquire(LEASE, 3_600_000));
    world.pass(3_600_000);
    assert_eq!(failed(&world, call), None, "it waits as long as it said");
    world.pass(60_000);
    assert_eq!(failed(&world, call), Some(&Failed::TimedOut { sent: true }));
}

#[test]
fn it_notices_another_configuration_and_forgets_it_for_no_older_one() {
    let mut world = World::session();
    let before = config();
    assert_eq!(
        world.client.config(),
        Some(before.shared().mark()),
        "by the hello"
    );
    let changed = |by| {
        let change = Change::Policy(Policy::default());
        let (at, seen) = (Slot::new(5), before.shared().mark().change);
        let shared = before.shared().apply(at, Stamp::ZERO, by, seen, &change);
        Config::of(before.me(), shared.unwrap()).unwrap()
    };
    let after = changed("ann");
    let forked = changed("bob");
    for (server, known) in [(&after, &after), (&before, &after), (&forked, &forked)] {
        world.pass(3_400);
        let asked = world.asked.remove(0);
        assert!(matches!(asked.request.ask, Ask::KeepAlive { .. }));
        world.reply_under(server, asked.number, &kept());
        assert_eq!(world.client.config(), Some(known.shared().mark()));
    }
    assert_ne!(
        after.shared().mark(),
        forked.shared().mark(),
        "one change, two hashes"
    );
}
