//! A stage for schedules written by hand: real nodes with real logs, and a script that says who hears
//! whom, whose disk is slow, who dies. Words travel at once and disks are as fast, unless the script
//! says otherwise; so a page tells only what matters (`sim/src/book`).

use crate::Nanos;
use crate::clock::Clock;
use crate::disk::Fate;
use crate::judges::Judges;
use crate::marks::{Mark, Marks};
use crate::rand::Rand;
use crate::scenario::{HostKnobs, MS, Plan, Scenario};
use crate::server::{DiskDone, Life, Server, index_of, node_id};
use crate::transcript::{HEAD, line, said, words};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use tenure_core::hash::hash64;
use tenure_core::ids::{Boot, Fence, RequestId, Tag, ZoneId};
use tenure_core::machine::answer::Answer;
use tenure_core::machine::command::{Acquire, Client, Life as Term, Mode};
use tenure_core::machine::key::Key;
use tenure_core::node::input::{Ask, Input, Request};
use tenure_core::node::output::{Output, Reply};
use tenure_core::replica::message::Message;

/// Bytes of log that no page writes: no snapshot is ever due.
pub const NEVER: u64 = 1 << 30;
/// Words that one action may cause: beyond it something runs in circles.
const WORDS_MAX: usize = 100_000;

/// A word on its way.
struct Word {
    from: usize,
    to: usize,
    boots: (Boot, Boot),
    message: Message,
}

/// The stage. Servers are named by their numbers, from 1.
pub struct Stage {
    now: Nanos,
    servers: Vec<Server>,
    /// What the disk of each server was asked for and has not done.
    disks: Vec<VecDeque<DiskDone>>,
    slow_disks: BTreeSet<usize>,
    cut: BTreeSet<(usize, usize)>,
    kept: BTreeSet<(usize, usize)>,
    /// Words that begin so are lost.
    lost: BTreeSet<(usize, usize, &'static str)>,
    lock: String,
    words: VecDeque<Word>,
    fences: BTreeMap<String, Fence>,
    clients: Vec<String>,
    store: Fence,
    judges: Judges,
    marks: Marks,
    text: String,
}

/// Disks that store at once, and snapshots every `snapshot_bytes` of the log.
fn knobs(snapshot_bytes: u64) -> HostKnobs {
    let mut knobs = Plan::draw(Scenario::Calm, 1).host;
    knobs.sync_min = 1;
    knobs.sync_mean = 1;
    knobs.round_mean = 1;
    knobs.inputs_max = 1_000;
    knobs.segment_bytes = 1 << 20;
    knobs.snapshots.bytes = snapshot_bytes;
    knobs.snapshots.chunk_bytes = 2 << 10;
    knobs.snapshots.window_slots = 4096;
    if snapshot_bytes < NEVER {
        knobs.segment_bytes = 16 << 10;
        knobs.snapshots.window_slots = 2;
    }
    knobs
}

impl Stage {
    /// So many servers that serve, none of which leads; a snapshot is due every `snapshot_bytes`.
    pub fn new(servers: usize, snapshot_bytes: u64) -> Self {
        let knobs = Rc::new(knobs(snapshot_bytes));
        let server = |index| {
            let clock = Clock::new(0, 0, 0);
            Server::new(7, index, servers, clock, Rc::clone(&knobs))
        };
        let mut stage = Self {
            now: 0,
            servers: (0..servers).map(server).collect(),
            disks: vec![VecDeque::new(); servers],
            slow_disks: BTreeSet::new(),
            cut: BTreeSet::new(),
            kept: BTreeSet::new(),
            lost: BTreeSet::new(),
            lock: "the/lock".to_owned(),
            words: VecDeque::new(),
            fences: BTreeMap::new(),
            clients: Vec::new(),
            store: Fence::default(),
            judges: Judges::new(servers, &knobs),
            marks: Marks::default(),
            text: String::new(),
        };
        for number in 1..=servers {
            stage.power_on(number);
        }
        stage
    }

    /// A sentence for the reader.
    pub fn say(&mut self, sentence: &str) {
        if self.text.is_empty() {
            self.text = format!("# {sentence}\n#\n{HEAD}\n");
        } else {
            self.text.push_str(&format!("\n# {sentence}\n"));
        }
    }

    /// Everything that was told, after a last look at whether a law was broken.
    pub fn transcript(mut self) -> String {
        self.judges.advance(&mut self.marks);
        if let Some(broken) = self.judges.docket.first() {
            self.text.push_str(&format!("\n# BROKEN: {broken}\n"));
        }
        self.text
    }

    fn note(&mut self, index: usize, event: &str) {
        if self.text.is_empty() {
            return; // the page has not begun
        }
        let line = line(self.now, &self.servers[index], event);
        self.text.push_str(&line);
        self.text.push('\n');
    }

    /// Power on; it opens its disk and serves.
    pub fn power_on(&mut self, number: usize) {
        let index = number - 1;
        let server = &mut self.servers[index];
        server.start += 1;
        if server
            .open(self.now, &mut self.marks, &mut self.judges.docket)
            .is_some()
        {
            self.disks[index].push_back(DiskDone::Copy);
        }
        self.note(index, "power on");
        let torn = self.marks.count(Mark::RecoveredTorn);
        self.settle();
        if self.marks.count(Mark::RecoveredTorn) > torn {
            self.note(index, "its log ended in a torn group, which is dropped");
        }
        self.note(index, "serves");
    }

    /// The power goes; what was not synced has this fate.
    pub fn crash(&mut self, number: usize, fate: Fate) {
        let index = number - 1;
        let mut rand = Rand::stream(5, "stage");
        let server = &mut self.servers[index];
        server.disk.crash(fate, &mut rand, &mut self.marks);
        server.life = Life::Down;
        server.start += 1;
        self.disks[index].clear();
        self.slow_disks.remove(&index);
        self.note(
            index,
            &format!("crashes; what was not synced: {fate:?}").to_lowercase(),
        );
    }

    /// Words from one to another are lost.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from - 1, to - 1));
    }

    /// A server hears nobody, and nobody hears it.
    pub fn isolate(&mut self, number: usize) {
        for other in 1..=self.servers.len() {
            self.cut(number, other);
            self.cut(other, number);
        }
    }

    /// Words of one kind, as the transcript calls them, are lost between two servers.
    pub fn lose(&mut self, from: usize, to: usize, kind: &'static str) {
        self.lost.insert((from - 1, to - 1, kind));
    }

    /// All links are whole again. What was lost stays lost.
    pub fn mend(&mut self) {
        self.cut.clear();
        self.lost.clear();
    }

    /// From now on clients ask for this lock.
    pub fn lock(&mut self, path: String) {
        self.lock = path;
    }

    /// Words from one to another wait.
    pub fn keep(&mut self, from: usize, to: usize) {
        self.kept.insert((from - 1, to - 1));
    }

    /// They arrive now.
    pub fn let_go(&mut self, from: usize, to: usize) {
        self.kept.remove(&(from - 1, to - 1));
        self.settle();
    }

    /// Syncs of this server end no more, until `fast_disk`, or until it crashes.
    pub fn slow_disk(&mut self, number: usize) {
        self.slow_disks.insert(number - 1);
    }

    /// They do again.
    pub fn fast_disk(&mut self, number: usize) {
        self.slow_disks.remove(&(number - 1));
        self.settle();
    }

    /// Time passes.
    pub fn pass(&mut self, ms: u64) {
        let until = self.now + ms * MS;
        loop {
            let next = |server: &Server| server.next_run(self.now);
            let runs = self.servers.iter().map(next).enumerate();
            let due = runs.filter_map(|(index, at)| at.map(|at| (at, index)));
            match due.min().filter(|(at, _)| *at <= until) {
                Some((at, index)) => {
                    self.now = self.now.max(at);
                    self.run(index);
                    self.settle();
                }
                None => break,
            }
        }
        self.now = until;
    }

    /// Time passes until somebody leads whose lead is known to a quorum. Gives its number.
    pub fn elect(&mut self) -> usize {
        for _ in 0..10_000 {
            self.pass(1);
            let leads = |server: &Server| {
                let process = server.process_ref()?;
                let view = process.node.view();
                let started = view.role == "leader" && view.applied == view.accepted;
                started.then_some(view.ballot)
            };
            let leaders = self.servers.iter().map(leads).enumerate();
            let best = leaders.filter_map(|(index, ballot)| Some((ballot?, index)));
            let promised = |server: &Server| {
                server
                    .process_ref()
                    .map(|process| process.node.view().promised)
            };
            let highest = self.servers.iter().filter_map(promised).max();
            if let Some((ballot, index)) = best.max()
                && Some(ballot) == highest
            {
                return index + 1;
            }
        }
        panic!("nobody leads");
    }

    /// Who `somebody` is for a server: the same each time.
    fn client(&mut self, name: &str) -> u64 {
        let known = self.clients.iter().position(|other| other == name);
        let place = known.unwrap_or_else(|| {
            self.clients.push(name.to_owned());
            self.clients.len() - 1
        });
        place as u64
    }

    /// What a client calls its claim of the lock: the same each time.
    fn request_id(&self, conn: u64) -> RequestId {
        let lock = u128::from(hash64(self.lock.as_bytes()));
        RequestId::new((lock << 64) | (u128::from(conn) + 1))
    }

    /// A client asks a server for the lock.
    pub fn acquire(&mut self, client: &str, number: usize, ttl_ms: u64, wait_ms: u64) {
        let conn = self.client(client);
        let request = Request {
            zone: ZoneId::new(0),
            principal: Bytes::new(),
            client: Client::Key(self.request_id(conn)),
            ask: Ask::Acquire(Acquire {
                key: Key::from_path(&self.lock).unwrap_or_else(|error| panic!("a key: {error}")),
                mode: Mode::Exclusive,
                life: Term::Lease { ttl_ms },
                wait_ms,
                holder: Bytes::copy_from_slice(client.as_bytes()),
            }),
        };
        self.note(number - 1, &format!("{client} asks for the lock"));
        let tag = Tag { conn, request: 1 };
        self.hand(number - 1, Input::Request { tag, request });
        self.settle();
    }

    /// A client that was granted the lock writes to what the lock protects, under its fence.
    pub fn write(&mut self, client: &str) {
        let Some(fence) = self.fences.get(client).copied() else {
            panic!("{client} was granted nothing");
        };
        let word = if fence < self.store {
            "refuses"
        } else {
            "takes"
        };
        self.store = self.store.max(fence);
        let sentence =
            format!("#           the store {word} a write of {client} under fence {fence}\n");
        self.text.push_str(&sentence);
    }

    fn hand(&mut self, index: usize, input: Input) {
        if let Some(process) = self.servers[index].process() {
            process.inbox.push_back(input);
        }
    }

    /// Everything that can happen at once happens: words arrive, disks store, servers act.
    fn settle(&mut self) {
        for _ in 0..WORDS_MAX {
            let moved = self.deliver_one() || self.store_one() || self.run_one();
            if !moved {
                return;
            }
        }
        panic!("words cause words for ever");
    }

    fn deliver_one(&mut self) -> bool {
        let free = |word: &Word| !self.kept.contains(&(word.from, word.to));
        let Some(word) = self.words.iter().position(free) else {
            return false;
        };
        let Some(word) = self.words.remove(word) else {
            return false;
        };
        let Word {
            from,
            to,
            boots,
            message,
        } = word;
        if self.servers[to].boot() == boots.1 {
            let (from, boot) = (node_id(from), boots.0);
            self.hand(
                to,
                Input::Peer {
                    from,
                    boot,
                    message,
                },
            );
        }
        true
    }

    fn store_one(&mut self) -> bool {
        let fast =
            |index: &usize| !self.slow_disks.contains(index) && !self.disks[*index].is_empty();
        let Some(index) = (0..self.servers.len()).find(fast) else {
            return false;
        };
        if let Some(done) = self.disks[index].pop_front() {
            let (judges, marks) = (&mut self.judges, &mut self.marks);
            let next = self.servers[index].disk_done(self.now, done, judges, marks);
            self.disks[index].extend(next.map(|(_, done)| done));
            self.judges.advance(&mut self.marks);
        }
        true
    }

    fn run_one(&mut self) -> bool {
        let has_input = |index: &usize| {
            let process = self.servers[*index].process_ref();
            process.is_some_and(|process| !process.inbox.is_empty())
        };
        let Some(index) = (0..self.servers.len()).find(has_input) else {
            return false;
        };
        self.run(index);
        true
    }

    fn run(&mut self, index: usize) {
        self.judges.docket.now = self.now;
        let outputs = self.servers[index].round(self.now);
        let (server, marks) = (&self.servers[index], &mut self.marks);
        self.judges.watch(server, &outputs, marks);
        for output in outputs {
            if let Some(mut words) = words(&output) {
                if let Output::Send { to, message } = &output
                    && self.is_lost(index, index_of(*to), message)
                {
                    words.push_str("  [lost]");
                }
                self.note(index, &words);
            }
            self.carry_out(index, output);
        }
        let begun = self.servers[index].begin_sync(self.now, &mut self.marks);
        self.disks[index].extend(begun.map(|(_, done)| done));
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        match output {
            Output::Send { to, message } => self.send(index, index_of(to), message),
            Output::Reply { tag, reply } => {
                if let Reply::Decided {
                    answer: Answer::Granted(grant),
                    ..
                } = reply
                    && let Some(name) = self.clients.get(tag.conn as usize)
                {
                    self.fences.insert(name.clone(), grant.fence);
                }
            }
            Output::Append { number, record } => {
                if let Some(process) = self.servers[index].process() {
                    process.storage.append(number, record);
                }
            }
            Output::Promise { ballot, membership } => {
                let begun = self.servers[index].begin_promise(
                    self.now,
                    (ballot, membership),
                    &mut self.marks,
                );
                self.disks[index].extend(begun.map(|(_, done)| done));
            }
            Output::Load { from: first, upto } => {
                let entries = self.servers[index].load(first, upto);
                self.hand(index, Input::Loaded { first, entries });
            }
            Output::SnapshotChunk {
                slot,
                index: chunk,
                bytes,
                received,
            } => {
                let (now, marks) = (self.now, &mut self.marks);
                let begun =
                    self.servers[index].add_chunk(now, (slot, chunk), &bytes, received, marks);
                self.disks[index].extend(begun.map(|(_, done)| done));
            }
            Output::SnapshotDone { id, chunks } => {
                let (now, marks) = (self.now, &mut self.marks);
                let begun = self.servers[index].finish_snapshot(now, (id, chunks), marks);
                self.disks[index].extend(begun.map(|(_, done)| done));
            }
            Output::Truncate { upto, snapshot } => {
                let (now, marks) = (self.now, &mut self.marks);
                let begun = self.servers[index].begin_truncate(now, upto, snapshot, marks);
                self.disks[index].extend(begun.map(|(_, done)| done));
            }
            Output::LoadChunk { id, index: chunk } => {
                let bytes = self.servers[index].load_chunk(id, chunk);
                self.hand(
                    index,
                    Input::ChunkLoaded {
                        id,
                        index: chunk,
                        bytes,
                    },
                );
            }
            Output::Retire(_)
            | Output::Configured { .. }
            | Output::Note(_)
            | Output::Halt { .. } => {}
        }
    }

    fn is_lost(&self, from: usize, to: usize, message: &Message) -> bool {
        let said = said(message).unwrap_or_default();
        let mut lost = self.lost.iter();
        self.cut.contains(&(from, to))
            || lost.any(|(a, b, kind)| (*a, *b) == (from, to) && said.starts_with(kind))
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        if self.is_lost(from, to, &message) {
            return;
        }
        let boots = (self.servers[from].boot(), self.servers[to].boot());
        self.words.push_back(Word {
            from,
            to,
            boots,
            message,
        });
    }
}
