//! The header that every record begins with. Frozen: `record/tests.rs` holds golden bytes.
//!
//! ```text
//!   0 crc of bytes 4..80  u32 |  4 kind u8 | 5 flags = 0 u8 | 6 version u16
//!   8 lsn                 u64 | 16 payload bytes       u32 | 20 chain         u32
//!  24 group               u32 | 28 back: bytes from the group's start to here u32
//!  32 epoch               u64 | 40 ballot: epoch, round, node          3 x u64
//!  64 base                u64 | 72 slot                                    u64
//!  80 payload, then zeros up to a multiple of 8
//! ```
//! All numbers are little-endian. The checksum begins from the log's identity and the segment's
//! number. The chain is a checksum of everything before this record and of this record, but for
//! its two checksums: it finds what is right in itself and stands in the wrong place.
//!
//! The first eight bytes are never all zero. A group is stored with them last, so that a group
//! whose stores were not finished when a page of it was written back is known as one.

use super::bytes::{round_up, u64_of, usize_of};
use super::damage::Problem;
use crate::ids::{Ballot, Epoch, GroupId, Lsn, NodeId, Round, Slot};
use bytes::{Buf, BufMut};
use crc32fast::Hasher;

/// Bytes before the payload.
pub(super) const HEAD_BYTES: usize = 80;
/// Records begin at multiples of this.
pub(super) const ALIGN: usize = 8;
const VERSION: u16 = 1;

/// What a record is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Accepted,
    Decided,
    DecidedHint,
    Seal,
    Pad,
}

impl Kind {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Accepted => 1,
            Self::Decided => 2,
            Self::DecidedHint => 3,
            Self::Seal => 4,
            Self::Pad => 5,
        }
    }

    pub(super) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Accepted),
            2 => Some(Self::Decided),
            3 => Some(Self::DecidedHint),
            4 => Some(Self::Seal),
            5 => Some(Self::Pad),
            _ => None,
        }
    }
}

/// A record's header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) lsn: Lsn,
    pub(super) len: u32,
    pub(super) chain: u32,
    pub(super) group: GroupId,
    pub(super) back: u32,
    pub(super) epoch: Epoch,
    pub(super) ballot: Ballot,
    pub(super) base: Slot,
    pub(super) slot: Slot,
}

impl Head {
    /// A header that speaks of no slot, to be placed later.
    pub(super) const fn of(kind: Kind) -> Self {
        Self {
            kind,
            lsn: Lsn::new(0),
            len: 0,
            chain: 0,
            group: GroupId::new(0),
            back: 0,
            epoch: Epoch::new(0),
            ballot: Ballot::ZERO,
            base: Slot::new(0),
            slot: Slot::new(0),
        }
    }

    /// Bytes of the whole record.
    pub(super) fn record_bytes(&self) -> usize {
        record_bytes(usize_of(u64::from(self.len)))
    }

    /// Where its group begins.
    pub(super) fn group_start(&self) -> Option<Lsn> {
        let start = self.lsn.get().checked_sub(u64::from(self.back));
        start.map(Lsn::new)
    }

    fn bytes(&self, crc: u32) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let mut to = bytes.as_mut_slice();
        to.put_u32_le(crc);
        to.put_u8(self.kind.code());
        to.put_u8(0);
        to.put_u16_le(VERSION);
        to.put_u64_le(self.lsn.get());
        to.put_u32_le(self.len);
        to.put_u32_le(self.chain);
        to.put_u32_le(self.group.get());
        to.put_u32_le(self.back);
        to.put_u64_le(self.epoch.get());
        to.put_u64_le(self.ballot.epoch.get());
        to.put_u64_le(self.ballot.round.get());
        to.put_u64_le(self.ballot.node.get());
        to.put_u64_le(self.base.get());
        to.put_u64_le(self.slot.get());
        assert!(to.is_empty(), "a header has 80 bytes");
        bytes
    }

    /// The chain after this record, which comes after `before`. `payload` has its padding.
    pub(super) fn chain_after(&self, before: u32, payload: &[u8]) -> u32 {
        let bytes = Self { chain: 0, ..*self }.bytes(0);
        let mut hasher = Hasher::new_with_initial(before);
        hasher.update(&bytes);
        hasher.update(payload);
        hasher.finalize()
    }

    /// The header's bytes, with its checksum.
    pub(super) fn encode(&self, seed: u32) -> [u8; HEAD_BYTES] {
        let crc = head_crc(seed, &self.bytes(0));
        let bytes = self.bytes(crc);
        debug_assert_eq!(Self::decode(&bytes, seed), Ok(*self));
        bytes
    }

    /// Reads a header. Its checksum is looked at first, so that what is refused after it was
    /// written so, and not damaged.
    pub(super) fn decode(bytes: &[u8; HEAD_BYTES], seed: u32) -> Result<Self, Problem> {
        let mut from = bytes.as_slice();
        let found = from.get_u32_le();
        let expected = head_crc(seed, bytes);
        if found != expected {
            return Err(Problem::HeadCrc { expected, found });
        }
        let (kind, flags, version) = (from.get_u8(), from.get_u8(), from.get_u16_le());
        if version != VERSION {
            return Err(Problem::Version { found: version });
        }
        let kind = Kind::from_code(kind).ok_or(Problem::Kind { found: kind })?;
        if flags != 0 {
            return Err(Problem::Field {
                what: "the flags byte",
                expected: 0,
                found: u64::from(flags),
            });
        }
        Ok(Self {
            kind,
            lsn: Lsn::new(from.get_u64_le()),
            len: from.get_u32_le(),
            chain: from.get_u32_le(),
            group: GroupId::new(from.get_u32_le()),
            back: from.get_u32_le(),
            epoch: Epoch::new(from.get_u64_le()),
            ballot: get_ballot(&mut from),
            base: Slot::new(from.get_u64_le()),
            slot: Slot::new(from.get_u64_le()),
        })
    }
}

/// Reads a ballot.
pub(super) fn get_ballot(from: &mut &[u8]) -> Ballot {
    Ballot {
        epoch: Epoch::new(from.get_u64_le()),
        round: Round::new(from.get_u64_le()),
        node: NodeId::new(from.get_u64_le()),
    }
}

/// Bytes of a record with a payload of `len` bytes.
pub(super) fn record_bytes(len: usize) -> usize {
    round_up(len.saturating_add(HEAD_BYTES), ALIGN)
}

fn head_crc(seed: u32, bytes: &[u8; HEAD_BYTES]) -> u32 {
    let mut hasher = Hasher::new_with_initial(seed);
    hasher.update(bytes.get(4..).unwrap_or_default());
    hasher.finalize()
}

/// A record that was found whole, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) head: Head,
    pub(super) payload: &'a [u8],
}

/// Reads the header at `offset` of a segment's (or a piece's) `bytes`, whose first byte is `lsn`
/// `first`. Checks all but the chain.
pub(super) fn head_at(bytes: &[u8], offset: usize, first: Lsn, seed: u32) -> Result<Head, Problem> {
    let room = bytes.len().saturating_sub(offset);
    let head = bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk::<HEAD_BYTES>())
        .ok_or(Problem::Length {
            len: u64_of(HEAD_BYTES),
            room: u64_of(room),
        })?;
    let head = Head::decode(head, seed)?;
    let expected = Lsn::new(first.get() + u64_of(offset));
    if head.lsn != expected {
        return Err(Problem::Misplaced {
            expected,
            found: head.lsn,
        });
    }
    Ok(head)
}

/// Reads the record at `offset` and checks everything, `before` being the chain so far.
pub(super) fn record_at(
    bytes: &[u8],
    offset: usize,
    first: Lsn,
    seed: u32,
    before: u32,
) -> Result<Found<'_>, Problem> {
    let head = head_at(bytes, offset, first, seed)?;
    let payload = bytes
        .get(offset + HEAD_BYTES..offset.saturating_add(head.record_bytes()))
        .ok_or(Problem::Length {
            len: u64_of(head.record_bytes()),
            room: u64_of(bytes.len() - offset),
        })?;
    let expected = head.chain_after(before, payload);
    if head.chain != expected {
        return Err(Problem::Chain {
            expected,
            found: head.chain,
        });
    }
    let payload = payload
        .get(..usize_of(u64::from(head.len)))
        .unwrap_or_default();
    Ok(Found { head, payload })
}

/// The chain after bytes that are no record: a segment's header.
pub(super) fn chain_over(before: u32, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(before);
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests;
