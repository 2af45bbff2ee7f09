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

/// The first leader is cut off, and its time goes on alone for T_e. The second one starts where a
/// majority heard it last, and grants. The first one leads again: what it was ahead is no time that
/// passed since that grant.
#[test]
fn a_leader_that_was_deposed_brings_no_time_back() {
    let mut world = World::new(3);
    world.run(MS * 2000);
    world.isolate(1);
    run_until(&mut world, |world| world.leaders().contains(&2));
    let granted = world.ask(2, Client::None, leased("a"));
    let asked_at = world.now;
    world.run(MS);
    assert!(matches!(world.answer(granted), Answer::Granted(_)));

    world.cut.clear();
    run_until(&mut world, |world| {
        let to = Some(NodeId::new(1));
        world.step(2, Input::HandOver { to });
        world.leaders() == [1]
    });
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
