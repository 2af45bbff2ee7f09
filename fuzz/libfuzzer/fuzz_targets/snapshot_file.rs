//! See `tenure_fuzz::snapshot_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tenure_fuzz::snapshot_file(bytes));
