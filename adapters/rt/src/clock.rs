//! Time, as the host's clock says it.

use std::time::Duration;
use tenure_core::time::Timestamp;

/// Nanoseconds since the machine started, suspends included: a lease of 30 s is over after a
/// suspend of 30 s, although a monotonic clock would have stood still.
#[cfg(not(madsim))]
pub fn now() -> Timestamp {
    use rustix::time::{ClockId, clock_gettime};
    let spec = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(spec.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(spec.tv_nsec).unwrap_or(0);
    Timestamp::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Nanoseconds of simulated time.
#[cfg(madsim)]
pub fn now() -> Timestamp {
    Timestamp::from_nanos(since_1970().as_nanos().try_into().unwrap_or(u64::MAX))
}

/// Wall-clock time since 1970: for what people read, and to begin fences above an earlier life.
/// Never for a decision: it may step.
pub fn since_1970() -> Duration {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
}

/// Waits for `delay`, rounded up to the next millisecond.
pub async fn sleep(delay: Duration) {
    tokio::time::sleep(delay).await;
}

/// Waits until [`now`] is at least `when`, rounded up to the next millisecond.
pub async fn sleep_until(when: Timestamp) {
    loop {
        let left = when.since(now());
        if left.is_zero() {
            return;
        }
        sleep(left).await;
    }
}

/// `None` if `work` takes longer than `limit`; it is dropped then.
pub async fn timeout<F: Future>(limit: Duration, work: F) -> Option<F::Output> {
    tokio::time::timeout(limit, work).await.ok()
}
