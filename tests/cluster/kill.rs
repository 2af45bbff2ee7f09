//! Two hundred clients, while servers are killed and stopped.

use crate::durable::Kept;
use crate::faults;
use crate::load::{self, Load};
use crate::oracle::Oracle;
use crate::seats::Servers;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tenure_tests::members::{Members, PATIENCE, State};

const CLIENTS: u64 = 200;

/// From `TENURE_SEED`, or from the clock.
fn seed() -> u64 {
    let given = std::env::var("TENURE_SEED").ok();
    let given = given.map(|text| text.parse().expect("TENURE_SEED is a number"));
    given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        u64::from(now.expect("it is after 1970").subsec_nanos())
    })
}

#[test]
fn no_promise_is_broken_by_killing_and_stopping_servers() {
    let seed = seed();
    eprintln!(
        "again with: TENURE_SEED={seed} cargo test -p tenure-tests --test cluster no_promise"
    );
    let begin = Instant::now();
    let mut members = Members::new(3);
    members.start_all();
    let servers = Servers {
        native: (1..=3).map(|member| members.client(member)).collect(),
        http: (1..=3).map(|member| members.http(member)).collect(),
    };
    let mut kept = Kept::prepare(&servers, seed);
    let load = Arc::new(Load {
        servers,
        oracle: Oracle::default(),
        stop: AtomicBool::new(false),
        seed,
        begin,
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let load = Arc::clone(&load);
            let builder = thread::Builder::new().stack_size(256 << 10);
            let client = builder.spawn(move || load::run(&load, number));
            client.expect("a thread starts")
        })
        .collect();

    faults::in_turn(&mut members, &load);
    for _ in 0..2 {
        faults::all_at_once(&mut members, &load);
        kept.check();
    }
    load.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("a client does not panic");
    }
    kept.check();
    kept.finish();
    same_digests(&members);

    let tally = load.oracle.tally();
    eprintln!("{:.1} s: {tally}", begin.elapsed().as_secs_f64());
    let wrong = load.oracle.verdict();
    assert!(
        wrong.is_empty(),
        "seed {seed}:\n{}\n{}",
        wrong.join("\n"),
        members.output()
    );
    for what in [
        "granted",
        "released",
        "refused",
        "refused late",
        "retried",
        "renewed",
    ] {
        let count = load.oracle.counted(what);
        assert!(count >= 10, "{what} happened {count} times: {tally}");
    }
}

/// Waits until all servers have applied the same, and compares what that made of their states.
fn same_digests(members: &Members) {
    let until = Instant::now() + PATIENCE;
    loop {
        let states: Vec<State> = (1..=3)
            .filter_map(|member| members.state(member, Duration::from_secs(2)))
            .collect();
        if let [a, b, c] = states[..]
            && a.applied == b.applied
            && b.applied == c.applied
        {
            assert!(a.digest == b.digest && b.digest == c.digest, "{states:?}");
            return;
        }
        assert!(Instant::now() < until, "they don't meet: {states:?}");
        thread::park_timeout(Duration::from_millis(5));
    }
}
