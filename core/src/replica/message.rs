//! What servers say to each other.
//!
//! Every statement here stays true for ever once said: whoever says it has first made durable what
//! it speaks of. `docs/CONSENSUS.md` has the table of who says what when.

use super::fitness::Fitness;
use crate::config::Mark;
use crate::entry::{Entry, Start};
use crate::ids::{Ballot, NodeId, Slot, SnapshotId};
use crate::time::Stamp;
use alloc::vec::Vec;
use bytes::Bytes;

/// Evidence that a leader lived: only a (ballot, beat) larger than any known before counts
/// (rule 25), heard from the leader or relayed. A leader makes a new one only while a quorum answers
/// it and its proposals commit (rule 26).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct Beat {
    /// The leader's ballot.
    pub ballot: Ballot,
    /// The number of its ping round; never used twice under one ballot.
    pub beat: u64,
    /// Its agreed time in that round (rule 19).
    pub stamp: Stamp,
}

/// How far agreed time had come, as somebody heard of it, and of whom: time goes on with the log, so
/// of two that were heard the one of the higher ballot counts, even if it is the earlier (rule 19).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct TimeHeard {
    /// The ballot that something was accepted under last; after a restart the highest of its log, or the one
    /// promised if that has no accepts.
    pub ballot: Ballot,
    /// The latest stamp of its leader, in entries or in beats, or of what is decided.
    pub stamp: Stamp,
}

/// A proposal on its way to the leader.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Proposal {
    /// What its server calls it; unique in one boot of that server.
    pub number: u64,
    /// What is to be decided.
    pub command: Bytes,
}

/// Why a proposal was not appended. It changed nothing, and may be made again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// The server asked does not lead.
    NotLeader,
    /// The leader's queue is full.
    Busy,
    /// It is new work, and the leader's disk is low on space.
    DiskFull,
}

/// One accepted entry, as a promise reports it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// Where.
    pub slot: Slot,
    /// Under which ballot.
    pub ballot: Ballot,
    /// What.
    pub entry: Entry,
}

/// What servers say to each other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// Are you there, and do you still follow? Numbered, so that an answer can't be an old one.
    Ping {
        /// The sender's round: never used twice in one boot.
        round: u64,
        /// The freshest leader that the sender knows of; the sender itself, if it leads.
        beat: Beat,
        /// Every slot up to here is decided.
        decided: Slot,
        /// The shared configuration that the sender has applied.
        mark: Mark,
    },
    /// Yes.
    Pong {
        /// The round that is answered.
        round: u64,
        /// The highest ballot that the sender promised or is about to.
        promised: Ballot,
        /// The freshest leader that the sender knows of.
        beat: Beat,
        /// Every slot up to here is decided at the sender, and on its disk.
        decided: Slot,
        /// The sender's clock when it read the ping; only differences mean something (rule 20).
        clock_ns: u64,
        /// How fit the sender is to lead.
        fitness: Fitness,
    },
    /// Would you promise this ballot? Changes nothing.
    PreVote {
        /// The ballot that would be prepared.
        ballot: Ballot,
        /// How far the candidate's log is decided.
        decided: Slot,
    },
    /// The answer.
    PreVoteReply {
        /// The ballot asked about.
        ballot: Ballot,
        /// Yes or no.
        granted: bool,
        /// The highest ballot that the voter promised.
        promised: Ballot,
    },
    /// 1a: close every ballot below mine, and tell what you accepted.
    Prepare {
        /// The candidate's ballot; durable at the candidate before this is said.
        ballot: Ballot,
        /// The first slot of which the candidate wants to hear; none if it asks for nothing now.
        from: Option<Slot>,
        /// Whether promises came in since it said this last: its try deserves more patience.
        goes_on: bool,
    },
    /// 1b: closed. One of several parts; only those that cover every slot count.
    Promise {
        /// The ballot promised; durable before this is said.
        ballot: Ballot,
        /// The first slot of which this part tells.
        first: Slot,
        /// The first slot of which the next part tells; none if there is nothing more.
        next: Option<Slot>,
        /// Every slot up to here is decided, and not reported.
        decided: Slot,
        /// How far agreed time had come (rule 19).
        heard: TimeHeard,
        /// The latest leader of which the promiser's log holds the start, decided or not.
        started: Start,
        /// What the promiser accepted from `first` on, and before `next`.
        reports: Vec<Report>,
    },
    /// 2a: accept these, in a row from `first`.
    Accept {
        /// The leader's ballot.
        ballot: Ballot,
        /// The leader proposes nothing at or below this slot under this ballot (rule 1).
        base: Slot,
        /// The slot of the first entry.
        first: Slot,
        /// The entries; none if only the watermark moved.
        entries: Vec<Entry>,
        /// Slots up to here are decided, where they were accepted at this ballot.
        commit: Slot,
    },
    /// 2b: every slot in (base, upto] is accepted at this ballot, or decided, and durable.
    Accepted {
        /// The leader's ballot.
        ballot: Ballot,
        /// How far.
        upto: Slot,
    },
    /// Not accepted.
    Nack {
        /// The ballot of the accept or prepare that is refused.
        ballot: Ballot,
        /// The highest ballot that the sender promised; above `ballot`, or the sender only lacks
        /// slots before.
        promised: Ballot,
        /// The first slot that the sender lacks.
        want: Slot,
    },
    /// Give me decided entries from here.
    CatchUp {
        /// The first slot wanted.
        from: Slot,
    },
    /// Decided entries.
    Decided {
        /// The slot of the first one.
        first: Slot,
        /// In a row.
        entries: Vec<Entry>,
        /// Every slot up to here is decided at the sender.
        decided: Slot,
    },
    /// The slots that you want are in no log here: have this snapshot, which covers them. It is
    /// durable here.
    SnapshotOffer {
        /// Which.
        id: SnapshotId,
        /// Of how many chunks.
        chunks: u32,
    },
    /// Give me a chunk of this snapshot.
    SnapshotGet {
        /// Which snapshot.
        id: SnapshotId,
        /// Which chunk, from 0.
        index: u32,
    },
    /// A chunk.
    SnapshotChunk {
        /// Of which snapshot.
        id: SnapshotId,
        /// Which one.
        index: u32,
        /// What it says; at most [`SNAPSHOT_CHUNK_BYTES`](crate::limits::SNAPSHOT_CHUNK_BYTES).
        bytes: Bytes,
    },
    /// Have you a snapshot of this slot, or of a later one? The sender needs none of it to go on: it
    /// keeps one for others, since it can make none.
    SnapshotWish {
        /// The slot.
        from: Slot,
    },
    /// How far must I apply to answer a read that began now?
    ReadIndex {
        /// Unique for each try, never used again for a retry.
        nonce: u64,
    },
    /// So far.
    ReadAt {
        /// The try.
        nonce: u64,
        /// Every write that was answered before the question is at or below this slot.
        slot: Slot,
        /// The leader's agreed time.
        stamp: Stamp,
    },
    /// Please get these decided.
    Forward {
        /// In order.
        proposals: Vec<Proposal>,
    },
    /// These were not appended.
    Refuse {
        /// Their numbers.
        numbers: Vec<u64>,
        /// Why.
        reason: Refused,
    },
    /// Another server shall lead: a wish on its way to the leader.
    HandOver {
        /// Who; the fittest if none is named.
        to: Option<NodeId>,
    },
    /// Stand at once: you have everything, and I lead no more once you do.
    TakeOver {
        /// The ballot of the leader that says so.
        ballot: Ballot,
    },
    /// Stand again: somebody whom I hear promised more than your ballot, and so has no leader.
    Outranked {
        /// The ballot of the leader that is told.
        ballot: Ballot,
        /// What was promised.
        promised: Ballot,
    },
}
