//! What operators and edges are told of what the node says.

use super::{Host, Status, Steps};
use crate::log::Log;
use crate::peers::Peers;
use tenure_core::config::Config;
use tenure_core::ids::{Fence, NodeId};
use tenure_core::machine::command::Cause;
use tenure_core::machine::key::Key;
use tenure_core::node::output::Note;

impl<N: Steps, L: Log, P: Peers> Host<N, L, P> {
    pub(super) fn configured(&self, config: Config) {
        let shared = config.shared();
        let (mark, by) = (shared.mark(), shared.history().next_back());
        let by = by.map_or("", |past| &past.by);
        tracing::info!(%mark, by, "the shared configuration changed");
        if let Some(publisher) = &self.publisher {
            publisher.tell(config);
        }
    }

    pub(super) fn note(&mut self, note: &Note) {
        let status = match note {
            Note::Reverted { peer, acked, upto } => {
                tracing::error!(
                    %peer, %acked, %upto,
                    "a peer lost what its disk had acknowledged; it does not count: replace it"
                );
                return;
            }
            Note::Epoch { membership } => {
                let voters: Vec<u64> = membership
                    .seats()
                    .iter()
                    .map(|seat| seat.node.get())
                    .collect();
                tracing::info!(epoch = %membership.epoch(), ?voters, "an epoch begins");
                return;
            }
            Note::HandingOver { to, why } => {
                tracing::info!(%to, ?why, "this leader hands over");
                return;
            }
            Note::Forced { keys, fence, cause } => return forced(keys, *fence, cause),
            Note::ClockOff { node, ahead_ms } => {
                tracing::error!(%node, ahead_ms, "this server's clock is wrong: mend it");
                return;
            }
            Note::KeepsLeading { to } => {
                let to = to.map(NodeId::get);
                tracing::warn!(to, "this leader stays: nobody fit took over");
                self.stays = true;
                return;
            }
            Note::Fetching { id, from } => {
                tracing::info!(%id, %from, "this server fetches a snapshot of a peer");
                return;
            }
            Note::Installed { id } => {
                tracing::info!(%id, "a snapshot stands for the log up to its slot");
                return;
            }
            Note::BadSnapshot { id, from } => {
                tracing::error!(%id, %from, "a snapshot that came is not what its name says");
                return;
            }
            Note::SnapshotFailed { id } => {
                tracing::warn!(%id, "a snapshot was not kept; the log stays as long as it is");
                return;
            }
            Note::Leading { ballot } => {
                tracing::info!(%ballot, "this server leads");
                Status {
                    leader: Some(self.me),
                    leading: Some(*ballot),
                }
            }
            Note::Following { leader } => {
                match leader {
                    Some(leader) => tracing::info!(%leader, "this server follows"),
                    None => tracing::info!("no leader is known"),
                }
                Status {
                    leader: *leader,
                    leading: None,
                }
            }
        };
        self.status.send_replace(status);
    }
}

/// Every server writes down what an operator took, and why.
fn forced(keys: &[Key], fence: Fence, cause: &Cause) {
    let locks: Vec<String> = keys.iter().map(Key::to_string).collect();
    let (by, reason) = (&cause.by, &cause.reason);
    tracing::warn!(
        ?locks, %fence, ?by, ?reason,
        "an operator took a lock from its holder, who may still believe in it"
    );
}
