//! The cluster as data: parsed once, right ever after.
//!
//! [`Shared`] is what all servers have alike: it begins with the operator's list of members, changes
//! only by entries of the log, and is part of the machine's state. [`Config`] is how one server sees
//! it: the shared configuration, and which of the members it is.

use crate::ids::{ChangeId, ClusterId, Epoch, NodeId};
use crate::limits::MEMBERS_MAX;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

mod change;
mod codec;
mod shared;

pub use change::{Change, Past, Refused, Unfit};
pub use codec::FormError;
pub use shared::{Policy, Quota, Shared, Standing, Zone};

// The order of the fields is their order in the bytes of a configuration: see `config/codec.rs`.
/// One server of the cluster.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
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
}

impl Config {
    /// Checks a cluster given by its operator. All members vote.
    pub fn new(cluster: ClusterId, me: NodeId, members: Vec<Member>) -> Result<Self, ConfigError> {
        Self::of(me, Shared::genesis(cluster, members)?)
    }

    /// How server `me` sees `shared`.
    pub fn of(me: NodeId, shared: Shared) -> Result<Self, ConfigError> {
        if shared.member(me).is_none() {
            return Err(ConfigError::NotAMember { node: me });
        }
        Ok(Self { me, shared })
    }

    /// What all servers have alike.
    pub const fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The cluster's name for itself.
    pub fn cluster(&self) -> ClusterId {
        self.shared.cluster()
    }

    /// The generation of the membership.
    pub fn epoch(&self) -> Epoch {
        self.shared.epoch()
    }

    /// This server.
    pub const fn me(&self) -> NodeId {
        self.me
    }

    /// All servers, by number.
    pub fn members(&self) -> &[Member] {
        self.shared.members()
    }

    /// The other servers, by number.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> + '_ {
        let nodes = self.members().iter().map(|member| member.node);
        nodes.filter(|node| *node != self.me)
    }

    /// Whether `node` stands where the leader should: `au.perth` holds `au.perth.dh4`. Nobody does
    /// if any place is as good.
    pub fn prefers(&self, node: NodeId) -> bool {
        let wanted = &*self.shared.policy.leader_location;
        let member = self.shared.member(node);
        let rest = member.and_then(|member| member.location.strip_prefix(wanted));
        !wanted.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// How many servers are a majority.
    pub fn quorum(&self) -> usize {
        self.members().len() / 2 + 1
    }
}

#[cfg(test)]
mod tests;
