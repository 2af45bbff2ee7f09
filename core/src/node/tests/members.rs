//! Members come and go, and nobody loses a lock by it.

use super::*;
use crate::config::{Next, Role};
use crate::ids::Epoch;
use crate::machine::command::Configure;
use crate::node::input::Admin;
use crate::node::output::{Halt, Note};
use core::time::Duration;

pub(super) fn change(world: &World, change: Change) -> Ask {
    let node = world.nodes.values().max_by_key(|node| node.view().applied);
    let expect = node.unwrap().view().machine.shared().mark().change;
    Ask::Admin(Admin::Configure(Configure {
        expect,
        by: "ann".into(),
        change,
    }))
}

/// Asks `node` for a change, which is made.
pub(super) fn make(world: &mut World, node: u64, what: Change) {
    let ask = change(world, what);
    let tag = world.ask(node, Client::None, ask);
    world.run(MS * 50);
    let answer = world.answer(tag);
    assert!(matches!(answer, Answer::Configured { .. }), "{answer:?}");
}

fn add(number: u64) -> Change {
    Change::Add(member(number))
}

fn remove(number: u64) -> Change {
    Change::Remove {
        node: NodeId::new(number),
    }
}

/// A server with an empty disk that was told what the cluster began with.
fn arrive(world: &mut World, number: u64) {
    world.disks.insert(number, Disk::default());
    world.start(number);
}

/// Who votes, as each running server sees it; all alike.
fn voters(world: &World) -> Vec<u64> {
    let of = |node: &Node| -> Vec<u64> {
        let seats = node.config.membership().seats().iter();
        seats.map(|seat| seat.node.get()).collect()
    };
    let mut seen: Vec<Vec<u64>> = world
        .nodes
        .iter()
        .filter(|(number, _)| !world.halts.iter().any(|(halted, _)| halted == *number))
        .map(|(_, node)| of(node))
        .collect();
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
    seen.remove(0)
}

pub(super) fn hold(world: &mut World, node: u64, name: &str) {
    let tag = world.ask(node, Client::None, acquire(name, 0));
    world.run(MS * 100);
    let answer = world.answer(tag);
    assert!(matches!(answer, Answer::Granted(_)), "{answer:?}");
}

pub(super) fn is_held(world: &mut World, node: u64, name: &str) {
    let tag = world.ask(node, Client::None, acquire(name, 0));
    world.run(MS * 100);
    let answer = world.answer(tag);
    assert!(matches!(answer, Answer::Refused(_)), "{answer:?}");
}

pub(super) const A_WHILE: Duration = Duration::from_millis(1_500);

fn grown(to: u64) -> World {
    let mut world = World::new(1);
    world.run(MS * 300);
    hold(&mut world, 1, "a");
    for number in 2..=to {
        make(&mut world, 1, add(number));
        arrive(&mut world, number);
        world.run(A_WHILE);
    }
    world
}

#[test]
fn one_server_grows_to_three() {
    let mut world = grown(3);
    assert_eq!(voters(&world), [1, 2, 3]);
    for node in 1..=3 {
        is_held(&mut world, node, "a");
        assert_eq!(world.nodes[&node].config.epoch(), Epoch::new(3));
    }
    // Two of the three are enough now, without the first.
    world.nodes.remove(&1);
    world.run(Duration::from_secs(1));
    hold(&mut world, 2, "b");
}

#[test]
fn a_newcomer_that_never_arrives_changes_nothing() {
    let mut world = World::new(3);
    world.run(MS * 300);
    make(&mut world, 1, add(4));
    world.run(A_WHILE);
    assert_eq!(voters(&world), [1, 2, 3]);
    let shared = world.nodes[&1].machine.shared().clone();
    let newcomer = shared.member(NodeId::new(4)).unwrap();
    assert_eq!(newcomer.role, Role::Observer);
    assert_eq!(newcomer.next, Some(Next::Become(Role::Voter)));
    hold(&mut world, 2, "a");
    make(&mut world, 2, remove(4));
    assert_eq!(
        world.nodes[&3].machine.shared().member(NodeId::new(4)),
        None
    );
}

#[test]
fn a_dead_member_is_replaced() {
    let mut world = World::new(3);
    world.run(MS * 300);
    hold(&mut world, 1, "a");
    let dead = (1..=3).find(|node| *node != world.leader()).unwrap();
    world.nodes.remove(&dead);
    let leader = world.leader();
    let replace = Change::Replace {
        old: NodeId::new(dead),
        new: member(4),
    };
    make(&mut world, leader, replace);
    arrive(&mut world, 4);
    world.run(A_WHILE);
    let expected: Vec<u64> = (1..=4).filter(|node| *node != dead).collect();
    assert_eq!(voters(&world), expected);
    is_held(&mut world, 4, "a");
    // What comes back is no member any more, and may not disturb.
    world.start(dead);
    world.run(A_WHILE);
    assert_eq!(world.leaders().len(), 1);
    hold(&mut world, 4, "b");
}

#[test]
fn a_leader_that_is_removed_steps_down_and_stops() {
    let mut world = World::new(3);
    world.run(MS * 300);
    hold(&mut world, 1, "a");
    let old = world.leader();
    make(&mut world, old, remove(old));
    world.run(A_WHILE);
    assert_eq!(world.halts.len(), 1);
    assert!(matches!(&world.halts[0], (node, Halt::Removed { .. }) if *node == old));
    world.nodes.remove(&old);
    let new = world.leader();
    assert_ne!(new, old);
    is_held(&mut world, new, "a");
    assert_eq!(world.nodes[&new].config.epoch(), Epoch::new(2));
    assert_eq!(voters(&world).len(), 2);
}

#[test]
fn three_shrink_to_one_and_a_restart_knows() {
    let mut world = World::new(3);
    world.run(MS * 300);
    hold(&mut world, 1, "a");
    for number in [3, 2] {
        let leader = world.leader();
        make(&mut world, leader, remove(number));
        world.run(A_WHILE);
        world.nodes.remove(&number);
    }
    assert_eq!(voters(&world), [1]);
    world.start(1);
    world.run(A_WHILE);
    assert_eq!(world.nodes[&1].config.epoch(), Epoch::new(3));
    is_held(&mut world, 1, "a");
}

#[test]
fn an_observer_has_everything_and_no_vote() {
    let mut world = World::new(3);
    world.run(MS * 300);
    let observer = Change::Add(Member {
        role: Role::Observer,
        ..member(4)
    });
    make(&mut world, 1, observer);
    arrive(&mut world, 4);
    world.run(A_WHILE);
    assert_eq!(voters(&world), [1, 2, 3]);
    hold(&mut world, 4, "a");
    let applied = |node: u64| world.nodes[&node].view().applied;
    assert_eq!(applied(4), applied(1));
    // Without the voters' majority its word counts for nothing.
    world.nodes.retain(|node, _| [1, 4].contains(node));
    world.run(Duration::from_secs(2));
    assert_eq!(world.leaders(), Vec::<u64>::new().as_slice());
}

#[test]
fn a_quorum_only_member_votes_and_never_leads() {
    let mut world = World::new(3);
    world.run(MS * 300);
    let lesser = Change::Role {
        node: NodeId::new(3),
        role: Role::QuorumOnly,
    };
    make(&mut world, 1, lesser);
    world.run(A_WHILE);
    assert_eq!(world.nodes[&1].config.epoch(), Epoch::new(2));
    let leader = world.leader();
    assert_ne!(leader, 3);
    let other = 3 - leader;
    world.nodes.remove(&leader);
    world.run(Duration::from_secs(1));
    assert_eq!(world.leader(), other);
    hold(&mut world, other, "a");
    world.nodes.remove(&other);
    world.run(Duration::from_secs(2));
    assert!(world.leaders().is_empty(), "it never leads");
}

#[test]
fn the_epoch_is_told_to_operators() {
    let world = grown(2);
    let begun = |note: &&(u64, Note)| matches!(note.1, Note::Epoch { .. });
    let nodes: Vec<u64> = world
        .notes
        .iter()
        .filter(begun)
        .map(|note| note.0)
        .collect();
    assert_eq!(nodes, [1, 2]);
}

/// Power goes after every step of a change: whoever comes back goes on.
#[test]
fn a_change_survives_a_crash_anywhere() {
    for steps in 1..60 {
        let mut world = World::new(3);
        world.run(MS * 300);
        hold(&mut world, 1, "a");
        let leader = world.leader();
        let ask = change(&world, remove(1 + leader % 3));
        world.ask(leader, Client::None, ask);
        world.run(MS * steps / 4);
        world.net.clear();
        for node in 1..=3 {
            world.start(node);
        }
        world.run(A_WHILE * 2);
        world
            .nodes
            .retain(|node, _| !world.halts.iter().any(|(halted, _)| halted == node));
        let leader = world.leader();
        is_held(&mut world, leader, "a");
    }
}

/// While a member is away everybody that it knows is replaced. Gives the cluster as the member comes
/// back, and its number.
fn all_others_replaced() -> (World, u64) {
    let mut world = World::new(3);
    world.run(MS * 300);
    let away = (1..=3).find(|node| *node != world.leader()).unwrap();
    world.nodes.remove(&away);
    let others: Vec<u64> = (1..=3).filter(|node| *node != away).collect();
    for (old, new) in others.into_iter().zip(4..) {
        let leader = world.leader();
        let replace = Change::Replace {
            old: NodeId::new(old),
            new: member(new),
        };
        make(&mut world, leader, replace);
        arrive(&mut world, new);
        world.run(A_WHILE);
        world.nodes.remove(&old);
        world.run(A_WHILE);
    }
    hold(&mut world, 4, "a");
    world.start(away);
    (world, away)
}

/// It learns of that from those that it does not know.
#[test]
fn who_was_away_for_long_catches_up_with_strangers() {
    let (mut world, away) = all_others_replaced();
    world.run(A_WHILE);
    assert_eq!(voters(&world).len(), 3);
    is_held(&mut world, away, "a");
}

#[test]
fn a_stranger_is_asked_again_if_the_first_question_was_lost() {
    let (mut world, away) = all_others_replaced();
    world.cut.extend([(away, 4), (away, 5)]);
    world.run(A_WHILE);
    world.cut.clear();
    world.run(A_WHILE);
    is_held(&mut world, away, "a");
}

/// The next voters must have everything on their disks, or an epoch could begin that nobody can lead.
#[test]
fn a_newcomer_whose_disk_hangs_holds_up_nobody() {
    let mut world = World::new(1);
    world.run(MS * 300);
    let observer = Change::Add(Member {
        role: Role::Observer,
        ..member(2)
    });
    make(&mut world, 1, observer);
    arrive(&mut world, 2);
    world.run(A_WHILE);
    world.hung = Some(2);
    hold(&mut world, 1, "a");
    let vote = Change::Role {
        node: NodeId::new(2),
        role: Role::Voter,
    };
    make(&mut world, 1, vote);
    for name in ["b", "c", "d"] {
        world.run(A_WHILE);
        hold(&mut world, 1, name);
        assert_eq!(world.nodes[&1].config.epoch(), Epoch::new(1));
    }
}

/// What could not be sent to the leader is sent as soon as it is heard again.
#[test]
fn who_hears_its_leader_again_asks_again_at_once() {
    let mut world = World::new(3);
    world.run(MS * 300);
    let leader = world.leader();
    let other = 1 + leader % 3;
    world.cut.extend([(leader, other), (other, leader)]);
    world.run(MS * 100);
    let tag = world.ask(other, Client::None, acquire("a", 0));
    world.run(Duration::from_secs(6));
    assert_eq!(world.leader(), leader, "the third one tells of it");
    assert!(world.reply(tag).is_none());
    world.cut.clear();
    world.run(MS * 150);
    assert!(matches!(world.answer(tag), Answer::Granted(_)));
}

/// What a newcomer acknowledges is what its leader proposed; of what was decided before it says itself
/// how far it is.
#[test]
fn a_newcomer_without_the_past_gets_no_vote() {
    let mut world = World::new(1);
    world.run(MS * 300);
    hold(&mut world, 1, "a");
    // A leader's base is what its log knows to be decided, and that is told every 256 slots.
    for number in 0..600_u32 {
        world.ask(1, Client::None, acquire(&alloc::format!("k{number}"), 0));
        world.run(MS);
    }
    world.start(1);
    world.run(A_WHILE);
    world.learns_nothing = Some(2);
    make(&mut world, 1, add(2));
    arrive(&mut world, 2);
    world.run(A_WHILE);
    hold(&mut world, 1, "b");
    assert_eq!(world.nodes[&1].config.epoch(), Epoch::new(1));
    world.learns_nothing = None;
    world.run(A_WHILE * 4);
    assert_eq!(voters(&world), [1, 2]);
    is_held(&mut world, 2, "a");
}

/// A leader that waits for a newcomer takes proposals again when the newcomer is not wanted any more.
#[test]
fn a_wish_that_is_taken_back_while_the_leader_waits_holds_up_nobody() {
    let mut world = World::new(1);
    world.run(MS * 300);
    make(&mut world, 1, add(2));
    // That it goes again is on its way to the disk while it comes.
    world.hung = Some(1);
    let back = change(&world, remove(2));
    world.ask(1, Client::None, back);
    arrive(&mut world, 2);
    world.run(MS * 200);
    assert!(world.nodes[&1].replica.is_ending(), "it waits for server 2");
    world.hung = None;
    let through = world.nodes[&1].replica.records().0;
    world.step(1, Input::Durable { through });
    world.run(MS * 100);
    assert!(world.nodes[&1].machine.shared().is_settled());
    hold(&mut world, 1, "a");
}
