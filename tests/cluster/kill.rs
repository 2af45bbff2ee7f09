//! Two hundred clients, while servers are killed and stopped.

use crate::durable::Kept;
use crate::faults;
use crate::load;
use crate::seats::Servers;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tenure_tests::members::{Members, PATIENCE, State};

const CLIENTS: u64 = 200;

/// From `TENURE_SEED`, or from the clock.
pub(crate) fn seed() -> u64 {
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
    let mut members = Members::new(3);
    members.start_all();
    let servers = servers(&members, 3);
    let mut kept = Kept::prepare(&servers, seed);
    let (load, clients) = load::begin(servers, seed, CLIENTS);

    faults::in_turn(&mut members, &load);
    for _ in 0..2 {
        faults::all_at_once(&mut members, &load);
        kept.check();
    }
    load.end(clients);
    kept.check();
    kept.finish();
    same_digests(&members, &[1, 2, 3]);

    load.verdict(&members);
    for what in [
        "granted",
        "released",
        "refused",
        "refused late",
        "retried",
        "renewed",
    ] {
        let count = load.oracle.counted(what);
        let tally = load.oracle.tally();
        assert!(count >= 10, "{what} happened {count} times: {tally}");
    }
}

/// Where the first `count` servers are.
pub(crate) fn servers(members: &Members, count: usize) -> Servers {
    Servers {
        native: (1..=count).map(|member| members.client(member)).collect(),
        http: (1..=count).map(|member| members.http(member)).collect(),
    }
}

/// Waits until these servers have applied the same, and compares what that made of their states.
pub(crate) fn same_digests(members: &Members, which: &[usize]) {
    let until = Instant::now() + PATIENCE;
    loop {
        let states: Vec<State> = which
            .iter()
            .filter_map(|member| members.state(*member, Duration::from_secs(2)))
            .collect();
        let applied = |state: &State| state.applied;
        let all_there = states.len() == which.len();
        if all_there
            && states
                .iter()
                .all(|state| applied(state) == applied(&states[0]))
        {
            let is_same = states.iter().all(|state| state.digest == states[0].digest);
            assert!(is_same, "{states:?}");
            return;
        }
        assert!(Instant::now() < until, "they don't meet: {states:?}");
        thread::park_timeout(Duration::from_millis(5));
    }
}
