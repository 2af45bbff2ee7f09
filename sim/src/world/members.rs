//! Servers that come and go, as an operator wants it.

use super::event::Event;
use super::{Phase, World};
use crate::Nanos;
use crate::marks::Mark;
use crate::operator;
use crate::scenario::{MS, Trouble};
use crate::server::{index_of, member, node_id};
use tenure_core::config::{Change, Member, Next, Role, Shared};
use tenure_core::ids::NodeId;
use tenure_core::machine::Form;

/// A newcomer that is not a member yet asks again after this long.
const JOIN_EVERY: Nanos = 100 * MS;

impl World {
    /// A member that runs, if one does: whom an operator asks.
    fn asked_server(&mut self, shared: &Shared) -> usize {
        let members = shared.members().iter();
        let members = members.map(|member| index_of(member.node));
        let runs = members.filter(|index| self.servers[*index].process_ref().is_some());
        let runs: Vec<usize> = runs.collect();
        if runs.is_empty() {
            return 0;
        }
        runs[self.nemesis.index(runs.len())]
    }

    /// Asks a server for a change of the members.
    pub(super) fn change_members(&mut self, trouble: Trouble) {
        let shared = self.judges.history.shared().clone();
        if trouble == Trouble::StuckLearner {
            return self.cut_off_learner(&shared);
        }
        let Some(change) = self.wanted_change(&shared, trouble) else {
            return;
        };
        if self.plan.bad_clock.is_some() && leaves_one_clock(&shared, &change) {
            return; // nobody can tell that it is wrong
        }
        let server = self.asked_server(&shared);
        let mut servers = 0..self.servers.len();
        let is_cut = servers.any(|to| !self.net.is_open(server, to));
        self.marks.sometimes(is_cut, Mark::ChangesApart);
        self.ask_for(server, &shared, change);
        // Another operator, who has seen the same, asks another server at the same moment: one is late.
        if self.nemesis.chance(200_000)
            && let Some(other) = self.wanted_change(&shared, trouble)
            && self.plan.bad_clock.is_none()
        {
            self.marks.hit(Mark::TwoOperators);
            let asked = self.asked_server(&shared);
            self.ask_for(asked, &shared, other);
        }
    }

    /// An operator, who has seen `shared`, asks a server for a change of it.
    pub(super) fn ask_for(&mut self, index: usize, shared: &Shared, change: Change) {
        self.orders += 1;
        self.order(index, operator::asks(shared, change, self.orders));
    }

    /// A server that learns and is to vote hears nobody for a while: nobody may wait for it.
    fn cut_off_learner(&mut self, shared: &Shared) {
        let mut members = shared.members().iter();
        let learns = |member: &&Member| matches!(member.next, Some(Next::Become(_)));
        if let Some(learner) = members.find(learns) {
            self.isolate(index_of(learner.node));
        }
    }

    /// Notes what a change of the members has to do without: a server that learns and is to vote is down or
    /// cut off, or the leader is.
    pub(super) fn mark_absence(&mut self, index: usize) {
        let shared = self.judges.history.shared();
        let led = !shared.is_settled() && self.servers[index].leads();
        self.marks.sometimes(led, Mark::LostInChange);
        let member = shared.member(node_id(index));
        let learns = member.is_some_and(|member| {
            let is_to_vote = matches!(member.next, Some(Next::Become(_)));
            is_to_vote && member.role == Role::Observer
        });
        self.marks.sometimes(learns, Mark::StuckLearner);
    }

    fn wanted_change(&mut self, shared: &Shared, trouble: Trouble) -> Option<Change> {
        let members = shared.members();
        let any: NodeId = members[self.nemesis.index(members.len())].node;
        let voters = if trouble == Trouble::ChangeRole { 5 } else { 7 };
        let role = match self.nemesis.below(10) {
            drawn if drawn < voters => Role::Voter,
            0..8 => Role::QuorumOnly,
            _ => Role::Observer,
        };
        let fresh = index_of(shared.node_last()) + 1;
        let fresh = (fresh < self.servers.len()).then(|| Member {
            role,
            ..member(fresh, self.plan.host.located)
        });
        match trouble {
            Trouble::AddMember => fresh.map(Change::Add),
            Trouble::ReplaceMember => {
                let old = self.lost_member(shared).unwrap_or(any);
                fresh.map(|new| Change::Replace { old, new })
            }
            Trouble::ChangeRole => Some(Change::Role { node: any, role }),
            Trouble::Invite => self.wanted_guest(shared, fresh),
            Trouble::Drain => Some(self.wanted_drain(shared, any)),
            // If there is none to take back, there is one the next time.
            Trouble::TakeBack => {
                let back = self.wanted_back(shared);
                back.or(Some(Change::Role { node: any, role }))
            }
            _ => Some(Change::Remove { node: any }),
        }
    }

    /// A member whose disk was lost: it is replaced first.
    fn lost_member(&self, shared: &Shared) -> Option<NodeId> {
        let mut nodes = shared.members().iter().map(|member| member.node);
        nodes.find(|node| self.servers[index_of(*node)].is_lost())
    }

    /// Fewer than half of the members drain at once: the clients of this world try any server, and must
    /// find one that serves.
    fn wanted_drain(&mut self, shared: &Shared, any: NodeId) -> Change {
        let members = shared.members().iter().map(|member| member.node);
        let drained: Vec<NodeId> = members.filter(|node| shared.drains(*node)).collect();
        let is_enough = drained.len() >= shared.members().len().saturating_sub(1) / 2;
        let node = match drained.first() {
            Some(node) if is_enough => *node,
            Some(_) | None => any,
        };
        Change::Drain {
            node,
            drains: !is_enough && !shared.drains(node),
        }
    }

    /// Whoever asked is let in; or somebody who was invited asks, or with a secret that nobody was given; or
    /// somebody is invited.
    fn wanted_guest(&mut self, shared: &Shared, fresh: Option<Member>) -> Option<Change> {
        let asks = |member: &&Member| matches!(member.next, Some(Next::Ask(_)));
        if let Some(asked) = shared.members().iter().find(asks) {
            return Some(Change::Approve { node: asked.node });
        }
        let wrong = self.nemesis.chance(200_000).then_some([0; 32]);
        let given = shared.invites().first().map(|invite| invite.secret_hash);
        if let Some(secret_hash) = given {
            let secret_hash = wrong.unwrap_or(secret_hash);
            let join = |member| Change::Join {
                secret_hash,
                member,
            };
            return fresh.map(join);
        }
        let mut secret_hash = [1; 32];
        secret_hash[..8].copy_from_slice(&self.now.to_le_bytes());
        Some(Change::Invite {
            secret_hash,
            role: Role::Voter,
            approve: self.nemesis.chance(700_000),
            ttl_ms: self.nemesis.log_uniform(500, 60_000),
        })
    }

    /// A member that was to be something else stays what it is, if there is one.
    fn wanted_back(&mut self, shared: &Shared) -> Option<Change> {
        let mut waiting = shared
            .members()
            .iter()
            .filter(|member| member.next.is_some());
        let member = waiting.next()?;
        self.marks.hit(Mark::TakenBack);
        Some(Change::Role {
            node: member.node,
            role: member.role,
        })
    }

    /// A newcomer starts when somebody made it a member, and knows then who the others are. False if
    /// that is not yet.
    pub(super) fn join(&mut self, index: usize) -> bool {
        let is_first = self.servers[index].joined.is_none();
        if is_first && self.is_member(index) {
            self.servers[index].joined = Some(self.judges.history.shared().clone());
            if self.phase != Phase::Safety {
                self.core.push(index); // nothing ever happened to it
            }
        }
        let has_joined = self.servers[index].joined.is_some();
        if !has_joined {
            let later = self.now + JOIN_EVERY;
            self.queue.push(later, Event::PowerOn { server: index });
        }
        has_joined
    }

    /// A server says that it was removed, and stops. It must be so.
    pub(super) fn removed(&mut self, index: usize) {
        self.judges.advance(&mut self.marks);
        let shared = self.judges.history.shared();
        let mut known = shared.members().iter().chain(shared.leaving());
        let is_member = known.any(|member| index_of(member.node) == index);
        let docket = &mut self.judges.docket;
        docket.check(!is_member, "only who is no member any more stops", || {
            format!("server {}", index + 1)
        });
        self.marks.hit(Mark::Removed);
        self.servers[index].is_gone = true;
        self.core.retain(|other| *other != index);
        self.crash(index, Mark::Crash);
    }

    /// Whether a server is a member now, and does more than vote.
    pub(super) fn takes_clients(&self, index: usize) -> bool {
        let member = self.judges.history.shared().member(node_id(index));
        member.is_some_and(|member| member.is_in() && member.role != Role::QuorumOnly)
    }

    /// A server says that it has another role from now on, and is to be opened again: at once.
    pub(super) fn role_changed(&mut self, index: usize) {
        self.judges.advance(&mut self.marks);
        let Some(process) = self.servers[index].process_ref() else {
            return;
        };
        let was = process.node.view().machine.form();
        self.marks.hit(match was {
            Form::Full => Mark::BecameWitness,
            Form::Witness => Mark::BecameVoter,
        });
        // Down and up again: two starts later. Had it been down in between, it may have changed there.
        let start = self.servers[index].start;
        let before = self.servers[index].kept.replace((was, start));
        let is_same = before.is_some_and(|(form, at)| form == was && at + 2 == start);
        let docket = &mut self.judges.docket;
        docket.check(!is_same, "another role is another start", || {
            format!("server {} was {was:?} twice", index + 1)
        });
        self.crash(index, Mark::RoleChanged);
        self.queue
            .push(self.now + MS, Event::PowerOn { server: index });
    }

    /// Whether a server is a member now that was let in, with a voice or without.
    pub(super) fn is_member(&self, index: usize) -> bool {
        let members = self.judges.history.shared().members().iter();
        let members = members.filter(|member| member.is_in());
        members
            .map(|member| index_of(member.node))
            .any(|member| member == index)
    }
}

/// Whether fewer than two servers would vote after this and whatever else is under way, and count as clocks.
fn leaves_one_clock(shared: &Shared, change: &Change) -> bool {
    let is_less = match change {
        Change::Remove { .. } => true,
        Change::Role { role, .. } => *role == Role::Observer,
        _ => false,
    };
    let stays =
        |member: &&Member| member.is_in() && member.role != Role::Observer && member.next.is_none();
    is_less && shared.members().iter().filter(stays).count() <= 2
}
