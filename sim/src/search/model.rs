//! A state of the small world, and its steps.

use super::words::Word;
use super::{Bounds, Lie};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;
use tenure_core::config::{Change, Config, Member, Membership, Shared};
use tenure_core::hash::{hash64, hash64_after};
use tenure_core::ids::{Ballot, Boot, ClusterId, NodeId, RecordNo, Seed, Slot};
use tenure_core::replica::message::{Message, Proposal};
use tenure_core::replica::record::{Record, Recovered, RecoveredEntry};
use tenure_core::replica::{Effect, Replica, Until};
use tenure_core::time::{Stamp, Timestamp};

/// Time does not pass: nothing that agreement leans on may need it to.
const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000);

/// One step: something happens to a server, and its disk stores what that caused, unless the server
/// crashes before. (A disk that stores later adds nothing: its words might as well travel longer.)
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Step {
    pub(super) what: What,
    /// It crashes when its disk has stored so many of the promises and records that this caused.
    pub(super) crash_after: Option<u8>,
}

/// What happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum What {
    /// Nothing yet.
    Begin,
    /// A word arrives, named by its print.
    Hear(u64),
    /// A server stands.
    Stand(usize),
    /// A leader is given a command.
    Propose(usize),
    /// A leader ends its epoch, if it can.
    Sign(usize),
    /// Nothing.
    Nothing(usize),
}

/// Promises and records that one step causes at most, for which a crash is tried before each.
const STORED_MAX: u8 = 3;

/// One server.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) index: usize,
    pub(super) replica: Replica,
    pub(super) boot: u64,
    /// What its superblock says.
    pub(super) promise: Ballot,
    membership: Option<Membership>,
    promising: Option<(Ballot, Option<Membership>)>,
    /// Every record of every start; a crash cuts them down to what is durable.
    records: Vec<Record>,
    pub(super) durable: usize,
    /// Records of earlier starts.
    before: usize,
    held: Vec<(Until, NodeId, Message)>,
    pub(super) print: u64,
}

/// A state.
#[derive(Clone)]
pub(super) struct World {
    pub(super) servers: Vec<Rc<Server>>,
    pub(super) words: Rc<Vec<Rc<Word>>>,
    stood: u64,
    proposed: u64,
    signed: u64,
    crashed: u64,
    pub(super) lie: Option<Lie>,
    pub(super) remembers: bool,
    print: u64,
}

pub(super) fn print_of(value: &impl std::fmt::Debug) -> u64 {
    thread_local! {
        static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
    }
    TEXT.with_borrow_mut(|text| {
        text.clear();
        let written = write!(text, "{value:?}");
        assert!(written.is_ok(), "a string takes all text");
        hash64(text.as_bytes())
    })
}

fn print_all(first: u64, parts: impl Iterator<Item = u64>) -> u64 {
    parts.fold(first, |print, part| {
        hash64_after(print, &part.to_le_bytes())
    })
}

fn config(index: usize, servers: usize) -> Config {
    let member = |index| Member {
        node: NodeId::new(index as u64 + 1),
        ..Member::default()
    };
    let members = (0..servers).map(member).collect();
    let config = Config::new(ClusterId([1; 16]), NodeId::new(index as u64 + 1), members);
    config.unwrap_or_else(|error| panic!("they are a cluster: {error}"))
}

/// What all servers share once an operator wants the last of them to go.
fn shrinking(servers: usize) -> Shared {
    let shared = config(0, servers).shared().clone();
    let node = NodeId::new(servers as u64);
    let (at, change) = (Slot::new(1), Change::Remove { node });
    let changed = shared.apply(at, Stamp::ZERO, "", shared.mark().change, &change);
    changed.unwrap_or_else(|refused| panic!("all but one are a cluster: {refused}"))
}

/// A replica that knows of its peers' first starts: else which of them it heard of would tell
/// states apart that mean the same.
fn start(index: usize, servers: usize, recovered: Recovered) -> Replica {
    let boot = recovered.boot;
    // Each leader's first entry is a value of its own.
    let note = Bytes::from(format!("{index}.{boot}"));
    let seed = Seed::new(index as u64);
    let mut replica = Replica::boot(config(index, servers), recovered, seed, note, NOW);
    for peer in (0..servers).filter(|peer| *peer != index) {
        let ping = Message::CatchUp { from: Slot::new(0) };
        let (from, boot) = (NodeId::new(peer as u64 + 1), Boot::new(1));
        replica.on_message(NOW, from, boot, ping, &mut Vec::new());
    }
    replica
}

impl Server {
    fn new(index: usize, servers: usize) -> Self {
        let recovered = Recovered {
            boot: Boot::new(1),
            ..Recovered::default()
        };
        let mut server = Self {
            index,
            replica: start(index, servers, recovered),
            boot: 1,
            promise: Ballot::ZERO,
            membership: None,
            promising: None,
            records: Vec::new(),
            durable: 0,
            before: 0,
            held: Vec::new(),
            print: 0,
        };
        server.seal();
        server
    }

    pub(super) fn seal(&mut self) {
        let state = (
            &self.replica,
            (self.boot, self.promise, &self.promising, &self.membership),
            (&self.records, self.durable, self.before),
            &self.held,
        );
        self.print = print_of(&state);
    }

    /// Hears a word.
    pub(super) fn hear(&mut self, word: &Word, effects: &mut Vec<Effect>) {
        let (from, boot) = (NodeId::new(word.from as u64 + 1), Boot::new(word.boots.0));
        let message = word.message.clone();
        self.replica.on_message(NOW, from, boot, message, effects);
    }

    /// What it wrote, durable or not.
    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    /// What its disk remembers.
    pub(super) fn image(&self) -> &[Record] {
        &self.records[..self.durable]
    }

    /// The last start again, from its disk. For each slot the highest ballot wins (rule 11).
    fn restart(&mut self, servers: usize) {
        self.records.truncate(self.durable);
        self.before = self.durable;
        self.boot += 1;
        self.promising = None;
        self.held.clear();
        let mut decided = Slot::new(0);
        let mut best: BTreeMap<Slot, RecoveredEntry> = BTreeMap::new();
        let mut followed = None;
        for record in &self.records {
            let (slot, ballot, entry) = match record {
                Record::Accepted {
                    slot,
                    ballot,
                    entry,
                    ..
                } => (*slot, Some(*ballot), entry.clone()),
                Record::Decided { slot, entry } => (*slot, None, entry.clone()),
                Record::DecidedHint { upto } => {
                    decided = decided.max(*upto);
                    continue;
                }
            };
            followed = followed.max(ballot);
            let outranks = |held: &RecoveredEntry| {
                held.ballot.is_some() && (ballot.is_none() || ballot >= held.ballot)
            };
            if best.get(&slot).is_none_or(outranks) {
                best.insert(
                    slot,
                    RecoveredEntry {
                        slot,
                        ballot,
                        entry,
                    },
                );
            }
        }
        let starts = best
            .iter()
            .filter_map(|(slot, found)| found.entry.start_at(*slot));
        let started = starts.max().unwrap_or_default();
        let recovered = Recovered {
            boot: Boot::new(self.boot),
            promised: self.promise,
            membership: self.membership.clone(),
            decided,
            accepted: best.split_off(&decided.next()).into_values().collect(),
            started,
            followed,
            bytes: 0,
        };
        self.replica = start(self.index, servers, recovered);
    }

    fn is_durable(&self, until: Until) -> bool {
        match until {
            Until::Now => true,
            Until::Record(record) => self.before as u64 + record.get() <= self.durable as u64,
            Until::Promise(ballot) => ballot <= self.promise,
        }
    }

    /// Takes what is durable now out of what waits for it.
    fn release(&mut self, said: &mut Vec<(NodeId, Message)>) {
        for (until, to, message) in std::mem::take(&mut self.held) {
            if self.is_durable(until) {
                said.push((to, message));
            } else {
                self.held.push((until, to, message));
            }
        }
    }

    /// Does what the replica asks for, and stores it; true if it crashes in the middle.
    pub(super) fn store(
        &mut self,
        effects: Vec<Effect>,
        crash_after: Option<u8>,
        said: &mut Vec<(NodeId, Message)>,
    ) -> Result<bool, String> {
        let mut effects = effects;
        let mut stored = 0;
        loop {
            self.replica.on_flush(NOW, &mut effects);
            self.perform(std::mem::take(&mut effects), said)?;
            if crash_after == Some(stored) {
                return Ok(true);
            }
            if let Some((ballot, membership)) = self.promising.take() {
                self.promise = ballot;
                self.membership = membership.or(self.membership.take());
                self.replica.on_promise_durable(NOW, ballot, &mut effects);
            } else if self.durable < self.records.len() {
                self.durable += 1;
                let through = RecordNo::new((self.durable - self.before) as u64);
                self.replica.on_durable(NOW, through);
            } else {
                return Ok(false);
            }
            stored += 1;
        }
    }

    fn perform(
        &mut self,
        effects: Vec<Effect>,
        said: &mut Vec<(NodeId, Message)>,
    ) -> Result<(), String> {
        for effect in effects {
            match effect {
                Effect::Send { to, message, until } => self.held.push((until, to, message)),
                Effect::Append { record, .. } => self.records.push(record),
                Effect::Promise { ballot, membership } => {
                    self.promising = Some((ballot, membership))
                }
                Effect::TwoValues { slot, ballot } => {
                    return Err(format!("two values: slot {slot} under {ballot}"));
                }
                Effect::Reverted { peer, .. } => {
                    return Err(format!("no disk goes back: {peer} is said to have"));
                }
                other => drop(other),
            }
        }
        self.release(said);
        Ok(())
    }
}

impl World {
    pub(super) fn new(bounds: &Bounds) -> Self {
        let servers = (0..bounds.servers).map(|index| Rc::new(Server::new(index, bounds.servers)));
        let mut world = Self {
            servers: servers.collect(),
            words: Rc::new(Vec::new()),
            stood: 0,
            proposed: 0,
            signed: 0,
            crashed: 0,
            lie: bounds.lie,
            remembers: bounds.remembers,
            print: 0,
        };
        world.seal();
        world
    }

    pub(super) const fn print(&self) -> u64 {
        self.print
    }

    /// What the servers are, whatever is on its way.
    pub(super) fn situation(&self) -> u64 {
        let counts = [self.stood, self.proposed, self.signed, self.crashed];
        let servers = self.servers.iter().map(|server| server.print);
        print_all(1, counts.into_iter().chain(servers))
    }

    fn seal(&mut self) {
        let words = self.words.iter().map(|word| word.print);
        self.print = print_all(self.situation(), words);
    }

    /// Everything that may happen next.
    pub(super) fn steps(&self, bounds: &Bounds) -> Vec<Step> {
        let mut steps = Vec::new();
        let crashes = self.crashed < bounds.crashes;
        let mut add = |what: What| {
            let nothing = matches!(what, What::Nothing(_));
            if !nothing {
                let crash_after = None;
                steps.push(Step { what, crash_after });
            }
            let most = if nothing { 1 } else { STORED_MAX };
            for stored in (0..most).filter(|_| crashes) {
                let crash_after = Some(stored);
                steps.push(Step { what, crash_after });
            }
        };
        for word in self.words.iter() {
            if self.servers[word.to].boot == word.boots.1 {
                add(What::Hear(word.print));
            }
        }
        for server in &self.servers {
            // The others are like one of these two: names only break ties.
            let may_stand = [0, self.servers.len() - 1].contains(&server.index);
            if may_stand && self.stood < bounds.ballots && !server.replica.leads() {
                add(What::Stand(server.index));
            }
            if self.proposed < bounds.commands && server.replica.leads() {
                add(What::Propose(server.index));
            }
            if self.signed < bounds.signs && server.replica.leads() {
                add(What::Sign(server.index));
            }
            add(What::Nothing(server.index));
        }
        steps
    }

    fn word(&self, print: u64) -> Option<&Rc<Word>> {
        let place = self.words.binary_search_by_key(&print, |word| word.print);
        place.ok().map(|place| &self.words[place])
    }

    fn place(&self, what: What) -> usize {
        match what {
            What::Begin => 0,
            What::Hear(print) => self.word(print).map_or(0, |word| word.to),
            What::Stand(index)
            | What::Propose(index)
            | What::Sign(index)
            | What::Nothing(index) => index,
        }
    }

    /// The state after a step, or the law that the step broke.
    pub(super) fn after(&self, step: Step) -> Result<Self, String> {
        let mut next = self.clone();
        let index = self.place(step.what);
        let mut server = Server::clone(&self.servers[index]);
        let mut effects = Vec::new();
        match step.what {
            What::Begin | What::Nothing(_) | What::Sign(_) => {}
            What::Hear(print) => {
                if let Some(word) = self.word(print) {
                    server.hear(word, &mut effects);
                }
            }
            What::Stand(_) => {
                next.stood += 1;
                server.replica.campaign(&mut effects);
            }
            What::Propose(_) => {
                next.proposed += 1;
                let number = next.proposed;
                let command = Bytes::copy_from_slice(&number.to_le_bytes());
                let proposals = vec![Proposal { number, command }];
                server.replica.propose(proposals, &mut effects);
            }
        }
        if let What::Sign(_) = step.what {
            next.signed += 1;
            let (shared, applied) = (shrinking(self.servers.len()), server.replica.decided());
            server.replica.change_voters(&shared, applied, &mut effects);
        }
        let mut said = Vec::new();
        let crashed = server.store(effects, step.crash_after, &mut said)?;
        // What was said before the crash was said by the start that crashed.
        let boot = server.boot;
        if crashed {
            next.crashed += 1;
            server.restart(self.servers.len());
        }
        server.seal();
        next.servers[index] = Rc::new(server);
        next.say((index, boot), said);
        next.seal();
        Ok(next)
    }

    /// A step in words.
    pub(super) fn words(&self, step: Step) -> String {
        let words = match step.what {
            What::Begin => "begin".to_owned(),
            What::Hear(print) => self.word(print).map_or_else(String::new, |word| {
                let said = crate::transcript::said(&word.message).unwrap_or_default();
                format!("{} hears from {}: {said}", word.to + 1, word.from + 1)
            }),
            What::Stand(index) => format!("{} stands", index + 1),
            What::Propose(index) => format!("{} is given a command", index + 1),
            What::Sign(index) => format!("{} may end its epoch", index + 1),
            What::Nothing(index) => format!("{} does nothing", index + 1),
        };
        match step.crash_after {
            None => words,
            Some(stored) => format!("{words}; crashes after {stored} of what it stores"),
        }
    }
}
