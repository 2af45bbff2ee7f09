//! The bytes of a shared configuration, in a superblock and in a snapshot.
//!
//! ```text
//! config  = version = 1   cluster  genesis-hash   body   leaving   history
//! body    = epoch   members   zones   policy   since   node-last   invites   draining        what the hash of a state is over
//! history = past*           past = mark  stamp  by  change
//! ```
//! Postcard throughout: varints, and a varint length before texts and lists. The fields stand in the
//! order of their structs. `config/tests.rs` holds golden bytes.

use super::shared::{check_location, check_members, check_texts, check_zone};
use super::{Change, ConfigError, Invite, Member, Past, Policy, Shared, Zone};
use crate::ids::{ChangeId, ClusterId, Epoch, NodeId, Slot, ZoneId};
use crate::limits::{
    CONFIG_BYTES_MAX, CONFIG_HISTORY_MAX, HOLDER_BYTES_MAX, INVITE_MS_MAX, INVITES_MAX,
    MEMBERS_MAX, ZONES_MAX,
};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;

/// Why bytes are no configuration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FormError {
    /// They do not have the form.
    #[error("the configuration cannot be read")]
    Form,
    /// Written by a later Tenure.
    #[error("configuration version {found}, this server knows 1")]
    Version {
        /// The version read.
        found: u8,
    },
    /// Bytes after the end.
    #[error("{extra} bytes after the end of the configuration")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// The members make no cluster.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Something else can't be.
    #[error("the configuration is impossible: {0}")]
    Impossible(&'static str),
}

/// What the hash of a state is over.
#[derive(Serialize)]
struct Body<'a> {
    epoch: Epoch,
    members: &'a [Member],
    zones: &'a BTreeMap<ZoneId, Zone>,
    policy: &'a Policy,
    since: Slot,
    node_last: NodeId,
    invites: &'a [Invite],
    draining: &'a BTreeSet<NodeId>,
}

#[derive(Deserialize)]
struct OwnedBody {
    epoch: Epoch,
    members: Vec<Member>,
    zones: Vec<(ZoneId, Zone)>,
    policy: Policy,
    since: Slot,
    node_last: NodeId,
    invites: Vec<Invite>,
    draining: Vec<NodeId>,
}

type Whole<B, L, H> = (u8, ClusterId, u64, B, L, H);

pub(super) fn body(shared: &Shared) -> Vec<u8> {
    bytes_of(&Body::of(shared))
}

impl<'a> Body<'a> {
    const fn of(shared: &'a Shared) -> Self {
        Self {
            epoch: shared.epoch,
            members: shared.members.as_slice(),
            zones: &shared.zones,
            policy: &shared.policy,
            since: shared.since,
            node_last: shared.node_last,
            invites: shared.invites.as_slice(),
            draining: &shared.draining,
        }
    }
}

pub(super) fn bytes_of(form: &impl Serialize) -> Vec<u8> {
    let Ok(bytes) = postcard::to_allocvec(form) else {
        panic!("numbers, texts and lists always have a form in postcard, and memory for it");
    };
    bytes
}

impl Shared {
    /// The bytes of the whole, the history with it.
    pub fn encode(&self) -> Bytes {
        let whole: Whole<Body<'_>, &[Member], &VecDeque<Past>> = (
            VERSION,
            self.cluster,
            self.genesis,
            Body::of(self),
            &self.leaving,
            &self.history,
        );
        let bytes = bytes_of(&whole);
        assert!(
            bytes.len() <= CONFIG_BYTES_MAX,
            "the limits of its parts bound a configuration"
        );
        bytes.into()
    }

    /// Reads what [`Self::encode`] wrote, and believes nothing that could not be.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormError> {
        let found = *bytes.first().ok_or(FormError::Form)?;
        if found != VERSION {
            return Err(FormError::Version { found });
        }
        type Owned = Whole<OwnedBody, Vec<Member>, VecDeque<Past>>;
        let taken = postcard::take_from_bytes::<Owned>(bytes);
        let ((_, cluster, genesis, body, leaving, history), rest) =
            taken.map_err(|_| FormError::Form)?;
        if !rest.is_empty() {
            return Err(FormError::Trailing { extra: rest.len() });
        }
        let zone_count = body.zones.len();
        if !body.draining.is_sorted_by(|one, next| one < next) {
            return Err(FormError::Impossible("who drains is not in order"));
        }
        let shared = Self {
            cluster,
            epoch: body.epoch,
            members: body.members,
            zones: body.zones.into_iter().collect(),
            policy: body.policy,
            since: body.since,
            node_last: body.node_last,
            invites: body.invites,
            draining: body.draining.into_iter().collect(),
            leaving,
            genesis,
            history,
        };
        check_members(&shared.members)?;
        shared.check(zone_count).map_err(FormError::Impossible)?;
        Ok(shared)
    }

    fn check(&self, zone_count: usize) -> Result<(), &'static str> {
        if self.zones.len() != zone_count || zone_count > ZONES_MAX {
            return Err("a zone is listed twice, or there are too many");
        }
        self.zones.values().try_for_each(check_zone)?;
        let names = self.zones.values().map(|zone| zone.name.as_str());
        let names: BTreeSet<&str> = names.collect();
        if names.len() != zone_count {
            return Err("two zones have one name");
        }
        check_location(&self.policy.leader_location)?;
        if self
            .draining
            .iter()
            .any(|node| self.member(*node).is_none())
        {
            return Err("one drains that is no member");
        }
        let highest = self.members.last().map(|member| member.node);
        if highest > Some(self.node_last) {
            return Err("a member's number is above all that were used");
        }
        if self.invites.len() > INVITES_MAX {
            return Err("there are too many invitations");
        }
        if self.leaving.len() > MEMBERS_MAX {
            return Err("too many members are leaving");
        }
        self.leaving.iter().try_for_each(check_texts)?;
        self.membership().check().map_err(|_| "nobody can lead")?;
        if self.history.len() > CONFIG_HISTORY_MAX {
            return Err("the history is too long");
        }
        let mut before = ChangeId::new(0);
        for past in &self.history {
            if past.mark.change <= before {
                return Err("the history is not in order");
            }
            before = past.mark.change;
            check_by(&past.by)?;
            let is_stop_sign = matches!(past.change, Change::Epoch(_));
            if !is_stop_sign {
                past.change.check()?;
            }
        }
        Ok(())
    }
}

/// The name of whoever makes a change has the limit of a holder's.
fn check_by(by: &str) -> Result<(), &'static str> {
    if by.len() > HOLDER_BYTES_MAX {
        return Err("the name of who makes a change is too long");
    }
    if by.contains(char::is_control) {
        return Err("the name of who makes a change is no text of one line");
    }
    Ok(())
}

impl Change {
    /// Whether it is within every limit, wherever it is applied; if not, what is wrong with it.
    pub fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Member(member)
            | Self::Add(member)
            | Self::Replace { new: member, .. }
            | Self::Join { member, .. } => check_texts(member),
            Self::Zone { name, quota } => check_zone(&Zone {
                name: name.clone(),
                quota: *quota,
            }),
            Self::Policy(policy) => check_location(&policy.leader_location),
            Self::Invite { ttl_ms, .. } if *ttl_ms > INVITE_MS_MAX => {
                Err("an invitation lasts for a week at most")
            }
            Self::Role { .. }
            | Self::Remove { .. }
            | Self::Invite { .. }
            | Self::Uninvite { .. }
            | Self::Approve { .. }
            | Self::Drain { .. } => Ok(()),
            Self::Epoch(_) => Err("an epoch begins by a stop-sign alone"),
        }
    }

    /// As [`Self::check`], with the name of who asks for it.
    pub fn check_from(&self, by: &str) -> Result<(), &'static str> {
        check_by(by)?;
        self.check()
    }
}
