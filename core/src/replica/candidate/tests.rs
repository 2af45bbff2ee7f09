//! A candidate gets promises that are longer than the link is fast.

use super::*;
use crate::config::{Config, Member, Membership, Role as MemberRole, Seat};
use crate::entry::{Entry, EntryKind};
use crate::ids::{Boot, ClusterId, Epoch, Round, Seed};
use crate::replica::record::{Recovered, RecoveredEntry};
use crate::replica::{Bounds, Window};
use crate::time::Stamp;
use alloc::collections::VecDeque;
use alloc::vec;
use bytes::Bytes;
use core::time::Duration;

/// What was accepted and not decided.
const OPEN: u64 = 60;
/// What an entry takes on its way in a promise, and after it the next one. The promise takes 1.2 s: nearly
/// three times as long as a candidate waits that hears nothing.
const PART_TAKES: u64 = 20;

/// How long a server's entries are, and how many bytes of them one frame takes at most.
#[derive(Clone, Copy)]
struct Frames {
    entry_bytes: usize,
    batch_bytes: usize,
}

/// Each entry is a part of a promise by itself.
const EACH_ALONE: Frames = Frames {
    entry_bytes: 8,
    batch_bytes: 1,
};

fn entry(slot: u64, bytes: usize) -> Entry {
    let mut word = vec![0; bytes];
    word[..8].copy_from_slice(&slot.to_le_bytes());
    Entry::new(EntryKind::Batch, Stamp::ZERO, &[word.into()])
}

fn candidate_of(servers: &[Replica; 2]) -> usize {
    let stands = |server: &Replica| matches!(server.role, Role::Preparing(_));
    servers.iter().position(stands).expect("somebody stands")
}

fn server(number: u64, frames: Frames) -> Replica {
    let ballot = Ballot {
        epoch: Epoch::new(1),
        round: Round::new(1),
        node: NodeId::new(3),
    };
    start(number, frames, (Boot::new(1), Timestamp::ZERO), ballot)
}

/// A server that accepted all that is open under a ballot of the third, and then promised another one.
fn start(number: u64, frames: Frames, (boot, now): (Boot, Timestamp), promised: Ballot) -> Replica {
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
        entry: entry(slot, frames.entry_bytes),
    };
    let recovered = Recovered {
        boot,
        promised,
        accepted: (1..=OPEN).map(accepted).collect(),
        ..Recovered::default()
    };
    let seed = Seed::new(number);
    let mut replica = Replica::boot(config, recovered, seed, Bytes::new(), now);
    let bounds = Bounds {
        batch_bytes: frames.batch_bytes,
        ..Bounds::default()
    };
    replica.bound(Window::default(), bounds);
    replica
}

/// Servers 1 and 2 of three, with disks that take no time. The third one is gone.
struct World {
    servers: [Replica; 2],
    boots: [u64; 2],
    /// Since when the link of each server is free for the next frame, in ms.
    free: [u64; 2],
    /// When it comes, from whom, to whom.
    on_the_way: Vec<(u64, usize, usize, Message)>,
    /// What an entry takes in a promise, and in an accept.
    takes: [u64; 2],
    parts: u64,
    now: u64,
    loses: Option<u64>,
    /// Until then voters are too busy to hear a prepare, in ms.
    busy_until: u64,
}

impl World {
    fn new() -> Self {
        Self::of(EACH_ALONE)
    }

    fn of(frames: Frames) -> Self {
        Self {
            servers: [server(1, frames), server(2, frames)],
            boots: [1; 2],
            free: [0; 2],
            on_the_way: vec![],
            takes: [PART_TAKES, 0],
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
        let is_part = matches!(message, Message::Promise { .. });
        let takes = match &message {
            Message::Promise { reports, .. } => self.takes[0] * reports.len() as u64,
            Message::Accept { entries, .. } => self.takes[1] * entries.len() as u64,
            _ => 0,
        };
        self.free[from] = self.free[from].max(self.now) + takes;
        let arrives = self.free[from] + u64::from(takes == 0);
        if is_part {
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
            let boot = Boot::new(self.boots[from]);
            self.servers[to].on_message(now, sender, boot, message, &mut out);
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

/// The first part is short, so that it comes before the others lose their patience; and each next one is
/// longer, or a long promise would take many round trips.
#[test]
fn the_parts_of_a_promise_grow_as_long_as_the_link_is_slow() {
    let mut world = World::of(Frames {
        entry_bytes: 4 << 10,
        batch_bytes: 256 << 10,
    });
    let took = world.leads_at();
    let whole = OPEN * PART_TAKES;
    assert!(took < whole + 600, "took {took} ms of {whole}");
    assert!((5..=9).contains(&world.parts), "{} parts", world.parts);
}

/// Its pings would wait behind sixteen accepts, and nobody would follow it; and as long as something is
/// decided, nothing stalls.
#[test]
fn a_new_leader_is_heard_while_it_proposes_again() {
    let mut world = World::new();
    world.takes[1] = 40;
    world.leads_at();
    let leader = world.servers.iter().position(Replica::leads).unwrap();
    while world.servers[leader].decided() <= Slot::new(OPEN) {
        world.step();
        assert!(world.servers[leader].leads(), "deposed at {} ms", world.now);
        assert!(world.now < 10_000, "nothing is decided");
    }
    assert!(world.servers[leader].decided() > Slot::new(OPEN));
}

impl World {
    /// Until so many parts came.
    fn go_on_to(&mut self, parts: u64) {
        while self.parts < parts {
            self.step();
        }
    }

    /// A server hears from the third that this is decided, from the first slot on.
    fn learns(&mut self, index: usize, entries: Vec<Entry>) {
        let decided = Slot::new(entries.len() as u64);
        let message = Message::Decided {
            first: Slot::new(1),
            entries,
            decided,
        };
        let (mut out, now) = (vec![], self.at());
        let third = NodeId::new(3);
        self.servers[index].on_message(now, third, Boot::new(1), message, &mut out);
        self.act(index, out);
        assert_eq!(self.servers[index].decided(), decided);
    }
}

fn entries(upto: u64) -> Vec<Entry> {
    (1..=upto).map(|slot| entry(slot, 8)).collect()
}

/// What it gathered is worth no less for that, and it leads above what it learned.
#[test]
fn who_gathers_promises_and_learns_more_goes_on() {
    let mut world = World::new();
    world.go_on_to(OPEN / 2);
    let candidate = candidate_of(&world.servers);
    world.learns(candidate, entries(10));
    world.leads_at();
    assert_eq!(world.parts, OPEN, "nothing is told twice");
    assert!(world.servers[candidate].leads());
}

/// What is decided between two parts of its promise leaves the next one, and is fetched.
#[test]
fn a_voter_may_learn_between_two_parts() {
    let mut world = World::new();
    world.go_on_to(OPEN / 2);
    let candidate = candidate_of(&world.servers);
    world.learns(1 - candidate, entries(40));
    world.leads_at();
    assert!(world.servers[candidate].leads());
    assert!(world.parts <= OPEN - 8, "{} parts", world.parts);
}

/// Half a promise of before is none: all of it is told again.
#[test]
fn a_voter_may_restart_between_two_parts() {
    let mut world = World::new();
    world.go_on_to(OPEN / 2);
    let candidate = candidate_of(&world.servers);
    let voter = 1 - candidate;
    let promised = world.servers[voter].promised();
    let boot = (Boot::new(2), world.at());
    world.boots[voter] = 2;
    world.servers[voter] = start(voter as u64 + 1, EACH_ALONE, boot, promised);
    world.on_the_way.clear();
    world.leads_at();
    assert!(world.servers[candidate].leads());
    let told = OPEN / 2 + OPEN;
    assert!(
        (told..told + 3).contains(&world.parts),
        "{} parts",
        world.parts
    );
}

/// Who learns that the epoch is over tells no more of it: nobody leads it by half a promise.
#[test]
fn a_voter_may_learn_of_a_stop_sign_between_two_parts() {
    let mut world = World::new();
    world.go_on_to(OPEN / 2);
    let candidate = candidate_of(&world.servers);
    let seat = |number| Seat {
        node: NodeId::new(number),
        role: MemberRole::Voter,
    };
    let seats = vec![seat(1), seat(2)];
    let next = Membership::new(Epoch::new(2), Slot::new(41), seats).unwrap();
    let mut decided = entries(40);
    decided.push(Entry::new(EntryKind::Stop, Stamp::ZERO, &[next.encode()]));
    world.learns(1 - candidate, decided);
    let told = world.parts;
    for _ in 0..3_000 {
        world.step();
        for server in world.servers.iter().filter(|server| server.leads()) {
            assert_eq!(server.ballot().epoch, Epoch::new(2));
        }
    }
    let voter = world.servers[1 - candidate].promised();
    assert_eq!(voter.epoch, Epoch::new(2));
    assert_eq!(world.parts, told, "no part after the epoch's end");
}
