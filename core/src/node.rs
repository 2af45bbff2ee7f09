//! The only door.
//!
//! ```text
//!            requests                                    peers' messages, timers, links
//!               │                                                     │
//!   proofs ──> pending ──> commands ──> replica (Multi-Paxos) <───────┘
//!               │                          │ decided entries, in order
//!               │                          v
//!   replies <── events of the entries <── machine        reads wait for a slot, then query it
//! ```
//! Words that speak of what is not durable yet wait in `hold`; everything else leaves at once.

mod apply;
mod hold;
pub mod input;
mod load;
mod loads;
pub mod output;
mod pending;
mod proof;
mod reads;
mod request;
mod room;
pub mod snapshots;
mod standing;

pub use proof::{Proofs, Secrets};

use crate::config::Config;
use crate::config::Shared;
use crate::ids::{Ballot, Boot, Fence, NodeId, Seed, Slot};
use crate::limits;
use crate::machine;
use crate::machine::Form;
use crate::machine::Machine;
use crate::machine::codec;
use crate::replica::message::Message;
use crate::replica::record::Recovered;
pub use crate::replica::{Bounds, Load, Window};
use crate::replica::{Effect, Replica};
use crate::time::{Stamp, Timestamp};
use alloc::vec::Vec;
use core::time::Duration;
use hold::Hold;
use input::Input;
pub use loads::Budget;
use loads::Loads;
use output::{Halt, Note, Output};
use pending::Pending;
use reads::Reads;
use snapshots::{Part, Restored, Snapshots};
use standing::Peers;

/// While anything has a deadline, an entry carries a stamp at least this often (rule 19): what a
/// change of leader can lose of agreed time is bounded by it.
const STAMP_INTERVAL: Duration = Duration::from_secs(10);

/// One server: consensus, locks and sessions together.
#[derive(Debug)]
pub struct Node {
    config: Config,
    boot: Boot,
    now: Timestamp,
    replica: Replica,
    machine: Machine,
    hold: Hold,
    pending: Pending,
    reads: Reads,
    loads: Loads,
    snapshots: Snapshots,
    standing: Peers,
    proofs: Proofs,
    effects: Vec<Effect>,
    limits: Limits,
    /// Of the machine's hash indexes.
    seed: Seed,
    halted: bool,
}

/// What a server bounds by numbers that the simulator makes tiny.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Of the machine. All servers of a cluster have the same, or they would disagree.
    pub machine: machine::Limits,
    /// Of decided entries in memory.
    pub window: Window,
    /// Of what peers get that catch up.
    pub budget: Budget,
    /// Of the replica's queues and frames. All servers of a cluster have the same.
    pub bounds: Bounds,
    /// Of what waits here for callers.
    pub queues: Queues,
}

/// What a server lets wait for its own callers. Beyond it they are told that it is busy.
#[derive(Clone, Copy, Debug)]
pub struct Queues {
    /// Requests that wait for the log.
    pub commands: usize,
    /// Callers that wait for a ticket.
    pub waiters: usize,
    /// Reads that wait for a round.
    pub reads: usize,
}

impl Default for Queues {
    fn default() -> Self {
        Self {
            commands: limits::PENDING_MAX,
            waiters: limits::WAITING_MAX,
            reads: limits::READS_MAX,
        }
    }
}

/// What a cluster begins with.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Its first configuration: equal on all servers, those that joined later among them.
    pub genesis: Shared,
    /// The first fence is above it (rule 31: unix seconds << 20).
    pub fence_floor: Fence,
}

impl Origin {
    /// Of a cluster that begins as `config` says.
    pub fn of(config: &Config, fence_floor: Fence) -> Self {
        Self {
            genesis: config.shared().clone(),
            fence_floor,
        }
    }
}

/// What a server knows at this moment: true once, perhaps not now.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// `leader`, `follower`, `candidate` or `polling`.
    pub role: &'static str,
    /// Who leads, as far as is known.
    pub leader: Option<NodeId>,
    /// The ballot that is led, prepared or followed.
    pub ballot: Ballot,
    /// The highest ballot promised, durable or about to be.
    pub promised: Ballot,
    /// The last slot that something was accepted for.
    pub accepted: Slot,
    /// Every slot up to here is decided.
    pub decided: Slot,
    /// Every slot up to here is applied.
    pub applied: Slot,
    /// The locks.
    pub machine: &'a Machine,
    /// When the oldest request that waits for the log was taken.
    pub waits_since: Option<Timestamp>,
    /// Requests that wait for the log, tickets that callers wait for, reads that wait.
    pub queued: [usize; 3],
}

/// An invariant that does not hold: a bug.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{room}: {what}")]
pub struct Violation {
    /// Where.
    pub room: &'static str,
    /// What.
    pub what: alloc::string::String,
}

impl Node {
    /// A server that remembers what its disk does: the newest whole `snapshot` of it, if there is
    /// one, and of the log what is above.
    ///
    /// `config` is the newest that is known of the members, which may be more than the log says; the
    /// `origin` is used once in the life of a cluster. `seed` spreads the elections.
    pub fn boot(
        config: &Config,
        origin: Origin,
        recovered: Recovered,
        snapshot: Option<Restored>,
        secrets: &Secrets,
        seed: Seed,
        now: Timestamp,
    ) -> Self {
        let (boot, log_bytes) = (recovered.boot, recovered.bytes);
        let hold = Hold::new(recovered.promised);
        let start_note = codec::encode_start(origin.fence_floor);
        let mut snapshots = Snapshots::new(None);
        let mut replica = Replica::boot(config.clone(), recovered, seed, start_note, now);
        let form = Form::of(replica.config().membership(), config.me());
        let mut machine = Machine::seeded(seed).in_cluster(origin.genesis);
        machine = machine.in_form(form);
        if let Some(Restored {
            id,
            chunks,
            machine: found,
            older,
        }) = snapshot
        {
            assert!(
                found.applied() == id.slot && id.slot <= replica.decided(),
                "what a snapshot holds is decided"
            );
            assert!(
                found.form() == form,
                "a server restores what its role in the epoch of its superblock keeps"
            );
            for (id, chunks) in older.into_iter().chain([(id, chunks)]) {
                replica.on_snapshot_durable(id, chunks);
            }
            snapshots = Snapshots::new(Some(id));
            machine = found;
            replica.hear_applied(machine.stamp(), machine.started());
            replica.end_epoch(machine.shared().membership());
        } else if form == Form::Full {
            machine.expect(log_bytes);
        }
        let config = replica.config().clone();
        let decided = replica.decided();
        assert!(
            decided >= config.membership().base(),
            "an epoch began here when all of the one before was durable (rule 29)"
        );
        Self {
            replica,
            machine,
            hold,
            pending: Pending::new(config.me(), boot),
            reads: Reads::new(boot),
            loads: Loads::new(Budget::default(), decided, now),
            snapshots,
            standing: Peers::default(),
            proofs: Proofs::new(secrets),
            effects: Vec::new(),
            limits: Limits::default(),
            seed,
            halted: false,
            config,
            boot,
            now,
        }
    }

    /// With other limits than those of `limits.rs`, before its first step. Its snapshot, if it has
    /// one, was restored with them.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        if self.replica.snapshot().is_none() {
            let (genesis, form) = (self.machine.shared().clone(), self.machine.form());
            let machine = Machine::configured(limits.machine, self.seed);
            self.machine = machine.in_cluster(genesis).in_form(form);
        }
        self.replica.bound(limits.window, limits.bounds);
        self.loads = Loads::new(limits.budget, self.replica.decided(), self.now);
        self.limits = limits;
        self
    }

    /// Takes one input at `now` and appends what is to be done to `out`. Cannot fail, and never
    /// waits. After the last input that is at hand, give [`Input::Flush`].
    pub fn step(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>) {
        assert!(now >= self.now, "the host's clock does not go back");
        self.now = now;
        if self.halted {
            return;
        }
        let mut effects = core::mem::take(&mut self.effects);
        self.take(input, &mut effects, out);
        self.settle(&mut effects, out);
        self.announce(out);
        self.effects = effects;
    }

    /// When to give [`Input::Tick`] if nothing else comes before.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let replica = self.replica.wake_at();
        let pending = self.pending.wake_at().unwrap_or(Timestamp::MAX);
        let reads = self.reads.wake_at().unwrap_or(Timestamp::MAX);
        let disk = [self.loads.wake_at(), self.snapshots.wake_at()];
        let disk = disk.into_iter().flatten().min().unwrap_or(Timestamp::MAX);
        let wake = replica.min(pending).min(reads).min(disk);
        let wake = wake.min(self.expiry_wake_at());
        (!self.halted).then_some(wake)
    }

    /// What this server knows.
    pub fn view(&self) -> View<'_> {
        View {
            role: self.replica.role_name(),
            leader: self.replica.leader(),
            ballot: self.replica.ballot(),
            promised: self.replica.promised(),
            accepted: self.replica.accepted(),
            decided: self.replica.decided(),
            applied: self.machine.applied(),
            machine: &self.machine,
            waits_since: self.pending.oldest(),
            queued: [
                self.pending.commands(),
                self.pending.waiters(),
                self.reads.len(),
            ],
        }
    }

    /// Which server this is, and which of its starts.
    pub const fn identity(&self) -> (NodeId, Boot) {
        (self.config.me(), self.boot)
    }

    /// The decided entry of `slot`, if it is still in memory: for the simulator's checks.
    pub fn decided_entry(&self, slot: Slot) -> Option<&crate::entry::Entry> {
        self.replica.decided_entry(slot)
    }

    /// Checks every invariant; takes as long as the state is large.
    pub fn audit(&self) -> Result<(), Violation> {
        let violation = |room: &'static str| {
            move |what: &str| Violation {
                room,
                what: what.into(),
            }
        };
        self.replica.audit().map_err(violation("replica"))?;
        self.pending.audit().map_err(violation("node"))?;
        self.machine.audit().map_err(|what| Violation {
            room: "machine",
            what: alloc::format!("{what}"),
        })
    }

    fn take(&mut self, input: Input, effects: &mut Vec<Effect>, out: &mut Vec<Output>) {
        let now = self.now;
        match input {
            Input::Tick => self.tick(effects, out),
            Input::Flush => self.flush(effects, out),
            Input::Peer {
                from,
                boot,
                mut message,
            } => {
                if let Message::Ping { mark, .. } = &message {
                    self.standing.hear(now, from, *mark, self.machine.shared());
                }
                if let Message::Forward { proposals } = &mut message {
                    self.admit(from, proposals, effects);
                }
                self.replica.on_message(now, from, boot, message, effects);
            }
            Input::Link { peer, up } => self.replica.on_link(now, peer, up, effects),
            Input::Durable { through } => {
                self.replica.on_durable(now, through);
                self.hold.durable(through, out);
            }
            Input::Promised { ballot } => {
                self.hold.promised(ballot, out);
                self.replica.on_promise_durable(now, ballot, effects);
            }
            Input::Loaded { first, entries } => self.loaded(first, entries, effects, out),
            Input::Space { space } => self.space(space, out),
            Input::ChunkStored { slot, index } => self.chunk_stored(slot, index, effects),
            Input::SnapshotDurable { id } => self.snapshot_durable(id, None, effects, out),
            Input::SnapshotRestored { id, machine } => {
                self.snapshot_durable(id, Some(machine), effects, out);
            }
            Input::SnapshotBad { id } => self.snapshot_bad(id, out),
            Input::SnapshotFailed { id } => self.snapshot_failed(id, out),
            Input::ChunkLoaded { id, index, bytes } => {
                self.chunk_loaded(id, index, bytes, effects);
            }
            Input::HandOver { to } => self.replica.on_hand_over(now, to, effects),
            Input::Stop => {
                self.standing.draining = true;
                self.replica.on_stop(now, effects);
            }
            Input::Request { tag, request } => self.request(tag, request, effects, out),
            Input::Gone { tag } => self.gone(tag, effects),
        }
    }

    fn tick(&mut self, effects: &mut Vec<Effect>, out: &mut Vec<Output>) {
        self.replica.on_tick(self.now, effects);
        self.tick_pending(effects, out);
        self.tick_reads(effects, out);
        self.flush(effects, out);
    }

    fn flush(&mut self, effects: &mut Vec<Effect>, out: &mut Vec<Output>) {
        self.want_stamp();
        if self.replica.is_ending() || self.replica.leads() && !self.machine.shared().is_settled() {
            let (shared, applied) = (self.machine.shared(), self.machine.applied());
            self.replica.change_voters(shared, applied, effects);
        }
        self.flush_reads(effects);
        self.replica.on_flush(self.now, effects);
        self.settle(effects, out);
        self.sweep(out);
    }

    /// Does what the replica asked for, and applies what was decided, until nothing is left.
    fn settle(&mut self, effects: &mut Vec<Effect>, out: &mut Vec<Output>) {
        loop {
            let batch = core::mem::take(effects);
            for effect in batch {
                self.perform(effect, effects, out);
            }
            self.apply_decided(effects, out);
            self.start_loads(effects, out);
            if effects.is_empty() {
                break;
            }
        }
    }

    fn perform(&mut self, effect: Effect, effects: &mut Vec<Effect>, out: &mut Vec<Output>) {
        match effect {
            Effect::Send { to, message, until } => {
                self.hold.until(until, Output::Send { to, message }, out);
            }
            Effect::Append { number, record } => out.push(Output::Append { number, record }),
            Effect::Promise { ballot, membership } => {
                out.push(Output::Promise { ballot, membership });
            }
            Effect::Load { peer, from } => self.loads.want_entries(peer, from),
            Effect::LoadChunk { peer, id, index } => self.loads.want_chunk(peer, id, index),
            Effect::Receive {
                from,
                id,
                index,
                chunks,
                bytes,
            } => {
                let part = Part {
                    from,
                    id,
                    index,
                    chunks,
                    bytes,
                };
                self.receive(part, out);
            }
            Effect::Abandon { id } => self.abandon(id),
            Effect::Refused { numbers, reason } => self.refused(&numbers, reason, out),
            Effect::Unsent { numbers } => self.pending.unsent(&numbers),
            Effect::ReadAt { nonce, slot, stamp } => {
                self.read_at(nonce, slot, stamp);
                self.answer_reads(out);
            }
            Effect::Leading { ballot } => {
                out.push(Output::Note(Note::Leading { ballot }));
                self.new_leader(effects);
            }
            Effect::Following { leader } => {
                out.push(Output::Note(Note::Following { leader }));
                if leader.is_some() {
                    self.new_leader(effects);
                }
            }
            Effect::HandingOver { to, why } => {
                out.push(Output::Note(Note::HandingOver { to, why }));
            }
            Effect::ClockOff { node, ahead_ms } => {
                out.push(Output::Note(Note::ClockOff { node, ahead_ms }));
            }
            Effect::KeepsLeading { to } => out.push(Output::Note(Note::KeepsLeading { to })),
            Effect::Reverted { peer, acked, upto } => {
                out.push(Output::Note(Note::Reverted { peer, acked, upto }));
            }
            Effect::TwoValues { slot, ballot } => {
                self.halt(Halt::TwoValues { slot, ballot }, out);
            }
        }
    }

    fn halt(&mut self, reason: Halt, out: &mut Vec<Output>) {
        self.halted = true;
        out.push(Output::Halt { reason });
    }

    /// The leader writes an entry when a deadline has come, and now and then while one is pending.
    /// Not while another entry is on its way: that one carries a stamp too.
    fn want_stamp(&mut self) {
        let Some(stamp) = self.replica.stamp(self.now) else {
            return;
        };
        let is_settled = self.replica.accepted() == self.machine.applied();
        if is_settled && self.stamp_due().is_some_and(|due| due <= stamp) {
            self.replica.want_entry();
        }
    }

    fn stamp_due(&self) -> Option<Stamp> {
        let deadline = self.machine.next_deadline()?;
        Some(deadline.min(self.machine.stamp().plus(STAMP_INTERVAL)))
    }

    /// Agreed time never runs faster than the host's clock, so this is not too late; if it comes
    /// too early, because agreed time stood still, it looks again.
    fn expiry_wake_at(&self) -> Timestamp {
        let is_settled = self.replica.accepted() == self.machine.applied();
        match (self.stamp_due(), self.replica.stamp_read()) {
            (Some(due), Some((stamp, at))) if is_settled => {
                let wait = due.since(stamp).max(Duration::from_millis(1));
                at.plus(wait).max(self.now.plus(Duration::from_millis(1)))
            }
            (Some(_) | None, Some(_) | None) => Timestamp::MAX,
        }
    }
}

#[cfg(test)]
mod tests;
