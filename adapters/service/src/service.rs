//! The trait.

use crate::claim::Claim;
use crate::error::Error;
use crate::views::{Held, Lock, Verdict};
use std::future::Future;
use std::time::Duration;
use tenure_core::machine::key::Key;
use tenure_core::node::input::Verify;

/// A lock service.
///
/// What it grants nobody renews but the caller: a lease ends `ttl` after the grant unless [`Self::renew`]
/// says otherwise. Count your own deadline from when you *called* acquire or renew.
///
/// Dropping a future leaves the line; what was granted meanwhile is given back, at the latest by its ttl.
pub trait LockService: Send + Sync {
    /// Takes a lock, after waiting as long as the claim says.
    ///
    /// # Errors
    ///
    /// [`Error::Held`]: somebody else has it, now or at the end of the wait.
    fn acquire(&self, claim: Claim) -> impl Future<Output = Result<Held, Error>> + Send;

    /// Gives a lock back. Says whether it had ended before.
    ///
    /// # Errors
    ///
    /// [`Error::BadProof`]: the token is not this grant's; nothing changes.
    fn release(&self, held: &Held) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Lets a lease live for `ttl` from now, or for its own ttl again; says for how long.
    ///
    /// # Errors
    ///
    /// [`Error::NotHeld`]: it was released, or it expired. [`Error::NotLeased`], [`Error::BadProof`].
    fn renew(
        &self,
        held: &Held,
        ttl: Option<Duration>,
    ) -> impl Future<Output = Result<Duration, Error>> + Send;

    /// How a lock is: who holds it, and who waits. Linearizable.
    ///
    /// # Errors
    ///
    /// Nobody answered.
    fn query(&self, key: &Key) -> impl Future<Output = Result<Lock, Error>> + Send;

    /// Whether a grant holds, for somebody else than its holder: a store, say. Linearizable.
    ///
    /// # Errors
    ///
    /// [`Error::BadProof`]: the token is not this grant's.
    fn verify(&self, grant: Verify) -> impl Future<Output = Result<Verdict, Error>> + Send;

    /// Ends when the lock's holders or its line are others than in `seen`, and says how it is by then.
    /// States that came and went in between are passed over: this is for who wants to know how the lock
    /// is, not for a history. A [`Lock::default`] is one that is free.
    ///
    /// # Errors
    ///
    /// Nobody answered.
    fn watch(&self, key: &Key, seen: &Lock) -> impl Future<Output = Result<Lock, Error>> + Send;
}
