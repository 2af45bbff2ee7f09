//! A quorum-only server keeps the log and a snapshot for others, and no locks.

use super::members::{A_WHILE, hold, is_held, make};
use super::snapshots::{applied, follower, forgetful, work};
use super::*;
use crate::config::Role;
use crate::node::input::Admin;
use crate::node::output::NotReady;

/// Gives `node` another role, and waits until it has it.
fn role(world: &mut World, node: u64, role: Role) {
    let leader = world.leader();
    let node = NodeId::new(node);
    make(world, leader, Change::Role { node, role });
    world.run(A_WHILE);
}

/// Three forgetful servers, and one of them, that does not lead, only votes.
fn arbited() -> (World, u64) {
    let mut world = forgetful(Budget::default());
    let arbiter = follower(&world);
    role(&mut world, arbiter, Role::QuorumOnly);
    assert_eq!(world.nodes[&arbiter].machine.form(), Form::Witness);
    (world, arbiter)
}

fn newest(world: &World, node: u64) -> SnapshotId {
    *world.disks[&node].snapshots.last_key_value().unwrap().0
}

#[test]
fn it_has_no_locks_and_refuses_clients_but_not_operators() {
    let (mut world, arbiter) = arbited();
    let leader = world.leader();
    work(&mut world, leader, 0, 20);
    world.run(MS * 100);
    let machine = &world.nodes[&arbiter].machine;
    assert_eq!(machine.applied(), world.nodes[&leader].machine.applied());
    assert_eq!((machine.locks_len(), machine.sessions_len()), (0, 0));
    let refused = Reply::Failed(Failure::NotReady(NotReady::OnlyVotes));
    for ask in [
        acquire("a", 0),
        Ask::Inspect {
            key: Key::from_path("a").unwrap(),
        },
        Ask::Stale(Question::Inspect {
            key: Key::from_path("a").unwrap(),
        }),
    ] {
        let tag = world.ask(arbiter, Client::None, ask);
        assert_eq!(world.reply(tag), Some(&refused));
    }
    let tag = world.ask(arbiter, Client::None, Ask::Admin(Admin::ReadConfig));
    world.run(MS * 100);
    assert!(matches!(world.reply(tag), Some(Reply::Config { .. })));
    let policy = Change::Policy(Policy {
        members_min: 1,
        ..Policy::default()
    });
    make(&mut world, arbiter, policy);
}

#[test]
fn it_keeps_a_peers_snapshot_and_lets_its_log_go() {
    let (mut world, arbiter) = arbited();
    let leader = world.leader();
    work(&mut world, leader, 0, 100);
    world.run(Duration::from_secs(3));
    let kept = newest(&world, arbiter);
    assert_eq!(kept, newest(&world, leader), "the same, byte by byte");
    assert_eq!(
        world.disks[&arbiter].snapshots[&kept],
        world.disks[&leader].snapshots[&kept]
    );
    work(&mut world, leader, 100, 100);
    world.run(Duration::from_secs(3));
    let first = world.disks[&arbiter].load(Slot::new(1), Slot::new(1));
    assert!(first.is_empty(), "its log begins later");
    let above = world.disks[&arbiter].load(kept.slot.next(), kept.slot.next());
    assert!(
        !above.is_empty(),
        "no more goes than a snapshot of its own stands for"
    );
    assert_eq!(world.halts, []);
}

/// Schedule F6: the leader's disk dies, and who is left must have the past.
#[test]
fn who_was_away_gets_from_it_what_nobody_else_has() {
    let (mut world, arbiter) = arbited();
    let leader = world.leader();
    let away = 6 - leader - arbiter;
    world.isolate(away);
    work(&mut world, leader, 0, 100);
    world.run(Duration::from_secs(3));
    hold(&mut world, leader, "a");
    work(&mut world, leader, 100, 100);
    world.run(Duration::from_secs(3));
    let first = world.disks[&arbiter].load(Slot::new(1), Slot::new(1));
    assert!(first.is_empty(), "the log alone would not do");
    world.nodes.remove(&leader);
    world.cut.clear();
    world.run(Duration::from_secs(3));
    assert_eq!(world.leader(), away);
    is_held(&mut world, away, "a");
}

#[test]
fn while_nobody_has_a_snapshot_its_log_stays() {
    let (mut world, arbiter) = arbited();
    let leader = world.leader();
    work(&mut world, leader, 0, 60);
    for node in (1..=3).filter(|node| *node != arbiter) {
        world.disks.get_mut(&node).unwrap().has_no_room = true;
    }
    let before = newest(&world, leader).slot.next();
    work(&mut world, leader, 60, 100);
    world.run(Duration::from_secs(3));
    let kept = world.disks[&arbiter].load(before, before);
    assert!(!kept.is_empty(), "it may be the only copy");
}

#[test]
fn a_promoted_one_has_all_locks_and_may_lead() {
    let (mut world, arbiter) = arbited();
    let leader = world.leader();
    hold(&mut world, leader, "a");
    work(&mut world, leader, 0, 120);
    world.run(Duration::from_secs(3));
    role(&mut world, arbiter, Role::Voter);
    assert_eq!(world.reopened, [arbiter, arbiter]);
    assert_eq!(world.nodes[&arbiter].machine.form(), Form::Full);
    assert_eq!(applied(&world, arbiter), applied(&world, world.leader()));
    let leader = world.leader();
    world.step(
        leader,
        Input::HandOver {
            to: Some(NodeId::new(arbiter)),
        },
    );
    world.run(A_WHILE);
    assert_eq!(world.leader(), arbiter);
    is_held(&mut world, arbiter, "a");
}

#[test]
fn a_leader_that_is_to_vote_only_lets_another_one_lead() {
    let mut world = forgetful(Budget::default());
    let leader = world.leader();
    hold(&mut world, leader, "a");
    role(&mut world, leader, Role::QuorumOnly);
    assert_eq!(world.reopened, [leader]);
    let other = world.leader();
    assert_ne!(other, leader);
    is_held(&mut world, other, "a");
}

#[test]
fn a_snapshot_that_rots_there_is_fetched_once_more() {
    let (mut world, arbiter) = arbited();
    let leader = world.leader();
    work(&mut world, leader, 0, 100);
    world.run(Duration::from_secs(3));
    let kept = newest(&world, arbiter);
    world
        .disks
        .get_mut(&arbiter)
        .unwrap()
        .snapshots
        .remove(&kept);
    let message = Message::SnapshotGet { id: kept, index: 0 };
    let (from, boot) = world.nodes[&leader].identity();
    world.step(
        arbiter,
        Input::Peer {
            from,
            boot,
            message,
        },
    );
    world.run(Duration::from_secs(5));
    assert!(
        newest(&world, arbiter) >= kept,
        "or another start would find none"
    );
}

#[test]
fn who_is_removed_leaves_as_what_it_is() {
    let (mut world, arbiter) = arbited();
    let leader = world.leader();
    let node = NodeId::new(arbiter);
    make(&mut world, leader, Change::Remove { node });
    world.run(A_WHILE * 2);
    assert_eq!(world.reopened, [arbiter], "it needs no locks to leave");
    let halted =
        |(node, why): &(u64, Halt)| *node == arbiter && matches!(why, Halt::Removed { .. });
    assert!(world.halts.iter().any(halted));
}
