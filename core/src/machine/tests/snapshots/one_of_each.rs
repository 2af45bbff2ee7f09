//! A machine with a record of every kind.

use super::*;

/// A machine with a record of every kind, in every state that a record can have between entries.
pub(super) fn one_of_each() -> Machine {
    let mut world = World::with_limits(Limits {
        expiry_batch: 1,
        snapshot_chunk_bytes: CHUNK_BYTES,
        ..Limits::default()
    });
    let session = world.session(60_000, "host-7");
    let mut seq = 0;
    let mut mine = || {
        seq += 1;
        numbered(session, seq, 0)
    };
    // Held in every way, and remembered by key and by number.
    let released = world.granted(key(1), lease("released"));
    world.ask(mine(), release("released", released.fence));
    world.granted(key(2), acquire("static", Exclusive, Life::Static, 0));
    world.granted(mine(), acquire("session", Exclusive, Life::Session, 0));
    world.granted(Client::None, acquire("shared", Shared, LEASE, 0));
    world.granted(mine(), acquire("shared", Shared, Life::Session, 0));
    // Lines: of a session, of a key, of nobody; one that was cancelled; a refusal that names holders.
    world.queued(mine(), acquire("static", Shared, Life::Session, 60_000));
    world.queued(key(3), acquire("static", Exclusive, LEASE, 60_000));
    let (cancelled, _) = world.queued(key(4), acquire("static", Exclusive, LEASE, 60_000));
    world.told(key(5), Operation::Cancel { ticket: cancelled });
    world.queued(
        Client::None,
        acquire("static", Shared, Life::Static, 60_000),
    );
    world.ask(key(6), acquire("shared", Exclusive, LEASE, 0));
    world.ask(mine(), lease("session"));
    several(&mut world, &mut mine);
    share(&mut world);
    enter(&mut world, &mut mine);
    convert(&mut world, &mut mine);
    take(&mut world, &mut mine);
    // Sessions that came and went by key.
    let open = Operation::OpenSession {
        ttl_ms: 900,
        identifier: Bytes::new(),
        threads: false,
    };
    let Answer::SessionOpened { session: brief, .. } = world.ask(key(7), open) else {
        panic!("a session opens")
    };
    world.ask(key(8), Operation::CloseSession { session: brief });
    // An offer.
    let held = world.granted(Client::None, lease("offered"));
    world.queued(Client::None, acquire("offered", Exclusive, LEASE, 60_000));
    world.told(Client::None, release("offered", held.fence));
    // Another zone, another server, a leader's grace.
    world.zone = 3;
    world.granted(
        Client::None,
        acquire("a", Exclusive, Life::Lease { ttl_ms: 600_000 }, 0),
    );
    world.zone = 0;
    world.start(Fence::default());
    // A session that is over and has things left, and a line that can be served: work to do.
    let dying = world.session(500, "");
    let claims: Vec<_> = (1..4)
        .map(|seq| {
            let name = ["x", "y", "z"][seq as usize - 1];
            (
                numbered(dying, seq, 0),
                acquire(name, Exclusive, Life::Session, 0),
            )
        })
        .collect();
    world.batch(&claims);
    let crowd = world.granted(Client::None, lease("crowd")).fence;
    for _ in 0..3 {
        world.queued(Client::None, acquire("crowd", Shared, LEASE, 60_000));
    }
    world.pass(1000);
    world.batch(&[(Client::None, release("crowd", crowd))]);
    world.machine
}

/// A grant that was entered twice and left once, a refusal because of it, and a re-entrant ticket.
fn enter(world: &mut World, mut mine: impl FnMut() -> Client) {
    let again = |name, mode, wait_ms| {
        let mut operation = acquire(name, mode, Life::Session, wait_ms);
        if let Operation::Acquire(acquire) = &mut operation {
            acquire.reentrant = true;
        }
        operation
    };
    let fence = world.granted(mine(), again("entered", Shared, 0)).fence;
    world.granted(mine(), again("entered", Shared, 0));
    world.granted(mine(), again("entered", Shared, 0));
    world.ask(mine(), release("entered", fence));
    world.ask(mine(), again("entered", Exclusive, 0));
    world.ask(mine(), conversion("entered", fence, Exclusive));
    world.queued(mine(), again("static", Shared, 60_000));
}

fn conversion(name: &str, fence: Fence, mode: Mode) -> Operation {
    Operation::Convert(Convert {
        fence,
        parts: parts(&[(name, mode)]),
        wait_ms: 60_000,
    })
}

/// A conversion that waits and one that is offered its locks, and what is refused because of them.
fn convert(world: &mut World, mut mine: impl FnMut() -> Client) {
    let mut read = |name| {
        let grant = world.granted(Client::None, acquire(name, Shared, LEASE, 0));
        grant.fence
    };
    let [one, two] = [read("converted"), read("converted")];
    let [kept, goes] = [read("upgraded"), read("upgraded")];
    world.queued(key(13), conversion("converted", one, Exclusive));
    world.ask(key(14), conversion("converted", one, Mode::Null));
    world.ask(key(15), conversion("converted", two, Exclusive));
    world.ask(mine(), conversion("upgraded", kept, Shared));
    world.queued(Client::None, conversion("upgraded", kept, Exclusive));
    world.told(Client::None, release("upgraded", goes));
    wait_for_itself(world);
}

/// Claims over more than one key.
fn several(world: &mut World, mine: &mut impl FnMut() -> Client) {
    world.granted(mine(), claim(&[("b/1", Exclusive), ("b/2", Shared)], 0));
    let waits = claim(&[("static", Shared), ("b/2", Exclusive)], 9000);
    world.queued(mine(), waits);
}

/// Locks that are shared in other ways: one in two modes, one by permits, which was resized.
fn share(world: &mut World) {
    let permits = |n, capacity| Mode::Permits { n, capacity };
    for mode in [Mode::ProtectedWrite, Mode::ConcurrentRead] {
        world.granted(Client::None, acquire("modes", mode, LEASE, 0));
    }
    world.granted(Client::None, acquire("permits", permits(3, 4), LEASE, 0));
    let resize = Operation::Resize {
        key: path("permits"),
        capacity: 2,
    };
    world.ask(key(9), resize);
    world.queued(key(10), acquire("permits", permits(2, 2), LEASE, 60_000));
    world.ask(key(11), acquire("permits", permits(1, 3), LEASE, 0));
    world.ask(key(12), acquire("modes", permits(1, 3), LEASE, 0));
}

/// What an operator took from a session, and what he came too late for.
fn take(world: &mut World, mut mine: impl FnMut() -> Client) {
    for (number, name) in [(20, "taken/1"), (21, "taken/2")] {
        let held = acquire(name, Exclusive, Life::Session, 0);
        let fence = world.granted(mine(), held).fence;
        world.told(key(number), force(name, fence));
    }
    let fence = world.granted(Client::None, lease("looked at")).fence;
    world.ask(key(22), force("looked at", fence.next()));
    let forever = acquire("taken/3", Exclusive, Life::Static, 0);
    let fence = world.granted(Client::None, forever).fence;
    world.told(key(23), force("taken/3", fence));
}

/// A session that does one thing at a time, and would have waited for itself.
fn wait_for_itself(world: &mut World) {
    let single = world.session_of(60_000, "", false);
    world.granted(
        numbered(single, 1, 0),
        acquire("own", Exclusive, Life::Session, 0),
    );
    world.ask(
        numbered(single, 2, 0),
        acquire("own", Exclusive, Life::Session, 60_000),
    );
}
