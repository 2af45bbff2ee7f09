//! What is locked: a set of typed key-value pairs, or a path, as canonical bytes.

use bytes::Bytes;

/// A key in its canonical form: equal keys have equal bytes, and bytes sort as keys do.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key(Bytes);
