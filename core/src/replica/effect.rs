//! What a replica wants done.

use super::handover::Why;
use super::message::{Message, Refused};
use super::record::Record;
use crate::config::Membership;
use crate::ids::{Ballot, NodeId, RecordNo, Slot, SnapshotId};
use crate::time::Stamp;
use alloc::vec::Vec;
use bytes::Bytes;

/// What must be durable before a word may be said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Until {
    /// Nothing: the word speaks of no fact that a crash could undo.
    Now,
    /// This record of the log.
    Record(RecordNo),
    /// This promise, in the superblock.
    Promise(Ballot),
}

/// What the replica wants done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Say it once `until` is durable.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
        /// Not before.
        until: Until,
    },
    /// Write to the log.
    Append {
        /// The number of the record.
        number: RecordNo,
        /// The record.
        record: Record,
    },
    /// Write the promise to the superblock.
    Promise {
        /// The promise.
        ballot: Ballot,
        /// Who votes from now on, if an epoch begins with it.
        membership: Option<Membership>,
    },
    /// A peer that catches up asks for decided entries: [`Replica::give_decided`](super::Replica::give_decided) some, or
    /// [`Replica::offer_snapshot`](super::Replica::offer_snapshot).
    Load {
        /// The peer.
        peer: NodeId,
        /// The first slot wanted.
        from: Slot,
    },
    /// A peer asks for a chunk of a durable snapshot: [`Replica::give_chunk`](super::Replica::give_chunk).
    LoadChunk {
        /// The peer.
        peer: NodeId,
        /// The snapshot.
        id: SnapshotId,
        /// Which chunk.
        index: u32,
    },
    /// The next chunk of a snapshot that is fetched; index 0 begins. Once all of it is checked and
    /// durable here, [`Replica::install`](super::Replica::install); if it can't be, [`Replica::reject_snapshot`](super::Replica::reject_snapshot).
    Receive {
        /// Who sent it.
        from: NodeId,
        /// The snapshot.
        id: SnapshotId,
        /// Which chunk, one after another.
        index: u32,
        /// Of how many.
        chunks: u32,
        /// What it says.
        bytes: Bytes,
    },
    /// A snapshot that was being received is no longer wanted.
    Abandon {
        /// The snapshot.
        id: SnapshotId,
    },
    /// These proposals of this server were not appended.
    Refused {
        /// Their numbers.
        numbers: Vec<u64>,
        /// Why.
        reason: Refused,
    },
    /// These proposals of this server never left it: there is no leader to send them to.
    Unsent {
        /// Their numbers.
        numbers: Vec<u64>,
    },
    /// A read that began as `nonce` may be answered once `slot` is applied.
    ReadAt {
        /// The read.
        nonce: u64,
        /// How far to apply.
        slot: Slot,
        /// The leader's agreed time.
        stamp: Stamp,
    },
    /// This server leads now.
    Leading {
        /// Under this ballot.
        ballot: Ballot,
    },
    /// This server follows now, or looks for a leader.
    Following {
        /// Whom.
        leader: Option<NodeId>,
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
    /// A server's clock is wrong.
    ClockOff {
        /// Whose.
        node: NodeId,
        /// By how many milliseconds it went ahead of the others in ten seconds; behind if negative.
        ahead_ms: i64,
    },
    /// A peer has less than it acknowledged before it restarted: its disk lost something, and it no
    /// longer counts (rule 7).
    Reverted {
        /// The peer.
        peer: NodeId,
        /// What it had acknowledged.
        acked: Slot,
        /// What it has now.
        upto: Slot,
    },
    /// Two values for one slot and ballot. Stop.
    TwoValues {
        /// The slot.
        slot: Slot,
        /// The ballot.
        ballot: Ballot,
    },
}
