//! Simulated clients. Each one does what a careful caller does: it names its requests, asks again
//! elsewhere when nobody answers, and believes in a grant no longer than its own clock allows
//! (rules 14, 15, 33). It also crashes, hangs up, and now and then lies.

mod answers;
mod asks;
mod entries;
mod op;
mod take;

use crate::Nanos;
use crate::clock::Clock;
use crate::judges::Judges;
use crate::marks::{Mark, Marks};
use crate::rand::Rand;
use op::{Attempt, Op};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use tenure_core::ids::{ChangeId, Fence, RequestId, RequestSeq, SessionId, Tag, ZoneId};
use tenure_core::machine::answer::Grant;
use tenure_core::machine::command::Client as Named;
use tenure_core::machine::command::Life;
use tenure_core::machine::key::Key;
use tenure_core::machine::parts::Parts;
use tenure_core::node::input::{Proof, Request, Token};

/// The zone that simulated clients use.
pub const ZONE: ZoneId = ZoneId::new(0);

/// How clients behave. Probabilities are parts of a million.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LoadKnobs {
    /// How many clients.
    pub clients: usize,
    /// How many locks they fight for.
    pub keys: usize,
    /// The mean time between two decisions of a client.
    pub think: Nanos,
    /// The mean time for which a lock is held.
    pub hold: Nanos,
    /// The mean patience with one attempt.
    pub patience: Nanos,
    /// The shortest and the longest time to live, in milliseconds.
    pub ttl_ms: (u64, u64),
    /// A claim waits in line.
    pub wait_ppm: u64,
    /// A claim is a shared one.
    pub shared_ppm: u64,
    /// A claim is in one of the advanced modes. If this is not zero, one lock in four is mostly shared by
    /// permits.
    pub modes_ppm: u64,
    /// A decision of one who has a re-entrant grant is to enter it again. If this is not zero, half of the claims
    /// that live with a session are re-entrant.
    pub reenter_ppm: u64,
    /// A claim is over two or three locks.
    pub many_ppm: u64,
    /// A lock is left to its time instead of being released.
    pub forget_ppm: u64,
    /// A request is sent to two servers at once.
    pub duplicate_ppm: u64,
    /// A connection breaks while a request is under way.
    pub hang_up_ppm: u64,
    /// A decision is to die.
    pub crash_ppm: u64,
    /// A decision is to lie about a proof.
    pub forge_ppm: u64,
    /// A decision is to take a lock from its holder, as an operator.
    pub force_ppm: u64,
    /// A decision is to read.
    pub read_ppm: u64,
}

/// How a client names its requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// By a session.
    Session,
    /// By a key for each request.
    Keyed,
    /// Not at all.
    Anonymous,
}

/// What a client wants of the world.
#[derive(Debug)]
pub enum Act {
    /// Carry this to a server.
    Ask {
        /// Which.
        server: usize,
        /// Under this tag.
        tag: Tag,
        /// What.
        request: Box<Request>,
    },
    /// Tell a server that the connection of this request broke.
    HangUp {
        /// Which.
        server: usize,
        /// The request.
        tag: Tag,
    },
    /// Call back.
    Wake {
        /// When.
        at: Nanos,
        /// What for.
        why: Why,
    },
    /// Write to the store behind a lock.
    Write {
        /// The lock.
        key: Key,
        /// With this fence.
        fence: Fence,
    },
}

/// Why a client is called back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// To decide what to do next.
    Decide,
    /// Its patience with an attempt is over.
    Retry {
        /// The operation.
        op: u64,
        /// How many attempts there were.
        attempts: usize,
    },
    /// Its session wants a keep-alive.
    KeepAlive,
    /// A lease wants to be renewed.
    Renew {
        /// Which.
        fence: Fence,
    },
    /// It is done with a lock.
    LetGo {
        /// Which.
        fence: Fence,
    },
    /// It writes to the store behind a lock.
    Write {
        /// Which.
        fence: Fence,
    },
}

#[derive(Debug)]
struct Session {
    id: SessionId,
    secret: Option<Token>,
    ttl_ms: u64,
    /// The moment of the client's clock until which it believes that the session lives.
    until: u64,
    closing: bool,
    /// What an operator took from it, as far as it knows.
    taken: Vec<Fence>,
}

#[derive(Debug)]
struct Held {
    parts: Parts,
    fence: Fence,
    life: Life,
    proof: Proof,
    until: u64,
    releasing: bool,
    forgotten: bool,
    /// How often this client is in it; zero: it is not re-entrant.
    entries: u32,
}

/// What a client sees of the world while it acts.
pub struct Scene<'a> {
    /// True time. Only judges look at it.
    pub now: Nanos,
    /// How many servers there are.
    pub servers: usize,
    /// Nothing new is begun any more.
    pub draining: bool,
    /// Who watches.
    pub judges: &'a mut Judges,
    /// What happened.
    pub marks: &'a mut Marks,
    /// What it wants.
    pub acts: &'a mut Vec<Act>,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    index: usize,
    life: u64,
    /// Nobody has started it again before then.
    dead_until: Nanos,
    kind: Kind,
    knobs: Rc<LoadKnobs>,
    keys: Rc<[Key]>,
    clock: Clock,
    rand: Rand,
    /// What it does as an operator.
    operator: Rand,
    /// And what it takes from others.
    taker: Rand,
    config_seen: ChangeId,
    home: usize,
    session: Option<Session>,
    held: Vec<Held>,
    ops: BTreeMap<u64, Op>,
    attempts: BTreeMap<u64, Attempt>,
    numbers: u64,
    next_seq: u64,
    /// How often it asked about a lock.
    looks: u64,
    open_seqs: BTreeSet<u64>,
    seen: Vec<(Key, Fence, Option<SessionId>)>,
    /// Re-entrant grants that a judge was told of.
    told: BTreeSet<Fence>,
    /// Requests that got their last word.
    pub acked: u64,
}

/// What is left of `ttl_ms` for somebody whose clock and whose server's clock may both drift:
/// ttl * (1 - 2 rho).
fn belief_ns(ttl_ms: u64) -> u64 {
    let rho = crate::clock::DRIFT_PPM_MAX.unsigned_abs();
    ttl_ms * (1_000_000 - 2 * rho)
}

impl Client {
    /// The `index`-th client of a world.
    pub fn new(
        seed: u64,
        index: usize,
        servers: usize,
        knobs: Rc<LoadKnobs>,
        keys: Rc<[Key]>,
    ) -> Self {
        let mut rand = Rand::nth(seed, "load", index);
        let kind = match rand.below(10) {
            0..4 => Kind::Session,
            4..8 => Kind::Keyed,
            _ => Kind::Anonymous,
        };
        let mut clocks = Rand::nth(seed, "client clock", index);
        let most = crate::clock::DRIFT_PPM_MAX;
        let rate = clocks.range(0, 2 * most.unsigned_abs()) as i64 - most;
        let clock = Clock::new(0, clocks.below(1 << 50), rate);
        let home = rand.index(servers);
        Self {
            index,
            life: 0,
            dead_until: 0,
            kind,
            knobs,
            keys,
            clock,
            rand,
            operator: Rand::nth(seed, "operator", index),
            taker: Rand::nth(seed, "taker", index),
            config_seen: ChangeId::new(0),
            home,
            session: None,
            held: Vec::new(),
            ops: BTreeMap::new(),
            attempts: BTreeMap::new(),
            numbers: 0,
            next_seq: 0,
            open_seqs: BTreeSet::new(),
            looks: 0,
            seen: Vec::new(),
            told: BTreeSet::new(),
            acked: 0,
        }
    }

    /// How often it was born again: what was meant for an earlier life is not for this one.
    pub const fn life(&self) -> u64 {
        self.life
    }

    /// The oldest request without a last word, and when it was first sent.
    pub fn oldest_pending(&self) -> Option<(String, Nanos)> {
        let oldest = self.ops.values().min_by_key(|op| op.began)?;
        Some((
            format!("client {}: {:?}", self.index, oldest.doing),
            oldest.began,
        ))
    }

    /// Whether it holds nothing and waits for nothing.
    pub fn is_idle(&self) -> bool {
        self.ops.is_empty() && self.held.iter().all(|held| held.forgotten)
    }

    fn local(&mut self, now: Nanos) -> u64 {
        self.clock.read(now).as_nanos()
    }

    /// The true time at which its clock will show `local`.
    fn when(&self, now: Nanos, local: u64) -> Nanos {
        if local == u64::MAX {
            return Nanos::MAX;
        }
        self.clock
            .when(now, tenure_core::time::Timestamp::from_nanos(local))
    }

    /// The true time at which a judge takes its belief to end.
    fn believed(&self, scene: &Scene<'_>, until: u64) -> Nanos {
        let until_true = self.when(scene.now, until);
        match until_true {
            Nanos::MAX => Nanos::MAX,
            _ => until_true.saturating_sub(scene.judges.docket.clock_slack),
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn request_id(&mut self) -> RequestId {
        let number = u128::from(self.number());
        let life = u128::from(self.life) << 64;
        RequestId::new((self.index as u128 + 1) << 96 | life | number)
    }

    /// The name of a new request of this client's kind.
    fn name(&mut self) -> Named {
        match (self.kind, &self.session) {
            (Kind::Session, Some(session)) => {
                let id = session.id;
                self.next_seq += 1;
                self.open_seqs.insert(self.next_seq);
                let first_open = self.open_seqs.first().copied().unwrap_or(1);
                Named::Session {
                    id,
                    seq: RequestSeq::new(self.next_seq),
                    done_through: RequestSeq::new(first_open - 1),
                }
            }
            (Kind::Anonymous, _) => Named::None,
            (Kind::Session | Kind::Keyed, _) => Named::Key(self.request_id()),
        }
    }

    /// It is called back.
    pub fn wake(&mut self, why: Why, scene: &mut Scene<'_>) {
        self.rand.at(scene.now);
        match why {
            Why::Decide => self.decide(scene),
            Why::Retry { op, attempts } => self.retry(op, attempts, scene),
            Why::KeepAlive => self.keep_alive(scene),
            Why::Renew { fence } => self.renew(fence, scene),
            Why::LetGo { fence } => self.let_go(fence, scene),
            Why::Write { fence } => {
                let local = self.local(scene.now);
                let held = self.held.iter().find(|held| held.fence == fence);
                if let Some(held) = held
                    && held.until > local
                {
                    for part in held.parts.iter() {
                        let key = part.key.clone();
                        scene.acts.push(Act::Write { key, fence });
                    }
                }
            }
        }
    }

    /// It dies; its next life knows nothing.
    pub fn crash(&mut self, scene: &mut Scene<'_>) {
        scene.marks.hit(Mark::ClientCrash);
        for held in self.held.drain(..) {
            scene.judges.beliefs.on_stopped(ZONE, held.fence);
        }
        let conn = self.conn();
        for (request, attempt) in std::mem::take(&mut self.attempts) {
            let tag = Tag { conn, request };
            let server = attempt.server;
            scene.acts.push(Act::HangUp { server, tag });
        }
        self.life += 1;
        self.ops.clear();
        self.session = None;
        self.next_seq = 0;
        self.open_seqs.clear();
        self.dead_until = scene.now + self.rand.exponential(500_000_000);
    }

    fn conn(&self) -> u64 {
        (self.index as u64) << 32 | self.life
    }

    fn let_go_later(&mut self, fence: Fence, scene: &mut Scene<'_>) -> Nanos {
        let hold = self.rand.exponential(self.knobs.hold);
        scene.acts.push(Act::Wake {
            at: scene.now + hold,
            why: Why::LetGo { fence },
        });
        hold
    }

    /// It was granted something, and believes in it as long as its clock allows.
    fn hold(&mut self, grant: &Grant, token: Token, first_sent: u64, scene: &mut Scene<'_>) {
        let until = match grant.life {
            Life::Lease { ttl_ms } => first_sent.saturating_add(belief_ns(ttl_ms)),
            Life::Static => u64::MAX,
            // Whoever asked to close a session believes in nothing of it any more.
            Life::Session => match &self.session {
                Some(session)
                    if !session.closing
                        && Some(session.id) == grant.session
                        && !session.taken.contains(&grant.fence) =>
                {
                    session.until
                }
                Some(_) | None => return,
            },
        };
        let until_true = self.believed(scene, until);
        let (docket, beliefs) = (&mut scene.judges.docket, &mut scene.judges.beliefs);
        beliefs.on_received(scene.now, self.index, grant, until_true, docket);
        let forgotten = grant.life != Life::Static && self.rand.chance(self.knobs.forget_ppm);
        let proof = Proof {
            key: grant.key().clone(),
            fence: grant.fence,
            session: grant.session,
            token,
        };
        self.held.push(Held {
            parts: grant.parts.clone(),
            fence: grant.fence,
            life: grant.life,
            proof,
            until,
            releasing: false,
            forgotten,
            entries: u32::from(grant.entered > 0),
        });
        let fence = grant.fence;
        let hold = self.let_go_later(fence, scene);
        let write = self.rand.below(2 * hold + 1);
        scene.acts.push(Act::Wake {
            at: scene.now + write,
            why: Why::Write { fence },
        });
        if let Life::Lease { ttl_ms } = grant.life {
            let waited = until <= self.local(scene.now);
            let pause = if waited { 0 } else { ttl_ms * 1_000_000 / 3 };
            scene.acts.push(Act::Wake {
                at: scene.now + pause,
                why: Why::Renew { fence },
            });
        }
    }
}
