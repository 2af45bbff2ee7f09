//! A cluster, over the native protocol.

use crate::claim::{Claim, millis};
use crate::error::Error;
use crate::poll;
use crate::service::LockService;
use crate::views::{Held, Holder, Lock, Verdict};
use std::time::Duration;
use tenure_client::{Client, Failed, Options};
use tenure_core::machine::command::Life;
use tenure_core::machine::key::Key;
use tenure_core::node::input::Verify;
use tenure_core::wire::codes;
use tenure_core::wire::codes::Outcome;

/// A cluster, by the async client: it retries, over other servers too.
#[derive(Clone, Debug)]
pub struct Native {
    client: Client,
}

impl Native {
    /// By servers as `host:port`, on the runtime that this is called on.
    ///
    /// # Errors
    ///
    /// No endpoints, or no random numbers.
    pub fn connect<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Result<Self, Error> {
        let client = Client::connect(Options::new(endpoints));
        Ok(Self::new(client.map_err(|error| error_of(&error))?))
    }

    /// By a client that is there. If it has a session, that is where its locks live: they are proved
    /// by it, but end by their own ttl as this trait says.
    pub const fn new(client: Client) -> Self {
        Self { client }
    }
}

impl LockService for Native {
    async fn acquire(&self, claim: Claim) -> Result<Held, Error> {
        let request = self.client.lock_key(claim.key).mode(claim.mode);
        let request = request.wait(claim.wait).holder(&claim.holder).no_renewal();
        let request = match claim.life {
            Life::Lease { ttl_ms } => request.ttl(Duration::from_millis(ttl_ms)),
            Life::Static => request.forever(),
            Life::Session => return Err(Error::Invalid("a session's lock has no ttl".into())),
        };
        let guard = request.acquire().await.map_err(|error| error_of(&error))?;
        let ttl = match guard.grant().life {
            Life::Lease { ttl_ms } => Some(Duration::from_millis(ttl_ms)),
            Life::Static | Life::Session => None,
        };
        let proof = guard.leave();
        Ok(Held { proof, ttl })
    }

    async fn release(&self, held: &Held) -> Result<bool, Error> {
        let released = self.client.release(held.proof.clone()).await;
        released.map_err(|error| error_of(&error))
    }

    async fn renew(&self, held: &Held, ttl: Option<Duration>) -> Result<Duration, Error> {
        let ttl = ttl.map(|ttl| Duration::from_millis(millis(ttl)));
        let renewed = self.client.renew(held.proof.clone(), ttl).await;
        renewed.map_err(|error| error_of(&error))
    }

    async fn query(&self, key: &Key) -> Result<Lock, Error> {
        let seen = self.client.inspect(key.clone()).await;
        let seen = seen.map_err(|error| error_of(&error))?;
        Ok(Lock::from(&seen.value))
    }

    async fn verify(&self, grant: Verify) -> Result<Verdict, Error> {
        let seen = self.client.verify(grant).await;
        let seen = seen.map_err(|error| error_of(&error))?;
        Ok(Verdict::from(&seen.value))
    }

    async fn watch(&self, key: &Key, seen: &Lock) -> Result<Lock, Error> {
        poll::until_other(self, key, seen).await
    }
}

fn error_of(error: &tenure_client::Error) -> Error {
    let text = error.to_string();
    if let Some(no) = error.rejection() {
        let by = no.by.iter().map(Holder::from).collect();
        let code = codes::by_number(no.code);
        return Error::of_code(code, &no.code.to_string(), no.text.clone(), by);
    }
    match error {
        tenure_client::Error::Key(_)
        | tenure_client::Error::Options(_)
        | tenure_client::Error::Failed(Failed::Invalid(_) | Failed::NotMine(_)) => {
            Error::Invalid(text)
        }
        tenure_client::Error::Random(_)
        | tenure_client::Error::Failed(
            Failed::Busy | Failed::TooLate | Failed::TimedOut { sent: false },
        ) => Error::Unavailable {
            outcome: Outcome::NotApplied,
            text,
        },
        tenure_client::Error::Failed(
            Failed::Rejected(_) | Failed::SessionLost | Failed::TimedOut { sent: true },
        )
        | tenure_client::Error::Confused
        | tenure_client::Error::Closed => Error::Unavailable {
            outcome: Outcome::Unknown,
            text,
        },
    }
}
