//! The world: virtual time, a queue of events, and everything that a seed decides.

mod clients;
mod codec;
mod door;
mod effects;
mod event;
mod graphs;
mod liveness;
mod members;
mod nemesis;
mod snapshots;
mod watch;

use crate::Nanos;
use crate::check::Violation;
use crate::clock::{Clock, DRIFT_PPM_MAX};
use crate::disk::Fate;
use crate::judges::Judges;
use crate::load::{Client, Why};
use crate::marks::{Mark, Marks};
use crate::net::Net;
use crate::rand::Rand;
use crate::scenario::{Fault, MS, Plan, SECOND, TinyLimits};
use crate::server::{Life, Lost, Server};
use crate::trace::{Print, Trace};
use crate::transcript::HEAD;
use event::{Event, Queue};
use graphs::Graphs;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use tenure_core::ids::{Fence, Slot};
use tenure_core::limits::ELECTION_TIMEOUT;
use tenure_core::machine::key::Key;
use tenure_core::node::input::Input;
use tenure_core::node::output::Output;

/// Events that one run may have: beyond it something runs in circles.
const EVENTS_MAX: u64 = 20_000_000;
/// An audit of a server comes once in so many of its rounds.
const AUDIT_EVERY: u64 = 64;

/// What a run showed.
#[derive(Debug)]
pub struct Outcome {
    /// The first law that was broken, if one was.
    pub violation: Option<Violation>,
    /// Requests that got their last word.
    pub acked: u64,
    /// Simulated time.
    pub sim: Nanos,
    /// Leaders that began.
    pub elections: u64,
    /// Events.
    pub events: u64,
    /// What happened how often.
    pub marks: Marks,
    /// A hash of all events.
    pub trace_hash: u64,
}

/// The world of one seed.
pub struct World {
    plan: Plan,
    /// What is left of the plan's lists.
    faults: VecDeque<Fault>,
    wishes: Vec<VecDeque<Nanos>>,
    now: Nanos,
    queue: Queue,
    servers: Vec<Server>,
    net: Net,
    clients: Vec<Client>,
    judges: Judges,
    marks: Marks,
    trace: Trace,
    nemesis: Rand,
    wire: Rand,
    crashes: Rand,
    /// The store behind each lock refuses a lower fence than it has seen.
    stores: BTreeMap<Key, Fence>,
    phase: Phase,
    graphs: Graphs,
    /// Who must work in the liveness phase.
    core: Vec<usize>,
    rounds: u64,
    /// The leader that was isolated last, and when.
    leader_isolated: Option<(usize, Nanos)>,
    /// Requests of operators so far, which name them.
    orders: u64,
    /// What was chosen a while before the end, and who was no member then.
    settled: Slot,
    outsiders: Vec<usize>,
}

/// What may happen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Anything.
    Safety,
    /// No more faults in the core.
    Liveness,
    /// No new wishes either.
    Draining,
}

impl World {
    /// The world of a plan. What the plan leaves to chance, `seed` decides.
    pub fn new(plan: Plan, seed: u64, trace: Trace) -> Self {
        let host = Rc::new(plan.host.clone());
        let load = Rc::new(plan.load.clone());
        let servers = (0..plan.servers)
            .map(|index| {
                Server::new(
                    seed,
                    index,
                    plan.servers,
                    draw_clock(seed, index),
                    Rc::clone(&host),
                )
            })
            .collect();
        let keys: Rc<[Key]> = (0..plan.load.keys).map(key).collect();
        let clients = (0..plan.load.clients)
            .map(|index| {
                Client::new(
                    seed,
                    index,
                    plan.servers,
                    Rc::clone(&load),
                    Rc::clone(&keys),
                )
            })
            .collect();
        let wishes = plan.wishes.iter();
        let wishes = wishes.map(|wishes| wishes.0.iter().copied().collect());
        let mut world = Self {
            faults: plan.faults.iter().copied().collect(),
            wishes: wishes.collect(),
            now: 0,
            queue: Queue::default(),
            servers,
            net: Net::new(seed, plan.servers, plan.net.clone()),
            clients,
            judges: Judges::new(plan.servers, &plan.host),
            marks: Marks::default(),
            trace,
            nemesis: Rand::stream(seed, "nemesis"),
            wire: Rand::stream(seed, "client wire"),
            crashes: Rand::stream(seed, "crashes"),
            stores: BTreeMap::new(),
            phase: Phase::Safety,
            graphs: Graphs::new(seed),
            core: Vec::new(),
            rounds: 0,
            leader_isolated: None,
            orders: 0,
            settled: Slot::new(0),
            outsiders: Vec::new(),
            plan,
        };
        if world.plan.bad_clock.is_some() {
            world.judges.docket.clock_slack = 2 * ELECTION_TIMEOUT.as_nanos() as Nanos;
        }
        world.judges.history.lateness.is_judged = world.plan.lateness;
        match world.trace.print() {
            Print::No => {}
            Print::All => println!("{:?}", world.plan), // every drawn option
            Print::Words => println!("{HEAD}"),
        }
        world.begin();
        world
    }

    fn begin(&mut self) {
        for index in 0..self.servers.len() {
            let at = self.nemesis.below(20 * MS);
            self.queue.push(at, Event::PowerOn { server: index });
        }
        for client in 0..self.clients.len() {
            self.expect_wish(client);
        }
        self.expect_fault();
        if self.plan.graphs {
            self.plan_graph(SECOND, graphs::Step::Mend);
        }
        if let Some(bad) = self.plan.bad_clock {
            self.bend_voter(bad, false);
        }
        let is_tiny = self.plan.host.limits != TinyLimits::default();
        self.marks.sometimes(is_tiny, Mark::TinyLimits);
        self.queue.push(self.plan.safety, Event::Heal);
    }

    /// The next item of a client's list is due at its time.
    fn expect_wish(&mut self, client: usize) {
        if let Some(at) = self.wishes[client].front() {
            self.queue.push(*at, Event::Wish { client });
        }
    }

    /// A client decides what to do next.
    fn wish(&mut self, client: usize) {
        self.wishes[client].pop_front();
        self.expect_wish(client);
        if self.phase != Phase::Draining {
            self.with_client(client, |client, scene| client.wake(Why::Decide, scene));
        }
    }

    /// From now on clients only give back and go.
    fn drain(&mut self) {
        self.phase = Phase::Draining;
        for client in 0..self.clients.len() {
            self.with_client(client, |client, scene| client.wake(Why::Decide, scene));
        }
    }

    /// Lets everything happen, until the end or the first broken law.
    pub fn run(mut self) -> Outcome {
        let end = self.plan.safety + self.plan.liveness;
        let mut events = 0;
        while let Some((at, event)) = self.queue.pop() {
            if at > end || self.judges.docket.first().is_some() {
                break;
            }
            events += 1;
            if events > EVENTS_MAX {
                self.judges
                    .docket
                    .broken("the world comes to an end", format!("{events} events"));
            }
            self.now = at;
            self.judges.docket.now = at;
            for stream in [&mut self.nemesis, &mut self.wire, &mut self.crashes] {
                stream.at(at);
            }
            self.happen(event);
        }
        if self.judges.docket.first().is_none() {
            self.judge_the_end();
        }
        let shared = self.judges.history.locks.shared > 0;
        self.marks.sometimes(shared, Mark::ShareHeld);
        let reproposed = self.judges.votes.reproposed() > 0;
        self.marks.sometimes(reproposed, Mark::Reproposed);
        Outcome {
            violation: self.judges.docket.first().cloned(),
            acked: self.clients.iter().map(|client| client.acked).sum(),
            sim: self.now,
            elections: self.marks.count(Mark::Election),
            events,
            marks: self.marks,
            trace_hash: self.trace.hash(),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Frame(frame) => self.arrive(*frame),
            Event::Link {
                server,
                start,
                peer,
                up,
            } => {
                if self.servers[server].start == start {
                    self.marks.hit(Mark::LinkHint);
                    let peer = crate::server::node_id(peer);
                    self.tell(server, Input::Link { peer, up });
                }
            }
            Event::Run { server, start } => self.run_server(server, start),
            Event::Disk {
                server,
                start,
                done,
            } => {
                if self.servers[server].start == start {
                    self.disk_done(server, done);
                }
            }
            Event::PowerOn { server } => self.power_on(server),
            Event::Ask {
                server,
                tag,
                request,
            } => {
                if self.servers[server].process_ref().is_some() {
                    self.tell(
                        server,
                        Input::Request {
                            tag,
                            request: *request,
                        },
                    );
                }
            }
            Event::Gone { server, tag } => {
                if self.servers[server].process_ref().is_some() {
                    self.tell(server, Input::Gone { tag });
                }
            }
            Event::Told { client, tag, reply } => {
                self.with_client(client, |client, scene| client.told(tag, &reply, scene));
            }
            Event::Client { client, life, why } => {
                if self.clients[client].life() == life {
                    self.with_client(client, |client, scene| client.wake(why, scene));
                }
            }
            Event::Store { key, fence } => self.store(key, fence),
            Event::Wish { client } => self.wish(client),
            Event::Trouble => self.trouble(),
            Event::Graph { number, step } => self.graph(number, step),
            Event::Heal => self.heal(),
            Event::Drain => self.drain(),
            Event::Settle => self.settle(),
        }
    }

    /// Puts an input into a server's inbox.
    fn tell(&mut self, server: usize, input: Input) {
        let now = self.now;
        if let Some(process) = self.servers[server].process() {
            process.inbox.push_back(input);
            let at = process.busy_until.max(now);
            self.schedule(server, at);
        }
    }

    /// Makes a server run at `at`, or before.
    fn schedule(&mut self, server: usize, at: Nanos) {
        let start = self.servers[server].start;
        let Some(process) = self.servers[server].process() else {
            return;
        };
        let at = at.max(process.busy_until);
        if process.run_at.is_none_or(|planned| planned > at) {
            process.run_at = Some(at);
            self.queue.push(at, Event::Run { server, start });
        }
    }

    fn power_on(&mut self, index: usize) {
        let server = &mut self.servers[index];
        if server.is_gone || !matches!(server.life, Life::Down) {
            return;
        }
        if !server.is_founder() && !self.join(index) {
            return;
        }
        let server = &mut self.servers[index];
        if server.door.lost == Some(Lost::Asks) {
            return self.ask_to_found(index);
        }
        server.start += 1;
        let first = server.open(self.now, &mut self.marks, &mut self.judges.docket);
        if let Some(at) = first {
            let start = server.start;
            let done = crate::server::DiskDone::Copy;
            self.queue.push(
                at,
                Event::Disk {
                    server: index,
                    start,
                    done,
                },
            );
        }
        let drifts = self.servers[index].clock.drifts();
        self.marks.sometimes(drifts, Mark::ClockDrift);
        self.trace(index, "power on");
    }

    /// The power of a server goes.
    fn crash(&mut self, index: usize, why: Mark) {
        let server = &mut self.servers[index];
        if matches!(server.life, Life::Down) {
            return;
        }
        let opening = server.is_opening();
        self.marks.sometimes(opening, Mark::CrashInOpen);
        if let Some(process) = server.process_ref() {
            self.marks
                .sometimes(process.storage.is_syncing(), Mark::CrashInSync);
            self.marks
                .sometimes(process.storage.is_promising(), Mark::CrashInSuperblock);
            self.marks
                .sometimes(process.snapshots.is_naming(), Mark::CrashBeforeFolderSync);
        }
        self.marks.hit(Mark::Crash);
        self.marks.hit(why);
        self.marks.sometimes(server.leads(), Mark::LeaderCrash);
        self.mark_absence(index);
        let server = &mut self.servers[index];
        let fate = match self.crashes.below(6) {
            0 => Fate::Lost,
            1 => Fate::Kept,
            2 | 3 if why != Mark::PowerCut => Fate::Cached,
            _ => Fate::Mixed,
        };
        server.disk.crash(fate, &mut self.crashes, &mut self.marks);
        server.life = Life::Down;
        server.start += 1;
        server.crash_in = None;
        if self.phase == Phase::Safety || self.core.contains(&index) {
            let down = MS + self.crashes.exponential(self.plan.nemesis.down_mean);
            self.queue
                .push(self.now + down, Event::PowerOn { server: index });
        }
        for peer in 0..self.servers.len() {
            if peer != index && self.crashes.chance(700_000) {
                self.hint(peer, index, false);
            }
        }
        self.trace(index, "crash");
    }

    /// Tells `server` after a while that its connection to `peer` changed.
    fn hint(&mut self, server: usize, peer: usize, up: bool) {
        let start = self.servers[server].start;
        let at = self.now + 100_000 + self.crashes.below(5 * MS);
        self.queue.push(
            at,
            Event::Link {
                server,
                start,
                peer,
                up,
            },
        );
    }
}

fn key(index: usize) -> Key {
    let key = Key::from_path(&format!("sim/lock-{index}"));
    key.unwrap_or_else(|error| panic!("a path is a key: {error}"))
}

/// A clock that keeps its specification, but shows any time.
fn draw_clock(seed: u64, index: usize) -> Clock {
    let mut rand = Rand::nth(seed, "clock", index);
    let most = DRIFT_PPM_MAX.unsigned_abs();
    let rate = rand.range(0, 2 * most) as i64 - DRIFT_PPM_MAX;
    Clock::new(0, rand.below(1 << 50), rate)
}

impl World {
    /// Notes that something happened to a server.
    fn trace(&mut self, index: usize, event: &str) {
        let hash = tenure_core::hash::hash64(event.as_bytes());
        self.trace.add(&[self.now, index as u64, hash]);
        self.trace.event(self.now, &self.servers[index], event);
    }

    /// Notes that a server had a round.
    fn trace_round(&mut self, index: usize, outputs: &[Output]) {
        if let Some(process) = self.servers[index].process_ref() {
            let view = process.node.view();
            let numbers = [
                self.now,
                index as u64,
                outputs.len() as u64,
                view.decided.get(),
                view.applied.get(),
                view.machine.digest(),
            ];
            self.trace.add(&numbers);
        }
        for output in outputs {
            self.trace.output(self.now, &self.servers[index], output);
        }
    }
}
