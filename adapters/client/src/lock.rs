//! How a lock is wanted.

use crate::error::Error;
use crate::guard::Guard;
use crate::handle::Client;
use crate::options::millis;
use bytes::Bytes;
use std::time::Duration;
use tenure_core::client::Want;
use tenure_core::limits::TTL_MS_DEFAULT;
use tenure_core::machine::answer::Answer;
use tenure_core::machine::command::{Acquire, Life, Mode};
use tenure_core::machine::key::{Key, KeyError};
use tenure_core::machine::parts::Parts;
use tenure_core::wire::client::Word;

/// A claim that is being described. Exclusive, and for 30 s, renewed by the client; or for as long as
/// the session lives, if the client has one.
#[must_use = "nothing happens before it is acquired"]
#[derive(Clone, Debug)]
pub struct LockRequest {
    client: Client,
    key: Result<Key, KeyError>,
    mode: Mode,
    life: Life,
    wait: Duration,
    holder: Bytes,
    renew: bool,
    reentrant: bool,
}

impl LockRequest {
    pub(crate) fn new(client: Client, key: Result<Key, KeyError>, session: bool) -> Self {
        let lease = Life::Lease {
            ttl_ms: TTL_MS_DEFAULT,
        };
        Self {
            client,
            key,
            mode: Mode::Exclusive,
            life: if session { Life::Session } else { lease },
            wait: Duration::ZERO,
            holder: Bytes::new(),
            renew: true,
            reentrant: false,
        }
    }

    /// Others may share it.
    pub const fn shared(mut self) -> Self {
        self.mode = Mode::Shared;
        self
    }

    /// It is shared in this mode: exclusive unless said. The classical modes meet each other as in
    /// `docs/LOCKS.md`.
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// So many permits of a lock that has `capacity` of them. Who uses the lock first says how many it
    /// has, and the others say the same.
    pub const fn permits(self, n: u32, capacity: u32) -> Self {
        self.mode(Mode::Permits { n, capacity })
    }

    /// It lives for so long after each renewal.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        let ttl_ms = millis(ttl);
        self.life = Life::Lease { ttl_ms };
        self
    }

    /// It lives until it is released, whatever happens to the client.
    pub const fn forever(mut self) -> Self {
        self.life = Life::Static;
        self
    }

    /// How long to wait for it; not at all unless said.
    pub const fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// The holder's name, for people; at most 128 bytes.
    pub fn holder(mut self, holder: &str) -> Self {
        self.holder = Bytes::copy_from_slice(holder.as_bytes());
        self
    }

    /// It may be taken again within the client's session, by claims that say so too and want nothing stronger:
    /// all have the same fence, and the lock is free when each of the guards is gone. Any task that uses
    /// this client gets in, so it protects none of them from another.
    pub const fn reentrant(mut self) -> Self {
        self.reentrant = true;
        self
    }

    /// The client does not renew it: the caller does, or lets it end.
    pub const fn no_renewal(mut self) -> Self {
        self.renew = false;
        self
    }

    /// Takes it, after waiting as long as [`LockRequest::wait`] said. Dropping the future leaves the
    /// line.
    ///
    /// # Errors
    ///
    /// Somebody else has it ([`Error::is_held`]), or nobody answered.
    pub async fn acquire(self) -> Result<Guard, Error> {
        let acquire = Acquire {
            parts: Parts::one(self.key?, self.mode),
            life: self.life,
            wait_ms: millis(self.wait),
            holder: self.holder,
            reentrant: self.reentrant,
        };
        let renew = self.renew;
        let reply = self.client.call(Want::Acquire { acquire, renew }).await?;
        match (reply.word, reply.news) {
            (
                Word::Decided {
                    answer: Answer::Granted(grant),
                    token: Some(token),
                    slot,
                },
                Some(news),
            ) => Ok(Guard::new(self.client, grant, token, slot, news)),
            _ => Err(Error::Confused),
        }
    }

    /// Takes it now, or not at all.
    ///
    /// # Errors
    ///
    /// Somebody else has it ([`Error::is_held`]), or nobody answered.
    pub async fn try_acquire(self) -> Result<Guard, Error> {
        self.wait(Duration::ZERO).acquire().await
    }
}
