//! A candidate gets promises that are longer than the link is fast.

use super::*;
use crate::config::{Config, Member};
use crate::entry::{Entry, EntryKind};
use crate::ids::{Boot, ClusterId, Epoch, Round, Seed};
use crate::replica::record::{Recovered, RecoveredEntry};
use crate::replica::{Bounds, Window};
use crate::time::Stamp;
use alloc::collections::VecDeque;
use alloc::vec;
use bytes::Bytes;
use core::time::Duration;

/// What was accepted and not decided, each a part of a promise by itself.
const OPEN: u64 = 60;
/// What a part takes on its way, and after it the next one. A promise takes 1.2 s: nearly three times
/// as long as a candidate waits that hears nothing.
const PART_TAKES: u64 = 20;

fn entry(slot: u64) -> Entry {
    let word = Bytes::copy_from_slice(&slot.to_le_bytes());
    Entry::new(EntryKind::Batch, Stamp::ZERO, &[word])
}

fn server(number: u64) -> Replica {
    let member = |number| Member {
        node: NodeId::new(number),
        ..Member::default()
    };
    let members = (1..=3).map(member).collect();
    let config = Config::new(ClusterId([9; 16]), NodeId::new(number), members).unwrap();
    let ballot = Ballot {
        epoch: Epoch::new(1),
        round: Round::new(1),
        node: NodeId::new(3),
    };
    let accepted = |slot| RecoveredEntry {
        slot: Slot::new(slot),
        ballot: Some(ballot),
        entry: entry(slot),
    };
    let recovered = Recovered {
        boot: Boot::new(1),
        promised: ballot,
        accepted: (1..=OPEN).map(accepted).collect(),
        ..Recovered::default()
    };
    let seed = Seed::new(number);
    let mut replica = Replica::boot(config, recovered, seed, Bytes::new(), Timestamp::ZERO);
    let bounds = Bounds {
        batch_bytes: 1,
        ..Bounds::default()
    };
    replica.bound(Window::default(), bounds);
    replica
}

/// Servers 1 and 2 of three, with disks that take no time. The third one is gone.
struct World {
    servers: [Replica; 2],
    /// Since when the link of each server is free for the next part, in ms.
    free: [u64; 2],
    /// When it comes, from whom, to whom.
    on_the_way: Vec<(u64, usize, usize, Message)>,
    parts: u64,
    now: u64,
    loses: Option<u64>,
    /// Until then voters are too busy to hear a prepare, in ms.
    busy_until: u64,
}

impl World {
    fn new() -> Self {
        Self {
            servers: [server(1), server(2)],
            free: [0; 2],
            on_the_way: vec![],
            parts: 0,
            now: 0,
            loses: None,
            busy_until: 0,
        }
    }

    fn at(&self) -> Timestamp {
        Timestamp::ZERO.plus(Duration::from_millis(self.now))
    }

    fn act(&mut self, from: usize, effects: Vec<Effect>) {
        let now = self.at();
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let mut more = vec![];
            match effect {
                Effect::Promise { ballot, .. } => {
                    self.servers[from].on_promise_durable(now, ballot, &mut more);
                }
                Effect::Append { number, .. } => self.servers[from].on_durable(now, number),
                Effect::Send { to, message, .. } if to.get() <= 2 => self.send(from, to, message),
                _ => {}
            }
            effects.extend(more);
        }
    }

    fn send(&mut self, from: usize, to: NodeId, message: Message) {
        let is_prepare = matches!(message, Message::Prepare { .. });
        if is_prepare && self.now < self.busy_until {
            return;
        }
        let mut arrives = self.now + 1;
        if matches!(message, Message::Promise { .. }) {
            arrives = self.free[from].max(self.now) + PART_TAKES;
            self.free[from] = arrives;
            self.parts += 1;
            if self
                .loses
                .is_some_and(|every| self.parts.is_multiple_of(every))
            {
                return;
            }
        }
        let to = usize::from(to == NodeId::new(2));
        self.on_the_way.push((arrives, from, to, message));
    }

    /// One millisecond.
    fn step(&mut self) {
        self.now += 1;
        let now = self.at();
        let due = |(at, ..): &mut (u64, usize, usize, Message)| *at <= self.now;
        let arrived: Vec<_> = self.on_the_way.extract_if(.., due).collect();
        for (_, from, to, message) in arrived {
            let mut out = vec![];
            let sender = NodeId::new(from as u64 + 1);
            self.servers[to].on_message(now, sender, Boot::new(1), message, &mut out);
            self.act(to, out);
        }
        for index in 0..2 {
            let mut out = vec![];
            self.servers[index].on_tick(now, &mut out);
            self.servers[index].on_flush(now, &mut out);
            self.act(index, out);
        }
    }

    /// When somebody leads, in ms.
    fn leads_at(&mut self) -> u64 {
        while !self.servers.iter().any(Replica::leads) {
            assert!(self.now < 20_000, "nobody leads, {} parts", self.parts);
            self.step();
        }
        self.now
    }
}

/// Each try would end before the promise is whole, and who was promised would stand itself.
#[test]
fn a_promise_that_takes_longer_than_a_try_is_waited_for() {
    let mut world = World::new();
    let whole = OPEN * PART_TAKES;
    let took = world.leads_at();
    assert!(took < whole + 600, "took {took} ms of {whole}");
    assert_eq!(world.parts, OPEN, "nothing is told twice");
}

/// What is lost is asked for again, and little besides.
#[test]
fn a_part_that_is_lost_is_asked_for_again() {
    let mut world = World::new();
    world.loses = Some(7);
    world.leads_at();
    assert!(world.parts < 2 * OPEN, "{} parts", world.parts);
}

/// It is writing another promise, say. What it is asked is short, so that it is asked with each round.
#[test]
fn who_has_not_promised_is_asked_with_each_round() {
    let mut world = World::new();
    world.busy_until = 500;
    let took = world.leads_at();
    let told = OPEN * (PART_TAKES + 1);
    assert!(took < world.busy_until + told + 100, "took {took} ms");
}
