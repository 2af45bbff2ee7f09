//! The record that closes a group: nothing of a group is believed without it. Frozen, like the
//! header.
//!
//! ```text
//!   0 check: XXH3 of the rest u64 |  8 boot             u64 | 16 number of the group  u64
//!  24 through: last RecordNo  u64 | 32 start of the group, 40 of the one before   2 x lsn
//!  48 end of the one before   lsn | 56 chain at that end u32
//!  60 records, 64 of the one before, 68 zero runs, 72 of the one before, 76 acks  5 x u32
//!  80 records, zero runs; records, zero runs of the group before; acks
//! ```
//! A record is told in 56 bytes: from the group's start u32, payload bytes u32, kind u8 and three
//! zeros, chain u32, slot u64, ballot 3 x u64, hash of the payload u64. A zero run is two u32: the
//! first of some 512-byte atoms of the group that are all zero by right, and how many there are
//! (a bitmap, by runs: so a seal never has an atom of zeros itself). An ack is 48 bytes: node, boot,
//! ballot, slot: the highest acknowledgement heard from a peer (rule 8).
//!
//! The check is there beside the chain, because the chain can't be verified where a record before
//! the seal is damaged, and then the seal is what tells which.

use super::bytes::{u32_of, u64_of, usize_of};
use super::damage::Problem;
use super::record::{Kind, get_ballot};
use crate::hash::hash64;
use crate::ids::{Ballot, Boot, Lsn, NodeId, RecordNo, Slot};
use alloc::vec::Vec;
use bytes::{Buf, BufMut};

const FIXED_BYTES: usize = 80;
const RECORD_BYTES: usize = 56;
const RUN_BYTES: usize = 8;
const ACK_BYTES: usize = 48;

/// What a seal says of one record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Sealed {
    pub(super) back: u32,
    pub(super) len: u32,
    pub(super) kind: Kind,
    pub(super) chain: u32,
    pub(super) slot: Slot,
    pub(super) ballot: Ballot,
    pub(super) hash: u64,
}

/// Atoms of a group that are all zero by right.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ZeroRun {
    pub(super) first: u32,
    pub(super) count: u32,
}

/// The highest acknowledgement heard from a peer (rule 8).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ack {
    /// Who.
    pub node: NodeId,
    /// In which of its boots.
    pub boot: Boot,
    /// Under which ballot.
    pub ballot: Ballot,
    /// Everything up to here.
    pub slot: Slot,
}

/// A group in short.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Summary {
    pub(super) start: Lsn,
    pub(super) records: Vec<Sealed>,
    pub(super) zeros: Vec<ZeroRun>,
}

impl Summary {
    fn bytes(&self) -> usize {
        self.records.len() * RECORD_BYTES + self.zeros.len() * RUN_BYTES
    }

    /// The slots that the group holds entries for.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        let entries = |record: &&Sealed| matches!(record.kind, Kind::Accepted | Kind::Decided);
        self.records
            .iter()
            .filter(entries)
            .map(|record| record.slot)
    }

    /// Whether atom `index` of the group may be zero.
    pub(super) fn allows_zero(&self, index: usize) -> bool {
        let index = u64_of(index);
        self.zeros.iter().any(|run| {
            let first = u64::from(run.first);
            (first..first + u64::from(run.count)).contains(&index)
        })
    }

    /// The slot of the record that covers byte `back` of the group.
    pub(super) fn slot_at(&self, back: usize) -> Option<Slot> {
        let mut from_the_end = self.records.iter().rev();
        let record = from_the_end.find(|record| u64::from(record.back) <= u64_of(back))?;
        (record.slot != Slot::default()).then_some(record.slot)
    }
}

/// Where a group ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct End {
    pub(super) lsn: Lsn,
    pub(super) chain: u32,
}

/// What a seal says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Seal {
    pub(super) boot: Boot,
    pub(super) number: u64,
    pub(super) through: RecordNo,
    pub(super) group: Summary,
    pub(super) before: Summary,
    pub(super) before_end: End,
    pub(super) acks: Vec<Ack>,
}

/// Bytes of a seal's payload at most, for a group of `records` in `bytes` after a group `before`.
pub(super) fn payload_bytes_max(
    records: usize,
    bytes: usize,
    before: &Summary,
    acks: usize,
) -> usize {
    let runs = bytes / (2 * super::ATOM_BYTES) + 1;
    FIXED_BYTES + records * RECORD_BYTES + runs * RUN_BYTES + before.bytes() + acks * ACK_BYTES
}

impl Seal {
    pub(super) fn payload_bytes(&self) -> usize {
        FIXED_BYTES + self.group.bytes() + self.before.bytes() + self.acks.len() * ACK_BYTES
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(self.payload_bytes());
        to.put_u64_le(0);
        to.put_u64_le(self.boot.get());
        to.put_u64_le(self.number);
        to.put_u64_le(self.through.get());
        to.put_u64_le(self.group.start.get());
        to.put_u64_le(self.before.start.get());
        to.put_u64_le(self.before_end.lsn.get());
        to.put_u32_le(self.before_end.chain);
        to.put_u32_le(u32_of(self.group.records.len()));
        to.put_u32_le(u32_of(self.before.records.len()));
        to.put_u32_le(u32_of(self.group.zeros.len()));
        to.put_u32_le(u32_of(self.before.zeros.len()));
        to.put_u32_le(u32_of(self.acks.len()));
        put_summary(&mut to, &self.group);
        put_summary(&mut to, &self.before);
        for ack in &self.acks {
            to.put_u64_le(ack.node.get());
            to.put_u64_le(ack.boot.get());
            put_ballot(&mut to, ack.ballot);
            to.put_u64_le(ack.slot.get());
        }
        assert!(
            to.len() == self.payload_bytes(),
            "a seal is as long as it was reckoned"
        );
        let check = hash64(to.get(8..).unwrap_or_default());
        if let Some(place) = to.first_chunk_mut::<8>() {
            *place = check.to_le_bytes();
        }
        to
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, Problem> {
        let (mut head, mut rest) = payload
            .split_at_checked(FIXED_BYTES)
            .ok_or(Problem::Seal("it is too short"))?;
        if head.get_u64_le() != hash64(payload.get(8..).unwrap_or_default()) {
            return Err(Problem::Seal("its own checksum is wrong"));
        }
        let boot = Boot::new(head.get_u64_le());
        let number = head.get_u64_le();
        let through = RecordNo::new(head.get_u64_le());
        let (start, before_start) = (Lsn::new(head.get_u64_le()), Lsn::new(head.get_u64_le()));
        let before_end = End {
            lsn: Lsn::new(head.get_u64_le()),
            chain: head.get_u32_le(),
        };
        let mut count = || usize_of(u64::from(head.get_u32_le()));
        let (records, before_records) = (count(), count());
        let (zeros, before_zeros, acks) = (count(), count(), count());
        let expected = (records.saturating_add(before_records))
            .saturating_mul(RECORD_BYTES)
            .saturating_add(zeros.saturating_add(before_zeros).saturating_mul(RUN_BYTES))
            .saturating_add(acks.saturating_mul(ACK_BYTES));
        if rest.len() != expected {
            return Err(Problem::Seal("its lists are not as long as it says"));
        }
        Ok(Self {
            boot,
            number,
            through,
            group: get_summary(&mut rest, start, records, zeros)?,
            before: get_summary(&mut rest, before_start, before_records, before_zeros)?,
            before_end,
            acks: (0..acks).map(|_| get_ack(&mut rest)).collect(),
        })
    }
}

fn put_ballot(to: &mut Vec<u8>, ballot: Ballot) {
    to.put_u64_le(ballot.epoch.get());
    to.put_u64_le(ballot.round.get());
    to.put_u64_le(ballot.node.get());
}

fn put_summary(to: &mut Vec<u8>, summary: &Summary) {
    for record in &summary.records {
        to.put_u32_le(record.back);
        to.put_u32_le(record.len);
        to.put_slice(&[record.kind.code(), 0, 0, 0]);
        to.put_u32_le(record.chain);
        to.put_u64_le(record.slot.get());
        put_ballot(to, record.ballot);
        to.put_u64_le(record.hash);
    }
    for run in &summary.zeros {
        to.put_u32_le(run.first);
        to.put_u32_le(run.count);
    }
}

fn get_summary(
    from: &mut &[u8],
    start: Lsn,
    records: usize,
    zeros: usize,
) -> Result<Summary, Problem> {
    let records: Option<Vec<Sealed>> = (0..records).map(|_| get_sealed(from)).collect();
    let zeros = (0..zeros).map(|_| ZeroRun {
        first: from.get_u32_le(),
        count: from.get_u32_le(),
    });
    Ok(Summary {
        start,
        zeros: zeros.collect(),
        records: records.ok_or(Problem::Seal("it lists a kind that does not exist"))?,
    })
}

fn get_sealed(from: &mut &[u8]) -> Option<Sealed> {
    let (back, len) = (from.get_u32_le(), from.get_u32_le());
    let kind = Kind::from_code(from.get_u8());
    from.advance(3);
    Some(Sealed {
        back,
        len,
        kind: kind?,
        chain: from.get_u32_le(),
        slot: Slot::new(from.get_u64_le()),
        ballot: get_ballot(from),
        hash: from.get_u64_le(),
    })
}

fn get_ack(from: &mut &[u8]) -> Ack {
    Ack {
        node: NodeId::new(from.get_u64_le()),
        boot: Boot::new(from.get_u64_le()),
        ballot: get_ballot(from),
        slot: Slot::new(from.get_u64_le()),
    }
}

#[cfg(test)]
mod tests;
