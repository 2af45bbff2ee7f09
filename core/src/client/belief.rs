//! How long a client may believe what a server said.

use crate::time::Timestamp;
use core::time::Duration;

/// How much a clock may run fast or slow, in parts per million: 500, as in NTP (RFC 5905, §4), five
/// times what crystals do. `docs/LOCKS.md` states it as an assumption.
pub const DRIFT_PPM: u64 = 500;

const MILLION: u64 = 1_000_000;

/// The part of a time to live that a client may count on its own clock: `ttl × (1 - 2ρ)`.
///
/// The service counts a ttl by a clock that may run fast by ρ, and the client by one that may run
/// slow by ρ. `(1 - 2ρ) ≤ (1 - ρ) / (1 + ρ)`, so the client is through before the service is.
pub fn trusted(ttl: Duration) -> Duration {
    let nanos = u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
    // Rounded down, in an order that neither overflows nor loses a millionth.
    let (millions, rest) = (nanos / MILLION, nanos % MILLION);
    let part = MILLION - 2 * DRIFT_PPM;
    Duration::from_nanos(millions * part + rest * part / MILLION)
}

/// Until when something that was first asked for at `sent` may be believed.
pub fn until(sent: Timestamp, ttl: Duration) -> Timestamp {
    sent.plus(trusted(ttl))
}

const _: () = {
    // (1 - 2ρ)(1 + ρ) ≤ (1 - ρ), in millionths.
    let fast = MILLION + DRIFT_PPM;
    let slow = MILLION - DRIFT_PPM;
    assert!((MILLION - 2 * DRIFT_PPM) * fast <= slow * MILLION);
};
