//! Time, as the host's clock says it.

use std::pin::Pin;
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

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A timer for a deadline that moves all the time, mostly to later.
///
/// To set a timer that is earlier than all others costs a system call or two (tokio wakes its own
/// driver), and a loop that waits for the next of its deadlines does it in every turn. This one stays
/// as it is when its deadline moves to later: it rings early once, and is set anew then.
#[derive(Default)]
pub struct Alarm {
    set: Option<(Timestamp, Sleep)>,
}

impl Alarm {
    /// Waits until [`now`] is at least `when`, or less long: look what is due, and wait again. May
    /// be dropped at any moment.
    pub async fn ring(&mut self, when: Timestamp) {
        let set = self.set.take().filter(|(at, _)| *at <= when);
        let set = set.unwrap_or_else(|| (when, Box::pin(sleep_until(when)) as Sleep));
        self.set.insert(set).1.as_mut().await;
        self.set = None;
    }
}

/// `None` if `work` takes longer than `limit`; it is dropped then.
pub async fn timeout<F: Future>(limit: Duration, work: F) -> Option<F::Output> {
    tokio::time::timeout(limit, work).await.ok()
}
