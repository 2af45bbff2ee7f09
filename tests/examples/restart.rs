//! How long a server with many locks is away when it is started again.
//!
//! `cargo restart [LOCKS]` starts one server, takes that many leased locks (a million by default) as
//! clients do, kills it, and starts it again: three times, each from the start of the process to the first
//! lock that it grants.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use tenure_core::ids::RequestId;
use tenure_core::machine::answer::Answer;
use tenure_core::machine::command::{Client, Life, Mode};
use tenure_core::node::input::Ask;
use tenure_core::wire::client::Word;
use tenure_core::wire::codes;
use tenure_tests::members::{Members, PATIENCE};
use tenure_tests::native::{Native, acquire};

const CONNECTIONS: u64 = 8;
/// Requests of one connection that wait for their answers.
const OPEN: usize = 500;
/// Longer than all of this takes.
const TTL_MS: u64 = 12 * 3_600_000;

fn main() {
    let locks = std::env::args().nth(1);
    let locks = locks.map_or(1_000_000, |text| text.parse().expect("a number of locks"));
    let mut members = Members::new(1);
    members.start_all();
    let begun = Instant::now();
    take(members.client(1), locks);
    println!("{locks} locks taken in {:.1?}", begun.elapsed());
    for again in 1..=3 {
        members.kill(1);
        let (snapshots, log) = (
            bytes_in(&members.data(1).join("snap")),
            bytes_in(&members.data(1).join("wal")),
        );
        let begun = Instant::now();
        members.start(1);
        first_answer(members.client(1), locks + again, begun);
        println!(
            "restart {again}: {:.0} ms to the first lock (snapshots {} MiB, segments {} MiB)",
            begun.elapsed().as_secs_f64() * 1e3,
            snapshots >> 20,
            log >> 20,
        );
        is_held(members.client(1), locks);
    }
}

/// The request for lock `number`, and its id.
fn lock(number: u64) -> (RequestId, Ask) {
    let life = Life::Lease { ttl_ms: TTL_MS };
    let path = format!("restart/{number:08}");
    let ask = acquire(&path, Mode::Exclusive, life, Duration::ZERO, "restart");
    (RequestId::new(1 << 64 | u128::from(number)), ask)
}

/// Takes locks 1 to `locks`, over several connections, each with many requests at once.
fn take(address: SocketAddr, locks: u64) {
    thread::scope(|scope| {
        for first in 1..=CONNECTIONS {
            scope.spawn(move || {
                let mut native = Native::connect(address, PATIENCE).expect("it listens");
                let mut open = BTreeSet::new();
                let step = usize::try_from(CONNECTIONS).expect("it is small");
                for number in (first..=locks).step_by(step) {
                    open.insert(say(&mut native, number));
                    if open.len() == OPEN {
                        hear(&mut native, &mut open);
                    }
                }
                while !open.is_empty() {
                    hear(&mut native, &mut open);
                }
            });
        }
    });
}

fn say(native: &mut Native, number: u64) -> RequestId {
    let (id, ask) = lock(number);
    native.say(id, &Client::None, &ask).expect("it listens");
    id
}

/// Hears one answer. What a busy server did not come to is asked again.
fn hear(native: &mut Native, open: &mut BTreeSet<RequestId>) {
    let heard = native.hear(Instant::now() + PATIENCE).expect("it answers");
    assert!(open.contains(&heard.id), "not asked for: {heard:?}");
    match heard.word {
        Word::Rejected(no) if no.retryable => {
            let number = heard.id.get() & u128::from(u64::MAX);
            say(native, u64::try_from(number).expect("it was one"));
        }
        word => {
            assert!(is_granted(&word), "{word:?}");
            open.remove(&heard.id);
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
    let (id, ask) = lock(number);
    loop {
        let asked = Native::connect(address, PATIENCE)
            .and_then(|mut native| native.ask(id, &Client::None, &ask, PATIENCE));
        if asked.is_ok_and(|answered| is_granted(&answered.word)) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "it is never there");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// The last lock is still taken.
fn is_held(address: SocketAddr, number: u64) {
    let mut native = Native::connect(address, PATIENCE).expect("it listens");
    let (_, ask) = lock(number);
    let other = RequestId::new(2 << 64);
    let answered = native.ask(other, &Client::None, &ask, PATIENCE);
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
