//! Sets one stable graph after another, and asks each time: does a leader serve within its bound,
//! after at most a few elections, and does it stay (K31, K32)?

use super::World;
use super::event::Event;
use crate::Nanos;
use crate::graph::Graph;
use crate::marks::Mark;
use crate::net::Loss;
use crate::rand::Rand;
use crate::scenario::{MS, SECOND};
use crate::server::{SITES, node_id};
use std::time::Duration;
use tenure_core::config::{Change, Role};
use tenure_core::ids::{Ballot, Slot};
use tenure_core::node::input::{Input, Space};

/// How long everything is whole between two graphs.
const WHOLE: Nanos = 2 * SECOND;
/// How long a graph stays once its leader must be found.
const STAYS: Nanos = 4 * SECOND;
/// How long a server that hears a majority may look for its leader, once there must be one.
const DOUBT: Nanos = 300 * MS;
/// How long a request may wait at a server that reaches the leader.
const SERVES: Duration = Duration::from_secs(1);
/// Elections that finding a leader may take.
const ELECTIONS_MAX: u64 = 3;

/// What is done to the graph next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// All is mended, and the next graph is drawn.
    Mend,
    /// It is set.
    Set,
    /// By now a leader must serve.
    Bound,
    /// It must still do so.
    Look,
    /// A link that comes and goes does so.
    Flap,
    /// The leader and a candidate that it did not get rid of hear each other no more.
    Shun,
}

/// Who leads, and how far the log has come under it.
#[derive(Clone, Copy, Debug)]
struct Reign {
    leader: usize,
    ballot: Ballot,
    elections: u64,
}

/// The graph that is set.
#[derive(Debug)]
pub(super) struct Graphs {
    rand: Rand,
    graph: Graph,
    /// Those that come next.
    deck: Vec<Graph>,
    /// Counts the graphs: what was planned for an earlier one is not for this one.
    number: u64,
    /// The server that the graph is about.
    subject: usize,
    /// Who led when it was set.
    leader: usize,
    elections: u64,
    chosen: Slot,
    reign: Option<Reign>,
    flapping: Option<(usize, usize, bool)>,
}

impl Graphs {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rand: Rand::stream(seed, "graphs"),
            graph: Graph::Whole,
            deck: Vec::new(),
            number: 0,
            subject: 0,
            leader: 0,
            elections: 0,
            chosen: Slot::new(0),
            reign: None,
            flapping: None,
        }
    }
}

impl Graphs {
    /// Each graph comes once before one comes again.
    fn draw(&mut self, servers: usize) -> Graph {
        if self.deck.is_empty() {
            self.deck = Graph::deck(&mut self.rand, servers);
        }
        self.deck.pop().unwrap_or(Graph::Whole)
    }
}

impl World {
    pub(super) fn plan_graph(&mut self, after: Nanos, step: Step) {
        let number = self.graphs.number;
        self.queue
            .push(self.now + after, Event::Graph { number, step });
    }

    pub(super) fn graph(&mut self, number: u64, step: Step) {
        if self.graphs.number != number || self.phase != super::Phase::Safety {
            return;
        }
        match step {
            Step::Mend => self.mend_graph(),
            Step::Set => self.set_graph(),
            Step::Bound => self.judge_bound(),
            Step::Look => self.judge_reign(),
            Step::Flap => self.flap(),
            Step::Shun => self.cut_both(self.graphs.leader, self.graphs.subject),
        }
    }

    fn mend_graph(&mut self) {
        self.graphs.number += 1;
        self.graphs.reign = None;
        self.graphs.flapping = None;
        self.mend();
        for index in 0..self.servers.len() {
            self.servers[index].mend_disk();
            let space = Space::Enough;
            self.order(index, Input::Space { space });
            self.queue
                .push(self.now + MS, Event::PowerOn { server: index });
        }
        let servers = self.servers.len();
        self.graphs.graph = match self.plan.host.arbiter {
            Some(arbiter) => {
                self.change_arbiter(arbiter);
                Graph::SiteLost
            }
            None => self.graphs.draw(servers),
        };
        if self.graphs.graph == Graph::Constrained {
            // Who will be the only one with a majority misses what is decided until then.
            self.graphs.subject = self.graphs.rand.index(servers);
            let hub = self.graphs.subject;
            self.isolate(hub);
        }
        self.plan_graph(WHOLE, Step::Set);
    }

    /// Now and then the third site keeps locks for a while, and then only votes again.
    fn change_arbiter(&mut self, arbiter: usize) {
        let node = node_id(arbiter);
        let shared = self.judges.history.shared().clone();
        let Some((leader, _)) = self.ruler().filter(|_| self.graphs.rand.chance(500_000)) else {
            return;
        };
        let is = shared
            .member(node)
            .map_or(Role::Voter, |member| member.role);
        let role = match is {
            Role::QuorumOnly => Role::Voter,
            Role::Voter | Role::Observer => Role::QuorumOnly,
        };
        self.marks.hit(Mark::ArbiterChanges);
        let change = Change::Role { node, role };
        self.ask_for(leader, &shared, change);
    }

    fn set_graph(&mut self) {
        let graph = self.graphs.graph;
        let leader = self.ruler().map(|(index, _)| index);
        let leader = leader.unwrap_or_else(|| self.graphs.rand.index(self.servers.len()));
        self.graphs.elections = self.marks.count(Mark::Election);
        self.graphs.chosen = self.judges.votes.contiguous();
        self.graphs.leader = leader;
        self.apply_graph(graph, leader);
        self.marks.hit(graph.mark());
        self.trace(leader, &format!("graph {graph:?}"));
        if self.hub_exists() {
            self.plan_graph(graph.bound(), Step::Bound);
        }
        self.plan_graph(graph.bound() + STAYS, Step::Mend);
    }

    fn apply_graph(&mut self, graph: Graph, leader: usize) {
        let servers = self.servers.len();
        let mut order: Vec<usize> = (0..servers).collect();
        self.graphs.rand.shuffle(&mut order);
        let other = order[usize::from(order[0] == leader)];
        let any = order[0];
        match graph {
            Graph::Whole => {}
            Graph::Triangle => self.cut_both(any, order[1]),
            Graph::QuorumLoss => self.keep_links(|a, b| a == other || b == other),
            Graph::Constrained => {
                self.mend();
                let hub = self.graphs.subject;
                self.keep_links(|a, b| (a == hub || b == hub) && a != leader && b != leader);
            }
            Graph::Chain => {
                let place = |server| order.iter().position(|at| *at == server).unwrap_or(0);
                self.keep_links(|a, b| place(a).abs_diff(place(b)) == 1);
            }
            Graph::Howard => {
                let place = |server| order.iter().position(|at| *at == server).unwrap_or(0);
                self.keep_links(|a, b| {
                    let (low, high) = (place(a).min(place(b)), place(a).max(place(b)));
                    high < 3 || (low, high) == (1, 3) || (low, high) == (2, 4)
                });
            }
            Graph::Random => self.cut_some(),
            Graph::Mute | Graph::Deaf => {
                let one = if self.graphs.rand.chance(500_000) {
                    leader
                } else {
                    other
                };
                for peer in (0..servers).filter(|peer| *peer != one) {
                    let (from, to) = if graph == Graph::Mute {
                        (one, peer)
                    } else {
                        (peer, one)
                    };
                    self.net.cut(from, to, true);
                }
            }
            Graph::OneWay => self.net.cut(any, order[1], true),
            Graph::Flapping => {
                self.graphs.flapping = Some((any, order[1], false));
                self.plan_graph(MS, Step::Flap);
            }
            Graph::Swizzle => self.swizzle(&order),
            Graph::SiteLost => self.lose_site(),
            Graph::Unelected | Graph::Shunned => self.stand_in_vain(graph, leader, other),
            Graph::BlackHole
            | Graph::SlowDisk
            | Graph::HungDisk
            | Graph::LowSpace
            | Graph::Asked
            | Graph::Killed
            | Graph::Stopped
            | Graph::CutOff => self.trouble_leader(graph, leader, other),
        }
    }

    fn trouble_leader(&mut self, graph: Graph, leader: usize, other: usize) {
        let servers = self.servers.len();
        match graph {
            Graph::BlackHole => {
                // Little enough that it bites at once: a leader that clients ask for small things alone may
                // decide for seconds.
                let bytes_max = self.graphs.rand.log_uniform(20, 28) as usize;
                for peer in 0..servers {
                    self.net.black_hole(leader, peer, Some(bytes_max));
                }
            }
            Graph::SlowDisk => {
                let times = 50 * MS / self.plan.host.sync_mean;
                self.servers[leader].slow_disk(times.max(100));
            }
            Graph::HungDisk => {
                let until = self.now + graph.bound() + STAYS;
                self.servers[leader].hang_disk(until);
            }
            Graph::LowSpace => self.order(leader, Input::Space { space: Space::Low }),
            Graph::Asked => {
                let asked = self.graphs.rand.index(servers);
                let to = self.graphs.rand.chance(500_000).then(|| node_id(other));
                self.order(asked, Input::HandOver { to });
            }
            Graph::Killed => {
                self.crash(leader, Mark::Crash);
                for peer in (0..servers).filter(|peer| *peer != leader) {
                    self.hint(peer, leader, false);
                }
            }
            Graph::Stopped => self.pause(leader, graph.bound() + STAYS),
            Graph::CutOff => self.keep_links(|a, b| a != leader && b != leader),
            Graph::Whole
            | Graph::Triangle
            | Graph::QuorumLoss
            | Graph::Constrained
            | Graph::Chain
            | Graph::Howard
            | Graph::Random
            | Graph::Mute
            | Graph::Deaf
            | Graph::OneWay
            | Graph::Flapping
            | Graph::Swizzle
            | Graph::Unelected
            | Graph::Shunned
            | Graph::SiteLost => {}
        }
    }

    /// A server is told to stand, and asks nobody, or one too few.
    fn stand_in_vain(&mut self, graph: Graph, leader: usize, candidate: usize) {
        self.graphs.subject = candidate;
        let servers = self.servers.len();
        let asks_one = servers > 3 && self.graphs.rand.chance(500_000);
        let others: Vec<usize> = (0..servers)
            .filter(|peer| ![leader, candidate].contains(peer))
            .collect();
        let asked = asks_one.then(|| others[self.graphs.rand.index(others.len())]);
        for peer in (0..servers).filter(|peer| Some(*peer) != asked) {
            self.net.lose(candidate, peer, Some(Loss::Prepares));
        }
        for peer in asked.into_iter().chain([candidate]) {
            self.net.lose(leader, peer, Some(Loss::Accepts));
        }
        let to = Some(node_id(candidate));
        self.order(leader, Input::HandOver { to });
        if graph == Graph::Shunned {
            self.plan_graph(100 * MS, Step::Shun);
        }
    }

    /// Of three sites, which have one server each, or two, two and one, one is lost.
    fn lose_site(&mut self) {
        let servers = self.servers.len();
        let lost = self.graphs.rand.index(SITES);
        let is_there = |server: usize| server % SITES == lost;
        self.marks.hit(Mark::SiteLost);
        if self.graphs.rand.chance(500_000) {
            return self.keep_links(|a, b| is_there(a) == is_there(b));
        }
        for server in (0..servers).filter(|server| is_there(*server)) {
            self.crash(server, Mark::Crash);
            for peer in (0..servers).filter(|peer| !is_there(*peer)) {
                self.hint(peer, server, false);
            }
        }
    }

    fn cut_both(&mut self, a: usize, b: usize) {
        self.net.cut(a, b, true);
        self.net.cut(b, a, true);
    }

    fn keep_links(&mut self, keep: impl Fn(usize, usize) -> bool) {
        for from in 0..self.servers.len() {
            for to in 0..self.servers.len() {
                if from != to && !keep(from, to) {
                    self.net.cut(from, to, true);
                }
            }
        }
    }

    fn swizzle(&mut self, order: &[usize]) {
        let half = Graph::Swizzle.bound() / 4;
        for (place, server) in order.iter().enumerate() {
            let until = self.now + half + self.graphs.rand.below(half);
            let until = until + place as u64 * MS;
            for peer in 0..self.servers.len() {
                self.net.clog((peer, *server), self.now, until);
            }
        }
    }

    fn flap(&mut self) {
        let Some((a, b, cut)) = self.graphs.flapping else {
            return;
        };
        self.graphs.flapping = Some((a, b, !cut));
        self.net.cut(a, b, !cut);
        self.net.cut(b, a, !cut);
        for (one, other) in [(a, b), (b, a)] {
            self.hint(one, other, cut);
        }
        let after = self.graphs.rand.log_uniform(5 * MS, 400 * MS);
        self.plan_graph(after, Step::Flap);
    }

    fn works(&self, index: usize) -> bool {
        let process = self.servers[index].process_ref();
        process.is_some_and(|process| process.busy_until < self.now + 100 * MS)
    }

    /// Whether two servers hear each other, for as long as this graph stands.
    fn meet(&self, a: usize, b: usize) -> bool {
        let flapping = self.graphs.flapping;
        let flaps = flapping
            .is_some_and(|(one, other, _)| [one, other] == [a, b] || [one, other] == [b, a]);
        !flaps && self.net.is_open(a, b) && self.net.is_open(b, a)
    }

    /// Whether a server hears and is heard by a majority, itself among it.
    fn is_hub(&self, index: usize) -> bool {
        let reaches = |peer: &usize| *peer == index || self.meet(index, *peer) && self.works(*peer);
        let reached = (0..self.servers.len()).filter(reaches).count();
        self.works(index) && reached > self.servers.len() / 2
    }

    fn hub_exists(&self) -> bool {
        (0..self.servers.len()).any(|index| self.is_hub(index))
    }

    /// The server that leads under the highest ballot, and that ballot.
    fn ruler(&self) -> Option<(usize, Ballot)> {
        let leads = |index: usize| {
            let view = self.servers[index].process_ref()?.node.view();
            (view.role == "leader").then_some((index, view.ballot))
        };
        let leaders = (0..self.servers.len()).filter_map(leads);
        leaders.max_by_key(|(_, ballot)| *ballot)
    }

    /// Whether nothing that was taken for the log is still to be decided: clients only read.
    fn nobody_waits(&self) -> bool {
        let mut processes = self
            .servers
            .iter()
            .filter_map(|server| server.process_ref());
        processes.all(|process| process.node.view().waits_since.is_none())
    }

    fn judge_bound(&mut self) {
        let graph = self.graphs.graph;
        let elections = self.marks.count(Mark::Election);
        let chosen = self.judges.votes.contiguous();
        let under = self.judges.votes.chosen(chosen).map(|chosen| chosen.ballot);
        let serves = chosen > self.graphs.chosen || self.nobody_waits();
        let ruler = self.ruler().filter(|(index, ballot)| {
            let moved = !graph.moves_the_leader() || *index != self.graphs.leader;
            moved && self.is_hub(*index) && Some(*ballot) == under && serves
        });
        let taken = elections - self.graphs.elections;
        let docket = &mut self.judges.docket;
        docket.check(
            ruler.is_some(),
            "a stable graph gets a leader that serves",
            || {
                let bound = graph.bound() / MS;
                format!("{graph:?}: none after {bound} ms, {taken} elections")
            },
        );
        docket.check(
            taken <= ELECTIONS_MAX,
            "a stable graph gets its leader soon",
            || format!("{graph:?}: {taken} elections"),
        );
        if let Some((leader, ballot)) = ruler {
            self.graphs.reign = Some(Reign {
                leader,
                ballot,
                elections,
            });
            self.plan_graph(SECOND, Step::Look);
        }
    }

    /// Whoever hears a majority knows whom to ask, directly or from a neighbour: two majorities meet.
    /// A link that flaps makes it doubt for a moment.
    fn judge_hubs(&mut self) {
        let graph = self.graphs.graph;
        for index in 0..self.servers.len() {
            if !self.is_hub(index) {
                continue;
            }
            let Some(process) = self.servers[index].process_ref() else {
                continue;
            };
            let since = process.leaderless_since.unwrap_or(self.now);
            let promised = process.node.view().promised;
            let (without, docket) = (self.now - since, &mut self.judges.docket);
            docket.check(without < DOUBT, "who hears a majority has a leader", || {
                let (number, ms) = (index + 1, without / MS);
                format!("{graph:?}: server {number} has none for {ms} ms, and promised {promised}")
            });
        }
    }

    /// Whatever a server takes for the log that reaches the leader, and is reached by it, is decided.
    /// A leader whom nobody gives anything (they only read) has nothing to show.
    fn judge_service(&mut self, leader: usize) {
        let graph = self.graphs.graph;
        // Nothing large leaves it, or it can promise the new leader nothing.
        let is_troubled = matches!(graph, Graph::BlackHole | Graph::HungDisk);
        for index in 0..self.servers.len() {
            let reaches = index == leader || self.meet(index, leader);
            let reaches =
                reaches && self.works(index) && !(is_troubled && index == self.graphs.leader);
            let Some(process) = self.servers[index].process_ref().filter(|_| reaches) else {
                continue;
            };
            let taken = process.node.view().waits_since;
            let now = self.servers[index].clock.clone().read(self.now);
            let waits = taken.map_or(Duration::ZERO, |taken| now.since(taken));
            let docket = &mut self.judges.docket;
            docket.check(
                waits < SERVES,
                "the leader of a stable graph serves",
                || format!("{graph:?}: server {} waits for {waits:?}", index + 1),
            );
        }
    }

    fn judge_reign(&mut self) {
        let graph = self.graphs.graph;
        let Some(reign) = self.graphs.reign else {
            return;
        };
        let elections = self.marks.count(Mark::Election) - reign.elections;
        let leads = self
            .ruler()
            .is_some_and(|(_, ballot)| ballot == reign.ballot);
        let docket = &mut self.judges.docket;
        docket.check(
            leads && elections == 0,
            "a stable graph keeps its leader",
            || format!("{graph:?}: {elections} more elections"),
        );
        self.judge_hubs();
        self.judge_service(reign.leader);
        self.plan_graph(SECOND, Step::Look);
    }
}
