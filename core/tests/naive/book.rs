//! What the callers know, and what a drawn step means by that.

use crate::draw::{Again, Ask, Claim, Number, Who};
use crate::observe::{Known, Observation};
use bytes::Bytes;
use tenure_core::ids::{Boot, Fence, NodeId, RequestId, RequestSeq, SessionId, TicketId, ZoneId};
use tenure_core::limits::{PERMITS_MAX, TTL_MS_MAX, TTL_MS_MIN, WAIT_MS_MAX};
use tenure_core::machine::answer::{Answer, Event};
use tenure_core::machine::command::{Acquire, Client, Command, Life, Mode, Operation, Via};
use tenure_core::machine::key::{Key, Value};
use tenure_core::machine::parts::{Part, Parts};

/// How many tickets are asked about.
const TICKETS_ASKED: usize = 24;

pub(crate) struct Book {
    pub(crate) known: Known,
    window: u64,
    grants: Vec<(ZoneId, Fence, Parts)>,
    callers: Vec<Caller>,
    sent: Vec<Command>,
    vias: u64,
    names: u128,
}

/// A client with a session.
struct Caller {
    zone: ZoneId,
    id: SessionId,
    lives: bool,
    next: u64,
    done: u64,
}

impl Book {
    pub(crate) fn new(zones: &[ZoneId], window: u64) -> Self {
        let path = |path| Key::from_path(path).expect("a path");
        let pairs = [
            ("env", Value::String("prod".to_owned())),
            ("shard", Value::U8(1)),
        ];
        let pairs = Key::from_pairs(&pairs).expect("pairs");
        Self {
            known: Known {
                zones: zones.to_vec(),
                keys: vec![path("a"), path("b"), path("pool"), pairs],
                ..Known::default()
            },
            window,
            grants: Vec::new(),
            callers: Vec::new(),
            sent: Vec::new(),
            vias: 0,
            names: 0,
        }
    }

    /// What lives by now is chosen first.
    pub(crate) fn look(&mut self, at: &Observation) {
        let holds = |zone: ZoneId, fence: Fence| {
            let here = at.locks.iter().filter(|(of, _)| *of == zone);
            let mut holders = here.flat_map(|(_, lock)| &lock.holders);
            holders.any(|holder| holder.fence == fence)
        };
        self.grants
            .sort_by_key(|(zone, fence, _)| holds(*zone, *fence));
        for caller in &mut self.callers {
            caller.lives = at.sessions.contains(&(caller.zone, caller.id));
        }
        self.callers.sort_by_key(|caller| caller.lives);
        self.known.tickets.sort_by_key(|(zone, id)| {
            let view = at.ticket(*zone, *id);
            (view.is_some(), view.is_some_and(|view| view.offered))
        });
    }

    /// What the callers hear.
    pub(crate) fn hear(&mut self, commands: &[Command], events: &[Event]) {
        for event in events {
            match event {
                Event::Answered { via, answer } => {
                    let asked = commands.iter().find(|command| command.via == *via);
                    self.hear_answer(asked.map_or(ZoneId::new(0), |asked| asked.zone), answer);
                }
                Event::Ended { answer, .. } => self.hear_answer(ZoneId::new(0), answer),
                Event::Offered { .. } | Event::Lost { .. } | Event::SessionExpired { .. } => {}
            }
        }
    }

    fn hear_answer(&mut self, zone: ZoneId, answer: &Answer) {
        match answer {
            Answer::Granted(grant) => {
                let known = |(of, fence, _): &(ZoneId, Fence, Parts)| {
                    *of == grant.zone && *fence == grant.fence
                };
                if !self.grants.iter().any(known) {
                    let grant = (grant.zone, grant.fence, grant.parts.clone());
                    self.grants.push(grant);
                }
            }
            Answer::Queued { ticket, .. } => self.hear_ticket(zone, *ticket),
            Answer::SessionOpened { session, .. } => self.hear_session(zone, *session),
            _ => {}
        }
    }

    fn hear_ticket(&mut self, zone: ZoneId, ticket: TicketId) {
        if self.known.tickets.contains(&(zone, ticket)) {
            return;
        }
        self.known.tickets.push((zone, ticket));
        if self.known.tickets.len() > TICKETS_ASKED {
            self.known.tickets.remove(0);
        }
    }

    fn hear_session(&mut self, zone: ZoneId, session: SessionId) {
        if self.known.sessions.contains(&(zone, session)) {
            return;
        }
        self.known.sessions.push((zone, session));
        self.callers.push(Caller {
            zone,
            id: session,
            lives: true,
            next: 1,
            done: 0,
        });
    }

    /// The command that a drawn request means; none if there is nothing yet that it could be about.
    pub(crate) fn command(&mut self, ask: &Ask) -> Option<Command> {
        if let Ask::Forwarded { nth } = ask {
            return self.nth_sent(*nth).cloned();
        }
        let mut command = match ask {
            Ask::Again { nth, how } => self.again(*nth, how)?,
            _ => self.request(ask)?,
        };
        self.vias += 1;
        command.via = Via {
            node: NodeId::new(1 + self.vias % 2),
            boot: Boot::new(1),
            seq: self.vias,
        };
        self.sent.push(command.clone());
        Some(command)
    }

    fn request(&mut self, ask: &Ask) -> Option<Command> {
        Some(match ask {
            Ask::Acquire(claim) => self.claim(claim),
            Ask::Release {
                who,
                grant,
                key,
                all,
            } => {
                let (zone, fence, key) = self.grant(*grant, *key)?;
                let all = *all;
                self.from(who, zone, Operation::Release { key, fence, all })
            }
            Ask::Renew { who, grant, ttl } => {
                let (zone, fence, key) = self.grant(*grant, 0)?;
                let ttl_ms = ttl.map(ttl_of);
                self.from(who, zone, Operation::Renew { key, fence, ttl_ms })
            }
            Ask::Cancel { who, ticket } => {
                let (zone, ticket) = self.ticket(*ticket)?;
                self.from(who, zone, Operation::Cancel { ticket })
            }
            Ask::Confirm { ticket } => {
                let (zone, ticket) = self.ticket(*ticket)?;
                self.from(&Who::Nobody, zone, Operation::Confirm { ticket })
            }
            Ask::Open {
                who,
                zone,
                ttl,
                name,
            } => {
                let identifier = [Bytes::new(), Bytes::from(vec![b'0' + name])];
                let open = Operation::OpenSession {
                    ttl_ms: 4 * ttl_of(1 + *ttl),
                    identifier: identifier[usize::from(*name > 0)].clone(),
                    // Circles of waits are compared with the other model, in the machine's own tests.
                    threads: true,
                };
                self.from(who, zone_of(*zone), open)
            }
            Ask::KeepAlive { session } => {
                let (zone, session) = self.session(*session)?;
                self.from(&Who::Nobody, zone, Operation::KeepAlive { session })
            }
            Ask::Close { who, session } => {
                let (zone, session) = self.session(*session)?;
                self.from(who, zone, Operation::CloseSession { session })
            }
            Ask::Resize {
                who,
                zone,
                key,
                capacity,
            } => {
                // Mostly the one that is shared by permits.
                let key = self.known.keys[if *key < 6 { 2 } else { usize::from(*key) % 4 }].clone();
                let capacity = u32::from(*capacity);
                self.from(who, zone_of(*zone), Operation::Resize { key, capacity })
            }
            Ask::Wrong { who, what } => self.wrong(who, *what),
            Ask::Again { .. } | Ask::Forwarded { .. } => return None,
        })
    }

    fn claim(&mut self, claim: &Claim) -> Command {
        let mut parts: Vec<Part> = Vec::new();
        // Who enters again mostly means one lock.
        let few = if claim.reentrant && claim.life > 3 {
            1
        } else {
            4
        };
        for (key, share) in claim.parts.iter().take(few) {
            let mode = mode_of(*key, *share);
            let key = self.known.keys[usize::from(*key)].clone();
            if parts.iter().all(|part| part.key != key) {
                parts.push(Part { key, mode });
            }
        }
        let zone = zone_of(claim.zone);
        let client = self.client(&claim.who, zone);
        let in_session = matches!(client, Client::Session { .. });
        let life = match claim.life {
            0 => Life::Static,
            1 | 2 => Life::Lease {
                ttl_ms: ttl_of(claim.life),
            },
            _ if in_session => Life::Session,
            _ => Life::Lease {
                ttl_ms: ttl_of(claim.life),
            },
        };
        let by_number = parts
            .iter()
            .any(|part| matches!(part.mode, Mode::Permits { .. }));
        let claim = Acquire {
            parts: Parts::new(parts).expect("a claim"),
            life,
            wait_ms: [0, 0, 700, 2000, 4000, 9000, 20_000, 60_000][usize::from(claim.wait) % 8],
            holder: Bytes::from(format!("holder {}", self.vias + 1)),
            reentrant: claim.reentrant && life == Life::Session && !by_number,
        };
        command(zone, client, Operation::Acquire(claim))
    }

    /// The same request under the same name, or another one under it.
    fn again(&self, nth: u8, how: &Again) -> Option<Command> {
        let mut command = self.nth_sent(nth)?.clone();
        match how {
            Again::Same => {}
            Again::OtherWait => match &mut command.operation {
                Operation::Acquire(claim) => claim.wait_ms += 1000,
                _ => return None,
            },
            Again::OtherRequest => match &mut command.operation {
                Operation::Acquire(claim) => {
                    claim.parts = Parts::one(self.known.keys[0].clone(), Mode::Null);
                    claim.life = Life::Static;
                    claim.reentrant = false;
                }
                Operation::Release { key, .. } => key.clone_from(&self.known.keys[1]),
                Operation::Cancel { ticket } => *ticket = TicketId::new(ticket.get() + 1),
                Operation::OpenSession { ttl_ms, .. } => *ttl_ms += 1,
                Operation::CloseSession { session } => *session = SessionId::new(session.get() + 1),
                Operation::Resize { capacity, .. } => *capacity += 1,
                Operation::Renew { .. }
                | Operation::Confirm { .. }
                | Operation::KeepAlive { .. }
                | Operation::Convert(_)
                | Operation::Force(_)
                | Operation::Configure(_) => return None,
            },
        }
        Some(command)
    }

    /// Beyond one bound each.
    fn wrong(&mut self, who: &Who, what: u8) -> Command {
        let key = self.known.keys[0].clone();
        let mut claim = Acquire {
            parts: Parts::one(key.clone(), Mode::Exclusive),
            life: Life::Static,
            wait_ms: 0,
            holder: Bytes::new(),
            reentrant: false,
        };
        let permits = |n, capacity| Parts::one(key.clone(), Mode::Permits { n, capacity });
        match what {
            0 => {
                claim.life = Life::Lease {
                    ttl_ms: TTL_MS_MIN - 1,
                }
            }
            1 => {
                claim.life = Life::Lease {
                    ttl_ms: TTL_MS_MAX + 1,
                }
            }
            2 => claim.wait_ms = WAIT_MS_MAX + 1,
            3 => claim.parts = permits(0, 3),
            4 => claim.parts = permits(4, 3),
            5 => claim.parts = permits(1, PERMITS_MAX + 1),
            6 => claim.reentrant = true,
            7 => claim.holder = Bytes::from(vec![b'h'; 129]),
            8 => {
                claim.life = Life::Session;
                return self.from(&Who::Nobody, zone_of(0), Operation::Acquire(claim));
            }
            _ => {
                let capacity = 0;
                return self.from(who, zone_of(0), Operation::Resize { key, capacity });
            }
        }
        self.from(who, zone_of(0), Operation::Acquire(claim))
    }

    /// A command of this caller. Sessions ask in their own zone.
    fn from(&mut self, who: &Who, zone: ZoneId, operation: Operation) -> Command {
        let client = self.client(who, zone);
        command(zone, client, operation)
    }

    fn client(&mut self, who: &Who, zone: ZoneId) -> Client {
        match who {
            Who::Nobody => Client::None,
            Who::Named => {
                self.names += 1;
                Client::Key(RequestId::new(self.names))
            }
            Who::Session { nth, number } => self.number(*nth, number, zone),
        }
    }

    fn number(&mut self, nth: u8, number: &Number, zone: ZoneId) -> Client {
        let Some(caller) = self.caller(nth, |caller| caller.zone == zone) else {
            return Client::None;
        };
        let caller = &mut self.callers[caller];
        let seq = match number {
            Number::Beyond => caller.done + self.window + 1,
            Number::Confirmed if caller.done > 0 => caller.done,
            Number::Confirmed => caller.next,
            Number::Next { unconfirmed } => {
                let seq = caller.next;
                caller.next += 1;
                let done = (seq - 1).saturating_sub(u64::from(*unconfirmed));
                caller.done = caller.done.max(done);
                seq
            }
        };
        Client::Session {
            id: caller.id,
            seq: RequestSeq::new(seq),
            done_through: RequestSeq::new(caller.done),
        }
    }

    /// One of the last grants, an old one, or one that never was; by one of its keys or by another.
    fn grant(&self, nth: u8, key: u8) -> Option<(ZoneId, Fence, Key)> {
        let count = self.grants.len();
        let back = match nth {
            0..=5 => usize::from(nth),
            _ => count / 2,
        };
        let (zone, fence, parts) = self
            .grants
            .get(count.checked_sub(1 + back % count.max(1))?)?;
        let never = Fence::new(fence.get() + (1 << 40));
        let fence = if nth == 7 { never } else { *fence };
        let key = match key {
            7 => self.known.keys[0].clone(),
            _ => parts
                .iter()
                .nth(usize::from(key) % parts.count())?
                .key
                .clone(),
        };
        Some((*zone, fence, key))
    }

    fn ticket(&self, nth: u8) -> Option<(ZoneId, TicketId)> {
        self.known
            .tickets
            .iter()
            .rev()
            .nth(usize::from(nth))
            .copied()
    }

    /// One of those that live, mostly, or else the last one that died.
    fn caller(&self, nth: u8, which: impl Fn(&Caller) -> bool) -> Option<usize> {
        let all = self.callers.iter().enumerate().rev();
        let these: Vec<(usize, &Caller)> = all.filter(|(_, caller)| which(caller)).collect();
        let living = these.iter().filter(|(_, caller)| caller.lives).count();
        let at = match nth {
            0..=6 => usize::from(nth).checked_rem(living)?,
            _ => living,
        };
        Some(these.get(at)?.0)
    }

    fn session(&self, nth: u8) -> Option<(ZoneId, SessionId)> {
        let caller = &self.callers[self.caller(nth, |_| true)?];
        Some((caller.zone, caller.id))
    }

    fn nth_sent(&self, nth: u8) -> Option<&Command> {
        self.sent.iter().rev().nth(usize::from(nth))
    }
}

/// A command that no server has taken yet.
const fn command(zone: ZoneId, client: Client, operation: Operation) -> Command {
    let via = Via {
        node: NodeId::new(1),
        boot: Boot::new(1),
        seq: 0,
    };
    Command {
        zone,
        principal: Bytes::new(),
        client,
        via,
        operation,
    }
}

/// Mostly the first zone; rarely one that there is no room for.
const fn zone_of(drawn: u8) -> ZoneId {
    ZoneId::new(match drawn {
        0..=29 => 0,
        30..=38 => 1,
        _ => 2,
    })
}

const fn ttl_of(drawn: u8) -> u64 {
    [500, 1200, 3000, 10_000, 30_000, 30_000][drawn as usize % 6]
}

/// Mostly exclusive and shared, one key by permits, and sometimes anything.
const fn mode_of(key: u8, drawn: u8) -> Mode {
    match (key, drawn) {
        (_, 15) => Mode::Permits { n: 1, capacity: 3 },
        (_, 14) => Mode::ProtectedWrite,
        (2, 13) => Mode::Shared,
        (2, 12) => Mode::Permits { n: 1, capacity: 4 },
        (2, 0..=11) => Mode::Permits {
            n: 1 + drawn as u32 % 3,
            capacity: 3,
        },
        (3, 13) => Mode::Null,
        (3, 12) => Mode::ConcurrentRead,
        (3, 11) => Mode::ConcurrentWrite,
        (3, 9 | 10) => Mode::ProtectedWrite,
        (_, 0..=5) => Mode::Exclusive,
        _ => Mode::Shared,
    }
}
