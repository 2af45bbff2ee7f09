//! Numbers and strings, little endian. The reader believes nothing: it says at which byte it wanted
//! what, and copies only bytes that are there.

use crate::machine::table::Ref;
use crate::time::Stamp;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Why something could not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// The bytes end before it does. More may come.
    Ends,
    /// They are not what they should be.
    Bad {
        at: usize,
        expected: &'static str,
        found: u64,
    },
    /// They are of a version that is not known.
    Version { found: u16 },
}

pub(super) type Read<T> = Result<T, Fault>;

/// Appends to a buffer.
#[derive(Debug)]
pub(super) struct Writer<'a>(pub(super) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(super) fn u8(&mut self, number: u8) {
        self.0.push(number);
    }

    pub(super) fn u16(&mut self, number: u16) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn u128(&mut self, number: u128) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn bool(&mut self, yes: bool) {
        self.u8(u8::from(yes));
    }

    pub(super) fn stamp(&mut self, stamp: Stamp) {
        self.u64(stamp.as_nanos());
    }

    pub(super) fn count(&mut self, count: usize) {
        let Ok(count) = u32::try_from(count) else {
            panic!("a table holds fewer than 2^32 records: its limits say so");
        };
        self.u32(count);
    }

    pub(super) fn name<T>(&mut self, at: Ref<T>) {
        self.u32(at.raw());
    }

    pub(super) fn name_or_none<T>(&mut self, at: Option<Ref<T>>) {
        self.u32(at.map_or(0, Ref::raw));
    }

    /// A string that its limits keep below 256 bytes.
    pub(super) fn short_string(&mut self, bytes: &[u8]) {
        let Ok(len) = u8::try_from(bytes.len()) else {
            panic!("names of holders are shorter than 256 bytes");
        };
        self.u8(len);
        self.0.extend_from_slice(bytes);
    }

    /// A string that its limits keep below 4 GiB.
    pub(super) fn long_string(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// A string that its limits keep below 64 KiB.
    pub(super) fn string(&mut self, bytes: &[u8]) {
        let Ok(len) = u16::try_from(bytes.len()) else {
            panic!("keys and identifiers are shorter than 64 KiB");
        };
        self.u16(len);
        self.0.extend_from_slice(bytes);
    }
}

/// Takes from the front of a slice.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Of the content that the bytes are of; zero before it was read.
    pub(super) version: u16,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8], version: u16) -> Self {
        Self {
            bytes,
            at: 0,
            version,
        }
    }

    /// How many bytes were taken.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// How many are left.
    pub(super) const fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Gives back what was taken after the first `at` bytes.
    pub(super) fn back_to(&mut self, at: usize) {
        assert!(at <= self.at, "only what was taken is given back");
        self.at = at;
    }

    /// Takes the rest unread.
    pub(super) const fn skip(&mut self) {
        self.at = self.bytes.len();
    }

    /// What was read last, in `len` bytes, is wrong.
    pub(super) fn bad<T>(&self, len: usize, expected: &'static str, found: u64) -> Read<T> {
        let at = self.at.saturating_sub(len);
        Err(Fault::Bad {
            at,
            expected,
            found,
        })
    }

    fn slice(&mut self, len: usize) -> Read<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..len).ok_or(Fault::Ends)?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let taken = self.slice(N)?;
        taken.try_into().map_err(|_| Fault::Ends)
    }

    pub(super) fn u8(&mut self) -> Read<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Read<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Read<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Read<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn u128(&mut self) -> Read<u128> {
        self.array().map(u128::from_le_bytes)
    }

    pub(super) fn bool(&mut self) -> Read<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => self.bad(1, "0 or 1", other.into()),
        }
    }

    pub(super) fn stamp(&mut self) -> Read<Stamp> {
        self.u64().map(Stamp::from_nanos)
    }

    /// A number that is counted up, and never gets as far as 2^63.
    pub(super) fn counter(&mut self) -> Read<u64> {
        let number = self.u64()?;
        if number >> 63 == 0 {
            Ok(number)
        } else {
            self.bad(8, "a counter below 2^63", number)
        }
    }

    pub(super) fn name_or_none<T>(&mut self) -> Read<Option<Ref<T>>> {
        self.u32().map(Ref::from_raw)
    }

    pub(super) fn name<T>(&mut self) -> Read<Ref<T>> {
        match self.name_or_none()? {
            Some(at) => Ok(at),
            None => self.bad(4, "the name of a record", 0),
        }
    }

    pub(super) fn short_string(&mut self, len_max: usize) -> Read<&'a [u8]> {
        let len = self.u8()?;
        self.checked(len.into(), 1, len_max)
    }

    pub(super) fn string(&mut self, len_max: usize) -> Read<&'a [u8]> {
        let len = self.u16()?;
        self.checked(len.into(), 2, len_max)
    }

    pub(super) fn long_string(&mut self, len_max: usize) -> Read<&'a [u8]> {
        let len = self.u32()?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        self.checked(len, 4, len_max)
    }

    fn checked(&mut self, len: usize, len_bytes: usize, len_max: usize) -> Read<&'a [u8]> {
        if len > len_max {
            let found = u64::try_from(len).unwrap_or(u64::MAX);
            return self.bad(len_bytes, "a length within its limit", found);
        }
        self.slice(len)
    }
}

/// A copy that a record keeps.
pub(super) fn kept(bytes: &[u8]) -> Box<[u8]> {
    bytes.into()
}
