//! What the door promises, with a handful of nodes in one loop: a perfect network and disk unless
//! the test takes them away.

use super::*;
use crate::config::{Change, Member, Membership, Policy, Shared};
use crate::entry::{Entry, Start};
use crate::ids::{RecordNo, SnapshotId, Tag, ZoneId};
use crate::machine::answer::Answer;
use crate::machine::command::{Acquire, Client, Life, Mode};
use crate::machine::key::Key;
use crate::machine::parts::Parts;
use crate::node::input::{Ask, Question, Request};
use crate::node::output::{Failure, Reply};
use crate::replica::message::Message;
use crate::replica::record::{Record, RecoveredEntry};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use bytes::Bytes;

mod configuration;
mod elections;
mod handover;
mod laws;
mod members;
mod reads;
mod requests;
mod room;
mod snapshots;
mod time;
mod verify;
mod witness;

const MS: Duration = Duration::from_millis(1);

fn member(node: u64) -> Member {
    Member {
        node: NodeId::new(node),
        ..Member::default()
    }
}

/// What a server's disk holds.
#[derive(Debug, Default)]
struct Disk {
    promised: Ballot,
    membership: Option<Membership>,
    records: Vec<Record>,
    boot: u64,
    /// The chunks under construction, and those of whole snapshots.
    building: Vec<Bytes>,
    reading: Option<machine::snapshot::Restore>,
    is_bad: bool,
    snapshots: BTreeMap<SnapshotId, Vec<Bytes>>,
    /// Those that stay besides the two newest.
    pinned: Vec<SnapshotId>,
    /// Nothing goes from the log: the segment that holds it is still written to.
    keeps_log: bool,
    /// There is no room for a snapshot; how many were tried.
    has_no_room: bool,
    given_up: usize,
}

impl Disk {
    fn recovered(&mut self) -> Recovered {
        self.boot += 1;
        let newest = self.snapshots.last_key_value().map(|(id, _)| id.slot);
        let mut decided = newest.unwrap_or_default();
        let mut best: BTreeMap<Slot, RecoveredEntry> = BTreeMap::new();
        for record in &self.records {
            let found = match record.clone() {
                Record::Accepted {
                    ballot,
                    slot,
                    entry,
                    ..
                } => RecoveredEntry {
                    slot,
                    ballot: Some(ballot),
                    entry,
                },
                Record::Decided { slot, entry } => RecoveredEntry {
                    slot,
                    ballot: None,
                    entry,
                },
                Record::DecidedHint { upto } => {
                    decided = decided.max(upto);
                    continue;
                }
            };
            let known = best.get(&found.slot);
            let outranks = |known: &RecoveredEntry| {
                known.ballot.is_some() && (found.ballot.is_none() || found.ballot > known.ballot)
            };
            if known.is_none_or(outranks) {
                best.insert(found.slot, found);
            }
        }
        let starts = best
            .iter()
            .filter_map(|(slot, found)| found.entry.start_at(*slot));
        let started = starts.max().unwrap_or_default();
        let followed = self.records.iter().filter_map(|record| match record {
            Record::Accepted { ballot, .. } => Some(*ballot),
            Record::Decided { .. } | Record::DecidedHint { .. } => None,
        });
        let followed = followed.max();
        best.retain(|slot, _| *slot > decided);
        let accepted = best.into_values().collect();
        Recovered {
            boot: Boot::new(self.boot),
            promised: self.promised,
            membership: self.membership.clone(),
            decided,
            accepted,
            started,
            followed,
            bytes: 0,
        }
    }

    /// Some of them, as a disk gives what one message takes.
    fn load(&self, from: Slot, upto: Slot) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut slot = from;
        while slot <= upto && entries.len() < 8 {
            let of_slot = self.records.iter().filter_map(|record| match record {
                Record::Accepted {
                    ballot,
                    slot: s,
                    entry,
                    ..
                } if *s == slot => Some((false, *ballot, entry)),
                Record::Decided { slot: s, entry } if *s == slot => {
                    Some((true, Ballot::ZERO, entry))
                }
                _ => None,
            });
            let Some((_, _, entry)) = of_slot.max_by_key(|(known, ballot, _)| (*known, *ballot))
            else {
                break;
            };
            entries.push(entry.clone());
            slot = slot.next();
        }
        entries
    }
}

struct World {
    now: Timestamp,
    nodes: BTreeMap<u64, Node>,
    disks: BTreeMap<u64, Disk>,
    size: u64,
    net: VecDeque<(u64, u64, Boot, Message)>,
    cut: Vec<(u64, u64)>,
    replies: Vec<(u64, Tag, Reply)>,
    notes: Vec<(u64, Note)>,
    halts: Vec<(u64, Halt)>,
    /// Those that were opened again, since they had another role.
    reopened: Vec<u64>,
    configured: Vec<(u64, Config)>,
    /// What promises said of the leader that began last.
    promises: Vec<Start>,
    /// The bytes of snapshots and of decided entries that one gave another, and when.
    given: Vec<(u64, u64, Timestamp, usize)>,
    tags: u64,
    /// A server whose disk syncs nothing any more.
    hung: Option<u64>,
    /// Nothing that is decided comes to this one by itself: it learns accepts only.
    learns_nothing: Option<u64>,
    /// What of a server's words never arrives.
    is_lost: fn(u64, &Message) -> bool,
    /// What a disk takes for a promise, and the promises under way.
    promise_takes: Duration,
    promising: BTreeMap<u64, (Timestamp, Ballot)>,
    /// Where the leader should stand, and a server's place.
    preferred: Option<(&'static str, u64, &'static str)>,
    limits: Limits,
}

impl World {
    fn new(size: u64) -> Self {
        Self::made(size, None)
    }

    fn preferring(leader_at: &'static str, node: u64, place: &'static str) -> Self {
        Self::made(3, Some((leader_at, node, place)))
    }

    fn made(size: u64, preferred: Option<(&'static str, u64, &'static str)>) -> Self {
        Self::limited(size, preferred, Limits::default())
    }

    fn limited(
        size: u64,
        preferred: Option<(&'static str, u64, &'static str)>,
        limits: Limits,
    ) -> Self {
        let mut world = Self {
            now: Timestamp::from_nanos(1_000_000),
            nodes: BTreeMap::new(),
            disks: (1..=size).map(|node| (node, Disk::default())).collect(),
            size,
            net: VecDeque::new(),
            cut: Vec::new(),
            replies: Vec::new(),
            notes: Vec::new(),
            halts: Vec::new(),
            reopened: Vec::new(),
            configured: Vec::new(),
            promises: Vec::new(),
            given: Vec::new(),
            tags: 0,
            hung: None,
            learns_nothing: None,
            is_lost: |_, _| false,
            promise_takes: Duration::ZERO,
            promising: BTreeMap::new(),
            preferred,
            limits,
        };
        for node in 1..=size {
            world.start(node);
        }
        world
    }

    fn start(&mut self, node: u64) {
        let genesis = self.config(1).shared().clone();
        let me = NodeId::new(node);
        let config = Config::seen_by(me, genesis.clone(), genesis.membership());
        let recovered = self.disks.get_mut(&node).unwrap().recovered();
        let secrets = Secrets { token_key: [7; 32] };
        let floor = Fence::new(1 << 20);
        let node_new = Node::boot(
            &config,
            Origin::of(&config, floor),
            recovered,
            self.disks[&node].restored(self.limits.machine, &config),
            &secrets,
            Seed::new(node),
            self.now,
        );
        let node_new = node_new.with_limits(self.limits);
        self.nodes.insert(node, node_new);
    }

    fn config(&self, node: u64) -> Config {
        let mut members: Vec<Member> = (1..=self.size).map(member).collect();
        if let Some((_, node, place)) = self.preferred {
            members[node as usize - 1].location = place.into();
        }
        let mut shared = Shared::genesis(crate::ids::ClusterId([9; 16]), members).unwrap();
        if let Some((leader_at, ..)) = self.preferred {
            let change = Change::Policy(Policy {
                leader_location: leader_at.into(),
                ..Policy::default()
            });
            let seen = shared.mark().change;
            let next = shared.apply(Slot::new(1), Stamp::ZERO, "", seen, &change);
            shared = next.unwrap();
        }
        Config::of(NodeId::new(node), shared).unwrap()
    }

    fn step(&mut self, node: u64, input: Input) {
        let mut inputs = VecDeque::from([input, Input::Flush]);
        let reopened = self.reopened.len();
        while let Some(input) = inputs.pop_front() {
            let Some(live) = self.nodes.get_mut(&node) else {
                return;
            };
            let mut out = Vec::new();
            live.step(self.now, input, &mut out);
            let boot = live.identity().1;
            let disk = self.disks.get_mut(&node).unwrap();
            let mut through = RecordNo::new(0);
            for output in out {
                match output {
                    Output::Send { to, message } => {
                        self.net.push_back((node, to.get(), boot, message));
                    }
                    Output::Reply { tag, reply } => self.replies.push((node, tag, reply)),
                    Output::Append { number, record } => {
                        disk.records.push(record);
                        through = number;
                    }
                    Output::Promise { ballot, .. } if !self.promise_takes.is_zero() => {
                        let at = self.now.plus(self.promise_takes);
                        self.promising.insert(node, (at, ballot));
                    }
                    Output::Promise { ballot, membership } => {
                        disk.promised = ballot;
                        disk.membership = membership.or(disk.membership.take());
                        inputs.push_back(Input::Promised { ballot });
                    }
                    Output::Load { from, upto } => {
                        let entries = disk.load(from, upto);
                        inputs.push_back(Input::Loaded {
                            first: from,
                            entries,
                        });
                    }
                    Output::SnapshotChunk { .. }
                    | Output::SnapshotDone { .. }
                    | Output::Truncate { .. }
                    | Output::LoadChunk { .. } => inputs.extend(disk.snapshot(output)),
                    Output::Retire(_) => {}
                    Output::Configured { config } => self.configured.push((node, *config)),
                    Output::Note(note) => self.notes.push((node, note)),
                    Output::Halt {
                        reason: Halt::Role { .. },
                    } => self.reopened.push(node),
                    Output::Halt { reason } => self.halts.push((node, reason)),
                }
            }
            if self.reopened.len() > reopened {
                return self.start(node);
            }
            if through > RecordNo::new(0) && self.hung != Some(node) {
                inputs.push_back(Input::Durable { through });
            }
            if inputs.is_empty() {
                break;
            }
            if !matches!(inputs.back(), Some(Input::Flush)) {
                inputs.push_back(Input::Flush);
            }
        }
    }

    fn deliver(&mut self) {
        while let Some((from, to, boot, message)) = self.net.pop_front() {
            let is_news = matches!(message, Message::Decided { .. });
            if is_news && self.learns_nothing == Some(to) {
                continue;
            }
            if (self.is_lost)(from, &message) {
                continue;
            }
            if let Message::Promise { started, .. } = message {
                self.promises.push(started);
            }
            let bytes = match &message {
                Message::SnapshotChunk { bytes, .. } => bytes.len(),
                Message::Decided { entries, .. } => {
                    entries.iter().map(|entry| entry.bytes().len()).sum()
                }
                _ => 0,
            };
            self.given.push((from, to, self.now, bytes));
            if !self.cut.contains(&(from, to)) {
                self.step(
                    to,
                    Input::Peer {
                        from: NodeId::new(from),
                        boot,
                        message,
                    },
                );
            }
        }
    }

    /// Lets `time` pass.
    fn run(&mut self, time: Duration) {
        let end = self.now.plus(time);
        self.deliver();
        while self.now < end {
            let wakes = self.nodes.values().filter_map(Node::wake_at);
            let wakes = wakes.chain(self.promising.values().map(|(at, _)| *at));
            let next = wakes.min().unwrap_or(end).clamp(self.now, end);
            self.now = next;
            let due: Vec<u64> = self
                .nodes
                .iter()
                .filter(|(_, node)| node.wake_at().is_some_and(|at| at <= next))
                .map(|(node, _)| *node)
                .collect();
            for node in due {
                self.step(node, Input::Tick);
            }
            self.end_promises();
            self.deliver();
            self.audit();
        }
    }

    /// Promises that are durable by now.
    fn end_promises(&mut self) {
        let now = self.now;
        let done = self.promising.extract_if(.., |_, (at, _)| *at <= now);
        for (node, (_, ballot)) in done.collect::<Vec<_>>() {
            self.disks.get_mut(&node).unwrap().promised = ballot;
            self.step(node, Input::Promised { ballot });
        }
    }

    fn audit(&self) {
        for node in self.nodes.values() {
            assert_eq!(node.audit(), Ok(()));
        }
    }

    fn leaders(&self) -> Vec<u64> {
        let leads = |(_, node): &(&u64, &Node)| node.view().role == "leader";
        self.nodes
            .iter()
            .filter(leads)
            .map(|(node, _)| *node)
            .collect()
    }

    fn leader(&self) -> u64 {
        let leaders = self.leaders();
        assert_eq!(leaders.len(), 1, "one leader: {leaders:?}");
        leaders[0]
    }

    fn isolate(&mut self, node: u64) {
        for other in (1..=self.size).filter(|other| *other != node) {
            self.cut.push((node, other));
            self.cut.push((other, node));
        }
    }

    fn ask(&mut self, node: u64, client: Client, ask: Ask) -> Tag {
        self.tags += 1;
        let tag = Tag {
            conn: 1,
            request: self.tags,
        };
        let request = Request {
            zone: ZoneId::default(),
            principal: Bytes::new(),
            client,
            ask,
        };
        self.step(node, Input::Request { tag, request });
        self.deliver();
        tag
    }

    fn reply(&self, tag: Tag) -> Option<&Reply> {
        self.replies
            .iter()
            .rev()
            .find(|(_, to, _)| *to == tag)
            .map(|(_, _, reply)| reply)
    }

    fn answer(&self, tag: Tag) -> &Answer {
        match self.reply(tag) {
            Some(Reply::Decided { answer, .. }) => answer,
            other => panic!("no answer of the log: {other:?}"),
        }
    }
}

fn acquire(path: &str, wait_ms: u64) -> Ask {
    Ask::Acquire(Acquire {
        parts: Parts::one(Key::from_path(path).unwrap(), Mode::Exclusive),
        life: Life::Lease { ttl_ms: 10_000 },
        wait_ms,
        holder: Bytes::from_static(b"tester"),
        reentrant: false,
    })
}
