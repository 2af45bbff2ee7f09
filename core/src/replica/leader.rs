//! Proposing, replication, commit.

mod forward;
mod outranked;
mod queue;
mod replication;

use super::clock::AgreedClock;
use super::clocks::ClockWatch;
use super::epochs::Ending;
use super::fitness::Space;
use super::handover::{HandOver, SETTLE};
use super::log::Log;
use super::message::Beat;
use super::quorum::{PromiseQuorum, reached};
use super::{Bounds, Effect, Replica, Role};
use crate::config::Config;
use crate::entry::{Entry, EntryBuilder, EntryKind};
use crate::ids::{Ballot, NodeId, RecordNo, Slot};
use crate::limits::{CHECK_QUORUM, COMMIT_STALL, ELECTION_TIMEOUT};
use crate::time::{Stamp, Timestamp};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;
use outranked::Outranked;
use queue::Queue;
use replication::Progress;

/// A proposed slot that is not decided yet.
#[derive(Clone, Copy, Debug)]
struct Proposed {
    slot: Slot,
    at: Timestamp,
    bytes: usize,
}

/// An own accept that is not durable yet.
#[derive(Clone, Copy, Debug)]
struct Own {
    record: RecordNo,
    slot: Slot,
    at: Timestamp,
}

/// A leader: only a [`PromiseQuorum`] makes one.
#[derive(Clone, Debug)]
pub(super) struct Leading {
    ballot: Ballot,
    base: Slot,
    pub(super) since: Timestamp,
    /// The slot of this ballot's `LeaderStart`: reads wait for it.
    start: Slot,
    /// The next slot to propose.
    next: Slot,
    commit: Slot,
    /// Own accepts that are not durable yet: the own vote counts after the own sync.
    own: VecDeque<Own>,
    own_acked: Slot,
    proposed: VecDeque<Proposed>,
    proposed_bytes: usize,
    progress: BTreeMap<NodeId, Progress>,
    queue: Queue,
    /// The node wants an entry even if there is no command: agreed time is due.
    wants_entry: bool,
    clock: AgreedClock,
    pub(super) clocks: ClockWatch,
    /// How far it is with ending its epoch.
    pub(super) ending: Ending,
    /// How long it serves after the next failure to end it.
    pub(super) ending_rest: Duration,
    /// Whom it hands over to.
    pub(super) hand_over: Option<HandOver>,
    /// When it looks again whether another one would lead better.
    pub(super) hand_over_after: Timestamp,
    outranked: Option<Outranked>,
    beats: u64,
    first_round: u64,
    confirmed_round: u64,
}

impl Leading {
    /// Commands that wait for a slot.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    fn new(
        evidence: &PromiseQuorum,
        peers: impl Iterator<Item = NodeId>,
        clock: AgreedClock,
        since: Timestamp,
        round: u64,
    ) -> Self {
        let base = evidence.base();
        let progress = |peer| (peer, Progress::from(base.next()));
        Self {
            ballot: evidence.ballot(),
            base,
            since,
            start: Slot::new(u64::MAX),
            next: base.next(),
            commit: base,
            own: VecDeque::new(),
            own_acked: base,
            proposed: VecDeque::new(),
            proposed_bytes: 0,
            progress: peers.map(progress).collect(),
            queue: Queue::default(),
            wants_entry: false,
            clock,
            clocks: ClockWatch::new(since),
            ending: Ending::NotBefore(since),
            ending_rest: Duration::ZERO,
            hand_over: None,
            hand_over_after: since.plus(SETTLE),
            outranked: None,
            beats: 0,
            first_round: round + 1,
            confirmed_round: 0,
        }
    }

    pub(super) const fn ballot(&self) -> Ballot {
        self.ballot
    }

    pub(super) const fn base(&self) -> Slot {
        self.base
    }

    pub(super) const fn commit(&self) -> Slot {
        self.commit
    }

    pub(super) const fn first_round(&self) -> u64 {
        self.first_round
    }

    pub(super) const fn confirmed_round(&self) -> u64 {
        self.confirmed_round
    }

    /// The log has come further than this clock knew.
    pub(super) fn raise_clock(&mut self, stamp: Stamp) {
        self.clock.raise(stamp);
    }

    /// Whether this ballot's first own entry is decided: before that, the leader may not know of
    /// everything that was decided before it.
    pub(super) fn has_started(&self) -> bool {
        self.commit >= self.start
    }

    pub(super) fn stamp(&mut self, now: Timestamp) -> Stamp {
        self.clock.read(now)
    }

    pub(super) fn beat(&mut self, now: Timestamp) -> Beat {
        self.beats += 1;
        Beat {
            ballot: self.ballot,
            beat: self.beats,
            stamp: self.clock.read(now),
        }
    }

    /// What a voter's clock showed when it answered a ping sent at `asked`.
    pub(super) fn hear_clock(
        &mut self,
        node: NodeId,
        clock_ns: u64,
        asked: Timestamp,
        now: Timestamp,
    ) {
        self.clock.hear(node, clock_ns, asked, now);
    }

    pub(super) fn confirm(&mut self, round: u64, sent: Timestamp, now: Timestamp) {
        assert!(
            round > self.confirmed_round,
            "rounds are confirmed in order"
        );
        self.confirmed_round = round;
        self.clock.confirm(sent, now);
    }

    pub(super) fn own_durable(&mut self, through: RecordNo) {
        while let Some(Own { record, slot, .. }) = self.own.front().copied() {
            if record > through {
                break;
            }
            self.own_acked = self.own_acked.max(slot);
            self.own.pop_front();
        }
    }

    /// A quorum answered lately, and what was proposed commits (rule 26).
    pub(super) fn has_quorum(&self, now: Timestamp) -> bool {
        now.since(self.clock.confirmed()) <= ELECTION_TIMEOUT * 2 && !self.is_stalled(now)
    }

    /// Nothing is decided any more, or the own disk hangs: then the followers may still decide what
    /// is proposed, but nothing new is.
    fn is_stalled(&self, now: Timestamp) -> bool {
        let open = self.proposed.front().map(|first| first.at);
        let own = self.own.front().map(|first| first.at);
        open.into_iter()
            .chain(own)
            .any(|at| now.since(at) > COMMIT_STALL)
    }

    fn is_lost(&self, now: Timestamp, log: &Log) -> bool {
        let has_hole = log.decided() < self.base;
        // The promises may have taken longer than that: then the first round is still on its way.
        now.since(self.clock.confirmed().max(self.since)) > CHECK_QUORUM
            || self.is_stalled(now)
            || has_hole && now.since(self.since) > COMMIT_STALL
    }

    /// Whether another slot may be proposed: one group at a time on the own disk, so that what
    /// arrives during a sync becomes one entry (natural batching), and within the window. Not without
    /// a majority, nor while another one takes over.
    fn may_propose(&self, now: Timestamp, bounds: &Bounds) -> bool {
        self.own.is_empty()
            && self.hand_over.is_none()
            && !self.ending.holds()
            && self.has_quorum(now)
            && self.proposed.len() < bounds.open_slots
            && self.proposed_bytes < bounds.open_bytes
    }

    fn proposed(&mut self, slot: Slot, record: RecordNo, bytes: usize, at: Timestamp) {
        assert!(slot == self.next, "slots are proposed in a row");
        self.next = slot.next();
        self.proposed.push_back(Proposed { slot, at, bytes });
        self.proposed_bytes += bytes;
        self.own.push_back(Own { record, slot, at });
    }

    /// How far `node` has the log of this ballot on its disk, as far as its word counts.
    pub(super) fn acked(&self, node: NodeId, me: NodeId) -> Slot {
        if node == me {
            return self.own_acked;
        }
        let progress = self.progress.get(&node);
        let counts = progress.filter(|progress| !progress.reverted);
        counts.map(|progress| progress.acked).unwrap_or_default()
    }

    /// The last slot that was proposed.
    pub(super) const fn last_proposed(&self) -> Slot {
        self.next.before()
    }

    /// Servers come, and go.
    pub(super) fn meet_peers(&mut self, all: &[NodeId]) {
        self.progress.retain(|node, _| all.contains(node));
        for node in all {
            let fresh = || Progress::from(self.next);
            self.progress.entry(*node).or_insert_with(fresh);
        }
    }

    /// What a quorum has made durable under this ballot. Only votes of this ballot count: an entry
    /// of an older one that a quorum holds may still be replaced (Ongaro 2014, figure 3.7).
    fn reached(&self, config: &Config) -> Slot {
        let acked = config.voters().map(|voter| self.acked(voter, config.me()));
        let mut acked: Vec<Slot> = acked.collect();
        acked.push(self.own_acked);
        reached(&mut acked, config.quorum())
    }

    /// What is open from now on is not stalled: a long log that a new leader proposes again takes as long
    /// as links are slow, but it goes on.
    fn committed(&mut self, commit: Slot, now: Timestamp) {
        assert!(commit >= self.commit, "a commit is for ever");
        assert!(commit < self.next, "only what was proposed commits");
        self.commit = commit;
        while let Some(first) = self.proposed.front().copied() {
            if first.slot > commit {
                break;
            }
            self.proposed_bytes -= first.bytes;
            self.proposed.pop_front();
        }
        if let Some(first) = self.proposed.front_mut() {
            first.at = first.at.max(now);
        }
    }

    pub(super) fn audit(&self, log: &Log) -> Result<(), &'static str> {
        if self.commit >= self.next {
            return Err("a leader committed what it did not propose");
        }
        if log.decided() > self.commit {
            return Err("more is decided at the leader than it committed");
        }
        let foreign = |(slot, open): (Slot, &super::log::Open)| {
            slot > self.base && open.ballot.is_some_and(|ballot| ballot != self.ballot)
        };
        if log.opens().any(foreign) {
            return Err("a leader holds another ballot's value above its base");
        }
        Ok(())
    }
}

impl Replica {
    /// Every slot up to here is decided, as far as this server knows: as leader it may know it
    /// before it has the values.
    pub(super) fn commit(&self) -> Slot {
        match &self.role {
            Role::Leading(leading) => leading.commit.max(self.log.decided()),
            Role::Following | Role::Polling(_) | Role::Preparing(_) => self.log.decided(),
        }
    }

    /// Agreed time, if this server leads.
    pub fn stamp(&mut self, now: Timestamp) -> Option<Stamp> {
        match &mut self.role {
            Role::Leading(leading) => Some(leading.stamp(now)),
            Role::Following | Role::Polling(_) | Role::Preparing(_) => None,
        }
    }

    /// Agreed time as it was last read, and when that was, if this server leads.
    pub fn stamp_read(&self) -> Option<(Stamp, Timestamp)> {
        match &self.role {
            Role::Leading(leading) => Some(leading.clock.last_read()),
            Role::Following | Role::Polling(_) | Role::Preparing(_) => None,
        }
    }

    /// Asks for an entry at the next flush, even without commands: something is due.
    pub fn want_entry(&mut self) {
        if let Role::Leading(leading) = &mut self.role {
            leading.wants_entry = true;
        }
    }

    /// Phase 1 is done: proposes again what may have been chosen, then its own first entry.
    pub(super) fn lead(
        &mut self,
        evidence: &PromiseQuorum,
        sent: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        if self.is_full() {
            return self.follow(out); // it could not write its first entry
        }
        assert!(
            self.log.decided() <= evidence.base(),
            "a leader's base is all that it knows to be decided"
        );
        let stamp = evidence.stamp().max(self.election.settled());
        let clock = AgreedClock::new(stamp, sent, self.now);
        let peers = self.config.peers();
        let leading = Leading::new(evidence, peers, clock, self.now, self.rounds.round());
        for peer in self.peers.values_mut() {
            peer.confirmed = 0;
        }
        if let Some(source) = evidence.richest() {
            self.catchup.learn(source, evidence.base());
        }
        self.role = Role::Leading(Box::new(leading));
        self.log.forget_above(evidence.last());
        for entry in evidence.chosen() {
            self.propose_entry(entry.clone(), out);
        }
        let ends = evidence.chosen().last().map(Entry::kind) == Some(EntryKind::Stop);
        let start = (!ends).then(|| {
            let start = Entry::leader_start(evidence.ballot(), stamp, &self.start_note);
            self.propose_entry(start, out)
        });
        if let Role::Leading(leading) = &mut self.role {
            match start {
                Some(start) => leading.start = start,
                None => leading.ending = Ending::Signed,
            }
        }
        self.start_round(out);
        self.flush_replication(out);
        self.tell_leader(out);
    }

    /// 2a: the next slot gets `entry`. The leader is its own first acceptor.
    pub(super) fn propose_entry(&mut self, entry: Entry, out: &mut Vec<Effect>) -> Slot {
        let (ballot, base, slot) = match &self.role {
            Role::Leading(leading) => (leading.ballot, leading.base, leading.next),
            Role::Following | Role::Polling(_) | Role::Preparing(_) => return Slot::new(0),
        };
        let bytes = entry.bytes().len();
        let record = self.accept(ballot, base, slot, entry, out);
        let now = self.now;
        if let Role::Leading(leading) = &mut self.role {
            leading.proposed(slot, record, bytes, now);
        }
        slot
    }

    pub(super) fn flush_proposals(&mut self, out: &mut Vec<Effect>) {
        while let Role::Leading(leading) = &mut self.role {
            let has_work = leading.wants_entry || !leading.queue.is_empty();
            let may = leading.may_propose(self.now, &self.bounds) && self.space != Space::Full;
            if !has_work || !may {
                return;
            }
            let mut builder = EntryBuilder::default();
            let most = self.bounds.entry_commands;
            while let Some(proposal) = leading.queue.front().filter(|_| builder.len() < most) {
                if !builder.push(&proposal.command) {
                    break;
                }
                leading.queue.pop();
            }
            if builder.is_empty() && !leading.wants_entry {
                // The first command fits no entry: its server let through what it must refuse.
                leading.queue.pop();
                continue;
            }
            leading.wants_entry = false;
            let stamp = leading.clock.read(self.now);
            self.propose_entry(builder.finish(EntryKind::Batch, stamp), out);
        }
    }

    pub(super) fn advance_commit(&mut self) {
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        let reached = leading.reached(&self.config);
        if reached > leading.commit {
            leading.committed(reached, self.now);
        }
        let (commit, ballot) = (leading.commit, leading.ballot);
        self.decide_upto(commit, ballot);
        // What this server had learned as decided before it led, behind a hole, is decided with it.
        let decided = self.log.decided();
        if let Role::Leading(leading) = &mut self.role
            && decided > leading.commit
            && decided < leading.next
        {
            leading.committed(decided, self.now);
        }
    }

    pub(super) fn tick_leader(&mut self, out: &mut Vec<Effect>) {
        let Role::Leading(leading) = &self.role else {
            return;
        };
        if leading.is_stalled(self.now) {
            self.election.step_aside(self.now);
        }
        if leading.is_lost(self.now, &self.log) {
            return self.follow(out);
        }
        self.judge_clocks(out);
    }
}
