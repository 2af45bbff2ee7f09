//! Commands that wait at the leader for a slot, each of them once.

use crate::ids::NodeId;
use crate::replica::message::Proposal;
use alloc::collections::{BTreeSet, VecDeque};

/// First come, first served.
///
/// A server that heard nothing of its command forwards it again. Were each copy to get a slot, then
/// the slower the leader, the more of its slots would go to copies, and the slower yet it would be,
/// long after what made it slow: a metastable failure (Bronson et al. 2021).
#[derive(Clone, Debug, Default)]
pub(in crate::replica) struct Queue {
    order: VecDeque<(NodeId, Proposal)>,
    /// What is in `order`. Whole proposals: the numbers of a server begin anew with each of its starts.
    known: BTreeSet<(NodeId, Proposal)>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn front(&self) -> Option<&Proposal> {
        self.order.front().map(|(_, proposal)| proposal)
    }

    /// Takes it, unless it waits already; gives it back if there are `most`.
    pub(super) fn push(
        &mut self,
        from: NodeId,
        proposal: Proposal,
        most: usize,
    ) -> Result<(), Proposal> {
        let one = (from, proposal);
        if self.known.contains(&one) {
            return Ok(());
        }
        if self.order.len() >= most {
            return Err(one.1);
        }
        self.known.insert(one.clone());
        self.order.push_back(one);
        Ok(())
    }

    pub(super) fn pop(&mut self) {
        if let Some(first) = self.order.pop_front() {
            self.known.remove(&first);
        }
    }

    /// All that wait, in their order.
    pub(super) fn into_waiting(self) -> impl Iterator<Item = (NodeId, Proposal)> {
        self.order.into_iter()
    }
}

#[cfg(test)]
mod tests;
