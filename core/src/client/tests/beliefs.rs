//! Rules 14, 15, 32 and 33: belief grows only by an answer, from the first send of what it answers.

use super::*;
use crate::client::belief;
use crate::machine::command::{Cause, Force};
use proptest::prelude::*;

#[test]
fn a_deadline_counts_from_the_send_and_not_from_the_answer() {
    let mut world = World::plain();
    world.want(acquire(LEASE, 0));
    world.pass(1_000);
    world.answer(&granted(LEASE));
    // 12 s, less a thousandth, less the second that the answer took.
    assert_eq!(world.believes_ms(), Some(10_988));
}

#[test]
fn a_deadline_counts_from_the_first_send_of_the_request_that_was_repeated() {
    let mut world = World::plain();
    world.want(acquire(LEASE, 0));
    let first = world.asked[0].request.client;
    world.pass(1_000);
    world.server_dies();
    world.pass(1_000);
    assert_eq!(world.asked[0].request.client, first, "the same id");
    world.answer(&granted(LEASE));
    assert_eq!(world.believes_ms(), Some(9_988));
}

#[test]
fn a_replayed_grant_extends_nothing() {
    let mut world = World::plain();
    world.want(acquire(LEASE, 0));
    world.pass(3_000);
    world.server_dies();
    let replayed = Grant {
        replayed: true,
        remaining_ms: Some(12_000),
        ..grant(LEASE)
    };
    world.answer(&decided(Answer::Granted(replayed), Some(TOKEN)));
    assert_eq!(world.believes_ms(), Some(8_988));
}

#[test]
fn every_renewal_is_a_request_of_its_own() {
    let mut world = World::plain();
    world.want(acquire(LEASE, 0));
    world.answer(&granted(LEASE));
    world.pass(4_000);
    assert!(matches!(world.asked[0].request.ask, Ask::Renew { .. }));
    assert_eq!(world.asked[0].request.client, command::Client::None);
    // The server dies with it. The next one is asked anew, and its answer counts from that.
    world.pass(1_000);
    world.server_dies();
    world.answer(&renewed(12_000));
    assert_eq!(world.believes_ms(), Some(11_988));
}

#[test]
fn a_renewal_by_the_user_that_is_repeated_counts_from_its_last_try() {
    let mut world = World::plain();
    world.want(acquire(LEASE, 0));
    world.answer(&granted(LEASE));
    let proof = Proof {
        key: path(),
        fence: FENCE,
        session: None,
        token: TOKEN,
    };
    let ttl_ms = None;
    let call = world.want(Want::RenewBy { proof, ttl_ms });
    world.pass(1_000);
    world.server_dies();
    world.take_heard();
    world.answer(&renewed(12_000));
    assert_eq!(world.believes_ms(), Some(11_988));
    assert!(is_ok(&world.heard[0], call));
}

#[test]
fn a_shorter_ttl_is_believed_when_it_is_sent() {
    let mut world = World::plain();
    world.want(acquire(LEASE, 0));
    world.answer(&granted(LEASE));
    let proof = Proof {
        key: path(),
        fence: FENCE,
        session: None,
        token: TOKEN,
    };
    let ttl_ms = Some(2_000);
    world.want(Want::RenewBy { proof, ttl_ms });
    assert_eq!(world.believes_ms(), Some(1_998));
}

#[test]
fn the_user_is_warned_then_told_and_the_lock_given_back() {
    let mut world = World::plain();
    world.want(acquire(LEASE, 0));
    world.answer(&granted(LEASE));
    world.take_heard();
    world.unreachable = true;
    world.server_dies();
    world.pass(7_900);
    assert_eq!(world.take_heard(), []);
    world.pass(100);
    let news = News::Jeopardy;
    assert_eq!(world.take_heard(), [Output::Grant { fence: FENCE, news }]);
    world.pass(3_987);
    assert_eq!(world.take_heard(), []);
    world.pass(1);
    assert_eq!(world.take_heard(), [lost(Loss::Time)]);
    assert_eq!(world.client.belief(FENCE), None);
    // When a server is back, it is told: nobody here believes in the grant any more.
    world.unreachable = false;
    world.pass(3_000);
    assert!(
        matches!(&world.asked[0].request.ask, Ask::Release { proof, all: true } if proof.fence == FENCE)
    );
}

#[test]
fn a_released_lock_is_not_believed_in_from_the_send_on() {
    let mut world = World::plain();
    world.want(acquire(LEASE, 0));
    world.answer(&granted(LEASE));
    world.want(Want::Release { fence: FENCE });
    assert_eq!(world.client.belief(FENCE), None, "before any answer");
    let again = world.want(Want::Release { fence: FENCE });
    let result = Err(Failed::NotMine(FENCE));
    let expected = Output::Answer {
        call: again,
        result,
    };
    assert_eq!(world.heard.last(), Some(&expected));
}

#[test]
fn a_forgotten_grant_is_neither_renewed_nor_given_back() {
    let mut world = World::plain();
    world.want(acquire(LEASE, 0));
    world.answer(&granted(LEASE));
    world.take_heard();
    world.step(Input::Forget { fence: FENCE });
    world.pass(60_000);
    assert!(world.asked.is_empty());
    assert_eq!(world.take_heard(), []);
}

#[test]
fn a_lease_that_was_waited_for_is_renewed_before_it_is_handed_out() {
    let mut world = World::plain();
    let call = world.want(acquire(LEASE, 60_000));
    let number = world.asked.remove(0).number;
    let ticket = TicketId::new(1);
    let position = 1;
    world.reply(number, &decided(Answer::Queued { ticket, position }, None));
    world.pass(25_000);
    world.reply(number, &granted(LEASE));
    // From its first send it would be dead on arrival; from its answer nobody may count.
    assert_eq!(world.take_heard(), []);
    world.pass(300);
    world.answer(&renewed(12_000));
    let heard = world.take_heard();
    assert!(is_ok(&heard[0], call));
    assert_eq!(world.believes_ms(), Some(11_688));
}

#[test]
fn a_grant_that_can_not_be_renewed_is_never_handed_out() {
    let mut world = World::plain();
    let call = world.want(acquire(LEASE, 60_000));
    world.pass(25_000);
    world.answer(&granted(LEASE));
    world.answer(&refused(Refusal::NotHeld));
    let result = Err(Failed::TooLate);
    assert_eq!(world.take_heard(), [Output::Answer { call, result }]);
}

#[test]
fn a_sessions_grants_live_by_the_send_of_its_last_answered_keep_alive() {
    let mut world = World::session();
    world.want(acquire(Life::Session, 0));
    world.answer(&granted_in_session(Life::Session));
    assert_eq!(world.believes_ms(), Some(9_990));
    world.pass(3_334);
    assert!(matches!(world.asked[0].request.ask, Ask::KeepAlive { .. }));
    world.pass(1_000);
    world.answer(&kept());
    assert_eq!(world.believes_ms(), Some(8_989), "and not from the answer");
}

fn kept_without(taken: &[Fence]) -> Reply {
    let answer = Answer::KeptAlive {
        session: SESSION,
        ttl_ms: 10_000,
        taken: taken.to_vec(),
    };
    decided(answer, None)
}

#[test]
fn what_an_operator_took_from_a_session_is_not_believed_in_any_more() {
    let mut world = World::session();
    world.want(acquire(Life::Session, 0));
    world.answer(&granted_in_session(Life::Session));
    world.pass(3_334);
    world.take_heard();
    world.answer(&kept_without(&[FENCE]));
    assert_eq!(world.take_heard(), [lost(Loss::Taken)]);
    assert_eq!(world.client.belief(FENCE), None);
    // It is told again and again, and heard once.
    world.pass(3_334);
    world.answer(&kept_without(&[FENCE]));
    assert_eq!(world.take_heard(), []);
}

#[test]
fn a_grant_whose_answer_comes_after_it_was_taken_is_never_handed_out() {
    let mut world = World::session();
    let call = world.want(acquire(Life::Session, 60_000));
    let claim = world.asked.remove(0).number;
    world.pass(3_334);
    world.answer(&kept_without(&[FENCE]));
    world.take_heard();
    world.reply(claim, &granted_in_session(Life::Session));
    let result = Err(Failed::TooLate);
    assert_eq!(world.take_heard(), [Output::Answer { call, result }]);
    assert_eq!(world.client.belief(FENCE), None);
}

#[test]
fn who_takes_a_grant_names_the_request_so_that_a_retry_is_one() {
    let mut world = World::plain();
    let force = Force {
        key: path(),
        fence: FENCE,
        cause: Cause {
            by: "olga".into(),
            reason: "the host is gone".into(),
        },
    };
    let call = world.want(Want::Force(force.clone()));
    let asked = world.asked[0].request.clone();
    assert_eq!(asked.ask, Ask::Force(force));
    assert!(matches!(asked.client, command::Client::Key(_)));
    world.pass(1_000);
    world.server_dies();
    assert_eq!(world.asked[0].request, asked, "the same request");
    let answer = Answer::Forced {
        fence: FENCE,
        holder: Bytes::new(),
        remaining_ms: None,
    };
    world.answer(&decided(answer, None));
    assert!(is_ok(&world.take_heard()[0], call));
}

#[test]
fn a_keep_alive_that_is_not_answered_is_sent_again_elsewhere_and_counts_anew() {
    let mut world = World::session();
    world.want(acquire(Life::Session, 0));
    world.answer(&granted_in_session(Life::Session));
    world.pass(3_334);
    assert_eq!(world.servers.len(), 1);
    world.pass(1_700); // a sixth of the ttl without an answer, though pings are answered
    assert_eq!(world.servers.len(), 2);
    let resumed = world.answer(&Reply::Resumed);
    let (session, secret) = (SESSION, SECRET);
    assert_eq!(resumed.ask, Ask::Resume { session, secret });
    world.answer(&kept());
    let believed = world.believes_ms().unwrap();
    assert!((9_950..=9_990).contains(&believed), "{believed}");
}

#[test]
fn a_session_grant_is_handed_out_only_while_the_session_is_believed_in() {
    let mut world = World::session();
    let call = world.want(acquire(Life::Session, 60_000));
    let claim = world.asked.remove(0).number;
    world.unreachable = true;
    world.server_dies();
    world.pass(11_000);
    world.take_heard();
    world.unreachable = false;
    world.pass(2_500);
    world.answer(&Reply::Resumed);
    assert!(claim > 0);
    // The claim is repeated, and the session kept alive; the grant comes first.
    let claim = world
        .asked
        .iter()
        .position(|one| matches!(one.request.ask, Ask::Acquire(_)));
    let claim = world.asked.remove(claim.unwrap()).number;
    world.reply(claim, &granted_in_session(Life::Session));
    assert_eq!(world.take_heard(), [], "the session's time was over");
    world.answer(&kept());
    assert!(is_ok(&world.heard[0], call));
}

#[test]
fn a_session_that_is_gone_takes_everything_with_it() {
    let mut world = World::session();
    world.want(acquire(Life::Session, 0));
    world.answer(&granted_in_session(Life::Session));
    let call = world.want(acquire(Life::Session, 60_000));
    world.pass(3_334);
    world.take_heard();
    world.asked.remove(0);
    world.answer(&refused(Refusal::SessionGone));
    let result = Err(Failed::SessionLost);
    let expected = [
        Output::SessionLost,
        lost(Loss::Session),
        Output::Answer { call, result },
    ];
    assert_eq!(world.take_heard(), expected);
    // And another one is opened.
    assert!(matches!(
        world.asked[0].request.ask,
        Ask::OpenSession { .. }
    ));
}

#[test]
fn a_static_lock_is_believed_in_for_ever() {
    let mut world = World::plain();
    world.want(acquire(Life::Static, 0));
    world.answer(&granted(Life::Static));
    world.unreachable = true;
    world.server_dies();
    world.pass(100_000);
    assert_eq!(world.client.belief(FENCE), Some(None));
}

#[test]
fn a_renewal_that_the_service_refuses_ends_the_belief_at_once() {
    let mut world = World::plain();
    world.want(acquire(LEASE, 0));
    world.answer(&granted(LEASE));
    world.take_heard();
    world.pass(4_000);
    world.answer(&refused(Refusal::NotHeld));
    assert_eq!(world.take_heard(), [lost(Loss::Refused)]);
}

proptest! {
    /// Whatever the two clocks do within their bounds, the client is through first.
    #[test]
    fn the_client_is_through_before_the_service(
        ttl_ms in 1..86_400_000_u64,
        fast in 0..=belief::DRIFT_PPM,
        slow in 0..=belief::DRIFT_PPM,
    ) {
        let ttl = Duration::from_millis(ttl_ms);
        let million = 1_000_000_u128;
        // In real time, times a million: the client's slow clock, and the service's fast one.
        let client = belief::trusted(ttl).as_nanos() * million * million / (million - u128::from(slow));
        let service = ttl.as_nanos() * million * million / (million + u128::from(fast));
        prop_assert!(client <= service + million, "{client} {service}");
    }
}
