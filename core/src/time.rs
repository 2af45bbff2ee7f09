//! Time is an argument.
//!
//! There are two kinds. A [`Timestamp`] is the host's clock: it steers elections and retries, and
//! means nothing on another server. A [`Stamp`] is the cluster's time: the leader writes it into
//! every log entry, and it is the only time that the lock machine can name.

use core::time::Duration;
use serde::{Deserialize, Serialize};

/// Nanoseconds of a duration, as many as fit (2^64 ns are 584 years).
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

macro_rules! instant {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The beginning.
            pub const ZERO: Self = Self(0);
            /// Later than everything.
            pub const MAX: Self = Self(u64::MAX);

            /// Nanoseconds since the beginning.
            pub const fn from_nanos(nanos: u64) -> Self {
                Self(nanos)
            }

            /// Nanoseconds since the beginning, for printing and for bytes.
            pub const fn as_nanos(self) -> u64 {
                self.0
            }

            /// `delay` later; the end of time if that is too far.
            #[must_use]
            pub fn plus(self, delay: Duration) -> Self {
                Self(self.0.saturating_add(nanos(delay)))
            }

            /// How long after `earlier`; zero if it is not after.
            pub const fn since(self, earlier: Self) -> Duration {
                Duration::from_nanos(self.0.saturating_sub(earlier.0))
            }
        }
    };
}

instant!(
    /// What the host's clock says. Never goes back on one server; means nothing on another.
    Timestamp
);
instant!(
    /// Time as the log agreed on it, since the cluster began. Never goes back, and stands still
    /// while no quorum serves.
    Stamp
);
