//! Disks without room: what is refused, who goes on, and how all of it ends by itself.

use super::snapshots::{applied, follower, forgetful, release_of, work};
use super::*;
use crate::node::input::Space;

const FULL: Reply = Reply::Failed(Failure::DiskFull);

impl World {
    fn space(&mut self, node: u64, space: Space) {
        self.step(node, Input::Space { space });
    }

    /// What the node appends from here on waits for room.
    fn fill(&mut self, node: u64) {
        self.hung = Some(node);
        self.space(node, Space::Full);
    }

    /// What waited is durable now.
    fn make_room(&mut self, node: u64) {
        self.hung = None;
        let through = self.nodes[&node].replica.records().0;
        self.step(node, Input::Durable { through });
        self.space(node, Space::Enough);
    }

    fn records(&self, node: u64) -> usize {
        self.disks[&node].records.len()
    }

    fn oldest(&self, node: u64) -> Slot {
        let slots = self.disks[&node].records.iter();
        let slot = |record: &Record| match record {
            Record::Accepted { slot, .. } | Record::Decided { slot, .. } => Some(*slot),
            Record::DecidedHint { .. } => None,
        };
        slots.filter_map(slot).min().unwrap_or_default()
    }
}

#[test]
fn a_low_leader_refuses_what_is_new_and_does_what_was_begun() {
    let mut world = World::new(3);
    world.run(MS * 500);
    let (leader, other) = (world.leader(), follower(&world));
    let held = world.ask(other, Client::None, acquire("held", 0));
    world.run(MS * 20);
    world.space(leader, Space::Low);
    let (before, release) = (world.records(leader), release_of(&world, held));
    let asked = world.ask(other, Client::None, acquire("new", 0));
    assert_eq!(world.reply(asked), Some(&FULL), "forwarded, and refused");
    let asked = world.ask(leader, Client::None, acquire("new", 0));
    assert_eq!(world.reply(asked), Some(&FULL));
    assert_eq!(world.records(leader), before, "before it was appended");
    let asked = world.ask(other, Client::None, release);
    world.run(MS * 20);
    assert!(matches!(world.answer(asked), Answer::Released { .. }));
    // Another one leads soon, and has room.
    world.run(MS * 600);
    assert_ne!(world.leader(), leader);
    let asked = world.ask(other, Client::None, acquire("new", 0));
    world.run(MS * 20);
    assert!(matches!(world.answer(asked), Answer::Granted(_)));
}

#[test]
fn a_full_follower_accepts_nothing_and_catches_up_once_there_is_room() {
    let mut world = forgetful(Budget::default());
    let (leader, full) = (world.leader(), follower(&world));
    world.fill(full);
    let before = world.records(full);
    work(&mut world, leader, 0, 60);
    assert_eq!(world.leader(), leader, "the others are a quorum");
    assert_eq!(world.records(full), before, "it asked for no room");
    let asked = world.ask(full, Client::None, acquire("at the full one", 0));
    assert_eq!(world.reply(asked), Some(&FULL));
    world.run(MS * 3000);
    assert_eq!(world.records(full), before);

    world.make_room(full);
    world.run(MS * 500);
    assert_eq!(applied(&world, full), applied(&world, leader));
    // Its vote counts again.
    let third = 6 - leader - full;
    world.isolate(third);
    let asked = world.ask(full, Client::None, acquire("later", 0));
    world.run(MS * 20);
    assert!(matches!(world.answer(asked), Answer::Granted(_)));
}

#[test]
fn a_full_leader_stops_leading_and_a_full_server_is_not_elected() {
    let mut world = World::new(3);
    world.run(MS * 500);
    let leader = world.leader();
    world.fill(leader);
    world.run(MS * 1000);
    let second = world.leader();
    assert_ne!(second, leader);
    world.isolate(second);
    world.run(MS * 3000);
    assert_eq!(world.leaders(), [], "one is cut off and one is full");
    world.make_room(leader);
    world.run(MS * 1000);
    assert_ne!(world.leader(), second);
}

#[test]
fn a_full_cluster_refuses_everything_and_goes_on_when_there_is_room() {
    let mut world = World::new(1);
    world.run(MS * 50);
    world.fill(1);
    let asked = world.ask(1, Client::None, acquire("a", 0));
    assert_eq!(world.reply(asked), Some(&FULL));
    world.run(MS * 5000);
    assert_eq!((world.halts.len(), world.reply(asked)), (0, Some(&FULL)));
    world.make_room(1);
    world.run(MS * 50);
    let asked = world.ask(1, Client::None, acquire("a", 0));
    world.run(MS * 50);
    assert!(matches!(world.answer(asked), Answer::Granted(_)));
}

#[test]
fn a_snapshot_that_was_given_up_is_tried_again() {
    let mut world = forgetful(Budget::default());
    let leader = world.leader();
    world.disks.get_mut(&leader).unwrap().has_no_room = true;
    work(&mut world, leader, 0, 30);
    let tried = world.disks[&leader].given_up;
    assert!(tried > 0 && world.disks[&leader].snapshots.is_empty());
    // Nothing is asked for, and none is due: time alone brings the next try, and each later.
    world.run(MS * 64_000);
    let tries = world.disks[&leader].given_up - tried;
    assert!((4..=8).contains(&tries), "in a minute: {tries}");

    world.disks.get_mut(&leader).unwrap().has_no_room = false;
    world.space(leader, Space::Enough);
    world.run(MS * 50);
    let newest = world.disks[&leader].snapshots.last_key_value().unwrap().0;
    assert_eq!(
        newest.slot,
        applied(&world, leader).0,
        "at once, and of now"
    );
    let count = world.disks[&leader].snapshots.len();
    world.run(MS * 64_000);
    assert_eq!(world.disks[&leader].snapshots.len(), count, "once");
}

#[test]
fn a_low_server_truncates_to_its_newest_snapshot() {
    let mut world = forgetful(Budget::default());
    let (leader, low) = (world.leader(), follower(&world));
    work(&mut world, leader, 0, 60);
    let newest = |world: &World| world.disks[&low].snapshots.last_key_value().unwrap().0.slot;
    assert!(world.oldest(low) < newest(&world), "laggards find some log");
    world.space(low, Space::Low);
    assert_eq!(world.oldest(low), newest(&world).next());
    let before = newest(&world);
    let mut from = 100;
    while newest(&world) == before {
        work(&mut world, leader, from, 1);
        from += 1;
    }
    assert_eq!(world.oldest(low), newest(&world).next(), "and goes on so");
}
