//! What a replica keeps in memory of what others send.

use super::{Replica, Role};
use alloc::vec;
use alloc::vec::Vec;

/// One queue or table, how much is in it, and how much there may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Load {
    /// What is in it.
    pub what: &'static str,
    /// How many, or how many bytes.
    pub now: usize,
    /// How many there may be.
    pub most: usize,
}

impl Load {
    pub(crate) const fn of(what: &'static str, now: usize, most: usize) -> Self {
        Self { what, now, most }
    }
}

impl Replica {
    /// How full its log in memory and its queues are.
    pub(crate) fn load(&self) -> Vec<Load> {
        let bounds = &self.bounds;
        let waiting = match &self.role {
            Role::Leading(leading) => leading.waiting(),
            Role::Following | Role::Polling(_) | Role::Preparing(_) => 0,
        };
        let (window, bytes) = self.log.window_load();
        vec![
            window,
            bytes,
            Load::of("proposals", waiting, bounds.proposals),
            Load::of(
                "reads that wait for a round",
                self.reads.len(),
                bounds.reads,
            ),
        ]
    }
}
