//! A stage for schedules written by hand: real nodes with real logs, and a script that says who hears
//! whom, whose disk is slow, who dies. Words travel at once and disks are as fast, unless the script
//! says otherwise; so a page tells only what matters (`sim/src/book`).

mod clients;
mod effects;

use crate::Nanos;
use crate::clock::Clock;
use crate::disk::Fate;
use crate::judges::Judges;
use crate::marks::{Mark, Marks};
use crate::rand::Rand;
use crate::scenario::{HostKnobs, MS, Plan, Scenario};
use crate::server::{DiskDone, Life, Server};
use crate::transcript::{HEAD, line};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use tenure_core::ids::{Boot, Fence};
use tenure_core::replica::message::Message;

/// Bytes of log that no page writes: no snapshot is ever due.
const NEVER: u64 = 1 << 30;
/// How far agreed time may be ahead of true time while one clock is wrong: 2 T_e (decision 0003).
const SLACK: Nanos = 300 * MS;
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
    /// Nothing is told.
    is_quiet: bool,
}

/// Disks that store at once, and no snapshots.
fn knobs() -> HostKnobs {
    let mut knobs = Plan::draw(Scenario::Calm, 1).host;
    knobs.sync_min = 1;
    knobs.sync_mean = 1;
    knobs.round_mean = 1;
    knobs.inputs_max = 1_000;
    knobs.segment_bytes = 1 << 20;
    knobs.snapshots.bytes = NEVER;
    knobs.snapshots.chunk_bytes = 2 << 10;
    knobs.snapshots.window_slots = 4096;
    knobs
}

impl Stage {
    /// So many servers that serve, none of which leads, and some more whose power is off until they are
    /// let in; `differ` says in what they are not like those of other pages.
    pub fn new(founders: usize, newcomers: usize, differ: fn(&mut HostKnobs)) -> Self {
        let servers = founders + newcomers;
        let mut knobs = knobs();
        knobs.founders = Some(founders);
        differ(&mut knobs);
        let knobs = Rc::new(knobs);
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
            is_quiet: false,
        };
        for number in 1..=founders {
            stage.power_on(number);
        }
        stage
    }

    /// Sentences for the reader, each line one of the page.
    pub fn say(&mut self, sentences: &str) {
        let sentences = sentences.replace('\n', "\n# ");
        if self.text.is_empty() {
            self.text = format!("# {sentences}\n#\n{HEAD}\n");
        } else {
            self.text.push_str(&format!("\n# {sentences}\n"));
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
        if self.text.is_empty() || self.is_quiet {
            return; // the page has not begun, or the reader knows what comes
        }
        let line = line(self.now, &self.servers[index], event);
        if self.text.lines().next_back() == Some(line.as_str()) {
            return; // said again in the same moment
        }
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

    /// Time passes in which the same is said again and again: the page does not tell of it.
    pub fn skip(&mut self, ms: u64) {
        self.is_quiet = true;
        self.pass(ms);
        self.is_quiet = false;
    }

    /// A server's clock runs so many parts of a million too fast from now on.
    pub fn run_clock(&mut self, number: usize, ppm: i64) {
        let now = self.now;
        self.judges.docket.clock_slack = SLACK;
        self.servers[number - 1].clock.set_rate(now, ppm);
    }

    /// A server's clock jumps ahead.
    pub fn jump_clock(&mut self, number: usize, ms: u64) {
        let now = self.now;
        self.judges.docket.clock_slack = SLACK;
        self.servers[number - 1].clock.jump(now, ms * MS);
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
}
