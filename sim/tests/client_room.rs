//! The client's half under faults: three real nodes, real bytes, clients whose clocks run apart.
//!
//! The law: at no moment do two clients believe in the same exclusive lock. It holds while servers
//! stop and come back, links break or swallow what they carry, and answers come late, twice or never.

mod client_room {
    pub(crate) mod user;
    pub(crate) mod world;
}

use client_room::world::{Seen, World};

/// Each seed is about twenty seconds of such a life.
const SEEDS: u64 = 20;

#[test]
fn two_clients_never_believe_in_one_lock_and_all_is_well_after_the_faults() {
    let mut seen = Seen::default();
    for seed in 1..=SEEDS {
        let mut world = World::new(seed);
        world.run();
        let after = world.run_without_faults();
        assert!(
            after.iter().all(|grants| *grants > 0),
            "seed {seed}: not everybody gets a lock after the faults: {after:?}"
        );
        seen.add(&world.seen);
    }
    // A law that nothing tried to break is no law.
    assert!(seen.grants > 500, "{seen:?}");
    assert!(seen.lost > 20, "{seen:?}");
    assert!(seen.replayed > 5, "{seen:?}");
    assert!(seen.extended > 1_000, "{seen:?}");
    assert!(seen.sessions_lost > 0, "{seen:?}");
    assert!(seen.leaders > 2 * SEEDS, "{seen:?}");
}

#[test]
fn the_same_seed_gives_the_same_life() {
    let run = |seed| {
        let mut world = World::new(seed);
        world.run();
        (world.seen, world.digest())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
