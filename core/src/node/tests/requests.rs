//! Requests are answered once, by the server that took them, whoever leads.

use super::*;
use crate::ids::{RequestId, SessionId};
use crate::limits::REQUEST_PATIENCE;
use crate::machine::answer::{Grant, Refusal};
use crate::node::input::{Proof, Token};
use crate::query::LockView;

/// Three servers, of which the first leads.
fn cluster() -> World {
    let mut world = World::new(3);
    world.run(MS * 100);
    assert_eq!(world.leader(), 1);
    world
}

fn grant(world: &World, tag: Tag) -> (Grant, Token) {
    match world.reply(tag) {
        Some(Reply::Decided {
            answer: Answer::Granted(grant),
            token: Some(token),
            ..
        }) => (grant.clone(), *token),
        other => panic!("no grant: {other:?}"),
    }
}

fn proof((grant, token): &(Grant, Token)) -> Proof {
    Proof {
        key: grant.key().clone(),
        fence: grant.fence,
        session: grant.session,
        token: *token,
    }
}

fn view(world: &mut World, node: u64, path: &str) -> LockView {
    let ask = Ask::Inspect {
        key: Key::from_path(path).unwrap(),
    };
    let tag = world.ask(node, Client::None, ask);
    world.run(MS * 300);
    match world.reply(tag) {
        Some(Reply::Lock { view, .. }) => view.clone(),
        other => panic!("no lock: {other:?}"),
    }
}

fn key(number: u128) -> Client {
    Client::Key(RequestId::new(number))
}

/// The pauses between tries grow while nothing is heard. A refusal is something heard.
#[test]
fn a_command_that_was_refused_is_soon_proposed_again() {
    let mut world = World::new(3);
    world.run(MS * 500);
    world.is_lost = |_, message| matches!(message, Message::Forward { .. });
    let tag = world.ask(2, Client::None, acquire("a", 0));
    world.run(MS * 5000);
    world.is_lost = |_, _| false;
    assert_eq!(world.reply(tag), None, "the next try is seconds away");
    let refuse = Input::Peer {
        from: NodeId::new(1),
        boot: world.nodes[&1].identity().1,
        message: Message::Refuse {
            numbers: (1..10).collect(),
            reason: crate::replica::message::Refused::NotLeader,
        },
    };
    world.step(2, refuse);
    world.run(MS * 300);
    assert!(matches!(world.answer(tag), Answer::Granted(_)));
}

/// The pings of a black hole pass, so nothing else says that it is over.
#[test]
fn what_was_sent_before_an_answered_command_is_soon_sent_again() {
    let mut world = World::new(3);
    world.run(MS * 500);
    world.is_lost = |_, message| matches!(message, Message::Forward { .. });
    let tag = world.ask(2, Client::None, acquire("a", 0));
    world.run(MS * 5000);
    world.is_lost = |_, _| false;
    assert_eq!(world.reply(tag), None, "the next try is seconds away");
    let later = world.ask(2, Client::None, acquire("b", 0));
    world.run(MS * 600);
    assert!(matches!(world.answer(later), Answer::Granted(_)));
    assert!(matches!(world.answer(tag), Answer::Granted(_)));
}

#[test]
fn a_stale_read_needs_no_quorum_and_says_where_it_was_true() {
    let mut world = World::new(3);
    world.run(MS * 500);
    let key = Key::from_path("a").unwrap();
    let ask = || Ask::Stale(Question::Inspect { key: key.clone() });
    let tag = world.ask(1, Client::None, acquire("a", 0));
    world.run(MS * 100);
    assert!(matches!(world.answer(tag), Answer::Granted(_)));
    world.isolate(3);
    let tag = world.ask(3, Client::None, ask());
    let applied = world.nodes[&3].view().applied;
    let Some(Reply::Lock { view, slot, .. }) = world.reply(tag) else {
        panic!("it is answered at once");
    };
    assert_eq!((view.holders.len(), *slot), (1, applied));
    // What happens without it, it does not know.
    let more = world.ask(1, Client::None, acquire("b", 0));
    world.run(MS * 100);
    assert!(matches!(world.answer(more), Answer::Granted(_)));
    let tag = world.ask(3, Client::None, ask());
    let Some(Reply::Lock { slot, .. }) = world.reply(tag) else {
        panic!("it is answered at once");
    };
    assert_eq!(*slot, applied);
}

#[test]
fn any_server_answers_any_request() {
    let mut world = cluster();
    let mut fence = Fence::new(0);
    for node in 1..=3 {
        let tag = world.ask(node, Client::None, acquire(&alloc::format!("k{node}"), 0));
        world.run(MS);
        let (grant, _) = grant(&world, tag);
        assert!(grant.fence > fence, "fences rise");
        fence = grant.fence;
    }
}

#[test]
fn a_held_lock_is_refused_released_and_granted_again() {
    let mut world = cluster();
    let first = world.ask(2, Client::None, acquire("a", 0));
    world.run(MS);
    let second = world.ask(3, Client::None, acquire("a", 0));
    world.run(MS);
    assert!(matches!(
        world.answer(second),
        Answer::Refused(Refusal::Held { .. })
    ));
    let proof = proof(&grant(&world, first));
    let release = world.ask(3, Client::None, Ask::release(proof));
    world.run(MS);
    assert!(matches!(
        world.answer(release),
        Answer::Released { already: false, .. }
    ));
    let third = world.ask(1, Client::None, acquire("a", 0));
    world.run(MS);
    assert!(grant(&world, third).0.fence > grant(&world, first).0.fence);
}

#[test]
fn who_waits_without_a_session_is_granted_when_it_is_its_turn() {
    let mut world = cluster();
    let first = world.ask(2, Client::None, acquire("a", 0));
    world.run(MS);
    let second = world.ask(3, Client::None, acquire("a", 60_000));
    world.run(MS);
    assert!(matches!(world.answer(second), Answer::Queued { .. }));
    let proof = proof(&grant(&world, first));
    world.ask(2, Client::None, Ask::release(proof));
    world.run(MS * 5);
    assert!(grant(&world, second).0.fence > grant(&world, first).0.fence);
}

#[test]
fn a_waiter_that_went_away_is_passed_over() {
    let mut world = cluster();
    let first = world.ask(2, Client::None, acquire("a", 0));
    world.run(MS);
    let second = world.ask(3, Client::None, acquire("a", 60_000));
    let third = world.ask(3, Client::None, acquire("a", 60_000));
    world.run(MS);
    world.step(3, Input::Gone { tag: second });
    world.run(MS);
    let proof = proof(&grant(&world, first));
    world.ask(2, Client::None, Ask::release(proof));
    world.run(MS * 5);
    assert_eq!(
        grant(&world, third).0.fence.get(),
        grant(&world, first).0.fence.get() + 1
    );
}

#[test]
fn a_waiter_that_goes_away_while_it_is_confirmed_leaves_no_grant() {
    let mut world = cluster();
    let first = world.ask(2, Client::None, acquire("a", 0));
    world.run(MS);
    let second = world.ask(3, Client::None, acquire("a", 60_000));
    world.run(MS);
    world.cut.push((3, 1)); // the confirm will be late
    let proof = proof(&grant(&world, first));
    world.ask(2, Client::None, Ask::release(proof));
    world.run(MS * 5);
    assert!(matches!(world.answer(second), Answer::Queued { .. }));
    world.step(3, Input::Gone { tag: second });
    world.deliver(); // the cancel is lost too, so that the confirm comes before it
    world.cut.clear();
    world.run(MS * 1_000);
    let lock = view(&mut world, 1, "a");
    assert!(
        lock.holders.is_empty() && lock.waiters.is_empty(),
        "{lock:?}"
    );
}

#[test]
fn a_grant_whose_caller_went_away_is_given_back() {
    let mut world = cluster();
    world.cut.push((1, 2)); // the answer will be late
    let tag = world.ask(2, Client::None, acquire("a", 0));
    world.step(2, Input::Gone { tag });
    world.cut.clear();
    world.run(MS * 500);
    assert!(view(&mut world, 1, "a").holders.is_empty());
}

#[test]
fn a_wrong_proof_reaches_no_log() {
    let mut world = cluster();
    let tag = world.ask(2, Client::None, acquire("a", 0));
    world.run(MS);
    let right = proof(&grant(&world, tag));
    let before = world.nodes[&1].view().accepted;
    let mut token = right.token;
    token.0[31] ^= 1;
    let other_fence = Fence::new(right.fence.get() + 1);
    let other_session = Some(SessionId::new(1));
    let wrong = [
        Proof {
            token,
            ..right.clone()
        },
        Proof {
            fence: other_fence,
            ..right.clone()
        },
        Proof {
            session: other_session,
            ..right.clone()
        },
        Proof {
            key: Key::from_path("b").unwrap(),
            ..right.clone()
        },
    ];
    for proof in wrong {
        let tag = world.ask(2, Client::None, Ask::release(proof));
        assert_eq!(world.reply(tag), Some(&Reply::Failed(Failure::BadProof)));
    }
    assert_eq!(
        world.nodes[&1].view().accepted,
        before,
        "nothing was proposed"
    );
    let tag = world.ask(3, Client::None, Ask::release(right));
    world.run(MS);
    assert!(
        matches!(world.answer(tag), Answer::Released { .. }),
        "any server knows the right one"
    );
}

#[test]
fn a_session_is_resumed_with_its_secret_only() {
    let mut world = cluster();
    let open = Ask::OpenSession {
        ttl_ms: 10_000,
        identifier: Bytes::new(),
        threads: false,
    };
    let tag = world.ask(2, Client::None, open);
    world.run(MS);
    let Some(Reply::Decided {
        answer: Answer::SessionOpened { session, .. },
        token: Some(secret),
        ..
    }) = world.reply(tag).cloned()
    else {
        panic!("no session: {:?}", world.reply(tag));
    };
    let right = world.ask(3, Client::None, Ask::Resume { session, secret });
    let wrong = world.ask(
        3,
        Client::None,
        Ask::Resume {
            session,
            secret: Token([0; 32]),
        },
    );
    assert_eq!(world.reply(right), Some(&Reply::Resumed));
    assert_eq!(world.reply(wrong), Some(&Reply::Failed(Failure::BadProof)));
}

#[test]
fn a_retry_at_another_server_gets_the_same_grant() {
    let mut world = cluster();
    let first = world.ask(2, key(7), acquire("a", 0));
    world.run(MS);
    let again = world.ask(3, key(7), acquire("a", 0));
    world.run(MS);
    let (one, two) = (grant(&world, first), grant(&world, again));
    assert_eq!((one.0.fence, one.1), (two.0.fence, two.1));
    assert!(two.0.replayed && !one.0.replayed);
}

#[test]
fn a_leader_that_dies_with_a_request_loses_nothing_and_does_nothing_twice() {
    let mut world = cluster();
    world.cut.extend([(2, 3), (3, 2), (1, 3), (3, 1), (1, 2)]);
    let tag = world.ask(2, Client::None, acquire("a", 0));
    world.run(MS);
    assert!(
        world.reply(tag).is_none(),
        "the leader has it, and cannot decide it"
    );
    world.nodes.remove(&1);
    world.cut.clear();
    world.run(MS * 1000);
    let fence = grant(&world, tag).0.fence;
    world.start(1);
    world.run(MS * 1000);
    let holders = view(&mut world, 3, "a").holders;
    assert_eq!(holders.len(), 1);
    assert_eq!(holders[0].fence, fence);
}

#[test]
fn a_read_sees_every_write_that_was_answered_before() {
    let mut world = cluster();
    for round in 0..20 {
        let path = alloc::format!("k{round}");
        let tag = world.ask(1 + round % 3, Client::None, acquire(&path, 0));
        world.run(MS);
        let fence = grant(&world, tag).0.fence;
        let view = view(&mut world, 1 + (round + 1) % 3, &path);
        assert_eq!(
            view.holders.iter().map(|holder| holder.fence).max(),
            Some(fence)
        );
    }
}

#[test]
fn a_cut_off_leader_answers_no_read() {
    let mut world = cluster();
    world.isolate(1);
    let ask = Ask::Inspect {
        key: Key::from_path("a").unwrap(),
    };
    let tag = world.ask(1, Client::None, ask);
    world.run(MS * 100);
    assert_eq!(
        world.nodes[&1].view().role,
        "leader",
        "it does not know yet"
    );
    world.run(MS * 5000);
    assert!(
        world.reply(tag).is_none(),
        "a read without a quorum could be old"
    );
    world.cut.clear();
    world.run(MS * 1000);
    assert!(
        matches!(world.reply(tag), Some(Reply::Lock { .. })),
        "asked again of the new leader"
    );
}

#[test]
fn without_a_quorum_a_request_is_answered_in_time() {
    let mut world = cluster();
    world.nodes.remove(&1);
    world.nodes.remove(&2);
    world.run(MS * 1000);
    let tag = world.ask(3, Client::None, acquire("a", 0));
    world.run(REQUEST_PATIENCE + MS * 500);
    assert_eq!(world.reply(tag), Some(&Reply::Failed(Failure::NoQuorum)));
}

#[test]
fn a_lease_ends_when_it_should_and_not_before() {
    let mut world = cluster();
    let tag = world.ask(2, Client::None, acquire("a", 0));
    world.run(MS);
    grant(&world, tag);
    world.run(MS * 9_000);
    assert_eq!(view(&mut world, 3, "a").holders.len(), 1);
    world.run(MS * 1_500);
    assert!(
        view(&mut world, 3, "a").holders.is_empty(),
        "10 s, and what a round trip takes"
    );
}

#[test]
fn a_change_of_leader_neither_ends_nor_doubles_a_lease() {
    let mut world = cluster();
    let tag = world.ask(2, Client::None, acquire("a", 0));
    world.run(MS * 5_000);
    world.nodes.remove(&1);
    world.run(MS * 4_500);
    assert_eq!(
        view(&mut world, 3, "a").holders.len(),
        1,
        "{:?}",
        world.reply(tag)
    );
    world.run(MS * 2_500);
    assert!(view(&mut world, 3, "a").holders.is_empty());
}

#[test]
fn everything_acknowledged_is_there_after_all_restart() {
    let mut world = cluster();
    let mut granted = Vec::new();
    for number in 0..700_u32 {
        let path = alloc::format!("k{number}");
        let tag = world.ask(
            u64::from(number % 3) + 1,
            key(u128::from(number)),
            acquire(&path, 0),
        );
        world.run(MS);
        granted.push((path, grant(&world, tag).0.fence));
    }
    let digest = world.nodes[&1].view().machine.digest();
    let applied = world.nodes[&1].view().applied;
    for node in 1..=3 {
        world.start(node);
    }
    world.net.clear();
    world.run(MS * 2000);
    for node in world.nodes.values() {
        assert!(
            node.view().applied > applied,
            "the log was read again, in pieces"
        );
    }
    for (path, fence) in granted.iter().step_by(50) {
        let holders = view(&mut world, 2, path).holders;
        assert_eq!(
            holders.iter().map(|holder| holder.fence).max(),
            Some(*fence),
            "{path}"
        );
    }
    let digests: Vec<u64> = world
        .nodes
        .values()
        .map(|n| n.view().machine.digest())
        .collect();
    assert!(digests.iter().all(|other| *other == digests[0]) && digests[0] != digest);
}

#[test]
fn a_follower_that_was_away_catches_up_from_the_log() {
    let mut world = cluster();
    world.isolate(3);
    for number in 0..5000_u32 {
        world.ask(
            1,
            Client::None,
            acquire(&alloc::format!("k{}", number % 10), 0),
        );
        if number % 100 == 0 {
            world.run(MS);
        }
    }
    let applied = world.nodes[&1].view().applied;
    assert!(
        applied.get() > 4200,
        "more than the window holds: {applied}"
    );
    world.cut.clear();
    world.run(MS * 3000);
    assert!(world.nodes[&3].view().applied >= applied);
    let digests: Vec<u64> = world
        .nodes
        .values()
        .map(|n| n.view().machine.digest())
        .collect();
    assert_eq!(digests[0], digests[2]);
}

/// A static lock, asked for without a key: nobody could ever release it.
#[test]
fn what_was_decided_too_late_for_a_caller_without_a_name_is_undone() {
    let mut world = cluster();
    let mut forever = acquire("a", 0);
    if let Ask::Acquire(acquire) = &mut forever {
        acquire.life = Life::Static;
    }
    // The leader has it, and cannot decide it for longer than its server waits.
    world.cut.extend([(1, 2), (1, 3), (2, 3), (3, 2), (3, 1)]);
    let tag = world.ask(2, Client::None, forever);
    world.run(REQUEST_PATIENCE + MS * 500);
    assert_eq!(world.reply(tag), Some(&Reply::Failed(Failure::Unknown)));
    world.cut.clear();
    world.run(MS * 3000);
    assert!(view(&mut world, 3, "a").holders.is_empty());
    assert_eq!(world.nodes[&2].view().queued[0], 0, "nothing is left to do");
}
