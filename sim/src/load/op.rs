//! One thing that a client wants, over all its attempts.

use crate::Nanos;
use tenure_core::ids::{Fence, Slot, TicketId};
use tenure_core::machine::command::Acquire;
use tenure_core::node::input::Request;

/// What it wants.
#[derive(Clone, Debug)]
pub(super) enum Doing {
    Open,
    KeepAlive,
    Close,
    Resume,
    Acquire(Acquire),
    Release {
        fence: Fence,
    },
    Renew {
        fence: Fence,
    },
    Cancel,
    Resize,
    Inspect,
    Verify {
        /// Until when the client believed in the grant when it asked, if it did.
        until: u64,
    },
    Forge,
    Force,
    Configure,
}

#[derive(Clone, Debug)]
pub(super) struct Op {
    pub(super) doing: Doing,
    pub(super) request: Request,
    /// True time of the first attempt, for judges.
    pub(super) began: Nanos,
    /// The highest position of the log that anybody had been told of then.
    pub(super) told: Slot,
    /// The client's clock at the first attempt: what deadlines count from.
    pub(super) first_sent: u64,
    pub(super) sent: usize,
    pub(super) ticket: Option<TicketId>,
    pub(super) cancelling: bool,
}

/// One attempt at one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) op: u64,
    pub(super) server: usize,
    /// The highest position of the log that anybody had been told of when it was sent.
    pub(super) told: Slot,
}
