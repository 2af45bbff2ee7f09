//! The header that a segment begins with: one sector, part of the segment's first group. Frozen,
//! like the records' header.
//!
//! ```text
//!   0 "TNRSEG" and two zeros 8 bytes |  8 version u32 | 12 crc of bytes 16..112  u32
//!  16 cluster            16 bytes | 32 node   u64 | 40 incarnation             u64
//!  48 number             u64 | 56 bytes of the segment u64 | 64 first lsn        u64
//!  72 end of the log before u64 | 80 chain at that end u32 | 84 zeros u32
//!  88 groups before       u64 | 96 boot               u64 | 104 zeros            u64
//! ```
//! The same bytes stand again at 2048; what is left of the sector is filled with 0x5a, so that it
//! has no atom of zeros.

use super::bytes::part;
use super::damage::Problem;
use super::seal::{End, Summary};
use super::writer::Position;
use super::{Identity, SECTOR_BYTES};
use crate::ids::{Boot, ClusterId, Incarnation, Lsn, NodeId, SegmentNo};
use alloc::vec::Vec;
use bytes::{Buf, BufMut};
use crc32fast::hash;

const MAGIC: [u8; 8] = *b"TNRSEG\0\0";
const VERSION: u32 = 1;
const COPY_BYTES: usize = 112;
/// No log has so many bytes or groups; so there is always a next one.
const COUNTED_BELOW: u64 = 1 << 62;
const HALF: usize = SECTOR_BYTES / 2;
/// What fills bytes that mean nothing, so that no atom of a group is zero unless a payload is.
pub(super) const FILLER: u8 = 0x5a;

/// A segment's header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct SegmentHeader {
    pub(super) identity: Identity,
    pub(super) number: SegmentNo,
    pub(super) bytes: u64,
    pub(super) first: Lsn,
    pub(super) before: End,
    pub(super) groups: u64,
    pub(super) boot: Boot,
}

impl SegmentHeader {
    /// The whole sector.
    pub(super) fn encode(&self) -> Vec<u8> {
        let copy = self.copy();
        let mut sector = Vec::with_capacity(SECTOR_BYTES);
        for _ in 0..2 {
            sector.extend_from_slice(&copy);
            sector.resize(sector.len() + HALF - COPY_BYTES, FILLER);
        }
        assert!(sector.len() == SECTOR_BYTES, "a header fills one sector");
        sector
    }

    fn copy(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(COPY_BYTES);
        body.put_slice(&self.identity.cluster.0);
        body.put_u64_le(self.identity.node.get());
        body.put_u64_le(self.identity.incarnation.get());
        body.put_u64_le(self.number.get());
        body.put_u64_le(self.bytes);
        body.put_u64_le(self.first.get());
        body.put_u64_le(self.before.lsn.get());
        body.put_u32_le(self.before.chain);
        body.put_u32_le(0);
        body.put_u64_le(self.groups);
        body.put_u64_le(self.boot.get());
        body.put_u64_le(0);
        let mut copy = Vec::with_capacity(COPY_BYTES);
        copy.put_slice(&MAGIC);
        copy.put_u32_le(VERSION);
        copy.put_u32_le(hash(&body));
        copy.extend_from_slice(&body);
        assert!(copy.len() == COPY_BYTES, "a header has 112 bytes");
        copy
    }

    /// Reads the header of a segment from its first sector, which must be right in every byte.
    pub(super) fn decode(sector: &[u8]) -> Result<Self, Problem> {
        let wrong = Problem::SegmentHeader;
        let header = Self::decode_copy(part(sector, 0, COPY_BYTES))?;
        if header.encode() != part(sector, 0, SECTOR_BYTES) {
            return Err(wrong("its second copy or its filling is not as written"));
        }
        Ok(header)
    }

    /// Whether this header is the one that must stand here.
    pub(super) fn compare(&self, expected: &Self) -> Result<(), Problem> {
        if self.identity != expected.identity {
            return Err(Problem::SegmentHeader("it belongs to another log"));
        }
        let fields = [
            (
                "the segment's number",
                expected.number.get(),
                self.number.get(),
            ),
            ("the segment's length", expected.bytes, self.bytes),
            ("the first lsn", expected.first.get(), self.first.get()),
            (
                "the end of the log before",
                expected.before.lsn.get(),
                self.before.lsn.get(),
            ),
            (
                "the chain of the log before",
                expected.before.chain.into(),
                self.before.chain.into(),
            ),
            ("the number of groups before", expected.groups, self.groups),
        ];
        let wrong = fields
            .into_iter()
            .find(|(_, expected, found)| expected != found);
        match wrong {
            None => Ok(()),
            Some((what, expected, found)) => Err(Problem::Field {
                what,
                expected,
                found,
            }),
        }
    }

    /// Where the log goes on with this header's segment, if what was before it is gone: as the header
    /// says. It must be of this log, of the segment `number`, and of `segment_bytes`.
    pub(super) fn believe(
        &self,
        identity: &Identity,
        number: SegmentNo,
        segment_bytes: u64,
    ) -> Result<Position, Problem> {
        let own = Self {
            identity: *identity,
            number,
            bytes: segment_bytes,
            ..*self
        };
        self.compare(&own)?;
        let countable = |count: u64| count < COUNTED_BELOW;
        let ends = self.before.lsn <= self.first && self.groups > 0;
        if !(ends && countable(self.first.get()) && countable(self.groups)) {
            return Err(Problem::SegmentHeader(
                "the log that it says was before it can't have been",
            ));
        }
        Ok(Position {
            segment: number,
            segment_bytes,
            first: self.first,
            offset: 0,
            end: self.before,
            groups: self.groups,
            last: Summary::default(),
        })
    }

    fn decode_copy(bytes: &[u8]) -> Result<Self, Problem> {
        let wrong = Problem::SegmentHeader;
        let (mut head, mut body) = bytes
            .split_at_checked(16)
            .filter(|(_, body)| body.len() == COPY_BYTES - 16)
            .ok_or(wrong("the segment is too short"))?;
        if !head.starts_with(&MAGIC) {
            return Err(wrong("it does not begin with TNRSEG"));
        }
        head.advance(MAGIC.len());
        let version = head.get_u32_le();
        let found = head.get_u32_le();
        let expected = hash(body);
        if found != expected {
            return Err(Problem::HeadCrc { expected, found });
        }
        if version != VERSION {
            return Err(wrong("its version is not 1"));
        }
        let mut cluster = [0; 16];
        body.copy_to_slice(&mut cluster);
        let identity = Identity {
            cluster: ClusterId(cluster),
            node: NodeId::new(body.get_u64_le()),
            incarnation: Incarnation::new(body.get_u64_le()),
        };
        let (number, bytes) = (SegmentNo::new(body.get_u64_le()), body.get_u64_le());
        let first = Lsn::new(body.get_u64_le());
        let before = End {
            lsn: Lsn::new(body.get_u64_le()),
            chain: body.get_u32_le(),
        };
        body.advance(4);
        Ok(Self {
            identity,
            number,
            bytes,
            first,
            before,
            groups: body.get_u64_le(),
            boot: Boot::new(body.get_u64_le()),
        })
    }
}

#[cfg(test)]
mod tests;
