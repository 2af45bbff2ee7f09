//! Frames between servers.
//!
//! ```text
//!  0        4        8    9    10     12       16            24      32     40            48    56
//! | length | CRC-32 |ver |kind| 0    | group  | cluster hash| epoch | from | incarnation | boot | head
//!   u32      u32     u8   u8   u16    u32      u64           u64     u64    u64           u64
//! ```
//! All little-endian. `length` counts what follows the CRC, and the CRC is over the same bytes. The
//! head is postcard; after it stand the raw bytes of entries and commands, of which the head says
//! the lengths. So an entry is never encoded again: it is written as it stands, and what is decoded
//! are slices of the frame. The first 56 bytes are frozen.

use crate::entry::EntryError;
use crate::founding;
use crate::ids::{Boot, ClusterId, Epoch, GroupId, Incarnation, NodeId};
use crate::limits::FRAME_BYTES_MAX;
use crate::replica::message::Message;
use alloc::vec::Vec;
use bytes::{Buf, BufMut, Bytes, BytesMut};

mod form;
mod hello;

pub use hello::{Doorman, Hello, HelloRefusal, founding_header};

/// The version of the frames that this server writes and reads.
pub const VERSION: u8 = 1;
/// Bytes before the head.
pub const HEADER_BYTES: usize = 56;
/// The first bytes of a frame, which `length` does not count: itself and the CRC.
const PREFIX_BYTES: usize = 8;

const KIND_HELLO: u8 = 0;
const KIND_REFUSED: u8 = 1;
const KIND_MESSAGE: u8 = 2;
const KIND_FOUNDING: u8 = 3;

/// Who sends, and about which log: in every frame, so that none is ever taken for another's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The replication group that the message is for.
    pub group: GroupId,
    /// [`cluster_hash`] of the sender's cluster.
    pub cluster: u64,
    /// The membership that the sender is in.
    pub epoch: Epoch,
    /// The sender.
    pub from: NodeId,
    /// Its data directory.
    pub incarnation: Incarnation,
    /// Its start.
    pub boot: Boot,
}

/// The cluster's id, short enough for every frame. The hello proves the whole.
pub fn cluster_hash(cluster: ClusterId) -> u64 {
    crate::hash::hash64(&cluster.0)
}

/// What a frame carries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Body {
    /// The first word of each side.
    Hello(Hello),
    /// The last word to a peer that is not welcome; the connection is closed after it.
    Refused(HelloRefusal),
    /// Everything after the hellos.
    Message(Message),
    /// Instead of a hello, between servers that are to found a cluster: a question, and its answer. The
    /// connection is closed after them.
    Founding(founding::Word),
}

/// A frame that was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// Who sent it.
    pub header: Header,
    /// What.
    pub body: Body,
}

/// A frame to write: the head, then the parts in order, nothing between them.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Header and postcard head.
    pub head: Bytes,
    /// Entries and commands, shared with whoever else holds them.
    pub parts: Vec<Bytes>,
}

impl Encoded {
    /// Bytes of the whole frame.
    pub fn len(&self) -> usize {
        self.head.len() + self.parts.iter().map(Bytes::len).sum::<usize>()
    }

    /// Never: a frame has a header.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// The pieces of the frame, for a vectored write.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        core::iter::once(&self.head).chain(&self.parts)
    }

    /// The frame in one piece: copies.
    pub fn to_bytes(&self) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.len());
        for chunk in self.chunks() {
            whole.put_slice(chunk);
        }
        whole.freeze()
    }
}

/// Why bytes are no frame. Nothing after it can be read: the connection is closed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// Longer than any frame, or shorter than a header. Found before anything is allocated.
    #[error("a frame of {found} bytes; frames have {min} to {max}")]
    Length {
        /// What the length field says.
        found: u32,
        /// The least it may say.
        min: usize,
        /// The most it may say.
        max: usize,
    },
    /// The bytes are not those that were sent.
    #[error("frame CRC {found:#010x}, its bytes have {expected:#010x}")]
    Crc {
        /// What the bytes have.
        expected: u32,
        /// What the frame says.
        found: u32,
    },
    /// Written by another version.
    #[error("peer frame version {found}, this server knows {VERSION}")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// Not a kind of frame.
    #[error("peer frame kind {found} does not exist")]
    Kind {
        /// The kind byte.
        found: u8,
    },
    /// Reserved bytes that are not zero, or a head that this server would have written otherwise.
    #[error("the frame is not canonical at byte {offset}")]
    NotCanonical {
        /// Where.
        offset: usize,
    },
    /// The head is not postcard of what this kind carries.
    #[error("the head of the frame, at byte {HEADER_BYTES}, is not readable")]
    Head,
    /// The head says that the parts have so many bytes, and the frame has others.
    #[error("the parts should end at byte {expected}, the frame ends at byte {found}")]
    Parts {
        /// Where they end.
        expected: usize,
        /// Where the frame ends.
        found: usize,
    },
    /// A part is no entry.
    #[error("the entry at byte {offset}: {error}")]
    Entry {
        /// Where it begins.
        offset: usize,
        /// What is wrong with it.
        error: EntryError,
    },
    /// The frame of somebody else than the hello of this connection said.
    #[error("the frame's sender is not the one that said hello: {expected:?}, found {found:?}")]
    Sender {
        /// Who said hello.
        expected: Header,
        /// Who says that he sent this.
        found: Header,
    },
}

/// Encodes one frame.
///
/// Panics if it is larger than [`FRAME_BYTES_MAX`]: whoever makes messages bounds them.
pub fn encode(header: &Header, body: &Body) -> Encoded {
    match body {
        Body::Hello(hello) => seal(header, KIND_HELLO, &hello.form(), Vec::new()),
        Body::Refused(refusal) => seal(header, KIND_REFUSED, refusal, Vec::new()),
        Body::Message(message) => encode_message(header, message),
        Body::Founding(word) => seal(header, KIND_FOUNDING, &hello::word_form(word), Vec::new()),
    }
}

/// Encodes one message; its entries are shared, not copied. Panics like [`encode`].
pub fn encode_message(header: &Header, message: &Message) -> Encoded {
    let mut parts = Vec::new();
    let head = form::Head::of(message, &mut parts);
    seal(header, KIND_MESSAGE, &head, parts)
}

/// Takes the next frame from the front of `buffer`, if all of it is there. What is returned shares
/// the buffer's memory.
pub fn decode(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some(bytes) = frame_bytes(buffer)? else {
        return Ok(None);
    };
    if buffer.len() < bytes {
        return Ok(None);
    }
    parse(&buffer.split_to(bytes).freeze()).map(Some)
}

/// How long the frame at the front of `buffer` is, the prefix included; none if its length is not
/// there yet. Checked against the limits, so a reader may reserve this much.
pub fn frame_bytes(buffer: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(length) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let found = u32::from_le_bytes(*length);
    let (min, max) = (HEADER_BYTES - PREFIX_BYTES, FRAME_BYTES_MAX - PREFIX_BYTES);
    match usize::try_from(found) {
        Ok(length) if (min..=max).contains(&length) => Ok(Some(length + PREFIX_BYTES)),
        _ => Err(FrameError::Length { found, min, max }),
    }
}

/// Reads one whole frame. Bytes after it are an error.
pub fn parse(frame: &Bytes) -> Result<Frame, FrameError> {
    let (expected, found) = (frame_bytes(frame)?.unwrap_or(HEADER_BYTES), frame.len());
    if expected != found {
        return Err(FrameError::Parts { expected, found });
    }
    let (kind, header) = parse_header(frame)?;
    let head = frame.get(HEADER_BYTES..).unwrap_or_default();
    let body = match kind {
        KIND_HELLO => Body::Hello(Hello::from_form(whole_head(head)?)),
        KIND_REFUSED => Body::Refused(whole_head(head)?),
        KIND_FOUNDING => Body::Founding(hello::word_from_form(whole_head(head)?)),
        KIND_MESSAGE => {
            let (head, rest) = take_head::<form::Head>(head)?;
            let mut parts = form::Parts::new(frame, frame.len() - rest.len());
            let message = head.message(&mut parts)?;
            parts.finish()?;
            Body::Message(message)
        }
        found => return Err(FrameError::Kind { found }),
    };
    Ok(Frame { header, body })
}

fn parse_header(frame: &[u8]) -> Result<(u8, Header), FrameError> {
    let mut head = frame;
    let (_length, found) = (head.get_u32_le(), head.get_u32_le());
    let expected = crc32fast::hash(head);
    if found != expected {
        return Err(FrameError::Crc { expected, found });
    }
    let (version, kind, reserved) = (head.get_u8(), head.get_u8(), head.get_u16_le());
    if version != VERSION {
        return Err(FrameError::Version { found: version });
    }
    if reserved != 0 {
        return Err(FrameError::NotCanonical { offset: 10 });
    }
    let header = Header {
        group: GroupId::new(head.get_u32_le()),
        cluster: head.get_u64_le(),
        epoch: Epoch::new(head.get_u64_le()),
        from: NodeId::new(head.get_u64_le()),
        incarnation: Incarnation::new(head.get_u64_le()),
        boot: Boot::new(head.get_u64_le()),
    };
    Ok((kind, header))
}

/// Reads a postcard head that must be written as this server would write it: postcard reads
/// integers with needless bytes, and two encodings of one message would be a way to hide.
fn take_head<T>(bytes: &[u8]) -> Result<(T, &[u8]), FrameError>
where
    T: serde::de::DeserializeOwned + serde::Serialize,
{
    let (head, rest) = postcard::take_from_bytes::<T>(bytes).map_err(|_| FrameError::Head)?;
    let size = postcard::experimental::serialized_size(&head).map_err(|_| FrameError::Head)?;
    if size + rest.len() != bytes.len() {
        let offset = HEADER_BYTES + size;
        return Err(FrameError::NotCanonical { offset });
    }
    Ok((head, rest))
}

fn whole_head<T>(bytes: &[u8]) -> Result<T, FrameError>
where
    T: serde::de::DeserializeOwned + serde::Serialize,
{
    let (head, rest) = take_head(bytes)?;
    let found = HEADER_BYTES + bytes.len();
    let expected = found - rest.len();
    if expected == found {
        Ok(head)
    } else {
        Err(FrameError::Parts { expected, found })
    }
}

fn seal<T: serde::Serialize>(header: &Header, kind: u8, head: &T, parts: Vec<Bytes>) -> Encoded {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + 64);
    bytes.put_u64_le(0); // length and CRC, when they are known
    bytes.put_u8(VERSION);
    bytes.put_u8(kind);
    bytes.put_u16_le(0);
    bytes.put_u32_le(header.group.get());
    bytes.put_u64_le(header.cluster);
    bytes.put_u64_le(header.epoch.get());
    bytes.put_u64_le(header.from.get());
    bytes.put_u64_le(header.incarnation.get());
    bytes.put_u64_le(header.boot.get());
    assert!(bytes.len() == HEADER_BYTES, "the header's layout is frozen");
    let bytes = postcard::to_extend(head, bytes);
    assert!(bytes.is_ok(), "plain numbers and lists always encode");
    let mut bytes = bytes.unwrap_or_default();

    let len = bytes.len() + parts.iter().map(Bytes::len).sum::<usize>();
    assert!(len <= FRAME_BYTES_MAX, "whoever makes a message bounds it");
    let mut crc = crc32fast::Hasher::new();
    crc.update(bytes.get(PREFIX_BYTES..).unwrap_or_default());
    for part in &parts {
        crc.update(part);
    }
    let length = u32::try_from(len - PREFIX_BYTES).unwrap_or(u32::MAX);
    let mut prefix = bytes.get_mut(..PREFIX_BYTES).unwrap_or_default();
    prefix.put_u32_le(length);
    prefix.put_u32_le(crc.finalize());
    Encoded {
        head: bytes.into(),
        parts,
    }
}

#[cfg(test)]
mod tests;
