//! What peers are in the middle of. It stays until they have it, though newer ones come: else who needs
//! longer for one than lies between two would begin anew for ever.
//!
//! The log behind it stays as well, so that it leads somewhere.

use crate::ids::{NodeId, Slot, SnapshotId};
use crate::limits::{PIN_NEWER_MAX, PIN_PATIENCE};
use crate::time::Timestamp;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// What one peer fetches.
#[derive(Clone, Copy, Debug)]
struct Pin {
    id: SnapshotId,
    /// When the peer last asked for a part of it, or for entries behind it.
    asked_at: Timestamp,
    /// How many newer ones became durable here since.
    newer: u32,
}

/// At most one of each peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Pins(BTreeMap<NodeId, Pin>);

impl Pins {
    /// `peer` asks for a chunk of this one, which is here.
    pub(super) fn on_get(&mut self, peer: NodeId, id: SnapshotId, now: Timestamp) {
        let newer = self.0.get(&peer).filter(|pin| pin.id == id);
        let newer = newer.map_or(0, |pin| pin.newer);
        let asked_at = now;
        let pin = Pin {
            id,
            asked_at,
            newer,
        };
        self.0.insert(peer, pin);
    }

    /// `peer` asks for entries from `first` on: perhaps those behind what it fetched.
    pub(super) fn on_catch_up(&mut self, peer: NodeId, first: Slot, now: Timestamp) {
        if let Some(pin) = self.0.get_mut(&peer)
            && first > pin.id.slot
        {
            pin.asked_at = now;
        }
    }

    /// A newer one is durable. What stayed for too many is let go: laggards must not fill the disk.
    pub(super) fn on_newer(&mut self) {
        for pin in self.0.values_mut() {
            pin.newer = pin.newer.saturating_add(1);
        }
        self.0.retain(|_, pin| pin.newer < PIN_NEWER_MAX);
    }

    /// What nobody asked for any more is let go.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let is_wanted = |pin: &Pin| now.since(pin.asked_at) < PIN_PATIENCE;
        self.0.retain(|_, pin| is_wanted(pin));
    }

    /// All are let go.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn lose(&mut self, id: SnapshotId) {
        self.0.retain(|_, pin| pin.id != id);
    }

    pub(super) fn holds(&self, id: SnapshotId) -> bool {
        self.0.values().any(|pin| pin.id == id)
    }

    /// All of them, the oldest first.
    pub(super) fn ids(&self) -> Vec<SnapshotId> {
        let mut ids: Vec<SnapshotId> = self.0.values().map(|pin| pin.id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}
