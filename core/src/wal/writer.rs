//! Gathers records into groups. A group is what one sync makes durable.

use super::bytes::{is_zero, round_up, u32_of, u64_of, usize_of};
use super::index::{SlotIndex, Span};
use super::record::{HEAD_BYTES, Head, Kind, chain_over, record_bytes};
use super::seal::{Ack, End, Seal, Sealed, Summary, ZeroRun, payload_bytes_max};
use super::segment::{FILLER, SegmentHeader};
use super::{ATOM_BYTES, Identity, SECTOR_BYTES, Sizes};
use crate::entry::Entry;
use crate::hash::hash64;
use crate::ids::{Boot, Epoch, Lsn, RecordNo, SegmentNo, Slot};
use crate::replica::record::Record;
use alloc::vec::Vec;
use bytes::{BufMut, Bytes, BytesMut};

/// Bytes to store at one place of one segment, and then to sync. Nothing but this, and the zeros
/// from which a segment begins, is ever written to a segment; no byte is written twice.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    /// The segment. If `offset` is 0, this group opens it: until now it was zero in every byte.
    pub segment: SegmentNo,
    /// Where in the segment: a multiple of [`SECTOR_BYTES`].
    pub offset: u64,
    /// What: a multiple of [`SECTOR_BYTES`] long. Where memory is mapped, the first eight bytes
    /// must be stored last (see [`Group::halves`]).
    pub bytes: Bytes,
    /// Once synced, every record up to this one is durable.
    pub through: RecordNo,
}

impl Group {
    /// The first eight bytes, and the others: the others are stored first.
    pub fn halves(&self) -> ([u8; 8], &[u8]) {
        let Some((first, others)) = self.bytes.split_first_chunk::<8>() else {
            panic!("a group has at least one sector");
        };
        (*first, others)
    }
}

/// Why a record was not taken. Nothing was changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AppendError {
    /// The group has no room for it: seal, and try again.
    #[error("the group is full")]
    Full,
    /// No segment has room for it.
    #[error("a record of {bytes} bytes does not fit in a segment of {segment_bytes}")]
    TooLarge {
        /// The record's payload.
        bytes: usize,
        /// A segment.
        segment_bytes: u64,
    },
}

/// Where the log goes on.
#[derive(Clone, Debug)]
pub(super) struct Position {
    pub(super) segment: SegmentNo,
    pub(super) segment_bytes: u64,
    /// The lsn of the segment's first byte.
    pub(super) first: Lsn,
    /// The first free byte of the segment; 0 if it has no header yet.
    pub(super) offset: u64,
    /// The end of the last group, which may be in an earlier segment.
    pub(super) end: End,
    /// How many groups there are.
    pub(super) groups: u64,
    /// The last of them.
    pub(super) last: Summary,
}

impl Position {
    /// Where a log without any group goes on.
    pub(super) fn fresh(identity: &Identity, segment: SegmentNo, segment_bytes: u64) -> Self {
        let end = End {
            lsn: Lsn::new(0),
            chain: identity.seed(SegmentNo::new(0)),
        };
        Self {
            segment,
            segment_bytes,
            first: Lsn::new(0),
            offset: 0,
            end,
            groups: 0,
            last: Summary::default(),
        }
    }
}

/// Gathers records, and gives groups of them.
#[derive(Debug)]
pub struct Writer {
    identity: Identity,
    boot: Boot,
    epoch: Epoch,
    sizes: Sizes,
    at: Position,
    through: RecordNo,
    acks: Vec<Ack>,
    /// Records end to end, their headers not yet filled in, behind room for a segment header.
    gathered: BytesMut,
    heads: Vec<Head>,
    index: SlotIndex,
    /// Whether the last group opened its segment, which may not be synced yet.
    opened: bool,
}

impl Writer {
    pub(super) fn new(
        identity: Identity,
        boot: Boot,
        sizes: Sizes,
        at: Position,
        index: SlotIndex,
    ) -> Self {
        Self {
            identity,
            boot,
            epoch: Epoch::new(1),
            sizes,
            at,
            through: RecordNo::default(),
            acks: Vec::new(),
            gathered: BytesMut::zeroed(SECTOR_BYTES),
            heads: Vec::new(),
            index,
            opened: false,
        }
    }

    /// Takes a record. `number` is one more than the last of this boot.
    pub fn append(&mut self, number: RecordNo, record: &Record) -> Result<(), AppendError> {
        let (head, payload) = self.head_of(record);
        let bytes = self.gathered.len() - SECTOR_BYTES + record_bytes(payload.len());
        if !self.fits(bytes, self.heads.len() + 1) {
            return Err(if self.heads.is_empty() {
                AppendError::TooLarge {
                    bytes: payload.len(),
                    segment_bytes: self.room_max(),
                }
            } else {
                AppendError::Full
            });
        }
        assert!(
            self.through == RecordNo::default() || number == self.through.next(),
            "records are appended in the order of their numbers, without gaps"
        );
        self.through = number;
        self.push(head, payload);
        Ok(())
    }

    /// Closes the group: the bytes to store and sync, or nothing if nothing was gathered.
    pub fn seal(&mut self) -> Option<Group> {
        (!self.heads.is_empty()).then(|| self.close())
    }

    /// An empty group, so that no group with records is the last thing in the log (rule 12). To
    /// be stored and synced [`crate::limits::TRAILING_SEAL_AFTER`] after the last group, and once
    /// at every start. Nothing if there is one already, or if records wait for a seal.
    pub fn trailing_seal(&mut self) -> Option<Group> {
        (self.heads.is_empty() && self.wants_trailing_seal()).then(|| self.close())
    }

    /// Whether the last group has records (or there is no group), so that a trailing seal is due.
    pub fn wants_trailing_seal(&self) -> bool {
        self.at.groups == 0 || !self.at.last.records.is_empty()
    }

    /// Whether nothing was gathered since the last seal.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// The acknowledgements of peers that every seal from now on carries (rule 8).
    pub fn remember_acks(&mut self, acks: Vec<Ack>) {
        assert!(
            acks.len() <= crate::limits::MEMBERS_MAX,
            "a seal carries one acknowledgement of each member"
        );
        self.acks = acks;
    }

    /// Where decided entries are found. Knows a group as soon as it is sealed.
    pub fn index(&self) -> &SlotIndex {
        &self.index
    }

    /// The segment with which the log may begin, if what it holds up to slot `upto` is not needed
    /// any more: none before it holds an entry above `upto`, and itself is synced with its header.
    pub fn first_needed(&self, upto: Slot) -> SegmentNo {
        let last = self.at.segment;
        // Groups before the last one are synced; so the segment is safe once it has two.
        let end = if self.opened { last.before() } else { last };
        self.index.first_above(upto, end)
    }

    /// Says that the segments before `first` are gone: nothing is found in them any more.
    pub fn forget_before(&mut self, first: SegmentNo) {
        assert!(
            first <= self.at.segment,
            "the segment that is written to stays"
        );
        self.index.forget_before(first);
    }

    /// The segment that the last group went to.
    pub fn segment(&self) -> SegmentNo {
        self.at.segment
    }

    /// How large the segment after the present one must be, if it is made now.
    pub fn next_segment(&self) -> (SegmentNo, u64) {
        let number = self.at.segment.next();
        (number, self.sizes.of(number))
    }

    /// Bytes left in the present segment: a group of so many, and all smaller ones, needs no
    /// other.
    pub fn room(&self) -> u64 {
        self.at.segment_bytes - self.at.offset
    }

    /// Whether the group gathered so far, with `more` bytes of payload in one record, may need
    /// the next segment.
    pub fn may_need_next_segment(&self, more: usize) -> bool {
        let bytes = self.gathered.len() - SECTOR_BYTES + record_bytes(more);
        let group = self.group_bytes_max(bytes, self.heads.len() + 1);
        self.at.offset > 0 && u64_of(group) > self.room()
    }

    fn head_of<'r>(&self, record: &'r Record) -> (Head, &'r [u8]) {
        let entry_bytes = |entry: &'r Entry| entry.bytes().as_ref();
        match record {
            Record::Accepted {
                ballot,
                base,
                slot,
                entry,
            } => {
                let head = Head {
                    epoch: ballot.epoch,
                    ballot: *ballot,
                    base: *base,
                    slot: *slot,
                    ..Head::of(Kind::Accepted)
                };
                (head, entry_bytes(entry))
            }
            Record::Decided { slot, entry } => {
                let head = Head {
                    epoch: self.epoch,
                    slot: *slot,
                    ..Head::of(Kind::Decided)
                };
                (head, entry_bytes(entry))
            }
            Record::DecidedHint { upto } => {
                let head = Head {
                    epoch: self.epoch,
                    slot: *upto,
                    ..Head::of(Kind::DecidedHint)
                };
                (head, &[])
            }
        }
    }

    /// Adds a record whose header is filled in when its place is known.
    fn push(&mut self, head: Head, payload: &[u8]) {
        let start = self.gathered.len();
        self.gathered.put_bytes(0, HEAD_BYTES);
        self.gathered.put_slice(payload);
        self.gathered.resize(start + record_bytes(payload.len()), 0);
        self.heads.push(Head {
            len: u32_of(payload.len()),
            ..head
        });
    }

    fn room_max(&self) -> u64 {
        if self.at.offset == 0 {
            self.at.segment_bytes
        } else {
            self.sizes.of(self.at.segment.next())
        }
    }

    fn fits(&self, bytes: usize, records: usize) -> bool {
        let group = self
            .group_bytes_max(bytes, records)
            .saturating_add(SECTOR_BYTES);
        u64_of(group) <= self.room_max()
    }

    /// Bytes of a group at most, without a segment's header.
    fn group_bytes_max(&self, bytes: usize, records: usize) -> usize {
        let seal = payload_bytes_max(records, bytes, &self.at.last, self.acks.len());
        // A pad has at least its header, and a sector more if the gap is smaller than that.
        let whole = bytes + record_bytes(seal) + 2 * HEAD_BYTES;
        round_up(whole, SECTOR_BYTES)
    }

    fn close(&mut self) -> Group {
        let opens = self.choose_place();
        self.opened = opens;
        let mut bytes = core::mem::replace(&mut self.gathered, BytesMut::zeroed(SECTOR_BYTES));
        let heads = core::mem::take(&mut self.heads);
        let mut chain = self.at.end.chain;
        let mut bytes = if opens {
            let header = self.segment_header().encode();
            chain = chain_over(chain, &header);
            if let Some(place) = bytes.get_mut(..SECTOR_BYTES) {
                place.copy_from_slice(&header);
            }
            bytes
        } else {
            bytes.split_off(SECTOR_BYTES)
        };
        let header = if opens { u64_of(SECTOR_BYTES) } else { 0 };
        let group = self.seal_group(&mut bytes, heads, opens, chain);
        let span = Span {
            segment: group.segment,
            offset: group.offset + header,
            first: Lsn::new(self.at.first.get() + group.offset + header),
            len: u64_of(group.bytes.len()) - header,
            chain,
        };
        self.index.add(span, self.at.last.slots());
        group
    }

    /// Takes the next segment if this one has no room. Says whether the group opens its segment.
    fn choose_place(&mut self) -> bool {
        let bytes = self.gathered.len() - SECTOR_BYTES;
        let group = u64_of(self.group_bytes_max(bytes, self.heads.len()));
        if self.at.offset > 0 && group > self.room() {
            let (number, segment_bytes) = self.next_segment();
            self.at.first = Lsn::new(self.at.first.get() + self.at.segment_bytes);
            self.at.segment = number;
            self.at.segment_bytes = segment_bytes;
            self.at.offset = 0;
        }
        self.at.offset == 0
    }

    fn segment_header(&self) -> SegmentHeader {
        SegmentHeader {
            identity: self.identity,
            number: self.at.segment,
            bytes: self.at.segment_bytes,
            first: self.at.first,
            before: self.at.end,
            groups: self.at.groups,
            boot: self.boot,
        }
    }

    fn seal_group(
        &mut self,
        bytes: &mut BytesMut,
        heads: Vec<Head>,
        opens: bool,
        chain: u32,
    ) -> Group {
        let start = Lsn::new(self.at.first.get() + self.at.offset);
        let mut placing = Placing {
            seed: self.identity.seed(self.at.segment),
            start,
            at: if opens { SECTOR_BYTES } else { 0 },
            chain,
            sealed: Vec::with_capacity(heads.len()),
        };
        for head in heads {
            placing.place(bytes, head);
        }
        let seal = Seal {
            boot: self.boot,
            number: self.at.groups + 1,
            through: self.through,
            group: Summary {
                start,
                zeros: zero_runs(bytes),
                records: core::mem::take(&mut placing.sealed),
            },
            before: core::mem::take(&mut self.at.last),
            before_end: self.at.end,
            acks: self.acks.clone(),
        };
        placing.pad(bytes, &seal);
        placing.add(bytes, Head::of(Kind::Seal), &seal.encode());
        let offset = self.at.offset;
        self.at.offset += u64_of(bytes.len());
        assert!(
            bytes.len().is_multiple_of(SECTOR_BYTES) && self.at.offset <= self.at.segment_bytes,
            "a group is whole sectors, and never spans segments"
        );
        self.at.end = End {
            lsn: Lsn::new(start.get() + u64_of(bytes.len())),
            chain: placing.chain,
        };
        self.at.groups += 1;
        self.at.last = seal.group;
        Group {
            segment: self.at.segment,
            offset,
            bytes: core::mem::take(bytes).freeze(),
            through: self.through,
        }
    }
}

/// Fills in headers, one record after another.
struct Placing {
    seed: u32,
    start: Lsn,
    at: usize,
    chain: u32,
    sealed: Vec<Sealed>,
}

impl Placing {
    /// Places the record whose payload is already there.
    fn place(&mut self, bytes: &mut BytesMut, head: Head) {
        let mut head = Head {
            lsn: Lsn::new(self.start.get() + u64_of(self.at)),
            back: u32_of(self.at),
            ..head
        };
        let end = self.at + head.record_bytes();
        let Some((header, payload)) = bytes
            .get_mut(self.at..end)
            .and_then(|record| record.split_first_chunk_mut::<HEAD_BYTES>())
        else {
            panic!("a gathered record lies in the group's bytes");
        };
        head.chain = head.chain_after(self.chain, payload);
        *header = head.encode(self.seed);
        let len = usize_of(u64::from(head.len));
        if !matches!(head.kind, Kind::Seal | Kind::Pad) {
            self.sealed.push(Sealed {
                back: head.back,
                len: head.len,
                kind: head.kind,
                chain: head.chain,
                slot: head.slot,
                ballot: head.ballot,
                hash: hash64(payload.get(..len).unwrap_or_default()),
            });
        }
        self.chain = head.chain;
        self.at = end;
    }

    /// Adds a record at the end.
    fn add(&mut self, bytes: &mut BytesMut, head: Head, payload: &[u8]) {
        bytes.put_bytes(0, HEAD_BYTES);
        bytes.put_slice(payload);
        bytes.resize(self.at + record_bytes(payload.len()), 0);
        let len = u32_of(payload.len());
        self.place(bytes, Head { len, ..head });
    }

    /// Adds what makes the seal end where a sector ends.
    fn pad(&mut self, bytes: &mut BytesMut, seal: &Seal) {
        let seal_bytes = record_bytes(seal.payload_bytes());
        let whole = self.at + seal_bytes;
        let gap = whole.next_multiple_of(SECTOR_BYTES) - whole;
        if gap == 0 {
            return;
        }
        let gap = if gap < HEAD_BYTES {
            gap + SECTOR_BYTES
        } else {
            gap
        };
        self.add(bytes, Head::of(Kind::Pad), &filler(gap - HEAD_BYTES));
    }
}

fn filler(len: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(len);
    bytes.put_bytes(FILLER, len);
    bytes.freeze()
}

/// The whole atoms of `bytes` that are all zero.
fn zero_runs(bytes: &[u8]) -> Vec<ZeroRun> {
    let mut runs: Vec<ZeroRun> = Vec::new();
    for (index, atom) in bytes.chunks_exact(ATOM_BYTES).enumerate() {
        if !is_zero(atom) {
            continue;
        }
        let index = u32_of(index);
        match runs.last_mut() {
            Some(run) if run.first + run.count == index => run.count += 1,
            Some(_) | None => runs.push(ZeroRun {
                first: index,
                count: 1,
            }),
        }
    }
    runs
}

#[cfg(test)]
mod tests;
