//! What happens, and when.

use super::graphs::Step;
use crate::Nanos;
use crate::load::Why;
use crate::net::Frame;
use crate::server::DiskDone;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use tenure_core::ids::{Fence, Tag};
use tenure_core::machine::key::Key;
use tenure_core::node::input::Request;
use tenure_core::node::output::Reply;

/// Something that happens.
#[derive(Debug)]
pub(super) enum Event {
    /// A frame arrives.
    Frame(Box<Frame>),
    /// A server learns that a connection was made, or broke.
    Link {
        server: usize,
        start: u64,
        peer: usize,
        up: bool,
    },
    /// A server's process looks at its inbox.
    Run { server: usize, start: u64 },
    /// Something on a server's disk is done.
    Disk {
        server: usize,
        start: u64,
        done: DiskDone,
    },
    /// A server gets its power back.
    PowerOn { server: usize },
    /// A client's request arrives.
    Ask {
        server: usize,
        tag: Tag,
        request: Box<Request>,
    },
    /// A server learns that a client hung up.
    Gone { server: usize, tag: Tag },
    /// A reply arrives at its client.
    Told {
        client: usize,
        tag: Tag,
        reply: Box<Reply>,
    },
    /// A client is called back.
    Client { client: usize, life: u64, why: Why },
    /// A write arrives at the store behind a lock.
    Store { key: Key, fence: Fence },
    /// A client decides what to do next.
    Wish { client: usize },
    /// The nemesis does something.
    Trouble,
    /// Something is done to the graph, if it is still the one with this number.
    Graph { number: u64, step: Step },
    /// The safety phase ends.
    Heal,
    /// Clients stop to want new things.
    Drain,
    /// What is chosen now must be known to all at the end.
    Settle,
}

#[derive(Debug)]
struct Due {
    at: Nanos,
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What will happen: by time, and at one time in the order in which it was caused.
#[derive(Debug, Default)]
pub(super) struct Queue {
    due: BinaryHeap<Reverse<Due>>,
    number: u64,
}

impl Queue {
    /// `event` happens at `at`.
    pub(super) fn push(&mut self, at: Nanos, event: Event) {
        self.number += 1;
        let number = self.number;
        self.due.push(Reverse(Due { at, number, event }));
    }

    /// What happens next.
    pub(super) fn pop(&mut self) -> Option<(Nanos, Event)> {
        let Reverse(due) = self.due.pop()?;
        Some((due.at, due.event))
    }
}
