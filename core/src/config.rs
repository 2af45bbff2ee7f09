//! The cluster as data: parsed once, right ever after.

use crate::hash::hash64_after;
use crate::ids::{ClusterId, Epoch, NodeId};
use crate::limits::MEMBERS_MAX;
use alloc::string::String;
use alloc::vec::Vec;

/// One server of the cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
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
}

/// What every member knows alike, and which of them this one is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    cluster: ClusterId,
    epoch: Epoch,
    me: NodeId,
    members: Vec<Member>,
}

impl Config {
    /// Checks a cluster given by its operator. All members vote.
    pub fn new(
        cluster: ClusterId,
        me: NodeId,
        mut members: Vec<Member>,
    ) -> Result<Self, ConfigError> {
        if members.is_empty() || members.len() > MEMBERS_MAX {
            return Err(ConfigError::Size {
                found: members.len(),
            });
        }
        members.sort_by_key(|member| member.node);
        for pair in members.windows(2) {
            if let [a, b] = pair
                && a.node == b.node
            {
                return Err(ConfigError::Twice { node: a.node });
            }
        }
        if members.iter().any(|member| member.node.get() == 0) {
            return Err(ConfigError::Zero);
        }
        if !members.iter().any(|member| member.node == me) {
            return Err(ConfigError::NotAMember { node: me });
        }
        Ok(Self {
            cluster,
            epoch: Epoch::new(1),
            me,
            members,
        })
    }

    /// The cluster's name for itself.
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The generation of the membership.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// This server.
    pub const fn me(&self) -> NodeId {
        self.me
    }

    /// All servers, by number.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The other servers, by number.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members
            .iter()
            .map(|member| member.node)
            .filter(|node| *node != self.me)
    }

    /// A hash of what decides quorums: cluster, epoch and the members' numbers. Two servers with
    /// one epoch and two hashes must not talk (addresses may be written differently on each).
    pub fn hash(&self) -> u64 {
        let seed = hash64_after(self.epoch.get(), &self.cluster.0);
        self.members.iter().fold(seed, |hash, member| {
            hash64_after(hash, &member.node.get().to_le_bytes())
        })
    }

    /// How many servers are a majority.
    pub fn quorum(&self) -> usize {
        self.members.len() / 2 + 1
    }
}

#[cfg(test)]
mod tests;
