//! Re-entrant grants: one belief for all that entered, and a release for each.

use super::*;

fn wanted() -> Want {
    match acquire(Life::Session, 0) {
        Want::Acquire { mut acquire, renew } => {
            acquire.reentrant = true;
            Want::Acquire { acquire, renew }
        }
        other => other,
    }
}

fn entered(entered: u32) -> Reply {
    let grant = Grant {
        session: Some(SESSION),
        entered,
        ..grant(Life::Session)
    };
    decided(Answer::Granted(grant), Some(TOKEN))
}

fn released(entered: u32) -> Reply {
    let answer = Answer::Released {
        fence: FENCE,
        already: false,
        entered,
    };
    decided(answer, None)
}

/// It holds the lock twice.
fn twice() -> World {
    let mut world = World::session();
    for count in 1..=2 {
        let call = world.want(wanted());
        world.answer(&entered(count));
        assert!(world.heard.iter().any(|output| is_ok(output, call)));
        world.take_heard();
    }
    world
}

#[test]
fn the_belief_ends_with_the_last_release() {
    let mut world = twice();
    world.want(Want::Release { fence: FENCE });
    assert!(world.believes_ms().is_some(), "once it is still held");
    world.answer(&released(1));
    world.want(Want::Release { fence: FENCE });
    assert_eq!(world.believes_ms(), None, "at the send");
    world.answer(&released(0));
    let third = world.want(Want::Release { fence: FENCE });
    assert!(matches!(
        &world.heard[..],
        [.., Output::Answer { call, result: Err(Failed::NotMine(FENCE)) }] if *call == third
    ));
}

#[test]
fn a_release_that_counts_down_is_known_again() {
    let mut world = twice();
    world.want(Want::Release { fence: FENCE });
    let first = world.asked[0].request.client;
    assert!(matches!(first, command::Client::Session { .. }));
    world.server_dies();
    world.answer(&Reply::Resumed);
    let again = world.asked.iter().map(|asked| asked.request.client);
    assert!(again.clone().any(|client| same(client, first)), "{first:?}");
}

/// The same number in the same session.
fn same(one: command::Client, other: command::Client) -> bool {
    match (one, other) {
        (
            command::Client::Session { id, seq, .. },
            command::Client::Session {
                id: of,
                seq: number,
                ..
            },
        ) => (id, seq) == (of, number),
        _ => false,
    }
}

#[test]
fn all_at_once_ends_the_belief() {
    let mut world = twice();
    let proof = Proof {
        key: path(),
        fence: FENCE,
        session: Some(SESSION),
        token: TOKEN,
    };
    world.want(Want::ReleaseAll(proof));
    assert_eq!(world.believes_ms(), None);
    assert!(matches!(
        world.asked[0].request.ask,
        Ask::Release { all: true, .. }
    ));
}

#[test]
fn who_gave_up_leaves_once() {
    let mut world = World::session();
    world.want(wanted());
    world.answer(&entered(1));
    let second = world.want(wanted());
    world.step(Input::Abandon { call: second });
    world.answer(&entered(2));
    let asked = &world.asked[0].request;
    assert!(matches!(asked.ask, Ask::Release { all: false, .. }));
    assert!(matches!(asked.client, command::Client::Session { .. }));
    assert!(world.believes_ms().is_some(), "the first one has it");
}
