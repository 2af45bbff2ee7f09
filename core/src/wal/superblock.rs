//! Who this server is, and the one home of its promise: four copies, of which two must agree.
//!
//! ```text
//! copy k (0..4) at k x 64 KiB, 4096 bytes:
//!   0 check: XXH3 of bytes 8..4096 u64 |  8 "TNRSUPER"                      8 bytes
//!  16 copy number              u64 | 24 version u32 | 28 bytes of config        u32
//!  32 sequence                 u64 | 40 parent: hash of the one before          u64
//!  48 cluster             16 bytes | 64 node    u64 | 72 incarnation            u64
//!  80 boot                     u64 | 88 promised: epoch, round, node        3 x u64
//! 112 first segment of the log u64 | 120 slot of the snapshot that stands for what was before u64
//! 128 config | then u16 and so many bytes: the membership of the epoch, if it is not the first
//! ```
//! The hash that names a version is over bytes 24..4096, so that it is the same in every copy.
//!
//! A change writes the copies one at a time, each synced before the next, and is done when all four
//! are: so a crash leaves the old version in at least two copies, or the new one. Opening takes the
//! highest sequence that two copies agree on, never merely the newest, and writes it to all copies
//! before anything is said: a 2:2 split would fall back when one copy rots (rule 4).

use super::Identity;
use super::bytes::{part, u32_of, usize_of};
use crate::config::Membership;
use crate::hash::hash64;
use crate::ids::{Ballot, Boot, ClusterId, Epoch, Incarnation, NodeId, Round, SegmentNo, Slot};
use alloc::vec::Vec;
use bytes::{Buf, BufMut, Bytes};

/// How many copies there are.
pub const COPIES: usize = 4;
/// Bytes of one copy.
pub const COPY_BYTES: usize = 4096;
/// From the start of one copy to the start of the next.
pub const COPY_STRIDE: u64 = 64 << 10;
/// Bytes of the whole file.
pub const FILE_BYTES: u64 = COPY_STRIDE * 4;
/// Room for the configuration.
pub const CONFIG_BYTES_MAX: usize = COPY_BYTES - HEAD_BYTES - MEMBERSHIP_BYTES;
/// Room for the membership, its length with it.
const MEMBERSHIP_BYTES: usize = 128;

const HEAD_BYTES: usize = 128;
const NAMED_FROM: usize = 24;
const QUORUM: usize = 2;
const MAGIC: [u8; 8] = *b"TNRSUPER";
/// What is counted one by one never comes here; so the next number is always one.
const COUNTED_BELOW: u64 = 1 << 63;
const VERSION: u32 = 1;

/// What all copies say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Superblock {
    /// One more with each change.
    pub sequence: u64,
    /// The hash of the version before; zero for the first.
    pub parent: u64,
    /// Whose it is.
    pub identity: Identity,
    /// The start that this is.
    pub boot: Boot,
    /// The highest ballot promised.
    pub promised: Ballot,
    /// The first segment that the log still has.
    pub first_segment: SegmentNo,
    /// The slot of a snapshot that was durable when the log was truncated, and stands for what was
    /// removed (rule 5): it, or a later one, must be there. Zero while there was none.
    pub snapshot: Slot,
    /// What the cluster began with, opaque here. At most [`CONFIG_BYTES_MAX`] bytes.
    pub config: Bytes,
    /// Who votes in the epoch of the promise; none in the first epoch, which the configuration names.
    /// Everything up to its base is durable here, and decided (rule 29).
    pub membership: Option<Membership>,
}

/// Why a superblock can't be believed. The server must not start: it does not know what it
/// promised.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SuperblockError {
    /// Fewer than two copies agree.
    #[error("{readable} of 4 copies of the superblock are readable, and no two of them agree")]
    QuorumLost {
        /// How many are whole.
        readable: usize,
    },
    /// Two versions with one sequence number.
    #[error("two different superblocks have the number {sequence}")]
    Fork {
        /// The number.
        sequence: u64,
    },
    /// A copy is newer than the version after the one that two agree on: that one was forgotten.
    #[error("a copy of the superblock has number {found}, and two copies agree only on {agreed}")]
    Skipped {
        /// What two agree on.
        agreed: u64,
        /// What one has.
        found: u64,
    },
    /// A copy that does not come after the one before it.
    #[error("superblock {sequence} does not come after the one before it")]
    ParentUnknown {
        /// Its number.
        sequence: u64,
    },
    /// Who votes can't be read.
    #[error("the superblock's membership cannot be read")]
    Membership,
    /// Written by a later Tenure.
    #[error("superblock version {found}, this server knows 1")]
    Version {
        /// The version read.
        found: u32,
    },
}

/// Bytes to write at one place of the superblock's file, and to sync before the next are written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CopyWrite {
    /// Where in the file.
    pub offset: u64,
    /// What.
    pub bytes: Bytes,
}

/// A superblock that is durable in all four copies. Only it can change, and only into a
/// [`Pending`], so at most one change is in flight (rule 4).
#[derive(Debug)]
pub struct Durable {
    now: Superblock,
}

/// A change on its way to the disk.
#[derive(Debug)]
#[must_use = "the superblock is what it was until all copies are written and synced"]
pub struct Pending {
    next: Superblock,
    writes: Vec<CopyWrite>,
}

impl Pending {
    /// What to write: each is synced before the next.
    pub fn writes(&self) -> &[CopyWrite] {
        &self.writes
    }

    /// What it will say.
    pub const fn superblock(&self) -> &Superblock {
        &self.next
    }

    /// Says that all of it was written and synced.
    pub fn done(self) -> Durable {
        Durable { now: self.next }
    }

    /// The change from `next`, after the writes that come before it.
    fn after(mut writes: Vec<CopyWrite>, next: Superblock) -> Self {
        writes.extend((0..COPIES).map(|copy| next.write(copy)));
        Self { next, writes }
    }
}

impl Durable {
    /// What it says.
    pub const fn superblock(&self) -> &Superblock {
        &self.now
    }

    /// Promises `ballot`. With a `membership` it opens that epoch: every slot up to its base, or a
    /// snapshot over it, is durable here (rule 29).
    pub fn promise(self, ballot: Ballot, membership: Option<Membership>) -> Pending {
        assert!(ballot >= self.now.promised, "a promise never goes back");
        if let Some(next) = &membership {
            assert!(
                ballot == Ballot::opening(next.epoch()) && ballot > self.now.promised,
                "an epoch begins below all of its ballots, and above those of before"
            );
        }
        let next = Superblock {
            promised: ballot,
            membership: membership.or_else(|| self.now.membership.clone()),
            ..self.now.child()
        };
        Pending::after(Vec::new(), next)
    }

    /// Lets the log begin with `first_segment`. The snapshot of slot `snapshot` is durable here, and
    /// no record above it was in what goes (rule 5). Segments are removed only when this is done.
    pub fn truncate(self, first_segment: SegmentNo, snapshot: Slot) -> Pending {
        assert!(
            first_segment >= self.now.first_segment && snapshot >= self.now.snapshot,
            "what was removed from the log does not come back"
        );
        let next = Superblock {
            first_segment,
            snapshot,
            ..self.now.child()
        };
        Pending::after(Vec::new(), next)
    }
}

/// The first superblock of a new data directory. Its file holds [`FILE_BYTES`] zeros until now.
pub fn format(identity: Identity, config: Bytes) -> Pending {
    let first = Superblock {
        sequence: 1,
        parent: 0,
        identity,
        boot: Boot::new(0),
        promised: Ballot::ZERO,
        first_segment: SegmentNo::new(1),
        snapshot: Slot::new(0),
        config,
        membership: None,
    };
    Pending::after(Vec::new(), first)
}

/// Opens the four copies as they were read (a copy that can't be read is an empty slice), and
/// begins a new boot.
pub fn open(copies: [&[u8]; COPIES]) -> Result<Pending, SuperblockError> {
    let mut read = Vec::with_capacity(COPIES);
    for (index, copy) in copies.into_iter().enumerate() {
        read.push(Superblock::decode(copy, index)?);
    }
    let whole: Vec<&Superblock> = read.iter().flatten().collect();
    let agreed = agreed(&whole)?;
    // Copies that are not the agreed one first, so that it never stands in fewer than it does now.
    let strays = read.iter().enumerate();
    let strays = strays.filter(|(_, copy)| copy.as_ref() != Some(agreed));
    let repairs = strays.map(|(index, _)| agreed.write(index)).collect();
    let next = Superblock {
        boot: agreed.boot.next(),
        ..agreed.child()
    };
    Ok(Pending::after(repairs, next))
}

/// The version to go on from.
fn agreed<'s>(whole: &[&'s Superblock]) -> Result<&'s Superblock, SuperblockError> {
    let agree = |one: &Superblock| whole.iter().filter(|other| **other == one).count();
    let quorums = whole.iter().filter(|one| agree(one) >= QUORUM);
    let agreed = quorums
        .max_by_key(|one| one.sequence)
        .ok_or(SuperblockError::QuorumLost {
            readable: whole.len(),
        })?;
    for other in whole {
        let sequence = other.sequence;
        if sequence == agreed.sequence && other != agreed {
            return Err(SuperblockError::Fork { sequence });
        }
        if sequence > agreed.sequence + 1 {
            return Err(SuperblockError::Skipped {
                agreed: agreed.sequence,
                found: sequence,
            });
        }
        let (older, newer) = if sequence < agreed.sequence {
            (other, agreed)
        } else {
            (agreed, other)
        };
        if newer.sequence == older.sequence + 1 && newer.parent != older.name() {
            return Err(SuperblockError::ParentUnknown {
                sequence: newer.sequence,
            });
        }
    }
    Ok(agreed)
}

impl Superblock {
    fn child(&self) -> Self {
        Self {
            sequence: self.sequence + 1,
            parent: self.name(),
            ..self.clone()
        }
    }

    /// The hash that names this version, the same in all copies.
    fn name(&self) -> u64 {
        hash64(part(&self.encode(0), NAMED_FROM, COPY_BYTES))
    }

    fn write(&self, copy: usize) -> CopyWrite {
        CopyWrite {
            offset: u64::from(u32_of(copy)) * COPY_STRIDE,
            bytes: Bytes::from(self.encode(copy)),
        }
    }

    fn encode(&self, copy: usize) -> Vec<u8> {
        assert!(
            self.config.len() <= CONFIG_BYTES_MAX,
            "the configuration fits its room"
        );
        let mut to = Vec::with_capacity(COPY_BYTES);
        to.put_u64_le(0);
        to.put_slice(&MAGIC);
        to.put_u64_le(u64::from(u32_of(copy)));
        to.put_u32_le(VERSION);
        to.put_u32_le(u32_of(self.config.len()));
        to.put_u64_le(self.sequence);
        to.put_u64_le(self.parent);
        to.put_slice(&self.identity.cluster.0);
        to.put_u64_le(self.identity.node.get());
        to.put_u64_le(self.identity.incarnation.get());
        to.put_u64_le(self.boot.get());
        to.put_u64_le(self.promised.epoch.get());
        to.put_u64_le(self.promised.round.get());
        to.put_u64_le(self.promised.node.get());
        to.put_u64_le(self.first_segment.get());
        to.put_u64_le(self.snapshot.get());
        assert!(to.len() == HEAD_BYTES, "a superblock's head has 128 bytes");
        to.put_slice(&self.config);
        let membership = self.membership.as_ref().map(Membership::encode);
        let membership = membership.unwrap_or_default();
        assert!(
            membership.len() + 2 <= MEMBERSHIP_BYTES,
            "the limit of members bounds a membership"
        );
        to.put_u16_le(u16::try_from(membership.len()).unwrap_or(u16::MAX));
        to.put_slice(&membership);
        to.resize(COPY_BYTES, 0);
        let check = hash64(part(&to, 8, COPY_BYTES));
        if let Some(place) = to.first_chunk_mut::<8>() {
            *place = check.to_le_bytes();
        }
        to
    }

    /// Reads one copy: nothing if it is damaged, lost, or another copy's.
    fn decode(bytes: &[u8], copy: usize) -> Result<Option<Self>, SuperblockError> {
        let Some((mut head, rest)) = bytes
            .split_at_checked(HEAD_BYTES)
            .filter(|_| bytes.len() == COPY_BYTES)
        else {
            return Ok(None);
        };
        let whole = head.get_u64_le() == hash64(part(bytes, 8, COPY_BYTES));
        let ours = head.starts_with(&MAGIC);
        head.advance(MAGIC.len());
        if !whole || !ours || head.get_u64_le() != u64::from(u32_of(copy)) {
            return Ok(None);
        }
        let version = head.get_u32_le();
        if version != VERSION {
            return Err(SuperblockError::Version { found: version });
        }
        let config_bytes = usize_of(u64::from(head.get_u32_le()));
        let (config, membership) = part(rest, 0, rest.len()).split_at(config_bytes.min(rest.len()));
        let (sequence, parent) = (head.get_u64_le(), head.get_u64_le());
        let mut cluster = [0; 16];
        head.copy_to_slice(&mut cluster);
        let identity = Identity {
            cluster: ClusterId(cluster),
            node: NodeId::new(head.get_u64_le()),
            incarnation: Incarnation::new(head.get_u64_le()),
        };
        let read = Self {
            sequence,
            parent,
            identity,
            boot: Boot::new(head.get_u64_le()),
            promised: Ballot {
                epoch: Epoch::new(head.get_u64_le()),
                round: Round::new(head.get_u64_le()),
                node: NodeId::new(head.get_u64_le()),
            },
            first_segment: SegmentNo::new(head.get_u64_le()),
            snapshot: Slot::new(head.get_u64_le()),
            config: Bytes::copy_from_slice(config),
            membership: decode_membership(membership)?,
        };
        Ok(Some(read).filter(Self::is_countable))
    }

    /// Whether each counter has a next number. No life of a server makes another, so a copy with
    /// one was not written by us, whatever its checksum says.
    fn is_countable(&self) -> bool {
        let counters = [
            self.sequence,
            self.boot.get(),
            self.promised.round.get(),
            self.first_segment.get(),
            self.snapshot.get(),
        ];
        counters.iter().all(|counter| *counter < COUNTED_BELOW)
    }
}

/// A checksum covers it: it was written so, if not by this version.
fn decode_membership(mut rest: &[u8]) -> Result<Option<Membership>, SuperblockError> {
    let len = rest.try_get_u16_le().map(usize::from).unwrap_or_default();
    if len == 0 {
        return Ok(None);
    }
    let bytes = part(rest, 0, len);
    let found = Membership::parse(bytes).map_err(|_| SuperblockError::Membership)?;
    Ok(Some(found))
}

#[cfg(test)]
mod tests;
