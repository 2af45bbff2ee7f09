//! What a log that was left lying may be believed to say.

use self::group::{Broken, Segment, Start, Whole};
use self::winners::Winners;
use super::bytes::{is_zero, part, round_up, u64_of, usize_of, written_end};
use super::damage::{Damage, Problem};
use super::index::{SlotIndex, Span};
use super::record::{Found, chain_over};
use super::seal::End;
use super::segment::SegmentHeader;
use super::superblock::Superblock;
use super::writer::{Position, Writer};
use super::{SECTOR_BYTES, Sizes};
use crate::ids::{Lsn, SegmentNo, Slot};
use crate::replica::record::Recovered;

mod group;
mod winners;

/// How the log ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// With a seal, and zeros after it.
    Clean,
    /// With whole records that no seal covers: never synced, so never spoken of. Dropped.
    Unsealed,
    /// With a group that was not wholly stored: never synced, so never spoken of. Dropped.
    Torn,
}

/// Bytes of a segment to set to zero, and to sync.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Zeroing {
    /// The segment.
    pub segment: SegmentNo,
    /// The first byte.
    pub offset: u64,
    /// How many.
    pub len: u64,
}

/// The end of the log, and what must be done to it before anything that was recovered is spoken
/// of or written: a crash of the process alone leaves groups that can be read and are not synced.
#[derive(Debug)]
#[must_use = "the log can't be used before its end was made safe"]
pub struct Tail {
    /// How the log ended.
    pub verdict: Verdict,
    /// What to set to zero, first.
    pub zero: Option<Zeroing>,
    /// The segment to sync then, whatever the verdict.
    pub sync: SegmentNo,
    /// The first of the segments that are empty and may be used next or thrown away; all after it
    /// are too.
    pub spare: SegmentNo,
    recovered: Recovered,
    writer: Writer,
}

impl Tail {
    /// Says that the end was made safe.
    pub fn done(self) -> (Recovered, Writer) {
        (self.recovered, self.writer)
    }
}

/// A group at the end that is dropped, unless a later segment shows that it was synced.
#[derive(Debug)]
struct Dropped {
    verdict: Verdict,
    zero: Zeroing,
    damage: Damage,
}

/// The durable snapshot that the log is read above. Only [`Floor::of`] makes one, so no log is read
/// whose beginning is gone and stands in no snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Floor(Slot);

/// A snapshot was durable once, and is not there or not whole any more. The server must not start: the
/// log was truncated, or counted, with that snapshot below it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the log goes on from a snapshot of slot {needed} or a later one, and the newest whole snapshot is \
     of slot {found}"
)]
pub struct SnapshotMissing {
    /// The slot of a snapshot that must be there, or of a later one.
    pub needed: Slot,
    /// The slot of the newest whole snapshot; zero if there is none.
    pub found: Slot,
}

impl Floor {
    /// What the snapshots on the disk say: the newest one that is `whole` in every byte (zero: none
    /// is), and the newest one that is `named`, whole or not.
    ///
    /// An older one will not do, even if the log goes on from it: a peer's snapshot may have jumped
    /// over entries that were accepted here and never chosen, and a hint after it says of all slots
    /// below that they are decided.
    pub fn of(superblock: &Superblock, whole: Slot, named: Slot) -> Result<Self, SnapshotMissing> {
        let needed = superblock.snapshot.max(named);
        if whole < needed {
            return Err(SnapshotMissing {
                needed,
                found: whole,
            });
        }
        Ok(Self(whole))
    }
}

/// Reads a log, one segment after another.
#[derive(Debug)]
pub struct Recovery {
    superblock: Superblock,
    sizes: Sizes,
    next: SegmentNo,
    at: Option<Position>,
    dropped: Option<Dropped>,
    /// The first segment that is empty, after one that is not.
    empty: Option<SegmentNo>,
    winners: Winners,
    index: SlotIndex,
}

impl Recovery {
    /// The log that belongs to `superblock`, above `floor`, as it is for the boot that begins now.
    /// New segments will have `sizes`.
    pub fn new(superblock: &Superblock, sizes: Sizes, floor: Floor) -> Self {
        Self {
            next: superblock.first_segment,
            superblock: superblock.clone(),
            sizes,
            at: None,
            dropped: None,
            empty: None,
            winners: Winners::above(floor.0),
            index: SlotIndex::new(superblock.identity),
        }
    }

    /// The segment to hand in next.
    pub fn next_segment(&self) -> SegmentNo {
        self.next
    }

    /// Reads segment `number`, all of its bytes. Segments are handed in one after another, as many
    /// as there are; one with a hole in its numbers after it ends the log, and what comes after
    /// the hole must be handed to [`Self::hole`].
    pub fn segment(&mut self, number: SegmentNo, bytes: &[u8]) -> Result<(), Damage> {
        assert!(
            number == self.next,
            "segments are handed in one after another"
        );
        self.next = number.next();
        if is_zero(bytes) {
            if self.begins_late(number) {
                // The log was truncated to it only after its header was synced.
                return Err(missing(number));
            }
            self.empty.get_or_insert(number);
            if self.at.is_none() {
                let identity = &self.superblock.identity;
                self.at = Some(Position::fresh(identity, number, u64_of(bytes.len())));
            }
            return Ok(());
        }
        if let Some(segment) = self.empty {
            return Err(missing(segment));
        }
        if let Some(dropped) = &self.dropped {
            return Err(dropped.damage.clone());
        }
        let mut at = self.beginning(number, bytes)?;
        let segment = Segment {
            number,
            bytes,
            first: at.first,
            seed: self.superblock.identity.seed(number),
        };
        self.groups(&segment, &mut at)?;
        if at.offset > 0 || self.at.is_none() {
            self.at = Some(at);
        }
        Ok(())
    }

    /// Says that segment `number` is not there, although a later one is.
    pub fn hole(&self, number: SegmentNo) -> Damage {
        missing(number)
    }

    /// Whether segment `number` is the first one, and others were before it once.
    fn begins_late(&self, number: SegmentNo) -> bool {
        number == self.superblock.first_segment && number > SegmentNo::new(1)
    }

    /// Where the log goes on with a segment.
    fn beginning(&self, number: SegmentNo, bytes: &[u8]) -> Result<Position, Damage> {
        let identity = self.superblock.identity;
        let segment_bytes = u64_of(bytes.len());
        let late = self.begins_late(number);
        match &self.at {
            Some(at) => Ok(Position {
                segment: number,
                segment_bytes,
                first: Lsn::new(at.first.get() + at.segment_bytes),
                offset: 0,
                ..at.clone()
            }),
            // What was before is gone; the header remembers where it ended.
            None if late => SegmentHeader::decode(part(bytes, 0, SECTOR_BYTES))
                .and_then(|header| header.believe(&identity, number, segment_bytes))
                .map_err(|problem| Damage {
                    problem,
                    ..missing(number)
                }),
            None => Ok(Position::fresh(&identity, number, segment_bytes)),
        }
    }

    /// Whether the group at `at` is the first one that is left, so that nothing here tells of the
    /// one before it.
    fn is_first_left(&self, at: &Position) -> bool {
        at.offset == 0 && self.begins_late(at.segment)
    }

    /// Reads the segment's groups, until its end or the end of the log.
    fn groups(&mut self, segment: &Segment<'_>, at: &mut Position) -> Result<(), Damage> {
        loop {
            let offset = usize_of(at.offset);
            if offset > 0 && is_zero(part(segment.bytes, offset, segment.bytes.len())) {
                return Ok(());
            }
            let start = Start {
                at: offset,
                records: offset,
                chain: at.end.chain,
            };
            let start = match self.opening(segment, at, start)? {
                Ok(start) => start,
                Err(broken) => return self.drop_group(segment, start, broken),
            };
            match group::read(segment, start) {
                Ok(whole) => self.take(segment, at, start, whole)?,
                // Synced, or the log would not begin here.
                Err(broken) if self.is_first_left(at) => {
                    return Err(segment.damage(broken.at, None, broken.problem));
                }
                Err(broken) => return self.drop_group(segment, start, broken),
            }
        }
    }

    /// Reads the segment's header, if the group begins with it.
    fn opening(
        &self,
        segment: &Segment<'_>,
        at: &Position,
        start: Start,
    ) -> Result<Result<Start, Broken>, Damage> {
        if start.at > 0 {
            return Ok(Ok(start));
        }
        let sector = part(segment.bytes, 0, SECTOR_BYTES);
        let header = match SegmentHeader::decode(sector) {
            Ok(header) => header,
            Err(problem) => return Ok(Err(Broken { at: 0, problem })),
        };
        let expected = SegmentHeader {
            identity: self.superblock.identity,
            number: at.segment,
            bytes: at.segment_bytes,
            first: at.first,
            before: at.end,
            groups: at.groups,
            boot: header.boot,
        };
        let compared = header.compare(&expected);
        compared.map_err(|problem| match &self.at {
            // Whole groups are gone from the end of the segment before.
            Some(before) if header.before.lsn > before.end.lsn => Damage {
                segment: before.segment,
                offset: before.offset,
                slot: None,
                problem,
            },
            Some(_) | None => segment.damage(0, None, problem),
        })?;
        Ok(Ok(Start {
            records: SECTOR_BYTES,
            chain: chain_over(start.chain, sector),
            ..start
        }))
    }

    fn drop_group(
        &mut self,
        segment: &Segment<'_>,
        start: Start,
        broken: Broken,
    ) -> Result<(), Damage> {
        let damage = segment.damage(broken.at, None, broken.problem.clone());
        let verdict = group::judge(segment, start, broken)?;
        let end = round_up(written_end(segment.bytes, start.at), SECTOR_BYTES);
        self.dropped = Some(Dropped {
            verdict,
            zero: Zeroing {
                segment: segment.number,
                offset: u64_of(start.at),
                len: u64_of(end.min(segment.bytes.len()) - start.at),
            },
            damage,
        });
        Ok(())
    }

    /// Counts a whole group.
    fn take(
        &mut self,
        segment: &Segment<'_>,
        at: &mut Position,
        start: Start,
        whole: Whole<'_>,
    ) -> Result<(), Damage> {
        let seal_problem = if whole.seal.number != at.groups + 1 {
            Some("its number is not the next")
        } else if whole.seal.before_end != at.end
            || (whole.seal.before != at.last && !self.is_first_left(at))
        {
            Some("the group before it is not the one that it repeats")
        } else {
            None
        };
        if let Some(what) = seal_problem {
            return Err(segment.damage(start.at, None, Problem::Seal(what)));
        }
        for (offset, found) in &whole.records {
            let slot = Some(found.head.slot);
            let damage = |problem| segment.damage(*offset, slot, problem);
            self.check_promise(found).map_err(damage)?;
            let place = damage(Problem::Missing);
            self.winners.see(found, place).map_err(damage)?;
        }
        let span = Span {
            segment: segment.number,
            offset: u64_of(start.records),
            first: segment.lsn(start.records),
            len: u64_of(whole.end - start.records),
            chain: start.chain,
        };
        self.index.add(span, whole.seal.group.slots());
        at.offset = u64_of(whole.end);
        at.end = End {
            lsn: segment.lsn(whole.end),
            chain: whole.chain,
        };
        at.groups += 1;
        at.last = whole.seal.group;
        Ok(())
    }

    /// The promise is durable before any record of its ballot is written (rule 3).
    fn check_promise(&self, found: &Found<'_>) -> Result<(), Problem> {
        let promised = self.superblock.promised;
        if found.head.ballot > promised {
            return Err(Problem::PromiseLost {
                promised,
                found: found.head.ballot,
            });
        }
        Ok(())
    }

    /// The end of the log.
    pub fn finish(self) -> Result<Tail, Damage> {
        let superblock = self.superblock;
        let at = self.at.ok_or(missing(superblock.first_segment))?;
        let (started, followed) = (self.winners.started(), self.winners.followed());
        let bytes = self.winners.bytes();
        let (decided, accepted) = self.winners.finish()?;
        let boot = superblock.boot;
        Ok(Tail {
            verdict: self
                .dropped
                .as_ref()
                .map_or(Verdict::Clean, |dropped| dropped.verdict),
            zero: self.dropped.map(|dropped| dropped.zero),
            sync: at.segment,
            spare: at.segment.next(),
            recovered: Recovered {
                boot,
                promised: superblock.promised,
                membership: superblock.membership,
                decided,
                accepted,
                started,
                followed,
                bytes,
            },
            writer: Writer::new(superblock.identity, boot, self.sizes, at, self.index),
        })
    }
}

fn missing(segment: SegmentNo) -> Damage {
    Damage {
        segment,
        offset: 0,
        slot: None,
        problem: Problem::Missing,
    }
}
