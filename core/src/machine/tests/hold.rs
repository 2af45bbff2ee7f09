use super::*;

#[test]
fn one_holds_and_the_other_is_told_who() {
    let mut world = World::new();
    let grant = world.granted(Client::None, lease("a"));
    assert_eq!(grant.remaining_ms, Some(10_000));
    assert_eq!(
        (grant.holder, grant.replayed),
        (Bytes::from_static(b"h"), false)
    );
    let answer = world.ask(Client::None, lease("a"));
    assert_eq!(answer, Answer::Refused(held_by(grant.fence, Exclusive)));
    let answer = world.ask(Client::None, acquire("a", Shared, LEASE, 0));
    assert_eq!(answer, Answer::Refused(held_by(grant.fence, Exclusive)));
}

#[test]
fn many_share_and_keep_the_exclusive_one_out() {
    let mut world = World::new();
    let fences: Vec<Fence> = (0..5)
        .map(|_| {
            world
                .granted(Client::None, acquire("a", Shared, LEASE, 0))
                .fence
        })
        .collect();
    assert!(fences.is_sorted_by(|a, b| a < b));
    let Answer::Refused(Refusal::Held { by }) = world.ask(Client::None, lease("a")) else {
        panic!("held")
    };
    assert_eq!(by.len(), 3, "a few are shown");
    for fence in &fences {
        let released = Answer::Released {
            fence: *fence,
            already: false,
            entered: 0,
        };
        assert_eq!(world.ask(Client::None, release("a", *fence)), released);
    }
    world.granted(Client::None, lease("a"));
}

#[test]
fn fences_rise_also_after_release() {
    let mut world = World::new();
    let mut last = Fence::default();
    for _ in 0..5 {
        let grant = world.granted(Client::None, lease("a"));
        assert!(grant.fence > last);
        last = grant.fence;
        world.ask(Client::None, release("a", last));
    }
    assert_eq!(world.machine.locks_len(), 0, "a free lock has no record");
}

#[test]
fn a_release_takes_the_right_fence_only() {
    let mut world = World::new();
    let old = world.granted(Client::None, lease("a")).fence;
    world.ask(Client::None, release("a", old));
    let new = world.granted(Client::None, lease("a")).fence;
    let already = Answer::Released {
        fence: old,
        already: true,
        entered: 0,
    };
    assert_eq!(world.ask(Client::None, release("a", old)), already);
    assert_eq!(world.inspect("a").holders[0].fence, new);
    let never = Fence::new(new.get() + 1);
    assert_eq!(
        world.ask(Client::None, release("a", never)),
        Answer::Refused(Refusal::NotHeld)
    );
}

#[test]
fn only_a_lease_is_renewed() {
    let mut world = World::new();
    let fixed = world.granted(Client::None, acquire("s", Exclusive, Life::Static, 0));
    assert_eq!(fixed.remaining_ms, None);
    let answer = world.ask(Client::None, renew("s", fixed.fence, None));
    assert_eq!(answer, Answer::Refused(Refusal::NotLeased));
    let answer = world.ask(Client::None, renew("a", fixed.fence, None));
    assert_eq!(answer, Answer::Refused(Refusal::NotHeld));
    world.pass(100_000_000);
    assert_eq!(world.inspect("s").holders[0].held_ms, 100_000_000);
}

#[test]
fn the_limit_of_locks_is_an_answer() {
    let mut world = World::with_limits(Limits {
        locks: 2,
        ..Limits::default()
    });
    let fence = world.granted(Client::None, lease("a")).fence;
    world.granted(Client::None, lease("b"));
    let full = Answer::Refused(Refusal::Quota {
        what: answer::Table::Locks,
    });
    assert_eq!(world.ask(Client::None, lease("c")), full);
    assert_eq!(
        world.ask(Client::None, acquire("a", Exclusive, LEASE, 9)),
        full
    );
    world.ask(Client::None, release("a", fence));
    world.granted(Client::None, lease("c"));
}

#[test]
fn the_limit_of_zones_is_an_answer() {
    let mut world = World::with_limits(Limits {
        zones: 1,
        ..Limits::default()
    });
    world.granted(Client::None, lease("a"));
    world.zone = 1;
    let full = Answer::Refused(Refusal::Quota {
        what: answer::Table::Zones,
    });
    assert_eq!(world.ask(Client::None, lease("a")), full);
}

#[test]
fn who_is_nameless_is_known_by_its_session_or_its_principal() {
    let mut world = World::new();
    let nameless = |name, life| {
        let key = path(name);
        Operation::Acquire(Acquire {
            parts: Parts::one(key, Exclusive),
            life,
            wait_ms: 0,
            holder: Bytes::new(),
            reentrant: false,
        })
    };
    assert_eq!(
        world.granted(Client::None, nameless("a", LEASE)).holder,
        "ann"
    );
    let session = world.session(10_000, "web-1");
    assert_eq!(
        world
            .granted(numbered(session, 1, 0), nameless("b", Life::Session))
            .holder,
        "web-1"
    );
    assert_eq!(world.inspect("b").holders[0].holder, "web-1");
    let anonymous = world.session(10_000, "");
    assert_eq!(
        world
            .granted(numbered(anonymous, 1, 0), nameless("c", Life::Session))
            .holder,
        "ann"
    );
}
