//! What must be so at the end: a majority was whole for long enough.

use super::World;
use crate::check::wgl::{self, Verdict};
use crate::marks::Mark;
use crate::scenario::SECOND;
use crate::server::{index_of, node_id};
use tenure_core::config::{Change, Member, Role, Shared};
use tenure_core::machine::Form;

/// A request that began this long before the end must have its last word.
const PATIENCE: crate::Nanos = 8 * SECOND;

impl World {
    pub(super) fn judge_the_end(&mut self) {
        self.judge_calls();
        if self.has_quorum_but(None) {
            self.marks.hit(Mark::FullyHealed);
            self.judge_requests();
            self.judge_servers();
            self.judge_removed();
        }
    }

    fn judge_requests(&mut self) {
        for client in &self.clients {
            if let Some((what, began)) = client.oldest_pending() {
                let age = self.now.saturating_sub(began);
                self.judges
                    .docket
                    .check(age < PATIENCE, "a whole majority answers", || {
                        format!("{what} waits for {} ms", age / 1_000_000)
                    });
            }
        }
    }

    fn judge_calls(&mut self) {
        match wgl::check(&self.judges.calls.take()) {
            Verdict::Linearizable => self.marks.hit(Mark::Linearizable),
            Verdict::Unknown => {}
            Verdict::Not(why) => {
                let docket = &mut self.judges.docket;
                docket.broken("what clients were told can be put in one order", why);
            }
        }
    }

    /// What operators wanted of the members is so, if all that it takes are there.
    fn judge_wishes(&mut self, shared: &Shared) {
        let mut members = shared.members().iter().filter(|member| member.is_in());
        if !members.all(|member| self.servers[index_of(member.node)].is_whole()) {
            return;
        }
        let wished = shared.history().any(|past| {
            let is_wish = |change: &Change| {
                matches!(
                    change,
                    Change::Add(_)
                        | Change::Role { .. }
                        | Change::Remove { .. }
                        | Change::Replace { .. }
                )
            };
            is_wish(&past.change)
        });
        self.marks.sometimes(wished, Mark::WishesCameTrue);
        let docket = &mut self.judges.docket;
        docket.check(
            shared.is_settled(),
            "what an operator wants of the members comes true",
            || format!("{:?}", shared.members()),
        );
    }

    /// Who was removed before everything was settled, and whom enough of the others could tell so that it
    /// knows, has stopped.
    fn judge_removed(&mut self) {
        let shared = self.judges.history.shared();
        let tells = |node| {
            let index = index_of(node);
            let is_up = self.servers[index].process_ref().is_some();
            shared.member(node).is_some() && is_up && self.servers[index].is_whole()
        };
        let stays = |index: &usize| {
            let server = &self.servers[*index];
            let process = server.process_ref().filter(|_| server.is_whole());
            process.is_some_and(|process| process.guests.would_be_hopeless(tells))
        };
        let mut outsiders = self.outsiders.iter();
        let stays: Vec<usize> = outsiders.clone().copied().filter(stays).collect();
        let halted = outsiders.any(|index| self.servers[*index].is_gone);
        self.marks.sometimes(halted, Mark::RemovedHalted);
        for index in stays {
            let detail = format!("server {} runs", index + 1);
            self.judges
                .docket
                .broken("a removed one has halted", detail);
        }
    }

    /// From here on what is chosen must come to all, and who is no member must hear it.
    pub(super) fn settle(&mut self) {
        self.settled = self.judges.votes.contiguous();
        self.judges.advance(&mut self.marks);
        let shared = self.judges.history.shared();
        let known = shared.members().iter().chain(shared.leaving());
        let known: Vec<usize> = known.map(|member| index_of(member.node)).collect();
        self.outsiders = (0..self.servers.len())
            .filter(|index| !known.contains(index))
            .collect();
    }

    fn judge_servers(&mut self) {
        let chosen = self.judges.votes.contiguous();
        let mut leaders = 0;
        self.judges.advance(&mut self.marks);
        let membership = self.judges.history.shared().membership();
        let quorum = membership.quorum();
        let (mut current, mut could_lead) = (0, false);
        let (mut drained, shared) = (None, self.judges.history.shared().clone());
        for index in self.core.clone() {
            let Some(process) = self.servers[index].process_ref() else {
                let detail = format!("server {}", index + 1);
                self.judges.docket.broken("a whole server serves", detail);
                continue;
            };
            let view = process.node.view();
            leaders += usize::from(view.role == "leader");
            let votes = membership.role(node_id(index)).is_some();
            let is_current = votes && view.applied >= self.settled;
            current += usize::from(is_current);
            let is_member = self.judges.history.shared().member(node_id(index));
            let lags = is_member.is_some_and(Member::is_in) && view.applied < self.settled;
            let applied = view.applied;
            self.judges
                .docket
                .check(!lags, "whoever is whole catches up", || {
                    let (number, settled) = (index + 1, self.settled);
                    format!("server {number} has applied slot {applied} of {settled}")
                });
            let node = node_id(index);
            let drains = shared.drains(node);
            could_lead |= is_current && !drains && membership.role(node) == Some(Role::Voter);
            drained = drained.or((drains && view.role == "leader").then_some(node));
            if view.applied == chosen && view.machine.form() == Form::Full {
                let (mine, theirs) = (
                    self.judges.history.digest_full(),
                    view.machine.digest_full(),
                );
                self.judges
                    .docket
                    .check(mine == theirs, "equal logs give equal digests", || {
                        format!("server {} at the end, slot {chosen}", index + 1)
                    });
            }
            if let Err(violation) = process.node.audit() {
                let detail = format!("server {}: {violation}", index + 1);
                self.judges
                    .docket
                    .broken("a server's own invariants", detail);
            }
        }
        self.judges
            .docket
            .check(leaders == 1, "a whole majority has one leader", || {
                format!("{leaders} lead at the end")
            });
        self.judge_wishes(&shared);
        let stays = drained.filter(|_| could_lead);
        self.judges.docket.check(
            stays.is_none(),
            "who drains leads only while nobody else can",
            || format!("{stays:?} leads at the end"),
        );
        self.judges
            .docket
            .check(current >= quorum, "a whole majority catches up", || {
                format!("{current} servers have applied slot {}", self.settled)
            });
    }
}
