//! What is told.

use std::time::Duration;
use tenure_core::ids::{Fence, TicketId};
use tenure_core::machine::answer::Blocker;
use tenure_core::machine::command::Mode;
use tenure_core::machine::key::Key;
use tenure_core::node::input::{Proof, Verify};
use tenure_core::query;
use tenure_core::wire::token::TokenText;

/// A lock that is held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// What proves it, to any server and from any process.
    pub proof: Proof,
    /// How long it lives without a renewal; none if for ever.
    pub ttl: Option<Duration>,
}

impl Held {
    /// The lock.
    pub const fn key(&self) -> &Key {
        &self.proof.key
    }

    /// The number to hand to your storage: greater than that of every earlier grant of this lock.
    pub const fn fence(&self) -> Fence {
        self.proof.fence
    }

    /// The secret that renews and releases it, as one word.
    pub const fn token(&self) -> TokenText {
        TokenText {
            fence: self.proof.fence,
            token: self.proof.token,
        }
    }
}

impl From<&Held> for Verify {
    fn from(held: &Held) -> Self {
        Self::from(held.proof.clone())
    }
}

/// How a lock is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Lock {
    /// Who has it; empty if it is free. At most the first hundred.
    pub holders: Vec<Holder>,
    /// Who waits, in order; at most the first hundred.
    pub waiters: Vec<Waiter>,
    /// How many wait.
    pub waiting: u64,
}

impl Lock {
    /// Whether its holders or its line are others. What is left of their times is not looked at.
    pub fn is_other(&self, seen: &Self) -> bool {
        let fences = |lock: &Self| -> Vec<(Fence, Mode)> {
            let holders = lock.holders.iter();
            holders.map(|holder| (holder.fence, holder.mode)).collect()
        };
        (fences(self), &self.waiters, self.waiting) != (fences(seen), &seen.waiters, seen.waiting)
    }
}

/// One holder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holder {
    /// For people.
    pub name: String,
    /// Its grant.
    pub fence: Fence,
    /// How it shares the lock.
    pub mode: Mode,
    /// What is left, in agreed time; none if it has no end, or if this tells who stood in the way.
    pub remaining: Option<Duration>,
}

/// One waiter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Waiter {
    /// For people.
    pub name: String,
    /// Its place.
    pub ticket: TicketId,
}

/// Whether a grant holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// How it holds the lock; none if it does not.
    pub held: Option<Holder>,
    /// The highest fence that holds the lock; none if nobody does.
    pub highest: Option<Fence>,
}

impl From<&query::LockView> for Lock {
    fn from(view: &query::LockView) -> Self {
        let waiter = |waiter: &query::WaiterView| Waiter {
            name: text(&waiter.holder),
            ticket: waiter.ticket,
        };
        Self {
            holders: view.holders.iter().map(Holder::from).collect(),
            waiters: view.waiters.iter().map(waiter).collect(),
            waiting: view.waiting,
        }
    }
}

impl From<&query::HolderView> for Holder {
    fn from(view: &query::HolderView) -> Self {
        Self {
            name: text(&view.holder),
            fence: view.fence,
            mode: view.mode,
            remaining: view.remaining_ms.map(Duration::from_millis),
        }
    }
}

impl From<&Blocker> for Holder {
    fn from(blocker: &Blocker) -> Self {
        Self {
            name: text(&blocker.holder),
            fence: blocker.fence,
            mode: blocker.mode,
            remaining: None,
        }
    }
}

impl From<&query::Verdict> for Verdict {
    fn from(verdict: &query::Verdict) -> Self {
        Self {
            held: verdict.held.as_ref().map(Holder::from),
            highest: verdict.highest,
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
