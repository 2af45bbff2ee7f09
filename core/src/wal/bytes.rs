//! Small words about slices, in which nothing can go out of bounds.

use super::ATOM_BYTES;

/// A length as it is written. Nothing in memory here is longer than 2^32.
pub(super) fn u32_of(len: usize) -> u32 {
    let Ok(len) = u32::try_from(len) else {
        panic!("a length in the log fits 32 bits");
    };
    len
}

/// A length as it is counted in a file.
pub(super) fn u64_of(len: usize) -> u64 {
    let Ok(len) = u64::try_from(len) else {
        panic!("a length in memory fits 64 bits");
    };
    len
}

/// A length that was read; more than memory can hold is as good as the most.
pub(super) fn usize_of(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// `len` rounded up to a multiple of `unit`, or the most there is.
pub(super) fn round_up(len: usize, unit: usize) -> usize {
    len.checked_next_multiple_of(unit).unwrap_or(usize::MAX)
}

/// The bytes from `from` to `to`; fewer, or none, where the slice ends.
pub(super) fn part(bytes: &[u8], from: usize, to: usize) -> &[u8] {
    let to = to.min(bytes.len());
    bytes.get(from..to).unwrap_or_default()
}

/// Whether every byte is zero. Compares sixteen at a time.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<16>();
    blocks.iter().all(|block| u128::from_le_bytes(*block) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

/// The end of the last atom that is not zero, or `from`, which begins an atom.
pub(super) fn written_end(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let atoms = rest.chunks(ATOM_BYTES);
    let dirty = atoms.len() - atoms.rev().take_while(|atom| is_zero(atom)).count();
    from + (dirty * ATOM_BYTES).min(rest.len())
}
