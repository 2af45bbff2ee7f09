//! What goes wrong, one thing after another, each for a while.

use crate::clients::Shared;
use crate::cluster::{Cluster, SERVERS};
use madsim::net::NetSim;
use madsim::rand::{Rng as _, thread_rng};
use madsim::runtime::{Handle, NodeHandle};
use std::time::Duration;
use tenure_rt::clock;

const LATENCY: std::ops::Range<Duration> = Duration::from_millis(1)..Duration::from_millis(8);
const SLOW: std::ops::Range<Duration> = Duration::from_millis(20)..Duration::from_millis(150);

/// How long a moment is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often each thing went wrong.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Faults {
    /// A leader was killed.
    pub(crate) leader_kills: u64,
    /// Another server was killed.
    pub(crate) follower_kills: u64,
    /// All were killed at once.
    pub(crate) blackouts: u64,
    /// Two servers were parted, one way or both.
    pub(crate) partings: u64,
    /// A server was parted from everybody.
    pub(crate) lonely: u64,
    /// A server stood still, as by SIGSTOP.
    pub(crate) pauses: u64,
    /// The network was slow.
    pub(crate) slow: u64,
    /// A machine of clients was parted from everybody, for longer than a lock lives.
    pub(crate) lonely_clients: u64,
}

impl Faults {
    /// Whether each of them happened.
    pub(crate) fn all_happened(&self) -> bool {
        let kills = [self.leader_kills, self.follower_kills, self.blackouts];
        let parts = [self.partings, self.lonely, self.lonely_clients];
        let delays = [self.pauses, self.slow];
        let mut all = kills.iter().chain(&parts).chain(&delays);
        all.all(|count| *count > 0)
    }

    pub(crate) const fn add(&mut self, other: &Self) {
        self.leader_kills += other.leader_kills;
        self.follower_kills += other.follower_kills;
        self.blackouts += other.blackouts;
        self.partings += other.partings;
        self.lonely += other.lonely;
        self.pauses += other.pauses;
        self.slow += other.slow;
        self.lonely_clients += other.lonely_clients;
    }
}

fn servers() -> std::ops::Range<usize> {
    0..usize::try_from(SERVERS).expect("there are three")
}

async fn a_while() {
    let ms = thread_rng().gen_range(50..2500);
    clock::sleep(Duration::from_millis(ms)).await;
}

/// Makes trouble for so long, then heals everything.
pub(crate) async fn trouble(
    cluster: &Cluster,
    clients: &[NodeHandle],
    shared: &Shared,
    lasting: Duration,
) -> Faults {
    let end = clock::now().plus(lasting);
    let mut faults = Faults::default();
    while clock::now() < end {
        a_while().await;
        match thread_rng().gen_range(0..14) {
            0..4 => kill(cluster, &mut faults).await,
            4..6 => black_out(cluster, shared, &mut faults).await,
            6..8 => part(cluster, &mut faults).await,
            8..10 => isolate(cluster, &mut faults).await,
            10 => pause(cluster, &mut faults).await,
            11 => slow_down(&mut faults).await,
            _ => leave_clients_alone(clients, &mut faults).await,
        }
    }
    faults
}

/// A server; half the time the leader.
fn victim(cluster: &Cluster) -> usize {
    let any = thread_rng().gen_range(servers());
    let leader = cluster.leader().unwrap_or(any);
    if thread_rng().gen_bool(0.5) {
        leader
    } else {
        any
    }
}

async fn kill(cluster: &Cluster, faults: &mut Faults) {
    let victim = victim(cluster);
    if cluster.leader() == Some(victim) {
        faults.leader_kills += 1;
    } else {
        faults.follower_kills += 1;
    }
    Handle::current().kill(cluster.machine(victim));
    a_while().await;
    Handle::current().restart(cluster.machine(victim));
}

/// All die at the worst moment: a caller has just heard that his lock stays. Whatever a majority of
/// disks had not synced by then is a promise that the servers can't keep.
async fn black_out(cluster: &Cluster, shared: &Shared, faults: &mut Faults) {
    if clock::timeout(PATIENCE, shared.next_kept()).await.is_none() {
        return; // nothing is served just now
    }
    faults.blackouts += 1;
    servers().for_each(|server| Handle::current().kill(cluster.machine(server)));
    a_while().await;
    servers().for_each(|server| Handle::current().restart(cluster.machine(server)));
}

async fn part(cluster: &Cluster, faults: &mut Faults) {
    faults.partings += 1;
    let one = victim(cluster);
    let other = (one + thread_rng().gen_range(1..servers().len())) % servers().len();
    let (one, other) = (cluster.machine(one), cluster.machine(other));
    let both = thread_rng().gen_bool(0.5);
    let net = NetSim::current();
    net.clog_link(one, other);
    if both {
        net.clog_link(other, one);
    }
    a_while().await;
    net.unclog_link(one, other);
    if both {
        net.unclog_link(other, one);
    }
}

async fn isolate(cluster: &Cluster, faults: &mut Faults) {
    faults.lonely += 1;
    let victim = cluster.machine(victim(cluster));
    let net = NetSim::current();
    match thread_rng().gen_range(0..3) {
        0 => net.clog_node(victim),
        1 => net.clog_node_in(victim),
        _ => net.clog_node_out(victim),
    }
    a_while().await;
    net.unclog_node(victim);
}

async fn pause(cluster: &Cluster, faults: &mut Faults) {
    faults.pauses += 1;
    let victim = cluster.machine(victim(cluster));
    Handle::current().pause(victim);
    a_while().await;
    Handle::current().resume(victim);
}

async fn slow_down(faults: &mut Faults) {
    faults.slow += 1;
    let net = NetSim::current();
    net.update_config(|config| config.send_latency = SLOW);
    a_while().await;
    net.update_config(|config| config.send_latency = LATENCY);
}

/// Long enough that their locks go to others, who must not get them a moment too early.
async fn leave_clients_alone(clients: &[NodeHandle], faults: &mut Faults) {
    faults.lonely_clients += 1;
    let machine = clients[thread_rng().gen_range(0..clients.len())].id();
    let net = NetSim::current();
    net.clog_node(machine);
    clock::sleep(Duration::from_secs(5)).await;
    a_while().await;
    net.unclog_node(machine);
}
