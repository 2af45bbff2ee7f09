//! Who hears whom, and stays so for a while. Partial partitions kept real clusters without a leader
//! for hours (Cloudflare 2020), so each graph here has a bound within which a leader must serve.

use crate::Nanos;
use crate::marks::Mark;
use crate::rand::Rand;
use crate::scenario::{MS, SECOND};

/// A graph of servers, or one thing that is wrong with the leader, that stays as it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Graph {
    /// All hear all.
    Whole,
    /// Two servers do not hear each other, all others hear both (Cloudflare, November 2020).
    Triangle,
    /// Only one server hears a majority, and it did not lead (OmniPaxos, "quorum loss").
    QuorumLoss,
    /// The same, with a log that lags, and the leader is gone (OmniPaxos, "constrained election").
    Constrained,
    /// Each server hears its neighbours in a row (OmniPaxos, "chained").
    Chain,
    /// Of five servers the fourth hears only the second, and the fifth only the third (Howard and
    /// Abraham, "Raft does not guarantee liveness in the face of network faults", 2020).
    Howard,
    /// Some links are cut.
    Random,
    /// A server is heard by nobody.
    Mute,
    /// A server hears nobody.
    Deaf,
    /// One direction of one link is cut.
    OneWay,
    /// One link comes and goes.
    Flapping,
    /// Servers stop hearing, one after the other, and hear again in another order
    /// (FoundationDB's swizzle).
    Swizzle,
    /// A candidate was promised by too few to lead, and the leader's accepts no longer reach it.
    Unelected,
    /// The same, and it hears the leader from others only.
    Shunned,
    /// The leader's large frames vanish (F10b).
    BlackHole,
    /// The leader's disk is a hundred times slower than the others', and slow for a client.
    SlowDisk,
    /// The leader's disk answers nothing any more.
    HungDisk,
    /// The leader's disk is low on space.
    LowSpace,
    /// The operator asks for another leader.
    Asked,
    /// The leader dies, and its connections break.
    Killed,
    /// The leader stands still.
    Stopped,
    /// The leader is cut off.
    CutOff,
    /// One of three sites is lost: its servers die together, or nobody elsewhere hears them.
    SiteLost,
}

impl Graph {
    const ALL: &[Self] = &[
        Self::Whole,
        Self::Triangle,
        Self::QuorumLoss,
        Self::Constrained,
        Self::Chain,
        Self::Howard,
        Self::Random,
        Self::Mute,
        Self::Deaf,
        Self::OneWay,
        Self::Flapping,
        Self::Swizzle,
        Self::Unelected,
        Self::Shunned,
        Self::BlackHole,
        Self::SlowDisk,
        Self::HungDisk,
        Self::LowSpace,
        Self::Asked,
        Self::Killed,
        Self::Stopped,
        Self::CutOff,
        Self::SiteLost,
    ];

    /// All that `servers` servers can have, in any order.
    pub fn deck(rand: &mut Rand, servers: usize) -> Vec<Self> {
        let can = |graph: &&Self| servers >= graph.facts().servers_min;
        let mut graphs: Vec<Self> = Self::ALL.iter().filter(can).copied().collect();
        rand.shuffle(&mut graphs);
        graphs
    }

    /// That it was set.
    pub const fn mark(self) -> Mark {
        match self {
            Self::Whole => Mark::GraphWhole,
            Self::Triangle => Mark::GraphTriangle,
            Self::QuorumLoss => Mark::GraphQuorumLoss,
            Self::Constrained => Mark::GraphConstrained,
            Self::Chain => Mark::GraphChain,
            Self::Howard => Mark::GraphHoward,
            Self::Random => Mark::GraphRandom,
            Self::Mute => Mark::GraphMute,
            Self::Deaf => Mark::GraphDeaf,
            Self::OneWay => Mark::GraphOneWay,
            Self::Flapping => Mark::GraphFlapping,
            Self::Swizzle => Mark::GraphSwizzle,
            Self::Unelected => Mark::GraphUnelected,
            Self::Shunned => Mark::GraphShunned,
            Self::BlackHole => Mark::GraphBlackHole,
            Self::SlowDisk => Mark::GraphSlowDisk,
            Self::HungDisk => Mark::GraphHungDisk,
            Self::LowSpace => Mark::GraphLowSpace,
            Self::Asked => Mark::GraphAsked,
            Self::Killed => Mark::GraphKilled,
            Self::Stopped => Mark::GraphStopped,
            Self::CutOff => Mark::GraphCutOff,
            Self::SiteLost => Mark::GraphSiteLost,
        }
    }

    const fn facts(self) -> Facts {
        match self {
            Self::Whole
            | Self::Triangle
            | Self::Chain
            | Self::Random
            | Self::Mute
            | Self::Deaf
            | Self::OneWay
            | Self::Flapping
            | Self::Swizzle
            | Self::Unelected
            | Self::Shunned => Facts::of_links(3, 1_500 * MS),
            Self::QuorumLoss | Self::Constrained | Self::Howard => Facts::of_links(5, 1_500 * MS),
            Self::SiteLost => Facts::of_links(3, SECOND),
            Self::Killed | Self::Asked => Facts::of_the_leader(300 * MS),
            Self::Stopped | Self::CutOff | Self::LowSpace | Self::HungDisk => {
                Facts::of_the_leader(SECOND)
            }
            Self::BlackHole => Facts::of_the_leader(4 * SECOND),
            Self::SlowDisk => Facts::of_the_leader(8 * SECOND),
        }
    }

    /// How soon a leader serves, and stays from then on.
    pub const fn bound(self) -> Nanos {
        self.facts().bound
    }

    /// Whether another server must lead afterwards.
    pub const fn moves_the_leader(self) -> bool {
        self.facts().moves_the_leader
    }
}

/// What is known of a graph.
#[derive(Clone, Copy, Debug)]
struct Facts {
    servers_min: usize,
    bound: Nanos,
    moves_the_leader: bool,
}

impl Facts {
    /// Who hears whom: the leader may be the same one.
    const fn of_links(servers_min: usize, bound: Nanos) -> Self {
        Self {
            servers_min,
            bound,
            moves_the_leader: false,
        }
    }

    /// Something is wrong with the leader.
    const fn of_the_leader(bound: Nanos) -> Self {
        Self {
            servers_min: 3,
            bound,
            moves_the_leader: true,
        }
    }
}
