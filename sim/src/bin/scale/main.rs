//! The lock machine at size: `cargo scale [--json]`.
//!
//! Everything goes through entries, as in a server: the figures hold decoding, answers and the
//! rolling digest. Memory is what the allocator gave out, without what it keeps for itself.

mod install;

use bytes::Bytes;
use cap::Cap;
use install::{Install, config, install};
use rustix::time::{ClockId, clock_gettime};
use std::alloc::System;
use std::time::Duration;
use tenure_core::entry::{Entry, EntryKind};
use tenure_core::ids::{
    Ballot, Boot, Fence, NodeId, RequestSeq, Seed, SessionId, SnapshotId, ZoneId,
};
use tenure_core::limits::SNAPSHOT_SLICE_RECORDS;
use tenure_core::machine::answer::{Answer, Event};
use tenure_core::machine::codec;
use tenure_core::machine::command::{Acquire, Client, Command, Life, Mode, Operation, Via};
use tenure_core::machine::key::Key;
use tenure_core::machine::parts::Parts;
use tenure_core::machine::snapshot::{Restore, Slice};
use tenure_core::machine::{Form, Limits, Machine};
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
            machine: Machine::new().in_cluster(config().shared().clone()),
            stamp_ms: 1,
            seq: 0,
            events: Vec::new(),
            commands: Vec::new(),
        };
        let note = codec::encode_start(Fence::new(1 << 50));
        log.apply(&Entry::leader_start(Ballot::ZERO, log.stamp(), &note));
        log
    }

    fn stamp(&self) -> Stamp {
        Stamp::ZERO.plus(Duration::from_millis(self.stamp_ms))
    }

    fn apply(&mut self, entry: &Entry) -> Duration {
        self.events.clear();
        let slot = self.machine.applied().next();
        let start = cpu_time();
        self.machine.apply(slot, entry, &mut self.events);
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
        let took = self.apply(&Entry::new(EntryKind::Batch, self.stamp(), &commands));
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
                threads: false,
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
                self.push(
                    Client::None,
                    Operation::Release {
                        key,
                        fence,
                        all: false,
                    },
                );
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
        } => Some((grant.key().clone(), grant.fence)),
        _ => None,
    }
}

/// 20 bytes of path and 12 of holder.
fn acquire(number: u64, life: Life) -> Operation {
    Operation::Acquire(Acquire {
        parts: Parts::one(
            Key::from_path(&format!("jobs/nightly/{number:07}")).expect("a path"),
            Mode::Exclusive,
        ),
        life,
        wait_ms: 0,
        holder: Bytes::from_static(b"web@host-123"),
        reentrant: false,
    })
}

/// A million locks, and the bytes of heap of each.
fn filled(life: Life) -> (f64, Log) {
    let mut log = Log::new();
    let session = (life == Life::Session).then(|| log.open_session());
    let before = ALLOCATOR.allocated();
    log.fill(LOCKS, life, session);
    let bytes = ALLOCATOR.allocated() - before;
    (bytes as f64 / LOCKS as f64, log)
}

/// The longest step and the sum of all, in milliseconds, while 100,000 leases end at once; and how
/// many steps there were. With a snapshot open that nobody goes on writing, each of them leaves an
/// old image.
fn expiry_ms(with_snapshot: bool) -> (f64, f64, u64) {
    let mut log = Log::new();
    log.fill(EXPIRING, LEASE, None);
    log.stamp_ms += 700_000;
    if with_snapshot {
        log.machine.open_snapshot();
    }
    let (mut longest, mut sum, mut steps) = (Duration::ZERO, Duration::ZERO, 0);
    while log.machine.grants_len() > 0 {
        let took = log.flush();
        longest = longest.max(took);
        sum += took;
        steps += 1;
    }
    (millis(longest), millis(sum), steps)
}

/// What a snapshot of a machine costs, in processor time.
struct Snapshot {
    id: SnapshotId,
    chunks: Vec<Bytes>,
    open: Duration,
    sweep: Duration,
    slice_max: Duration,
    restore: Duration,
    chunk_max: Duration,
    finish: Duration,
}

/// A snapshot of a million locks, and a machine from it.
fn snapshot(log: &mut Log) -> Snapshot {
    let open = timed(|| log.machine.open_snapshot()).1;
    let (mut sweep, mut slice_max) = (Duration::ZERO, Duration::ZERO);
    let mut chunks = Vec::new();
    let id = loop {
        let (slice, took) = timed(|| log.machine.snapshot_slice(SNAPSHOT_SLICE_RECORDS));
        sweep += took;
        slice_max = slice_max.max(took);
        match slice.expect("a snapshot is open") {
            Slice::More => {}
            Slice::Chunk { bytes, .. } => chunks.push(bytes),
            Slice::Done { id, .. } => break id,
        }
    };
    let mut restore = Restore::new(id, Limits::default(), Seed::new(1));
    let (mut sum, mut chunk_max) = (Duration::ZERO, Duration::ZERO);
    for chunk in &chunks {
        let (read, took) = timed(|| restore.chunk(chunk));
        read.expect("it is what was written");
        sum += took;
        chunk_max = chunk_max.max(took);
    }
    let (machine, finish) = timed(|| restore.finish());
    let machine = machine.expect("it is what was written");
    assert_eq!(machine.digest(), log.machine.digest(), "it is the same");
    Snapshot {
        id,
        chunks,
        open,
        sweep,
        slice_max,
        restore: sum + finish,
        chunk_max,
        finish,
    }
}

/// What a server without locks takes for the snapshot of others: bytes of its machine, the most between
/// two chunks, and the time.
struct Opaque {
    bytes: usize,
    bytes_max: usize,
    read: Duration,
}

fn opaque(of: &Snapshot) -> Opaque {
    let before = ALLOCATOR.allocated();
    let restore = Restore::new(of.id, Limits::default(), Seed::new(1));
    let mut restore = restore.in_form(Form::Witness);
    let (mut read, mut bytes_max) = (Duration::ZERO, 0);
    for chunk in &of.chunks {
        let (taken, took) = timed(|| restore.chunk(chunk));
        taken.expect("it is what was written");
        read += took;
        bytes_max = bytes_max.max(ALLOCATOR.allocated() - before);
    }
    let (machine, took) = timed(|| restore.finish());
    let machine = machine.expect("it is what was written");
    assert_eq!(machine.locks_len(), 0, "a witness has none");
    Opaque {
        bytes: ALLOCATOR.allocated() - before,
        bytes_max,
        read: read + took,
    }
}

impl Snapshot {
    fn bytes(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }
}

/// A server with the machine of `log`, of which `old` was made, gets a later snapshot from a peer.
fn installed(mut log: Log, old: &Snapshot) -> Install {
    log.flush(); // an entry without commands
    let new = snapshot(&mut log);
    let chunks = u32::try_from(old.chunks.len()).expect("they are few");
    let mut restore = Restore::new(old.id, Limits::default(), Seed::new(1));
    for chunk in &old.chunks {
        restore.chunk(chunk).expect("it is what was written");
    }
    let machine = restore.finish().expect("it is what was written");
    drop(log);
    install(machine, (old.id, chunks), new.id, &new.chunks)
}

pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = cpu_time();
    let done = work();
    (done, cpu_time() - start)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn say(snapshot: &Snapshot, of: &str) {
    println!(
        "a snapshot of a million locks {of}: {:.1} MB in {} chunks, {:.3} s (to open it {:.3} ms, the longest slice {:.3} ms)",
        snapshot.bytes() as f64 / 1e6,
        snapshot.chunks.len(),
        snapshot.sweep.as_secs_f64(),
        millis(snapshot.open),
        millis(snapshot.slice_max),
    );
    println!(
        "to restore it: {:.3} s (the longest chunk {:.3} ms, the end {:.3} ms)",
        snapshot.restore.as_secs_f64(),
        millis(snapshot.chunk_max),
        millis(snapshot.finish),
    );
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word != "--json") {
        eprintln!("usage: cargo scale [--json]");
        std::process::exit(2);
    }
    let (leased, mut log) = filled(LEASE);
    let of_leases = snapshot(&mut log);
    let many = log.cycle_us(LOCKS);
    let before = snapshot(&mut log);
    let witness = opaque(&before);
    let install = installed(log, &before);
    drop(before);
    let (in_session, mut log) = filled(Life::Session);
    let of_a_session = snapshot(&mut log);
    drop(log);
    let mut log = Log::new();
    log.fill(FEW_LOCKS, LEASE, None);
    let few = log.cycle_us(FEW_LOCKS);
    drop(log);
    let (step_ms, sum_ms, steps) = expiry_ms(false);
    let (swept_step_ms, swept_sum_ms, _) = expiry_ms(true);
    if words.is_empty() {
        println!(
            "a held lock: {leased:.1} bytes leased, {in_session:.1} in a session (a path of 20 bytes, a holder of 12)"
        );
        println!(
            "acquire and release: {many:.2} us among a million locks, {few:.2} us among ten thousand"
        );
        println!(
            "100,000 leases end at once: {steps} steps, the longest {step_ms:.3} ms, together {sum_ms:.0} ms"
        );
        println!(
            "the same while a snapshot is open: the longest {swept_step_ms:.3} ms, together {swept_sum_ms:.0} ms"
        );
        say(&of_leases, "with leases");
        say(&of_a_session, "of one session");
        println!(
            "to install one that a peer sent, the longest step of the loop: {:.3} ms (to drop the old machine beside it {:.0} ms)",
            millis(install.step_max),
            millis(install.retire),
        );
        println!(
            "a witness of them: {:.1} KiB, at most {:.1} between two chunks, {:.3} s",
            witness.bytes as f64 / 1024.0,
            witness.bytes_max as f64 / 1024.0,
            witness.read.as_secs_f64(),
        );
    }
    println!(
        "{{\"locks\":{LOCKS},\"bytes_per_lock\":{leased:.1},\"bytes_per_session_lock\":{in_session:.1},\
         \"us_per_cycle_1m\":{many:.3},\"us_per_cycle_10k\":{few:.3},\
         \"expiry_100k_step_ms_max\":{step_ms:.3},\"expiry_100k_swept_step_ms_max\":{swept_step_ms:.3},\
         \"snapshot_bytes\":{},\"snapshot_s\":{:.3},\"snapshot_slice_ms_max\":{:.3},\
         \"restore_s\":{:.3},\"restore_end_ms\":{:.3},\
         \"install_step_ms_max\":{:.3},\"retire_ms\":{:.3}}}",
        of_leases.bytes(),
        of_leases.sweep.as_secs_f64(),
        millis(of_leases.slice_max),
        of_leases.restore.as_secs_f64(),
        millis(of_leases.finish),
        millis(install.step_max),
        millis(install.retire),
    );
}
