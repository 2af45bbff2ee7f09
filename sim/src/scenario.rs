//! What a seed draws: how many servers, which faults, how strong, which load.

mod lists;
mod members;
mod snapshots;
mod swarm;
mod tiny;

use crate::Nanos;
use crate::load::LoadKnobs;
use crate::net::NetKnobs;
use crate::rand::Rand;
use serde::{Deserialize, Serialize};

pub use lists::{Fault, Wishes};
pub use snapshots::SnapshotKnobs;
pub use tiny::TinyLimits;

/// A millisecond.
pub const MS: Nanos = 1_000_000;
/// A second.
pub const SECOND: Nanos = 1_000 * MS;

/// Which draws are made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scenario {
    /// No faults: what must work without a hitch.
    Calm,
    /// Three servers, crashes only.
    Lite,
    /// For each seed some of all faults, each with its own intensity.
    Swarm,
    /// Idle but for one lease at a time; the leader is killed shortly before each deadline
    /// (schedule F4a).
    IdleFailover,
    /// The leader, or everybody, is paused for longer than leases last (schedule F4d).
    Pauses,
    /// Power cuts on all servers at once, in the middle of groups (schedule F8d).
    PowerCuts,
    /// Candidates that lag: a follower is cut off for long, and then leads (schedule F7).
    LaggingCandidate,
    /// Leaders are isolated again and again while clients read (K23).
    StaleLeader,
    /// Duels of candidates with crashes between superblock copies (schedule F9).
    Duels,
    /// Pings pass and accepts do not (schedule F10b).
    BlackHoles,
    /// Words of earlier ballots come late to five servers whose leaders are deposed all the time
    /// (Raft, figure 8).
    Echoes,
    /// No two servers hear each other for longer than a request waits.
    Outage,
    /// One server after another is down for long while the others truncate their logs.
    ColdFollower,
    /// One stable graph after another, each of which must get a leader in time, and keep it
    /// (K31, K32).
    Graphs,
    /// The swarm, with all limits of the core tiny (A6).
    Tiny,
    /// One server's clock runs wild, jumps and stands still, while leaders change (F4b).
    Clocks,
    /// Disks that are full, and have room again, while snapshots are due all the time.
    FullDisks,
    /// Two sites with two servers each, and a third with one that only votes: one of them is lost, again
    /// and again.
    Arbiter,
    /// Servers come and go under load, while there are crashes and partitions (F11).
    Members,
    /// Voters become quorum-only and voters again, while snapshots are due all the time (F6).
    Roles,
    /// Leaders sleep for as long as an election takes, and what would tell them of it is lost, while
    /// clients read.
    Sleepers,
}

impl Scenario {
    /// All of them, with their names.
    pub const ALL: &[(&'static str, Self)] = &[
        ("calm", Self::Calm),
        ("lite", Self::Lite),
        ("swarm", Self::Swarm),
        ("idle-failover", Self::IdleFailover),
        ("pauses", Self::Pauses),
        ("power-cuts", Self::PowerCuts),
        ("lagging-candidate", Self::LaggingCandidate),
        ("stale-leader", Self::StaleLeader),
        ("duels", Self::Duels),
        ("black-holes", Self::BlackHoles),
        ("echoes", Self::Echoes),
        ("outage", Self::Outage),
        ("cold-follower", Self::ColdFollower),
        ("graphs", Self::Graphs),
        ("tiny", Self::Tiny),
        ("clocks", Self::Clocks),
        ("full-disks", Self::FullDisks),
        ("sleepers", Self::Sleepers),
        ("members", Self::Members),
        ("arbiter", Self::Arbiter),
        ("roles", Self::Roles),
    ];

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, scenario)| *scenario)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, known)| *known == self);
        found.map_or("", |(name, _)| name)
    }
}

/// How hosts and disks behave.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct HostKnobs {
    /// The least time of a sync.
    pub sync_min: Nanos,
    /// The mean of what comes on top.
    pub sync_mean: Nanos,
    /// A sync takes a thousand times longer, in parts of a million.
    pub slow_sync_ppm: u64,
    /// The power goes before a snapshot's name is there, or before it is synced, in parts of a million.
    #[serde(default)]
    pub name_crash_ppm: u64,
    /// A sync fails, and the host stops, in parts of a million.
    pub sync_error_ppm: u64,
    /// The mean time that one round of the loop takes.
    pub round_mean: Nanos,
    /// Inputs that one round takes.
    pub inputs_max: usize,
    /// A chunk of a snapshot is dropped, because too many wait already, in parts of a million.
    #[serde(default)]
    pub chunk_drop_ppm: u64,
    /// Outputs to different destinations are done in any order (A2).
    pub shuffle: bool,
    /// Bytes of a segment of the log.
    pub segment_bytes: u64,
    /// This server votes, and never leads.
    #[serde(default)]
    pub arbiter: Option<usize>,
    /// So many servers are members at first; all of them if none.
    #[serde(default)]
    pub founders: Option<usize>,
    /// Servers stand at sites, and the leader should stand where operators say.
    pub located: bool,
    /// Snapshots, and what laggards get.
    pub snapshots: SnapshotKnobs,
    /// Limits of the core that are tiny.
    #[serde(default)]
    pub limits: TinyLimits,
}

/// What the nemesis may do, and how often.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// A server crashes at one of its next effects.
    Crash,
    /// The leader does.
    CrashLeader,
    /// All servers lose power at once.
    PowerCut,
    /// A server stands still.
    Pause,
    /// The leader does, for about as long as the others need for another one.
    PauseLeader,
    /// All servers stand still.
    PauseAll,
    /// A server crashes again and again, soon after each start.
    RestartLoop,
    /// A server's rounds take a hundred times longer.
    SlowCpu,
    /// A server's disk takes a thousand times longer.
    SlowDisk,
    /// A server is cut off from the others.
    Isolate,
    /// The leader is.
    IsolateLeader,
    /// One direction of one link is cut.
    CutOneWay,
    /// Some links are cut.
    CutSome,
    /// All links are cut: no quorum anywhere.
    CutAll,
    /// All links are whole again.
    Mend,
    /// A link stalls, and then bursts.
    Clog,
    /// Links stall one by one, and are let go in another order.
    Swizzle,
    /// Some links are up and down in turns.
    Flap,
    /// A server takes what the others send one by one, slowly.
    SlowReader,
    /// Large frames of a server vanish.
    BlackHole,
    /// An operator asks for another leader.
    HandOver,
    /// Operators ask all servers for other leaders at once.
    HandOverStorm,
    /// A server that learns, and is to vote, is cut off.
    StuckLearner,
    /// An operator adds a server, which learns first.
    AddMember,
    /// An operator invites a server, which asks to be a member, or lets in one that asked.
    Invite,
    /// An operator takes a server out.
    RemoveMember,
    /// An operator puts a new server in another's place.
    ReplaceMember,
    /// An operator gives a server another role.
    ChangeRole,
    /// An operator wants to take a server down, or has done so.
    Drain,
    /// An operator takes back what a member was to be.
    TakeBack,
    /// A server's disk is lost: its data directory is empty, and its number the old one.
    Wipe,
    /// A server's disk has room for little more, or for everything again.
    LowSpace,
    /// All servers' disks have.
    LowSpaces,
    /// The one bad clock jumps ahead.
    ClockJump,
    /// The one bad clock steps back.
    ClockBack,
    /// The one bad clock runs wild.
    ClockRate,
    /// The one bad clock stands still for a while.
    ClockFreeze,
}

/// The nemesis.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NemesisKnobs {
    /// The mean time between two troubles; none without one. Only the list of faults depends on it.
    #[serde(skip)]
    pub every: Option<Nanos>,
    /// What it does, with weights. Only the list of faults depends on them.
    #[serde(skip)]
    pub troubles: Vec<(Trouble, u64)>,
    /// The mean time that a server stays down.
    pub down_mean: Nanos,
    /// The mean length of a pause, of a partition, of a clog.
    pub stall_mean: Nanos,
}

/// Everything that a seed draws before the first event.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Plan {
    /// How many servers.
    pub servers: usize,
    /// How long anything may happen.
    pub safety: Nanos,
    /// How long everything must work afterwards.
    pub liveness: Nanos,
    /// Links.
    pub net: NetKnobs,
    /// Clients.
    pub load: LoadKnobs,
    /// Hosts.
    pub host: HostKnobs,
    /// Trouble.
    pub nemesis: NemesisKnobs,
    /// The server whose clock may be out of its specification.
    pub bad_clock: Option<usize>,
    /// It runs so many parts of a million too fast while its server follows: a voter's clock.
    #[serde(default)]
    pub bent_ppm: Option<i64>,
    /// Leases must end within this much of true time beyond their ttl, if nobody renews them.
    pub lateness: bool,
    /// What the nemesis does, in its order.
    pub faults: Vec<Fault>,
    /// When each client decides, in order.
    pub wishes: Vec<Wishes>,
    /// One stable graph follows another.
    pub graphs: bool,
}

impl Plan {
    /// What `seed` draws.
    pub fn draw(scenario: Scenario, seed: u64) -> Self {
        let mut rand = Rand::stream(seed, "knobs");
        let mut plan = Self::calm(&mut rand);
        match scenario {
            Scenario::Calm => {}
            Scenario::Lite => plan.lite(&mut rand),
            Scenario::Swarm => {
                plan.swarm(&mut rand);
                plan.narrow(seed);
                plan.bound(TinyLimits::draw(seed));
            }
            Scenario::Tiny => {
                plan.swarm(&mut rand);
                plan.narrow(seed);
                plan.bound(TinyLimits::all(seed));
            }
            Scenario::Clocks => plan.wild_clock(&mut rand),
            Scenario::IdleFailover => plan.idle_failover(&mut rand),
            Scenario::Pauses => {
                plan.trouble(2 * SECOND, &[(Trouble::Pause, 3), (Trouble::PauseAll, 1)]);
                plan.nemesis.stall_mean = 3 * SECOND;
            }
            Scenario::PowerCuts => {
                plan.trouble(SECOND, &[(Trouble::PowerCut, 3), (Trouble::Crash, 1)]);
                plan.nemesis.down_mean = 100 * MS;
                plan.host.sync_mean = 5 * MS;
            }
            Scenario::LaggingCandidate => {
                let troubles = [
                    (Trouble::IsolateLeader, 3),
                    (Trouble::Isolate, 3),
                    (Trouble::Mend, 2),
                ];
                plan.trouble(700 * MS, &troubles);
                plan.forgetful();
                plan.host.shuffle = true;
                plan.host.limits.batch_bytes = rand.chance(500_000).then_some(1);
                plan.net.drop_ppm = 20_000;
            }
            Scenario::StaleLeader => {
                plan.trouble(800 * MS, &[(Trouble::IsolateLeader, 4), (Trouble::Mend, 3)]);
                plan.load.read_ppm = 500_000;
            }
            Scenario::Duels => plan.duels(&mut rand),
            Scenario::Echoes => plan.echoes(),
            Scenario::Sleepers => plan.sleepers(),
            Scenario::Arbiter => plan.arbiter(&mut rand),
            Scenario::Members => plan.members(&mut rand),
            Scenario::Roles => plan.roles(&mut rand),
            Scenario::Outage => {
                plan.safety = 40 * SECOND;
                plan.trouble(6 * SECOND, &[(Trouble::CutAll, 2), (Trouble::Mend, 1)]);
            }
            Scenario::ColdFollower => plan.cold_follower(&mut rand),
            Scenario::FullDisks => plan.full_disks(&mut rand),
            Scenario::Graphs => plan.stable_graphs(&mut rand),
            Scenario::BlackHoles => {
                plan.trouble(SECOND, &[(Trouble::BlackHole, 3), (Trouble::Mend, 1)]);
            }
        }
        plan.draw_lists(seed);
        plan
    }

    fn trouble(&mut self, every: Nanos, troubles: &[(Trouble, u64)]) {
        self.nemesis.every = Some(every);
        self.nemesis.troubles = troubles.to_vec();
    }

    fn calm(rand: &mut Rand) -> Self {
        Self {
            servers: 3,
            safety: 12 * SECOND,
            liveness: 16 * SECOND,
            net: NetKnobs {
                delay_min: 50_000,
                delay_mean: rand.log_uniform(50_000, 2 * MS),
                codec: rand.chance(250_000),
                ..NetKnobs::default()
            },
            load: LoadKnobs {
                clients: rand.range(4, 10) as usize,
                keys: rand.range(2, 8) as usize,
                think: rand.log_uniform(20 * MS, 150 * MS),
                hold: rand.log_uniform(30 * MS, 600 * MS),
                patience: 600 * MS,
                ttl_ms: (600, 6_000),
                wait_ppm: 500_000,
                shared_ppm: 250_000,
                modes_ppm: 80_000,
                reenter_ppm: 150_000,
                many_ppm: 100_000,
                forget_ppm: 80_000,
                duplicate_ppm: 30_000,
                hang_up_ppm: 10_000,
                crash_ppm: 1_000,
                forge_ppm: 20_000,
                force_ppm: 4_000,
                read_ppm: 150_000,
            },
            host: HostKnobs {
                sync_min: 20_000,
                sync_mean: rand.log_uniform(20_000, 2 * MS),
                slow_sync_ppm: 0,
                sync_error_ppm: 0,
                name_crash_ppm: 0,
                round_mean: 10_000,
                chunk_drop_ppm: 0,
                inputs_max: 64,
                shuffle: false,
                segment_bytes: 4096 * rand.range(16, 64),
                arbiter: None,
                founders: None,
                located: false,
                snapshots: SnapshotKnobs::draw(rand),
                limits: TinyLimits::default(),
            },
            nemesis: NemesisKnobs {
                every: None,
                troubles: Vec::new(),
                down_mean: 500 * MS,
                stall_mean: 800 * MS,
            },
            bad_clock: None,
            bent_ppm: None,
            lateness: false,
            faults: Vec::new(),
            wishes: Vec::new(),
            graphs: false,
        }
    }

    fn lite(&mut self, rand: &mut Rand) {
        self.trouble(
            rand.log_uniform(300 * MS, 3 * SECOND),
            &[
                (Trouble::Crash, 3),
                (Trouble::CrashLeader, 2),
                (Trouble::PowerCut, 1),
            ],
        );
        self.nemesis.down_mean = rand.log_uniform(20 * MS, 2 * SECOND);
        self.host.shuffle = true;
    }

    /// The leader's clock is the bad one as often as not.
    fn wild_clock(&mut self, rand: &mut Rand) {
        let troubles = [
            (Trouble::ClockRate, 6),
            (Trouble::ClockJump, 1),
            (Trouble::ClockBack, 1),
            (Trouble::ClockFreeze, 1),
            (Trouble::CrashLeader, 1),
            (Trouble::Isolate, 1),
            (Trouble::Mend, 2),
        ];
        self.trouble(rand.log_uniform(300 * MS, 2 * SECOND), &troubles);
        self.bad_clock = Some(rand.index(self.servers));
        self.nemesis.down_mean = 200 * MS;
        self.load.ttl_ms = (600, 2_000);
        self.load.forget_ppm = 500_000;
    }

    fn idle_failover(&mut self, rand: &mut Rand) {
        self.safety = 120 * SECOND;
        self.load.clients = 4;
        self.load.keys = 4;
        self.load.think = 20 * SECOND;
        self.load.ttl_ms = (15_000, 25_000);
        self.load.forget_ppm = 900_000;
        self.load.read_ppm = 0;
        self.load.forge_ppm = 0;
        self.load.hang_up_ppm = 0;
        self.trouble(6 * SECOND, &[(Trouble::CrashLeader, 1)]);
        self.nemesis.down_mean = 300 * MS;
        self.lateness = true;
        if rand.chance(500_000) {
            self.bad_clock = Some(rand.index(self.servers));
            self.bent_ppm = Some(rand.range(0, 1_000_000) as i64 - 500_000);
            // So that one voter answers before the other, always; and the other within T_e, or the slower
            // of two clocks counts, as decision 0003 says.
            self.net.asymmetry = 30;
            self.net.delay_mean = self.net.delay_mean.min(MS / 2);
        }
    }

    fn echoes(&mut self) {
        self.servers = 5;
        self.trouble(
            200 * MS,
            &[
                (Trouble::IsolateLeader, 3),
                (Trouble::CutSome, 1),
                (Trouble::Mend, 5),
            ],
        );
        self.net.replay_ppm = 900_000;
        self.net.drop_ppm = 150_000;
        self.host.sync_mean = 25 * MS;
        self.net.reorder_ppm = 500_000;
        self.net.heavy_tail_ppm = 30_000;
        self.net.delay_mean = 3 * MS;
        self.load.clients = 12;
        self.load.think = 20 * MS;
    }

    /// Everything but the graph is well, so that a bound can be kept.
    fn stable_graphs(&mut self, rand: &mut Rand) {
        self.graphs = true;
        self.servers = if rand.chance(500_000) { 3 } else { 5 };
        self.safety = 80 * SECOND;
        self.net.delay_mean = rand.log_uniform(50_000, MS);
        self.host.sync_mean = rand.log_uniform(20_000, MS);
        self.load.clients = 12;
        self.load.think = 20 * MS;
        self.load.hold = 30 * MS;
        self.load.patience = 200 * MS;
        self.load.crash_ppm = 0;
        self.nemesis.down_mean = 3_600 * SECOND;
    }

    fn sleepers(&mut self) {
        let troubles = [
            (Trouble::PauseLeader, 6),
            (Trouble::CutOneWay, 1),
            (Trouble::Mend, 1),
        ];
        self.trouble(600 * MS, &troubles);
        self.net.beat_drop_ppm = 500_000;
        self.net.delay_mean = 500_000;
        self.host.sync_mean = 100_000;
        self.load.clients = 14;
        self.load.keys = 2;
        self.load.think = 10 * MS;
        self.load.read_ppm = 700_000;
        self.load.patience = 200 * MS;
        self.load.wait_ppm = 100_000;
        self.load.hold = 20 * MS;
    }

    fn duels(&mut self, rand: &mut Rand) {
        let troubles = [
            (Trouble::IsolateLeader, 4),
            (Trouble::CutOneWay, 4),
            (Trouble::Mend, 4),
            (Trouble::Crash, 3),
            (Trouble::PowerCut, 1),
        ];
        self.trouble(rand.log_uniform(80 * MS, 400 * MS), &troubles);
        self.nemesis.down_mean = 60 * MS;
        self.nemesis.stall_mean = 200 * MS;
        self.host.sync_mean = 8 * MS;
        self.host.shuffle = true;
    }
}
