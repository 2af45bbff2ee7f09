//! Agreed time over changes of leader: nothing that was granted ends before its holder must stop.

use super::*;

const TTL: u64 = 1000;

fn leased(path: &str) -> Ask {
    match acquire(path, 0) {
        Ask::Acquire(claim) => Ask::Acquire(Acquire {
            life: Life::Lease { ttl_ms: TTL },
            ..claim
        }),
        other => other,
    }
}

/// Lets time pass until it is so, for at most a second.
fn run_until(world: &mut World, is_so: impl Fn(&mut World) -> bool) {
    let end = world.now.plus(MS * 1000);
    while !is_so(world) {
        assert!(world.now < end, "it is so within a second");
        world.run(MS);
    }
}

/// Server 1 is asked to lead, and does.
fn leads_again(world: &mut World) {
    world.cut.clear();
    run_until(world, |world| {
        let to = Some(NodeId::new(1));
        world.step(2, Input::HandOver { to });
        world.leaders() == [1]
    });
}

/// Server 2 grants a lease, 1 leads again, and the lease ends not before its holder must stop.
fn lease_outlives(world: &mut World, returns: impl Fn(&mut World)) {
    let granted = world.ask(2, Client::None, leased("a"));
    let asked_at = world.now;
    world.run(MS);
    assert!(matches!(world.answer(granted), Answer::Granted(_)));

    returns(world);
    world.run(MS * (TTL as u32 - 5) - world.now.since(asked_at));
    let other = world.ask(1, Client::None, leased("a"));
    world.run(MS);
    assert!(
        matches!(world.answer(other), Answer::Refused(_)),
        "its holder still believes"
    );
    world.run(MS * 400);
    let other = world.ask(1, Client::None, leased("a"));
    world.run(MS);
    assert!(matches!(world.answer(other), Answer::Granted(_)));
}

/// The first leader is cut off, and its time goes on alone for T_e. The second one starts where a
/// majority heard it last, and grants. The first one leads again: what it was ahead is no time that
/// passed since that grant.
#[test]
fn a_leader_that_was_deposed_brings_no_time_back() {
    let mut world = World::new(3);
    world.run(MS * 2000);
    world.isolate(1);
    run_until(&mut world, |world| world.leaders().contains(&2));
    lease_outlives(&mut world, leads_again);
}

/// The same, and the first one wrote entries alone, two seconds ahead of what the others remember
/// after their restart: some of them at slots that the next leader has not come to.
fn two_seconds_ahead_alone() -> World {
    let mut world = World::new(3);
    world.run(MS * 2000);
    world.isolate(1);
    for path in ["p", "q", "r", "s", "t", "u", "v", "w"] {
        world.ask(1, Client::None, leased(path));
        world.run(MS * 5);
    }
    for node in [2, 3] {
        world.start(node);
    }
    run_until(&mut world, |world| world.leaders().contains(&2));
    let written = world.nodes[&1].view().accepted;
    assert!(world.nodes[&2].view().accepted < written);
    world
}

#[test]
fn what_a_deposed_leader_wrote_alone_brings_no_time_back() {
    let mut world = two_seconds_ahead_alone();
    lease_outlives(&mut world, leads_again);
}

/// The same, and nobody remembers what it heard: the log must say where the second leader began.
#[test]
fn what_a_deposed_leader_wrote_alone_brings_no_time_back_after_a_power_cut() {
    let mut world = two_seconds_ahead_alone();
    lease_outlives(&mut world, |world| {
        world.cut.clear();
        for node in [1, 2, 3] {
            world.start(node);
        }
        world.isolate(3);
        run_until(world, |world| world.leaders() == [1]);
    });
}
