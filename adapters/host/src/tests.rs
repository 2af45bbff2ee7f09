//! The loop against a scripted node, a scripted disk and real time.

mod ending;
mod keeping;

use crate::{
    Appended, Conn, Door, Group, Host, HostError, Log, NoKeeper, Options, Peers, Replies, Steps,
    SyncMode,
};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tenure_core::config::Membership;
use tenure_core::entry::Entry;
use tenure_core::ids::{Ballot, NodeId, RecordNo, SessionId, Slot, ZoneId};
use tenure_core::machine::command::Client;
use tenure_core::node::input::{Ask, Input, Request, Space};
use tenure_core::node::output::{Failure, Halt, Output, Reply};
use tenure_core::replica::message::Message;
use tenure_core::replica::record::Record;
use tenure_core::time::Timestamp;
use tenure_rt::{block_on, clock, spawn};

/// What happened, in order.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    fn add(&self, what: impl Into<String>) {
        self.0
            .lock()
            .expect("no test panics in it")
            .push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().expect("no test panics in it").clone()
    }

    fn count(&self, what: &str) -> usize {
        self.all().iter().filter(|event| *event == what).count()
    }

    async fn wait_for(&self, what: &str, count: usize) {
        let limit = Duration::from_secs(20);
        let seen = clock::timeout(limit, async {
            while self.count(what) < count {
                clock::sleep(Duration::from_millis(1)).await;
            }
        });
        assert!(
            seen.await.is_some(),
            "no {count} x {what}: {:?}",
            self.all()
        );
    }
}

/// Appends a record and sends a word for each request, and answers when the record is durable.
struct Script {
    events: Events,
    next: RecordNo,
    asked: Vec<(RecordNo, tenure_core::ids::Tag)>,
    /// Why it halts at request [`HALTING`], which it answers in the same step.
    halts: Option<Halt>,
    /// What the clock said that it was told with the latest request.
    asked_at: Arc<Mutex<Timestamp>>,
}

const HALTING: u64 = 9;

impl Steps for Script {
    fn step(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Request { tag, .. } => {
                *self.asked_at.lock().expect("no test panics in it") = now;
                if let Some(reason) = self.halts.take_if(|_| tag.request == HALTING) {
                    let reply = Reply::Failed(Failure::Busy);
                    out.push(Output::Reply { tag, reply });
                    out.push(Output::Halt { reason });
                    return;
                }
                self.next = self.next.next();
                self.asked.push((self.next, tag));
                out.push(Output::Append {
                    number: self.next,
                    record: Record::DecidedHint { upto: Slot::new(1) },
                });
                out.push(Output::Send {
                    to: NodeId::new(2),
                    message: Message::CatchUp { from: Slot::new(1) },
                });
            }
            Input::Durable { through } => {
                self.events.add(format!("durable {through}"));
                for (number, tag) in &self.asked {
                    if *number <= through {
                        let reply = Reply::Failed(Failure::Busy);
                        out.push(Output::Reply { tag: *tag, reply });
                    }
                }
                self.asked.retain(|(number, _)| *number > through);
            }
            Input::Gone { tag } => self.events.add(format!("gone {}", tag.request)),
            Input::Promised { .. } => self.events.add("promised"),
            Input::Link { .. } => {
                let ballot = Ballot::ZERO;
                out.push(Output::Promise {
                    ballot,
                    membership: None,
                });
            }
            Input::Flush => self.events.add("flush"),
            Input::Space { space } => self.events.add(format!("space {space:?}")),
            Input::Tick
            | Input::Peer { .. }
            | Input::Loaded { .. }
            | Input::ChunkStored { .. }
            | Input::HandOver { .. }
            | Input::Stop
            | Input::SnapshotDurable { .. }
            | Input::SnapshotFailed { .. }
            | Input::SnapshotRestored { .. }
            | Input::SnapshotBad { .. }
            | Input::ChunkLoaded { .. } => {}
        }
    }

    fn wake_at(&self) -> Option<Timestamp> {
        None
    }
}

struct Disk {
    events: Events,
    /// Records in the open group, and how many fit.
    open: usize,
    open_max: usize,
    has_room: Arc<AtomicBool>,
    is_full: Arc<AtomicBool>,
    is_broken: Arc<AtomicBool>,
    /// One word for each sync that may end, if it must wait for them.
    gate: Option<Arc<Mutex<Receiver<io::Result<()>>>>>,
}

struct Written {
    events: Events,
    gate: Option<Arc<Mutex<Receiver<io::Result<()>>>>>,
}

impl Log for Disk {
    type Group = Written;
    type Keeper = NoKeeper;

    fn append(&mut self, number: RecordNo, _: &Record) -> io::Result<Appended> {
        if self.open == self.open_max {
            return Ok(Appended::GroupFull);
        }
        if self.is_full.load(Ordering::Relaxed) {
            return Ok(Appended::NoRoom);
        }
        self.open += 1;
        self.events.add(format!("append {number}"));
        Ok(Appended::Yes)
    }

    fn space(&mut self) -> io::Result<Space> {
        Ok(if self.has_room.load(Ordering::Relaxed) {
            Space::Enough
        } else {
            Space::Low
        })
    }

    fn seal(&mut self) -> io::Result<Written> {
        self.open = 0;
        self.events.add("seal");
        Ok(Written {
            events: self.events.clone(),
            gate: self.gate.clone(),
        })
    }

    fn promise(&mut self, _: Ballot, _: Option<Membership>) -> io::Result<()> {
        self.events.add("promise");
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        self.events.add("close");
        let broken = || io::Error::other("what was prepared is gone");
        let is_broken = self.is_broken.load(Ordering::Relaxed);
        is_broken.then(broken).map_or(Ok(()), Err)
    }

    fn load(&mut self, _: Slot, _: Slot) -> io::Result<Vec<Entry>> {
        Ok(Vec::new())
    }
}

impl Group for Written {
    fn sync(self) -> io::Result<()> {
        if let Some(gate) = self.gate {
            let gate = gate.lock().expect("no test panics in it");
            // A test that is over lets everything end.
            gate.recv().unwrap_or(Ok(()))?;
        }
        self.events.add("sync");
        Ok(())
    }
}

struct Words(Events);

impl Peers for Words {
    fn send(&mut self, _: NodeId, _: &Message) {
        self.0.add("send");
    }

    fn flush(&mut self) {
        self.0.add("to peers");
    }
}

struct Ears(Events);

impl Replies for Ears {
    fn deliver(&mut self, request: u64, _: Reply) {
        self.0.add(format!("reply {request}"));
    }

    fn flush(&mut self) {
        self.0.add("to caller");
    }
}

struct Rig {
    events: Events,
    asked_at: Arc<Mutex<Timestamp>>,
    door: Door,
    has_room: Arc<AtomicBool>,
    is_full: Arc<AtomicBool>,
    /// Whether what is being prepared fails at the end.
    is_broken: Arc<AtomicBool>,
    let_sync: Sender<io::Result<()>>,
    end: tenure_rt::JoinHandle<Result<(), HostError>>,
}

fn start(sync: SyncMode, gated: bool) -> Rig {
    start_halting(sync, gated, None)
}

fn start_halting(sync: SyncMode, gated: bool, halts: Option<Halt>) -> Rig {
    let events = Events::default();
    let (let_sync, gate) = channel();
    let asked_at = Arc::new(Mutex::new(clock::now()));
    let node = Script {
        asked_at: Arc::clone(&asked_at),
        events: events.clone(),
        next: RecordNo::new(0),
        asked: Vec::new(),
        halts,
    };
    let has_room = Arc::new(AtomicBool::new(true));
    let is_full = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::new(AtomicBool::new(false));
    let log = Disk {
        events: events.clone(),
        open: 0,
        open_max: 20,
        has_room: Arc::clone(&has_room),
        is_full: Arc::clone(&is_full),
        is_broken: Arc::clone(&is_broken),
        gate: gated.then(|| Arc::new(Mutex::new(gate))),
    };
    let (door, inbox) = Door::new();
    let me = NodeId::new(1);
    let words = Words(events.clone());
    let host = Host::new(node, log, words, inbox, Options { me, sync });

    Rig {
        events,
        asked_at,
        door,
        has_room,
        is_full,
        is_broken,
        let_sync,
        end: spawn(host.run()),
    }
}

async fn caller(rig: &Rig) -> Conn {
    let ears = Box::new(Ears(rig.events.clone()));
    rig.door.open(ears).await.expect("the host runs")
}

fn request() -> Request {
    Request {
        zone: ZoneId::new(0),
        principal: Vec::new().into(),
        client: Client::None,
        ask: Ask::KeepAlive {
            session: SessionId::new(1),
        },
    }
}

fn test(body: impl Future<Output = ()>) {
    block_on(body).expect("the runtime starts");
}

#[test]
fn words_leave_before_the_disk_is_waited_for_and_answers_after_it() {
    test(async {
        let rig = start(SyncMode::Inline, false);
        let conn = caller(&rig).await;
        conn.request(7, request()).expect("there is room");
        rig.events.wait_for("to caller", 1).await;
        let events = rig.events.all();
        let wanted = [
            "send",
            "to peers",
            "append 1",
            "seal",
            "sync",
            "durable 1",
            "reply 7",
            "to caller",
        ];
        let told: Vec<&str> = events
            .iter()
            .map(String::as_str)
            .skip_while(|event| *event != "send")
            .filter(|event| wanted.contains(event))
            .collect();
        // The round of the answer flushes to the peers too, with nothing to say.
        assert_eq!(told[..6], wanted[..6]);
        assert_eq!(told[6], "reply 7");
        rig.door.stop().await;
        assert!(matches!(rig.end.await, Ok(Ok(()))));
    });
}

/// A clock that is read before the input is received makes every belief that rests on it too long
/// (rule 23).
#[test]
fn the_clock_is_read_after_the_input_was_received() {
    test(async {
        let rig = start(SyncMode::Inline, false);
        let conn = caller(&rig).await;
        for number in 1..=3 {
            let before = clock::now();
            conn.request(number, request()).expect("there is room");
            rig.events.wait_for(&format!("reply {number}"), 1).await;
            let asked_at = *rig.asked_at.lock().expect("no test panics in it");
            assert!(asked_at >= before, "{asked_at:?}, asked for at {before:?}");
        }
        rig.door.stop().await;
        assert!(matches!(rig.end.await, Ok(Ok(()))));
    });
}

#[test]
fn what_comes_while_a_sync_is_on_its_way_shares_the_next_one() {
    test(async {
        let rig = start(SyncMode::Thread, true);
        let conn = caller(&rig).await;
        conn.request(0, request()).expect("there is room");
        rig.events.wait_for("append 1", 1).await;
        for number in 1..=20 {
            conn.request(number, request()).expect("there is room");
            // Each in a round of its own.
            let appended = format!("append {}", number + 1);
            rig.events.wait_for(&appended, 1).await;
        }
        assert_eq!(rig.events.count("seal"), 1, "the first is still on its way");
        for _ in 0..3 {
            rig.let_sync.send(Ok(())).expect("the disk lives");
        }
        rig.events.wait_for("reply 20", 1).await;
        assert_eq!(rig.events.count("durable 21"), 1);
        let durable = |event: &&String| event.starts_with("durable");
        assert_eq!(rig.events.all().iter().filter(durable).count(), 2);
    });
}

#[test]
fn what_does_not_fit_a_group_waits_for_the_next_one() {
    test(async {
        for mode in [SyncMode::Inline, SyncMode::Thread] {
            let rig = start(mode, false);
            let conn = caller(&rig).await;
            for number in 0..50 {
                conn.request(number, request()).expect("there is room");
            }
            rig.events.wait_for("reply 49", 1).await;
            let durable = |event: &&String| event.starts_with("durable");
            let groups = rig.events.all().iter().filter(durable).count();
            assert!(
                (3..=4).contains(&groups),
                "50 records, 20 to a group: {groups}"
            );
            for number in 1..=50 {
                assert_eq!(rig.events.count(&format!("append {number}")), 1);
            }
        }
    });
}

#[test]
fn the_node_hears_of_the_room_before_it_is_asked() {
    test(async {
        let rig = start(SyncMode::Inline, false);
        let conn = caller(&rig).await;
        rig.has_room.store(false, Ordering::Relaxed);
        conn.request(1, request()).expect("there is room");
        rig.events.wait_for("reply 1", 1).await;
        let events = rig.events.all();
        let place = |what: &str| events.iter().position(|event| event == what);
        assert!(place("space Low") < place("append 1"), "{events:?}");
        rig.has_room.store(true, Ordering::Relaxed);
        conn.request(2, request()).expect("there is room");
        rig.events.wait_for("reply 2", 1).await;
        assert_eq!(rig.events.count("space Low"), 1, "once");
        assert_eq!(rig.events.count("space Enough"), 1);
    });
}

/// Nothing is said of a record that has no room, and the server goes on.
#[test]
fn a_record_without_room_waits_for_room() {
    test(async {
        let rig = start(SyncMode::Inline, false);
        let conn = caller(&rig).await;
        conn.request(1, request()).expect("there is room");
        rig.events.wait_for("reply 1", 1).await;
        rig.is_full.store(true, Ordering::Relaxed);
        conn.request(2, request()).expect("there is room");
        rig.events.wait_for("space Full", 1).await;
        conn.request(3, request()).expect("there is room");
        rig.events.wait_for("send", 3).await;
        assert_eq!(rig.events.count("append 2"), 0);
        assert_eq!(rig.events.count("reply 2"), 0);
        rig.is_full.store(false, Ordering::Relaxed);
        // Whatever wakes the loop: a server hears its peers all the time.
        let told = rig.door.link(NodeId::new(2), true).await;
        told.expect("the host runs");
        rig.events.wait_for("reply 3", 1).await;
        rig.events.wait_for("space Enough", 1).await;
        assert_eq!(rig.events.count("append 2"), 1, "in their order");
        assert_eq!(rig.events.count("durable 3"), 1);
        assert_eq!(rig.events.count("space Full"), 1, "said once");
    });
}

#[test]
fn the_last_group_gets_a_trailing_seal() {
    test(async {
        let rig = start(SyncMode::Inline, false);
        let conn = caller(&rig).await;
        conn.request(1, request()).expect("there is room");
        rig.events.wait_for("seal", 2).await;
        rig.events.wait_for("sync", 2).await;
        let events = rig.events.all();
        let answered = events.iter().position(|event| event == "reply 1");
        let trailing = events.iter().rposition(|event| event == "seal");
        assert!(answered < trailing, "nobody waits for it: {events:?}");
        // And no third: an empty group needs none.
        clock::sleep(Duration::from_millis(30)).await;
        assert_eq!(rig.events.count("seal"), 2);
    });
}

#[test]
fn a_promise_is_durable_before_the_node_hears_so() {
    test(async {
        let rig = start(SyncMode::Inline, false);
        let told = rig.door.link(NodeId::new(2), true).await;
        told.expect("the host runs");
        rig.events.wait_for("promised", 1).await;
        let events = rig.events.all();
        let place = |what: &str| events.iter().position(|event| event == what);
        assert!(place("promise").is_some() && place("promise") < place("promised"));
    });
}

#[test]
fn the_node_hears_of_each_request_whose_caller_went_away() {
    test(async {
        let rig = start(SyncMode::Thread, true);
        let (one, other) = (caller(&rig).await, caller(&rig).await);
        for number in [10, 11, 12] {
            one.request(number, request()).expect("there is room");
        }
        other.request(20, request()).expect("there is room");
        one.gone(11).await;
        one.gone(99).await;
        one.close().await;
        rig.events.wait_for("gone 12", 1).await;
        for number in ["gone 10", "gone 11", "gone 12"] {
            assert_eq!(rig.events.count(number), 1, "{number}");
        }
        assert_eq!(rig.events.count("gone 99") + rig.events.count("gone 20"), 0);
        // The replies of the closed one go nowhere, and those of the other arrive.
        for _ in 0..4 {
            rig.let_sync.send(Ok(())).expect("the disk lives");
        }
        rig.events.wait_for("reply 20", 1).await;
        assert_eq!(rig.events.count("reply 10"), 0);
    });
}

#[test]
fn a_full_inbox_is_an_answer() {
    test(async {
        let rig = start(SyncMode::Inline, false);
        let conn = caller(&rig).await;
        // The host does not run between these: nothing here waits.
        let mut taken = 0;
        while conn.request(taken, request()).is_ok() {
            taken += 1;
            assert!(taken < 100_000, "the queue has no end");
        }
        rig.events
            .wait_for(&format!("reply {}", taken - 1), 1)
            .await;
        assert!(taken > 1000);
        assert!(
            conn.request(taken, request()).is_ok(),
            "there is room again"
        );
        // All of one round's replies were one write.
        let writes = u64::try_from(rig.events.count("to caller")).expect("it is small");
        assert!(writes * 100 < taken, "{writes} writes for {taken} replies");
    });
}
