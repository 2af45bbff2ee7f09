//! What all servers have alike.

use super::change::{Invite, Past};
use super::{ConfigError, Mark, Member, codec};
use crate::hash::{hash64, hash64_after};
use crate::ids::{ChangeId, ClusterId, Epoch, NodeId, Slot, ZoneId};
use crate::limits::{
    ADDRESS_BYTES_MAX, CONFIG_HISTORY_MAX, LOCATION_BYTES_MAX, MEMBERS_MAX, ZONE_NAME_BYTES_MAX,
};
use crate::time::Stamp;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The name of the zone that every cluster has.
const DEFAULT_ZONE: &str = "default";

// The order of the fields is their order in the bytes of a configuration: see `config/codec.rs`.
/// How much a tenant may have. What is not said has only the limits of `limits.rs`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Quota {
    /// Grants and tickets, together.
    pub locks: Option<u64>,
    /// Tickets.
    pub tickets: Option<u64>,
    /// Sessions.
    pub sessions: Option<u64>,
}

/// A tenant.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Zone {
    /// What clients call it: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// How much it may have.
    pub quota: Quota,
}

/// How the cluster serves.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// A server takes clients only while it hears at least so many members, itself counted. A
    /// majority is needed to serve in any case; zero asks for no more.
    pub members_min: u8,
    /// Where the leader should stand, if it can: a location, or the beginning of one. Empty if it
    /// does not matter.
    pub leader_location: String,
}

/// What all servers have alike: data in the log, and part of the machine's state.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shared {
    pub(super) cluster: ClusterId,
    pub(super) epoch: Epoch,
    pub(super) members: Vec<Member>,
    pub(super) zones: BTreeMap<ZoneId, Zone>,
    pub(super) policy: Policy,
    /// The slot of the stop-sign that began this epoch; zero for the first.
    pub(super) since: Slot,
    /// The highest number that a member ever had: none is used twice.
    pub(super) node_last: NodeId,
    /// Who may ask to be a member.
    pub(super) invites: Vec<Invite>,
    /// Members that shall neither lead nor take clients.
    pub(super) draining: BTreeSet<NodeId>,
    /// Voters of the epoch before that are no members any more, until this one works.
    pub(super) leaving: Vec<Member>,
    /// The hash of what the cluster began with.
    pub(super) genesis: u64,
    /// The last changes, the newest last.
    pub(super) history: VecDeque<Past>,
}

/// How another server's configuration stands to this one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It is the same.
    Same,
    /// It is one of those before this one.
    Behind,
    /// It is newer than this one: only the log can tell more.
    Ahead,
    /// It is not one of those before this one, and this one can't be before it: two histories.
    Forked,
}

impl Shared {
    /// What a cluster begins with: equal lists of members give equal configurations, in any order.
    pub fn genesis(cluster: ClusterId, mut members: Vec<Member>) -> Result<Self, ConfigError> {
        members.sort_by_key(|member| member.node);
        check_members(&members)?;
        let default = Zone {
            name: DEFAULT_ZONE.into(),
            quota: Quota::default(),
        };
        let node_last = members.last().map(|member| member.node);
        let mut shared = Self {
            cluster,
            epoch: Epoch::new(1),
            node_last: node_last.unwrap_or_default(),
            members,
            zones: BTreeMap::from([(ZoneId::new(0), default)]),
            ..Self::default()
        };
        let voters = shared.membership().check();
        voters.map_err(|_| ConfigError::Voters)?;
        let nothing = Mark {
            change: ChangeId::new(0),
            hash: hash64(&cluster.0),
        };
        shared.genesis = shared.hash_after(nothing, Stamp::ZERO, "");
        Ok(shared)
    }

    /// The cluster's name for itself.
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The generation of the membership.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// All servers, by number.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// One server.
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.iter().find(|member| member.node == node)
    }

    /// The highest number that a member ever had: a newcomer's is higher.
    pub const fn node_last(&self) -> NodeId {
        self.node_last
    }

    /// Voters of the epoch before that are no members any more, and are still told so.
    pub fn leaving(&self) -> &[Member] {
        &self.leaving
    }

    /// Who may ask to be a member.
    pub fn invites(&self) -> &[Invite] {
        &self.invites
    }

    /// Whether a member shall take no clients, and leave it to others to lead: its operator wants to take
    /// it down.
    pub fn drains(&self, node: NodeId) -> bool {
        self.draining.contains(&node)
    }

    /// The tenants that have a name, by number.
    pub const fn zones(&self) -> &BTreeMap<ZoneId, Zone> {
        &self.zones
    }

    /// The tenant with this name.
    pub fn zone_named(&self, name: &str) -> Option<ZoneId> {
        let mut zones = self.zones.iter();
        zones.find(|(_, zone)| zone.name == name).map(|(id, _)| *id)
    }

    /// How much a tenant may have.
    pub fn quota(&self, zone: ZoneId) -> Quota {
        let zone = self.zones.get(&zone);
        zone.map_or_else(Quota::default, |zone| zone.quota)
    }

    /// How the cluster serves.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The last changes, the newest last: at most [`CONFIG_HISTORY_MAX`].
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &Past> {
        self.history.iter()
    }

    /// Names this state.
    pub fn mark(&self) -> Mark {
        let last = self.history.back().map(|past| past.mark);
        last.unwrap_or(self.beginning())
    }

    /// Names the state that the cluster began with.
    pub const fn beginning(&self) -> Mark {
        Mark {
            change: ChangeId::new(0),
            hash: self.genesis,
        }
    }

    /// How a server that says `other` stands to this one.
    pub fn judge(&self, other: Mark) -> Standing {
        let mark = self.mark();
        if other == mark {
            return Standing::Same;
        }
        if other.change > mark.change {
            return Standing::Ahead;
        }
        let is_before = |hash| {
            if other.hash == hash {
                Standing::Behind
            } else {
                Standing::Forked
            }
        };
        if other.change == ChangeId::new(0) {
            return is_before(self.genesis);
        }
        let known = |past: &&Past| past.mark.change == other.change;
        if let Some(past) = self.history.iter().find(known) {
            return is_before(past.mark.hash);
        }
        let oldest = self.history.front().map(|past| past.mark.change);
        let is_forgotten = self.history.len() >= CONFIG_HISTORY_MAX && oldest > Some(other.change);
        if is_forgotten {
            Standing::Behind
        } else {
            Standing::Forked
        }
    }

    /// The hash of this state, reached by the change that `before` names the place of, from a state
    /// with its hash. Two histories that make the same change do it at two moments: they must not
    /// look alike because they meet in the same state.
    pub(super) fn hash_after(&self, before: Mark, stamp: Stamp, by: &str) -> u64 {
        let seed = hash64_after(before.hash, &before.change.get().to_le_bytes());
        let seed = hash64_after(seed, &stamp.as_nanos().to_le_bytes());
        let seed = hash64_after(seed, by.as_bytes());
        hash64_after(seed, &codec::body(self))
    }
}

/// A list of members that makes a cluster, sorted by number.
pub(super) fn check_members(members: &[Member]) -> Result<(), ConfigError> {
    if members.is_empty() || members.len() > MEMBERS_MAX {
        return Err(ConfigError::Size {
            found: members.len(),
        });
    }
    for pair in members.windows(2) {
        if let [a, b] = pair
            && a.node >= b.node
        {
            return Err(ConfigError::Twice { node: a.node });
        }
    }
    for member in members {
        let node = member.node;
        if node.get() == 0 {
            return Err(ConfigError::Zero);
        }
        check_texts(member).map_err(|what| ConfigError::Text { node, what })?;
    }
    Ok(())
}

pub(super) fn check_texts(member: &Member) -> Result<(), &'static str> {
    let addresses = [&member.peer, &member.client, &member.http];
    if addresses.iter().any(|text| text.len() > ADDRESS_BYTES_MAX) {
        return Err("an address is too long");
    }
    if addresses.iter().any(|text| text.contains(char::is_control)) {
        return Err("an address is no text of one line");
    }
    check_location(&member.location)
}

pub(super) fn check_location(location: &str) -> Result<(), &'static str> {
    if location.len() > LOCATION_BYTES_MAX {
        return Err("the location is too long");
    }
    if location.contains(char::is_control) {
        return Err("the location is no text of one line");
    }
    Ok(())
}

pub(super) fn check_zone(zone: &Zone) -> Result<(), &'static str> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if zone.name.is_empty() || zone.name.len() > ZONE_NAME_BYTES_MAX {
        return Err("a zone's name has 1 to 64 bytes");
    }
    if !zone.name.chars().all(is_plain) {
        return Err("a zone's name has letters, digits, '.', '_' and '-' only");
    }
    Ok(())
}
