//! Who refuses whom, and when that is the end of this server.

use super::{Shared, lock};
use crate::link::LinkError;
use std::collections::BTreeMap;
use tenure_core::config::Config;
use tenure_core::ids::NodeId;
use tenure_core::wire::peer::HelloRefusal;
use tenure_host::HostError;

/// Refusals that are remembered, so that each is logged once: strangers may come with any number.
const LOGGED_MAX: usize = 64;

/// What was refused lately.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Who refuses whom, as it was logged last: each peer that tries again says the same.
    logged: BTreeMap<NodeId, HelloRefusal>,
    /// The members that do not let this server in, and why, each until it does.
    unwelcome_at: BTreeMap<NodeId, HelloRefusal>,
}

impl Refusals {
    /// `peer` and this server have let each other in.
    pub(super) fn forget(&mut self, peer: NodeId) {
        self.logged.remove(&peer);
        self.unwelcome_at.remove(&peer);
    }

    /// Whether this is not what was said last.
    fn is_news(&mut self, peer: NodeId, refusal: HelloRefusal) -> bool {
        if self.logged.len() >= LOGGED_MAX {
            self.logged.clear();
        }
        self.logged.insert(peer, refusal) != Some(refusal)
    }

    /// Why this server can never serve, if so many voters refuse it. Whom this server refuses does not
    /// count: a stranger, or one forked member, must not stop those that agree; and neither may one
    /// voter that lies.
    fn verdict(&self, config: &Config) -> Option<HostError> {
        let me = config.me();
        let knows_itself = config.shared().member(me).is_some();
        let is_final = |refusal: &HelloRefusal| match refusal {
            // Not yet.
            HelloRefusal::NotApproved { .. } => false,
            // A newcomer may be faster than the news of it.
            HelloRefusal::UnknownMember { .. } => knows_itself,
            HelloRefusal::Version { .. }
            | HelloRefusal::Cluster { .. }
            | HelloRefusal::NotMe { .. }
            | HelloRefusal::Incarnation { .. }
            | HelloRefusal::OldBoot { .. }
            | HelloRefusal::Forked { .. }
            | HelloRefusal::Removed { .. }
            | HelloRefusal::Stands { .. } => true,
        };
        let counts = |(node, why): &(&NodeId, &HelloRefusal)| config.votes(**node) && is_final(why);
        let refusing: Vec<_> = self.unwelcome_at.iter().filter(counts).collect();
        let votes = config.membership().seats().len();
        if votes - refusing.len() >= config.quorum() {
            return None;
        }
        let is_removed =
            |(_, why): &&(_, &HelloRefusal)| matches!(why, HelloRefusal::Removed { .. });
        let removed = refusing.iter().find(is_removed);
        let (_, why) = removed.or_else(|| refusing.last())?;
        let reason = format!("{} members refuse server {me}: {why}", refusing.len());
        Some(match why {
            HelloRefusal::Removed { .. } => HostError::Removed(reason),
            HelloRefusal::Version { .. }
            | HelloRefusal::Cluster { .. }
            | HelloRefusal::UnknownMember { .. }
            | HelloRefusal::NotMe { .. }
            | HelloRefusal::Incarnation { .. }
            | HelloRefusal::OldBoot { .. }
            | HelloRefusal::Forked { .. }
            | HelloRefusal::NotApproved { .. }
            | HelloRefusal::Stands { .. } => HostError::Failed(reason),
        })
    }
}

impl Shared {
    /// Logs why a link ended. A refusal is somebody's wrong configuration: it is an error, logged
    /// once; and a server that no quorum lets in stops.
    pub(super) async fn report(
        &self,
        peer: Option<NodeId>,
        address: impl std::fmt::Display,
        ended: &LinkError,
    ) {
        let name = peer.map_or_else(|| "a stranger".to_owned(), |peer| format!("server {peer}"));
        match ended {
            LinkError::Refused(refusal) | LinkError::Unwelcome(refusal) => {
                let is_news = lock(&self.refusals).is_news(peer.unwrap_or_default(), *refusal);
                let waits = matches!(refusal, HelloRefusal::NotApproved { .. });
                match (is_news, waits) {
                    (true, true) => tracing::warn!("{name} at {address}: {ended}"),
                    (true, false) => tracing::error!("{name} at {address}: {ended}"),
                    (false, _) => {}
                }
                if let (LinkError::Unwelcome(refusal), Some(peer)) = (ended, peer) {
                    self.unwelcome(peer, *refusal).await;
                }
            }
            LinkError::Stopped(_) => {}
            LinkError::Io(_) | LinkError::Silent | LinkError::Closed => {
                tracing::debug!("{name} at {address}: {ended}");
            }
            LinkError::Frame(_) | LinkError::Order => {
                tracing::warn!("{name} at {address}: {ended}");
            }
        }
    }

    /// Stops this server if so many members refuse it that it can never serve.
    async fn unwelcome(&self, at: NodeId, refusal: HelloRefusal) {
        let config = self.published.now();
        let verdict = {
            let mut refusals = lock(&self.refusals);
            refusals.unwelcome_at.insert(at, refusal);
            refusals.verdict(&config)
        };
        if let Some(why) = verdict {
            self.door.fail(why).await;
        }
    }
}

#[cfg(test)]
mod tests;
