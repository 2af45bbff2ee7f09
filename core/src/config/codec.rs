//! The bytes of a shared configuration, in a superblock and in a snapshot.
//!
//! ```text
//! config  = version = 1   cluster  genesis-hash   body   history
//! body    = epoch   members   zones   policy        what the hash of a state is over
//! history = past*           past = mark  stamp  by  change
//! ```
//! Postcard throughout: varints, and a varint length before texts and lists. The fields stand in the
//! order of their structs. `config/tests.rs` holds golden bytes.

use super::shared::{check_location, check_members, check_texts, check_zone};
use super::{Change, ConfigError, Member, Past, Policy, Shared, Zone};
use crate::ids::{ChangeId, ClusterId, Epoch, ZoneId};
use crate::limits::{CONFIG_BYTES_MAX, CONFIG_HISTORY_MAX, HOLDER_BYTES_MAX, ZONES_MAX};
use alloc::collections::{BTreeMap, VecDeque};
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
}

#[derive(Deserialize)]
struct OwnedBody {
    epoch: Epoch,
    members: Vec<Member>,
    zones: Vec<(ZoneId, Zone)>,
    policy: Policy,
}

type Whole<B, H> = (u8, ClusterId, u64, B, H);

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
        }
    }
}

fn bytes_of(form: &impl Serialize) -> Vec<u8> {
    let Ok(bytes) = postcard::to_allocvec(form) else {
        panic!("numbers, texts and lists always have a form in postcard, and memory for it");
    };
    bytes
}

impl Shared {
    /// The bytes of the whole, the history with it.
    pub fn encode(&self) -> Bytes {
        let whole: Whole<Body<'_>, &VecDeque<Past>> = (
            VERSION,
            self.cluster,
            self.genesis,
            Body::of(self),
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
        let taken = postcard::take_from_bytes::<Whole<OwnedBody, VecDeque<Past>>>(bytes);
        let ((_, cluster, genesis, body, history), rest) = taken.map_err(|_| FormError::Form)?;
        if !rest.is_empty() {
            return Err(FormError::Trailing { extra: rest.len() });
        }
        let zone_count = body.zones.len();
        let shared = Self {
            cluster,
            epoch: body.epoch,
            members: body.members,
            zones: body.zones.into_iter().collect(),
            policy: body.policy,
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
        let names: alloc::collections::BTreeSet<&str> = names.collect();
        if names.len() != zone_count {
            return Err("two zones have one name");
        }
        check_location(&self.policy.leader_location)?;
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
            past.change.check()?;
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
    /// Adds the bytes of the change to `out`: equal changes have equal bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&bytes_of(self));
    }

    /// Whether it is within every limit, wherever it is applied; if not, what is wrong with it.
    pub fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Member(member) => check_texts(member),
            Self::Zone { name, quota } => check_zone(&Zone {
                name: name.clone(),
                quota: *quota,
            }),
            Self::Policy(policy) => check_location(&policy.leader_location),
        }
    }

    /// As [`Self::check`], with the name of who asks for it.
    pub fn check_from(&self, by: &str) -> Result<(), &'static str> {
        check_by(by)?;
        self.check()
    }
}
