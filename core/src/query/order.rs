//! In which order: by keys, by the values of some pairs, or at random.

use super::selector::{SelectorError, parse};
use crate::hash::hash64_after;
use crate::limits::{ORDER_NAMES_MAX, SELECTOR_BYTES_MAX};
use crate::machine::key::{RawPair, Reader, escaped};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;

/// An order of keys. Whatever it is, no two keys are equal in it: those that are by what is asked for
/// stand in the order of keys. `Display` writes what it was read from.
///
/// ```text
/// order = "random(" number ")"                the order of a shuffle: of another one with another number
///       | by ( "," by )*                      shard, -env
/// by    = "-"? name                           by the value of this pair, type first; from the greatest on with -
/// ```
/// Keys without the pair come last, with and without `-`. No text at all is the order of keys.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Order {
    text: Box<str>,
    by: By,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum By {
    Pairs(Vec<Named>),
    Random(u64),
}

impl Default for By {
    fn default() -> Self {
        Self::Pairs(Vec::new())
    }
}

/// One pair to sort by.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Named {
    /// As it stands in a key's bytes.
    name: Box<[u8]>,
    is_descending: bool,
}

impl Order {
    /// Reads what a user wrote.
    ///
    /// # Errors
    ///
    /// It is no order, or of more than `ORDER_NAMES_MAX` names or `SELECTOR_BYTES_MAX` bytes.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(SelectorError::TooLong { len: text.len() });
        }
        let by = if let Some(seed) = text.strip_prefix("random(") {
            let seed = seed.strip_suffix(')').and_then(|seed| seed.parse().ok());
            let expected = "a number from 0 to 2^64 - 1, and )";
            By::Random(seed.ok_or(wrong("random(".len(), expected))?)
        } else if text.is_empty() {
            By::default()
        } else {
            By::Pairs(names(text)?)
        };
        let text = text.into();
        Ok(Self { text, by })
    }

    /// Whether it is the order of keys.
    pub fn is_of_keys(&self) -> bool {
        self.text.is_empty()
    }

    /// How two keys stand, by their canonical bytes.
    pub(crate) fn compare(&self, a: &[u8], b: &[u8]) -> Ordering {
        let asked = match &self.by {
            By::Pairs(names) => {
                let mut each = names.iter().map(|named| named.compare(a, b));
                each.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
            }
            By::Random(seed) => hash64_after(*seed, a).cmp(&hash64_after(*seed, b)),
        };
        asked.then_with(|| a.cmp(b))
    }
}

impl Named {
    fn compare(&self, a: &[u8], b: &[u8]) -> Ordering {
        let of = |key| RawPair::named(key, &self.name).map(|pair| (pair.tag, pair.value));
        match (of(a), of(b)) {
            (Some(a), Some(b)) if self.is_descending => b.cmp(&a),
            (Some(a), Some(b)) => a.cmp(&b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        }
    }
}

fn names(text: &str) -> Result<Vec<Named>, SelectorError> {
    let mut reader = Reader::new(text);
    let mut names = Vec::new();
    loop {
        reader.spaces();
        let offset = reader.at();
        let is_descending = reader.skip("-");
        let name = parse::name(&mut reader)?;
        if names.len() == ORDER_NAMES_MAX {
            return Err(SelectorError::TooManyNames { offset });
        }
        names.push(Named {
            name: escaped(&name).into(),
            is_descending,
        });
        reader.spaces();
        if reader.rest().is_empty() {
            return Ok(names);
        }
        if !reader.skip(",") {
            return Err(wrong(reader.at(), ", or the end"));
        }
    }
}

const fn wrong(offset: usize, expected: &'static str) -> SelectorError {
    SelectorError::Text { offset, expected }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
