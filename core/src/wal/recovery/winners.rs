//! Which record counts for a slot: never merely the last (rule 11).

use crate::entry::{self, Entry, Start};
use crate::hash::hash64;
use crate::ids::{Ballot, Slot};
use crate::replica::record::RecoveredEntry;
use crate::wal::bytes::u64_of;
use crate::wal::damage::{Damage, Problem};
use crate::wal::index::outranks;
use crate::wal::record::{Found, Kind};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;

#[derive(Debug)]
struct Winner {
    ballot: Option<Ballot>,
    hash: u64,
    payload: Bytes,
    place: Damage,
}

/// The best record of each slot above the last hint; what is below stays in the log, or in the
/// snapshot.
#[derive(Debug)]
pub(super) struct Winners {
    decided: Slot,
    open: BTreeMap<Slot, Winner>,
    started: Start,
    followed: Option<Ballot>,
    bytes: u64,
}

impl Winners {
    /// Every slot up to `floor` is decided, whatever the log says of it: a snapshot has it.
    pub(super) const fn above(floor: Slot) -> Self {
        Self {
            decided: floor,
            open: BTreeMap::new(),
            started: Start {
                ballot: Ballot::ZERO,
                slot: Slot::new(0),
            },
            followed: None,
            bytes: 0,
        }
    }

    /// Counts a record. `place` is where it stands, for the day when it must be named.
    pub(super) fn see(&mut self, found: &Found<'_>, place: Damage) -> Result<(), Problem> {
        match found.head.kind {
            Kind::Accepted => self.offer(Some(found.head.ballot), found, place),
            Kind::Decided => self.offer(None, found, place),
            Kind::DecidedHint => self.decide(found.head.slot),
            Kind::Seal | Kind::Pad => Ok(()),
        }
    }

    fn offer(
        &mut self,
        ballot: Option<Ballot>,
        found: &Found<'_>,
        place: Damage,
    ) -> Result<(), Problem> {
        let slot = found.head.slot;
        self.followed = self.followed.max(ballot);
        let start = entry::start_in(found.payload, slot);
        self.started = self.started.max(start.unwrap_or_default());
        if slot <= self.decided {
            return Ok(());
        }
        self.bytes += u64_of(found.payload.len());
        let hash = hash64(found.payload);
        if let Some(known) = self.open.get(&slot) {
            if known.ballot == ballot && known.hash != hash {
                return Err(Problem::TwoValues {
                    ballot: ballot.unwrap_or(Ballot::ZERO),
                    expected: known.hash,
                    found: hash,
                });
            }
            if !outranks(ballot, known.ballot) {
                return Ok(());
            }
        }
        let winner = Winner {
            ballot,
            hash,
            payload: Bytes::copy_from_slice(found.payload),
            place,
        };
        self.open.insert(slot, winner);
        Ok(())
    }

    /// Every slot up to `upto` was decided, with what the log holds for it.
    fn decide(&mut self, upto: Slot) -> Result<(), Problem> {
        if upto <= self.decided {
            return Ok(());
        }
        let held = u64_of(self.open.range(..=upto).count());
        if held != upto.get() - self.decided.get() {
            return Err(Problem::SlotMissing { upto });
        }
        self.open = self.open.split_off(&upto.next());
        self.decided = upto;
        Ok(())
    }

    /// The latest leader whose start stands in the log, decided or not.
    pub(super) const fn started(&self) -> Start {
        self.started
    }

    /// The highest ballot of all accepts, decided or not. It is the last one's: none is accepted below one
    /// that was promised.
    pub(super) const fn followed(&self) -> Option<Ballot> {
        self.followed
    }

    /// Bytes of what is above a snapshot.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Every slot up to the first is decided; above it, what was accepted.
    pub(super) fn finish(self) -> Result<(Slot, Vec<RecoveredEntry>), Damage> {
        let mut accepted = Vec::with_capacity(self.open.len());
        for (slot, winner) in self.open {
            let entry = Entry::parse(winner.payload).map_err(|error| Damage {
                problem: Problem::Entry(error),
                ..winner.place
            })?;
            accepted.push(RecoveredEntry {
                slot,
                ballot: winner.ballot,
                entry,
            });
        }
        Ok((self.decided, accepted))
    }
}
