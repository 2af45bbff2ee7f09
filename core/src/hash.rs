//! One hash for everything that must be equal on every server: XXH3, which is specified by its
//! reference implementation and gives the same value on every machine and in every version.
//!
//! It finds accidents, not attackers: what must resist one is an HMAC.

use core::fmt;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64, xxh3_64_with_seed};

/// The hash of `bytes`.
pub fn hash64(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// The hash of `bytes` after `seed`: chains when `seed` is the hash of what came before.
pub fn hash64_after(seed: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, seed)
}

/// The hash of bytes that come in pieces. It does not depend on where they were cut.
#[derive(Clone, Default)]
pub struct Stream64(Xxh3Default);

impl Stream64 {
    /// Before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// What [`hash64`] says of all pieces so far.
    pub fn digest(&self) -> u64 {
        self.0.digest()
    }
}

impl fmt::Debug for Stream64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream64({:016x})", self.digest())
    }
}
