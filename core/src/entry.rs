//! The bytes of one log entry, the same on the wire, in the write-ahead log and in catch-up:
//! encoded once, written verbatim, decoded borrowed.
//!
//! ```text
//!  0        1        2        3        4                 8                               16
//! | version| kind   | reserved = 0    | count      (u32)| stamp, nanoseconds       (u64) | commands
//! ```
//! Each command is a little-endian `u32` length and so many bytes, which only `machine` understands;
//! but the first of a [`EntryKind::LeaderStart`] is the ballot (epoch, round, server: `u64` each), and
//! that of a [`EntryKind::Stop`] the next membership.
//! `entry/tests.rs` holds golden bytes.

use crate::config::Membership;
use crate::hash::hash64;
use crate::ids::{Ballot, Epoch, NodeId, Round, Slot};
use crate::limits::{COMMAND_BYTES_MAX, ENTRY_BYTES_MAX, ENTRY_COMMANDS_MAX};
use crate::time::Stamp;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before the first command.
pub const HEADER_BYTES: usize = 16;
const VERSION: u8 = 1;
/// The kind byte of a leader's start.
const LEADER_START: u8 = 1;

/// What an entry is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EntryKind {
    /// Fills a slot and changes nothing.
    Noop,
    /// The first entry of a leader's ballot that is its own: it names that ballot, since a later
    /// leader may propose it again under its own.
    LeaderStart,
    /// Commands.
    Batch,
    /// The last entry of an epoch: its one command names who votes in the next
    /// ([`Membership`]). Nothing above it in its epoch means anything.
    Stop,
}

/// Why bytes are no entry.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EntryError {
    /// Fewer bytes than a header has, or than a command says it has.
    #[error("the entry ends at byte {len}, in the middle of something")]
    Truncated {
        /// How many bytes there are.
        len: usize,
    },
    /// Written by a later Tenure.
    #[error("entry version {found}, this server knows 1")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// Not a kind.
    #[error("entry kind {found} does not exist")]
    Kind {
        /// The kind byte.
        found: u8,
    },
    /// Over a limit.
    #[error("an entry of {len} bytes with {count} commands is over the limit")]
    TooLarge {
        /// How many bytes there are.
        len: usize,
        /// How many commands it says it has.
        count: usize,
    },
    /// A stop-sign that does not name voters.
    #[error("a stop-sign has {count} commands, and the first names no voters")]
    StopSign {
        /// How many commands there are.
        count: usize,
    },
    /// A leader's start that does not name its ballot.
    #[error("a leader's start has {count} commands, and the first is no ballot")]
    Start {
        /// How many commands there are.
        count: usize,
    },
    /// Bytes after the last command, or reserved bytes that are not zero.
    #[error("the entry is not canonical at byte {offset}")]
    NotCanonical {
        /// Where.
        offset: usize,
    },
}

/// Where a leader began: everything that was chosen before under a lower ballot is below, or its
/// quorum would have told it of that.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct Start {
    /// Its ballot; zero if no leader is known.
    pub ballot: Ballot,
    /// The slot of its first own entry.
    pub slot: Slot,
}

/// Bytes of a ballot in a leader's start.
const BALLOT_BYTES: usize = 24;

/// One log entry. Cloning shares the bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    bytes: Bytes,
    kind: EntryKind,
    stamp: Stamp,
    hash: u64,
}

impl Entry {
    /// An entry of `commands`, in their order. The caller keeps the limits: see [`EntryBuilder`].
    pub fn new(kind: EntryKind, stamp: Stamp, commands: &[Bytes]) -> Self {
        let mut builder = EntryBuilder::default();
        for command in commands {
            let fits = builder.push(command);
            assert!(fits, "the caller keeps the limits of an entry");
        }
        builder.finish(kind, stamp)
    }

    /// The first own entry of the leader of `ballot`, with a `note` that the machine understands.
    pub fn leader_start(ballot: Ballot, stamp: Stamp, note: &Bytes) -> Self {
        let mut by = BytesMut::with_capacity(BALLOT_BYTES);
        by.put_u64_le(ballot.epoch.get());
        by.put_u64_le(ballot.round.get());
        by.put_u64_le(ballot.node.get());
        let commands = [by.freeze(), note.clone()];
        Self::new(EntryKind::LeaderStart, stamp, &commands)
    }

    /// Checks `bytes` from outside.
    pub fn parse(bytes: Bytes) -> Result<Self, EntryError> {
        let len = bytes.len();
        let mut head = bytes
            .get(..HEADER_BYTES)
            .ok_or(EntryError::Truncated { len })?;
        let (version, kind_byte) = (head.get_u8(), head.get_u8());
        let (reserved, count) = (head.get_u16_le(), head.get_u32_le());
        let stamp = Stamp::from_nanos(head.get_u64_le());
        if version != VERSION {
            return Err(EntryError::Version { found: version });
        }
        let kind = match kind_byte {
            0 => EntryKind::Noop,
            LEADER_START => EntryKind::LeaderStart,
            2 => EntryKind::Batch,
            3 => EntryKind::Stop,
            found => return Err(EntryError::Kind { found }),
        };
        if reserved != 0 {
            return Err(EntryError::NotCanonical { offset: 2 });
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if len > ENTRY_BYTES_MAX || count > ENTRY_COMMANDS_MAX {
            return Err(EntryError::TooLarge { len, count });
        }
        let hash = hash64(&bytes);
        let entry = Self {
            bytes,
            kind,
            stamp,
            hash,
        };
        let mut commands = entry.commands();
        let found = commands.by_ref().count();
        if found < count {
            return Err(EntryError::Truncated { len });
        }
        if found > count || !commands.rest.is_empty() {
            return Err(EntryError::NotCanonical {
                offset: len - commands.rest.len(),
            });
        }
        if kind == EntryKind::Stop && (count != 1 || entry.next_membership().is_none()) {
            return Err(EntryError::StopSign { count });
        }
        if kind == EntryKind::LeaderStart && entry.start_at(Slot::new(0)).is_none() {
            return Err(EntryError::Start { count });
        }
        Ok(entry)
    }

    /// What it is for.
    pub const fn kind(&self) -> EntryKind {
        self.kind
    }

    /// The leader's agreed time when it proposed this.
    pub const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Equal entries have equal hashes; different entries of one slot and ballot are a bug.
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// The whole, as it is written and sent.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Who votes above this entry, if it is a stop-sign.
    pub fn next_membership(&self) -> Option<Membership> {
        let is_stop = self.kind == EntryKind::Stop;
        let command = self.commands().next().filter(|_| is_stop)?;
        Membership::parse(command).ok()
    }

    /// The leader that began with this entry at `slot`, if one did.
    pub fn start_at(&self, slot: Slot) -> Option<Start> {
        start_in(&self.bytes, slot)
    }

    /// The commands, in order.
    pub fn commands(&self) -> Commands<'_> {
        Commands::of(&self.bytes)
    }
}

/// The leader that began with the entry of `bytes` at `slot`, if one did. Reads a few bytes, whatever
/// the length of the entry.
pub fn start_in(bytes: &[u8], slot: Slot) -> Option<Start> {
    let is_start = bytes.get(1) == Some(&LEADER_START);
    let mut command = Commands::of(bytes).next().filter(|_| is_start)?;
    (command.len() == BALLOT_BYTES).then(|| Start {
        ballot: Ballot {
            epoch: Epoch::new(command.get_u64_le()),
            round: Round::new(command.get_u64_le()),
            node: NodeId::new(command.get_u64_le()),
        },
        slot,
    })
}

/// Walks the commands of an entry.
#[derive(Clone, Debug)]
pub struct Commands<'a> {
    rest: &'a [u8],
}

impl<'a> Commands<'a> {
    fn of(entry: &'a [u8]) -> Self {
        Self {
            rest: entry.get(HEADER_BYTES..).unwrap_or_default(),
        }
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(4)?;
        let len = u32::from_le_bytes(head.try_into().ok()?);
        let len = usize::try_from(len).ok()?;
        if len > COMMAND_BYTES_MAX {
            return None;
        }
        let (command, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        Some(command)
    }
}

/// Gathers commands until an entry is full.
#[derive(Debug)]
pub struct EntryBuilder {
    bytes: BytesMut,
    count: u32,
}

impl Default for EntryBuilder {
    fn default() -> Self {
        Self {
            bytes: BytesMut::zeroed(HEADER_BYTES),
            count: 0,
        }
    }
}

impl EntryBuilder {
    /// Adds `command`; false, and nothing added, if there is no room for it.
    #[must_use]
    pub fn push(&mut self, command: &[u8]) -> bool {
        let room = ENTRY_BYTES_MAX - self.bytes.len();
        let Ok(len) = u32::try_from(command.len()) else {
            return false;
        };
        if command.len() > COMMAND_BYTES_MAX
            || command.len() + 4 > room
            || self.len() >= ENTRY_COMMANDS_MAX
        {
            return false;
        }
        self.bytes.put_u32_le(len);
        self.bytes.put_slice(command);
        self.count += 1;
        true
    }

    /// How many were added.
    pub fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(usize::MAX)
    }

    /// Whether nothing was added.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Closes the entry.
    pub fn finish(mut self, kind: EntryKind, stamp: Stamp) -> Entry {
        let kind_byte = match kind {
            EntryKind::Noop => 0,
            EntryKind::LeaderStart => LEADER_START,
            EntryKind::Batch => 2,
            EntryKind::Stop => 3,
        };
        let mut head = self.bytes.get_mut(..HEADER_BYTES).unwrap_or_default();
        assert!(
            head.len() == HEADER_BYTES,
            "the builder began with a header"
        );
        head.put_u8(VERSION);
        head.put_u8(kind_byte);
        head.put_u16_le(0);
        head.put_u32_le(self.count);
        head.put_u64_le(stamp.as_nanos());
        let bytes = self.bytes.freeze();
        let hash = hash64(&bytes);
        Entry {
            bytes,
            kind,
            stamp,
            hash,
        }
    }
}

#[cfg(test)]
mod tests;
