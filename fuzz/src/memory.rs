//! How much memory some work may take.

use allocation_counter::measure;

/// What any input may cost.
const ROOM_BYTES: u64 = 64 << 10;

/// Does `work` on `len` bytes of input. It may hold at most 64 KiB and `times` as many bytes at once.
pub(crate) fn within<T>(len: usize, times: u64, work: impl FnOnce() -> T) -> T {
    let mut done = None;
    let cost = measure(|| done = Some(work()));
    let len = u64::try_from(len).expect("a length fits 64 bits");
    let allowed = ROOM_BYTES + times * len;
    assert!(
        cost.bytes_max <= allowed,
        "{} bytes were held at once for {len} bytes of input; {allowed} are allowed",
        cost.bytes_max
    );
    done.expect("the work was done")
}

#[cfg(test)]
mod tests {
    use super::within;

    #[test]
    #[should_panic(expected = "bytes were held at once")]
    fn memory_beyond_the_limit_is_seen() {
        within(10, 4, || drop(vec![0_u8; 70_000]));
    }

    #[test]
    fn memory_in_the_limit_is_allowed() {
        assert_eq!(within(10_000, 4, || vec![0_u8; 70_000].len()), 70_000);
    }
}
