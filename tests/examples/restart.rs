//! How long a server with many locks is away when it is started again.
//!
//! `cargo restart [LOCKS [BEHIND]]` starts one server, takes that many leased locks (a million by default)
//! as clients do, kills it, and starts it again: three times from a log alone. Then clients go on until
//! a snapshot was made, and then give `BEHIND` more commands (300,000 by default; those that came while it
//! was written stand behind it too, and are counted), and it is killed and started three times more. Each restart is measured from the start of the process to the first lock that
//! it grants, with the phases between, and the processor time of all its threads until then.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use tenure_core::ids::{RequestId, Slot};
use tenure_core::machine::answer::Answer;
use tenure_core::machine::command::{Client, Life, Mode};
use tenure_core::machine::key::Key;
use tenure_core::node::input::{Ask, Proof};
use tenure_core::wire::client::Word;
use tenure_core::wire::codes;
use tenure_tests::members::{Members, PATIENCE};
use tenure_tests::native::{Native, acquire};

const CONNECTIONS: usize = 8;
/// Requests of one connection that wait for their answers.
const OPEN: usize = 500;
/// Longer than all of this takes.
const TTL_MS: u64 = 12 * 3_600_000;
/// Locks from this number on are given back as soon as they are granted: they fill the log, and not the
/// tables.
const CYCLED: u64 = 1 << 32;
/// How many of them are cycled before it is asked whether a snapshot was made.
const FILLING: u64 = 20_000;
/// Between two ticks of the processor time that `/proc/PID/stat` counts.
const TICK_MS: u64 = 10;

/// What a server says of each phase of its start, in this order.
const PHASES: [(&str, &str); 3] = [
    ("open", "the data directory is opened"),
    ("snapshot restored", "the newest snapshot is restored"),
    ("log checked", "the log is checked"),
];

fn main() {
    let number = |at: usize, default| {
        let given = std::env::args().nth(at);
        given.map_or(default, |text| text.parse().expect("a number"))
    };
    let (locks, behind) = (number(1, 1_000_000), number(2, 300_000));
    let mut members = Members::new(1);
    members.start_all();
    let begun = Instant::now();
    work(members.client(1), 1..=locks);
    println!("{locks} locks taken in {:.1?}", begun.elapsed());
    for again in 1..=3 {
        restart(&mut members, locks, locks + again);
    }
    let mut next = CYCLED;
    // How far the log was before each turn, and what was cycled until then.
    let mut turns = Vec::new();
    let mut cycle = |members: &Members, count: u64| {
        let state = members.state(1, PATIENCE).expect("it answers");
        turns.push((state.applied, next));
        work(members.client(1), next..=next + count - 1);
        next += count;
    };
    while !has_snapshot(&members) {
        cycle(&members, FILLING);
    }
    cycle(&members, behind.div_ceil(2));
    let snapshot = newest(&members).expect("there is one");
    let since = turns.iter().rev().find(|(slot, _)| *slot <= snapshot);
    let since = since.map_or(CYCLED, |(_, cycled)| *cycled);
    let behind = 2 * (next - since);
    println!(
        "a snapshot was made, and {behind} commands given since it was due, or up to {} fewer",
        2 * FILLING
    );
    for again in 4..=6 {
        restart(&mut members, locks, locks + again);
    }
}

/// Kills the server and starts it again, until it grants lock `next`.
fn restart(members: &mut Members, locks: u64, next: u64) {
    members.kill(1);
    let (snapshots, log) = (
        bytes_in(&members.data(1).join("snap")),
        bytes_in(&members.data(1).join("wal")),
    );
    let has_snapshot = has_snapshot(members);
    let begun = Instant::now();
    members.start(1);
    let mut phases = Vec::new();
    for (name, says) in PHASES {
        if name == "snapshot restored" && !has_snapshot {
            continue;
        }
        let process = members.process(1);
        process.line(PATIENCE, says, |line| line.contains(says).then_some(()));
        phases.push((name, begun.elapsed()));
    }
    first_answer(members.client(1), next, begun);
    let took = begun.elapsed();
    phases.push(("log applied, first lock", took));
    let used = used_ms(members.process(1).id());
    is_held(members.client(1), locks);
    println!(
        "restart: {:.0} ms to the first lock, {used} ms of processor time (snapshots {} MiB, segments {} MiB)",
        took.as_secs_f64() * 1e3,
        snapshots >> 20,
        log >> 20,
    );
    let mut before = Duration::ZERO;
    for (name, at) in phases {
        let took = (at - before).as_secs_f64() * 1e3;
        println!("  {name:<24}{took:>8.0} ms");
        before = at;
    }
}

/// The processor time of all threads of a process.
fn used_ms(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    // proc(5): the fields after the name in brackets, from the third on; 14 and 15 are times.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks = ticks.map(|ticks| ticks.parse::<u64>().expect("a number"));
    ticks.sum::<u64>() * TICK_MS
}

/// Whether a whole snapshot is on the disk.
fn has_snapshot(members: &Members) -> bool {
    newest(members).is_some()
}

/// The slot of the newest whole snapshot on the disk: its name begins with it.
fn newest(members: &Members) -> Option<Slot> {
    let entries = fs::read_dir(members.data(1).join("snap")).expect("the folder is there");
    let names = entries.map(|entry| entry.expect("it can be looked at").file_name());
    let slots = names.filter_map(|name| {
        let name = name.to_string_lossy().into_owned();
        let (slot, _) = name.strip_suffix(".snap")?.split_once('-')?;
        slot.parse().ok().map(Slot::new)
    });
    slots.max()
}

/// The id of what is said of lock `number`, first to take it, then to give it back.
const fn id(number: u64, said: u128) -> RequestId {
    RequestId::new(said << 64 | number as u128)
}

fn path(number: u64) -> String {
    format!("restart/{number:08}")
}

/// The request for lock `number`.
fn take(number: u64) -> Ask {
    let life = Life::Lease { ttl_ms: TTL_MS };
    let path = path(number);
    acquire(&path, Mode::Exclusive, life, Duration::ZERO, "restart")
}

/// Takes these locks, over several connections, each with many requests at once.
fn work(address: SocketAddr, numbers: RangeInclusive<u64>) {
    thread::scope(|scope| {
        for first in 0..CONNECTIONS {
            let numbers = numbers.clone().skip(first).step_by(CONNECTIONS);
            scope.spawn(move || {
                let mut worker = Worker {
                    native: Native::connect(address, PATIENCE).expect("it listens"),
                    open: BTreeMap::new(),
                };
                for number in numbers {
                    worker.say(id(number, 1), take(number));
                    while worker.open.len() >= OPEN {
                        worker.hear();
                    }
                }
                while !worker.open.is_empty() {
                    worker.hear();
                }
            });
        }
    });
}

struct Worker {
    native: Native,
    /// What no answer came to yet.
    open: BTreeMap<RequestId, Ask>,
}

impl Worker {
    fn say(&mut self, id: RequestId, ask: Ask) {
        let said = self.native.say(id, &Client::None, &ask);
        said.expect("it listens");
        self.open.insert(id, ask);
    }

    /// Hears one answer. What a busy server did not come to is asked again.
    fn hear(&mut self) {
        let heard = self.native.hear(Instant::now() + PATIENCE);
        let heard = heard.expect("it answers");
        let ask = self.open.remove(&heard.id);
        let ask = ask.unwrap_or_else(|| panic!("not asked for: {heard:?}"));
        let number = u64::try_from(heard.id.get() & u128::from(u64::MAX)).expect("it was one");
        match heard.word {
            Word::Rejected(no) if no.retryable => self.say(heard.id, ask),
            Word::Decided {
                answer: Answer::Granted(grant),
                token: Some(token),
                ..
            } => {
                if number >= CYCLED {
                    let proof = Proof {
                        key: Key::from_path(&path(number)).expect("it is a path"),
                        fence: grant.fence,
                        session: None,
                        token,
                    };
                    self.say(id(number, 2), Ask::release(proof));
                }
            }
            Word::Decided {
                answer: Answer::Released { .. },
                ..
            } => {}
            word => panic!("{word:?}"),
        }
    }
}

const fn is_granted(word: &Word) -> bool {
    matches!(
        word,
        Word::Decided {
            answer: Answer::Granted(_),
            ..
        }
    )
}

/// Asks for a new lock until the server is there.
fn first_answer(address: SocketAddr, number: u64, begun: Instant) {
    loop {
        let asked = Native::connect(address, PATIENCE).and_then(|mut native| {
            native.ask(id(number, 1), &Client::None, &take(number), PATIENCE)
        });
        if asked.is_ok_and(|answered| is_granted(&answered.word)) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "it is never there");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// Lock `number` is still taken.
fn is_held(address: SocketAddr, number: u64) {
    let mut native = Native::connect(address, PATIENCE).expect("it listens");
    let other = id(number, 3);
    let answered = native.ask(other, &Client::None, &take(number), PATIENCE);
    let word = answered.expect("it answers").word;
    let is_held = matches!(&word, Word::Rejected(no) if no.code == codes::HELD.number);
    assert!(is_held, "{word:?}");
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let lens = entries.map(|entry| {
        entry
            .and_then(|entry| entry.metadata())
            .map(|found| found.len())
    });
    lens.sum::<Result<u64, _>>()
        .expect("files can be looked at")
}
