//! One hash for everything that must be equal on every server: XXH3, which is specified by its
//! reference implementation and gives the same value on every machine and in every version.
//!
//! It finds accidents, not attackers: what must resist one is an HMAC.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The hash of `bytes`.
pub fn hash64(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// The hash of `bytes` after `seed`: chains when `seed` is the hash of what came before.
pub fn hash64_after(seed: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, seed)
}
