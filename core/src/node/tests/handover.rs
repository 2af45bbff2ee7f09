//! A leader hands over to who leads better, and without a majority it takes nothing on.

use super::*;
use crate::config::Change;
use crate::machine::command::Configure;
use crate::node::input::{Admin, Space};
use crate::node::output::{NotReady, Why};

fn led(seconds: u32) -> World {
    let mut world = World::new(3);
    world.run(MS * 1000 * seconds);
    assert_eq!(world.leader(), 1);
    world
}

fn reasons(world: &World) -> Vec<Why> {
    let why = |(_, note): &(u64, Note)| match note {
        Note::HandingOver { why, .. } => Some(*why),
        _ => None,
    };
    world.notes.iter().filter_map(why).collect()
}

#[test]
fn an_operator_asks_any_server_for_another_leader() {
    for asked in 1..=3 {
        let mut world = led(1);
        let to = Some(NodeId::new(3));
        world.step(asked, Input::HandOver { to });
        world.run(MS * 20);
        assert_eq!(world.leader(), 3, "asked at {asked}");
        world.run(MS * 5000);
        assert_eq!(world.leader(), 3, "and it stays");
    }
}

#[test]
fn what_arrives_during_a_hand_over_is_answered() {
    let mut world = led(1);
    let before = world.ask(1, Client::None, acquire("a", 0));
    world.step(1, Input::HandOver { to: None });
    let during = world.ask(2, Client::None, acquire("b", 0));
    world.run(MS * 100);
    assert_ne!(world.leader(), 1);
    assert!(matches!(world.answer(before), Answer::Granted(_)));
    assert!(matches!(world.answer(during), Answer::Granted(_)));
}

#[test]
fn nobody_takes_over_who_cannot_be_heard() {
    let mut world = led(1);
    world.isolate(3);
    world.run(MS * 500);
    let to = Some(NodeId::new(3));
    world.step(1, Input::HandOver { to });
    world.run(MS * 500);
    assert_eq!(world.leader(), 1);
    assert_eq!(world.notes.last(), Some(&(1, Note::KeepsLeading { to })));
}

#[test]
fn a_leader_whose_heir_falls_silent_goes_on() {
    let mut world = led(1);
    world.isolate(3);
    let to = Some(NodeId::new(3));
    world.step(1, Input::HandOver { to });
    let tag = world.ask(1, Client::None, acquire("a", 0));
    world.run(MS * 600);
    assert_eq!(world.leader(), 1);
    assert!(world.notes.contains(&(1, Note::KeepsLeading { to })));
    assert!(matches!(world.answer(tag), Answer::Granted(_)));
}

#[test]
fn a_word_of_an_earlier_leader_makes_nobody_stand() {
    let mut world = led(1);
    let ballot = world.nodes[&1].view().ballot;
    world.step(1, Input::HandOver { to: None });
    world.run(MS * 1000);
    let leader = world.leader();
    let other = 5 - leader;
    let message = Message::TakeOver { ballot };
    let (from, boot) = (NodeId::new(1), Boot::new(1));
    let late = Input::Peer {
        from,
        boot,
        message,
    };
    world.step(other, late);
    world.run(MS * 1000);
    assert_eq!(world.leader(), leader);
}

#[test]
fn a_leader_that_is_low_on_space_hands_over_and_is_not_elected() {
    let mut world = led(2);
    let space = Space::Low;
    world.step(1, Input::Space { space });
    world.run(MS * 100);
    assert_eq!(reasons(&world), [Why::Space]);
    let leader = world.leader();
    assert_ne!(leader, 1);
    world.isolate(leader);
    world.run(MS * 1000);
    assert_eq!(world.leader(), 5 - leader);
}

#[test]
fn a_leader_whose_disk_hangs_hands_over_before_it_stalls() {
    let mut world = led(2);
    world.hung = Some(1);
    world.ask(2, Client::None, acquire("a", 0));
    world.run(MS * 400);
    assert_eq!(reasons(&world), [Why::Disk]);
    assert_ne!(world.leader(), 1);
}

#[test]
fn a_server_that_stops_hands_over_and_leads_no_more() {
    let mut world = led(1);
    world.step(1, Input::Stop);
    world.run(MS * 50);
    assert_eq!(reasons(&world), [Why::Stops]);
    let leader = world.leader();
    assert_ne!(leader, 1);
    let to = Some(NodeId::new(1));
    world.step(leader, Input::HandOver { to });
    world.run(MS * 500);
    assert_eq!(world.leader(), leader);
}

#[test]
fn a_lonely_server_that_stops_says_that_nobody_takes_over() {
    let mut world = World::new(1);
    world.run(MS * 10);
    world.step(1, Input::Stop);
    assert_eq!(
        world.notes.last(),
        Some(&(1, Note::KeepsLeading { to: None }))
    );
}

#[test]
fn the_preferred_place_gets_the_leader_once_all_is_settled() {
    let mut world = World::preferring("au.perth", 3, "au.perth.dh4");
    world.isolate(3);
    world.run(MS * 2000);
    assert_eq!(world.leaders(), [1]);
    world.cut.clear();
    world.run(MS * 2000);
    assert_eq!(world.leader(), 1, "not at once");
    world.run(MS * 6000);
    assert_eq!(world.leader(), 3);
    assert_eq!(reasons(&world), [Why::Location]);
}

/// A disk that hangs whenever its server leads: what it says of itself is good until then.
#[test]
fn the_preferred_place_is_left_alone_for_a_while_once_it_failed() {
    let mut world = World::preferring("au.perth", 3, "au.perth.dh4");
    for _ in 0..40_000 / 20 {
        let leads = world.leaders().contains(&3);
        world.hung = leads.then_some(3);
        let asked = world.leaders().first().copied().unwrap_or(1);
        world.ask(asked, Client::None, acquire("a", 0));
        world.run(MS * 20);
    }
    let moves = reasons(&world);
    let tried = moves.iter().filter(|why| **why == Why::Location).count();
    assert_eq!(tried, 1, "half a minute after it was elected: {moves:?}");
    assert_ne!(world.leader(), 3);
}

fn configure(world: &mut World, change: Change) {
    let expect = world.nodes[&1].view().machine.shared().mark().change;
    let by = "ann".into();
    let change = Configure { expect, by, change };
    let tag = world.ask(1, Client::None, Ask::Admin(Admin::Configure(change)));
    world.run(MS * 100);
    assert!(matches!(world.answer(tag), Answer::Configured { .. }));
}

#[test]
fn the_preferred_place_is_the_one_that_the_log_says_last() {
    let mut world = World::preferring("au.perth", 3, "au.perth.dh4");
    world.run(MS * 1000);
    assert_eq!(world.leader(), 3);
    let location = String::from("au.sydney");
    let second = Member {
        location: location.clone(),
        ..member(2)
    };
    let policy = Policy {
        leader_location: location,
        ..Policy::default()
    };
    configure(&mut world, Change::Member(second));
    configure(&mut world, Change::Policy(policy));
    world.run(MS * 6000);
    assert_eq!(world.leader(), 2);
    assert_eq!(reasons(&world), [Why::Location]);
}

#[test]
fn a_leader_without_a_majority_takes_nothing_on_at_once() {
    let mut world = led(1);
    world.isolate(1);
    world.run(MS * 380);
    let view = world.nodes[&1].view();
    assert_eq!(
        (view.role, view.leader),
        ("leader", None),
        "it still replicates"
    );
    let before = view.accepted;
    let tag = world.ask(1, Client::None, acquire("a", 0));
    world.run(MS * 20);
    assert_eq!(world.nodes[&1].view().accepted, before);
    assert_eq!(world.reply(tag), None);
    world.cut.clear();
    world.run(MS * 1000);
    assert!(matches!(world.answer(tag), Answer::Granted(_)));
}

/// Server `at` makes the change.
fn drain(world: &mut World, at: u64, node: u64, drains: bool) {
    let change = Change::Drain {
        node: NodeId::new(node),
        drains,
    };
    let configure = Configure {
        expect: world.nodes[&at].view().machine.shared().mark().change,
        by: String::new(),
        change,
    };
    let ask = Ask::Admin(Admin::Configure(configure));
    let tag = world.ask(at, Client::None, ask);
    world.run(MS * 100);
    let answer = world.answer(tag);
    assert!(matches!(answer, Answer::Configured { .. }), "{answer:?}");
}

#[test]
fn a_leader_that_drains_hands_over_takes_no_clients_and_is_not_elected() {
    let mut world = led(2);
    let held = world.ask(1, Client::None, acquire("a", 0));
    drain(&mut world, 2, 1, true);
    assert_eq!(reasons(&world), [Why::Drains]);
    let leader = world.leader();
    assert_ne!(leader, 1);
    assert!(matches!(world.answer(held), Answer::Granted(_)));
    let refused = world.ask(1, Client::None, acquire("b", 0));
    let node = NodeId::new(1);
    let drained = Reply::Failed(Failure::NotReady(NotReady::Drained { node }));
    assert_eq!(world.reply(refused), Some(&drained));
    // Nobody gives it the lead, and it leaves it to the other one.
    let to = Some(node);
    world.step(leader, Input::HandOver { to });
    world.run(MS * 500);
    assert_eq!(world.leader(), leader);
    world.isolate(leader);
    world.run(MS * 1000);
    assert_eq!(world.leader(), 5 - leader);
    world.run(MS * 6000);
    assert_eq!(reasons(&world), [Why::Drains], "nobody looks back to it");
}

#[test]
fn those_that_drain_serve_while_nobody_else_is_there() {
    let mut world = led(3);
    let held = world.ask(3, Client::None, acquire("a", 0));
    drain(&mut world, 3, 1, true);
    drain(&mut world, 3, 2, true);
    assert!(matches!(world.answer(held), Answer::Granted(_)));
    world.isolate(3);
    world.run(MS * 2000);
    let leader = world.leader();
    for node in [1, 2] {
        let asked = world.ask(node, Client::None, acquire(&alloc::format!("{node}"), 0));
        world.run(MS * 100);
        assert!(matches!(world.answer(asked), Answer::Granted(_)), "{node}");
    }
    world.cut.clear();
    world.run(MS * 3000);
    assert_ne!(world.leader(), leader);
    let refused = world.ask(leader, Client::None, acquire("c", 0));
    let node = NodeId::new(leader);
    let drained = Reply::Failed(Failure::NotReady(NotReady::Drained { node }));
    assert_eq!(world.reply(refused), Some(&drained));
}

#[test]
fn one_that_drains_leads_while_nobody_else_can() {
    let mut world = led(2);
    drain(&mut world, 2, 1, true);
    assert_ne!(world.leader(), 1);
    // One of the others is away, the other one has no room.
    world.isolate(2);
    let space = Space::Low;
    world.step(3, Input::Space { space });
    world.run(MS * 2000);
    assert_eq!(world.leader(), 1, "to be served outranks it");
    let space = Space::Enough;
    world.step(3, Input::Space { space });
    world.run(MS * 6000);
    assert_eq!(world.leader(), 3);
    drain(&mut world, 3, 1, false);
    let tag = world.ask(1, Client::None, acquire("b", 0));
    world.run(MS * 100);
    assert!(matches!(world.answer(tag), Answer::Granted(_)));
}
