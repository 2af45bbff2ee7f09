//! How a lock is wanted.

use crate::error::Error;
use std::time::Duration;
use tenure_core::limits::TTL_MS_DEFAULT;
use tenure_core::machine::command::{Life, Mode};
use tenure_core::machine::key::Key;

/// A claim that is being described: exclusive, leased for 30 s, now or not at all, unless said.
#[must_use = "nothing happens before it is acquired"]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claim {
    pub(crate) key: Key,
    pub(crate) mode: Mode,
    pub(crate) life: Life,
    pub(crate) wait: Duration,
    pub(crate) holder: String,
}

impl Claim {
    /// A lock by its path.
    ///
    /// # Errors
    ///
    /// The path is empty, or longer than 1 KiB.
    pub fn new(path: &str) -> Result<Self, Error> {
        let key = Key::from_path(path).map_err(|error| Error::Invalid(error.to_string()))?;
        Ok(Self::of(key))
    }

    /// A lock by any key.
    pub const fn of(key: Key) -> Self {
        Self {
            key,
            mode: Mode::Exclusive,
            life: Life::Lease {
                ttl_ms: TTL_MS_DEFAULT,
            },
            wait: Duration::ZERO,
            holder: String::new(),
        }
    }

    /// Which lock.
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// How it is shared.
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// It lives for so long after the grant and each renewal: 0.5 s to 24 h.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        let ttl_ms = millis(ttl);
        self.life = Life::Lease { ttl_ms };
        self
    }

    /// It lives until it is released.
    pub const fn forever(mut self) -> Self {
        self.life = Life::Static;
        self
    }

    /// How long to wait in line for it, at most.
    pub const fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Who has it, for people; at most 128 bytes. Over HTTP, the caller's address if it is empty.
    pub fn holder(mut self, holder: impl Into<String>) -> Self {
        self.holder = holder.into();
        self
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
