//! Whether this server may take clients: what it hears of its peers' configurations, and how many
//! of them it hears.

use super::Node;
use super::input::Ask;
use super::output::NotReady;
use crate::config::{Mark, Role, Shared, Standing};
use crate::ids::NodeId;
use crate::limits::{CHECK_QUORUM, CONFIG_PATIENCE};
use crate::machine::Form;
use crate::time::Timestamp;
use alloc::collections::BTreeMap;

/// What one peer said last.
#[derive(Clone, Copy, Debug)]
struct Heard {
    at: Timestamp,
    mark: Mark,
    /// Since when it has said that it knows a newer configuration than this server.
    ahead_since: Option<Timestamp>,
}

/// What the peers say of themselves.
#[derive(Debug, Default)]
pub(super) struct Peers {
    heard: BTreeMap<NodeId, Heard>,
    pub(super) draining: bool,
}

impl Peers {
    /// A member's ping.
    pub(super) fn hear(&mut self, now: Timestamp, peer: NodeId, mark: Mark, shared: &Shared) {
        if shared.member(peer).is_none() {
            return;
        }
        let is_ahead = shared.judge(mark) == Standing::Ahead;
        let before = self.heard.get(&peer).and_then(|heard| heard.ahead_since);
        let heard = Heard {
            at: now,
            mark,
            ahead_since: is_ahead.then_some(before.unwrap_or(now)),
        };
        self.heard.insert(peer, heard);
    }

    /// Whether another server is heard that takes clients, or would if it could.
    fn others_serve(&self, now: Timestamp, shared: &Shared) -> bool {
        let lately = self.heard.iter();
        let mut lately = lately.filter(|(_, heard)| now.since(heard.at) < CHECK_QUORUM);
        lately.any(|(node, _)| {
            let member = shared.member(*node);
            let serves = member.is_some_and(|member| member.role != Role::QuorumOnly);
            serves && !shared.drains(*node)
        })
    }

    /// Why this server takes no clients, if it does not.
    fn refusal(&self, now: Timestamp, shared: &Shared, quorum: usize) -> Option<NotReady> {
        if self.draining {
            return Some(NotReady::Draining);
        }
        let lately = self.heard.values();
        let lately = lately.filter(|heard| now.since(heard.at) < CHECK_QUORUM);
        // This server agrees with itself.
        let (mut members, mut agree, mut odd) = (1, 1, None);
        for heard in lately {
            members += 1;
            match shared.judge(heard.mark) {
                Standing::Same | Standing::Behind => agree += 1,
                Standing::Forked => odd = Some(NotReady::Forked { other: heard.mark }),
                Standing::Ahead => {
                    let since = heard.ahead_since.unwrap_or(now);
                    if now.since(since) >= CONFIG_PATIENCE {
                        odd = odd.or(Some(NotReady::Behind { newer: heard.mark }));
                    }
                }
            }
        }
        // One that says something else does not stop a quorum that agrees.
        if agree < quorum && odd.is_some() {
            return odd;
        }
        let wanted = usize::from(shared.policy().members_min);
        (members < wanted).then_some(NotReady::Alone { members, wanted })
    }
}

impl NotReady {
    /// Whether it is a reason to refuse `ask`. What was granted must not end because a server has
    /// too little company: agreed time goes on, and all the others may be as lonely.
    pub(super) const fn refuses(&self, ask: &Ask) -> bool {
        match self {
            Self::Alone { .. } => ask.is_new_work(),
            Self::Behind { .. }
            | Self::Forked { .. }
            | Self::Draining
            | Self::OnlyVotes
            | Self::Drained { .. } => ask.is_clients(),
        }
    }
}

impl Node {
    /// Why this server takes no clients, if it does not. Linearizable requests would be safe all the
    /// same: this says it early, and to all.
    pub fn not_ready(&self) -> Option<NotReady> {
        if self.machine.form() == Form::Witness {
            return Some(NotReady::OnlyVotes);
        }
        let (shared, quorum) = (self.machine.shared(), self.config.quorum());
        let node = self.config.me();
        // To be served outranks the wish, or all that was granted would end.
        let drains = shared.drains(node) && self.standing.others_serve(self.now, shared);
        let drained = drains.then_some(NotReady::Drained { node });
        drained.or_else(|| self.standing.refusal(self.now, shared, quorum))
    }
}

#[cfg(test)]
mod tests;
