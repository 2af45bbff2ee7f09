//! What a client decides to do, and how it asks.

use super::op::{Attempt, Doing, Op};
use super::{Act, Client, Kind, Scene, Why, ZONE};
use crate::Nanos;
use crate::marks::Mark;
use crate::server::{SITES, site};
use bytes::Bytes;
use std::collections::BTreeSet;
use tenure_core::config::{Change, Policy};
use tenure_core::ids::{Fence, Tag};
use tenure_core::machine::command::Client as Named;
use tenure_core::machine::command::{Acquire, Configure, Life, Mode};
use tenure_core::machine::key::Key;
use tenure_core::machine::parts::{Part, Parts};
use tenure_core::node::input::{Admin, Ask, Proof, Request, Token, Verify};

/// How many claims a client pursues at once.
const CLAIMS_MAX: usize = 2;
/// Of the locks that are shared by permits, mostly.
const CAPACITY: u32 = 3;

/// Whether a lock is mostly shared by permits.
const fn is_by_permits(index: usize) -> bool {
    index % 4 == 3
}

/// How many things a client has under way at once.
const OPS_MAX: usize = 8;
/// However patient a client is, it asks again after this long.
const PATIENCE_MAX: Nanos = 3_000_000_000;

impl Client {
    pub(super) fn decide(&mut self, scene: &mut Scene<'_>) {
        if scene.draining {
            self.wind_up(scene);
            let at = scene.now + self.rand.exponential(self.knobs.think);
            scene.acts.push(Act::Wake {
                at,
                why: Why::Decide,
            });
            return;
        }
        if scene.now < self.dead_until {
            return;
        }
        if self.rand.chance(self.knobs.crash_ppm) {
            self.crash(scene);
            return;
        }
        if self.ops.len() >= OPS_MAX {
            return; // more would only drown the servers, and measure nothing
        }
        if self.operator.chance(3_000) {
            self.configure(scene);
            return;
        }
        if self.takes(scene) {
            return;
        }
        if self.kind == Kind::Session && self.session.is_none() {
            self.open(scene);
            return;
        }
        if self.rand.chance(self.knobs.read_ppm) {
            self.look(scene);
        } else if self.rand.chance(self.knobs.forge_ppm) {
            self.forge(scene);
        } else if self.rand.chance(20_000) {
            self.leave_a_line(scene);
        } else if self.rand.chance(5_000) {
            self.close(scene);
        } else if self.rand.chance(10_000) {
            self.resume(scene);
        } else if self.knobs.modes_ppm > 0 && self.rand.chance(15_000) {
            self.resize(scene);
        } else if !self.enters_again(scene) {
            self.claim(scene);
        }
    }

    /// Asks how a lock is, or of every other one that it knows a grant of, whether that holds: no draw, so a
    /// seed's other draws are what they are.
    fn look(&mut self, scene: &mut Scene<'_>) {
        let key = self.any_key();
        self.looks += 1;
        let name = Named::None;
        if self.looks.is_multiple_of(2) {
            let is_held = |held: &&super::Held| held.parts.of(&key).is_some() && !held.releasing;
            if let Some(held) = self.held.iter().find(is_held) {
                let verify = Verify::from(held.proof.clone());
                let doing = Doing::Verify { until: held.until };
                return self.start(doing, name, Ask::Verify(verify), scene);
            }
            let index = self.seen.iter().position(|(seen, ..)| *seen == key);
            if let Some(index) = index {
                let (key, fence, session) = self.seen.swap_remove(index);
                let forged = self.looks.is_multiple_of(4);
                let verify = Verify {
                    token: forged.then_some(Token([0xf0; 32])),
                    session,
                    ..Verify::fence(key, fence)
                };
                let doing = if forged {
                    Doing::Forge
                } else {
                    Doing::Verify { until: 0 }
                };
                return self.start(doing, name, Ask::Verify(verify), scene);
            }
        }
        self.start(Doing::Inspect, name, Ask::Inspect { key }, scene);
    }

    /// Changes the shared configuration, after what it has seen of it.
    fn configure(&mut self, scene: &mut Scene<'_>) {
        let policy = Policy {
            members_min: 0,
            leader_location: site(self.operator.index(SITES)),
        };
        let configure = Configure {
            expect: self.config_seen,
            by: format!("client-{}", self.index),
            change: Change::Policy(policy),
        };
        let name = Named::Key(self.request_id());
        let ask = Ask::Admin(Admin::Configure(configure));
        self.start(Doing::Configure, name, ask, scene);
    }

    fn any_key(&mut self) -> Key {
        let index = self.rand.index(self.keys.len());
        self.keys[index].clone()
    }

    /// Gives back what it holds and leaves every line.
    fn wind_up(&mut self, scene: &mut Scene<'_>) {
        let fences: Vec<Fence> = self.held.iter().map(|held| held.fence).collect();
        for fence in fences {
            self.let_go(fence, scene);
        }
        self.leave_a_line(scene);
        if self.held.is_empty() && self.ops.is_empty() {
            self.close(scene);
        }
    }

    fn open(&mut self, scene: &mut Scene<'_>) {
        if self.ops.values().any(|op| matches!(op.doing, Doing::Open)) {
            return;
        }
        let identifier = if self.rand.chance(500_000) {
            Bytes::from(format!("client-{}", self.index))
        } else {
            Bytes::new()
        };
        let (low, high) = self.knobs.ttl_ms;
        let ttl_ms = self.rand.log_uniform(low, high);
        let name = Named::Key(self.request_id());
        self.start(
            Doing::Open,
            name,
            Ask::OpenSession {
                ttl_ms,
                identifier,
                // Half of the clients do one thing at a time, as far as their sessions know.
                threads: self.index % 2 == 1,
            },
            scene,
        );
    }

    fn close(&mut self, scene: &mut Scene<'_>) {
        let Some(session) = &mut self.session else {
            return;
        };
        if session.closing {
            return;
        }
        session.closing = true;
        let session = session.id;
        for held in self.held.iter().filter(|held| held.life == Life::Session) {
            scene.judges.beliefs.on_stopped(ZONE, held.fence);
        }
        self.held.retain(|held| held.life != Life::Session);
        let name = Named::Key(self.request_id());
        self.start(Doing::Close, name, Ask::CloseSession { session }, scene);
    }

    fn resume(&mut self, scene: &mut Scene<'_>) {
        if let Some(session) = &self.session
            && let Some(secret) = session.secret
        {
            let session = session.id;
            self.start(
                Doing::Resume,
                Named::None,
                Ask::Resume { session, secret },
                scene,
            );
        }
    }

    pub(super) fn keep_alive(&mut self, scene: &mut Scene<'_>) {
        let Some(session) = &self.session else {
            return;
        };
        if session.closing {
            return;
        }
        let pause = session.ttl_ms * 1_000_000 / 4;
        let session = session.id;
        self.start(
            Doing::KeepAlive,
            Named::None,
            Ask::KeepAlive { session },
            scene,
        );
        let at = scene.now + pause;
        scene.acts.push(Act::Wake {
            at,
            why: Why::KeepAlive,
        });
    }

    fn claim(&mut self, scene: &mut Scene<'_>) {
        let wants = |op: &Op| matches!(op.doing, Doing::Acquire(_));
        let closing = self.session.as_ref().is_some_and(|session| session.closing);
        if closing || self.ops.values().filter(|op| wants(op)).count() >= CLAIMS_MAX {
            return;
        }
        let Some(parts) = self.any_parts() else {
            return;
        };
        let (low, high) = self.knobs.ttl_ms;
        let lease = Life::Lease {
            ttl_ms: self.rand.log_uniform(low, high),
        };
        let life = match self.kind {
            Kind::Session if self.rand.chance(700_000) => Life::Session,
            Kind::Keyed if self.rand.chance(150_000) => Life::Static,
            Kind::Session | Kind::Keyed | Kind::Anonymous => lease,
        };
        let by_permits = parts
            .iter()
            .any(|part| matches!(part.mode, Mode::Permits { .. }));
        let reentrant = self.knobs.reenter_ppm > 0
            && life == Life::Session
            && !by_permits
            && self.rand.chance(500_000);
        self.ask_for((parts, life, reentrant), scene);
    }

    pub(super) fn ask_for(&mut self, claim: (Parts, Life, bool), scene: &mut Scene<'_>) {
        let (parts, life, reentrant) = claim;
        let waits = self.rand.chance(self.knobs.wait_ppm);
        let acquire = Acquire {
            parts,
            life,
            reentrant,
            wait_ms: if waits {
                self.rand.log_uniform(100, 5_000)
            } else {
                0
            },
            holder: Bytes::from(format!("client-{}", self.index)),
        };
        let name = self.name();
        self.start(
            Doing::Acquire(acquire.clone()),
            name,
            Ask::Acquire(acquire),
            scene,
        );
    }

    /// One key, or some, of which it holds none and asks for none.
    fn any_parts(&mut self) -> Option<Parts> {
        let many = self.rand.chance(self.knobs.many_ppm);
        let count = if many { self.rand.range(2, 3) } else { 1 };
        let mut parts: Vec<Part> = Vec::new();
        for _ in 0..count {
            let index = self.rand.index(self.keys.len());
            let (key, mode) = (self.keys[index].clone(), self.any_mode(index));
            if parts.iter().all(|part| part.key != key) && !self.is_busy_with(&key) {
                parts.push(Part { key, mode });
            }
        }
        Parts::new(parts).ok()
    }

    fn any_mode(&mut self, index: usize) -> Mode {
        const ADVANCED: [Mode; 4] = [
            Mode::Null,
            Mode::ConcurrentRead,
            Mode::ConcurrentWrite,
            Mode::ProtectedWrite,
        ];
        let is_odd = self.rand.chance(20_000);
        if self.knobs.modes_ppm > 0 && is_by_permits(index) != is_odd {
            let capacity = if self.rand.chance(50_000) {
                4
            } else {
                CAPACITY
            };
            let n = self.rand.range(1, 3) as u32;
            return Mode::Permits { n, capacity };
        }
        if self.rand.chance(self.knobs.modes_ppm) {
            return ADVANCED[self.rand.index(ADVANCED.len())];
        }
        if self.rand.chance(self.knobs.shared_ppm) {
            Mode::Shared
        } else {
            Mode::Exclusive
        }
    }

    /// One who shares a lock by permits gives it another capacity, mostly back to the usual one.
    fn resize(&mut self, scene: &mut Scene<'_>) {
        let index = self.rand.index(self.keys.len());
        if !is_by_permits(index) {
            return;
        }
        let usual = self.rand.chance(600_000);
        let capacity = if usual {
            CAPACITY
        } else {
            self.rand.range(1, 6) as u32
        };
        let key = self.keys[index].clone();
        let name = Named::Key(self.request_id());
        self.start(Doing::Resize, name, Ask::Resize { key, capacity }, scene);
    }

    pub(super) fn is_busy_with(&self, key: &Key) -> bool {
        let asked = |op: &Op| matches!(&op.doing, Doing::Acquire(a) if a.parts.of(key).is_some());
        let mut held = self.held.iter();
        held.any(|held| held.parts.of(key).is_some()) || self.ops.values().any(asked)
    }

    fn leave_a_line(&mut self, scene: &mut Scene<'_>) {
        let waiting = self
            .ops
            .iter()
            .find(|(_, op)| op.ticket.is_some() && !op.cancelling);
        let Some((&id, op)) = waiting else {
            return;
        };
        let Some(ticket) = op.ticket else { return };
        if let Some(op) = self.ops.get_mut(&id) {
            op.cancelling = true;
        }
        let name = self.name();
        self.start(Doing::Cancel, name, Ask::Cancel { ticket }, scene);
    }

    /// Asks with a proof that is none.
    fn forge(&mut self, scene: &mut Scene<'_>) {
        if self.seen.is_empty() {
            return;
        }
        let index = self.rand.index(self.seen.len());
        let (key, fence, session) = self.seen.swap_remove(index);
        let token = Token([self.rand.any() as u8; 32]);
        let proof = Proof {
            key,
            fence,
            session,
            token,
        };
        scene.marks.hit(Mark::Forged);
        let name = Named::Key(self.request_id());
        let ask = if self.rand.chance(500_000) {
            Ask::release(proof)
        } else {
            let ttl_ms = None;
            Ask::Renew { proof, ttl_ms }
        };
        self.start(Doing::Forge, name, ask, scene);
    }

    pub(super) fn renew(&mut self, fence: Fence, scene: &mut Scene<'_>) {
        let Some(held) = self.held.iter().find(|held| held.fence == fence) else {
            return;
        };
        if held.releasing || held.forgotten {
            return;
        }
        let Life::Lease { ttl_ms } = held.life else {
            return;
        };
        let proof = held.proof.clone();
        // Each attempt has its own number (rule 15).
        let name = self.name();
        let ask = Ask::Renew {
            proof,
            ttl_ms: None,
        };
        self.start(Doing::Renew { fence }, name, ask, scene);
        scene.acts.push(Act::Wake {
            at: scene.now + ttl_ms * 1_000_000 / 3,
            why: Why::Renew { fence },
        });
    }

    /// It is done with a lock: from the moment it asks it believes in it no more. With a re-entrant one it is
    /// done when it has left as often as it entered.
    pub(super) fn let_go(&mut self, fence: Fence, scene: &mut Scene<'_>) {
        if self.is_entering(fence) {
            self.let_go_later(fence, scene);
            return;
        }
        let at_once = self.knobs.reenter_ppm > 0 && self.rand.chance(200_000);
        let draining = scene.draining;
        let Some(held) = self.held.iter_mut().find(|held| held.fence == fence) else {
            return;
        };
        if held.releasing || (held.forgotten && !draining) {
            return;
        }
        let proof = held.proof.clone();
        let all = held.entries > 1 && at_once;
        if held.entries > 1 && !all {
            held.entries -= 1;
            let judges = &mut scene.judges;
            judges.history.on_release_asked(scene.now, ZONE, fence);
            let name = self.name();
            self.start(Doing::Release { fence }, name, Ask::release(proof), scene);
            return;
        }
        scene.marks.sometimes(all, Mark::LeftAtOnce);
        held.releasing = true;
        held.forgotten = false;
        scene.judges.beliefs.on_stopped(ZONE, fence);
        scene
            .judges
            .history
            .on_release_asked(scene.now, ZONE, fence);
        for part in held.parts.iter() {
            let calls = &mut scene.judges.calls;
            calls.on_release(self.index, &part.key, scene.now, fence);
        }
        let name = self.name();
        let ask = Ask::Release { proof, all };
        self.start(Doing::Release { fence }, name, ask, scene);
    }

    pub(super) fn start(&mut self, doing: Doing, client: Named, ask: Ask, scene: &mut Scene<'_>) {
        let id = self.number();
        let first_sent = self.local(scene.now);
        let request = Request {
            zone: ZONE,
            principal: Bytes::new(),
            client,
            ask,
        };
        let op = Op {
            doing,
            request,
            began: scene.now,
            told: scene.judges.history.reads.answered,
            first_sent,
            sent: 0,
            ticket: None,
            cancelling: false,
        };
        self.ops.insert(id, op);
        self.send(id, scene);
        if client != Named::None && self.rand.chance(self.knobs.duplicate_ppm) {
            scene.marks.hit(Mark::ClientDuplicate);
            self.home = self.rand.index(scene.servers);
            self.send(id, scene);
        }
    }

    pub(super) fn send(&mut self, id: u64, scene: &mut Scene<'_>) {
        let request = self.number();
        let tag = Tag {
            conn: self.conn(),
            request,
        };
        let (server, patience) = (self.home, self.rand.exponential(self.knobs.patience));
        let Some(op) = self.ops.get_mut(&id) else {
            return;
        };
        op.sent += 1;
        let waits = op.ticket.is_some();
        let pause = self.knobs.patience / 2 + patience * if waits { 4 } else { 1 };
        // Not all in the same moment: a small queue would refuse the same ones each time.
        let most = PATIENCE_MAX - self.rand.range(0, PATIENCE_MAX / 2);
        let pause = pause.min(most);
        let attempts = op.sent;
        scene.acts.push(Act::Ask {
            server,
            tag,
            request: Box::new(op.request.clone()),
        });
        scene.acts.push(Act::Wake {
            at: scene.now + pause,
            why: Why::Retry { op: id, attempts },
        });
        let told = scene.judges.history.reads.answered;
        self.attempts.insert(
            request,
            Attempt {
                op: id,
                server,
                told,
            },
        );
        if self.rand.chance(self.knobs.hang_up_ppm) {
            scene.marks.hit(Mark::ClientHangUp);
            scene.acts.push(Act::HangUp { server, tag });
        }
    }

    /// Nobody answered in time.
    pub(super) fn retry(&mut self, id: u64, attempts: usize, scene: &mut Scene<'_>) {
        let Some(op) = self.ops.get(&id) else {
            return;
        };
        if op.sent != attempts {
            return;
        }
        let named = op.request.client != Named::None;
        let read = matches!(op.doing, Doing::Inspect | Doing::Verify { .. });
        // A renewal has a new number each time (rule 15): its next one comes by itself.
        let named = named && !matches!(op.doing, Doing::Renew { .. });
        self.home = self.rand.index(scene.servers);
        if named || read {
            scene.marks.hit(Mark::ClientRetry);
            self.send(id, scene);
            let attempts = self.attempts.values().filter(|attempt| attempt.op == id);
            let asked: BTreeSet<usize> = attempts.map(|attempt| attempt.server).collect();
            let is_everywhere = scene.servers > 1 && asked.len() == scene.servers;
            scene.marks.sometimes(is_everywhere, Mark::AskedEverywhere);
            return;
        }
        // Whoever does not name a request can only hang up, and never knows.
        self.forget(id, scene);
    }

    /// An operation ends; so do its other attempts.
    pub(super) fn forget(&mut self, id: u64, scene: &mut Scene<'_>) -> Option<Op> {
        let conn = self.conn();
        let others: Vec<u64> = self
            .attempts
            .iter()
            .filter(|(_, a)| a.op == id)
            .map(|(n, _)| *n)
            .collect();
        for request in others {
            if let Some(attempt) = self.attempts.remove(&request) {
                let tag = Tag { conn, request };
                let server = attempt.server;
                scene.acts.push(Act::HangUp { server, tag });
            }
        }
        let op = self.ops.remove(&id)?;
        if let Named::Session { seq, .. } = op.request.client {
            self.open_seqs.remove(&seq.get());
        }
        Some(op)
    }
}
