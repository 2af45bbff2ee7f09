//! What must hold in every run.

use crate::clients::{self, Shared};
use crate::cluster::{Cluster, endpoints};
use crate::disk::{self, Disk, Disks, Tally};
use crate::faults::{Faults, trouble};
use crate::http;
use madsim::net::NetSim;
use madsim::runtime::{Handle, NodeHandle, Runtime};
use std::time::Duration;
use tenure_client::{Client, Options};
use tenure_core::machine::key::Key;
use tenure_rt::clock;
use tenure_rt::sync::watch;

const NETWORK: &str = "[net]\nsend_latency = { start = { secs = 0, nanos = 1000000 }, end = { secs = 0, nanos = 8000000 } }\n";
const TROUBLE: Duration = Duration::from_secs(25);
/// After the last trouble everything must be well within this.
const RECOVERY: Duration = Duration::from_secs(60);
const CLIENTS: u64 = 6;
const HTTP_CLIENTS: u64 = 4;
/// Seeds of one test, unless it is told one.
const SEEDS: u64 = 10;

/// What a run came to: the same for the same seed.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Outcome {
    messages: u64,
    trace: u64,
    grants: u64,
    http_grants: u64,
    lost: u64,
    kept: usize,
    disks: Tally,
    faults: Faults,
}

/// Runs a seed in a thread of its own, on which all that is random is the seed's.
fn run(seed: u64, disk: Disk) -> Outcome {
    let ran = std::thread::spawn(move || {
        let config = NETWORK.parse().expect("it is TOML");
        let mut runtime = Runtime::with_seed_and_config(seed, config);
        runtime.set_time_limit(TROUBLE * 10);
        runtime.add_simulator::<Disks>();
        runtime.block_on(scenario(disk))
    });
    let ran = ran.join();
    ran.unwrap_or_else(|_| panic!("again with: TENURE_SEED={seed} cargo madsim"))
}

async fn scenario(disk: Disk) -> Outcome {
    disk::become_of(disk);
    let cluster = Cluster::start();
    let (stop, stops) = watch::channel(false);
    let shared = Shared::new(stops);
    let machines: Vec<NodeHandle> = (1..=3).map(client_machine).collect();
    let mut programs = Vec::new();
    for id in 1..=CLIENTS {
        let machine = &machines[usize::try_from(id).expect("they are few") % machines.len()];
        programs.push(machine.spawn(clients::contend(id, shared.clone(), id % 3 == 0)));
    }
    for id in CLIENTS + 1..=CLIENTS + HTTP_CLIENTS {
        let machine = &machines[usize::try_from(id).expect("they are few") % machines.len()];
        programs.push(machine.spawn(http::contend(id, shared.clone())));
    }
    programs.push(machines[0].spawn(clients::keep(shared.clone())));

    let faults = trouble(&cluster, &machines, &shared, TROUBLE).await;
    stop.send(true).expect("the clients listen");
    let all = async {
        for program in programs {
            program.await.expect("no client panics");
        }
    };
    let ended = clock::timeout(RECOVERY, all).await;
    ended.expect("every client comes to its end");
    let judged = machines[0].spawn(judge(shared.clone()));
    let judged = clock::timeout(RECOVERY, judged).await;
    judged.expect("everything is well in time").expect("it is");

    let witness = shared.witness();
    Outcome {
        messages: NetSim::current().stat().msg_count,
        trace: witness.trace,
        grants: witness.grants,
        http_grants: witness.http_grants,
        lost: witness.lost,
        kept: witness.kept.len(),
        disks: disk::tally(),
        faults,
    }
}

fn client_machine(number: u8) -> NodeHandle {
    let handle = Handle::current();
    let builder = handle.create_node().name(format!("clients {number}"));
    let ip = std::net::Ipv4Addr::new(10, 0, 1, number);
    builder.ip(ip.into()).build()
}

/// After everything was healed: what was acknowledged is there, what was held gets free, and all
/// servers say the same.
async fn judge(shared: Shared) {
    let client = Client::connect(Options::new(endpoints())).expect("its options are right");
    let kept = shared.witness().kept.clone();
    for (name, fence) in kept {
        let key = Key::from_path(&name).expect("it is a path");
        let seen = client.inspect(key).await.expect("it is answered");
        let fences: Vec<_> = seen.value.holders.iter().map(|held| held.fence).collect();
        assert_eq!(fences, [fence], "{name} was acknowledged");
    }
    for number in 0..clients::KEYS {
        let request = client.lock(&clients::key(number));
        let guard = request.wait(Duration::from_secs(20)).acquire().await;
        let guard = guard.expect("every lock gets free");
        guard.release().await.expect("and is released");
    }
    let mut ends = Vec::new();
    for endpoint in endpoints() {
        ends.push(Client::connect(Options::new([endpoint])).expect("its options are right"));
    }
    loop {
        let mut said = Vec::new();
        for end in &ends {
            let servers = end.servers().await.expect("every server answers");
            said.push((servers.applied, servers.digest));
        }
        if said.windows(2).all(|pair| pair[0].0 == pair[1].0) {
            let same = said.windows(2).all(|pair| pair[0] == pair[1]);
            assert!(same, "one log, and several states: {said:?}");
            return;
        }
        clock::sleep(Duration::from_millis(100)).await;
    }
}

/// The seeds to run: the one that was asked for, or the first few.
fn seeds() -> Vec<u64> {
    let number = |name| {
        let value = std::env::var(name).ok()?;
        Some(value.parse::<u64>().expect("it is a number"))
    };
    match number("TENURE_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("TENURE_SEEDS").unwrap_or(SEEDS)).collect(),
    }
}

#[test]
fn locks_exclude_and_last_through_every_trouble() {
    let (mut faults, mut disks, mut lost) = (Faults::default(), Tally::default(), 0);
    for seed in seeds() {
        let outcome = run(seed, Disk::Honest);
        println!("seed {seed}: {outcome:?}");
        assert!(outcome.grants > 20, "seed {seed} did something");
        assert!(outcome.http_grants > 5, "seed {seed} spoke HTTP");
        assert!(outcome.kept > 5, "seed {seed} kept something");
        faults.add(&outcome.faults);
        disks.add(&outcome.disks);
        lost += outcome.lost;
    }
    if seeds().len() > 1 {
        assert!(faults.all_happened(), "some trouble never came: {faults:?}");
        let torn = disks.cuts > 0 && disks.atoms_lost > 0 && disks.torn > 0;
        assert!(torn, "no power cut hurt: {disks:?}");
        assert!(lost > 0, "nobody lost a lock by time");
    }
}

#[test]
fn a_seed_is_everything() {
    for seed in [3, 8] {
        assert_eq!(
            run(seed, Disk::Honest),
            run(seed, Disk::Honest),
            "seed {seed}"
        );
    }
}

/// The checks of a run are worth something: they see a disk that forgets what it synced.
#[test]
fn a_disk_that_lies_is_caught() {
    let caught = (1..=4).any(|seed| {
        let run = std::thread::spawn(move || run(seed, Disk::Lies));
        run.join().is_err()
    });
    assert!(caught, "acknowledged locks were lost, and nobody saw it");
}
