//! Names of things. Two of them never mix by accident.

use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($repr:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name($repr);

        impl $name {
            /// Wraps a number that came from outside.
            pub const fn new(raw: $repr) -> Self {
                Self(raw)
            }

            /// The number, for printing and for bytes.
            pub const fn get(self) -> $repr {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! counter {
    ($name:ident) => {
        impl $name {
            /// The one after this. Panics at 2^64: that many never happen.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }

            /// The one before this; zero stays zero.
            #[must_use]
            pub const fn before(self) -> Self {
                Self(self.0.saturating_sub(1))
            }
        }
    };
}

id!(
    /// A member of the cluster. Never used twice, not even for its replacement.
    NodeId(u64)
);
id!(
    /// A replication group. One server may carry many later; today all is group 0.
    GroupId(u32)
);
id!(
    /// A generation of the membership. Ballots of a later epoch are higher.
    Epoch(u64)
);
id!(
    /// A change of the shared configuration: the slot of its entry. Zero is the configuration that the
    /// cluster began with.
    ChangeId(u64)
);
id!(
    /// A try to lead, within an epoch.
    Round(u64)
);
id!(
    /// A position in the replicated log, from 1. Zero is "before the first".
    Slot(u64)
);
id!(
    /// A record of this server's own write-ahead log, from 1, without gaps within one boot.
    RecordNo(u64)
);
id!(
    /// A byte of this server's own write-ahead log, counted from the first byte of its first segment.
    Lsn(u64)
);
id!(
    /// A file of the write-ahead log, from 1, without gaps.
    SegmentNo(u64)
);
id!(
    /// A start of a server: one more each time, remembered in the superblock.
    Boot(u64)
);
id!(
    /// Drawn at random when a data directory is made. Two directories never share one.
    Incarnation(u64)
);
id!(
    /// A tenant: every key, session and fence belongs to one. Zero is the zone `default`.
    ZoneId(u32)
);
id!(
    /// Grows with every grant of a zone. A store behind the lock refuses a smaller one.
    Fence(u64)
);
id!(
    /// A claim that waits: the slot and the place in the slot of the command that made it, so it is
    /// never used twice, in any zone.
    TicketId(u64)
);
id!(
    /// A session, in every server: the slot and the place in the slot of the command that opened it.
    SessionId(u128)
);
id!(
    /// What a caller named its request, so that a retry is known as one (`Idempotency-Key`).
    RequestId(u128)
);
id!(
    /// The position of a command among those of one session, from 1.
    RequestSeq(u64)
);
id!(
    /// The only source of randomness in the core.
    Seed(u64)
);

counter!(Boot);
counter!(Epoch);
counter!(Fence);
counter!(RecordNo);
counter!(RequestSeq);
counter!(Round);
counter!(SegmentNo);
counter!(Slot);

/// The cluster: a server of another one is refused at the first word.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A snapshot: equal ids are equal bytes, on every server.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
)]
pub struct SnapshotId {
    // The order of the fields is the order of snapshots: by slot.
    /// The last slot that it holds the effect of.
    pub slot: Slot,
    /// XXH3-64 over its chunks, as `machine` computes it.
    pub hash: u64,
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.slot, self.hash)
    }
}

/// Who may propose: an epoch, a round in it, and the server that owns the round.
///
/// (Paxos Made Simple, §2.2: "different proposers choose their numbers from disjoint sets".)
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
)]
pub struct Ballot {
    // The order of the fields is the order of ballots: epoch first, or ballots of two memberships
    // would be compared by their rounds.
    /// The membership this ballot belongs to.
    pub epoch: Epoch,
    /// The try.
    pub round: Round,
    /// Whose try. Breaks the tie between two servers in the same round.
    pub node: NodeId,
}

impl Ballot {
    /// Below every ballot that anybody owns.
    pub const ZERO: Self = Self {
        epoch: Epoch::new(0),
        round: Round::new(0),
        node: NodeId::new(0),
    };

    /// Below every ballot that anybody owns in `epoch`, and above all of earlier ones.
    pub const fn opening(epoch: Epoch) -> Self {
        Self {
            epoch,
            round: Round::new(0),
            node: NodeId::new(0),
        }
    }

    /// The first ballot of `node` above `self`, in the same epoch.
    #[must_use]
    pub const fn above(self, node: NodeId) -> Self {
        Self {
            epoch: self.epoch,
            round: self.round.next(),
            node,
        }
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.epoch, self.round, self.node)
    }
}

/// What the edge calls one request of one caller. The core hands it back and never looks inside.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tag {
    /// The connection, numbered by the host.
    pub conn: u64,
    /// The request on it, numbered by the edge.
    pub request: u64,
}
