//! How the shared configuration changes: one compare-and-set in the log at a time.

use super::{Mark, Member, Membership, Next, Policy, Quota, Role, Shared, Zone};
use crate::ids::{ChangeId, NodeId, Slot, ZoneId};
use crate::limits::{CONFIG_HISTORY_MAX, INVITES_MAX, ZONES_MAX};
use crate::time::Stamp;
use alloc::string::String;
use core::time::Duration;
use serde::{Deserialize, Serialize};

// The order of the variants is their number in the log: add at the end only.
/// What is to be different. None of these touches who counts in a quorum at once: where that is wanted,
/// it is noted, and comes true at the next stop-sign.
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
    /// A new member is to have this role. Its number is one that no member ever had; it learns first.
    Add(Member),
    /// A member is to have another role, or to keep the one it has.
    Role {
        /// Who.
        node: NodeId,
        /// As what.
        role: Role,
    },
    /// A member is to leave.
    Remove {
        /// Who.
        node: NodeId,
    },
    /// A new member is to take another's place and role.
    Replace {
        /// Who leaves, once the new one counts.
        old: NodeId,
        /// Who comes.
        new: Member,
    },
    /// Whoever has a secret may ask to be a member, once.
    Invite {
        /// SHA-256 of the secret.
        secret_hash: [u8; 32],
        /// As what.
        role: Role,
        /// Whether an operator must approve then.
        approve: bool,
        /// For how long, in agreed time.
        ttl_ms: u64,
    },
    /// Nobody may ask with this secret any more.
    Uninvite {
        /// SHA-256 of the secret.
        secret_hash: [u8; 32],
    },
    /// A server that has a secret asks to be a member.
    Join {
        /// SHA-256 of the secret.
        secret_hash: [u8; 32],
        /// Itself.
        member: Member,
    },
    /// A server that asked is let in.
    Approve {
        /// Which.
        node: NodeId,
    },
    /// A stop-sign: not asked for by a change, but by the leader when the cluster is ready for what is
    /// wanted.
    Epoch(Membership),
    /// A member shall take no clients and not lead, since it is to be taken down; or shall again.
    Drain {
        /// Which.
        node: NodeId,
        /// Whether it shall not.
        drains: bool,
    },
}

/// Somebody may ask to be a member.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Invite {
    /// SHA-256 of the secret that proves it.
    pub secret_hash: [u8; 32],
    /// As what.
    pub role: Role,
    /// Whether an operator must approve then.
    pub approve: bool,
    /// Until when, in agreed time.
    pub until: Stamp,
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
    /// No more members, those that are leaving among them.
    #[error("there are as many members as there can be")]
    Members,
    /// The voters that would be left are none, or most of them keep no locks.
    #[error("most of the voters must be full voters, and there must be one at least")]
    Voters,
    /// A number that a member has, or had: it is never used again.
    #[error("the number was used before: a new member's is higher than all of them")]
    NodeUsed,
    /// The server did not ask to be let in.
    #[error("the server did not ask to be let in")]
    NotAsked,
    /// No such invitation: it never was, was used, or is over.
    #[error("there is no such invitation, or it was used, or is over")]
    NotInvited,
    /// No more invitations.
    #[error("there are as many invitations as there can be")]
    Invites,
    /// All full voters that would be left drain.
    #[error("no full voter would be left to lead that does not drain")]
    Leaders,
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
        next.put(stamp, change)?;
        Ok(next.noted(now, at, stamp, by, change.clone()))
    }

    /// The mark of this very change, if it is the one that was made directly after `expect`: whoever
    /// asks for it is told so again, as long as the history knows it.
    pub fn made(&self, by: &str, expect: ChangeId, change: &Change) -> Option<Mark> {
        // Of the oldest that is known nobody knows any more what it followed, if others are forgotten.
        let is_whole = self.history.len() < CONFIG_HISTORY_MAX;
        let mut before = is_whole.then_some(ChangeId::new(0));
        for past in &self.history {
            if before == Some(expect) && past.by == by && past.change == *change {
                return Some(past.mark);
            }
            before = Some(past.mark.change);
        }
        None
    }

    /// The configuration after the stop-sign that is decided at `at`.
    pub fn turn(&self, at: Slot, stamp: Stamp, next: &Membership) -> Self {
        let mut shared = self.clone();
        shared.put_epoch(next);
        shared.noted(self.mark(), at, stamp, "", Change::Epoch(next.clone()))
    }

    /// The epoch works: who left before it is needed no more (rule 30).
    pub fn forget_leaving(&mut self) {
        self.leaving.clear();
    }

    /// This state, made from the one that `now` names by a change.
    fn noted(mut self, now: Mark, at: Slot, stamp: Stamp, by: &str, change: Change) -> Self {
        let members = &self.members;
        self.draining
            .retain(|node| members.iter().any(|member| member.node == *node));
        let id = ChangeId::new(at.get());
        let before = Mark {
            change: id,
            hash: now.hash,
        };
        let hash = self.hash_after(before, stamp, by);
        self.history.push_back(Past {
            mark: Mark { change: id, hash },
            stamp,
            by: by.into(),
            change,
        });
        if self.history.len() > CONFIG_HISTORY_MAX {
            self.history.pop_front();
        }
        assert!(
            self.judge(now) == super::Standing::Behind,
            "the state before a change is known after it"
        );
        self
    }

    fn put(&mut self, stamp: Stamp, change: &Change) -> Result<(), Unfit> {
        change.check().map_err(|_| Unfit::Malformed)?;
        self.invites.retain(|invite| invite.until > stamp);
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
            Change::Add(member) => self.put_new(member, Next::Become(member.role)),
            Change::Role { node, role } => self.put_role(*node, *role),
            Change::Remove { node } => self.put_leave(*node),
            Change::Replace { old, new } => self.put_replace(*old, new),
            Change::Invite {
                secret_hash,
                role,
                approve,
                ttl_ms,
            } => self.put_invite(Invite {
                secret_hash: *secret_hash,
                role: *role,
                approve: *approve,
                until: stamp.plus(Duration::from_millis(*ttl_ms)),
            }),
            Change::Uninvite { secret_hash } => self.take_invite(secret_hash).map(|_| ()),
            Change::Join {
                secret_hash,
                member,
            } => self.put_join(secret_hash, member),
            Change::Approve { node } => self.put_approval(*node),
            Change::Epoch(_) => Err(Unfit::Malformed),
            Change::Drain { node, drains } => self.put_drain(*node, *drains),
        }
    }

    fn put_drain(&mut self, node: NodeId, drains: bool) -> Result<(), Unfit> {
        if self.member(node).is_none() {
            return Err(Unfit::NoSuchMember);
        }
        if !drains {
            self.draining.remove(&node);
            return Ok(());
        }
        self.draining.insert(node);
        let voters = self.members.iter().filter(|it| it.role == Role::Voter);
        self.check_leaders(voters.map(|member| member.node))?;
        self.check_future()
    }

    fn put_invite(&mut self, invite: Invite) -> Result<(), Unfit> {
        if self.invites.len() >= INVITES_MAX {
            return Err(Unfit::Invites);
        }
        self.invites.push(invite);
        Ok(())
    }

    fn put_join(&mut self, secret_hash: &[u8; 32], member: &Member) -> Result<(), Unfit> {
        let invite = self.take_invite(secret_hash)?;
        let next = if invite.approve {
            Next::Ask(invite.role)
        } else {
            Next::Become(invite.role)
        };
        self.put_new(member, next)
    }

    fn take_invite(&mut self, secret_hash: &[u8; 32]) -> Result<Invite, Unfit> {
        let mut invites = self.invites.iter();
        let found = invites.position(|invite| invite.secret_hash == *secret_hash);
        let at = found.ok_or(Unfit::NotInvited)?;
        Ok(self.invites.remove(at))
    }

    fn put_member(&mut self, member: &Member) -> Result<(), Unfit> {
        let mut members = self.members.iter_mut();
        let found = members.find(|known| known.node == member.node);
        let Some(known) = found else {
            return Err(Unfit::NoSuchMember);
        };
        *known = Member {
            role: known.role,
            next: known.next,
            ..member.clone()
        };
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
