//! The bytes of a snapshot's file. Frozen: `snapshot/tests.rs` holds golden bytes.
//!
//! ```text
//! header   0 "TNRSNAP" and a zero  8 bytes |  8 version u32 | 12 crc of bytes 16..48  u32
//!         16 cluster 16 bytes | 32 slot u64 | 40 zeros u64
//! piece    0 crc of the rest u32 | 4 "CHNK" or "DONE" | 8 number u32 | 12 payload bytes u32 | 16 payload
//! ```
//! A file is a header, a piece `CHNK` for each chunk, numbered from 0, and one piece `DONE`, whose
//! number is how many chunks there are, and whose payload is the snapshot's hash u64 and the bytes of
//! the whole file u64. Nothing comes after it. All numbers are little-endian; the checksum of a piece
//! begins from that of the header, so that a piece of another snapshot is never taken for one of this.
//!
//! What is in the chunks is `machine`'s, and so is the hash over them: it is named in the file, and
//! compared by whoever restores a machine from it.

use super::bytes::{u32_of, u64_of, usize_of};
use crate::ids::{ClusterId, Slot, SnapshotId};
use alloc::vec::Vec;
use bytes::{Buf, BufMut};
use crc32fast::Hasher;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 48;
/// Bytes of a piece before its payload.
pub const PIECE_HEAD_BYTES: usize = 16;
/// Bytes of a chunk at most: no more is believed, or allocated, whatever a file says.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"TNRSNAP\0";
const VERSION: u32 = 1;
const CHUNK: u32 = u32::from_le_bytes(*b"CHNK");
const DONE: u32 = u32::from_le_bytes(*b"DONE");
const DONE_BYTES: usize = 16;
/// Bytes of the last piece of a file.
pub const END_BYTES: usize = PIECE_HEAD_BYTES + DONE_BYTES;
/// No slot is higher; so there is always a next one.
const SLOTS_BELOW: u64 = 1 << 63;

/// What is wrong with a snapshot's file, and where.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("snapshot {id}, byte {offset}: {problem}")]
pub struct SnapshotDamage {
    /// The snapshot, as its file is named.
    pub id: SnapshotId,
    /// The byte in the file.
    pub offset: u64,
    /// What is wrong.
    pub problem: SnapshotProblem,
}

/// What is wrong with some bytes of a snapshot's file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SnapshotProblem {
    /// It is not a snapshot.
    #[error("it does not begin with TNRSNAP")]
    Magic,
    /// Written by a later Tenure.
    #[error("snapshot version {found}, this server knows 1")]
    Version {
        /// The version read.
        found: u32,
    },
    /// A checksum.
    #[error("a checksum is {found:08x}, and {expected:08x} was computed")]
    Crc {
        /// Computed.
        expected: u32,
        /// Read.
        found: u32,
    },
    /// It belongs to another cluster.
    #[error("it belongs to cluster {found}, not to {expected}")]
    OtherCluster {
        /// The server's.
        expected: ClusterId,
        /// The file's.
        found: ClusterId,
    },
    /// A field that must have another value here.
    #[error("{what} is {found}, and {expected} was expected")]
    Field {
        /// Which field.
        what: &'static str,
        /// What it must be.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// A piece that is neither a chunk nor the end.
    #[error("a piece of kind {found:08x} does not exist")]
    Piece {
        /// The kind read.
        found: u32,
    },
    /// The file ends too early, or a piece is longer than what is left or may be.
    #[error("{wanted} bytes are wanted, and {room} are left")]
    Length {
        /// What is wanted.
        wanted: u64,
        /// What is left of the file, or the most that a chunk may have.
        room: u64,
    },
}

/// Where a chunk's piece is in the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// Its first byte.
    pub offset: u64,
    /// Its bytes, with its head.
    pub bytes: usize,
}

/// Where the chunks of a whole file are: 16 bytes for each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Contents {
    /// Which snapshot.
    pub id: SnapshotId,
    seed: u32,
    places: Vec<Place>,
}

impl Contents {
    /// How many chunks there are.
    pub fn chunks(&self) -> u32 {
        u32_of(self.places.len())
    }

    /// Where a chunk is; nothing if there is no such chunk.
    pub fn place(&self, index: u32) -> Option<Place> {
        self.places.get(usize_of(u64::from(index))).copied()
    }

    /// The payload of chunk `index` in the `bytes` that were read at its place. They were whole when
    /// the file was written or opened.
    pub fn payload<'b>(&self, index: u32, bytes: &'b [u8]) -> Result<&'b [u8], SnapshotDamage> {
        let offset = self.place(index).map_or(0, |place| place.offset);
        let damage = |problem| SnapshotDamage {
            id: self.id,
            offset,
            problem,
        };
        let head = Head::decode(bytes).map_err(damage)?;
        head.expect("the chunk's number", index).map_err(damage)?;
        let payload = bytes.get(PIECE_HEAD_BYTES..).unwrap_or_default();
        head.check(self.seed, payload).map_err(damage)?;
        Ok(payload)
    }
}

/// A piece's head.
#[derive(Clone, Copy, Debug)]
struct Head {
    crc: u32,
    kind: u32,
    number: u32,
    len: u32,
}

impl Head {
    fn of(kind: u32, number: u32, seed: u32, payload: &[u8]) -> Self {
        let head = Self {
            crc: 0,
            kind,
            number,
            len: u32_of(payload.len()),
        };
        Self {
            crc: head.crc_with(seed, payload),
            ..head
        }
    }

    fn encode(self) -> [u8; PIECE_HEAD_BYTES] {
        let mut bytes = [0; PIECE_HEAD_BYTES];
        let mut to = bytes.as_mut_slice();
        to.put_u32_le(self.crc);
        to.put_u32_le(self.kind);
        to.put_u32_le(self.number);
        to.put_u32_le(self.len);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, SnapshotProblem> {
        let Some(mut from) = bytes.get(..PIECE_HEAD_BYTES) else {
            return Err(SnapshotProblem::Length {
                wanted: u64_of(PIECE_HEAD_BYTES),
                room: u64_of(bytes.len()),
            });
        };
        Ok(Self {
            crc: from.get_u32_le(),
            kind: from.get_u32_le(),
            number: from.get_u32_le(),
            len: from.get_u32_le(),
        })
    }

    fn expect(self, what: &'static str, expected: u32) -> Result<(), SnapshotProblem> {
        if self.number == expected {
            return Ok(());
        }
        Err(SnapshotProblem::Field {
            what,
            expected: u64::from(expected),
            found: u64::from(self.number),
        })
    }

    fn check(self, seed: u32, payload: &[u8]) -> Result<(), SnapshotProblem> {
        let expected = self.crc_with(seed, payload);
        if self.crc == expected {
            return Ok(());
        }
        Err(SnapshotProblem::Crc {
            expected,
            found: self.crc,
        })
    }

    fn crc_with(self, seed: u32, payload: &[u8]) -> u32 {
        let mut hasher = Hasher::new_with_initial(seed);
        hasher.update(self.encode().get(4..).unwrap_or_default());
        hasher.update(payload);
        hasher.finalize()
    }
}

/// Makes the bytes of a file, one piece after another.
#[derive(Debug)]
pub struct Encoder {
    slot: Slot,
    seed: u32,
    at: u64,
    places: Vec<Place>,
}

impl Encoder {
    /// Begins the file of a snapshot of `slot`: its first bytes.
    pub fn begin(cluster: ClusterId, slot: Slot) -> (Self, Vec<u8>) {
        let body = header_body(cluster, slot);
        let seed = crc32fast::hash(&body);
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.put_slice(&MAGIC);
        header.put_u32_le(VERSION);
        header.put_u32_le(seed);
        header.extend_from_slice(&body);
        assert!(header.len() == HEADER_BYTES, "a header has 48 bytes");
        let encoder = Self {
            slot,
            seed,
            at: u64_of(HEADER_BYTES),
            places: Vec::new(),
        };
        (encoder, header)
    }

    /// The slot that it was begun with.
    pub const fn slot(&self) -> Slot {
        self.slot
    }

    /// The number of the next chunk.
    pub fn next_chunk(&self) -> u32 {
        u32_of(self.places.len())
    }

    /// Adds the next chunk: the bytes that come before its payload.
    pub fn chunk(&mut self, payload: &[u8]) -> [u8; PIECE_HEAD_BYTES] {
        assert!(
            payload.len() <= CHUNK_BYTES_MAX,
            "a chunk is not longer than a reader believes"
        );
        let head = Head::of(CHUNK, self.next_chunk(), self.seed, payload);
        let bytes = PIECE_HEAD_BYTES + payload.len();
        self.places.push(Place {
            offset: self.at,
            bytes,
        });
        self.at += u64_of(bytes);
        head.encode()
    }

    /// Ends the file: its last bytes, and where its chunks are.
    pub fn finish(self, hash: u64) -> (Vec<u8>, Contents) {
        let mut payload = Vec::with_capacity(DONE_BYTES);
        payload.put_u64_le(hash);
        payload.put_u64_le(self.at + u64_of(END_BYTES));
        let head = Head::of(DONE, self.next_chunk(), self.seed, &payload);
        let mut bytes = Vec::from(head.encode());
        bytes.extend_from_slice(&payload);
        let contents = Contents {
            id: SnapshotId {
                slot: self.slot,
                hash,
            },
            seed: self.seed,
            places: self.places,
        };
        (bytes, contents)
    }
}

fn header_body(cluster: ClusterId, slot: Slot) -> Vec<u8> {
    let mut body = Vec::with_capacity(HEADER_BYTES);
    body.put_slice(&cluster.0);
    body.put_u64_le(slot.get());
    body.put_u64_le(0);
    body
}

/// How many chunks the file of `id` says that it has, by its last [`END_BYTES`]. Whether they are whole
/// is known only when they were read.
pub fn chunks_at_end(
    cluster: ClusterId,
    id: SnapshotId,
    end: &[u8],
    file_bytes: u64,
) -> Result<u32, SnapshotDamage> {
    let offset = file_bytes.saturating_sub(u64_of(END_BYTES));
    let damage = |problem| SnapshotDamage {
        id,
        offset,
        problem,
    };
    let head = Head::decode(end).map_err(damage)?;
    if head.kind != DONE {
        return Err(damage(SnapshotProblem::Piece { found: head.kind }));
    }
    let payload = end.get(PIECE_HEAD_BYTES..).unwrap_or_default();
    let seed = crc32fast::hash(&header_body(cluster, id.slot));
    head.check(seed, payload).map_err(damage)?;
    end_is(id, file_bytes, payload).map_err(damage)?;
    Ok(head.number)
}

/// What the last piece must say of the whole.
fn end_is(id: SnapshotId, file_bytes: u64, mut payload: &[u8]) -> Result<(), SnapshotProblem> {
    if payload.len() != DONE_BYTES {
        return Err(SnapshotProblem::Field {
            what: "the length of the end",
            expected: u64_of(DONE_BYTES),
            found: u64_of(payload.len()),
        });
    }
    let fields = [
        ("the hash", id.hash, payload.get_u64_le()),
        ("the length of the file", file_bytes, payload.get_u64_le()),
    ];
    for (what, expected, found) in fields {
        if expected != found {
            return Err(SnapshotProblem::Field {
                what,
                expected,
                found,
            });
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    Head,
    Payload(Head),
    End,
}

/// Reads a file from its beginning: it says how many bytes it wants next, and is handed them, until
/// it wants none. Believes nothing, and allocates nothing but 16 bytes for each chunk that it saw.
#[derive(Debug)]
pub struct Reader {
    cluster: ClusterId,
    id: SnapshotId,
    file_bytes: u64,
    at: u64,
    seed: u32,
    state: State,
    places: Vec<Place>,
}

impl Reader {
    /// A reader of the file of `id`, which has `file_bytes`.
    pub fn new(cluster: ClusterId, id: SnapshotId, file_bytes: u64) -> Self {
        Self {
            cluster,
            id,
            file_bytes,
            at: 0,
            seed: 0,
            state: State::Header,
            places: Vec::new(),
        }
    }

    /// Whether it was read to its end, and nothing comes after.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::End) && self.at == self.file_bytes
    }

    /// How many bytes to hand to [`Self::take`] next; at most [`CHUNK_BYTES_MAX`].
    pub fn wants(&self) -> Result<usize, SnapshotDamage> {
        let room = self.file_bytes.saturating_sub(self.at);
        let wanted = match self.state {
            State::Header => HEADER_BYTES,
            State::Head => PIECE_HEAD_BYTES,
            State::Payload(head) => usize_of(u64::from(head.len)),
            State::End => {
                return Err(self.damage(SnapshotProblem::Field {
                    what: "the length of the file",
                    expected: self.at,
                    found: self.file_bytes,
                }));
            }
        };
        let most = room.min(u64_of(CHUNK_BYTES_MAX));
        if u64_of(wanted) > most {
            return Err(self.damage(SnapshotProblem::Length {
                wanted: u64_of(wanted),
                room: most,
            }));
        }
        Ok(wanted)
    }

    /// Takes what it wanted. Gives a chunk's payload, if that was one.
    pub fn take<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<&'b [u8]>, SnapshotDamage> {
        let chunk = match self.state {
            State::Header => self.header(bytes).map(|()| None),
            State::Head => Head::decode(bytes)
                .and_then(|head| self.head(head))
                .map(|()| None),
            State::Payload(head) => self.payload(head, bytes),
            State::End => Ok(None),
        };
        let chunk = chunk.map_err(|problem| self.damage(problem))?;
        self.at += u64_of(bytes.len());
        Ok(chunk)
    }

    /// Where the chunks are, once it wants nothing any more.
    pub fn finish(self) -> Contents {
        assert!(
            self.is_done(),
            "a file is whole when it was read to its end"
        );
        Contents {
            id: self.id,
            seed: self.seed,
            places: self.places,
        }
    }

    fn damage(&self, problem: SnapshotProblem) -> SnapshotDamage {
        let into_piece = match self.state {
            State::Payload(_) => PIECE_HEAD_BYTES,
            State::Header | State::Head | State::End => 0,
        };
        SnapshotDamage {
            id: self.id,
            offset: self.at - u64_of(into_piece),
            problem,
        }
    }

    fn header(&mut self, bytes: &[u8]) -> Result<(), SnapshotProblem> {
        let Some((mut head, mut body)) = bytes
            .split_at_checked(16)
            .filter(|(_, body)| body.len() == HEADER_BYTES - 16)
        else {
            return Err(SnapshotProblem::Length {
                wanted: u64_of(HEADER_BYTES),
                room: u64_of(bytes.len()),
            });
        };
        if !head.starts_with(&MAGIC) {
            return Err(SnapshotProblem::Magic);
        }
        head.advance(MAGIC.len());
        let (version, found) = (head.get_u32_le(), head.get_u32_le());
        let expected = crc32fast::hash(body);
        if found != expected {
            return Err(SnapshotProblem::Crc { expected, found });
        }
        if version != VERSION {
            return Err(SnapshotProblem::Version { found: version });
        }
        let mut cluster = [0; 16];
        body.copy_to_slice(&mut cluster);
        if ClusterId(cluster) != self.cluster {
            return Err(SnapshotProblem::OtherCluster {
                expected: self.cluster,
                found: ClusterId(cluster),
            });
        }
        let slot = body.get_u64_le();
        if slot != self.id.slot.get() || slot >= SLOTS_BELOW {
            return Err(SnapshotProblem::Field {
                what: "the slot",
                expected: self.id.slot.get(),
                found: slot,
            });
        }
        self.seed = found;
        self.state = State::Head;
        Ok(())
    }

    fn head(&mut self, head: Head) -> Result<(), SnapshotProblem> {
        let next = u32_of(self.places.len());
        match head.kind {
            CHUNK => head.expect("the chunk's number", next)?,
            DONE => {
                head.expect("the number of chunks", next)?;
                if usize_of(u64::from(head.len)) != DONE_BYTES {
                    return Err(SnapshotProblem::Field {
                        what: "the length of the end",
                        expected: u64_of(DONE_BYTES),
                        found: u64::from(head.len),
                    });
                }
            }
            found => return Err(SnapshotProblem::Piece { found }),
        }
        self.state = State::Payload(head);
        Ok(())
    }

    fn payload<'b>(
        &mut self,
        head: Head,
        payload: &'b [u8],
    ) -> Result<Option<&'b [u8]>, SnapshotProblem> {
        head.check(self.seed, payload)?;
        if head.kind == CHUNK {
            self.places.push(Place {
                offset: self.at - u64_of(PIECE_HEAD_BYTES),
                bytes: PIECE_HEAD_BYTES + payload.len(),
            });
            self.state = State::Head;
            return Ok(Some(payload));
        }
        end_is(self.id, self.at + u64_of(payload.len()), payload)?;
        self.state = State::End;
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
