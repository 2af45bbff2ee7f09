//! One group: read whole, or judged.

use super::Verdict;
use crate::hash::hash64;
use crate::ids::{GroupId, Lsn, SegmentNo, Slot};
use crate::wal::bytes::{is_zero, part, u64_of, written_end};
use crate::wal::damage::{Damage, Problem};
use crate::wal::record::{ALIGN, Found, HEAD_BYTES, Kind, head_at, record_at};
use crate::wal::seal::{Seal, Sealed};
use crate::wal::{ATOM_BYTES, SECTOR_BYTES};
use alloc::vec::Vec;

/// A segment under examination.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    pub(super) number: SegmentNo,
    pub(super) bytes: &'a [u8],
    pub(super) first: Lsn,
    pub(super) seed: u32,
}

impl Segment<'_> {
    pub(super) fn lsn(&self, offset: usize) -> Lsn {
        Lsn::new(self.first.get() + u64_of(offset))
    }

    pub(super) fn damage(&self, offset: usize, slot: Option<Slot>, problem: Problem) -> Damage {
        Damage {
            segment: self.number,
            offset: u64_of(offset),
            slot,
            problem,
        }
    }
}

/// Where a group begins, and the chain before its first record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// Its first byte: its segment's header, if it opens one.
    pub(super) at: usize,
    /// Its first record.
    pub(super) records: usize,
    pub(super) chain: u32,
}

/// A group in which every checksum is right.
#[derive(Debug)]
pub(super) struct Whole<'a> {
    pub(super) records: Vec<(usize, Found<'a>)>,
    pub(super) seal: Seal,
    pub(super) end: usize,
    pub(super) chain: u32,
}

/// The first record of a group that can't be read.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) at: usize,
    pub(super) problem: Problem,
}

/// Reads records up to their seal.
pub(super) fn read<'a>(segment: &Segment<'a>, start: Start) -> Result<Whole<'a>, Broken> {
    let mut records = Vec::new();
    let (mut at, mut chain) = (start.records, start.chain);
    loop {
        let broken = |problem| Broken { at, problem };
        let found = record_at(segment.bytes, at, segment.first, segment.seed, chain)
            .and_then(|found| belongs(found, at - start.at))
            .map_err(broken)?;
        chain = found.head.chain;
        let end = at + found.head.record_bytes();
        match found.head.kind {
            Kind::Accepted | Kind::Decided | Kind::DecidedHint => records.push((at, found)),
            Kind::Pad => {}
            Kind::Seal => {
                let seal = Seal::decode(found.payload).map_err(broken)?;
                fits(segment, start, &records, &seal, end).map_err(broken)?;
                return Ok(Whole {
                    records,
                    seal,
                    end,
                    chain,
                });
            }
        }
        at = end;
    }
}

fn belongs(found: Found<'_>, back: usize) -> Result<Found<'_>, Problem> {
    let field = |what, expected, found| Problem::Field {
        what,
        expected,
        found,
    };
    if found.head.group != GroupId::new(0) {
        let group = u64::from(found.head.group.get());
        return Err(field("the replication group", 0, group));
    }
    let (expected, found_back) = (u64_of(back), u64::from(found.head.back));
    if expected != found_back {
        return Err(field(
            "the way back to the group's start",
            expected,
            found_back,
        ));
    }
    Ok(found)
}

/// Whether `seal` seals what was read.
fn fits(
    segment: &Segment<'_>,
    start: Start,
    records: &[(usize, Found<'_>)],
    seal: &Seal,
    end: usize,
) -> Result<(), Problem> {
    if !end.is_multiple_of(SECTOR_BYTES) {
        return Err(Problem::Seal("it does not end where a sector ends"));
    }
    if seal.group.start != segment.lsn(start.at) {
        return Err(Problem::Seal("it seals a group that begins elsewhere"));
    }
    let read = records.iter().map(|(_, found)| Sealed {
        back: found.head.back,
        len: found.head.len,
        kind: found.head.kind,
        chain: found.head.chain,
        slot: found.head.slot,
        ballot: found.head.ballot,
        hash: hash64(found.payload),
    });
    if !read.eq(seal.group.records.iter().copied()) {
        return Err(Problem::Seal("its list is not what stands before it"));
    }
    Ok(())
}

/// What can still be read of a group that is broken, and of what comes after it.
#[derive(Debug, Default)]
struct Traces {
    /// Its own seal, and where that ends.
    seal: Option<(Seal, usize)>,
    /// The next group's seal, which repeats this group's summary.
    next: Option<Seal>,
    /// Something of a later group is there.
    later: bool,
}

/// Looks at every place where a record may begin, from `start` to `end`.
fn traces(segment: &Segment<'_>, start: usize, end: usize) -> Traces {
    let group = segment.lsn(start);
    let mut traces = Traces::default();
    for at in (start..end).step_by(ALIGN) {
        // Cheaper than a checksum at every place.
        let lsn = segment.lsn(at).get().to_le_bytes();
        if part(segment.bytes, at + 8, at + 16) != lsn {
            continue;
        }
        let Ok(head) = head_at(segment.bytes, at, segment.first, segment.seed) else {
            continue;
        };
        traces.later |= head.group_start() > Some(group);
        if head.kind != Kind::Seal {
            continue;
        }
        let payload = at + HEAD_BYTES;
        let len = head.record_bytes() - HEAD_BYTES;
        let Ok(seal) = Seal::decode(part(segment.bytes, payload, payload + len)) else {
            continue;
        };
        if seal.group.start == group {
            traces.seal = Some((seal, payload + len));
        } else if seal.before.start == group {
            traces.next = Some(seal);
        }
    }
    traces
}

/// A group can't be read. Was it never wholly stored, so that nothing depends on it? Only one
/// group at a time is unsynced, so one with anything after it was synced, and is damaged.
pub(super) fn judge(
    segment: &Segment<'_>,
    start: Start,
    broken: Broken,
) -> Result<Verdict, Damage> {
    let bytes = segment.bytes;
    let written = written_end(bytes, start.at);
    let traces = traces(segment, start.at, written);
    let lost = if traces.later {
        None
    } else if is_zero(part(bytes, start.at, start.at + 8)) {
        // The first eight bytes are stored last: the stores were not finished.
        Some(Verdict::Torn)
    } else if let Some((seal, end)) = &traces.seal {
        let atoms = part(bytes, start.at, *end).chunks(ATOM_BYTES).enumerate();
        let torn = atoms
            .filter(|(index, _)| !seal.group.allows_zero(*index))
            .any(|(_, atom)| is_zero(atom));
        (torn && written <= *end).then_some(Verdict::Torn)
    } else {
        unsealed(segment, start, broken.at, written)
    };
    lost.ok_or_else(|| {
        let slot = slot_of(segment, start.at, broken.at, &traces);
        segment.damage(broken.at, slot, broken.problem)
    })
}

/// The verdict on the last group, if its seal is not readable. Records before `at` are whole, so
/// their zeros are theirs; every atom of what follows has something in it, if it was stored and
/// is no payload of zeros.
fn unsealed(segment: &Segment<'_>, start: Start, at: usize, written: usize) -> Option<Verdict> {
    let bytes = segment.bytes;
    if at >= written || is_zero(part(bytes, at, written)) {
        return Some(if at > start.records {
            Verdict::Unsealed
        } else {
            Verdict::Torn
        });
    }
    let atom = at - at % ATOM_BYTES;
    let missing = part(bytes, atom, written).chunks(ATOM_BYTES).any(is_zero);
    let cut = !written.is_multiple_of(SECTOR_BYTES) || at + HEAD_BYTES > written;
    let longer = head_at(bytes, at, segment.first, segment.seed)
        .is_ok_and(|head| at + head.record_bytes() > written);
    (missing || cut || longer).then_some(Verdict::Torn)
}

/// Whose record is damaged, as far as anything tells.
fn slot_of(segment: &Segment<'_>, start: usize, at: usize, traces: &Traces) -> Option<Slot> {
    let own = traces.seal.as_ref().map(|(seal, _)| &seal.group);
    let repeated = traces.next.as_ref().map(|seal| &seal.before);
    if let Some(summary) = own.or(repeated) {
        return summary.slot_at(at - start);
    }
    let head = head_at(segment.bytes, at, segment.first, segment.seed).ok()?;
    (head.slot != Slot::default()).then_some(head.slot)
}
