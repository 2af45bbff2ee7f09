//! How long leaders led.
//!
//! A server may say that it is fit and lead badly all the same: its large frames vanish, or it dies
//! of what only a leader does. If whoever leads next handed over to it as soon as all is settled, the
//! clients would lose their leader for ever. So every server remembers whose reign was short, and
//! does not prefer that one for a while: longer each time, bounded, and forgotten once it leads well,
//! or once nothing happened for as long again.

use crate::ids::{Ballot, NodeId};
use crate::limits::REIGN_BACKOFF_MAX;
use crate::time::Timestamp;
use alloc::collections::BTreeMap;
use core::time::Duration;

/// A reign of this length was a good one.
const GOOD: Duration = Duration::from_secs(60);
/// How long a first failure counts.
const BACKOFF: Duration = Duration::from_secs(30);

/// Who leads, as far as this server heard, and since when.
#[derive(Clone, Copy, Debug)]
struct Reign {
    ballot: Ballot,
    since: Timestamp,
}

/// A reign that ended soon, or never began.
#[derive(Clone, Copy, Debug)]
struct Failure {
    until: Timestamp,
    wait: Duration,
}

/// How long leaders led.
#[derive(Clone, Debug, Default)]
pub(in crate::replica) struct Reigns {
    last: Option<Reign>,
    /// Whom this server hands over to, and the ballot that it led.
    heir: Option<(NodeId, Ballot)>,
    failures: BTreeMap<NodeId, Failure>,
}

impl Reigns {
    /// This server, the leader of `ballot`, hands over.
    pub(super) const fn hand_over(&mut self, heir: NodeId, ballot: Ballot) {
        self.heir = Some((heir, ballot));
    }

    /// The last leader that was heard of is the one of `ballot`, `alive` if that was lately. `yields`
    /// tells who leads only until another one is there: such a reign is short, and no failure.
    pub(super) fn watch(
        &mut self,
        ballot: Ballot,
        alive: bool,
        yields: impl Fn(NodeId, NodeId) -> bool,
        now: Timestamp,
    ) {
        if ballot == Ballot::ZERO {
            return; // an epoch begins: nobody was heard of yet
        }
        if let Some((heir, before)) = self.heir
            && ballot > before
        {
            self.heir = None;
            if ballot.node != heir {
                self.fail(heir, now); // it stood, and was not elected
            }
        }
        let Some(last) = self.last else {
            self.last = Some(Reign { ballot, since: now });
            return;
        };
        let (before, after) = (last.ballot.node, ballot.node);
        let is_good = now.since(last.since) >= GOOD;
        if before == after {
            if is_good && alive {
                self.failures.remove(&before);
            }
            return;
        }
        if !is_good && !yields(before, after) {
            self.fail(before, now);
        }
        self.last = Some(Reign { ballot, since: now });
    }

    /// `node` leads no more, or did not take over.
    pub(super) fn fail(&mut self, node: NodeId, now: Timestamp) {
        let known = self.failures.get(&node);
        let remembered = known.filter(|failure| now < failure.until.plus(failure.wait));
        let wait = remembered.map_or(BACKOFF, |failure| failure.wait * 2);
        let wait = wait.min(REIGN_BACKOFF_MAX);
        let until = now.plus(wait);
        self.failures.insert(node, Failure { until, wait });
    }

    /// Whether `node` failed so lately that it is not preferred.
    pub(super) fn failed_lately(&self, node: NodeId, now: Timestamp) -> bool {
        let failure = self.failures.get(&node);
        failure.is_some_and(|failure| now < failure.until)
    }
}

#[cfg(test)]
mod tests;
