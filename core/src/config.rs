//! The cluster as data: parsed once, right ever after.
//!
//! [`Shared`] is what all servers have alike: it begins with the operator's list of members, changes
//! only by entries of the log, and is part of the machine's state. [`Config`] is how one server sees
//! it: the shared configuration, and which of the members it is.

use crate::ids::{ChangeId, ClusterId, Epoch, NodeId};
use crate::limits::MEMBERS_MAX;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

mod change;
mod codec;
mod membership;
mod shared;

pub use change::{Change, Invite, Past, Refused, Unfit};
pub use codec::FormError;
pub use membership::{Membership, Next, Role, Seat};
pub use shared::{Policy, Quota, Shared, Standing, Zone};

// The order of the fields is their order in the bytes of a configuration: see `config/codec.rs`.
/// One server of the cluster.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its number.
    pub node: NodeId,
    /// Where its peers reach it.
    pub peer: String,
    /// Where native clients reach it.
    pub client: String,
    /// Where HTTP clients reach it.
    pub http: String,
    /// Where it stands, for clients that look for the nearest: `au.perth.dh4`.
    pub location: String,
    /// What it does for the cluster.
    pub role: Role,
    /// What it is to be, if that is something else.
    pub next: Option<Next>,
}

/// Names one state of the shared configuration: two servers with equal marks have the same one, and
/// came to it by the same changes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// The last change.
    pub change: ChangeId,
    /// A hash of the whole, and of every state before it.
    pub hash: u64,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.change, self.hash)
    }
}

/// Why a cluster can't be like this.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// No members, or too many.
    #[error("a cluster has 1 to {MEMBERS_MAX} members, not {found}")]
    Size {
        /// How many were given.
        found: usize,
    },
    /// One number, two servers.
    #[error("member {node} is listed twice")]
    Twice {
        /// The number.
        node: NodeId,
    },
    /// This server is not in the list.
    #[error("this server is member {node}, which is not in the list of members")]
    NotAMember {
        /// Its number.
        node: NodeId,
    },
    /// Zero names nobody.
    #[error("a member's id is 1 or more")]
    Zero,
    /// Too few of them would have the locks.
    #[error("more than half of the voters, rounded down, must be full voters")]
    Voters,
    /// An address or a location is over its limit.
    #[error("member {node}: {what}")]
    Text {
        /// Whose.
        node: NodeId,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// How one server sees the cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    me: NodeId,
    shared: Shared,
    /// Who counts at this server: what `shared` says, or an epoch before or after it while the log is
    /// being applied.
    membership: Membership,
}

impl Config {
    /// Checks a cluster given by its operator, as it begins. All members vote.
    pub fn new(cluster: ClusterId, me: NodeId, members: Vec<Member>) -> Result<Self, ConfigError> {
        Self::of(me, Shared::genesis(cluster, members)?)
    }

    /// How server `me` sees `shared`.
    pub fn of(me: NodeId, shared: Shared) -> Result<Self, ConfigError> {
        let mut known = shared.members().iter().chain(shared.leaving());
        if !known.any(|member| member.node == me) {
            return Err(ConfigError::NotAMember { node: me });
        }
        let membership = shared.membership();
        Ok(Self {
            me,
            shared,
            membership,
        })
    }

    /// How a server that goes by `membership` sees `shared`. It may not be in it yet, or not any more.
    pub const fn seen_by(me: NodeId, shared: Shared, membership: Membership) -> Self {
        Self {
            me,
            shared,
            membership,
        }
    }

    /// The same, in the epoch of `membership`.
    pub fn go_by(&mut self, membership: Membership) {
        assert!(
            membership.epoch() > self.membership.epoch(),
            "epochs go forward"
        );
        self.membership = membership;
    }

    /// The same, with what all servers have alike by now.
    pub fn learn(&mut self, shared: Shared) {
        self.shared = shared;
    }

    /// What all servers have alike.
    pub const fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Who counts.
    pub const fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The cluster's name for itself.
    pub fn cluster(&self) -> ClusterId {
        self.shared.cluster()
    }

    /// The generation of the membership.
    pub const fn epoch(&self) -> Epoch {
        self.membership.epoch()
    }

    /// This server.
    pub const fn me(&self) -> NodeId {
        self.me
    }

    /// All servers, by number.
    pub fn members(&self) -> &[Member] {
        self.shared.members()
    }

    /// The other servers that this one speaks with, by number: those that vote, those that learn, and
    /// those that have not heard yet that they are no members any more.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> + '_ {
        let members = self.members().iter().filter(|member| member.is_in());
        let members = members.chain(self.shared.leaving());
        let members = members.map(|member| member.node);
        let seats = self.membership.seats().iter().map(|seat| seat.node);
        let all: BTreeSet<NodeId> = members.chain(seats).collect();
        all.into_iter().filter(|node| *node != self.me)
    }

    /// The other servers that vote, by number.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        let seats = self.membership.seats().iter().map(|seat| seat.node);
        seats.filter(|node| *node != self.me)
    }

    /// Whether `node` votes.
    pub fn votes(&self, node: NodeId) -> bool {
        self.membership.role(node).is_some()
    }

    /// Whether this server takes clients: one that only votes does not.
    pub fn takes_clients(&self) -> bool {
        self.membership.role(self.me) != Some(Role::QuorumOnly)
    }

    /// Whether `node` may lead.
    pub fn may_lead(&self, node: NodeId) -> bool {
        self.membership.role(node) == Some(Role::Voter)
    }

    /// Whether `node` stands where the leader should: `au.perth` holds `au.perth.dh4`. Nobody does
    /// if any place is as good.
    pub fn prefers(&self, node: NodeId) -> bool {
        let wanted = &*self.shared.policy.leader_location;
        let member = self.shared.member(node);
        let rest = member.and_then(|member| member.location.strip_prefix(wanted));
        !wanted.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// How many votes are a majority.
    pub fn quorum(&self) -> usize {
        self.membership.quorum()
    }

    /// Whether `node` shall leave it to others to lead.
    pub fn drains(&self, node: NodeId) -> bool {
        self.shared.drains(node)
    }
}

#[cfg(test)]
mod tests;
