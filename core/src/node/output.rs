//! What to do outside.

use super::input::Token;
use crate::config::Config;
use crate::config::Mark;
use crate::config::Membership;
use crate::config::Shared;
use crate::ids::{Ballot, ChangeId, Epoch, Fence, NodeId, RecordNo, Seed, Slot, SnapshotId, Tag};
use crate::machine;
use crate::machine::Form;
use crate::machine::Machine;
use crate::machine::answer::Answer;
use crate::machine::command::Cause;
use crate::machine::key::Key;
use crate::machine::snapshot::Restore;
use crate::query::{LockView, Page, Verdict};
pub use crate::replica::handover::Why;
use crate::replica::message::Message;
use crate::replica::record::Record;
use crate::time::Stamp;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;

/// What to do outside. Outputs to one destination (a peer, a connection, the log) are done in their
/// order; between destinations in any order, or not at all if the process dies.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Send, once, without waiting for an answer.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Answer a caller.
    Reply {
        /// Which request.
        tag: Tag,
        /// What.
        reply: Reply,
    },
    /// Write, sync, then say `Input::Durable`.
    Append {
        /// The number of the record: one more than the last.
        number: RecordNo,
        /// The record.
        record: Record,
    },
    /// Write the superblock with this promise, sync, then say `Input::Promised`. At most one is
    /// asked for at a time (rule 4).
    Promise {
        /// The promise.
        ballot: Ballot,
        /// Who votes from now on, if an epoch begins with it: the superblock remembers that too.
        membership: Option<Membership>,
    },
    /// Read decided entries from the log, then say `Input::Loaded`.
    Load {
        /// The first slot wanted.
        from: Slot,
        /// The last slot wanted; fewer may be given.
        upto: Slot,
    },
    /// Append to the snapshot under construction. The first chunk begins a new one, and drops
    /// another that is under construction.
    ///
    /// One that a peer sent is read back on the way: see [`Received`].
    SnapshotChunk {
        /// The snapshot's slot; its hash is known at its end.
        slot: Slot,
        /// Which chunk, from 0, one after another.
        index: u32,
        /// Its payload.
        bytes: Bytes,
        /// With the first chunk of one that a peer sent.
        received: Option<Received>,
    },
    /// The snapshot under construction is whole: sync it, give it its name, sync the name, then say
    /// `Input::SnapshotDurable`, or `Input::SnapshotFailed` if it can't be kept. For one that a peer
    /// sent, say `Input::SnapshotRestored` instead, or `Input::SnapshotBad` if it can't be read back:
    /// then it never gets its name.
    SnapshotDone {
        /// Which.
        id: SnapshotId,
        /// Of how many chunks.
        chunks: u32,
        /// Older ones that peers are in the middle of, at most one for each. They stay when all but
        /// the two newest go, unless it is room that is wanted.
        keep: Vec<SnapshotId>,
    },
    /// Files of the log without a record above `upto` may go. Nobody waits for it, and it may be left undone.
    Truncate {
        /// The slot of a snapshot of this server; the newest one's only if it came from a peer, or
        /// while the disk is low: else laggards find one or two intervals of log here, and who fetches
        /// a snapshot what is behind that.
        upto: Slot,
        /// The durable snapshot that stands for what goes (rule 5).
        snapshot: SnapshotId,
    },
    /// Read a chunk of a durable snapshot, then say `Input::ChunkLoaded`.
    LoadChunk {
        /// Of which snapshot.
        id: SnapshotId,
        /// Which one, from 0.
        index: u32,
    },
    /// This machine is of no use any more: drop it where that holds up nobody.
    Retire(Retired),
    /// The shared configuration is another one: edges tell it to whom they greet.
    Configured {
        /// What this server sees now.
        config: Box<Config>,
    },
    /// Something happened that an operator may want to know.
    Note(Note),
    /// Stop at once: going on could break a promise.
    Halt {
        /// Why.
        reason: Halt,
    },
}

/// What reads a peer's snapshot back while it is written: a [`Restore`] of these, which takes each
/// chunk. A million locks take a second of a processor: it is done where that holds up nobody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Received {
    /// What the peer calls it.
    pub id: SnapshotId,
    /// Of the machine.
    pub limits: machine::Limits,
    /// Of the machine's indexes.
    pub seed: Seed,
    /// What the machine keeps.
    pub form: Form,
}

impl Received {
    /// What reads it.
    pub fn restore(&self) -> Restore {
        Restore::new(self.id, self.limits, self.seed).in_form(self.form)
    }
}

/// A machine that another one stands for.
#[derive(Debug)]
pub struct Retired(Box<Machine>);

impl Retired {
    pub(super) fn new(machine: Machine) -> Self {
        Self(Box::new(machine))
    }
}

/// Equal logs give equal machines.
impl PartialEq for Retired {
    fn eq(&self, other: &Self) -> bool {
        let log = |machine: &Machine| (machine.applied(), machine.digest());
        log(&self.0) == log(&other.0)
    }
}

/// Why a server must stop.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Halt {
    /// Two values for one slot and ballot: a bug, or a peer that lies.
    #[error("slot {slot} was accepted twice under ballot {ballot} with different values")]
    TwoValues {
        /// The slot.
        slot: Slot,
        /// The ballot.
        ballot: Ballot,
    },
    /// This server is no member any more, and the cluster works without it.
    #[error("this server was removed from the cluster at change {change}")]
    Removed {
        /// The last change that it learned.
        change: ChangeId,
    },
    /// In an epoch that has begun this server keeps the locks, and did not before; or the other way
    /// round. It is to be opened again, from its disk, at once.
    #[error("this server has another role from epoch {epoch} on, and must be opened again")]
    Role {
        /// Which.
        epoch: Epoch,
    },
    /// An entry of the log that this version can't apply.
    #[error("slot {slot} was decided, and cannot be read from the log")]
    Unreadable {
        /// The slot.
        slot: Slot,
    },
}

/// What an operator may want to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Note {
    /// This server leads.
    Leading {
        /// Under this ballot.
        ballot: Ballot,
    },
    /// This server follows, or looks for a leader.
    Following {
        /// Whom; nobody if none is known.
        leader: Option<NodeId>,
    },
    /// An epoch begins at this server: others vote from here on.
    Epoch {
        /// Who.
        membership: Membership,
    },
    /// This leader hands over.
    HandingOver {
        /// To whom.
        to: NodeId,
        /// Why.
        why: Why,
    },
    /// It does not: nobody is fit, or the one that was asked did not take over in time.
    KeepsLeading {
        /// Who was to lead, if one was named.
        to: Option<NodeId>,
    },
    /// This server lags so far that it fetches a snapshot.
    Fetching {
        /// Which.
        id: SnapshotId,
        /// From whom, to begin with.
        from: NodeId,
    },
    /// The snapshot that was fetched stands for the log up to its slot.
    Installed {
        /// Which.
        id: SnapshotId,
    },
    /// What was fetched as a snapshot is not what its id says; it is fetched anew.
    BadSnapshot {
        /// Which.
        id: SnapshotId,
        /// Who sent the end of it.
        from: NodeId,
    },
    /// The disk did not keep a snapshot. The log stays as long as it is.
    SnapshotFailed {
        /// Which.
        id: SnapshotId,
    },
    /// An operator took a grant from its holder, who may still believe in it.
    Forced {
        /// Its locks.
        keys: Vec<Key>,
        /// Which.
        fence: Fence,
        /// Who wanted it, and why.
        cause: Cause,
    },
    /// A server's clock is wrong. It is outvoted, and serves on; a second one would not be.
    ClockOff {
        /// Whose.
        node: NodeId,
        /// By how many milliseconds it went ahead of the others in ten seconds; behind if negative.
        ahead_ms: i64,
    },
    /// A peer has less than it acknowledged before it restarted: its disk lost something. It is
    /// not counted until another leader is elected; replace it.
    Reverted {
        /// The peer.
        peer: NodeId,
        /// What it had acknowledged.
        acked: Slot,
        /// What it has now.
        upto: Slot,
    },
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// What the log decided. `Answer::Queued` is not the last word: another reply follows for the
    /// same tag when the ticket ends.
    Decided {
        /// What.
        answer: Answer,
        /// The grant's token, or the session's secret, where the answer gives one.
        token: Option<Token>,
        /// Where in the log.
        slot: Slot,
    },
    /// The session's secret is right.
    Resumed,
    /// The configuration that all servers share.
    Config {
        /// What it is.
        shared: Shared,
        /// Where in the log this is true.
        slot: Slot,
        /// The leader's agreed time when it was asked.
        stamp: Stamp,
    },
    /// One lock.
    Lock {
        /// How it is.
        view: LockView,
        /// Where in the log this is true.
        slot: Slot,
        /// The leader's agreed time when it was asked.
        stamp: Stamp,
    },
    /// Whether a grant holds.
    Verdict {
        /// Whether.
        verdict: Verdict,
        /// Where in the log this is true.
        slot: Slot,
        /// The leader's agreed time when it was asked.
        stamp: Stamp,
    },
    /// Some locks.
    Locks {
        /// Which.
        page: Page,
        /// Where in the log this is true.
        slot: Slot,
        /// The leader's agreed time when it was asked.
        stamp: Stamp,
    },
    /// The servers of the cluster, by number, with the one that leads as far as is known here.
    Servers {
        /// All of them.
        nodes: Vec<NodeId>,
        /// The leader.
        leader: Option<NodeId>,
        /// Every slot up to here was applied at the server that answers.
        applied: Slot,
        /// The rolling digest of its state at that slot; zero of a server that keeps no locks.
        digest: u64,
    },
    /// No answer of the log.
    Failed(Failure),
}

/// Why a server takes no clients.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotReady {
    /// A peer has known a newer configuration for a while, and this server has not learned it yet.
    #[error("it has not learned configuration {newer} yet")]
    Behind {
        /// What the peer knows.
        newer: Mark,
    },
    /// A peer has another configuration for the same past, and no quorum agrees with this server.
    #[error("its configuration and the one at {other} are forked")]
    Forked {
        /// What the peer has.
        other: Mark,
    },
    /// It hears fewer members than the policy wants.
    #[error("it hears {members} of the {wanted} members that the policy wants")]
    Alone {
        /// How many it hears, itself counted.
        members: usize,
        /// How many it should.
        wanted: usize,
    },
    /// It is about to stop.
    #[error("it is about to stop")]
    Draining,
    /// It votes, and keeps no locks.
    #[error("it only votes, and keeps no locks")]
    OnlyVotes,
    /// Its operator wants to take it down, and sends clients elsewhere.
    #[error("it drains: `tenure member undrain {node}` lets it serve again")]
    Drained {
        /// Its number.
        node: NodeId,
    },
}

/// Why the log gave no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Failure {
    /// A queue is full; nothing was changed.
    #[error("the server is busy; nothing was changed")]
    Busy,
    /// The disk of this server, or of the leader, is full: new work is refused, and what was granted
    /// goes on as long as there is any room. Nothing was changed.
    #[error("the disk of this server is full; nothing was changed")]
    DiskFull,
    /// This server takes no clients; another one may.
    #[error("the server is not ready; nothing was changed: {0}")]
    NotReady(NotReady),
    /// No leader or no quorum in time; nothing was changed.
    #[error("no quorum serves; nothing was changed")]
    NoQuorum,
    /// It was proposed, and no answer came in time: it may yet happen.
    #[error("no answer in time; it may have happened or may yet")]
    Unknown,
    /// The token or secret is not the right one. Nothing was changed.
    #[error("the proof is wrong")]
    BadProof,
    /// The request is out of bounds. Nothing was changed.
    #[error("the request is not valid: {0}")]
    Invalid(&'static str),
}
