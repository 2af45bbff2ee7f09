//! Snapshots, truncation and the promise: what waits for what, and what never waits.

use super::{Events, Words, Written, test};
use crate::{Appended, Door, Host, HostError, Keeper, Kept, Log, Options, Steps, SyncMode};
use bytes::Bytes;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use tenure_core::config::Membership;
use tenure_core::entry::Entry;
use tenure_core::ids::{Ballot, Epoch, NodeId, RecordNo, Seed, Slot, SnapshotId};
use tenure_core::machine::{Form, Limits};
use tenure_core::node::input::Input;
use tenure_core::node::output::{Halt, Output, Received};
use tenure_core::replica::record::Record;
use tenure_core::time::Timestamp;
use tenure_rt::spawn;

/// Wants what a test says, and tells what it hears.
struct Script {
    events: Events,
    wants: Receiver<Output>,
}

impl Steps for Script {
    fn step(&mut self, _: Timestamp, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Flush => out.extend(self.wants.try_iter()),
            Input::ChunkStored { index, .. } => self.events.add(format!("stored {index}")),
            Input::SnapshotDurable { .. } => self.events.add("durable"),
            Input::SnapshotFailed { .. } => self.events.add("failed"),
            Input::SnapshotRestored { .. } => self.events.add("restored"),
            Input::SnapshotBad { .. } => self.events.add("bad"),
            Input::ChunkLoaded { bytes, .. } => self.events.add(format!("loaded {bytes:?}")),
            Input::Promised { .. } => self.events.add("promised"),
            Input::Link { .. } => self.events.add("link"),
            _ => {}
        }
    }

    fn wake_at(&self) -> Option<Timestamp> {
        None
    }
}

struct Disk {
    events: Events,
    keeper: Option<Slow>,
}

/// Does each thing when a test lets it.
struct Slow {
    events: Events,
    may: Receiver<io::Result<Kept>>,
}

impl Slow {
    fn wait(&self, what: &str) -> io::Result<Kept> {
        self.events.add(format!("begins {what}"));
        // A test that is over lets everything end.
        let kept = self.may.recv().unwrap_or(Ok(Kept::Durable));
        self.events.add(format!("ends {what}"));
        kept
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.events.add("keeper ends");
    }
}

impl Keeper for Slow {
    type Truncation = Slot;

    fn chunk(&mut self, _: Slot, index: u32, _: &Bytes) -> io::Result<()> {
        self.wait(&format!("chunk {index}")).map(drop)
    }

    fn receive(&mut self, received: Received) {
        self.events.add(format!("receives {}", received.id.slot));
    }

    fn done(&mut self, _: SnapshotId, _: u32, _: &[SnapshotId]) -> io::Result<Kept> {
        self.wait("done")
    }

    fn load(&mut self, _: SnapshotId, _: u32) -> io::Result<Option<Bytes>> {
        self.wait("load").map(|_| Some(Bytes::from_static(b"it")))
    }

    fn truncate(&mut self, upto: &mut Slot) -> io::Result<()> {
        self.wait(&format!("truncate {upto}")).map(drop)
    }

    fn tidy(&mut self) -> io::Result<()> {
        self.wait("tidy").map(drop)
    }
}

impl Log for Disk {
    type Group = Written;
    type Keeper = Slow;

    fn append(&mut self, _: RecordNo, _: &Record) -> io::Result<Appended> {
        Ok(Appended::Yes)
    }

    fn keeper(&mut self) -> Option<Slow> {
        self.keeper.take()
    }

    fn begin_truncate(&mut self, upto: Slot, _: SnapshotId) -> io::Result<Option<Slot>> {
        Ok(Some(upto))
    }

    fn end_truncate(&mut self, upto: Slot) {
        self.events.add(format!("truncated {upto}"));
    }

    fn seal(&mut self) -> io::Result<Written> {
        Ok(Written {
            events: self.events.clone(),
            gate: None,
        })
    }

    fn promise(&mut self, ballot: Ballot, _: Option<Membership>) -> io::Result<()> {
        self.events.add(format!("promise {}", ballot.round));
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        self.events.add("close");
        Ok(())
    }

    fn load(&mut self, _: Slot, _: Slot) -> io::Result<Vec<Entry>> {
        Ok(Vec::new())
    }
}

struct Rig {
    events: Events,
    door: Door,
    want: Sender<Output>,
    may: Sender<io::Result<Kept>>,
    end: tenure_rt::JoinHandle<Result<(), HostError>>,
}

impl Rig {
    fn start() -> Self {
        let events = Events::default();
        let (want, wants) = channel();
        let (let_end, may) = channel();
        let node = Script {
            events: events.clone(),
            wants,
        };
        let keeper = Slow {
            events: events.clone(),
            may,
        };
        let log = Disk {
            events: events.clone(),
            keeper: Some(keeper),
        };
        let (door, inbox) = Door::new();
        let options = Options {
            me: NodeId::new(1),
            sync: SyncMode::Inline,
        };
        let host = Host::new(node, log, Words(events.clone()), inbox, options);
        Self {
            events,
            door,
            want,
            may: let_end,
            end: spawn(host.run()),
        }
    }

    /// The node wants this, in the next round.
    async fn wants(&self, outputs: Vec<Output>) {
        for output in outputs {
            self.want.send(output).expect("the node lives");
        }
        let linked = self.door.link(NodeId::new(2), true).await;
        linked.expect("the host runs");
    }

    fn lets(&self, kept: io::Result<Kept>) {
        self.may.send(kept).expect("the keeper lives");
    }
}

fn id() -> SnapshotId {
    let slot = Slot::new(7);
    SnapshotId { slot, hash: 1 }
}

fn chunk(index: u32) -> Output {
    Output::SnapshotChunk {
        slot: Slot::new(7),
        index,
        bytes: Bytes::from_static(b"chunk"),
        received: None,
    }
}

fn done() -> Output {
    Output::SnapshotDone {
        id: id(),
        chunks: 2,
        keep: Vec::new(),
    }
}

fn truncate(upto: u64) -> Output {
    Output::Truncate {
        upto: Slot::new(upto),
        snapshot: id(),
    }
}

fn promise(round: u64) -> Output {
    let mut ballot = Ballot::ZERO;
    for _ in 0..round {
        ballot = ballot.above(NodeId::new(1));
    }
    Output::Promise {
        ballot,
        membership: None,
    }
}

#[test]
fn a_snapshot_is_written_beside_the_loop() {
    test(async {
        let rig = Rig::start();
        rig.wants(vec![chunk(0), chunk(1), done()]).await;
        rig.events.wait_for("begins chunk 0", 1).await;
        // The disk takes its time; the loop does not wait for it.
        rig.wants(vec![promise(1)]).await;
        rig.events.wait_for("promised", 1).await;
        assert_eq!(rig.events.count("ends chunk 0"), 0);
        for _ in 0..3 {
            rig.lets(Ok(Kept::Durable));
        }
        rig.events.wait_for("durable", 1).await;
        let told = rig.events.all();
        let place = |what: &str| told.iter().position(|event| event == what);
        assert!(place("stored 0") < place("stored 1") && place("stored 1") < place("durable"));
        assert!(
            place("ends done") < place("durable"),
            "it is said only then"
        );
    });
}

#[test]
fn a_snapshot_that_was_given_up_stops_nothing() {
    test(async {
        let rig = Rig::start();
        rig.wants(vec![chunk(0), done()]).await;
        rig.lets(Ok(Kept::Durable));
        rig.lets(Ok(Kept::GivenUp("no room".to_owned())));
        rig.events.wait_for("failed", 1).await;
        // Nor does one that can't be read for a peer.
        let load = || Output::LoadChunk { id: id(), index: 0 };
        rig.wants(vec![load(), load()]).await;
        rig.lets(Err(io::Error::other("rotten")));
        rig.events.wait_for("loaded None", 1).await;
        rig.lets(Ok(Kept::Durable));
        rig.events.wait_for("loaded Some(b\"it\")", 1).await;
        rig.door.stop().await;
        assert!(matches!(rig.end.await, Ok(Ok(()))));
    });
}

/// Reading a peer's snapshot back takes a second for a million locks, and so does dropping a machine: both
/// are done beside the loop.
#[test]
fn a_snapshot_of_a_peer_is_read_back_beside_the_loop() {
    test(async {
        let rig = Rig::start();
        let Output::SnapshotChunk {
            slot, index, bytes, ..
        } = chunk(0)
        else {
            panic!("it is a chunk");
        };
        let received = Some(Received {
            id: id(),
            limits: Limits::default(),
            seed: Seed::new(1),
            form: Form::Full,
        });
        let first = Output::SnapshotChunk {
            slot,
            index,
            bytes,
            received,
        };
        rig.wants(vec![first, chunk(1), done()]).await;
        for _ in 0..2 {
            rig.lets(Ok(Kept::Durable));
        }
        rig.events.wait_for("begins done", 1).await;
        rig.wants(vec![promise(1)]).await;
        rig.events.wait_for("promised", 1).await;
        assert_eq!(rig.events.count("receives 7"), 1, "with its first chunk");
        rig.lets(Ok(Kept::Restored(Box::default())));
        rig.events.wait_for("restored", 1).await;
        rig.wants(vec![chunk(0), done()]).await;
        rig.lets(Ok(Kept::Durable));
        rig.lets(Ok(Kept::Bad("it is none".to_owned())));
        rig.events.wait_for("bad", 1).await;
        assert_eq!(rig.events.count("durable"), 0);
    });
}

#[test]
fn a_disk_that_fails_under_a_snapshot_stops_the_server() {
    test(async {
        let rig = Rig::start();
        rig.wants(vec![chunk(0), done()]).await;
        rig.lets(Ok(Kept::Durable));
        rig.lets(Err(io::Error::other("no more")));
        let ended = rig.end.await.expect("it does not panic");
        let said = ended.expect_err("it must not go on").to_string();
        assert_eq!(
            said,
            "stopped, because the log can't be made durable: no more"
        );
        assert_eq!(rig.events.count("durable"), 0);
    });
}

/// Who is to have another role asks its disk whether anything failed, and opens it again: by then nobody
/// works on it any more, whose failure would go unheard.
#[test]
fn a_disk_is_closed_when_nobody_makes_a_snapshot_there_any_more() {
    test(async {
        let rig = Rig::start();
        rig.wants(vec![chunk(0)]).await;
        rig.events.wait_for("begins chunk 0", 1).await;
        let epoch = Epoch::new(2);
        let reason = Halt::Role { epoch };
        rig.lets(Ok(Kept::Durable));
        rig.wants(vec![Output::Halt { reason }]).await;
        let end = rig.end.await.expect("the task lives");
        assert!(matches!(end, Err(HostError::Halt(_))), "{end:?}");
        let told = rig.events.all();
        let place = |what: &str| told.iter().position(|event| event == what);
        let ended = place("keeper ends").expect("it is waited for");
        assert!(Some(ended) < place("close"), "{told:?}");
    });
}

/// At most one change of the superblock is in flight (rule 4).
#[test]
fn a_promise_waits_for_a_truncation_and_the_next_one_for_both() {
    test(async {
        let rig = Rig::start();
        rig.wants(vec![truncate(5)]).await;
        rig.events.wait_for("begins truncate 5", 1).await;
        rig.wants(vec![promise(1), truncate(6)]).await;
        // Only the last one counts.
        rig.wants(vec![truncate(7)]).await;
        rig.events.wait_for("link", 3).await;
        assert_eq!(rig.events.count("promise 1"), 0);
        rig.lets(Ok(Kept::Durable));
        // Not for the files that go.
        rig.events.wait_for("promise 1", 1).await;
        rig.events.wait_for("begins tidy", 1).await;
        assert_eq!(rig.events.count("ends tidy"), 0);
        rig.lets(Ok(Kept::Durable));
        rig.events.wait_for("begins truncate 7", 1).await;
        rig.lets(Ok(Kept::Durable));
        rig.events.wait_for("truncated 7", 1).await;
        let told = rig.events.all();
        let place = |what: &str| told.iter().position(|event| event == what);
        assert!(place("truncated 5") < place("promise 1"));
        assert!(place("promise 1") < place("begins truncate 7"));
        assert_eq!(rig.events.count("begins truncate 6"), 0);
    });
}

/// A promise waits for the four syncs of a truncation, and never for what stands before that.
#[test]
fn a_truncation_begins_when_nothing_stands_before_it() {
    test(async {
        let rig = Rig::start();
        rig.wants(vec![chunk(0), truncate(5)]).await;
        rig.events.wait_for("begins chunk 0", 1).await;
        rig.wants(vec![promise(1)]).await;
        rig.events.wait_for("promised", 1).await;
        assert_eq!(rig.events.count("begins truncate 5"), 0);
        rig.lets(Ok(Kept::Durable));
        rig.events.wait_for("begins truncate 5", 1).await;
        rig.lets(Ok(Kept::Durable));
        rig.events.wait_for("truncated 5", 1).await;
    });
}

/// More chunks than may be on their way are dropped, and each is answered.
#[test]
fn a_full_queue_is_an_answer() {
    test(async {
        let rig = Rig::start();
        let max = u32::try_from(tenure_core::limits::SNAPSHOT_CHUNKS_OPEN).expect("it is small");
        rig.wants((0..=max).map(chunk).collect()).await;
        rig.events.wait_for(&format!("stored {max}"), 1).await;
        assert_eq!(rig.events.count("stored 0"), 0);
        rig.wants(vec![done(), done()]).await;
        rig.events.wait_for("failed", 1).await;
        for _ in 0..=max {
            rig.lets(Ok(Kept::Durable));
        }
        rig.events.wait_for("durable", 1).await;
    });
}
