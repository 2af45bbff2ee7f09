//! One simulated server: its clock, its disk, and, while it is up, a process that does what the
//! real host does: take all inputs that are ready, step the node, do its outputs.

mod boot;
mod door;
mod snapshots;
mod storage;

use crate::Nanos;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::rand::Rand;
use crate::scenario::HostKnobs;
use bytes::Bytes;
use door::{Doors, Guests};
use snapshots::{Kept, Snapshots};
use std::collections::VecDeque;
use std::rc::Rc;
use storage::Storage;
use tenure_core::config::{Config, Member, Role, Shared};
use tenure_core::ids::{Boot, ClusterId, Fence, NodeId, Seed, SnapshotId};
use tenure_core::machine::Form;
use tenure_core::node::Origin;
use tenure_core::node::input::{Input, Space};
use tenure_core::node::output::Output;
use tenure_core::node::{Node, Secrets};
use tenure_core::replica::record::Recovered;
use tenure_core::time::Timestamp;

pub use boot::Opening;
pub use door::{Lost, first_incarnation};
pub use storage::{DiskDone, Stored};

/// The cluster that every world simulates.
pub const CLUSTER: ClusterId = ClusterId(*b"simulated world.");

/// How many sites there are.
pub const SITES: usize = 3;

/// The number of the `index`-th server.
pub fn node_id(index: usize) -> NodeId {
    NodeId::new(index as u64 + 1)
}

/// The index of a server.
pub fn index_of(node: NodeId) -> usize {
    usize::try_from(node.get()).unwrap_or(0).saturating_sub(1)
}

/// What a cluster of so many servers begins with.
pub fn genesis(servers: usize, knobs: &HostKnobs) -> Shared {
    let role = |index| {
        if knobs.arbiter == Some(index) {
            Role::QuorumOnly
        } else {
            Role::Voter
        }
    };
    let members = (0..knobs.founders.unwrap_or(servers)).map(|index| Member {
        role: role(index),
        ..member(index, knobs.located)
    });
    let shared = Shared::genesis(CLUSTER, members.collect());
    shared.unwrap_or_else(|error| panic!("the world's servers are a cluster: {error}"))
}

/// A server as a member.
pub fn member(index: usize, located: bool) -> Member {
    Member {
        node: node_id(index),
        location: if located { site(index) } else { String::new() },
        ..Member::default()
    }
}

/// Where a server stands, if that is told; and where operators want the leader.
pub fn site(index: usize) -> String {
    format!("site-{}", index % SITES)
}

/// What a server is doing.
#[derive(Debug)]
pub enum Life {
    /// Nothing: it has no power.
    Down,
    /// It reads its disk.
    Opening(Box<Opening>),
    /// It serves.
    Up(Box<Process>),
}

/// The last chunk that a process was sent.
#[derive(Clone, Copy, Debug)]
pub struct Fetched {
    /// Of which snapshot.
    pub id: SnapshotId,
    /// By which server, in which of its starts.
    pub source: (usize, Boot),
    /// When.
    pub at: Nanos,
}

/// A process that serves.
#[derive(Debug)]
pub struct Process {
    /// Its start.
    pub boot: Boot,
    /// The real core.
    pub node: Node,
    /// When its node wants to hear of time: asked once after each round, for only rounds change that.
    wakes_at: Option<Timestamp>,
    /// The real log on the simulated disk.
    pub storage: Storage,
    /// Its snapshots on the simulated disk.
    pub snapshots: Snapshots,
    /// Whom it has let in.
    pub guests: Guests,
    /// Which snapshot it was sent a chunk of last, and by whom.
    pub fetched: Option<Fetched>,
    /// Which one it is done with, however that ended: more of it may still be under way.
    pub done_with: Option<SnapshotId>,
    /// How many in a row its sources did not have any more in the middle of them.
    pub taken_away: u32,
    /// What it will be told.
    pub inbox: VecDeque<Input>,
    /// It was told last that its disk is full.
    knows_full: bool,
    /// It knew that all through its last round.
    pub is_full: bool,
    /// When it looks at its inbox next.
    pub run_at: Option<Nanos>,
    /// It is busy with a round, or stopped by a signal, until then.
    pub busy_until: Nanos,
    /// Since when it has no leader, if it has none.
    pub leaderless_since: Option<Nanos>,
}

impl Process {
    /// Whether something of it is on its way to the disk.
    pub const fn is_storing(&self) -> bool {
        self.storage.is_syncing() || self.storage.is_promising()
    }
}

/// The process of a server that serves, apart from its disk.
fn process_of(life: &mut Life) -> Option<&mut Process> {
    match life {
        Life::Up(process) => Some(process),
        Life::Down | Life::Opening(_) => None,
    }
}

/// One simulated server.
#[derive(Debug)]
pub struct Server {
    /// Its place among the servers.
    pub index: usize,
    servers: usize,
    /// Its host's clock.
    pub clock: Clock,
    /// Its disk.
    pub disk: Disk,
    /// What it is doing.
    pub life: Life,
    /// Its starts, counted by the world: what was meant for an earlier one is not for this one.
    pub start: u64,
    /// It crashes after so many effects, if that was decided.
    pub crash_in: Option<u64>,
    /// What it was told of the cluster when it joined, if it did.
    pub joined: Option<Shared>,
    /// It is dead or cut off for good.
    pub is_outside: bool,
    /// It was removed from the cluster, and stays off.
    pub is_gone: bool,
    /// Its data directory, and those of the others.
    pub door: Doors,
    /// What it kept before it had another role, and in which start that was.
    pub kept: Option<(Form, u64)>,
    /// It crashes soon after each of its next so many starts.
    pub loops: u64,
    /// Its rounds take much longer until then, and its syncs.
    pub slow_cpu_until: Nanos,
    /// Its syncs do.
    pub slow_disk_until: Nanos,
    /// Draws of its disk and its host.
    pub rand: Rand,
    seed: u64,
    knobs: Rc<HostKnobs>,
    sync_factor: u64,
    hangs_until: Nanos,
    /// When its process had its last round.
    round_at: Nanos,
    token_key: [u8; 32],
}

impl Server {
    /// A server whose disk is empty and whose power is off.
    pub fn new(
        seed: u64,
        index: usize,
        servers: usize,
        clock: Clock,
        knobs: Rc<HostKnobs>,
    ) -> Self {
        Self {
            index,
            servers,
            clock,
            disk: Disk::default(),
            life: Life::Down,
            start: 0,
            crash_in: None,
            joined: None,
            is_outside: false,
            is_gone: false,
            door: Doors::new(index, knobs.founders.unwrap_or(servers)),
            kept: None,
            loops: 0,
            slow_cpu_until: 0,
            slow_disk_until: 0,
            rand: Rand::nth(seed, "disk", index),
            seed,
            knobs,
            sync_factor: 1,
            hangs_until: 0,
            round_at: 0,
            token_key: [7; 32],
        }
    }

    /// What its cluster began with.
    pub fn genesis(&self) -> Shared {
        genesis(self.servers, &self.knobs)
    }

    /// Whether it was there when the cluster began.
    pub fn is_founder(&self) -> bool {
        self.knobs
            .founders
            .is_none_or(|founders| self.index < founders)
    }

    /// Its process, if it serves.
    pub fn process(&mut self) -> Option<&mut Process> {
        process_of(&mut self.life)
    }

    /// Its process, if it serves.
    pub fn process_ref(&self) -> Option<&Process> {
        match &self.life {
            Life::Up(process) => Some(process),
            Life::Down | Life::Opening(_) => None,
        }
    }

    /// The start of its process; zero if it does not serve.
    pub fn boot(&self) -> Boot {
        self.process_ref()
            .map_or(Boot::new(0), |process| process.boot)
    }

    /// No sync hangs any more that begins from now on: with a majority of two, one hung disk is none.
    pub fn mend_disk(&mut self) {
        Rc::make_mut(&mut self.knobs).slow_sync_ppm = 0;
        self.sync_factor = 1;
        self.hangs_until = 0;
        self.slow_disk_until = 0;
        self.slow_cpu_until = 0;
        self.loops = 0;
    }

    /// Whether it thinks that it leads.
    pub fn leads(&self) -> bool {
        let process = self.process_ref();
        process.is_some_and(|process| process.node.view().role == "leader")
    }

    /// From now on each sync takes so many times longer.
    pub const fn slow_disk(&mut self, factor: u64) {
        self.sync_factor = factor;
    }

    /// A sync that begins before then ends no sooner.
    pub const fn hang_disk(&mut self, until: Nanos) {
        self.hangs_until = until;
    }

    fn sync_delay(&mut self, now: Nanos, slow: &mut bool) -> Nanos {
        self.rand.at(now);
        let mut delay = self.knobs.sync_min + self.rand.exponential(self.knobs.sync_mean);
        if self.rand.chance(self.knobs.slow_sync_ppm) || now < self.slow_disk_until {
            *slow = true;
            delay = delay.saturating_mul(1_000).min(4_000_000_000);
        }
        let hangs = self.hangs_until.saturating_sub(self.round_at);
        delay.saturating_mul(self.sync_factor).max(hangs)
    }

    fn serve(&mut self, now: Nanos, recovered: Recovered, storage: Storage, kept: Kept) {
        let (snapshots, restored) = kept;
        let boot = recovered.boot;
        let secrets = Secrets {
            token_key: self.token_key,
        };
        let seed = Seed::new(Rand::nth(self.seed ^ boot.get(), "node", self.index).any());
        let local = self.clock.read(now);
        let genesis = self.genesis();
        let membership = genesis.membership();
        let known = self.joined.clone().unwrap_or_else(|| genesis.clone());
        let config = Config::seen_by(node_id(self.index), known, membership);
        let guests = self.door.open(&config, boot);
        let fence_floor = Fence::new(1 << 20);
        let node = Node::boot(
            &config,
            Origin {
                genesis,
                fence_floor,
            },
            recovered,
            restored,
            &secrets,
            seed,
            local,
        );
        let node = node.with_limits(self.knobs.limits());
        self.life = Life::Up(Box::new(Process {
            boot,
            wakes_at: node.wake_at(),
            node,
            storage,
            snapshots,
            guests,
            fetched: None,
            done_with: None,
            taken_away: 0,
            inbox: VecDeque::new(),
            knows_full: false,
            is_full: false,
            run_at: None,
            busy_until: now,
            leaderless_since: Some(now),
        }));
    }

    /// How late the tick of its process is.
    pub fn ticks_late(&self, now: Nanos) -> Nanos {
        let wake = self.process_ref().and_then(|process| process.wakes_at);
        let local = self.clock.clone().read(now);
        wake.map_or(0, |wake| local.since(wake).as_nanos() as Nanos)
    }

    /// One round of the host's loop: what the node wants done after hearing what is at hand.
    pub fn round(&mut self, now: Nanos) -> Vec<Output> {
        self.round_at = now;
        let take = self.knobs.inputs_max;
        let mut round = self.rand.at(now).exponential(self.knobs.round_mean);
        if now < self.slow_cpu_until {
            round = round.saturating_mul(100).min(200_000_000);
        }
        let Life::Up(process) = &mut self.life else {
            return Vec::new();
        };
        let mut outputs = Vec::new();
        let inputs: Vec<Input> = {
            let many = process.inbox.len().min(take);
            process.inbox.drain(..many).collect()
        };
        // After the last of these inputs was received (rule 23).
        let local = self.clock.read(now);
        if process.wakes_at.is_some_and(|when| when <= local) {
            process.node.step(local, Input::Tick, &mut outputs);
        }
        let mut told = None;
        for input in inputs {
            if let Input::Space { space } = &input {
                told = Some(*space == Space::Full);
                process.snapshots.on_room(*space == Space::Enough);
            }
            process.node.step(local, input, &mut outputs);
        }
        process.node.step(local, Input::Flush, &mut outputs);
        process.wakes_at = process.node.wake_at();
        process.is_full = process.knows_full && told.is_none();
        process.knows_full = told.unwrap_or(process.knows_full);
        process.busy_until = now + round;
        outputs
    }

    /// When its process wants to run next, in true time; never if it waits for others only.
    pub fn next_run(&self, now: Nanos) -> Option<Nanos> {
        let process = self.process_ref()?;
        if !process.inbox.is_empty() {
            return Some(process.busy_until.max(now));
        }
        let wakes = [process.wakes_at, process.storage.wake_at()];
        let first: Timestamp = wakes.into_iter().flatten().min()?;
        let at = self.clock.when(now, first);
        Some(at.max(process.busy_until).max(now + 1))
    }

    fn config_bytes(&self) -> Bytes {
        Bytes::from(format!("{} servers", self.servers))
    }
}
