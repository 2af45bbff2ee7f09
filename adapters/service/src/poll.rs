//! Watching where nothing is pushed: asking again, after pauses that grow while nothing changes
//! (`docs/decisions/0120-one-trait.md`).

use crate::error::Error;
use crate::service::LockService;
use crate::views::Lock;
use std::time::Duration;
use tenure_core::machine::key::Key;
use tenure_rt::clock;

/// The first pause: a change that follows at once is soon seen.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest one: what a watcher costs the cluster is one question a second.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Ends when the lock is another than `seen`.
pub(crate) async fn until_other(
    service: &impl LockService,
    key: &Key,
    seen: &Lock,
) -> Result<Lock, Error> {
    let mut pause = PAUSE_MIN;
    loop {
        let now = service.query(key).await?;
        if now.is_other(seen) {
            return Ok(now);
        }
        clock::sleep_until(clock::now().plus(pause)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
