//! What is locked: a set of typed key-value pairs, or a path, as canonical bytes.
//!
//! ```text
//! key    = pair+            sorted by name; at most KEY_PAIRS_MAX pairs, KEY_BYTES_MAX bytes
//! pair   = name 00 tag value
//! name   = UTF-8, not empty, with each 00 written as 00 ff
//! tag    = 01 u8  02 u16  03 u32  04 u64  05 i8  06 i16  07 i32  08 i64  09 f32  0a f64  0b string  0c bytes
//! value  = big-endian, of fixed width, made to sort: the sign bit of iN flipped; of a positive float
//!          the sign bit flipped, of a negative one all bits. Strings and bytes: as a name, ended by 00
//! ```
//! A path is the one reserved pair `_path`, a string. Bytes sort as keys do: pair by pair, by name,
//! then by type, then by value; a key that is a beginning of another comes first. (The escape is
//! that of FoundationDB's tuple layer: 00 ff for a zero, so that no end is mistaken for a middle: no
//! tag is ff, and no UTF-8 begins with it.) Frozen: `key/tests.rs` holds golden bytes.

use crate::ids::ZoneId;
use crate::limits::{KEY_BYTES_MAX, KEY_PAIRS_MAX, NAME_BYTES_MAX, VALUE_BYTES_MAX};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use sha2::{Digest, Sha256};

pub(crate) use canonical::{RawPair, tag_of};
pub(crate) use text::Reader;

mod canonical;
mod text;

/// A key in its canonical form: equal keys have equal bytes, and bytes sort as keys do.
///
/// `Display` writes it for people, and [`Key::from_text`] reads that back: a path as it is, pairs as
/// `{env="prod", shard=5u8}`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key(Bytes);

/// The name of the one pair that a path is.
pub const PATH_NAME: &str = "_path";

/// A typed value of a pair.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// 8 bits.
    U8(u8),
    /// 16 bits.
    U16(u16),
    /// 32 bits.
    U32(u32),
    /// 64 bits.
    U64(u64),
    /// 8 bits, signed.
    I8(i8),
    /// 16 bits, signed.
    I16(i16),
    /// 32 bits, signed.
    I32(i32),
    /// 64 bits, signed.
    I64(i64),
    /// A number that is not NaN; -0 is +0.
    F32(f32),
    /// A number that is not NaN; -0 is +0.
    F64(f64),
    /// Text, at most `VALUE_BYTES_MAX` bytes.
    String(String),
    /// Bytes, at most `VALUE_BYTES_MAX`.
    Bytes(Vec<u8>),
}

/// Why something is no key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// No pairs, or a path without a byte.
    #[error("a key has at least one pair, and a path at least one byte")]
    Empty,
    /// A pair without a name.
    #[error("the name of a pair is not empty")]
    NameEmpty,
    /// A name or a path over the limit.
    #[error("a name or path of {len} bytes; at most {NAME_BYTES_MAX}")]
    NameTooLong {
        /// How long.
        len: usize,
    },
    /// A value over the limit.
    #[error("a value of {len} bytes; at most {VALUE_BYTES_MAX}")]
    ValueTooLong {
        /// How long.
        len: usize,
    },
    /// All together over the limit.
    #[error("a key of {len} bytes; at most {KEY_BYTES_MAX}")]
    TooLong {
        /// How long, in canonical bytes.
        len: usize,
    },
    /// More pairs than the limit.
    #[error("a key of {count} pairs; at most {KEY_PAIRS_MAX}")]
    TooManyPairs {
        /// How many.
        count: usize,
    },
    /// A name that the service keeps for itself.
    #[error("names that begin with _ are reserved")]
    Reserved,
    /// Two pairs with one name.
    #[error("two pairs have the same name")]
    Duplicate,
    /// Not a number, which is not even equal to itself.
    #[error("a value is not a number")]
    NotANumber,
    /// Bytes that are not what the one canonical form would have.
    #[error("the key is not canonical at byte {offset}: expected {expected}")]
    NotCanonical {
        /// Where.
        offset: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// Text that is no key.
    #[error("at byte {offset} of the key: expected {expected}")]
    Text {
        /// Where.
        offset: usize,
        /// What should be there.
        expected: &'static str,
    },
}

/// A lock's identity in tokens: a hash of zone and canonical key, the same on every server and for
/// ever.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LockId(pub [u8; 16]);

/// The identity of the lock `key` of `zone`.
pub fn lock_id(zone: ZoneId, key: &Key) -> LockId {
    let hash = Sha256::new()
        .chain_update(b"tenure lock id 1\0")
        .chain_update(zone.get().to_le_bytes())
        .chain_update(key.as_bytes())
        .finalize();
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(hash) {
        *to = from;
    }
    LockId(id)
}

impl Key {
    /// The key of a path: any text of 1 to `NAME_BYTES_MAX` bytes.
    pub fn from_path(path: &str) -> Result<Self, KeyError> {
        if path.is_empty() {
            return Err(KeyError::Empty);
        }
        if path.len() > NAME_BYTES_MAX {
            return Err(KeyError::NameTooLong { len: path.len() });
        }
        let mut out = Vec::with_capacity(path.len() + PATH_NAME.len() + 3);
        canonical::put_pair(&mut out, PATH_NAME, &Value::String(path.into()))?;
        Ok(Self(out.into()))
    }

    /// The key of these pairs, in whatever order they come.
    pub fn from_pairs(pairs: &[(&str, Value)]) -> Result<Self, KeyError> {
        if pairs.is_empty() {
            return Err(KeyError::Empty);
        }
        if pairs.len() > KEY_PAIRS_MAX {
            return Err(KeyError::TooManyPairs { count: pairs.len() });
        }
        let mut sorted: Vec<&(&str, Value)> = pairs.iter().collect();
        sorted.sort_by_key(|(name, _)| *name);
        if sorted
            .windows(2)
            .any(|two| matches!(two, [a, b] if a.0 == b.0))
        {
            return Err(KeyError::Duplicate);
        }
        let mut out = Vec::new();
        for (name, value) in sorted {
            if name.starts_with('_') {
                return Err(KeyError::Reserved);
            }
            canonical::put_pair(&mut out, name, value)?;
        }
        if out.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLong { len: out.len() });
        }
        Ok(Self(out.into()))
    }

    /// Checks bytes from outside: only the canonical form passes. Copies nothing.
    pub fn parse(bytes: Bytes) -> Result<Self, KeyError> {
        Self::check(&bytes)?;
        Ok(Self(bytes))
    }

    /// Whether bytes from outside are a key in its canonical form.
    pub fn check(bytes: &[u8]) -> Result<(), KeyError> {
        canonical::check(bytes)
    }

    /// A copy of bytes that a record of this server's own tables kept.
    pub fn copied(canonical: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(canonical))
    }

    /// Reads what `Display` writes: `{name=value, …}` is pairs, anything else a path; a path that
    /// begins with `{` or `"` stands in quotes.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        text::parse(text)
    }

    /// The canonical bytes.
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The canonical bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The pairs, by name. A path is one pair.
    pub fn pairs(&self) -> Vec<(String, Value)> {
        canonical::pairs(&self.0)
    }

    /// The path, if the key is one.
    pub fn path(&self) -> Option<String> {
        match self.pairs().pop() {
            Some((name, Value::String(path))) if name == PATH_NAME => Some(path),
            Some(_) | None => None,
        }
    }
}

/// One pair in canonical form, whatever its name: what conditions compare with.
pub(crate) fn one_pair(name: &str, value: &Value) -> Result<Vec<u8>, KeyError> {
    let mut out = Vec::new();
    canonical::put_pair(&mut out, name, value)?;
    Ok(out)
}

/// A name as it stands in a key's bytes.
pub(crate) fn escaped(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    canonical::put_escaped(&mut out, name.as_bytes());
    out
}

/// How the canonical bytes of all paths begin that begin with `path`; of all paths if it is empty.
pub fn path_prefix(path: &str) -> Bytes {
    let mut out = Vec::with_capacity(path.len() + PATH_NAME.len() + 2);
    canonical::put_escaped(&mut out, PATH_NAME.as_bytes());
    out.extend([0, canonical::STRING]);
    canonical::put_escaped(&mut out, path.as_bytes());
    out.into()
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write(self, f)
    }
}

#[cfg(test)]
mod tests;
