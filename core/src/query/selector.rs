//! Which locks: a condition on the pairs of a key.
//!
//! ```text
//! selector = all  ( "or" all )*
//! all      = term ( "and" term )*
//! term     = "(" selector ")"
//!          | name compare value      shard >= 5u8     the pair is there, of the value's type, and compares so
//!          | name "=" "any"          env = any        the pair is there
//!          | name ":" type           shard:u8         the pair is there, of this type
//!          | name ":" type ".." type shard:u8..u64    or of one between these two, in the order of types
//!          | "_pairs" compare number _pairs <= 3      how many pairs the key has, reserved ones not counted
//! compare  = "=" "!=" "<" "<=" ">" ">="
//! ```
//! Values and names are written as in a key's text; `_path` is the name of a path. `and` binds more
//! tightly than `or`. A value of another type is neither equal nor more nor less, but it is `!=`; a
//! pair that is missing is nothing at all, also not `!=`.

use crate::limits::{ORDER_NAMES_MAX, SELECTOR_BYTES_MAX, SELECTOR_DEPTH_MAX, SELECTOR_TERMS_MAX};
use crate::machine::key::{KeyError, RawPair};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;

pub(super) mod parse;

/// A condition on a key. `Display` writes what it was read from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Selector {
    text: Box<str>,
    node: Node,
}

/// Why text is no selector.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SelectorError {
    /// Over the limit.
    #[error("{len} bytes; at most {SELECTOR_BYTES_MAX}")]
    TooLong {
        /// How long.
        len: usize,
    },
    /// Parentheses in parentheses, over the limit.
    #[error("at byte {offset}: parentheses are at most {SELECTOR_DEPTH_MAX} deep")]
    TooDeep {
        /// Of the one too many.
        offset: usize,
    },
    /// More terms than the limit.
    #[error("at byte {offset}: at most {SELECTOR_TERMS_MAX} terms")]
    TooManyTerms {
        /// Of the one too many.
        offset: usize,
    },
    /// More names to sort by than the limit.
    #[error("at byte {offset}: at most {ORDER_NAMES_MAX} names")]
    TooManyNames {
        /// Of the one too many.
        offset: usize,
    },
    /// It does not go on as a selector does.
    #[error("at byte {offset}: expected {expected}")]
    Text {
        /// Where.
        offset: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// A name or value that no key has.
    #[error("at byte {offset}: {why}")]
    Key {
        /// Where it begins.
        offset: usize,
        /// Why no key has it.
        why: KeyError,
    },
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Node {
    Any(Vec<Node>),
    All(Vec<Node>),
    Pair {
        pair: Operand,
        compare: Compare,
    },
    Types {
        name: Box<[u8]>,
        /// The first and the last type by the order of types. None: any.
        bounds: Option<(u8, u8)>,
    },
    Count {
        compare: Compare,
        pairs: usize,
    },
}

/// What a pair is compared with, as it would stand in a key.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Operand {
    name: Box<[u8]>,
    tag: u8,
    value: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Compare {
    Is,
    IsNot,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Compare {
    const fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Is => order.is_eq(),
            Self::IsNot => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::More => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }
}

impl Selector {
    /// Reads what a user wrote.
    ///
    /// # Errors
    ///
    /// It is no selector, or over a limit: more than `SELECTOR_BYTES_MAX` bytes, `SELECTOR_TERMS_MAX`
    /// terms, or `SELECTOR_DEPTH_MAX` parentheses in each other.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let node = parse::selector(text)?;
        let text = text.into();
        Ok(Self { text, node })
    }

    /// Whether a key is meant, by its canonical bytes. Linear in the pairs of the key and the terms of the
    /// selector; allocates nothing.
    pub(crate) fn matches(&self, key: &[u8]) -> bool {
        self.node.matches(key)
    }
}

impl Node {
    fn matches(&self, key: &[u8]) -> bool {
        match self {
            Self::Any(nodes) => nodes.iter().any(|node| node.matches(key)),
            Self::All(nodes) => nodes.iter().all(|node| node.matches(key)),
            Self::Pair { pair, compare } => {
                let found = RawPair::named(key, &pair.name);
                found.is_some_and(|found| pair.is_met_by(&found, *compare))
            }
            Self::Types { name, bounds } => RawPair::named(key, name).is_some_and(|found| {
                bounds.is_none_or(|(first, last)| (first..=last).contains(&found.tag))
            }),
            Self::Count { compare, pairs } => {
                let own = RawPair::all(key).filter(|pair| !pair.name.starts_with(b"_"));
                compare.holds(own.count().cmp(pairs))
            }
        }
    }
}

impl Operand {
    fn is_met_by(&self, found: &RawPair<'_>, compare: Compare) -> bool {
        if found.tag == self.tag {
            compare.holds(found.value.cmp(&*self.value))
        } else {
            compare == Compare::IsNot
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
