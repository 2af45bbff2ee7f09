//! The lock machine in this process, for tests of what takes locks.

use crate::claim::{Claim, millis};
use crate::error::Error;
use crate::service::LockService;
use crate::views::{Held, Holder, Lock, Verdict};
use bytes::Bytes;
use state::State;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tenure_core::ids::{TicketId, ZoneId};
use tenure_core::machine::answer::{Answer, Grant, Refusal};
use tenure_core::machine::command::{Acquire, Life, Operation};
use tenure_core::machine::key::Key;
use tenure_core::machine::parts::Parts;
use tenure_core::node::input::{Proof, Verify};
use tenure_core::query;
use tenure_core::wire::codes;
use tenure_core::wire::codes::Outcome;
use tenure_rt::sync::{oneshot, watch};

mod state;

/// The only tenant.
const ZONE: ZoneId = ZoneId::new(0);

/// The lock machine in this process: the same code as in the servers, without log, disk and network.
///
/// Time stands still until [`Memory::advance`] moves it, so tests of what expires need no sleeps. Clones are
/// handles of the same locks. Fences begin at 1.
#[derive(Clone, Debug)]
pub struct Memory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Counts what was applied: whoever watches looks again.
    applied: watch::Sender<u64>,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// No lock is held, and it is the beginning of time.
    pub fn new() -> Self {
        let shared = Shared {
            state: Mutex::new(State::new()),
            applied: watch::Sender::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Lets so much time pass, and happen what is due in it, in its order: leases and waits end.
    pub fn advance(&self, time: Duration) {
        self.state().advance(time);
        self.tell();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What it holds is whole after every step, so a panic of one caller harms no other.
        let state = self.shared.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever watches.
    fn tell(&self) {
        self.shared.applied.send_modify(|count| *count += 1);
    }

    fn decide(&self, operation: Operation) -> Result<Answer, Error> {
        let decided = self.state().decide(operation, None);
        self.tell();
        decided.map_err(|what| Error::Invalid(what.to_owned()))
    }

    /// The proof, if it is the one of its grant.
    fn checked(&self, proof: &Proof) -> Result<(), Error> {
        let is_right = self.state().proofs.is_right(ZONE, proof);
        is_right.then_some(()).ok_or(Error::BadProof)
    }

    fn held(&self, grant: &Grant) -> Held {
        let ttl = match grant.life {
            Life::Lease { ttl_ms } => Some(Duration::from_millis(ttl_ms)),
            Life::Static | Life::Session => None,
        };
        let proof = self.state().proof_of(grant);
        Held { proof, ttl }
    }
}

impl LockService for Memory {
    async fn acquire(&self, claim: Claim) -> Result<Held, Error> {
        let acquire = Acquire {
            parts: Parts::one(claim.key, claim.mode),
            life: claim.life,
            wait_ms: millis(claim.wait),
            holder: Bytes::from(claim.holder),
            reentrant: false,
        };
        let (ended, end) = oneshot::channel();
        let decided = self
            .state()
            .decide(Operation::Acquire(acquire), Some(ended));
        self.tell();
        let mut answer = decided.map_err(|what| Error::Invalid(what.to_owned()))?;
        if let Answer::Queued { ticket, .. } = answer {
            let mut waiting = Waiting {
                memory: self,
                ticket,
                end,
                is_over: false,
            };
            let ended = (&mut waiting.end).await;
            waiting.is_over = true;
            answer = ended.map_err(|_| confused())?;
        }
        match answer {
            Answer::Granted(grant) => Ok(self.held(&grant)),
            Answer::Refused(refusal) => Err(error_of(&refusal)),
            _ => Err(confused()),
        }
    }

    async fn release(&self, held: &Held) -> Result<bool, Error> {
        self.checked(&held.proof)?;
        let Proof { key, fence, .. } = held.proof.clone();
        let all = true;
        match self.decide(Operation::Release { key, fence, all })? {
            Answer::Released { already, .. } => Ok(already),
            Answer::Refused(refusal) => Err(error_of(&refusal)),
            _ => Err(confused()),
        }
    }

    async fn renew(&self, held: &Held, ttl: Option<Duration>) -> Result<Duration, Error> {
        self.checked(&held.proof)?;
        let Proof { key, fence, .. } = held.proof.clone();
        let ttl_ms = ttl.map(millis);
        match self.decide(Operation::Renew { key, fence, ttl_ms })? {
            Answer::Renewed { ttl_ms, .. } => Ok(Duration::from_millis(ttl_ms)),
            Answer::Refused(refusal) => Err(error_of(&refusal)),
            _ => Err(confused()),
        }
    }

    async fn query(&self, key: &Key) -> Result<Lock, Error> {
        let state = self.state();
        let view = query::inspect(&state.machine, ZONE, key, state.now);
        Ok(Lock::from(&view))
    }

    async fn verify(&self, grant: Verify) -> Result<Verdict, Error> {
        let state = self.state();
        if !state.proofs.is_token_right(&state.machine, ZONE, &grant) {
            return Err(Error::BadProof);
        }
        let (key, fence) = (&grant.key, grant.fence);
        let verdict = query::verify(&state.machine, ZONE, key, fence, state.now);
        Ok(Verdict::from(&verdict))
    }

    async fn watch(&self, key: &Key, seen: &Lock) -> Result<Lock, Error> {
        let mut applied = self.shared.applied.subscribe();
        loop {
            applied.mark_unchanged();
            let now = self.query(key).await?;
            if now.is_other(seen) {
                return Ok(now);
            }
            applied.changed().await.map_err(|_| confused())?;
        }
    }
}

/// A place in the line; left, if nobody waits for its end any more.
struct Waiting<'a> {
    memory: &'a Memory,
    ticket: TicketId,
    end: oneshot::Receiver<Answer>,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let operation = match self.end.try_recv() {
            // It was granted, and nobody has heard of it.
            Ok(Answer::Granted(grant)) => Operation::Release {
                key: grant.key().clone(),
                fence: grant.fence,
                all: true,
            },
            Ok(_) => return,
            Err(_) => Operation::Cancel {
                ticket: self.ticket,
            },
        };
        let decided = self.memory.decide(operation);
        debug_assert!(decided.is_ok(), "what the machine named is within bounds");
    }
}

fn error_of(refusal: &Refusal) -> Error {
    let by = match refusal {
        Refusal::Held { by } | Refusal::WaitTimeout { by } => by.iter().map(Holder::from).collect(),
        _ => Vec::new(),
    };
    let code = codes::of_refusal(refusal);
    Error::of_code(Some(code), code.name, refusal.to_string(), by)
}

/// The machine answered another question: a bug, and none of the caller's.
fn confused() -> Error {
    Error::Unavailable {
        outcome: Outcome::Unknown,
        text: "the machine answered something else than what was asked".to_owned(),
    }
}
