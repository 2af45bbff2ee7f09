//! All limits tiny (A6): queues that are full after a few requests, frames that hold one entry, tables
//! with room for a handful. What is rare in years then happens in a second.

use super::{HostKnobs, MS, Plan, SECOND};
use crate::rand::Rand;
use serde::{Deserialize, Serialize};
use tenure_core::machine;
use tenure_core::node::{Bounds, Limits, Queues};

/// Limits that a seed made tiny. Those that it did not are the core's own.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TinyLimits {
    /// Requests of one server's callers that wait for the log.
    pub commands: Option<usize>,
    /// Callers of one server that wait for a ticket.
    pub waiters: Option<usize>,
    /// Reads of one server, and of all servers at the leader, that wait for a round.
    pub reads: Option<usize>,
    /// Slots that a leader may have proposed and not yet decided.
    pub open_slots: Option<usize>,
    /// Bytes of them.
    pub open_bytes: Option<usize>,
    /// Commands that wait at the leader for a slot.
    pub proposals: Option<usize>,
    /// Commands in one entry.
    pub entry_commands: Option<usize>,
    /// Bytes of entries or commands in one frame: a promise has many parts.
    pub batch_bytes: Option<usize>,
    /// Expiries and grants that one entry may do.
    pub expiry_batch: Option<usize>,
    /// Grants and tickets.
    pub locks: Option<usize>,
    /// Tickets.
    pub tickets: Option<usize>,
    /// Sessions.
    pub sessions: Option<usize>,
    /// Remembered answers.
    pub answers: Option<usize>,
    /// Unconfirmed answers of one session.
    pub session_window: Option<u64>,
    /// How often a session enters one grant.
    pub entries: Option<u32>,
    /// Edges that a search for a deadlock looks at.
    pub deadlock_visits: Option<usize>,
}

impl TinyLimits {
    /// In some seeds all are tiny, in some a few.
    pub(super) fn draw(seed: u64) -> Self {
        let mut rand = Rand::stream(seed, "limits");
        match rand.below(10) {
            0 => Self::some(&mut rand, 1_000_000),
            1..4 => Self::some(&mut rand, 300_000),
            _ => Self::default(),
        }
    }

    /// All are.
    pub(super) fn all(seed: u64) -> Self {
        Self::some(&mut Rand::stream(seed, "limits"), 1_000_000)
    }

    fn some(rand: &mut Rand, each_ppm: u64) -> Self {
        let mut some = |low, high| {
            let drawn = rand.log_uniform(low, high);
            rand.chance(each_ppm).then_some(drawn as usize)
        };
        Self {
            commands: some(1, 64),
            waiters: some(1, 64),
            reads: some(1, 64),
            open_slots: some(1, 64),
            open_bytes: some(1, 16 << 10),
            proposals: some(1, 64),
            entry_commands: some(1, 64),
            batch_bytes: some(1, 16 << 10),
            expiry_batch: some(1, 16),
            locks: some(4, 64),
            tickets: some(1, 64),
            sessions: some(1, 16),
            answers: some(64, 4_096),
            session_window: some(1, 64).map(|window| window as u64),
            entries: some(1, 4).map(|entries| entries as u32),
            deadlock_visits: some(1, 8),
        }
    }
}

/// Entries of fewer commands make a cluster so slow that it needs clients with patience, and a disk that is
/// not slow too.
const COMMANDS_FEW: usize = 16;

impl Plan {
    /// Clients that gave up sooner than the slowest cluster answers would only ask again and again, and
    /// never hear anything.
    pub(super) fn bound(&mut self, limits: TinyLimits) {
        if limits.entry_commands.is_some_and(|few| few < COMMANDS_FEW) {
            self.load.patience = self.load.patience.max(SECOND);
            self.host.sync_mean = self.host.sync_mean.min(4 * MS);
        }
        self.host.limits = limits;
    }
}

impl HostKnobs {
    /// The limits of a server. They are the same for all.
    pub fn limits(&self) -> Limits {
        let mut limits = self.snapshots.limits();
        let tiny = &self.limits;
        let machine = limits.machine;
        limits.machine = machine::Limits {
            expiry_batch: tiny.expiry_batch.unwrap_or(machine.expiry_batch),
            locks: tiny.locks.unwrap_or(machine.locks),
            tickets: tiny.tickets.unwrap_or(machine.tickets),
            sessions: tiny.sessions.unwrap_or(machine.sessions),
            answers: tiny.answers.unwrap_or(machine.answers),
            session_window: tiny.session_window.unwrap_or(machine.session_window),
            entries: tiny.entries.unwrap_or(machine.entries),
            deadlock_visits: tiny.deadlock_visits.unwrap_or(machine.deadlock_visits),
            ..machine
        };
        let bounds = limits.bounds;
        limits.bounds = Bounds {
            open_slots: tiny.open_slots.unwrap_or(bounds.open_slots),
            open_bytes: tiny.open_bytes.unwrap_or(bounds.open_bytes),
            proposals: tiny.proposals.unwrap_or(bounds.proposals),
            reads: tiny.reads.unwrap_or(bounds.reads),
            entry_commands: tiny.entry_commands.unwrap_or(bounds.entry_commands),
            batch_bytes: tiny.batch_bytes.unwrap_or(bounds.batch_bytes),
        };
        let queues = limits.queues;
        limits.queues = Queues {
            commands: tiny.commands.unwrap_or(queues.commands),
            waiters: tiny.waiters.unwrap_or(queues.waiters),
            reads: tiny.reads.unwrap_or(queues.reads),
        };
        limits
    }
}
