//! A segment with any numbers in it behind right checksums: what a bug of the writer, and not a
//! disk, could leave. Made by the pictures in `docs/WAL.md`, not by the writer.

use super::image::{Image, identity};
use super::log::Said;
use crate::draw::Draw;
use bytes::BufMut;
use crc32fast::Hasher;
use tenure_core::hash::hash64;
use tenure_core::ids::SegmentNo;
use tenure_core::wal::SECTOR_BYTES;

const HEAD_BYTES: usize = 80;
const SEALED_BYTES: usize = 56;
const SEAL: u8 = 4;
const PAD: u8 = 5;

/// Groups of records, in which any number may be another than it should.
pub(super) fn strange_segment(draw: &mut Draw<'_>) {
    let mut image = Image::fresh();
    let segment = image.segment(SegmentNo::new(1));
    let mut forge = Forge::new(draw, segment.len());
    while !forge.draw.is_empty() && forge.bytes.len() + 6 * SECTOR_BYTES < segment.len() {
        forge.group();
    }
    let len = forge.bytes.len();
    segment[..len].copy_from_slice(&forge.bytes);
    if let Ok(tail) = image.recover() {
        image.settle(&tail);
        let said = Said::of(tail.done().0);
        let again = image.recover().expect("what was settled is whole");
        assert_eq!(Said::of(again.done().0), said, "and says the same");
    }
}

fn seed(segment: u64) -> u32 {
    let identity = identity();
    let mut hasher = Hasher::new();
    hasher.update(&identity.cluster.0);
    hasher.update(&identity.node.get().to_le_bytes());
    hasher.update(&identity.incarnation.get().to_le_bytes());
    hasher.update(&segment.to_le_bytes());
    hasher.finalize()
}

fn crc_from(before: u32, parts: &[&[u8]]) -> u32 {
    let mut hasher = Hasher::new_with_initial(before);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

struct Forge<'d, 'a> {
    draw: &'d mut Draw<'a>,
    bytes: Vec<u8>,
    chain: u32,
    groups: u64,
    /// The group's first byte, and the seal's words about its records.
    start: usize,
    sealed: Vec<u8>,
    /// The same of the group before, and its end.
    before: (u64, Vec<u8>, u64, u32),
}

impl<'d, 'a> Forge<'d, 'a> {
    fn new(draw: &'d mut Draw<'a>, len: usize) -> Self {
        let mut forge = Self {
            draw,
            bytes: Vec::new(),
            chain: 0,
            groups: 0,
            start: 0,
            sealed: Vec::new(),
            before: (0, Vec::new(), 0, seed(0)),
        };
        forge.header(len);
        forge
    }

    /// The number, or now and then another.
    fn number(&mut self, honest: u64) -> u64 {
        match self.draw.byte() {
            strange @ 250.. => self.draw.number() ^ u64::from(strange & 1),
            _ => honest,
        }
    }

    fn number32(&mut self, honest: usize) -> u32 {
        let honest = u64::try_from(honest).expect("a length fits 64 bits");
        let [low, _] = split(self.number(honest));
        low
    }

    /// The segment's header: two copies in one sector.
    fn header(&mut self, len: usize) {
        let mut body = Vec::new();
        body.put_slice(&identity().cluster.0);
        body.put_u64_le(identity().node.get());
        body.put_u64_le(identity().incarnation.get());
        let len = u64::try_from(len).expect("a length fits 64 bits");
        for honest in [1, len, 0, 0] {
            let number = self.number(honest);
            body.put_u64_le(number);
        }
        body.put_u64_le(u64::from(seed(0)));
        for honest in [0, 1, 0] {
            let number = self.number(honest);
            body.put_u64_le(number);
        }
        for _ in 0..2 {
            let from = self.bytes.len();
            self.bytes.put_slice(b"TNRSEG\0\0");
            self.bytes.put_u32_le(1);
            self.bytes.put_u32_le(crc32fast::hash(&body));
            self.bytes.put_slice(&body);
            self.bytes.resize(from + SECTOR_BYTES / 2, 0x5a);
        }
        self.chain = crc_from(seed(0), &[&self.bytes]);
    }

    fn group(&mut self) {
        self.start = if self.groups == 0 {
            0
        } else {
            self.bytes.len()
        };
        for _ in 0..self.draw.below(6) {
            let kind = 1 + self.draw.byte() % 3;
            let payload = if kind == 3 { Vec::new() } else { self.entry() };
            self.record(kind, &payload);
        }
        let seal = self.seal();
        let whole = self.bytes.len() + record_bytes(HEAD_BYTES + seal.len());
        let mut gap = whole.next_multiple_of(SECTOR_BYTES) - whole;
        if gap > 0 {
            if gap < HEAD_BYTES {
                gap += SECTOR_BYTES;
            }
            self.record(PAD, &vec![0x5a; gap - HEAD_BYTES]);
        }
        self.record(SEAL, &seal);
        let start = u64::try_from(self.start).expect("a length fits 64 bits");
        let end = u64::try_from(self.bytes.len()).expect("a length fits 64 bits");
        self.before = (start, std::mem::take(&mut self.sealed), end, self.chain);
        self.groups += 1;
    }

    /// An entry of no commands; or not even that.
    fn entry(&mut self) -> Vec<u8> {
        let mut entry = vec![1, self.draw.byte() % 4, 0, 0];
        let count = self.number32(0);
        entry.put_u32_le(count);
        entry.put_u64_le(self.draw.number());
        entry.resize(16 - usize::from(self.draw.byte() == 255), 0);
        entry
    }

    fn record(&mut self, kind: u8, payload: &[u8]) {
        let at = self.bytes.len();
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.put_u32_le(0);
        head.put_slice(&[kind, 0, 1, 0]);
        let lsn = self.number(u64::try_from(at).expect("a length fits 64 bits"));
        head.put_u64_le(lsn);
        head.put_u32_le(self.number32(payload.len()));
        head.put_u32_le(0); // the chain, when it is known
        head.put_u32_le(self.number32(0));
        head.put_u32_le(self.number32(at - self.start));
        let about = kind < SEAL;
        for honest in [1, 1, 2, 2, 0] {
            head.put_u64_le(if about { self.number(honest) } else { 0 });
        }
        head.put_u64_le(if about { self.draw.number() } else { 0 });
        let mut body = payload.to_vec();
        body.resize(record_bytes(HEAD_BYTES + payload.len()) - HEAD_BYTES, 0);
        self.chain = crc_from(self.chain, &[&head, &body]);
        head[20..24].copy_from_slice(&self.chain.to_le_bytes());
        let crc = crc_from(seed(1), &[&head[4..]]);
        head[..4].copy_from_slice(&crc.to_le_bytes());
        if about {
            self.sealed.put_slice(&head[28..32]); // back
            self.sealed.put_slice(&head[16..20]); // length
            self.sealed.put_slice(&[kind, 0, 0, 0]);
            self.sealed.put_slice(&head[20..24]); // chain
            self.sealed.put_slice(&head[72..80]); // slot
            self.sealed.put_slice(&head[40..64]); // ballot
            self.sealed.put_u64_le(hash64(payload));
        }
        self.bytes.put_slice(&head);
        self.bytes.put_slice(&body);
    }

    fn seal(&mut self) -> Vec<u8> {
        let (before_start, before, before_end, before_chain) = self.before.clone();
        let start = u64::try_from(self.start).expect("a length fits 64 bits");
        let mut seal = Vec::new();
        seal.put_u64_le(0);
        for honest in [1, self.groups + 1, 1, start, before_start, before_end] {
            let number = self.number(honest);
            seal.put_u64_le(number);
        }
        seal.put_u32_le(before_chain);
        let zeros = usize::from(self.draw.byte() > 250);
        for honest in [
            self.sealed.len() / SEALED_BYTES,
            before.len() / SEALED_BYTES,
            zeros,
            0,
            0,
        ] {
            let number = self.number32(honest);
            seal.put_u32_le(number);
        }
        seal.put_slice(&self.sealed);
        for _ in 0..2 * zeros {
            let number = self.draw.number();
            seal.put_u32_le(split(number)[0]);
        }
        seal.put_slice(&before);
        let check = hash64(&seal[8..]);
        seal[..8].copy_from_slice(&check.to_le_bytes());
        seal
    }
}

fn record_bytes(len: usize) -> usize {
    len.next_multiple_of(8)
}

/// The low and the high half.
fn split(number: u64) -> [u32; 2] {
    let bytes = number.to_le_bytes();
    let half = |from: usize| {
        let half = bytes[from..from + 4].try_into().expect("four bytes");
        u32::from_le_bytes(half)
    };
    [half(0), half(4)]
}
