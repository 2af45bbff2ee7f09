//! The lock machine at size: `cargo scale [--json]`.
//!
//! Everything goes through entries, as in a server: the figures hold decoding, answers and the
//! rolling digest. Memory is what the allocator gave out, without what it keeps for itself.

use bytes::Bytes;
use cap::Cap;
use rustix::time::{ClockId, clock_gettime};
use std::alloc::System;
use std::time::Duration;
use tenure_core::entry::{Entry, EntryKind};
use tenure_core::ids::{Boot, Fence, NodeId, RequestSeq, SessionId, ZoneId};
use tenure_core::machine::Machine;
use tenure_core::machine::answer::{Answer, Event};
use tenure_core::machine::codec;
use tenure_core::machine::command::{Acquire, Client, Command, Life, Mode, Operation, Via};
use tenure_core::machine::key::Key;
use tenure_core::time::Stamp;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const LOCKS: u64 = 1_000_000;
const FEW_LOCKS: u64 = 10_000;
const EXPIRING: u64 = 100_000;
const CYCLES: u64 = 200_000;
const BATCH: usize = 64;
const LEASE: Life = Life::Lease { ttl_ms: 600_000 };

/// A machine with a log of its own.
struct Log {
    machine: Machine,
    stamp_ms: u64,
    seq: u64,
    events: Vec<Event>,
    commands: Vec<Bytes>,
}

impl Log {
    fn new() -> Self {
        let mut log = Self {
            machine: Machine::new(),
            stamp_ms: 1,
            seq: 0,
            events: Vec::new(),
            commands: Vec::new(),
        };
        log.apply(
            EntryKind::LeaderStart,
            &[codec::encode_start(Fence::new(1 << 50))],
        );
        log
    }

    fn apply(&mut self, kind: EntryKind, commands: &[Bytes]) -> Duration {
        let stamp = Stamp::ZERO.plus(Duration::from_millis(self.stamp_ms));
        let entry = Entry::new(kind, stamp, commands);
        self.events.clear();
        let slot = self.machine.applied().next();
        let start = cpu_time();
        self.machine.apply(slot, &entry, &mut self.events);
        cpu_time() - start
    }

    fn push(&mut self, client: Client, operation: Operation) {
        self.seq += 1;
        self.commands.push(codec::encode(&Command {
            zone: ZoneId::new(0),
            principal: Bytes::new(),
            client,
            via: Via {
                node: NodeId::new(1),
                boot: Boot::new(1),
                seq: self.seq,
            },
            operation,
        }));
    }

    /// Applies what was pushed; the time it took.
    fn flush(&mut self) -> Duration {
        let commands = std::mem::take(&mut self.commands);
        let took = self.apply(EntryKind::Batch, &commands);
        self.commands = commands;
        self.commands.clear();
        took
    }

    /// Takes so many locks, all of one kind.
    fn fill(&mut self, count: u64, life: Life, session: Option<SessionId>) {
        for number in 0..count {
            let client = session.map_or(Client::None, |id| Client::Session {
                id,
                seq: RequestSeq::new(number + 1),
                done_through: RequestSeq::new(number.saturating_sub(BATCH as u64)),
            });
            self.push(client, acquire(number, life));
            if self.commands.len() == BATCH || number + 1 == count {
                self.flush();
            }
        }
    }

    fn open_session(&mut self) -> SessionId {
        let identifier = Bytes::from_static(b"scale");
        self.push(
            Client::None,
            Operation::OpenSession {
                ttl_ms: 3_600_000,
                identifier,
            },
        );
        self.flush();
        match self.events.first() {
            Some(Event::Answered {
                answer: Answer::SessionOpened { session, .. },
                ..
            }) => *session,
            other => panic!("a session opens: {other:?}"),
        }
    }

    /// Microseconds of one acquire and one release among `others` held locks, in entries of 64.
    fn cycle_us(&mut self, others: u64) -> f64 {
        let mut spent = Duration::ZERO;
        let mut number = others;
        for _ in 0..CYCLES / BATCH as u64 {
            for _ in 0..BATCH {
                number += 7919;
                self.push(Client::None, acquire(others + number % others, LEASE));
            }
            spent += self.flush();
            let granted: Vec<(Key, Fence)> = self.events.iter().filter_map(granted).collect();
            for (key, fence) in granted {
                self.push(Client::None, Operation::Release { key, fence });
            }
            spent += self.flush();
        }
        spent.as_secs_f64() * 1e6 / (CYCLES as f64)
    }
}

/// What this thread used of its processor: others on the machine are not counted.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

fn granted(event: &Event) -> Option<(Key, Fence)> {
    match event {
        Event::Answered {
            answer: Answer::Granted(grant),
            ..
        } => Some((grant.key.clone(), grant.fence)),
        _ => None,
    }
}

/// 20 bytes of path and 12 of holder.
fn acquire(number: u64, life: Life) -> Operation {
    Operation::Acquire(Acquire {
        key: Key::from_path(&format!("jobs/nightly/{number:07}")).expect("a path"),
        mode: Mode::Exclusive,
        life,
        wait_ms: 0,
        holder: Bytes::from_static(b"web@host-123"),
    })
}

/// Bytes of heap of each of a million locks.
fn bytes_per_lock(life: Life) -> f64 {
    let mut log = Log::new();
    let session = (life == Life::Session).then(|| log.open_session());
    let before = ALLOCATOR.allocated();
    log.fill(LOCKS, life, session);
    (ALLOCATOR.allocated() - before) as f64 / LOCKS as f64
}

/// The longest step while 100,000 leases end at once.
fn expiry_step_ms_max() -> (f64, u64) {
    let mut log = Log::new();
    log.fill(EXPIRING, LEASE, None);
    log.stamp_ms += 700_000;
    let (mut longest, mut steps) = (Duration::ZERO, 0);
    while log.machine.grants_len() > 0 {
        longest = longest.max(log.flush());
        steps += 1;
    }
    (longest.as_secs_f64() * 1e3, steps)
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word != "--json") {
        eprintln!("usage: cargo scale [--json]");
        std::process::exit(2);
    }
    let leased = bytes_per_lock(LEASE);
    let in_session = bytes_per_lock(Life::Session);
    let mut log = Log::new();
    log.fill(LOCKS, LEASE, None);
    let many = log.cycle_us(LOCKS);
    drop(log);
    let mut log = Log::new();
    log.fill(FEW_LOCKS, LEASE, None);
    let few = log.cycle_us(FEW_LOCKS);
    drop(log);
    let (step_ms, steps) = expiry_step_ms_max();
    if words.is_empty() {
        println!(
            "a held lock: {leased:.1} bytes leased, {in_session:.1} in a session (a path of 20 bytes, a holder of 12)"
        );
        println!(
            "acquire and release: {many:.2} us among a million locks, {few:.2} us among ten thousand"
        );
        println!("100,000 leases end at once: {steps} steps, the longest {step_ms:.3} ms");
    }
    println!(
        "{{\"locks\":{LOCKS},\"bytes_per_lock\":{leased:.1},\"bytes_per_session_lock\":{in_session:.1},\
         \"us_per_cycle_1m\":{many:.3},\"us_per_cycle_10k\":{few:.3},\
         \"expiry_100k_step_ms_max\":{step_ms:.3},\"snapshot_bytes\":null,\"snapshot_s\":null}}"
    );
}
