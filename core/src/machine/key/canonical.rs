//! The one form of a key's bytes.

use super::{KeyError, PATH_NAME, Value};
use crate::limits::{KEY_BYTES_MAX, KEY_PAIRS_MAX, NAME_BYTES_MAX, VALUE_BYTES_MAX};
use alloc::string::String;
use alloc::vec::Vec;

const U8: u8 = 1;
const U16: u8 = 2;
const U32: u8 = 3;
const U64: u8 = 4;
const I8: u8 = 5;
const I16: u8 = 6;
const I32: u8 = 7;
const I64: u8 = 8;
const F32: u8 = 9;
const F64: u8 = 10;
/// The tag of a string.
pub(super) const STRING: u8 = 11;
const BYTES: u8 = 12;

const SIGN_32: u32 = 1 << 31;
const SIGN_64: u64 = 1 << 63;

/// Writes one pair, after checking it.
pub(super) fn put_pair(out: &mut Vec<u8>, name: &str, value: &Value) -> Result<(), KeyError> {
    if name.is_empty() {
        return Err(KeyError::NameEmpty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(KeyError::NameTooLong { len: name.len() });
    }
    put_escaped(out, name.as_bytes());
    out.push(0);
    match value {
        Value::U8(number) => put(out, U8, &number.to_be_bytes()),
        Value::U16(number) => put(out, U16, &number.to_be_bytes()),
        Value::U32(number) => put(out, U32, &number.to_be_bytes()),
        Value::U64(number) => put(out, U64, &number.to_be_bytes()),
        Value::I8(number) => put(out, I8, &(number ^ i8::MIN).to_be_bytes()),
        Value::I16(number) => put(out, I16, &(number ^ i16::MIN).to_be_bytes()),
        Value::I32(number) => put(out, I32, &(number ^ i32::MIN).to_be_bytes()),
        Value::I64(number) => put(out, I64, &(number ^ i64::MIN).to_be_bytes()),
        Value::F32(number) => put(out, F32, &sortable_32(*number)?.to_be_bytes()),
        Value::F64(number) => put(out, F64, &sortable_64(*number)?.to_be_bytes()),
        Value::String(text) => put_bytes(out, STRING, text.as_bytes())?,
        Value::Bytes(bytes) => put_bytes(out, BYTES, bytes)?,
    }
    Ok(())
}

fn put(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.push(tag);
    out.extend_from_slice(value);
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, value: &[u8]) -> Result<(), KeyError> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(KeyError::ValueTooLong { len: value.len() });
    }
    out.push(tag);
    put_escaped(out, value);
    out.push(0);
    Ok(())
}

/// Writes `bytes` with each zero as `00 ff`.
pub(super) fn put_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
}

fn sortable_32(number: f32) -> Result<u32, KeyError> {
    if number.is_nan() {
        return Err(KeyError::NotANumber);
    }
    let bits = if number == 0.0 { 0 } else { number.to_bits() };
    Ok(if bits & SIGN_32 == 0 {
        bits | SIGN_32
    } else {
        !bits
    })
}

fn sortable_64(number: f64) -> Result<u64, KeyError> {
    if number.is_nan() {
        return Err(KeyError::NotANumber);
    }
    let bits = if number == 0.0 { 0 } else { number.to_bits() };
    Ok(if bits & SIGN_64 == 0 {
        bits | SIGN_64
    } else {
        !bits
    })
}

const fn number_32(sortable: u32) -> f32 {
    f32::from_bits(if sortable & SIGN_32 == 0 {
        !sortable
    } else {
        sortable ^ SIGN_32
    })
}

const fn number_64(sortable: u64) -> f64 {
    f64::from_bits(if sortable & SIGN_64 == 0 {
        !sortable
    } else {
        sortable ^ SIGN_64
    })
}

/// Whether `bytes` are the canonical form of a key. Allocates nothing.
pub(super) fn check(bytes: &[u8]) -> Result<(), KeyError> {
    if bytes.is_empty() {
        return Err(KeyError::Empty);
    }
    if bytes.len() > KEY_BYTES_MAX {
        return Err(KeyError::TooLong { len: bytes.len() });
    }
    let mut reader = Reader { bytes, at: 0 };
    let mut before: &[u8] = &[];
    let mut count = 0;
    while reader.at < bytes.len() {
        let start = reader.at;
        let pair = reader.pair()?;
        count += 1;
        if count > KEY_PAIRS_MAX {
            return Err(KeyError::TooManyPairs { count });
        }
        if pair.name <= before {
            return Err(not_canonical(start, "a name after the one before"));
        }
        before = pair.name;
        if pair.name.starts_with(b"_") {
            let whole = start == 0 && reader.at == bytes.len();
            let path = pair.name == PATH_NAME.as_bytes() && pair.tag == STRING;
            if !(whole && path) {
                return Err(KeyError::Reserved);
            }
            check_path(pair.value)?;
        }
    }
    Ok(())
}

fn check_path(escaped: &[u8]) -> Result<(), KeyError> {
    let len = unescaped_len(escaped);
    if len == 0 {
        return Err(KeyError::Empty);
    }
    if len > NAME_BYTES_MAX {
        return Err(KeyError::NameTooLong { len });
    }
    Ok(())
}

/// The pairs of a checked key.
pub(super) fn pairs(bytes: &[u8]) -> Vec<(String, Value)> {
    let pairs = RawPair::all(bytes);
    pairs
        .map(|pair| (text(&unescaped(pair.name)), pair.decode()))
        .collect()
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// One pair of a key as its bytes have it: name and value still escaped, without their ends. Two
/// values of one type sort as these bytes do.
pub(crate) struct RawPair<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) tag: u8,
    pub(crate) value: &'a [u8],
}

impl<'a> RawPair<'a> {
    /// The pairs of a checked key, by name.
    pub(crate) fn all(bytes: &'a [u8]) -> impl Iterator<Item = Self> {
        let mut reader = Reader { bytes, at: 0 };
        core::iter::from_fn(move || {
            (reader.at < bytes.len()).then(|| match reader.pair() {
                Ok(pair) => pair,
                Err(_) => panic!("the bytes of a key were checked when it was made"),
            })
        })
    }

    /// The pair of a checked key with this name, which is escaped.
    pub(crate) fn named(bytes: &'a [u8], name: &[u8]) -> Option<Self> {
        let mut pairs = Self::all(bytes);
        pairs.find(|pair| pair.name == name)
    }
}

/// The names of the types, in the order of their tags.
const TYPES: [&str; 12] = [
    "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f32", "f64", "string", "bytes",
];

/// The tag of the type that is called so.
pub(crate) fn tag_of(name: &str) -> Option<u8> {
    let at = TYPES.iter().position(|known| *known == name)?;
    u8::try_from(at + 1).ok()
}

impl<'a> Reader<'a> {
    fn pair(&mut self) -> Result<RawPair<'a>, KeyError> {
        let start = self.at;
        let name = self.escaped(true)?;
        if name.is_empty() {
            return Err(not_canonical(start, "a name"));
        }
        if unescaped_len(name) > NAME_BYTES_MAX {
            return Err(KeyError::NameTooLong {
                len: unescaped_len(name),
            });
        }
        let tag_at = self.at;
        let tag = self.fixed(1)?.first().copied().unwrap_or_default();
        let start = self.at;
        let value = match tag {
            U8 | I8 => self.fixed(1)?,
            U16 | I16 => self.fixed(2)?,
            U32 | I32 => self.fixed(4)?,
            U64 | I64 => self.fixed(8)?,
            F32 => self.float(4)?,
            F64 => self.float(8)?,
            STRING | BYTES => self.escaped(tag == STRING)?,
            _ => return Err(not_canonical(tag_at, "the tag of a type")),
        };
        if unescaped_len(value) > VALUE_BYTES_MAX && matches!(tag, STRING | BYTES) {
            return Err(KeyError::ValueTooLong {
                len: self.at - start,
            });
        }
        Ok(RawPair { name, tag, value })
    }

    fn fixed(&mut self, len: usize) -> Result<&'a [u8], KeyError> {
        let value = self
            .bytes
            .get(self.at..self.at + len)
            .ok_or(not_canonical(self.bytes.len(), "the rest of a pair"))?;
        self.at += len;
        Ok(value)
    }

    /// A float that is a number and not -0, which [`put_pair`] never writes.
    fn float(&mut self, len: usize) -> Result<&'a [u8], KeyError> {
        let start = self.at;
        let value = self.fixed(len)?;
        let sortable = big_endian(value);
        let (nan, minus_zero) = if len == 4 {
            let sortable = u32::try_from(sortable).unwrap_or_default();
            (number_32(sortable).is_nan(), sortable == !SIGN_32)
        } else {
            (number_64(sortable).is_nan(), sortable == !SIGN_64)
        };
        if nan || minus_zero {
            return Err(not_canonical(start, "a number other than -0"));
        }
        Ok(value)
    }

    /// Up to the zero that is not an escaped one, without it.
    fn escaped(&mut self, utf8: bool) -> Result<&'a [u8], KeyError> {
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let len = rest
                .iter()
                .position(|byte| *byte == 0)
                .ok_or(not_canonical(self.bytes.len(), "the zero that ends it"))?;
            // A zero is a character of its own, so the text between two is text by itself.
            let piece = rest.get(..len).unwrap_or_default();
            if utf8 && core::str::from_utf8(piece).is_err() {
                return Err(not_canonical(self.at, "UTF-8"));
            }
            let end = self.at + len;
            if rest.get(len + 1) == Some(&0xff) {
                self.at = end + 2;
            } else {
                self.at = end + 1;
                return Ok(self.bytes.get(start..end).unwrap_or_default());
            }
        }
    }
}

impl RawPair<'_> {
    fn decode(&self) -> Value {
        let number = big_endian(self.value);
        match self.tag {
            U8 => Value::U8(low(number)),
            U16 => Value::U16(low(number)),
            U32 => Value::U32(low(number)),
            U64 => Value::U64(number),
            I8 => Value::I8(low::<u8>(number).cast_signed() ^ i8::MIN),
            I16 => Value::I16(low::<u16>(number).cast_signed() ^ i16::MIN),
            I32 => Value::I32(low::<u32>(number).cast_signed() ^ i32::MIN),
            I64 => Value::I64(number.cast_signed() ^ i64::MIN),
            F32 => Value::F32(number_32(low(number))),
            F64 => Value::F64(number_64(number)),
            STRING => Value::String(text(&unescaped(self.value))),
            _ => Value::Bytes(unescaped(self.value)),
        }
    }
}

/// A number of at most eight bytes; the first eight of more.
fn big_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn low<T: TryFrom<u64> + Default>(number: u64) -> T {
    T::try_from(number).unwrap_or_default()
}

fn unescaped_len(escaped: &[u8]) -> usize {
    escaped.len() - escaped.iter().filter(|byte| **byte == 0).count()
}

fn unescaped(escaped: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(byte) = bytes.next() {
        out.push(*byte);
        if *byte == 0 {
            bytes.next();
        }
    }
    out
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const fn not_canonical(offset: usize, expected: &'static str) -> KeyError {
    KeyError::NotCanonical { offset, expected }
}
