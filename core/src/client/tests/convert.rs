//! A grant of the client that becomes another one.

use super::*;
use crate::node::input::Convert;

const NEW: Fence = Fence::new(18);
const NEW_TOKEN: Token = Token([6; 32]);

/// One who holds a lease, 2 s after it was granted.
fn holder() -> World {
    let mut world = World::plain();
    world.want(acquire(LEASE, 0));
    world.answer(&granted(LEASE));
    world.pass(2_000);
    world.take_heard();
    world
}

fn wanted(mode: Mode) -> Want {
    Want::Convert {
        fence: FENCE,
        parts: Parts::one(path(), mode),
        wait_ms: 60_000,
    }
}

fn converted() -> Reply {
    let grant = Grant {
        fence: NEW,
        remaining_ms: Some(10_000),
        ..grant(LEASE)
    };
    decided(Answer::Granted(grant), Some(NEW_TOKEN))
}

fn is_of_new(ask: &Ask) -> bool {
    match ask {
        Ask::Release { proof, .. } | Ask::Renew { proof, .. } => {
            (proof.fence, proof.token) == (NEW, NEW_TOKEN)
        }
        _ => false,
    }
}

#[test]
fn more_is_believed_as_long_as_the_old_grant_was() {
    let mut world = holder();
    let call = world.want(wanted(Mode::Exclusive));
    let request = world.answer(&converted());
    let expected = Ask::Convert(Convert {
        parts: Parts::one(path(), Mode::Exclusive),
        fence: FENCE,
        session: None,
        token: TOKEN,
        wait_ms: 60_000,
    });
    assert_eq!(request.ask, expected);
    assert!(
        matches!(request.client, command::Client::Key(_)),
        "a retry is known"
    );
    assert!(is_ok(&world.heard[0], call));
    assert_eq!(world.client.belief(FENCE), None);
    let until = world.client.belief(NEW).unwrap().unwrap();
    assert_eq!(until.since(world.now).as_millis(), 9_988);
    // It is renewed by its own token.
    world.pass(2_000);
    assert!(is_of_new(&world.asked[0].request.ask));
}

#[test]
fn less_changes_nothing_of_what_is_believed() {
    let mut world = holder();
    let call = world.want(wanted(Mode::Shared));
    world.answer(&decided(Answer::Converted { fence: FENCE }, None));
    assert!(is_ok(&world.heard[0], call));
    assert_eq!(world.believes_ms(), Some(9_988));
}

#[test]
fn a_refused_renewal_may_mean_that_the_grant_is_another_one() {
    let mut world = holder();
    world.want(wanted(Mode::Exclusive));
    let number = world.asked.remove(0).number;
    world.pass(2_000);
    world.answer(&refused(Refusal::NotHeld));
    assert_eq!(
        world.believes_ms(),
        Some(7_988),
        "as long as it was renewed"
    );
    world.reply(number, &converted());
    assert!(world.client.belief(NEW).is_some());
    // Without a conversion under way it is over.
    let mut world = holder();
    world.want(wanted(Mode::Exclusive));
    world.answer(&refused(Refusal::NotHeld));
    assert_eq!(world.believes_ms(), Some(9_988), "the next renewal tells");
    world.answer(&refused(Refusal::NotHeld));
    assert_eq!(world.client.belief(FENCE), None);
}

#[test]
fn who_gave_up_a_conversion_that_was_made_has_lost_the_lock() {
    let mut world = holder();
    let call = world.want(wanted(Mode::Exclusive));
    world.step(Input::Abandon { call });
    world.answer(&converted());
    assert_eq!(world.take_heard(), [lost(Loss::Refused)]);
    assert!(is_of_new(&world.asked[0].request.ask));
}

#[test]
fn what_is_given_back_meanwhile_is_given_back_as_it_became() {
    let mut world = holder();
    let call = world.want(wanted(Mode::Exclusive));
    world.want(Want::Release { fence: FENCE });
    world.answer(&converted());
    let result = Err(Failed::TooLate);
    assert_eq!(world.take_heard(), [Output::Answer { call, result }]);
    assert!(is_of_new(&world.asked[1].request.ask));
}

#[test]
fn only_what_is_held_is_converted() {
    let mut world = World::plain();
    let call = world.want(wanted(Mode::Shared));
    let result = Err(Failed::NotMine(FENCE));
    assert_eq!(world.take_heard(), [Output::Answer { call, result }]);
}
