//! There is one leader soon, and another one soon after it is gone.

use super::*;

#[test]
fn three_new_servers_elect_the_first_at_once() {
    let mut world = World::new(3);
    world.run(MS * 10);
    assert_eq!(world.leader(), 1);
    assert_eq!(world.nodes[&3].view().leader, Some(NodeId::new(1)));
}

#[test]
fn one_server_leads_itself_at_once() {
    let mut world = World::new(1);
    world.run(MS);
    assert_eq!(world.leader(), 1);
}

#[test]
fn a_leader_stays() {
    let mut world = World::new(3);
    world.run(MS * 10_000);
    assert_eq!(world.leader(), 1);
    let led = world
        .notes
        .iter()
        .filter(|(_, note)| matches!(note, Note::Leading { .. }))
        .count();
    assert_eq!(led, 1, "nobody else ever led");
}

#[test]
fn a_cut_off_leader_is_replaced_and_stops() {
    let mut world = World::new(3);
    world.run(MS * 10);
    world.isolate(1);
    world.run(MS * 1000);
    assert_eq!(world.leader(), 2, "the old one stopped leading");
    world.cut.clear();
    world.run(MS * 1000);
    assert_eq!(world.leader(), 2, "its return disturbs nobody");
}

#[test]
fn a_broken_connection_to_the_leader_is_a_hint() {
    let mut world = World::new(3);
    world.run(MS * 500);
    world.isolate(1);
    for node in [2, 3] {
        world.step(
            node,
            Input::Link {
                peer: NodeId::new(1),
                up: false,
            },
        );
    }
    world.run(MS * 100);
    assert!(world.leaders().contains(&2), "within 100 ms, not after T_e");
}

#[test]
fn two_followers_do_not_keep_a_dead_leader_alive() {
    let mut world = World::new(3);
    world.run(MS * 500);
    world.nodes.remove(&1);
    world.run(MS * 400);
    assert_eq!(world.leader(), 2);
}

#[test]
fn without_a_quorum_nobody_leads() {
    let mut world = World::new(3);
    world.run(MS * 500);
    world.nodes.remove(&2);
    world.nodes.remove(&3);
    world.run(MS * 600);
    assert!(world.leaders().is_empty());
}

#[test]
fn restarted_servers_elect_again_under_a_higher_ballot() {
    let mut world = World::new(3);
    world.run(MS * 500);
    let before = world.nodes[&1].view().ballot;
    for node in 1..=3 {
        world.start(node);
    }
    world.net.clear();
    world.run(MS * 1000);
    let leader = world.leader();
    assert!(world.nodes[&leader].view().ballot > before);
}

#[test]
fn a_restart_under_the_same_leader_is_no_loss() {
    let mut world = World::new(3);
    world.run(Duration::from_secs(2));
    let leader = world.leader();
    let follower = leader % 3 + 1;
    world.nodes.remove(&follower);
    world.run(Duration::from_millis(50));
    world.start(follower);
    world.run(Duration::from_secs(2));
    let reverted = |(_, note): &&(u64, Note)| matches!(note, Note::Reverted { .. });
    assert_eq!(world.notes.iter().find(reverted), None);
    // And it counts: without the third server it and the leader are the quorum.
    let third = 6 - leader - follower;
    world.isolate(third);
    let before = world.nodes[&leader].view().decided;
    world.run(Duration::from_secs(2));
    let tag = world.ask(leader, Client::None, acquire("a", 0));
    world.run(Duration::from_secs(1));
    assert!(world.nodes[&leader].view().decided > before, "{tag:?}");
}

#[test]
fn a_leader_whose_disk_hangs_hands_over() {
    let mut world = World::new(3);
    world.run(MS * 500);
    world.hung = Some(1);
    let tag = world.ask(2, Client::None, acquire("a", 0));
    world.run(MS * 100);
    assert!(
        matches!(world.answer(tag), Answer::Granted(_)),
        "the followers' disks decide it"
    );
    world.run(MS * 3000);
    assert_ne!(world.leader(), 1);
    let tag = world.ask(2, Client::None, acquire("b", 0));
    world.run(MS * 100);
    assert!(matches!(world.answer(tag), Answer::Granted(_)));
}

/// It would lead without knowing what is locked, for as long as it learns that.
#[test]
fn who_lags_far_behind_gets_no_pre_vote() {
    let mut world = World::new(3);
    world.run(MS * 500);
    for number in 0..=limits::OPEN_SLOTS_MAX {
        world.ask(1, Client::None, acquire("a", 0));
        if number % 100 == 0 {
            world.run(MS);
        }
    }
    world.run(MS * 100);
    world.isolate(1);
    world.isolate(3);
    world.run(MS * 500);
    let view = world.nodes[&2].view();
    let (ballot, decided) = (view.promised.above(NodeId::new(3)), view.decided);
    let mut is_granted = |decided| {
        world.net.clear();
        let (from, boot) = (NodeId::new(3), world.nodes[&3].identity().1);
        let message = Message::PreVote { ballot, decided };
        let asks = Input::Peer {
            from,
            boot,
            message,
        };
        world.step(2, asks);
        let replies = world.net.iter().filter_map(|(_, _, _, said)| match said {
            Message::PreVoteReply { granted, .. } => Some(*granted),
            _ => None,
        });
        replies.last().expect("it is answered")
    };
    assert!(!is_granted(Slot::new(1)));
    assert!(is_granted(decided));
}

/// Schedule F10b: small frames pass, so its pings are answered, and it would win again.
#[test]
fn a_leader_whose_accepts_vanish_leaves_it_to_others() {
    let mut world = World::new(3);
    world.run(MS * 500);
    assert_eq!(world.leader(), 1);
    // The others are slow to stand.
    world.is_lost = |from, message| match message {
        Message::Accept { .. } => from == 1,
        Message::PreVote { .. } => from != 1,
        _ => false,
    };
    let tag = world.ask(1, Client::None, acquire("a", 0));
    world.run(MS * 2600);
    assert_eq!(world.nodes[&1].view().role, "follower");
    world.is_lost = |from, message| from == 1 && matches!(message, Message::Accept { .. });
    world.run(MS * 1000);
    assert_ne!(world.leader(), 1);
    assert!(matches!(world.answer(tag), Answer::Granted(_)));
}

/// A candidate that was promised by `voter` alone, and is no more.
fn promised_in_vain(world: &mut World, candidate: u64, voter: u64) -> Ballot {
    let ballot = world.nodes[&voter]
        .view()
        .promised
        .above(NodeId::new(candidate));
    let prepare = Input::Peer {
        from: NodeId::new(candidate),
        boot: world.nodes[&candidate].identity().1,
        message: Message::Prepare {
            ballot,
            from: Some(Slot::new(1)),
            goes_on: false,
        },
    };
    world.step(voter, prepare);
    ballot
}

#[test]
fn a_voter_that_promised_in_vain_has_a_leader_again_though_nothing_is_asked() {
    let mut world = World::new(3);
    world.run(MS * 500);
    let promised = promised_in_vain(&mut world, 2, 3);
    world.run(MS * 200);
    let view = world.nodes[&1].view();
    assert_eq!(view.role, "leader", "the candidate has its time");
    assert!(view.ballot < promised);
    world.run(MS * 300);
    assert_eq!(world.leader(), 1);
    assert!(world.nodes[&1].view().ballot > promised);
    assert_eq!(world.nodes[&3].view().leader, Some(NodeId::new(1)));
}

#[test]
fn a_leader_that_stands_again_is_a_new_one_to_its_followers() {
    let mut world = World::new(3);
    world.run(MS * 500);
    let told = |world: &World| {
        let leader = Some(NodeId::new(1));
        let told = world.notes.iter();
        told.filter(|(node, note)| *node == 2 && *note == Note::Following { leader })
            .count()
    };
    let before = told(&world);
    promised_in_vain(&mut world, 2, 3);
    world.run(MS * 500);
    assert_eq!(
        told(&world),
        before + 1,
        "what it may have lost is asked again"
    );
}

#[test]
fn a_voter_that_promised_in_vain_and_hears_the_leader_from_others_only() {
    let mut world = World::new(3);
    world.run(MS * 500);
    let promised = promised_in_vain(&mut world, 2, 3);
    world.cut.extend([(1, 3), (3, 1)]);
    world.run(MS * 500);
    assert_eq!(world.leader(), 1);
    assert!(world.nodes[&1].view().ballot > promised);
    assert_eq!(world.nodes[&3].view().leader, Some(NodeId::new(1)));
}

/// Four syncs, one after another, are a promise. An election takes the candidate's and a voter's.
#[test]
fn slow_disks_elect_a_leader_too() {
    for promise_ms in [100, 300, 800, 2000] {
        let mut world = World::new(3);
        world.run(MS * 500);
        let first = world.leader();
        world.promise_takes = MS * promise_ms;
        world.isolate(first);
        world.run(MS * 1000 + MS * promise_ms * 5);
        let leaders = world.leaders();
        assert!(
            leaders.iter().any(|leader| *leader != first),
            "with promises of {promise_ms} ms: {leaders:?}"
        );
    }
}
