//! See `tenure_fuzz::superblock`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tenure_fuzz::superblock(bytes));
