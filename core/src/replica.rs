//! Multi-Paxos over opaque entries.
//!
//! This room orders bytes. It does not know that they are commands on locks.
//!
//! ```text
//!             no beat for T_e            quorum of grants,          quorum of promises
//!  Following ----------------> Polling ------------------> Preparing ------------------> Leading
//!      ^                          |     own promise durable     |                            |
//!      '--------------------------'-----------------------------'----------------------------'
//!            a fresher beat, a higher ballot, no quorum in time
//! ```
//! | file | its part |
//! |---|---|
//! | `effect` | what a replica wants done |
//! | `acceptor` | promises and accepts (Paxos Made Simple, §2.2, phases 1b and 2b) |
//! | `candidate` | pre-vote, prepare, and the choice of values (phases 1a and 2a) |
//! | `leader` | proposing, replication, commit |
//! | `quorum` | the only place where votes become evidence |
//! | `election` | when to suspect a leader, and who tries first |
//! | `fitness` | who should lead |
//! | `epochs` | from one set of voters to the next |
//! | `handover` | letting another one lead |
//! | `rounds` | pings: failure detection, and confirmation of reads and of time |
//! | `clock` | agreed time |
//! | `clocks` | alarms about wrong clocks |
//! | `log` | what was accepted and decided |
//! | `catchup` | getting and giving decided entries |
//! | `transfer` | getting and giving snapshots |

mod acceptor;
mod bounds;
mod candidate;
mod catchup;
mod clock;
mod clocks;
mod effect;
mod election;
mod epochs;
mod firm;
pub mod fitness;
pub mod handover;
mod leader;
mod load;
mod log;
pub mod message;
pub mod quorum;
mod reads;
pub mod record;
mod rounds;
mod transfer;

pub use bounds::Bounds;
pub use effect::{Effect, Until};
pub use load::Load;
pub use log::Window;

use crate::config::{Config, Membership, Shared};
use crate::entry::{Entry, Start};
use crate::ids::{Ballot, Boot, NodeId, RecordNo, Seed, Slot};
use crate::rng::Rng;
use crate::time::{Stamp, Timestamp};
use acceptor::{Accept, Acceptor};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;
use candidate::{Polling, Preparing};
use catchup::CatchUp;
use election::Election;
use epochs::Turn;
use firm::Firm;
use fitness::{DiskPace, Fitness, Space};
use handover::Reigns;
use leader::Leading;
use log::Log;
use message::{Message, Proposal};
use quorum::Piece;
use reads::Reads;
use record::{Record, Recovered};
use rounds::{Pong, Rounds};
use transfer::Transfer;

/// What this server knows of another.
#[derive(Clone, Debug, Default)]
struct Peer {
    /// Its latest start that was heard of.
    boot: Boot,
    /// The highest of this server's rounds that it answered, while it had promised nothing higher
    /// than this server's ballot.
    confirmed: u64,
    /// When it last answered a ping.
    heard_at: Option<Timestamp>,
    /// The highest ballot that it promised, as it said.
    promised: Ballot,
    /// How far its log is decided, and on its disk.
    decided: Slot,
    /// How fit it is to lead, as it said.
    fitness: Fitness,
}

#[derive(Clone, Debug)]
enum Role {
    Following,
    Polling(Polling),
    Preparing(Preparing),
    Leading(Box<Leading>),
}

/// One server's part in Multi-Paxos.
#[derive(Clone, Debug)]
pub struct Replica {
    config: Config,
    rng: Rng,
    now: Timestamp,
    role: Role,
    acceptor: Acceptor,
    log: Log,
    bounds: Bounds,
    /// The last record that was appended, and the last that is known to be durable.
    records: RecordNo,
    durable: RecordNo,
    firm: Firm,
    peers: BTreeMap<NodeId, Peer>,
    election: Election,
    reigns: Reigns,
    rounds: Rounds,
    reads: Reads,
    catchup: CatchUp,
    transfer: Transfer,
    /// Proposals on their way to the leader, gathered until the next flush.
    forwards: Vec<Proposal>,
    /// What a `LeaderStart` entry of this server carries; the machine understands it.
    start_note: Bytes,
    /// The room on the own disk, and how long it takes.
    space: Space,
    disk: DiskPace,
    /// Its epoch is over; and the one that is being written to the superblock.
    turn: Option<Turn>,
    begins: Option<Membership>,
    /// It led the epoch before that one.
    goes_on_leading: bool,
    /// It was asked to stop: it leads no more.
    stops: bool,
    /// The ballot of the leader that was last told: one that stood again is a new one.
    told: Option<Ballot>,
}

impl Replica {
    /// A replica that remembers what the disk does. `seed` spreads the elections.
    pub fn boot(
        mut config: Config,
        recovered: Recovered,
        seed: Seed,
        start_note: Bytes,
        now: Timestamp,
    ) -> Self {
        // Where no accept is left to tell, it may have followed whomever it promised.
        let followed = recovered.followed.unwrap_or(recovered.promised);
        if let Some(membership) = recovered.membership {
            config = Config::seen_by(config.me(), config.shared().clone(), membership);
        }
        // Nobody of an earlier epoch: that one's quorums need not meet this one's.
        let followed = followed.max(Ballot::opening(config.epoch()));
        let election = Election::new(now, recovered.promised, followed);
        let peers = config.peers().map(|node| (node, Peer::default())).collect();
        let mut log = Log::new(config.membership(), recovered.decided, recovered.accepted);
        log.hear_start(Some(recovered.started));
        let mut replica = Self {
            rng: Rng::new(seed),
            now,
            role: Role::Following,
            acceptor: Acceptor::new(recovered.promised, config.epoch()),
            firm: Firm::new(log.decided()),
            log,
            bounds: Bounds::default(),
            records: RecordNo::new(0),
            durable: RecordNo::new(0),
            peers,
            election,
            reigns: Reigns::default(),
            rounds: Rounds::new(recovered.boot, now),
            reads: Reads::default(),
            catchup: CatchUp::new(now),
            transfer: Transfer::default(),
            forwards: Vec::new(),
            start_note,
            space: Space::default(),
            disk: DiskPace::default(),
            turn: None,
            begins: None,
            goes_on_leading: false,
            stops: false,
            told: None,
            config,
        };
        replica.look_for_stop();
        replica
    }

    /// Other data is shared by now. Who counts changes with the epoch alone.
    pub fn learn_shared(&mut self, shared: Shared) {
        self.config.learn(shared);
        self.meet_peers();
    }

    /// What this server goes by.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Members come, and go.
    fn meet_peers(&mut self) {
        let config = &self.config;
        let all: Vec<NodeId> = config.peers().collect();
        self.peers.retain(|node, _| all.contains(node));
        for node in &all {
            self.peers.entry(*node).or_default();
        }
        if let Role::Leading(leading) = &mut self.role {
            leading.meet_peers(&all);
        }
    }

    /// Time passed.
    pub fn on_tick(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        assert!(now >= self.now, "the host's clock does not go back");
        self.now = now;
        if self.rounds.due(now) {
            self.start_round(out);
        }
        self.tick_leader(out);
        self.tick_outranked(out);
        self.tick_hand_over(out);
        self.tick_election(out);
        self.tick_transfer(out);
        self.tick_catchup(out);
    }

    /// When to call [`Self::on_tick`] at the latest.
    pub fn wake_at(&self) -> Timestamp {
        let next = self.rounds.next_at().min(self.election_wake_at());
        let waits = self.catchup_wake_at().into_iter();
        waits
            .chain(self.transfer.wake_at())
            .fold(next, Timestamp::min)
    }

    /// A member said something, in its start `boot`.
    pub fn on_message(
        &mut self,
        now: Timestamp,
        from: NodeId,
        boot: Boot,
        message: Message,
        out: &mut Vec<Effect>,
    ) {
        self.now = self.now.max(now);
        let Some(peer) = self.peers.get_mut(&from) else {
            return self.on_stranger(from, message, out);
        };
        if boot < peer.boot {
            return; // a word of a start that is over: its silence is what counts now
        }
        if boot > peer.boot {
            *peer = Peer {
                boot,
                ..Peer::default()
            };
            self.peer_restarted(from);
        }
        self.dispatch(from, message, out);
    }

    #[rustfmt::skip]
    fn dispatch(&mut self, from: NodeId, message: Message, out: &mut Vec<Effect>) {
        match message {
            Message::Ping { round, beat, decided, mark: _ } => self.on_ping(from, round, beat, decided, out),
            Message::Pong { round, promised, beat, decided, clock_ns, fitness } =>
                self.on_pong(from, &Pong { round, promised, beat, decided, clock_ns, fitness }, out),
            Message::PreVote { ballot, decided } => self.on_pre_vote(from, ballot, decided, out),
            Message::PreVoteReply { ballot, granted, promised } =>
                self.on_pre_vote_reply(from, ballot, granted, promised, out),
            Message::Prepare { ballot, from: first, goes_on } =>
                self.on_prepare(from, ballot, (first, goes_on), out),
            Message::Promise { ballot, first, next, decided, heard, started, reports } =>
                self.on_promise(from, ballot, Piece { first, next, decided, heard, started, reports }, out),
            Message::Accept { ballot, base, first, entries, commit } =>
                self.on_accept(from, Accept { ballot, base, first, commit }, entries, out),
            Message::Accepted { ballot, upto } => self.on_accepted(from, ballot, upto, out),
            Message::Nack { ballot, promised, want } =>
                self.on_nack(from, ballot, promised, want, out),
            Message::CatchUp { from: slot } => self.on_catch_up(from, slot, out),
            Message::Decided { first, entries, decided } =>
                self.on_decided(from, first, entries, decided, out),
            Message::SnapshotOffer { id, chunks } => self.on_snapshot_offer(from, id, chunks, out),
            Message::SnapshotWish { from: first } => self.offer_snapshot(from, first, out),
            Message::SnapshotGet { id, index } => self.on_snapshot_get(from, id, index, out),
            Message::SnapshotChunk { id, index, bytes } =>
                self.on_snapshot_chunk(from, id, index, bytes, out),
            Message::ReadIndex { nonce } => self.on_read_index(from, nonce),
            Message::ReadAt { nonce, slot, stamp } =>
                out.push(Effect::ReadAt { nonce, slot, stamp }),
            Message::Forward { proposals } => self.on_forward(from, proposals, out),
            Message::HandOver { to } => self.on_hand_over(self.now, to, out),
            Message::TakeOver { ballot } => self.on_take_over(from, ballot, out),
            Message::Outranked { ballot, promised } => self.on_outranked(ballot, promised),
            Message::Refuse { numbers, reason } => out.push(Effect::Refused { numbers, reason }),
        }
    }

    /// Every record up to `through` is durable.
    pub fn on_durable(&mut self, now: Timestamp, through: RecordNo) {
        self.now = self.now.max(now);
        assert!(through >= self.durable, "what is durable stays durable");
        assert!(
            through <= self.records,
            "only what was appended can be durable"
        );
        self.durable = through;
        self.disk.durable(through, self.now);
        if let Role::Leading(leading) = &mut self.role {
            leading.own_durable(through);
        }
    }

    /// The host has nothing more at hand: what was gathered is proposed and said.
    pub fn on_flush(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        self.advance_commit();
        self.flush_proposals(out);
        self.flush_reads(out);
        self.flush_replication(out);
        self.flush_hand_over(out);
        self.flush_forwards(out);
        self.turn_epoch(out);
    }

    /// The log was applied up to an entry with this stamp: agreed time goes on from there (rule 19). The
    /// latest leader that began in it, `started` says.
    pub fn hear_applied(&mut self, stamp: Stamp, started: Start) {
        self.log.hear_start(Some(started));
        self.election.settle(stamp);
        if let Role::Leading(leading) = &mut self.role {
            leading.raise_clock(stamp);
        }
    }

    /// The connection to `peer` was made or broke.
    pub fn on_link(&mut self, now: Timestamp, peer: NodeId, up: bool, out: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        if up {
            self.ping(peer, out);
        } else if self.leader() == Some(peer) {
            self.election.suspect_now();
        }
    }

    /// Whom this server follows; itself, if it leads and a majority answers it; nobody, if it looks
    /// for a leader.
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Leading(leading) => leading
                .has_quorum(self.now)
                .then_some(leading.ballot().node),
            Role::Following => {
                let beat = self.election.freshest();
                let alive = beat.ballot != Ballot::ZERO && !self.election.suspects(self.now);
                (alive && beat.ballot.node != self.config.me()).then_some(beat.ballot.node)
            }
            Role::Polling(_) | Role::Preparing(_) => None,
        }
    }

    /// Whether this server leads; perhaps without a majority, which [`Self::leader`] tells.
    pub const fn leads(&self) -> bool {
        matches!(self.role, Role::Leading(_))
    }

    /// Whether this server leads and a majority answered lately: without one it takes neither
    /// proposals nor reads, and goes on with what it has.
    pub(crate) fn leads_a_quorum(&self) -> bool {
        self.leads() && self.leader().is_some()
    }

    /// The ballot this server leads, prepares, or follows.
    pub fn ballot(&self) -> Ballot {
        match &self.role {
            Role::Leading(leading) => leading.ballot(),
            Role::Preparing(preparing) => preparing.ballot(),
            Role::Following | Role::Polling(_) => self.election.freshest().ballot,
        }
    }

    /// The role, in a word for traces.
    pub const fn role_name(&self) -> &'static str {
        match self.role {
            Role::Following => "follower",
            Role::Polling(_) => "polling",
            Role::Preparing(_) => "candidate",
            Role::Leading(_) => "leader",
        }
    }

    /// The highest ballot promised, durable or about to be.
    pub const fn promised(&self) -> Ballot {
        self.acceptor.promised()
    }

    /// Every slot up to here is decided.
    pub const fn decided(&self) -> Slot {
        self.log.decided()
    }

    /// The last slot that something was accepted for.
    pub fn accepted(&self) -> Slot {
        self.log.last()
    }

    /// With other bounds than those of `limits.rs`.
    pub fn bound(&mut self, window: Window, bounds: Bounds) {
        self.log.bound_window(window);
        self.bounds = bounds;
    }

    /// The decided entry of `slot`, if it is still in memory.
    pub fn decided_entry(&self, slot: Slot) -> Option<&Entry> {
        self.log.decided_entry(slot)
    }

    /// The last record appended, and the last known to be durable.
    pub const fn records(&self) -> (RecordNo, RecordNo) {
        (self.records, self.durable)
    }

    /// What is wrong with this replica's state; nothing, if its code is right.
    pub fn audit(&self) -> Result<(), &'static str> {
        self.log.audit()?;
        self.acceptor.audit(&self.log)?;
        if let Role::Leading(leading) = &self.role {
            leading.audit(&self.log)?;
        }
        Ok(())
    }

    fn append(&mut self, record: Record, out: &mut Vec<Effect>) -> RecordNo {
        self.records = self.records.next();
        self.disk.appended(self.records, self.now);
        out.push(Effect::Append {
            number: self.records,
            record,
        });
        self.records
    }

    /// Goes back to following. A leader's open proposals stay accepted: whoever leads next may
    /// find them chosen. Those that never got a slot are given back.
    fn follow(&mut self, out: &mut Vec<Effect>) {
        let role = core::mem::replace(&mut self.role, Role::Following);
        match role {
            Role::Leading(leading) => {
                self.reads.forget();
                self.refuse_all(*leading, out);
            }
            Role::Following | Role::Polling(_) | Role::Preparing(_) => {}
        }
        self.election.rest(self.now, &mut self.rng);
        self.tell_leader(out);
    }

    fn tell_leader(&mut self, out: &mut Vec<Effect>) {
        let leader = self.leader();
        let told = leader.map(|_| self.ballot());
        if told != self.told {
            self.told = told;
            out.push(match &self.role {
                Role::Leading(leading) if leader.is_some() => Effect::Leading {
                    ballot: leading.ballot(),
                },
                Role::Leading(_) | Role::Following | Role::Polling(_) | Role::Preparing(_) => {
                    Effect::Following { leader }
                }
            });
        }
    }
}
