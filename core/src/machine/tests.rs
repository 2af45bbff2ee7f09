//! What the machine promises, law by law.

use super::command::{Acquire, Cause, Client, Command, Convert, Force, Life, Mode, Operation, Via};
use super::key::Key;
use super::parts::{Part, Parts};
use super::*;
use crate::ids::{Ballot, Boot, Epoch, RequestId, RequestSeq, Seed};
use crate::limits::{GRACE, OFFER_MS};
use crate::rng::Rng;
use answer::{Blocker, Grant as Granted, Loss};
use core::time::Duration;

mod claims;
mod compare;
mod config;
mod convert;
mod deadlock;
mod expiry;
mod force;
mod forged;
mod hold;
mod model;
mod modes;
mod once;
mod reenter;
mod sessions;
mod snapshots;
mod wait;
mod witness;

/// A machine with a clock and a server that numbers its commands.
pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) ms: u64,
    seq: u64,
    pub(super) zone: u32,
    pub(super) principal: &'static str,
    audits: bool,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub(super) fn with_limits(limits: Limits) -> Self {
        let mut world = Self {
            machine: Machine::with_limits(limits),
            ms: 1000,
            seq: 0,
            zone: 0,
            principal: "ann",
            audits: true,
        };
        world.start(Fence::new(1 << 20));
        world
    }

    /// An entry of a new leader.
    pub(super) fn start(&mut self, floor: Fence) -> Vec<Event> {
        let note = codec::encode_start(floor);
        let by = Ballot::opening(Epoch::new(1)).above(NodeId::new(2));
        self.apply(&Entry::leader_start(by, self.stamp(), &note))
    }

    pub(super) fn entry(&mut self, kind: EntryKind, commands: &[Bytes]) -> Vec<Event> {
        self.apply(&Entry::new(kind, self.stamp(), commands))
    }

    fn stamp(&self) -> Stamp {
        Stamp::ZERO.plus(Duration::from_millis(self.ms))
    }

    fn apply(&mut self, entry: &Entry) -> Vec<Event> {
        let mut events = Vec::new();
        let slot = self.machine.applied().next();
        self.machine.apply(slot, entry, &mut events);
        if self.audits {
            assert_eq!(self.machine.audit(), Ok(()));
        }
        events
    }

    /// As [`Self::batch`], for so many that an audit after each would take too long.
    pub(super) fn batch_unaudited(&mut self, commands: &[(Client, Operation)]) {
        self.audits = false;
        self.batch(commands);
        self.audits = true;
    }

    /// One entry with these commands; the events.
    pub(super) fn batch(&mut self, commands: &[(Client, Operation)]) -> Vec<Event> {
        let mut encoded = Vec::new();
        for (client, operation) in commands {
            self.seq += 1;
            encoded.push(codec::encode(&Command {
                zone: ZoneId::new(self.zone),
                principal: Bytes::from_static(self.principal.as_bytes()),
                client: *client,
                via: Via {
                    node: NodeId::new(1),
                    boot: Boot::new(1),
                    seq: self.seq,
                },
                operation: operation.clone(),
            }));
        }
        self.entry(EntryKind::Batch, &encoded)
    }

    /// One entry with this command; its answer, and the events but for it.
    pub(super) fn told(&mut self, client: Client, operation: Operation) -> (Answer, Vec<Event>) {
        let mut events = self.batch(&[(client, operation)]);
        let at = events
            .iter()
            .position(|event| matches!(event, Event::Answered { .. }));
        let Event::Answered { answer, .. } = events.remove(at.unwrap()) else {
            panic!("an answer")
        };
        (answer, events)
    }

    /// One entry with this command; its answer, and nothing else happens.
    pub(super) fn ask(&mut self, client: Client, operation: Operation) -> Answer {
        let (answer, events) = self.told(client, operation);
        assert_eq!(events, [], "nothing but an answer");
        answer
    }

    /// An empty entry `ms` later.
    pub(super) fn pass(&mut self, ms: u64) -> Vec<Event> {
        self.ms += ms;
        self.batch(&[])
    }

    pub(super) fn granted(&mut self, client: Client, operation: Operation) -> Granted {
        match self.ask(client, operation) {
            Answer::Granted(grant) => grant,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn queued(&mut self, client: Client, operation: Operation) -> (TicketId, u64) {
        match self.ask(client, operation) {
            Answer::Queued { ticket, position } => (ticket, position),
            other => panic!("{other:?}"),
        }
    }

    /// A session whose claims may come from many threads.
    pub(super) fn session(&mut self, ttl_ms: u64, identifier: &'static str) -> SessionId {
        self.session_of(ttl_ms, identifier, true)
    }

    pub(super) fn session_of(
        &mut self,
        ttl_ms: u64,
        identifier: &'static str,
        threads: bool,
    ) -> SessionId {
        let identifier = Bytes::from_static(identifier.as_bytes());
        match self.ask(
            Client::None,
            Operation::OpenSession {
                ttl_ms,
                identifier,
                threads,
            },
        ) {
            Answer::SessionOpened { session, .. } => session,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn inspect(&self, name: &str) -> LockView {
        let (zone, now) = (ZoneId::new(self.zone), self.machine.stamp());
        self.machine.lock_view(zone, &path(name), now)
    }
}

pub(super) fn path(name: &str) -> Key {
    Key::from_path(name).unwrap()
}

pub(super) fn acquire(name: &str, mode: Mode, life: Life, wait_ms: u64) -> Operation {
    Operation::Acquire(Acquire {
        parts: Parts::one(path(name), mode),
        life,
        wait_ms,
        holder: Bytes::from_static(b"h"),
        reentrant: false,
    })
}

pub(super) fn parts(names: &[(&str, Mode)]) -> Parts {
    let part = |(name, mode): &(&str, Mode)| Part {
        key: path(name),
        mode: *mode,
    };
    Parts::new(names.iter().map(part).collect()).unwrap()
}

/// A leased claim over these keys.
pub(super) fn claim(names: &[(&str, Mode)], wait_ms: u64) -> Operation {
    let mut operation = acquire("x", Exclusive, LEASE, wait_ms);
    if let Operation::Acquire(acquire) = &mut operation {
        acquire.parts = parts(names);
    }
    operation
}

pub(super) const LEASE: Life = Life::Lease { ttl_ms: 10_000 };
pub(super) use super::command::Mode::{Exclusive, Shared};

pub(super) fn lease(name: &str) -> Operation {
    acquire(name, Exclusive, LEASE, 0)
}

pub(super) fn key(id: u128) -> Client {
    Client::Key(RequestId::new(id))
}

pub(super) fn numbered(id: SessionId, seq: u64, done_through: u64) -> Client {
    Client::Session {
        id,
        seq: RequestSeq::new(seq),
        done_through: RequestSeq::new(done_through),
    }
}

pub(super) fn release(name: &str, fence: Fence) -> Operation {
    Operation::Release {
        key: path(name),
        fence,
        all: false,
    }
}

pub(super) fn renew(name: &str, fence: Fence, ttl_ms: Option<u64>) -> Operation {
    Operation::Renew {
        key: path(name),
        fence,
        ttl_ms,
    }
}

pub(super) fn cause() -> Cause {
    Cause {
        by: "olga".into(),
        reason: "the host is gone".into(),
    }
}

pub(super) fn force(name: &str, fence: Fence) -> Operation {
    Operation::Force(Force {
        key: path(name),
        fence,
        cause: cause(),
    })
}

pub(super) fn held_by(fence: Fence, mode: Mode) -> Refusal {
    Refusal::Held {
        by: alloc::vec![Blocker {
            holder: Bytes::from_static(b"h"),
            fence,
            mode
        }],
    }
}

/// The grants and refusals with which tickets ended.
pub(super) fn ends(events: &[Event]) -> Vec<(TicketId, Answer)> {
    let ends = events.iter().filter_map(|event| match event {
        Event::Ended { ticket, answer } => Some((*ticket, answer.clone())),
        _ => None,
    });
    ends.collect()
}

#[test]
fn slots_are_applied_once_in_order() {
    let entry = Entry::new(EntryKind::Noop, Stamp::ZERO, &[]);
    let skip = || Machine::new().apply(Slot::new(2), &entry, &mut Vec::new());
    assert!(std::panic::catch_unwind(skip).is_err());
}

#[test]
fn agreed_time_never_goes_back() {
    let mut world = World::new();
    world.granted(Client::None, lease("a"));
    let stamp = world.machine.stamp();
    world.ms -= 500;
    assert_eq!(
        world.ask(Client::None, lease("a")),
        Answer::Refused(held_by(Fence::new((1 << 20) + 1), Exclusive))
    );
    assert_eq!(world.machine.stamp(), stamp);
}

#[test]
fn a_command_that_cannot_be_read_changes_nothing_and_is_counted() {
    let mut world = World::new();
    let events = world.entry(
        EntryKind::Batch,
        &[Bytes::from_static(b"\xff\xff"), Bytes::new()],
    );
    assert_eq!(events, []);
    assert_eq!(world.machine.unreadable(), 2);
}

#[test]
fn a_command_out_of_bounds_is_answered_and_changes_nothing() {
    let mut world = World::new();
    let answer = world.ask(
        Client::None,
        acquire("a", Exclusive, Life::Lease { ttl_ms: 1 }, 0),
    );
    assert_eq!(
        answer,
        Answer::Refused(Refusal::Invalid {
            what: "the ttl is too short"
        })
    );
    assert_eq!(world.machine.grants_len(), 0);
}

#[test]
fn a_forwarded_command_is_applied_once() {
    let mut world = World::new();
    let command = codec::encode(&Command {
        zone: ZoneId::new(0),
        principal: Bytes::new(),
        client: Client::None,
        via: Via {
            node: NodeId::new(2),
            boot: Boot::new(3),
            seq: 7,
        },
        operation: acquire("a", Shared, LEASE, 0),
    });
    assert_eq!(
        world
            .entry(EntryKind::Batch, &[command.clone(), command.clone()])
            .len(),
        1
    );
    assert_eq!(world.entry(EntryKind::Batch, &[command]), []);
    assert_eq!(world.machine.grants_len(), 1);
}

/// Same log, same state: whatever else the two machines went through in their tables.
#[test]
fn digests_see_the_log_and_not_the_tables() {
    let run = |detour: bool| {
        let mut world = World::new();
        world.machine.hasher = Hasher::new(Seed::new(u64::from(detour)));
        let mut digests = Vec::new();
        let mut rng = Rng::new(Seed::new(7));
        if detour {
            let lock = world.machine.make_lock(ZoneId::new(9), b"detour");
            for _ in 0..40 {
                world
                    .machine
                    .make_lock(ZoneId::new(9), &rng.next().to_le_bytes());
            }
            let all: Vec<_> = world.machine.locks.iter().map(|(at, _)| at).collect();
            all.into_iter().for_each(|at| world.machine.tidy_up(at));
            assert!(world.machine.locks.peek(lock).is_none());
        }
        let mut rng = Rng::new(Seed::new(8));
        for step in 0..300 {
            world.ms += rng.below(3000);
            let name = ["a", "b", "c", "d"][rng.below(4) as usize];
            let mode = if rng.below(2) == 0 { Shared } else { Exclusive };
            let operation = acquire(name, mode, LEASE, rng.below(2) * 5000);
            let client = if rng.below(2) == 0 {
                Client::None
            } else {
                key(step)
            };
            world.batch(&[(client, operation)]);
            digests.push((world.machine.digest(), world.machine.digest_full()));
        }
        digests
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn digests_tell_different_answers_apart() {
    let mut worlds = [World::new(), World::new()];
    let digests = worlds.each_mut().map(|world| {
        world.granted(Client::None, lease("a"));
        world.machine.digest()
    });
    assert_eq!(digests[0], digests[1]);
    let [a, b] = &mut worlds;
    a.granted(Client::None, lease("b"));
    b.granted(Client::None, acquire("b", Shared, LEASE, 0));
    assert_ne!(a.machine.digest(), b.machine.digest());
    assert_ne!(a.machine.digest_full(), b.machine.digest_full());
}

/// Two versions with different limits would answer the same log differently: that shows at once.
#[test]
fn digests_tell_different_answers_to_one_log_apart() {
    let run = |limits| {
        let mut world = World::with_limits(limits);
        let mut answer = || {
            let answer = world.ask(Client::None, lease("a"));
            (
                matches!(answer, Answer::Refused(Refusal::Held { .. })),
                world.machine.digest(),
            )
        };
        [answer(), answer()]
    };
    let none = Limits {
        locks: 0,
        ..Limits::default()
    };
    let [(_, granted), (held, after)] = run(Limits::default());
    let [(_, refused), (_, after_refused)] = run(none);
    assert!(held);
    assert_ne!(granted, refused);
    assert_ne!(after, after_refused);
}

#[test]
fn the_first_leader_start_gives_the_floor_of_all_fences() {
    let mut world = World::new();
    assert_eq!(
        world.granted(Client::None, lease("a")).fence,
        Fence::new((1 << 20) + 1)
    );
    world.start(Fence::new(1 << 40));
    assert_eq!(
        world.granted(Client::None, lease("b")).fence,
        Fence::new((1 << 20) + 2)
    );
    world.zone = 4;
    assert_eq!(
        world.granted(Client::None, lease("a")).fence,
        Fence::new((1 << 20) + 1)
    );
}

#[test]
fn zones_do_not_meet() {
    let mut world = World::new();
    let fence = world.granted(Client::None, lease("a")).fence;
    world.zone = 1;
    let other = world.granted(Client::None, lease("a"));
    assert_eq!(other.fence, fence, "fences are compared per key only");
    assert_eq!(other.zone, ZoneId::new(1));
    world.ask(Client::None, release("a", fence));
    world.zone = 0;
    assert_eq!(world.inspect("a").holders.len(), 1);
}
