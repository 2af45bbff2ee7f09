//! The machine again, as simply as it can be written: lists that are searched from end to end. The
//! tests compare every answer, every event and all that can be seen.

use super::*;
use crate::limits::{BLOCKERS_SHOWN_MAX, DEDUPE_MS, GRACE_INTERVAL};
use alloc::collections::BTreeSet;
use alloc::vec;

mod commands;
mod convert;
mod deadlock;
mod force;
mod line;
mod reenter;
mod share;

#[derive(Clone, Debug)]
struct Hold {
    zone: ZoneId,
    parts: Parts,
    life: Life,
    fence: Fence,
    session: Option<SessionId>,
    holder: Bytes,
    since: Stamp,
    deadline: Stamp,
    request: Option<RequestId>,
    /// How often it was entered; zero: it is not re-entrant.
    entered: u32,
}

#[derive(Clone, Debug)]
struct Wait {
    zone: ZoneId,
    parts: Parts,
    /// Its number in the line of each.
    places: Vec<u64>,
    life: Life,
    id: TicketId,
    client: Client,
    holder: Bytes,
    since: Stamp,
    deadline: Stamp,
    offered: bool,
    reentrant: bool,
    /// The grant that it converts: it stands before those who convert none, with numbers of their own.
    converts: Option<Fence>,
}

#[derive(Clone, Debug)]
enum Seen {
    Grant(Fence),
    Ticket(TicketId),
    Said(Answer),
}

#[derive(Clone, Debug)]
struct Member {
    id: SessionId,
    zone: ZoneId,
    ttl_ms: u64,
    deadline: Stamp,
    done_through: u64,
    seen: BTreeMap<u64, (Operation, Seen)>,
    identifier: Bytes,
    taken: Vec<Fence>,
    threads: bool,
    over: Option<bool>, // true if closed by its client
}

#[derive(Clone, Debug)]
struct Keyed {
    zone: ZoneId,
    id: RequestId,
    operation: Operation,
    seen: Seen,
    forget_at: Stamp,
}

#[derive(Clone, Debug, PartialEq)]
enum ToDo {
    Line(ZoneId, Key),
    Session(SessionId),
}

pub(super) struct Model {
    limits: Limits,
    pub(super) now: Stamp,
    grace: Option<(Stamp, Stamp, Stamp)>,
    floor: Fence,
    fences: BTreeMap<ZoneId, Fence>,
    vias: BTreeMap<NodeId, (Boot, BTreeSet<u64>)>,
    holds: Vec<Hold>,
    waits: Vec<Wait>,
    sessions: Vec<Member>,
    keyed: Vec<Keyed>,
    /// How many came to each line so far: who convert, and the others.
    places: BTreeMap<(ZoneId, Key, bool), u64>,
    to_do: Vec<ToDo>,
    /// Of locks in use by permits; what is left of others says nothing.
    capacities: BTreeMap<(ZoneId, Key), u32>,
    woken: Vec<(ZoneId, Key)>,
    budget: usize,
    events: Vec<Event>,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn left(end: Stamp, now: Stamp) -> u64 {
    end.since(now).as_millis() as u64
}

/// Two requests are the same if they differ in nothing but how long they wait.
fn same(operation: &Operation) -> Operation {
    let mut operation = operation.clone();
    if let Operation::Acquire(acquire) = &mut operation {
        acquire.wait_ms = 0;
    }
    if let Operation::Convert(convert) = &mut operation {
        convert.wait_ms = 0;
    }
    operation
}

impl Model {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            now: Stamp::ZERO,
            grace: None,
            floor: Fence::default(),
            fences: BTreeMap::new(),
            vias: BTreeMap::new(),
            holds: vec![],
            waits: vec![],
            sessions: vec![],
            keyed: vec![],
            places: BTreeMap::new(),
            to_do: vec![],
            capacities: BTreeMap::new(),
            woken: vec![],
            budget: 0,
            events: vec![],
        }
    }

    pub(super) fn start(&mut self, stamp: Stamp, floor: Fence) -> Vec<Event> {
        let clock = self.now.max(stamp);
        if self
            .grace
            .is_none_or(|(_, _, given)| clock.since(given) >= GRACE_INTERVAL)
        {
            let from = match self.grace {
                Some((from, until, _)) if self.now < until => from,
                _ => self.now,
            };
            self.grace = Some((from, clock.plus(GRACE), clock));
        }
        if self.floor == Fence::default() {
            self.floor = floor;
        }
        self.tick(clock);
        core::mem::take(&mut self.events)
    }

    pub(super) fn batch(&mut self, slot: Slot, stamp: Stamp, commands: &[Command]) -> Vec<Event> {
        let clock = self.now.max(stamp);
        let mut later = vec![];
        for (number, command) in commands.iter().enumerate() {
            let (boot, seen) = self.vias.entry(command.via.node).or_default();
            if command.via.boot > *boot {
                (*boot, *seen) = (command.via.boot, BTreeSet::new());
            }
            if command.via.boot < *boot || !seen.insert(command.via.seq) {
                continue;
            }
            let answer = match &command.operation {
                Operation::Renew { .. } | Operation::KeepAlive { .. } => self.renew(command, clock),
                _ => {
                    later.push((slot.get() << 12 | number as u64, command));
                    continue;
                }
            };
            self.events.push(Event::Answered {
                via: command.via,
                answer,
            });
        }
        self.tick(clock);
        for (place, command) in later {
            let answer = self.execute(place, command);
            self.events.push(Event::Answered {
                via: command.via,
                answer,
            });
        }
        core::mem::take(&mut self.events)
    }

    pub(super) fn next_deadline(&self) -> Option<Stamp> {
        if !self.to_do.is_empty() {
            return Some(self.now);
        }
        self.due().map(|(end, ..)| end.max(self.now))
    }

    fn tick(&mut self, clock: Stamp) {
        self.now = clock;
        self.budget = self.limits.expiry_batch;
        while self.budget > 0 && !self.to_do.is_empty() {
            match self.to_do.remove(0) {
                ToDo::Line(zone, key) => {
                    self.woken.push((zone, key));
                    self.wake(false);
                }
                ToDo::Session(id) => self.strip(id),
            }
        }
        while self.budget > 0
            && let Some((end, kind, _, id, zone)) = self.due()
            && end <= self.now
        {
            match kind {
                0 => {
                    self.spend(1);
                    self.over(SessionId::new(id), false);
                }
                1 => {
                    let fence = Fence::new(id as u64);
                    let at = self
                        .holds
                        .iter()
                        .position(|h| h.fence == fence && h.zone == zone);
                    self.spend(self.holds[at.unwrap()].parts.count());
                    self.lose(at.unwrap());
                }
                2 => {
                    let ticket = TicketId::new(id as u64);
                    self.spend(self.wait(ticket).parts.count());
                    self.fail(ticket);
                }
                _ => {
                    self.spend(1);
                    self.keyed.retain(|k| (k.zone, k.id.get()) != (zone, id));
                }
            }
            self.wake(false);
        }
    }

    /// What is due first: when, of which kind, its own deadline, and its name.
    fn due(&self) -> Option<(Stamp, u8, Stamp, u128, ZoneId)> {
        let none = ZoneId::default();
        let mut all = vec![];
        for s in self.sessions.iter().filter(|s| s.over.is_none()) {
            all.push((self.effective(s.deadline), 0, s.deadline, s.id.get(), none));
        }
        for h in self
            .holds
            .iter()
            .filter(|h| matches!(h.life, Life::Lease { .. }))
        {
            let end = self.effective(h.deadline);
            all.push((end, 1, h.deadline, u128::from(h.fence.get()), h.zone));
        }
        for w in &self.waits {
            all.push((w.deadline, 2, w.deadline, u128::from(w.id.get()), none));
        }
        for k in self.keyed.iter().filter(|k| k.forget_at < Stamp::MAX) {
            // Answers are in the order of their zones first.
            all.push((k.forget_at, 3, k.forget_at, k.id.get(), k.zone));
        }
        all.into_iter()
            .min_by_key(|(end, kind, deadline, id, zone)| {
                let (first, last) = if *kind == 3 {
                    (*zone, none)
                } else {
                    (none, *zone)
                };
                (*end, *kind, *deadline, first, *id, last)
            })
    }

    fn effective(&self, deadline: Stamp) -> Stamp {
        match self.grace {
            Some((from, until, _)) if deadline > from => deadline.max(until),
            _ => deadline,
        }
    }

    fn session(&self, id: SessionId) -> Option<&Member> {
        let session = self.sessions.iter().find(|s| s.id == id)?;
        let alive = session.over.is_none() && self.effective(session.deadline) > self.now;
        alive.then_some(session)
    }

    fn session_in(&self, zone: ZoneId, id: SessionId) -> bool {
        self.session(id).is_some_and(|s| s.zone == zone)
    }

    fn hold_end(&self, hold: &Hold) -> Option<Stamp> {
        match (hold.life, hold.session) {
            (Life::Lease { .. }, _) => Some(self.effective(hold.deadline)),
            (Life::Session, Some(id)) => {
                let session = self.sessions.iter().find(|s| s.id == id).unwrap();
                Some(self.effective(session.deadline))
            }
            _ => None,
        }
    }

    fn holds_on(&self, hold: &Hold) -> bool {
        match hold.session {
            Some(id) => self.session(id).is_some(),
            None => self.hold_end(hold).is_none_or(|end| end > self.now),
        }
    }

    fn waits_on(&self, wait: &Wait) -> bool {
        let alive = match wait.client {
            Client::Session { id, .. } => self.session(id).is_some(),
            _ => true,
        };
        alive && wait.deadline > self.now && self.converts_on(wait)
    }

    fn holders(&self, zone: ZoneId, key: &Key) -> Vec<Hold> {
        self.holds
            .iter()
            .filter(|h| h.zone == zone && h.parts.of(key).is_some())
            .cloned()
            .collect()
    }

    /// Who converts stands before the others.
    fn line(&self, zone: ZoneId, key: &Key) -> Vec<Wait> {
        let mut line = self.queue(zone, key, true);
        line.extend(self.queue(zone, key, false));
        line
    }

    fn queue(&self, zone: ZoneId, key: &Key, converts: bool) -> Vec<Wait> {
        let here = |w: &&Wait| w.zone == zone && w.parts.of(key).is_some();
        let all = self.waits.iter().filter(here);
        all.filter(|w| w.converts.is_some() == converts)
            .cloned()
            .collect()
    }

    /// Whether something is due that was not done yet.
    fn is_behind(&self) -> bool {
        let due = self.due().is_some_and(|(end, ..)| end <= self.now);
        due || !self.to_do.is_empty()
    }

    /// Whether nobody waits before it and it fits: a newcomer, or the ticket.
    fn is_first(&self, zone: ZoneId, part: &Part, ticket: Option<TicketId>) -> bool {
        let front = self.line(zone, &part.key).into_iter().find(|w| !w.offered);
        front.map(|w| w.id) == ticket && self.fits(zone, &part.key, part.mode)
    }

    fn wait(&self, id: TicketId) -> Wait {
        self.waits.iter().find(|w| w.id == id).unwrap().clone()
    }

    fn spend(&mut self, keys: usize) {
        self.budget = self.budget.saturating_sub(keys);
    }

    fn stir(&mut self, zone: ZoneId, parts: &Parts) {
        let keys = parts.iter().map(|part| (zone, part.key.clone()));
        self.woken.extend(keys);
    }

    fn name(&self, holder: &Bytes, session: Option<SessionId>) -> Bytes {
        match session {
            Some(id) if holder.is_empty() => self
                .sessions
                .iter()
                .find(|s| s.id == id)
                .unwrap()
                .identifier
                .clone(),
            _ => holder.clone(),
        }
    }

    fn position(&self, wait: &Wait) -> u64 {
        let parts = wait.parts.iter().zip(&wait.places);
        let before = parts.map(|(part, place)| {
            let (zone, converts) = (wait.zone, wait.converts.is_some());
            let first = self.queue(zone, &part.key, converts).remove(0);
            let of_first = first.parts.iter().zip(&first.places);
            let mut of_first = of_first.filter(|(other, _)| other.key == part.key);
            let before = if converts {
                0
            } else {
                self.queue(zone, &part.key, true).len() as u64
            };
            before + place - of_first.next().unwrap().1
        });
        before.sum::<u64>() + 1
    }

    fn describe(&self, hold: &Hold, replayed: bool) -> Answer {
        Answer::Granted(Granted {
            zone: hold.zone,
            parts: self.parts_now(hold.zone, &hold.parts),
            fence: hold.fence,
            life: hold.life,
            session: hold.session,
            holder: self.name(&hold.holder, hold.session),
            remaining_ms: self.hold_end(hold).map(|end| left(end, self.now)),
            replayed,
            entered: hold.entered,
        })
    }

    fn grant(&mut self, claim: &Wait) -> Hold {
        let fence = self.fences.get_mut(&claim.zone).unwrap();
        *fence = fence.next();
        let hold = Hold {
            zone: claim.zone,
            parts: claim.parts.clone(),
            life: claim.life,
            fence: *fence,
            session: match (claim.life, claim.client) {
                (Life::Session, Client::Session { id, .. }) => Some(id),
                _ => None,
            },
            holder: claim.holder.clone(),
            since: self.now,
            deadline: match claim.life {
                Life::Lease { ttl_ms } => self.now.plus(ms(ttl_ms)),
                _ => Stamp::MAX,
            },
            request: match claim.client {
                Client::Key(id) => Some(id),
                _ => None,
            },
            entered: u32::from(claim.reentrant),
        };
        self.holds.push(hold.clone());
        hold
    }

    /// The end of the grant at `at`, which its holder did not ask for.
    fn lose(&mut self, at: usize) {
        let hold = self.holds[at].clone();
        let closed = hold.session.is_some_and(|id| {
            self.sessions
                .iter()
                .any(|s| s.id == id && s.over == Some(true))
        });
        if !closed {
            self.tell_lost(&hold, Loss::Expired);
        }
        self.end(at);
    }

    fn tell_lost(&mut self, hold: &Hold, loss: Loss) {
        self.events.push(Event::Lost {
            zone: hold.zone,
            keys: hold.parts.iter().map(|part| part.key.clone()).collect(),
            fence: hold.fence,
            session: hold.session,
            loss,
        });
    }

    fn end(&mut self, at: usize) {
        let hold = self.holds[at].clone();
        self.end_conversion(&hold);
        let hold = self.holds.remove(at);
        if let Some(id) = hold.request {
            self.forget_later(hold.zone, id);
        }
        self.stir(hold.zone, &hold.parts);
    }

    fn forget_later(&mut self, zone: ZoneId, id: RequestId) {
        let end = self
            .now
            .plus(ms(DEDUPE_MS))
            .as_nanos()
            .div_ceil(1_000_000_000)
            * 1_000_000_000;
        let keyed = self
            .keyed
            .iter_mut()
            .find(|k| k.zone == zone && k.id == id)
            .unwrap();
        keyed.forget_at = Stamp::from_nanos(end);
    }

    fn over(&mut self, id: SessionId, closed: bool) {
        let session = self.sessions.iter_mut().find(|s| s.id == id).unwrap();
        session.over = Some(closed);
        session.seen.clear();
        if !closed {
            self.events.push(Event::SessionExpired { session: id });
        }
        self.strip(id);
    }

    fn strip(&mut self, id: SessionId) {
        loop {
            let hold = self.holds.iter().position(|h| h.session == Some(id));
            let wait = self
                .waits
                .iter()
                .find(|w| matches!(w.client, Client::Session { id: of, .. } if of == id));
            let wait = wait.map(|w| w.id);
            if hold.is_none() && wait.is_none() {
                return self.sessions.retain(|s| s.id != id);
            }
            if self.budget == 0 {
                return self.to_do.push(ToDo::Session(id));
            }
            match (hold, wait) {
                (Some(at), _) => {
                    self.spend(self.holds[at].parts.count());
                    self.lose(at);
                }
                (None, Some(ticket)) => {
                    self.spend(self.wait(ticket).parts.count());
                    self.fail(ticket);
                }
                (None, None) => unreachable!(),
            }
            self.wake(false);
        }
    }

    /// What anybody would see of a lock.
    pub(super) fn inspect(&self, zone: ZoneId, key: &Key) -> LockView {
        let holders = self.holders(zone, key);
        let line = self.line(zone, key);
        let holder = |h: &Hold| HolderView {
            holder: self.name(&h.holder, h.session),
            mode: self.now(zone, key, h.parts.of(key).unwrap().mode),
            fence: h.fence,
            session: h.session,
            held_ms: left(self.now, h.since),
            remaining_ms: self.hold_end(h).map(|end| left(end, self.now)),
            entered: h.entered,
        };
        let waiter = |w: &Wait| WaiterView {
            holder: match w.client {
                _ if w.converts.is_some() => {
                    let hold = self.converted_by(w).unwrap();
                    self.name(&hold.holder, hold.session)
                }
                Client::Session { id, .. } => self.name(&w.holder, Some(id)),
                _ => w.holder.clone(),
            },
            mode: self.now(zone, key, w.parts.of(key).unwrap().mode),
            ticket: w.id,
            waiting_ms: left(self.now, w.since),
        };
        LockView {
            key: key.clone(),
            holders: holders
                .iter()
                .filter(|h| self.holds_on(h))
                .map(holder)
                .collect(),
            waiters: line
                .iter()
                .filter(|w| self.waits_on(w))
                .map(waiter)
                .collect(),
            waiting: line.len() as u64,
        }
    }
}
