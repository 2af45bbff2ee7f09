//! Circles of waits.

use super::*;
use crate::limits::CIRCLE_SHOWN_MAX;
use crate::machine::command::Convert;
use std::format;
use std::string::String;

const A_MINUTE: u64 = 60_000;

/// Some clients, each with a session and the number of its next request.
struct Clients {
    world: World,
    all: Vec<(SessionId, u64)>,
}

impl Clients {
    fn new(count: usize) -> Self {
        Self::in_world(World::new(), count)
    }

    fn in_world(mut world: World, count: usize) -> Self {
        let all = (0..count).map(|_| (world.session_of(A_MINUTE, "", false), 0));
        let all = all.collect();
        Self { world, all }
    }

    fn claim(&mut self, client: usize, parts: &[(&str, Mode)], reentrant: bool) -> Answer {
        let (session, seq) = &mut self.all[client];
        *seq += 1;
        let parts = parts.iter().map(|(name, mode)| Part {
            key: path(name),
            mode: *mode,
        });
        let acquire = Acquire {
            parts: Parts::new(parts.collect()).unwrap(),
            life: Life::Session,
            wait_ms: A_MINUTE,
            holder: Bytes::from(format!("client-{client}")),
            reentrant,
        };
        let client = numbered(*session, *seq, seq.saturating_sub(2));
        self.world.ask(client, Operation::Acquire(acquire))
    }

    fn take(&mut self, client: usize, name: &str) {
        let answer = self.claim(client, &[(name, Exclusive)], false);
        assert!(matches!(answer, Answer::Granted(_)), "{answer:?}");
    }

    fn wait(&mut self, client: usize, name: &str) {
        let answer = self.claim(client, &[(name, Exclusive)], false);
        assert!(matches!(answer, Answer::Queued { .. }), "{answer:?}");
    }

    /// The circle that a claim would close, by who is in it; a star at those that wait themselves.
    fn circle(&mut self, client: usize, name: &str) -> Vec<String> {
        told(&self.claim(client, &[(name, Exclusive)], false))
    }
}

fn told(answer: &Answer) -> Vec<String> {
    let Answer::Refused(Refusal::Deadlock { by }) = answer else {
        panic!("{answer:?}");
    };
    let name = |blocker: &Blocker| {
        let star = if blocker.fence == Fence::default() {
            "*"
        } else {
            ""
        };
        format!("{}{star}", String::from_utf8_lossy(&blocker.holder))
    };
    by.iter().map(name).collect()
}

#[test]
fn who_would_wait_for_itself_is_refused_and_told_of_the_circle() {
    let mut clients = Clients::new(3);
    clients.take(0, "a");
    clients.take(1, "b");
    clients.take(2, "c");
    clients.wait(0, "b");
    clients.wait(1, "c");
    assert_eq!(clients.circle(2, "a"), ["client-0", "client-1", "client-2"]);
}

#[test]
fn a_session_that_waits_for_what_it_holds_waits_for_itself() {
    let mut clients = Clients::new(1);
    clients.take(0, "a");
    assert_eq!(clients.circle(0, "a"), ["client-0"]);
}

/// Schedule F14: the first holds A, the second waits for A and B, and stands before the first in the line of B.
#[test]
fn who_stands_before_it_in_a_line_counts() {
    let mut clients = Clients::new(2);
    clients.take(0, "a");
    let both = clients.claim(1, &[("a", Exclusive), ("b", Exclusive)], false);
    assert!(matches!(both, Answer::Queued { .. }));
    assert_eq!(clients.circle(0, "b"), ["client-1*", "client-0"]);
}

#[test]
fn a_claim_without_a_session_is_a_link_of_the_chain() {
    let mut clients = Clients::new(1);
    clients.take(0, "a");
    let parts = ["a", "b"].map(|name| Part {
        key: path(name),
        mode: Exclusive,
    });
    let both = Acquire {
        parts: Parts::new(parts.to_vec()).unwrap(),
        life: Life::Lease { ttl_ms: 1000 },
        wait_ms: A_MINUTE,
        holder: Bytes::from_static(b"curl"),
        reentrant: false,
    };
    let waits = clients.world.ask(key(1), Operation::Acquire(both));
    assert!(matches!(waits, Answer::Queued { .. }));
    assert_eq!(clients.circle(0, "b"), ["curl*", "client-0"]);
}

/// The third waits for the second, who waits for the first. It doesn't wait for the first, beside whom it
/// could stand.
#[test]
fn modes_that_go_together_do_not_wait_for_each_other() {
    let mut clients = Clients::new(3);
    let shared = clients.claim(0, &[("a", Shared)], false);
    assert!(matches!(shared, Answer::Granted(_)));
    clients.take(2, "b");
    clients.wait(1, "a");
    clients.wait(0, "b");
    let refused = clients.claim(2, &[("a", Shared)], false);
    assert_eq!(told(&refused), ["client-1*", "client-0", "client-2"]);
}

#[test]
fn permits_are_given_back_by_anybody() {
    let mut clients = Clients::new(2);
    let permits = Mode::Permits { n: 1, capacity: 1 };
    for (client, name) in [(0, "a"), (1, "b")] {
        let granted = clients.claim(client, &[(name, permits)], false);
        assert!(matches!(granted, Answer::Granted(_)));
    }
    for (client, name) in [(0, "b"), (1, "a")] {
        let waits = clients.claim(client, &[(name, permits)], false);
        assert!(matches!(waits, Answer::Queued { .. }), "{waits:?}");
    }
}

#[test]
fn a_client_of_many_threads_waits_like_anybody() {
    let mut clients = Clients::new(1);
    let open = Operation::OpenSession {
        ttl_ms: A_MINUTE,
        identifier: Bytes::new(),
        threads: true,
    };
    let Answer::SessionOpened { session, .. } = clients.world.ask(Client::None, open) else {
        panic!("it opens");
    };
    clients.all.push((session, 0));
    clients.take(0, "a");
    clients.take(1, "b");
    clients.wait(1, "b");
    clients.wait(1, "a");
    // The other one waits for it, and another thread of it may let go.
    clients.wait(0, "b");
}

#[test]
fn re_entrant_claims_of_one_session_do_not_wait_for_each_other() {
    let mut clients = Clients::new(2);
    clients.take(1, "a");
    for _ in 0..2 {
        let waits = clients.claim(0, &[("a", Exclusive)], true);
        assert!(matches!(waits, Answer::Queued { .. }), "{waits:?}");
    }
    let plain = clients.claim(0, &[("a", Exclusive)], false);
    assert_eq!(told(&plain), ["client-0*"]);
}

#[test]
fn what_is_over_is_in_no_circle() {
    let mut clients = Clients::new(2);
    clients.take(0, "a");
    clients.take(1, "b");
    clients.wait(0, "b");
    let session = clients.all[0].0;
    clients
        .world
        .told(Client::None, Operation::CloseSession { session });
    clients.all[0] = (clients.world.session_of(A_MINUTE, "", false), 0);
    clients.take(1, "a");
    clients.wait(0, "b");
}

#[test]
fn a_search_has_an_end() {
    let limits = Limits {
        deadlock_visits: 10,
        ..Limits::default()
    };
    let mut clients = Clients::in_world(World::with_limits(limits), 12);
    clients.take(0, "a");
    for reader in 1..12 {
        let shared = clients.claim(reader, &[("b", Shared)], false);
        assert!(matches!(shared, Answer::Granted(_)));
    }
    let refused = clients.claim(0, &[("b", Exclusive)], false);
    assert_eq!(refused, Answer::Refused(Refusal::SearchLimit));
}

#[test]
fn of_a_long_circle_its_beginning_and_its_end_are_told() {
    let count = CIRCLE_SHOWN_MAX + 3;
    let mut clients = Clients::new(count);
    let name = |number: usize| format!("lock-{number}");
    for client in 0..count {
        clients.take(client, &name(client));
    }
    for client in 0..count - 1 {
        clients.wait(client, &name(client + 1));
    }
    let circle = clients.circle(count - 1, "lock-0");
    let told: Vec<String> = (0..CIRCLE_SHOWN_MAX - 1)
        .chain([count - 1])
        .map(|client| format!("client-{client}"))
        .collect();
    assert_eq!(circle, told);
}

/// One that converts stands before those who wait already: from then on they wait for it.
#[test]
fn who_waited_before_waits_for_one_that_converts() {
    let mut clients = Clients::new(3);
    let lease = Acquire {
        parts: Parts::one(path("a"), Exclusive),
        life: Life::Lease { ttl_ms: A_MINUTE },
        wait_ms: 0,
        holder: Bytes::from_static(b"curl"),
        reentrant: false,
    };
    clients.world.granted(key(1), Operation::Acquire(lease));
    let held = clients.claim(0, &[("b", Shared)], false);
    let Answer::Granted(held) = held else {
        panic!("{held:?}");
    };
    clients.claim(1, &[("b", Shared)], false);
    clients.claim(2, &[("a", Exclusive), ("b", Shared)], false);
    clients.wait(1, "a");
    let convert = Operation::Convert(Convert {
        fence: held.fence,
        parts: Parts::one(path("b"), Exclusive),
        wait_ms: A_MINUTE,
    });
    let (session, seq) = clients.all[0];
    let refused = clients.world.ask(numbered(session, seq + 1, seq), convert);
    // The second waits for the third, who would wait for the first.
    assert_eq!(told(&refused), ["client-1", "client-2*", "*"]);
}

#[test]
fn who_can_stand_beside_one_that_waits_waits_for_him_to_be_served_alone() {
    let mut clients = Clients::new(2);
    clients.take(1, "a");
    for _ in 0..2 {
        let waits = clients.claim(0, &[("a", Shared)], false);
        assert!(matches!(waits, Answer::Queued { .. }), "{waits:?}");
    }
    assert_eq!(clients.circle(0, "a"), ["client-0*"]);
}
