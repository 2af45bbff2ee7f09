//! How the shared configuration changes: one compare-and-set in the log at a time.

use super::{Mark, Member, Policy, Quota, Shared, Zone};
use crate::ids::{ChangeId, Slot, ZoneId};
use crate::limits::{CONFIG_HISTORY_MAX, ZONES_MAX};
use crate::time::Stamp;
use alloc::string::String;
use serde::{Deserialize, Serialize};

// The order of the variants is their number in the log: add at the end only.
/// What is to be different. None of these touches who counts in a quorum, so none makes an epoch.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// A member is reached at other addresses, or stands at another place.
    Member(Member),
    /// A tenant gets its name and its quota; if it has the name already, another quota.
    Zone {
        /// What clients call it.
        name: String,
        /// How much it may have.
        quota: Quota,
    },
    /// The cluster serves in another way.
    Policy(Policy),
}

/// A change that was made.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// The state that it made.
    pub mark: Mark,
    /// When, in agreed time.
    pub stamp: Stamp,
    /// Who, for people; empty if nobody said.
    pub by: String,
    /// What.
    pub change: Change,
}

/// Why a change was not made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Another change came first: look at it, and decide again.
    #[error("the configuration is at change {now} by now")]
    Moved {
        /// What is.
        now: Mark,
    },
    /// The cluster can't be like this.
    #[error("{0}")]
    Unfit(#[from] Unfit),
}

/// Why a change does not fit the cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// Out of bounds, as [`Change::check`] says: whoever proposes it asks first.
    #[error("the change is out of bounds")]
    Malformed,
    /// Nobody has this number.
    #[error("there is no such member")]
    NoSuchMember,
    /// More members are to be heard than there are.
    #[error("there are not so many members")]
    MembersMin,
    /// No more zones.
    #[error("there are as many zones as there can be")]
    Zones,
}

impl Shared {
    /// The configuration after `change`, which is decided at `at`. It was made by somebody who had
    /// seen the state `expect`: if there has been another since, nothing changes (compare-and-set).
    /// So a slot makes one change at most: the state that it makes has its number.
    pub fn apply(
        &self,
        at: Slot,
        stamp: Stamp,
        by: &str,
        expect: ChangeId,
        change: &Change,
    ) -> Result<Self, Refused> {
        let now = self.mark();
        let id = ChangeId::new(at.get());
        if expect != now.change || id <= now.change {
            return Err(Refused::Moved { now });
        }
        let mut next = self.clone();
        next.put(change)?;
        let hash = next.hash_after(Mark {
            change: id,
            hash: now.hash,
        });
        next.history.push_back(Past {
            mark: Mark { change: id, hash },
            stamp,
            by: by.into(),
            change: change.clone(),
        });
        if next.history.len() > CONFIG_HISTORY_MAX {
            next.history.pop_front();
        }
        assert!(
            next.judge(now) == super::Standing::Behind,
            "the state before a change is known after it"
        );
        Ok(next)
    }

    fn put(&mut self, change: &Change) -> Result<(), Unfit> {
        change.check().map_err(|_| Unfit::Malformed)?;
        match change {
            Change::Member(member) => self.put_member(member),
            Change::Zone { name, quota } => self.put_zone(name, *quota),
            Change::Policy(policy) => {
                if usize::from(policy.members_min) > self.members.len() {
                    return Err(Unfit::MembersMin);
                }
                self.policy = policy.clone();
                Ok(())
            }
        }
    }

    fn put_member(&mut self, member: &Member) -> Result<(), Unfit> {
        let mut members = self.members.iter_mut();
        let found = members.find(|known| known.node == member.node);
        let Some(known) = found else {
            return Err(Unfit::NoSuchMember);
        };
        known.clone_from(member);
        Ok(())
    }

    fn put_zone(&mut self, name: &str, quota: Quota) -> Result<(), Unfit> {
        let zone = Zone {
            name: name.into(),
            quota,
        };
        let last = self.zones.last_key_value().map_or(0, |(id, _)| id.get());
        let id = self.zone_named(name).unwrap_or(ZoneId::new(last + 1));
        if self.zones.len() >= ZONES_MAX && !self.zones.contains_key(&id) {
            return Err(Unfit::Zones);
        }
        self.zones.insert(id, zone);
        Ok(())
    }
}
