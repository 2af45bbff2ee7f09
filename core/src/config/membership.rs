//! Who counts, and how that changes: from one stop-sign to the next.
//!
//! A change of the voters ends an *epoch*: its last entry, the stop-sign, names who votes in the next
//! one (Lorch et al. 2006, "The SMART way to migrate replicated stateful services"; the rules 28 to
//! 30). What an operator wants is data until then: a member's [`Next`]. So a newcomer learns first,
//! without a vote, and a member that goes votes until the others can do without it.

use super::{FormError, Member, Shared, Unfit};
use crate::ids::{Epoch, NodeId, Slot};
use crate::limits::MEMBERS_MAX;
use alloc::vec::Vec;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

// The order of the variants is their number in the log: add at the end only.
/// What a member does for the cluster.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub enum Role {
    /// It votes, keeps the locks, takes clients, and may lead.
    #[default]
    Voter,
    /// It votes and keeps the log, and does no more: it never leads and takes no clients. The one
    /// vote more that a third site may give.
    QuorumOnly,
    /// It keeps the locks and takes clients, and does not count: it may be slow, far, or new.
    Observer,
}

// The order of the variants is their number in the log: add at the end only.
/// What a member is to be, as soon as the cluster is ready for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Next {
    /// This role. A newcomer gets it once it has what the others have.
    Become(Role),
    /// No member any more.
    Leave,
    /// No member any more, once this newcomer counts.
    MakeRoomFor(NodeId),
    /// This role, if an operator approves: until then it is told nothing.
    Ask(Role),
}

/// One that votes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Seat {
    /// Who.
    pub node: NodeId,
    /// As what; no seat is an observer's.
    pub role: Role,
}

/// Who votes in one epoch. There is at least one seat, in the order of the members' numbers, and
/// enough full voters that one of every majority of the others has the locks.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Membership {
    epoch: Epoch,
    base: Slot,
    seats: Vec<Seat>,
}

impl Membership {
    /// Who votes above slot `base`, where the epoch before was stopped.
    pub fn new(epoch: Epoch, base: Slot, seats: Vec<Seat>) -> Result<Self, Unfit> {
        check_seats(&seats)?;
        Ok(Self { epoch, base, seats })
    }

    /// Whether it keeps the rules of [`Self::new`].
    pub(super) fn check(&self) -> Result<(), Unfit> {
        check_seats(&self.seats)
    }

    /// The generation.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The slot of the stop-sign that ended the epoch before; zero if there was none. Nothing that was
    /// accepted above it in an earlier epoch means anything (rule 28).
    pub const fn base(&self) -> Slot {
        self.base
    }

    /// Who votes, by number.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// As what `node` votes.
    pub fn role(&self, node: NodeId) -> Option<Role> {
        let seat = self.seats.iter().find(|seat| seat.node == node);
        seat.map(|seat| seat.role)
    }

    /// How many votes are a majority.
    pub fn quorum(&self) -> usize {
        self.seats.len() / 2 + 1
    }

    /// The bytes of a stop-sign's command, and of a superblock's memory of it.
    pub fn encode(&self) -> Bytes {
        super::codec::bytes_of(self).into()
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormError> {
        let taken = postcard::take_from_bytes::<Self>(bytes);
        let (found, rest) = taken.map_err(|_| FormError::Form)?;
        if !rest.is_empty() {
            return Err(FormError::Trailing { extra: rest.len() });
        }
        found
            .check()
            .map_err(|_| FormError::Impossible("nobody can lead"))?;
        Ok(found)
    }
}

/// Whether these can be the voters of an epoch: with `n` votes, of which `f = (n - 1) / 2` may be
/// missing, one more than `f` must keep the locks (rule 6).
fn check_seats(seats: &[Seat]) -> Result<(), Unfit> {
    if seats.len() > MEMBERS_MAX {
        return Err(Unfit::Members);
    }
    let in_order = seats.windows(2).all(|pair| match pair {
        [a, b] => a.node < b.node,
        _ => true,
    });
    let votes = seats.iter().all(|seat| seat.role != Role::Observer);
    let full = seats.iter().filter(|seat| seat.role == Role::Voter).count();
    let missing_max = seats.len().saturating_sub(1) / 2;
    if in_order && votes && full > missing_max {
        Ok(())
    } else {
        Err(Unfit::Voters)
    }
}

/// Those of `seats` that may lead.
fn full_voters(seats: &[Seat]) -> impl Iterator<Item = NodeId> {
    let full = seats.iter().filter(|seat| seat.role == Role::Voter);
    full.map(|seat| seat.node)
}

impl Member {
    /// Whether it is let in: it may speak and is spoken to.
    pub const fn is_in(&self) -> bool {
        !matches!(self.next, Some(Next::Ask(_)))
    }

    const fn votes(&self) -> bool {
        !matches!(self.role, Role::Observer)
    }
}

impl Shared {
    /// Who votes now.
    pub fn membership(&self) -> Membership {
        let voters = self.members.iter().filter(|member| member.votes());
        let seat = |member: &Member| Seat {
            node: member.node,
            role: member.role,
        };
        Membership {
            epoch: self.epoch,
            base: self.since,
            seats: voters.map(seat).collect(),
        }
    }

    /// Whether the members are to stay as they are.
    pub fn is_settled(&self) -> bool {
        let waits = |member: &Member| member.next.is_some() && member.is_in();
        !self.members.iter().any(waits)
    }

    /// Newcomers that wait for a vote: they must have what the others have first.
    pub fn newcomers(&self) -> impl Iterator<Item = NodeId> + '_ {
        let wants_vote = |member: &&Member| {
            let wanted = matches!(member.next, Some(Next::Become(role)) if role != Role::Observer);
            wanted && !member.votes()
        };
        self.members.iter().filter(wants_vote).map(|it| it.node)
    }

    /// Who is to vote in the next epoch, if the voters are to change and can: of the newcomers only
    /// those that are `ready`. As long as all who could lead then drain, the epoch goes on: one that is to
    /// leave waits for the newcomer that can do without it.
    pub fn next_membership(&self, at: Slot, ready: impl Fn(NodeId) -> bool) -> Option<Membership> {
        let arrives = |node| ready(node) && self.newcomers().any(|newcomer| newcomer == node);
        let role = |member: &Member| match member.next {
            Some(Next::Become(role)) if member.votes() || arrives(member.node) => Some(role),
            Some(Next::Leave) => None,
            Some(Next::MakeRoomFor(node)) if arrives(node) || self.votes(node) => None,
            Some(Next::Become(_) | Next::MakeRoomFor(_) | Next::Ask(_)) | None => Some(member.role),
        };
        let members = self.members.iter();
        let seats = members.filter_map(|member| {
            let role = role(member).filter(|role| *role != Role::Observer)?;
            let node = member.node;
            Some(Seat { node, role })
        });
        let seats: Vec<Seat> = seats.collect();
        let next = Membership::new(self.epoch.next(), at, seats).ok()?;
        self.check_leaders(full_voters(&next.seats)).ok()?;
        (next.seats != self.membership().seats).then_some(next)
    }

    fn votes(&self, node: NodeId) -> bool {
        self.member(node).is_some_and(Member::votes)
    }

    /// The members once all that is wanted has come true can be a cluster.
    pub(super) fn check_future(&self) -> Result<(), Unfit> {
        let future = |member: &Member| match member.next {
            None => Some(member.role),
            Some(Next::Become(role)) => Some(role),
            Some(Next::Ask(_)) => Some(Role::Observer),
            Some(Next::Leave | Next::MakeRoomFor(_)) => None,
        };
        let stays = self.members.iter().filter_map(|member| {
            let role = future(member)?;
            let node = member.node;
            Some(Seat { node, role })
        });
        let stays: Vec<Seat> = stays.collect();
        if usize::from(self.policy.members_min) > stays.len() {
            return Err(Unfit::MembersMin);
        }
        self.check_leaders(full_voters(&stays))?;
        let voters = stays.into_iter().filter(|seat| seat.role != Role::Observer);
        check_seats(&voters.collect::<Vec<Seat>>())
    }

    /// One at least of the full voters must not drain.
    pub(super) fn check_leaders(&self, full: impl Iterator<Item = NodeId>) -> Result<(), Unfit> {
        let mut full = full.peekable();
        // That there are any is another check's.
        let is_empty = full.peek().is_none();
        if is_empty || full.any(|node| !self.drains(node)) {
            Ok(())
        } else {
            Err(Unfit::Leaders)
        }
    }

    /// A server asks to be a member, or an operator adds it. It learns first.
    pub(super) fn put_new(&mut self, member: &Member, next: Next) -> Result<(), Unfit> {
        if member.node <= self.node_last {
            return Err(Unfit::NodeUsed);
        }
        if self.members.len() + self.leaving.len() >= MEMBERS_MAX {
            return Err(Unfit::Members);
        }
        self.node_last = member.node;
        let is_settled = next == Next::Become(Role::Observer);
        self.members.push(Member {
            role: Role::Observer,
            next: (!is_settled).then_some(next),
            ..member.clone()
        });
        self.check_future()
    }

    /// A member is to have another role; or to keep the one it has, if it was to change.
    pub(super) fn put_role(&mut self, node: NodeId, role: Role) -> Result<(), Unfit> {
        let member = self.member_mut(node)?;
        member.next = (member.role != role).then_some(Next::Become(role));
        self.keep_who_waits_in_vain();
        self.check_future()
    }

    /// A member is to leave: at once, if it has no vote.
    pub(super) fn put_leave(&mut self, node: NodeId) -> Result<(), Unfit> {
        let member = self.member_mut(node)?;
        if member.votes() {
            member.next = Some(Next::Leave);
        } else {
            self.let_go(|member| member.node == node);
        }
        self.check_future()
    }

    /// `new` is to take the place of `old`, and its role.
    pub(super) fn put_replace(&mut self, old: NodeId, new: &Member) -> Result<(), Unfit> {
        let leaver = self.member_mut(old)?;
        if leaver.votes() {
            let role = leaver.role;
            leaver.next = Some(Next::MakeRoomFor(new.node));
            return self.put_new(new, Next::Become(role));
        }
        // One that was to vote, and never came: whoever made room for it makes room for the new one.
        let role = match leaver.next {
            Some(Next::Become(role) | Next::Ask(role)) => role,
            Some(Next::Leave | Next::MakeRoomFor(_)) | None => leaver.role,
        };
        self.members.retain(|member| member.node != old);
        for member in &mut self.members {
            if member.next == Some(Next::MakeRoomFor(old)) {
                member.next = Some(Next::MakeRoomFor(new.node));
            }
        }
        self.put_new(new, Next::Become(role))
    }

    /// A newcomer that asked is let in.
    pub(super) fn put_approval(&mut self, node: NodeId) -> Result<(), Unfit> {
        let member = self.member_mut(node)?;
        let Some(Next::Ask(role)) = member.next else {
            return Err(Unfit::NotAsked);
        };
        member.next = (role != Role::Observer).then_some(Next::Become(role));
        self.check_future()
    }

    /// The epoch ends, and the next begins with `next`.
    pub(super) fn put_epoch(&mut self, next: &Membership) {
        assert!(next.epoch > self.epoch, "epochs go forward");
        self.epoch = next.epoch;
        self.since = next.base;
        self.let_go(|member| {
            let wants = matches!(member.next, Some(Next::Leave | Next::MakeRoomFor(_)));
            wants && next.role(member.node).is_none()
        });
        for member in &mut self.members {
            member.role = next.role(member.node).unwrap_or(Role::Observer);
            if member.next == Some(Next::Become(member.role)) {
                member.next = None;
            }
        }
        assert!(
            self.membership() == *next,
            "a stop-sign speaks of members, and of the configuration just before it"
        );
    }

    /// A voter that is no member any more stays reachable until the next epoch works (rule 30).
    fn let_go(&mut self, goes: impl Fn(&Member) -> bool) {
        let members = core::mem::take(&mut self.members).into_iter();
        let (gone, stay): (Vec<Member>, Vec<Member>) = members.partition(|member| goes(member));
        self.members = stay;
        self.keep_who_waits_in_vain();
        self.leaving.extend(gone.into_iter().filter(Member::votes));
    }

    /// A member that was to make room for one that will never count stays.
    fn keep_who_waits_in_vain(&mut self) {
        let counts = |member: &&Member| match member.next {
            Some(Next::Become(role) | Next::Ask(role)) => role != Role::Observer,
            Some(Next::Leave | Next::MakeRoomFor(_)) | None => member.votes(),
        };
        let coming = self.members.iter().filter(counts).map(|it| it.node);
        let coming: Vec<NodeId> = coming.collect();
        for member in &mut self.members {
            if matches!(member.next, Some(Next::MakeRoomFor(node)) if !coming.contains(&node)) {
                member.next = None;
            }
        }
    }

    fn member_mut(&mut self, node: NodeId) -> Result<&mut Member, Unfit> {
        let mut members = self.members.iter_mut();
        let found = members.find(|member| member.node == node);
        found.ok_or(Unfit::NoSuchMember)
    }
}

#[cfg(test)]
mod tests;
