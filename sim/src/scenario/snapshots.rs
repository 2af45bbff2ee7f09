//! How soon snapshots are due, and what laggards get: tiny numbers, so that logs are truncated under
//! those that lag.

use super::{MS, Plan, SECOND, Trouble};
use crate::rand::Rand;
use serde::{Deserialize, Serialize};
use tenure_core::machine;
use tenure_core::node::{Budget, Limits, Window};

/// The limits that have to do with snapshots.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct SnapshotKnobs {
    /// Bytes of log entries between two snapshots.
    pub bytes: u64,
    /// Bytes of one chunk.
    pub chunk_bytes: usize,
    /// Decided entries that stay in memory.
    pub window_slots: usize,
    /// Bytes a second that a server gives to laggards.
    pub budget: u64,
    /// Bytes that it gives them at once.
    pub budget_max: u64,
}

impl SnapshotKnobs {
    /// Some seeds never see a snapshot, most see many.
    pub(super) fn draw(rand: &mut Rand) -> Self {
        let most = if rand.chance(800_000) {
            64 << 10
        } else {
            64 << 20
        };
        Self {
            bytes: rand.log_uniform(4 << 10, most),
            chunk_bytes: rand.log_uniform(256, 64 << 10) as usize,
            window_slots: rand.log_uniform(1, 4096) as usize,
            budget: rand.log_uniform(512 << 10, 32 << 20),
            budget_max: rand.log_uniform(1, 1 << 20),
        }
    }

    /// The limits of a server, as far as they have to do with snapshots.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            machine: machine::Limits {
                snapshot_bytes: self.bytes,
                snapshot_entry_bytes_min: 0,
                snapshot_chunk_bytes: self.chunk_bytes,
                ..machine::Limits::default()
            },
            window: Window {
                slots_max: self.window_slots,
                ..Window::default()
            },
            budget: Budget {
                bytes_per_second: self.budget,
                bytes_max: self.budget_max,
            },
            ..Limits::default()
        }
    }
}

impl Plan {
    /// A snapshot every few slots, and nothing in memory for who lags.
    pub(super) fn forgetful(&mut self) {
        self.host.snapshots.bytes = 2 << 10;
        self.host.snapshots.window_slots = 2;
        self.host.segment_bytes = 48 << 10;
    }

    /// Disks that are full now and then, of some servers or of all.
    pub(super) fn full_disks(&mut self, rand: &mut Rand) {
        self.forgetful();
        let troubles = [
            (Trouble::LowSpace, 6),
            (Trouble::LowSpaces, 3),
            (Trouble::Crash, 1),
            (Trouble::CrashLeader, 1),
        ];
        self.trouble(rand.log_uniform(200 * MS, 2 * SECOND), &troubles);
        self.host.shuffle = true;
        self.host.chunk_drop_ppm = rand.log_uniform(100, 20_000);
        self.net.drop_ppm = rand.log_uniform(100, 20_000);
        self.load.clients = 10;
        self.load.think = 10 * MS;
    }

    /// One server after another is down while the others truncate their logs, and comes back under
    /// load.
    pub(super) fn cold_follower(&mut self, rand: &mut Rand) {
        self.forgetful();
        self.trouble(
            2 * SECOND,
            &[(Trouble::Crash, 3), (Trouble::CrashLeader, 1)],
        );
        self.nemesis.down_mean = 4 * SECOND;
        self.host.shuffle = true;
        self.net.drop_ppm = rand.log_uniform(100, 100_000);
        self.net.corrupt_ppm = if rand.chance(500_000) { 100_000 } else { 0 };
        self.host.name_crash_ppm = 5_000;
        self.host.sync_mean = 5 * MS;
        self.load.clients = 10;
        self.load.think = 10 * MS;
        // Entries leave work to the next ones, and so to the slot of a snapshot.
        self.host.limits.expiry_batch = rand.chance(500_000).then_some(1);
    }
}
