//! What a claim is about: one or many keys, each once, each in one mode.

use super::command::Mode;
use super::key::Key;
use crate::limits::{CLAIM_KEYS_MAX, KEY_BYTES_MAX};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// A key, and how it is to be shared.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part {
    /// What.
    pub key: Key,
    /// How it is shared.
    pub mode: Mode,
}

/// The keys of a claim: 1 to `CLAIM_KEYS_MAX` of them, each once, in the order of their canonical
/// bytes, `KEY_BYTES_MAX` bytes together. A claim of nothing, or of half of it, has no form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parts {
    first: Part,
    /// Empty for nearly all claims, and then without memory of its own.
    rest: Box<[Part]>,
}

/// Why some keys are no claim.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PartsError {
    /// Nothing is asked for.
    #[error("a claim has at least one key")]
    Empty,
    /// More keys than the limit.
    #[error("a claim of {count} keys; at most {CLAIM_KEYS_MAX}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// Some key is there twice, in whatever modes.
    #[error("a claim has each key once")]
    Twice,
    /// All together over the limit.
    #[error("the keys of a claim have {len} bytes; at most {KEY_BYTES_MAX}")]
    TooLong {
        /// How long, in canonical bytes.
        len: usize,
    },
}

impl Parts {
    /// A claim of one key.
    pub fn one(key: Key, mode: Mode) -> Self {
        Self {
            first: Part { key, mode },
            rest: Box::default(),
        }
    }

    /// A claim of these keys, in whatever order they come.
    pub fn new(mut parts: Vec<Part>) -> Result<Self, PartsError> {
        let count = parts.len();
        if count > CLAIM_KEYS_MAX {
            return Err(PartsError::TooMany { count });
        }
        parts.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let once = parts.is_sorted_by(|a, b| a.key < b.key);
        if !once {
            return Err(PartsError::Twice);
        }
        let len = parts.iter().map(|part| part.key.as_bytes().len()).sum();
        if len > KEY_BYTES_MAX {
            return Err(PartsError::TooLong { len });
        }
        let mut parts = parts.into_iter();
        let first = parts.next().ok_or(PartsError::Empty)?;
        let rest = parts.collect();
        Ok(Self { first, rest })
    }

    /// A claim of parts that the tables keep in order.
    pub(super) fn sorted(mut parts: impl Iterator<Item = Part>) -> Self {
        let Some(first) = parts.next() else {
            panic!("a claim has a key");
        };
        let rest = parts.collect();
        Self { first, rest }
    }

    /// The first key in canonical order: the one that names the claim where one name is needed, as in
    /// its token.
    pub const fn first(&self) -> &Part {
        &self.first
    }

    /// All keys, in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = &Part> {
        core::iter::once(&self.first).chain(&*self.rest)
    }

    /// How many keys.
    pub const fn count(&self) -> usize {
        self.rest.len() + 1
    }

    /// The part with this key.
    pub fn of(&self, key: &Key) -> Option<&Part> {
        self.iter().find(|part| part.key == *key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec;

    fn part(path: &str) -> Part {
        Part {
            key: Key::from_path(path).unwrap(),
            mode: Mode::Exclusive,
        }
    }

    #[test]
    fn whatever_the_order_the_claim_is_the_same() {
        let there = Parts::new(vec![part("a"), part("b"), part("c")]).unwrap();
        let back = Parts::new(vec![part("c"), part("a"), part("b")]).unwrap();
        assert_eq!(there, back);
        assert_eq!(there.first(), &part("a"));
        assert_eq!(there.count(), 3);
        assert_eq!(there.of(&part("b").key), Some(&part("b")));
    }

    #[test]
    fn one_key_is_a_claim_like_any() {
        let one = Parts::one(part("a").key, Mode::Exclusive);
        assert_eq!(Parts::new(vec![part("a")]), Ok(one));
    }

    #[test]
    fn what_is_no_claim_is_refused() {
        assert_eq!(Parts::new(vec![]), Err(PartsError::Empty));
        let shared = Part {
            mode: Mode::Shared,
            ..part("a")
        };
        let twice = Parts::new(vec![part("a"), part("b"), shared]);
        assert_eq!(twice, Err(PartsError::Twice));
        let many = |count: usize| {
            let parts = (0..count).map(|n| part(&alloc::format!("{n:03}")));
            Parts::new(parts.collect()).map(|parts| parts.count())
        };
        assert_eq!(many(CLAIM_KEYS_MAX), Ok(CLAIM_KEYS_MAX));
        let count = CLAIM_KEYS_MAX + 1;
        assert_eq!(many(count), Err(PartsError::TooMany { count }));
        let long = |n: char| part(&String::from(n).repeat(1000));
        let parts = ('a'..'q').map(long).collect();
        assert_eq!(
            Parts::new(parts),
            Ok(Parts::new(('a'..'q').map(long).collect()).unwrap())
        );
        let parts = Parts::new(('a'..'r').map(long).collect());
        assert!(matches!(parts, Err(PartsError::TooLong { len }) if len > KEY_BYTES_MAX));
    }
}
