//! The whole state as bytes: written in slices while the log is applied on, and read back into a
//! machine that goes on as the one that wrote it.
//!
//! Equal logs give equal bytes, on every server and whatever its history: tables give the lowest free
//! slot, so records stand in the same slots everywhere, and hold each other's names in the bytes as
//! they do in memory. What can be computed is not in the bytes: rings, counts, indexes, timers.
//!
//! ```text
//! content = version u16 · numbers · shared configuration · zones · vias · work · crowds · locks · lines · sessions · requests
//!           · grants · holds · tickets · places          little endian; cut into chunks at any byte
//! zones, vias, work = count u32 · records
//! table   = groups u32 · group*             one for each 64 slots, up to the last with a record
//! group   = mask u64 · records              bit n: slot n of the group has a record
//! ```
//! The name of a record is the number of its slot plus one; zero is none. A table names only records
//! of tables before it, but for the ticket that a remembered answer waits for.
//!
//! A snapshot is due when the entries since the last one have more bytes than a limit: at the same
//! slot everywhere (rule 37). [`Machine::open_snapshot`] at that slot begins the sweep, and
//! [`Machine::snapshot_slice`] writes a bounded part of it. A record that changes before the sweep
//! comes by leaves its old image in its table until then.

use super::table::Table;
use super::{Form, Machine};
use crate::entry::Entry;
use crate::hash::Stream64;
use crate::ids::{Slot, SnapshotId};
use alloc::vec::Vec;
use bytes::Bytes;
use form::Writer;
use records::Record;

mod answers;
mod form;
mod head;
mod rebuild;
mod records;
mod restore;
mod stored;

pub use restore::{Restore, RestoreError};

/// What one slice of a sweep gave.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Slice {
    /// Nothing yet: the chunk under construction is not full.
    More,
    /// The next chunk.
    Chunk {
        /// The snapshot's slot.
        slot: Slot,
        /// Which, from 0, one after another.
        index: u32,
        /// Its payload.
        bytes: Bytes,
    },
    /// The chunk before was the last one, and the snapshot is closed.
    Done {
        /// Which: its slot, and XXH3-64 of all payloads, each with its length (u32) behind it. So equal
        /// names have equal chunks, whatever size of chunk a server was told to make.
        id: SnapshotId,
        /// How many chunks it has.
        chunks: u32,
    },
}

/// A snapshot that is being written.
#[derive(Debug)]
pub(super) struct Sweeping {
    slot: Slot,
    /// Groups of each table.
    groups: [usize; 9],
    section: Section,
    /// What was written and is not in a chunk yet.
    out: Vec<u8>,
    chunk_bytes: usize,
    chunks: u32,
    hash: Stream64,
}

/// The parts of the content, in their order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Section {
    Numbers,
    Zones,
    Vias,
    Work,
    Crowds,
    Locks,
    Lines,
    Sessions,
    Requests,
    Grants,
    Holds,
    Tickets,
    Places,
    End,
}

impl Section {
    const fn next(self) -> Self {
        match self {
            Self::Numbers => Self::Zones,
            Self::Zones => Self::Vias,
            Self::Vias => Self::Work,
            Self::Work => Self::Crowds,
            Self::Crowds => Self::Locks,
            Self::Locks => Self::Lines,
            Self::Lines => Self::Sessions,
            Self::Sessions => Self::Requests,
            Self::Requests => Self::Grants,
            Self::Grants => Self::Holds,
            Self::Holds => Self::Tickets,
            Self::Tickets => Self::Places,
            Self::Places | Self::End => Self::End,
        }
    }
}

impl Machine {
    /// The slot of the last entry, if that entry made a snapshot due. One that is still being
    /// written then goes on, and this one is skipped.
    pub fn snapshot_due(&self) -> Option<Slot> {
        self.snapshot_due.then_some(self.applied)
    }

    /// The slot of the snapshot that is being written.
    pub fn snapshot_open(&self) -> Option<Slot> {
        self.sweeping.as_ref().map(|sweeping| sweeping.slot)
    }

    pub(super) fn count_bytes(&mut self, entry: &Entry) {
        let bytes = u64::try_from(entry.bytes().len()).unwrap_or(u64::MAX);
        self.log_bytes += bytes.max(self.limits.snapshot_entry_bytes_min);
        self.snapshot_due = self.log_bytes > self.limits.snapshot_bytes;
        if self.snapshot_due {
            self.log_bytes = 0;
        }
    }

    /// Begins a snapshot of the state as it is now. At most one is written at a time.
    pub fn open_snapshot(&mut self) {
        assert!(self.sweeping.is_none(), "one snapshot at a time");
        assert!(
            self.form == Form::Full,
            "who has not all can't write it down"
        );
        let mut out = Vec::new();
        head::put_all(&mut Writer(&mut out), self);
        self.sweeping = Some(Sweeping {
            slot: self.applied,
            groups: [
                self.crowds.open(),
                self.locks.open(),
                self.lines.open(),
                self.sessions.open(),
                self.requests.open(),
                self.grants.open(),
                self.holds.open(),
                self.tickets.open(),
                self.places.open(),
            ],
            section: Section::Work,
            out,
            chunk_bytes: self.limits.snapshot_chunk_bytes.max(1),
            chunks: 0,
            hash: Stream64::new(),
        });
    }

    /// Goes on with the snapshot that is being written: about `records_max` records, and at most one
    /// chunk. None if none is.
    pub fn snapshot_slice(&mut self, records_max: usize) -> Option<Slice> {
        let mut sweeping = self.sweeping.take()?;
        let mut left = records_max.max(1);
        while left > 0 && sweeping.wants_more() {
            left = left.saturating_sub(self.sweep_group(&mut sweeping));
        }
        let slice = sweeping.cut();
        if !matches!(slice, Slice::Done { .. }) {
            self.sweeping = Some(sweeping);
        }
        Some(slice)
    }

    /// Writes the next group of the section, or goes on to the next section. Returns what it took,
    /// in records; what is no record takes as much as one.
    fn sweep_group(&mut self, to: &mut Sweeping) -> usize {
        let swept = match to.section {
            Section::Crowds => sweep_table(&mut self.crowds, &mut to.out),
            Section::Locks => sweep_table(&mut self.locks, &mut to.out),
            Section::Lines => sweep_table(&mut self.lines, &mut to.out),
            Section::Sessions => sweep_table(&mut self.sessions, &mut to.out),
            Section::Requests => sweep_table(&mut self.requests, &mut to.out),
            Section::Grants => sweep_table(&mut self.grants, &mut to.out),
            Section::Holds => sweep_table(&mut self.holds, &mut to.out),
            Section::Tickets => sweep_table(&mut self.tickets, &mut to.out),
            Section::Places => sweep_table(&mut self.places, &mut to.out),
            Section::Numbers | Section::Zones | Section::Vias | Section::Work | Section::End => {
                None
            }
        };
        if let Some(records) = swept {
            return 1 + records;
        }
        to.begin_next();
        1
    }
}

/// Writes one group; the number of its records. None at the end of the table.
fn sweep_table<T: Record + Clone>(table: &mut Table<T>, out: &mut Vec<u8>) -> Option<usize> {
    let start = out.len();
    let mut to = Writer(out);
    to.u64(0);
    let Some(used) = table.sweep(|record| record.put(&mut to)) else {
        out.truncate(start);
        return None;
    };
    if let Some(mask) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
        *mask = used.to_le_bytes();
    }
    usize::try_from(used.count_ones()).ok()
}

/// The hash in the name of a snapshot with these chunks.
pub fn hash_of<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> u64 {
    let mut hash = Stream64::new();
    for chunk in chunks {
        hash_chunk(&mut hash, chunk);
    }
    hash.digest()
}

/// Adds a chunk, and where it ends.
fn hash_chunk(hash: &mut Stream64, payload: &[u8]) {
    hash.update(payload);
    let bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    hash.update(&bytes.to_le_bytes());
}

impl Sweeping {
    fn wants_more(&self) -> bool {
        self.section != Section::End && self.out.len() < self.chunk_bytes
    }

    fn begin_next(&mut self) {
        self.section = self.section.next();
        let [
            crowds,
            locks,
            lines,
            sessions,
            requests,
            grants,
            holds,
            tickets,
            places,
        ] = self.groups;
        let groups = match self.section {
            Section::Crowds => crowds,
            Section::Locks => locks,
            Section::Lines => lines,
            Section::Sessions => sessions,
            Section::Requests => requests,
            Section::Grants => grants,
            Section::Holds => holds,
            Section::Tickets => tickets,
            Section::Places => places,
            Section::Numbers | Section::Zones | Section::Vias | Section::Work | Section::End => {
                return;
            }
        };
        Writer(&mut self.out).count(groups);
    }

    /// Cuts off a chunk, if one is full or the last one.
    fn cut(&mut self) -> Slice {
        let is_end = self.section == Section::End;
        if self.out.len() < self.chunk_bytes && !is_end {
            return Slice::More;
        }
        if self.out.is_empty() {
            return Slice::Done {
                id: SnapshotId {
                    slot: self.slot,
                    hash: self.hash.digest(),
                },
                chunks: self.chunks,
            };
        }
        let rest = self.out.split_off(self.chunk_bytes.min(self.out.len()));
        let bytes = Bytes::from(core::mem::replace(&mut self.out, rest));
        hash_chunk(&mut self.hash, &bytes);
        let index = self.chunks;
        self.chunks += 1;
        Slice::Chunk {
            slot: self.slot,
            index,
            bytes,
        }
    }
}
