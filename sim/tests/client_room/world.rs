//! Three nodes, a network that delays, loses and breaks, and a nemesis.

use super::user::{Act, Clock, User};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tenure_core::client::{Input as ToClient, LinkId};
use tenure_core::config::{Config, Member};
use tenure_core::hash::hash64_after;
use tenure_core::ids::{Boot, ClusterId, Fence, NodeId, Seed, Tag};
use tenure_core::node::Origin;
use tenure_core::node::input::Input;
use tenure_core::node::output::{Note, Output};
use tenure_core::node::{Node, Secrets};
use tenure_core::replica::message::Message;
use tenure_core::replica::record::Recovered;
use tenure_core::wire::client::Edge;
use tenure_sim::rand::Rand;

const SERVERS: usize = 3;
const USERS: usize = 5;
const MS: u64 = 1_000_000;
const FAULTS_END: u64 = 20_000 * MS;
const END: u64 = 45_000 * MS;

/// What happened, so that a test can tell whether anything did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Seen {
    pub(crate) grants: u64,
    pub(crate) extended: u64,
    pub(crate) replayed: u64,
    pub(crate) lost: u64,
    pub(crate) sessions_lost: u64,
    pub(crate) leaders: u64,
}

impl Seen {
    pub(crate) fn add(&mut self, other: &Self) {
        self.grants += other.grants;
        self.extended += other.extended;
        self.replayed += other.replayed;
        self.lost += other.lost;
        self.sessions_lost += other.sessions_lost;
        self.leaders += other.leaders;
    }
}

/// A connection: a user, and what it calls the link.
type Conn = (usize, LinkId);

enum Event {
    Peer(usize, usize, Message),
    NodeWakes(usize),
    Connects(Conn, usize),
    ToServer(Conn, Bytes),
    ToUser(Conn, Bytes),
    Breaks(Conn),
    UserWakes(usize),
    Decides(usize),
    Nemesis,
}

struct Server {
    node: Node,
    config: Config,
    clock: Clock,
    /// It stands still until then.
    paused: u64,
    /// It hears no peer until then.
    alone: u64,
    edges: BTreeMap<u64, (Conn, Edge)>,
}

struct Line {
    server: usize,
    number: u64,
    /// It swallows everything until then.
    dead: u64,
    /// When the last byte arrives, in each direction: bytes stay in order.
    last: [u64; 2],
}

pub(crate) struct World {
    now: u64,
    next: u64,
    events: BTreeMap<(u64, u64), Event>,
    servers: Vec<Server>,
    users: Vec<User>,
    lines: BTreeMap<Conn, Line>,
    /// Until when each user is cut off from all servers.
    cut: Vec<u64>,
    /// The next alarm of each node, and of each user: an earlier one is nobody's.
    alarms: [Vec<u64>; 2],
    rand: Rand,
    trace: u64,
    pub(crate) seen: Seen,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rand = Rand::stream(seed, "client room");
        let servers = (0..SERVERS).map(|at| server(at, &mut rand)).collect();
        let users = (0..USERS).map(|at| User::new(at, SERVERS, 0, &mut rand));
        let mut world = Self {
            now: 0,
            next: 0,
            events: BTreeMap::new(),
            servers,
            users: users.collect(),
            lines: BTreeMap::new(),
            cut: vec![0; USERS],
            alarms: [vec![0; SERVERS], vec![0; USERS]],
            rand,
            trace: 0,
            seen: Seen::default(),
        };
        for at in 0..SERVERS {
            world.after(0, Event::NodeWakes(at));
        }
        for at in 0..USERS {
            world.after(0, Event::UserWakes(at));
            world.after(500 * MS, Event::Decides(at));
        }
        world.after(1_000 * MS, Event::Nemesis);
        world
    }

    /// The faulty part of this life.
    pub(crate) fn run(&mut self) {
        self.run_until(FAULTS_END);
    }

    /// The rest of it: how many grants each user got in the last ten seconds.
    pub(crate) fn run_without_faults(&mut self) -> Vec<u64> {
        self.run_until(FAULTS_END + 5_000 * MS);
        let before: Vec<u64> = self.users.iter().map(|user| user.grants).collect();
        self.run_until(END);
        let now = self.users.iter().map(|user| user.grants);
        now.zip(before).map(|(now, before)| now - before).collect()
    }

    /// A hash of everything that happened.
    pub(crate) const fn digest(&self) -> u64 {
        self.trace
    }

    fn run_until(&mut self, end: u64) {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > end {
                return;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happen(event);
        }
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    fn at(&mut self, when: u64, event: Event) {
        self.next += 1;
        self.events.insert((when.max(self.now), self.next), event);
    }

    fn happen(&mut self, event: Event) {
        let paused = match &event {
            Event::Peer(to, ..) | Event::NodeWakes(to) => self.servers[*to].paused,
            Event::ToServer(conn, _) => self
                .lines
                .get(conn)
                .map_or(0, |line| self.servers[line.server].paused),
            _ => 0,
        };
        if paused > self.now {
            return self.at(paused, event); // it stands still, and so do its sockets
        }
        match event {
            Event::Peer(to, from, message) => {
                let input = Input::Peer {
                    from: node_id(from),
                    boot: Boot::new(1),
                    message,
                };
                self.node(to, input);
            }
            Event::NodeWakes(at) => {
                if self.alarms[0][at] <= self.now {
                    self.alarms[0][at] = 0;
                    self.node(at, Input::Tick);
                }
            }
            Event::Connects(conn, server) => self.connects(conn, server),
            Event::ToServer(conn, bytes) => self.asks(conn, &bytes),
            Event::ToUser(conn, bytes) => {
                if self.lines.contains_key(&conn) {
                    let (at, link) = conn;
                    self.user(at, ToClient::Received { link, bytes });
                }
            }
            Event::Breaks(conn) => self.breaks(conn),
            Event::UserWakes(at) => {
                if self.alarms[1][at] <= self.now {
                    self.alarms[1][at] = 0;
                    self.user(at, ToClient::Tick);
                }
            }
            Event::Decides(at) => {
                let delay = self.rand.range(20, 400) * MS;
                self.after(delay, Event::Decides(at));
                if let Some(input) = self.users[at].decide(&mut self.rand) {
                    self.user(at, input);
                }
            }
            Event::Nemesis => self.nemesis(),
        }
    }

    /// One input of a node, and all that comes of it, with a disk that works at once.
    fn node(&mut self, at: usize, input: Input) {
        let mut inputs = VecDeque::from([input, Input::Flush]);
        while let Some(input) = inputs.pop_front() {
            let server = &mut self.servers[at];
            let mut out = Vec::new();
            server
                .node
                .step(server.clock.read(self.now), input, &mut out);
            for output in out {
                match output {
                    Output::Send { to, message } => self.send(at, to, message),
                    Output::Reply { tag, reply } => {
                        let server = &mut self.servers[at];
                        let mut bytes = BytesMut::new();
                        if let Some((conn, edge)) = server.edges.get_mut(&tag.conn) {
                            edge.reply(&server.config, tag.request, &reply, &mut bytes);
                            let conn = *conn;
                            self.carry(conn, 1, bytes.freeze());
                        }
                    }
                    Output::Append { number, .. } => {
                        inputs.extend([Input::Durable { through: number }, Input::Flush]);
                    }
                    Output::Promise { ballot, .. } => {
                        inputs.extend([Input::Promised { ballot }, Input::Flush]);
                    }
                    Output::Load { from, .. } => inputs.push_back(Input::Loaded {
                        first: from,
                        entries: Vec::new(),
                    }),
                    Output::Retire(_)
                    | Output::SnapshotChunk { .. }
                    | Output::SnapshotDone { .. }
                    | Output::Truncate { .. }
                    | Output::LoadChunk { .. } => {}
                    Output::Note(Note::Leading { .. }) => self.seen.leaders += 1,
                    Output::Configured { .. } | Output::Note(_) => {}
                    Output::Halt { reason } => panic!("{reason}"),
                }
            }
        }
        let server = &self.servers[at];
        if let Some(wake) = server.node.wake_at() {
            let when = server.clock.true_time(wake);
            if self.alarms[0][at] != when {
                self.alarms[0][at] = when;
                self.at(when, Event::NodeWakes(at));
            }
        }
    }

    fn send(&mut self, from: usize, to: NodeId, message: Message) {
        let to = usize::try_from(to.get()).expect("a small number") - 1;
        let alone = self.servers[to].alone.max(self.servers[from].alone);
        if alone > self.now || self.rand.below(200) == 0 {
            return;
        }
        let slow = self.rand.below(100) == 0;
        let delay = self.rand.range(MS / 5, if slow { 60 * MS } else { 2 * MS });
        self.after(delay, Event::Peer(to, from, message));
    }

    fn user(&mut self, at: usize, input: ToClient) {
        let acts = self.users[at].step(self.now, input);
        for act in acts {
            self.act(at, act);
        }
        let user = &self.users[at];
        let when = user.clock.true_time(user.client.wake_at());
        if self.alarms[1][at] != when {
            self.alarms[1][at] = when;
            self.at(when, Event::UserWakes(at));
        }
    }

    fn act(&mut self, at: usize, act: Act) {
        match act {
            Act::Connect(link, server) => {
                self.users[at].link = Some((link, server));
                let delay = self.rand.range(MS / 5, 3 * MS);
                self.after(delay, Event::Connects((at, link), server));
            }
            Act::Disconnect(link) => self.close((at, link)),
            Act::Send(link, bytes) => self.carry((at, link), 0, bytes),
            Act::Believes {
                key,
                replayed,
                fresh,
            } => {
                self.seen.grants += u64::from(fresh);
                self.seen.extended += u64::from(!fresh);
                self.seen.replayed += u64::from(replayed);
                self.trace = hash64_after(self.trace, &self.now.to_le_bytes());
                let believers: Vec<_> = (0..USERS)
                    .filter_map(|at| Some((at, self.users[at].believes(&key, self.now)?)))
                    .collect();
                assert!(
                    believers.len() < 2,
                    "at {} ms: {key} is believed in by {believers:?}",
                    self.now / MS
                );
            }
            Act::Lost => self.seen.lost += 1,
            Act::SessionLost => self.seen.sessions_lost += 1,
        }
    }

    fn connects(&mut self, conn: Conn, server: usize) {
        let (at, link) = conn;
        if self.users[at].link != Some((link, server)) {
            return;
        }
        if self.cut[at] > self.now {
            return self.user(at, ToClient::Down { link });
        }
        let number = self.next;
        let line = Line {
            server,
            number,
            dead: 0,
            last: [0; 2],
        };
        self.lines.insert(conn, line);
        let mut hello = BytesMut::new();
        let of = &mut self.servers[server];
        let edge = Edge::new(Bytes::new(), &of.config, &mut hello);
        of.edges.insert(number, (conn, edge));
        self.user(at, ToClient::Connected { link });
        self.carry(conn, 1, hello.freeze());
    }

    /// Bytes on a connection stay in order, and are sometimes late, or swallowed.
    fn carry(&mut self, conn: Conn, direction: usize, bytes: Bytes) {
        let slow = self.rand.below(50) == 0;
        let delay = self
            .rand
            .range(MS / 10, if slow { 600 * MS } else { 3 * MS });
        let Some(line) = self.lines.get_mut(&conn) else {
            return;
        };
        let dead = line.dead.max(self.cut[conn.0]);
        if dead > self.now || bytes.is_empty() {
            return;
        }
        let last = &mut line.last[direction];
        *last = (*last).max(self.now + delay);
        let when = *last;
        let event = match direction {
            0 => Event::ToServer(conn, bytes),
            _ => Event::ToUser(conn, bytes),
        };
        self.at(when, event);
    }

    fn asks(&mut self, conn: Conn, bytes: &Bytes) {
        let Some(line) = self.lines.get(&conn) else {
            return;
        };
        let (at, number) = (line.server, line.number);
        let server = &mut self.servers[at];
        let Some((_, edge)) = server.edges.get_mut(&number) else {
            return;
        };
        let (mut input, mut asked, mut out) =
            (BytesMut::from(&bytes[..]), Vec::new(), BytesMut::new());
        let read = edge.read(&server.config, &mut input, &mut asked, &mut out);
        if read.is_err() {
            return self.breaks(conn); // a piece of the stream was swallowed
        }
        self.carry(conn, 1, out.freeze());
        for one in asked {
            let (request, tag) = (
                one.request,
                Tag {
                    conn: number,
                    request: one.number,
                },
            );
            self.node(at, Input::Request { tag, request });
        }
    }

    /// The server hears at once that the connection is gone.
    fn close(&mut self, conn: Conn) {
        let Some(line) = self.lines.remove(&conn) else {
            return;
        };
        let Some((_, edge)) = self.servers[line.server].edges.remove(&line.number) else {
            return;
        };
        let open: BTreeSet<u64> = edge.open().collect();
        for request in open {
            let tag = Tag {
                conn: line.number,
                request,
            };
            self.node(line.server, Input::Gone { tag });
        }
    }

    fn breaks(&mut self, conn: Conn) {
        self.close(conn);
        let (at, link) = conn;
        self.user(at, ToClient::Down { link });
    }

    fn nemesis(&mut self) {
        if self.now >= FAULTS_END - 2_000 * MS {
            return;
        }
        let delay = self.rand.range(100, 700) * MS;
        self.after(delay, Event::Nemesis);
        let server = self.rand.index(SERVERS);
        let until = self.now + self.rand.range(100, 2_500) * MS;
        let conns: Vec<Conn> = self.lines.keys().copied().collect();
        match self.rand.below(6) {
            0 => self.servers[server].paused = until,
            1 => self.servers[server].alone = until,
            2 if !conns.is_empty() => {
                let conn = conns[self.rand.index(conns.len())];
                self.after(0, Event::Breaks(conn));
            }
            3 if !conns.is_empty() => {
                let conn = conns[self.rand.index(conns.len())];
                if let Some(line) = self.lines.get_mut(&conn) {
                    line.dead = until;
                }
            }
            _ => {
                let user = self.rand.index(USERS);
                self.cut[user] = until + 2_000 * MS;
            }
        }
    }
}

fn node_id(at: usize) -> NodeId {
    NodeId::new(at as u64 + 1)
}

fn server(at: usize, rand: &mut Rand) -> Server {
    let member = |at| Member {
        node: node_id(at),
        ..Member::default()
    };
    let members = (0..SERVERS).map(member).collect();
    let config = Config::new(ClusterId([7; 16]), node_id(at), members).expect("a good config");
    let recovered = Recovered {
        boot: Boot::new(1),
        ..Recovered::default()
    };
    let clock = Clock::draw(rand);
    let secrets = Secrets { token_key: [9; 32] };
    let (seed, floor) = (Seed::new(rand.any()), Fence::new(1));
    let now = clock.read(0);
    Server {
        node: Node::boot(
            &config,
            Origin::of(&config, floor),
            recovered,
            None,
            &secrets,
            seed,
            now,
        ),
        config,
        clock,
        paused: 0,
        alone: 0,
        edges: BTreeMap::new(),
    }
}
