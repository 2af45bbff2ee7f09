//! A machine from the chunks of a snapshot.
//!
//! The bytes may be anybody's: nothing is believed before it was checked, and no memory is taken for
//! what was not sent. A record takes at most the memory of its group of 64 slots.
//!
//! A witness reads the numbers, the configuration and the via windows, which come first. Of the rest it
//! knows only that its hash is the one in the snapshot's name.

use super::Section;
use super::form::{Fault, Read, Reader};
use super::hash_chunk;
use super::head;
use super::stored::Stored;
use crate::hash::Stream64;
use crate::ids::{Seed, Slot, SnapshotId};
use crate::machine::audit::Violation;
use crate::machine::crowd::Crowd;
use crate::machine::state::{Grant, Hold, Line, Lock, Place, Request, Session, Ticket};
use crate::machine::table::{GROUP, Ref};
use crate::machine::{Form, Limits, Machine};
use alloc::vec::Vec;

/// Why a snapshot is not believed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RestoreError {
    /// A version that this program does not know.
    #[error("the snapshot has version {found}; this program reads {expected}")]
    Version {
        /// What it has.
        found: u16,
        /// What is known.
        expected: u16,
    },
    /// Bytes that are not what they should be.
    #[error("at byte {offset} of the snapshot: expected {expected}, found {found}")]
    Bad {
        /// Where, counted over all chunks.
        offset: u64,
        /// What should be there.
        expected: &'static str,
        /// What is there, or says how it is not.
        found: u64,
    },
    /// The last chunk came, and more should.
    #[error("the snapshot ends at byte {offset}, before its end")]
    Ends {
        /// Where it ends.
        offset: u64,
    },
    /// It holds the effect of another slot than its name says.
    #[error("the snapshot is of slot {found}; slot {expected} was asked for")]
    Slot {
        /// What it holds.
        found: Slot,
        /// What its name says.
        expected: Slot,
    },
    /// Chunks of two snapshots, or a wrong one.
    #[error("the snapshot's bytes have the hash {found:016x}; its name says {expected:016x}")]
    Hash {
        /// That of the bytes.
        found: u64,
        /// That of its name.
        expected: u64,
    },
    /// Records that cannot all be true.
    #[error("the snapshot contradicts itself: {0}")]
    Broken(#[from] Violation),
}

/// Reads a snapshot, chunk by chunk.
#[derive(Debug)]
pub struct Restore {
    id: SnapshotId,
    machine: Machine,
    hash: Stream64,
    /// The beginning of a record whose end is in the next chunk.
    carry: Vec<u8>,
    /// Of the content; zero before it was read.
    version: u16,
    /// Bytes of whole records.
    consumed: u64,
    section: Section,
    /// Records or groups of the section that are still to come; none before their number was read.
    left: Option<u32>,
    /// The group that is being read, and the slots of it that are still to come.
    group: usize,
    mask: u64,
    fault: Option<RestoreError>,
}

impl Restore {
    /// Before the first chunk of the snapshot `id`, into a machine with these limits and this seed.
    pub fn new(id: SnapshotId, limits: Limits, seed: Seed) -> Self {
        Self {
            id,
            machine: Machine::configured(limits, seed),
            hash: Stream64::new(),
            carry: Vec::new(),
            version: 0,
            consumed: 0,
            section: Section::Numbers,
            left: None,
            group: 0,
            mask: 0,
            fault: None,
        }
    }

    /// Into a machine that keeps what `form` says.
    #[must_use]
    pub fn in_form(mut self, form: Form) -> Self {
        assert!(!self.has_begun(), "a machine keeps the same from the first");
        self.machine.form = form;
        self
    }

    /// Whether it was handed anything.
    pub const fn has_begun(&self) -> bool {
        self.consumed > 0 || !self.carry.is_empty() || self.fault.is_some()
    }

    /// Takes the payload of the next chunk. After an error all further ones give the same.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        hash_chunk(&mut self.hash, bytes);
        if self.has_enough() {
            self.consumed = self.consumed.saturating_add(u64_of(bytes.len()));
            return Ok(());
        }
        let mut carry = core::mem::take(&mut self.carry);
        carry.extend_from_slice(bytes);
        let mut reader = Reader::new(&carry, self.version);
        let read = self.records(&mut reader);
        let whole = reader.at();
        self.version = reader.version;
        if let Err(error) = read {
            self.fault = Some(error.clone());
            return Err(error);
        }
        self.consumed = self.consumed.saturating_add(u64_of(whole));
        carry.drain(..whole);
        if self.has_enough() {
            carry = Vec::new();
        }
        self.carry = carry;
        Ok(())
    }

    /// The machine, after the last chunk. It is one that [`Machine::audit`] finds nothing against.
    pub fn finish(self) -> Result<Machine, RestoreError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.section != Section::End && !self.has_enough() {
            let offset = self.consumed.saturating_add(u64_of(self.carry.len()));
            return Err(RestoreError::Ends { offset });
        }
        let (expected, found) = (self.id.hash, self.hash.digest());
        if found != expected {
            return Err(RestoreError::Hash { found, expected });
        }
        let (expected, found) = (self.id.slot, self.machine.applied);
        if found != expected {
            return Err(RestoreError::Slot { found, expected });
        }
        let mut machine = self.machine;
        if machine.form == Form::Witness {
            machine.digest = 0;
            machine.zones.clear();
        }
        machine.rebuild()?;
        machine.audit_told()?;
        Ok(machine)
    }

    /// Whether the rest is not for this machine.
    fn has_enough(&self) -> bool {
        let is_read = match self.section {
            Section::Numbers | Section::Zones | Section::Vias => false,
            Section::Work
            | Section::Crowds
            | Section::Locks
            | Section::Lines
            | Section::Sessions
            | Section::Requests
            | Section::Grants
            | Section::Holds
            | Section::Tickets
            | Section::Places
            | Section::End => true,
        };
        is_read && self.machine.form == Form::Witness
    }

    /// Reads record by record, as far as they are whole.
    fn records(&mut self, from: &mut Reader<'_>) -> Result<(), RestoreError> {
        loop {
            let start = from.at();
            match self.item(from) {
                Ok(()) if self.has_enough() => {
                    from.skip();
                    return Ok(());
                }
                Ok(()) if self.section != Section::End => {}
                Ok(()) if from.left() == 0 => return Ok(()),
                Ok(()) => {
                    let left = u64_of(from.left());
                    return Err(self.bad(from.at(), "the end", left));
                }
                Err(Fault::Ends) => {
                    from.back_to(start);
                    return Ok(());
                }
                Err(Fault::Bad {
                    at,
                    expected,
                    found,
                }) => return Err(self.bad(at, expected, found)),
                Err(Fault::Version { found }) => {
                    let expected = head::VERSION;
                    return Err(RestoreError::Version { found, expected });
                }
            }
        }
    }

    fn bad(&self, at: usize, expected: &'static str, found: u64) -> RestoreError {
        RestoreError::Bad {
            offset: self.consumed.saturating_add(u64_of(at)),
            expected,
            found,
        }
    }

    /// Reads one thing: the number of a section's records, the mask of a group, or a record.
    fn item(&mut self, from: &mut Reader<'_>) -> Read<()> {
        match self.section {
            Section::Numbers => {
                head::take_numbers(from, &mut self.machine)?;
                self.section = self.section.next();
                Ok(())
            }
            Section::Zones => self.listed(from, head::take_zone),
            Section::Vias => self.listed(from, head::take_via),
            Section::Work => self.listed(from, head::take_work),
            Section::Crowds => self.record::<Crowd>(from),
            Section::Locks => self.record::<Lock>(from),
            Section::Lines => self.record::<Line>(from),
            Section::Sessions => self.record::<Session>(from),
            Section::Requests => self.record::<Request>(from),
            Section::Grants => self.record::<Grant>(from),
            Section::Holds => self.record::<Hold>(from),
            Section::Tickets => self.record::<Ticket>(from),
            Section::Places => self.record::<Place>(from),
            Section::End => Ok(()),
        }
    }

    fn listed(
        &mut self,
        from: &mut Reader<'_>,
        take: fn(&mut Reader<'_>, &mut Machine) -> Read<()>,
    ) -> Read<()> {
        let Some(left) = self.left_or_read(from)? else {
            return Ok(());
        };
        take(from, &mut self.machine)?;
        self.left = Some(left);
        Ok(())
    }

    fn record<T: Stored>(&mut self, from: &mut Reader<'_>) -> Read<()> {
        if self.mask == 0 {
            return self.next_group(from);
        }
        let slot = self.group * GROUP + usize::try_from(self.mask.trailing_zeros()).unwrap_or(0);
        let raw = u32::try_from(slot + 1).unwrap_or(0);
        let Some(at) = Ref::from_raw(raw) else {
            return from.bad(0, "a slot below 2^32 - 1", u64_of(slot));
        };
        let record = T::take(from, at)?;
        if let Err(expected) = record.check(&self.machine) {
            return from.bad(0, expected, raw.into());
        }
        T::table(&mut self.machine).place(at, record);
        T::enlist(&mut self.machine, at);
        self.mask &= self.mask - 1;
        if self.mask == 0 {
            self.group += 1;
        }
        Ok(())
    }

    /// Reads the mask of the next group. The last one is not empty.
    fn next_group(&mut self, from: &mut Reader<'_>) -> Read<()> {
        let Some(left) = self.left_or_read(from)? else {
            self.group = 0;
            return Ok(());
        };
        let mask = from.u64()?;
        if mask == 0 && left == 0 {
            return from.bad(8, "a record in the last group", 0);
        }
        if mask == 0 {
            self.group += 1;
        }
        self.mask = mask;
        self.left = Some(left);
        Ok(())
    }

    /// How many come after the next one. None if this was their number, or the end of the section.
    fn left_or_read(&mut self, from: &mut Reader<'_>) -> Read<Option<u32>> {
        match self.left {
            None => self.left = Some(from.u32()?),
            Some(0) => {
                self.left = None;
                self.section = self.section.next();
            }
            Some(left) => return Ok(Some(left - 1)),
        }
        Ok(None)
    }
}

fn u64_of(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
