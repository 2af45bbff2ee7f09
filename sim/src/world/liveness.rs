//! What must be so at the end: a majority was whole for long enough.

use super::World;
use crate::check::wgl::{self, Verdict};
use crate::marks::Mark;
use crate::scenario::SECOND;
use crate::server::{index_of, node_id};
use tenure_core::config::{Change, Role, Shared};
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
        if !members.all(|member| self.core.contains(&index_of(member.node))) {
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
