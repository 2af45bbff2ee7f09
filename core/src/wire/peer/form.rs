//! The form of a message on the wire, apart from the live type: a head of plain numbers, and the
//! raw bytes of entries and commands behind it, whose lengths the head lists.

use super::FrameError;
use crate::config::Mark;
use crate::entry::{Entry, Start};
use crate::ids::{Ballot, NodeId, Slot, SnapshotId};
use crate::limits::PROPOSALS_MAX;
use crate::replica::fitness::Fitness;
use crate::replica::fitness::Space;
use crate::replica::message::Beat;
use crate::replica::message::Message;
use crate::replica::message::Proposal;
use crate::replica::message::Refused;
use crate::replica::message::Report;
use crate::replica::message::TimeHeard;
use crate::time::Stamp;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use core::marker::PhantomData;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// Parts of one message at most. Every list below keeps to it while it is read.
const PARTS_MAX: usize = PROPOSALS_MAX;

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct BeatForm(Ballot, u64, Stamp);

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct TimeHeardForm(Ballot, Stamp);

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct StartForm(Ballot, Slot);

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) enum SpaceForm {
    Enough,
    Low,
    Full,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct FitnessForm(bool, SpaceForm, bool, u32);

/// The length of a part.
type Len = u32;
type ReportList = List<(Slot, Ballot, Len)>;

// The order of the variants is their number on the wire: add at the end only.
#[derive(Serialize, Deserialize)]
pub(super) enum Head {
    Ping(u64, BeatForm, Slot, Mark),
    Pong(u64, Ballot, BeatForm, Slot, u64, FitnessForm),
    PreVote(Ballot, Slot),
    PreVoteReply(Ballot, bool, Ballot),
    Prepare(Ballot, Option<Slot>, bool),
    Promise(
        Ballot,
        Slot,
        Option<Slot>,
        Slot,
        TimeHeardForm,
        StartForm,
        ReportList,
    ),
    Accept(Ballot, Slot, Slot, Slot, List<Len>),
    Accepted(Ballot, Slot),
    Nack(Ballot, Ballot, Slot),
    CatchUp(Slot),
    Decided(Slot, Slot, List<Len>),
    ReadIndex(u64),
    ReadAt(u64, Slot, Stamp),
    Forward(List<(u64, Len)>),
    Refuse(RefusedForm, List<u64>),
    SnapshotOffer(SnapshotId, u32),
    SnapshotGet(SnapshotId, u32),
    SnapshotChunk(SnapshotId, u32, Len),
    HandOver(Option<NodeId>),
    TakeOver(Ballot),
    Outranked(Ballot, Ballot),
    SnapshotWish(Slot),
}

#[derive(Serialize, Deserialize)]
pub(super) enum RefusedForm {
    NotLeader,
    Busy,
    DiskFull,
}

// A table reads better with one message a line.
#[rustfmt::skip]
impl Head {
    /// The head of `message`; its raw bytes are added to `parts`, shared.
    pub(super) fn of(message: &Message, parts: &mut Vec<Bytes>) -> Self {
        use Message as M;
        match message {
            M::Ping { round, beat, decided, mark } => Self::Ping(*round, beat_form(beat), *decided, *mark),
            M::Pong { round, promised, beat, decided, clock_ns, fitness } => {
                Self::Pong(*round, *promised, beat_form(beat), *decided, *clock_ns, fitness_form(*fitness))
            }
            M::PreVote { ballot, decided } => Self::PreVote(*ballot, *decided),
            M::PreVoteReply { ballot, granted, promised } => Self::PreVoteReply(*ballot, *granted, *promised),
            M::Prepare { ballot, from, goes_on } => Self::Prepare(*ballot, *from, *goes_on),
            M::Promise { ballot, first, next, decided, heard, started, reports } => {
                let report = |report: &Report| (report.slot, report.ballot, push(parts, report.entry.bytes()));
                let (heard, started) = (TimeHeardForm(heard.ballot, heard.stamp), StartForm(started.ballot, started.slot));
                Self::Promise(*ballot, *first, *next, *decided, heard, started, List::of(reports.iter().map(report)))
            }
            M::Accept { ballot, base, first, entries, commit } => {
                Self::Accept(*ballot, *base, *first, *commit, entry_list(entries, parts))
            }
            M::Accepted { ballot, upto } => Self::Accepted(*ballot, *upto),
            M::Nack { ballot, promised, want } => Self::Nack(*ballot, *promised, *want),
            M::CatchUp { from } => Self::CatchUp(*from),
            M::Decided { first, entries, decided } => Self::Decided(*first, *decided, entry_list(entries, parts)),
            M::ReadIndex { nonce } => Self::ReadIndex(*nonce),
            M::ReadAt { nonce, slot, stamp } => Self::ReadAt(*nonce, *slot, *stamp),
            M::Forward { proposals } => {
                let proposal = |one: &Proposal| (one.number, push(parts, &one.command));
                Self::Forward(List::of(proposals.iter().map(proposal)))
            }
            M::SnapshotOffer { id, chunks } => Self::SnapshotOffer(*id, *chunks),
            M::HandOver { to } => Self::HandOver(*to),
            M::TakeOver { ballot } => Self::TakeOver(*ballot),
            M::Outranked { ballot, promised } => Self::Outranked(*ballot, *promised),
            M::SnapshotWish { from } => Self::SnapshotWish(*from),
            M::SnapshotGet { id, index } => Self::SnapshotGet(*id, *index),
            M::SnapshotChunk { id, index, bytes } => Self::SnapshotChunk(*id, *index, push(parts, bytes)),
            M::Refuse { numbers, reason } => {
                let reason = match reason {
                    Refused::NotLeader => RefusedForm::NotLeader,
                    Refused::Busy => RefusedForm::Busy,
                    Refused::DiskFull => RefusedForm::DiskFull,
                };
                Self::Refuse(reason, List::of(numbers.iter().copied()))
            }
        }
    }

    /// The message, with slices of the frame as its raw bytes.
    pub(super) fn message(self, parts: &mut Parts<'_>) -> Result<Message, FrameError> {
        use Message as M;
        Ok(match self {
            Self::Ping(round, beat, decided, mark) => M::Ping { round, beat: beat_of(beat), decided, mark },
            Self::Pong(round, promised, beat, decided, clock_ns, fitness) => {
                M::Pong { round, promised, beat: beat_of(beat), decided, clock_ns, fitness: fitness_of(fitness) }
            }
            Self::PreVote(ballot, decided) => M::PreVote { ballot, decided },
            Self::PreVoteReply(ballot, granted, promised) => M::PreVoteReply { ballot, granted, promised },
            Self::Prepare(ballot, from, goes_on) => M::Prepare { ballot, from, goes_on },
            Self::Promise(ballot, first, next, decided, TimeHeardForm(by, stamp), StartForm(leader, slot), list) => {
                let (heard, started) = (TimeHeard { ballot: by, stamp }, Start { ballot: leader, slot });
                M::Promise { ballot, first, next, decided, heard, started, reports: parts.reports(list)? }
            }
            Self::Accept(ballot, base, first, commit, list) => {
                M::Accept { ballot, base, first, entries: parts.entries(list)?, commit }
            }
            Self::Accepted(ballot, upto) => M::Accepted { ballot, upto },
            Self::Nack(ballot, promised, want) => M::Nack { ballot, promised, want },
            Self::CatchUp(from) => M::CatchUp { from },
            Self::Decided(first, decided, list) => M::Decided { first, entries: parts.entries(list)?, decided },
            Self::ReadIndex(nonce) => M::ReadIndex { nonce },
            Self::ReadAt(nonce, slot, stamp) => M::ReadAt { nonce, slot, stamp },
            Self::Forward(list) => M::Forward { proposals: parts.proposals(list)? },
            Self::SnapshotOffer(id, chunks) => M::SnapshotOffer { id, chunks },
            Self::HandOver(to) => M::HandOver { to },
            Self::TakeOver(ballot) => M::TakeOver { ballot },
            Self::Outranked(ballot, promised) => M::Outranked { ballot, promised },
            Self::SnapshotWish(from) => M::SnapshotWish { from },
            Self::SnapshotGet(id, index) => M::SnapshotGet { id, index },
            Self::SnapshotChunk(id, index, len) => M::SnapshotChunk { id, index, bytes: parts.take(len)? },
            Self::Refuse(reason, list) => M::Refuse {
                numbers: list.0,
                reason: match reason {
                    RefusedForm::NotLeader => Refused::NotLeader,
                    RefusedForm::Busy => Refused::Busy,
                    RefusedForm::DiskFull => Refused::DiskFull,
                },
            },
        })
    }
}

/// Takes the parts of a frame, one after another.
pub(super) struct Parts<'a> {
    frame: &'a Bytes,
    at: usize,
}

impl<'a> Parts<'a> {
    pub(super) const fn new(frame: &'a Bytes, at: usize) -> Self {
        Self { frame, at }
    }

    fn take(&mut self, len: Len) -> Result<Bytes, FrameError> {
        let found = self.frame.len();
        let expected = usize::try_from(len).map_or(usize::MAX, |len| self.at.saturating_add(len));
        if expected > found {
            return Err(FrameError::Parts { expected, found });
        }
        let part = self.frame.slice(self.at..expected);
        self.at = expected;
        Ok(part)
    }

    fn entry(&mut self, len: Len) -> Result<Entry, FrameError> {
        let offset = self.at;
        Entry::parse(self.take(len)?).map_err(|error| FrameError::Entry { offset, error })
    }

    fn entries(&mut self, list: List<Len>) -> Result<Vec<Entry>, FrameError> {
        list.0.into_iter().map(|len| self.entry(len)).collect()
    }

    fn reports(&mut self, list: List<(Slot, Ballot, Len)>) -> Result<Vec<Report>, FrameError> {
        let report = |(slot, ballot, len)| {
            Ok(Report {
                slot,
                ballot,
                entry: self.entry(len)?,
            })
        };
        list.0.into_iter().map(report).collect()
    }

    fn proposals(&mut self, list: List<(u64, Len)>) -> Result<Vec<Proposal>, FrameError> {
        let proposal = |(number, len)| {
            let command = self.take(len)?;
            Ok(Proposal { number, command })
        };
        list.0.into_iter().map(proposal).collect()
    }

    /// Nothing stands after the last part.
    pub(super) fn finish(self) -> Result<(), FrameError> {
        let (expected, found) = (self.at, self.frame.len());
        if expected == found {
            Ok(())
        } else {
            Err(FrameError::Parts { expected, found })
        }
    }
}

fn push(parts: &mut Vec<Bytes>, bytes: &Bytes) -> Len {
    parts.push(bytes.clone());
    let len = Len::try_from(bytes.len());
    assert!(len.is_ok(), "a part is smaller than a frame");
    len.unwrap_or_default()
}

fn entry_list(entries: &[Entry], parts: &mut Vec<Bytes>) -> List<Len> {
    List::of(entries.iter().map(|entry| push(parts, entry.bytes())))
}

const fn beat_form(beat: &Beat) -> BeatForm {
    BeatForm(beat.ballot, beat.beat, beat.stamp)
}

const fn fitness_form(fitness: Fitness) -> FitnessForm {
    let space = match fitness.space {
        Space::Enough => SpaceForm::Enough,
        Space::Low => SpaceForm::Low,
        Space::Full => SpaceForm::Full,
    };
    FitnessForm(fitness.hears_quorum, space, fitness.stops, fitness.disk_us)
}

const fn fitness_of(form: FitnessForm) -> Fitness {
    let FitnessForm(hears_quorum, space, stops, disk_us) = form;
    let space = match space {
        SpaceForm::Enough => Space::Enough,
        SpaceForm::Low => Space::Low,
        SpaceForm::Full => Space::Full,
    };
    Fitness {
        hears_quorum,
        space,
        stops,
        disk_us,
    }
}

const fn beat_of(form: BeatForm) -> Beat {
    let BeatForm(ballot, beat, stamp) = form;
    Beat {
        ballot,
        beat,
        stamp,
    }
}

/// A list of at most [`PARTS_MAX`]: a longer one stops being read, whatever its length field says.
pub(super) struct List<T>(Vec<T>);

impl<T> List<T> {
    fn of(items: impl Iterator<Item = T>) -> Self {
        let list: Vec<T> = items.collect();
        assert!(list.len() <= PARTS_MAX, "whoever makes a message bounds it");
        Self(list)
    }
}

impl<T: Serialize> Serialize for List<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {PARTS_MAX}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<List<T>, A::Error> {
        let said = items.size_hint().unwrap_or(0);
        if said > PARTS_MAX {
            return Err(A::Error::invalid_length(said, &self));
        }
        let mut list = Vec::with_capacity(said.min(256));
        while let Some(item) = items.next_element()? {
            if list.len() == PARTS_MAX {
                return Err(A::Error::invalid_length(list.len(), &self));
            }
            list.push(item);
        }
        Ok(List(list))
    }
}
