//! The machine again, as simply as it can be written: lists that are searched from end to end. The
//! tests compare every answer, every event and all that can be seen.

use super::*;
use crate::limits::{BLOCKERS_SHOWN_MAX, DEDUPE_MS, GRACE_INTERVAL};
use alloc::collections::BTreeSet;
use alloc::vec;

#[derive(Clone, Debug)]
struct Hold {
    zone: ZoneId,
    key: Key,
    mode: Mode,
    life: Life,
    fence: Fence,
    session: Option<SessionId>,
    holder: Bytes,
    since: Stamp,
    deadline: Stamp,
    request: Option<RequestId>,
}

#[derive(Clone, Debug)]
struct Wait {
    zone: ZoneId,
    key: Key,
    mode: Mode,
    life: Life,
    id: TicketId,
    client: Client,
    holder: Bytes,
    since: Stamp,
    deadline: Stamp,
    offered: bool,
    place: u64,
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
    /// How many came to each line so far.
    places: BTreeMap<(ZoneId, Key), u64>,
    to_do: Vec<ToDo>,
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
                ToDo::Line(zone, key) => self.serve(zone, &key, false),
                ToDo::Session(id) => self.strip(id),
            }
        }
        while self.budget > 0
            && let Some((end, kind, _, id, zone)) = self.due()
            && end <= self.now
        {
            self.budget -= 1;
            match kind {
                0 => self.over(SessionId::new(id), false),
                1 => {
                    let fence = Fence::new(id as u64);
                    let at = self
                        .holds
                        .iter()
                        .position(|h| h.fence == fence && h.zone == zone);
                    self.lose(at.unwrap(), true);
                }
                2 => self.fail(TicketId::new(id as u64), true),
                _ => self.keyed.retain(|k| (k.zone, k.id.get()) != (zone, id)),
            }
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
        alive && wait.deadline > self.now
    }

    fn holders(&self, zone: ZoneId, key: &Key) -> Vec<Hold> {
        self.holds
            .iter()
            .filter(|h| h.zone == zone && h.key == *key)
            .cloned()
            .collect()
    }

    fn line(&self, zone: ZoneId, key: &Key) -> Vec<Wait> {
        self.waits
            .iter()
            .filter(|w| w.zone == zone && w.key == *key)
            .cloned()
            .collect()
    }

    fn fits(&self, zone: ZoneId, key: &Key, mode: Mode) -> bool {
        let shared = |other: Mode| mode == Shared && other == Shared;
        self.holders(zone, key).iter().all(|h| shared(h.mode))
            && self
                .line(zone, key)
                .iter()
                .all(|w| !w.offered || shared(w.mode))
    }

    fn blockers(&self, zone: ZoneId, key: &Key) -> Vec<Blocker> {
        let holders = self.holders(zone, key);
        let alive = holders
            .iter()
            .filter(|h| self.holds_on(h))
            .take(BLOCKERS_SHOWN_MAX);
        alive
            .map(|h| Blocker {
                holder: self.name(&h.holder, h.session),
                fence: h.fence,
                mode: h.mode,
            })
            .collect()
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
        wait.place - self.line(wait.zone, &wait.key)[0].place + 1
    }

    fn describe(&self, hold: &Hold, replayed: bool) -> Answer {
        Answer::Granted(Granted {
            zone: hold.zone,
            key: hold.key.clone(),
            mode: hold.mode,
            fence: hold.fence,
            life: hold.life,
            session: hold.session,
            holder: self.name(&hold.holder, hold.session),
            remaining_ms: self.hold_end(hold).map(|end| left(end, self.now)),
            replayed,
        })
    }

    fn grant(&mut self, claim: &Wait) -> Hold {
        let fence = self.fences.get_mut(&claim.zone).unwrap();
        *fence = fence.next();
        let hold = Hold {
            zone: claim.zone,
            key: claim.key.clone(),
            mode: claim.mode,
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
        };
        self.holds.push(hold.clone());
        hold
    }

    /// The end of the grant at `at`, which its holder did not ask for if `lost`.
    fn lose(&mut self, at: usize, wake: bool) {
        let hold = self.holds[at].clone();
        let closed = hold.session.is_some_and(|id| {
            self.sessions
                .iter()
                .any(|s| s.id == id && s.over == Some(true))
        });
        if !closed {
            self.events.push(Event::Lost {
                zone: hold.zone,
                key: hold.key.clone(),
                fence: hold.fence,
                session: hold.session,
            });
        }
        self.end(at, wake);
    }

    fn end(&mut self, at: usize, wake: bool) {
        let hold = self.holds.remove(at);
        if let Some(id) = hold.request {
            self.forget_later(hold.zone, id);
        }
        if wake {
            self.serve(hold.zone, &hold.key, false);
        }
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

    fn serve(&mut self, zone: ZoneId, key: &Key, dead_are_free: bool) {
        loop {
            let Some(front) = self.line(zone, key).into_iter().find(|w| !w.offered) else {
                return;
            };
            let alive = self.waits_on(&front);
            if alive && !self.fits(zone, key, front.mode) {
                return;
            }
            if alive || !dead_are_free {
                if self.budget == 0 {
                    let line = ToDo::Line(zone, key.clone());
                    if !self.to_do.contains(&line) {
                        self.to_do.push(line);
                    }
                    return;
                }
                self.budget -= 1;
            }
            if !alive {
                self.fail(front.id, false);
            } else if matches!(front.client, Client::Session { .. }) {
                self.grant_ticket(front.id);
            } else {
                let deadline = self.now.plus(ms(OFFER_MS));
                let wait = self.waits.iter_mut().find(|w| w.id == front.id).unwrap();
                (wait.offered, wait.deadline) = (true, deadline);
                self.events.push(Event::Offered { ticket: front.id });
            }
        }
    }

    fn grant_ticket(&mut self, id: TicketId) -> Answer {
        let at = self.waits.iter().position(|w| w.id == id).unwrap();
        let wait = self.waits.remove(at);
        let hold = self.grant(&wait);
        self.conclude(&wait, Seen::Grant(hold.fence));
        let answer = self.describe(&hold, false);
        self.events.push(Event::Ended {
            ticket: id,
            answer: answer.clone(),
        });
        answer
    }

    fn fail(&mut self, id: TicketId, wake: bool) {
        let wait = self.waits.iter().find(|w| w.id == id).unwrap().clone();
        let dead = match wait.client {
            Client::Session { id, .. } if self.session(id).is_none() => {
                Some(self.sessions.iter().find(|s| s.id == id).unwrap().over)
            }
            _ => None,
        };
        let refusal = match dead {
            Some(Some(true)) => Refusal::Cancelled,
            Some(_) => Refusal::SessionGone,
            None if wait.offered => Refusal::Cancelled,
            None => Refusal::WaitTimeout {
                by: self.blockers(wait.zone, &wait.key),
            },
        };
        self.end_ticket(&wait, refusal);
        if wake {
            self.serve(wait.zone, &wait.key, false);
        }
    }

    fn end_ticket(&mut self, wait: &Wait, refusal: Refusal) {
        self.waits.retain(|w| w.id != wait.id);
        let answer = Answer::Refused(refusal);
        self.conclude(wait, Seen::Said(answer.clone()));
        if let Client::Key(id) = wait.client {
            self.forget_later(wait.zone, id);
        }
        self.events.push(Event::Ended {
            ticket: wait.id,
            answer,
        });
    }

    fn conclude(&mut self, wait: &Wait, seen: Seen) {
        match wait.client {
            Client::None => {}
            Client::Key(id) => {
                let keyed = self
                    .keyed
                    .iter_mut()
                    .find(|k| k.zone == wait.zone && k.id == id);
                keyed.unwrap().seen = seen;
            }
            Client::Session { id, seq, .. } => {
                let session = self.sessions.iter_mut().find(|s| s.id == id).unwrap();
                if let Some(found) = session.seen.get_mut(&seq.get()) {
                    found.1 = seen;
                }
            }
        }
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
            self.budget -= 1;
            match (hold, wait) {
                (Some(at), _) => self.lose(at, true),
                (None, Some(ticket)) => self.fail(ticket, true),
                (None, None) => unreachable!(),
            }
        }
    }

    fn renew(&mut self, command: &Command, clock: Stamp) -> Answer {
        match &command.operation {
            Operation::KeepAlive { session } => {
                if !self.session_in(command.zone, *session) {
                    return Answer::Refused(Refusal::SessionGone);
                }
                let found = self.sessions.iter_mut().find(|s| s.id == *session).unwrap();
                found.deadline = clock.plus(ms(found.ttl_ms));
                Answer::KeptAlive {
                    session: *session,
                    ttl_ms: found.ttl_ms,
                }
            }
            Operation::Renew { key, fence, ttl_ms } => {
                let Some(at) = self.find(command.zone, key, *fence) else {
                    return Answer::Refused(Refusal::NotHeld);
                };
                let Life::Lease { ttl_ms: old } = self.holds[at].life else {
                    return Answer::Refused(Refusal::NotLeased);
                };
                let ttl_ms = ttl_ms.unwrap_or(old);
                self.holds[at].life = Life::Lease { ttl_ms };
                self.holds[at].deadline = clock.plus(ms(ttl_ms));
                Answer::Renewed {
                    fence: *fence,
                    ttl_ms,
                }
            }
            _ => unreachable!(),
        }
    }

    /// The grant, if it is alive.
    fn find(&self, zone: ZoneId, key: &Key, fence: Fence) -> Option<usize> {
        self.holds
            .iter()
            .position(|h| h.zone == zone && h.key == *key && h.fence == fence && self.holds_on(h))
    }

    fn execute(&mut self, place: u64, command: &Command) -> Answer {
        let zone = command.zone;
        if !self.fences.contains_key(&zone) {
            if self.fences.len() >= self.limits.zones {
                return Answer::Refused(Refusal::Quota {
                    what: answer::Table::Zones,
                });
            }
            self.fences.insert(zone, self.floor);
        }
        if matches!(command.operation, Operation::Confirm { .. }) {
            return self.operate(place, command).0;
        }
        match command.client {
            Client::None => self.operate(place, command).0,
            Client::Key(id) => self.execute_keyed(place, command, id),
            Client::Session {
                id,
                seq,
                done_through,
            } => self.execute_numbered(place, command, id, seq.get(), done_through.get()),
        }
    }

    fn execute_keyed(&mut self, place: u64, command: &Command, id: RequestId) -> Answer {
        let zone = command.zone;
        let now = self.now;
        self.keyed
            .retain(|k| (k.zone, k.id) != (zone, id) || k.forget_at > now);
        if let Some(found) = self
            .keyed
            .iter()
            .find(|k| k.zone == zone && k.id == id)
            .cloned()
        {
            if found.operation != same(&command.operation) {
                return Answer::Refused(Refusal::RequestIdReused);
            }
            return self.replay(&found.seen, command);
        }
        let waiting = |k: &&Keyed| k.zone == zone && k.forget_at < Stamp::MAX;
        if self.keyed.iter().filter(waiting).count() >= self.limits.answers {
            return Answer::Refused(Refusal::Quota {
                what: answer::Table::Answers,
            });
        }
        let (answer, seen) = self.operate(place, command);
        let over = matches!(seen, Seen::Said(_));
        let operation = same(&command.operation);
        self.keyed.push(Keyed {
            zone,
            id,
            operation,
            seen,
            forget_at: Stamp::MAX,
        });
        if over {
            self.forget_later(zone, id);
        }
        answer
    }

    fn execute_numbered(
        &mut self,
        place: u64,
        command: &Command,
        id: SessionId,
        seq: u64,
        done_through: u64,
    ) -> Answer {
        if !self.session_in(command.zone, id) {
            return Answer::Refused(Refusal::SessionGone);
        }
        let session = self.sessions.iter_mut().find(|s| s.id == id).unwrap();
        session.done_through = session.done_through.max(done_through);
        let done_through = session.done_through;
        session.seen.retain(|seq, _| *seq > done_through);
        if seq <= done_through {
            return Answer::Refused(Refusal::Forgotten);
        }
        if seq > done_through + self.limits.session_window {
            return Answer::Refused(Refusal::SessionBusy);
        }
        if let Some((operation, seen)) = session.seen.get(&seq).cloned() {
            if operation != same(&command.operation) {
                return Answer::Refused(Refusal::RequestIdReused);
            }
            return self.replay(&seen, command);
        }
        let (answer, seen) = self.operate(place, command);
        if self.session(id).is_some() {
            let session = self.sessions.iter_mut().find(|s| s.id == id).unwrap();
            session.seen.insert(seq, (same(&command.operation), seen));
        }
        answer
    }

    fn replay(&self, seen: &Seen, command: &Command) -> Answer {
        match seen {
            Seen::Said(answer) => answer.clone(),
            Seen::Grant(fence) => {
                let Operation::Acquire(acquire) = &command.operation else {
                    unreachable!()
                };
                match self.find(command.zone, &acquire.key, *fence) {
                    Some(at) => self.describe(&self.holds[at], true),
                    None => Answer::Refused(Refusal::NotHeld),
                }
            }
            Seen::Ticket(id) => {
                let wait = self.waits.iter().find(|w| w.id == *id).unwrap();
                if !self.waits_on(wait) {
                    return Answer::Refused(Refusal::Cancelled);
                }
                if wait.offered {
                    return Answer::Offered { ticket: *id };
                }
                Answer::Queued {
                    ticket: *id,
                    position: self.position(wait),
                }
            }
        }
    }

    fn operate(&mut self, place: u64, command: &Command) -> (Answer, Seen) {
        let zone = command.zone;
        let answer = match &command.operation {
            Operation::Acquire(acquire) => return self.acquire(place, command, acquire),
            Operation::Release { key, fence } => self.release(zone, key, *fence),
            Operation::Cancel { ticket } => self.cancel(command, *ticket),
            Operation::Confirm { ticket } => self.confirm(zone, *ticket),
            Operation::OpenSession { ttl_ms, identifier } => {
                self.open(place, zone, *ttl_ms, identifier)
            }
            Operation::CloseSession { session } => {
                if self.session_in(zone, *session) {
                    self.budget = self.budget.max(1);
                    self.over(*session, true);
                    Answer::SessionClosed { session: *session }
                } else {
                    Answer::Refused(Refusal::SessionGone)
                }
            }
            Operation::Renew { .. } | Operation::KeepAlive { .. } => unreachable!(),
        };
        (answer.clone(), Seen::Said(answer))
    }

    /// Those who are dead and stand in the way go first.
    fn settle(&mut self, zone: ZoneId, key: &Key) {
        while let Some(hold) = self.holders(zone, key).first()
            && !self.holds_on(hold)
        {
            let at = self
                .holds
                .iter()
                .position(|h| h.fence == hold.fence && h.zone == zone);
            self.lose(at.unwrap(), false);
        }
        if !self.line(zone, key).is_empty() || self.to_do.contains(&ToDo::Line(zone, key.clone())) {
            self.budget = self.budget.max(1);
        }
        while let Some(first) = self.line(zone, key).first()
            && first.offered
            && !self.waits_on(first)
        {
            self.fail(first.id, false);
        }
        self.serve(zone, key, true);
    }

    fn acquire(&mut self, place: u64, command: &Command, acquire: &Acquire) -> (Answer, Seen) {
        let (zone, key) = (command.zone, &acquire.key);
        self.settle(zone, key);
        let nobody_waits = self.line(zone, key).iter().all(|w| w.offered);
        let free = nobody_waits && self.fits(zone, key, acquire.mode);
        let refused = |refusal: Refusal| {
            let answer = Answer::Refused(refusal);
            (answer.clone(), Seen::Said(answer))
        };
        if !free && acquire.wait_ms == 0 {
            return refused(Refusal::Held {
                by: self.blockers(zone, key),
            });
        }
        let grants = self.holds.iter().filter(|h| h.zone == zone).count();
        let tickets = self.waits.iter().filter(|w| w.zone == zone).count();
        if grants + tickets >= self.limits.locks {
            return refused(Refusal::Quota {
                what: answer::Table::Locks,
            });
        }
        if !free && tickets >= self.limits.tickets {
            return refused(Refusal::Quota {
                what: answer::Table::Tickets,
            });
        }
        let named = match command.client {
            Client::Session { id, .. } => !self.session(id).unwrap().identifier.is_empty(),
            _ => false,
        };
        let nameless = acquire.holder.is_empty() && !named;
        let claim = Wait {
            zone,
            key: key.clone(),
            mode: acquire.mode,
            life: acquire.life,
            id: TicketId::new(place),
            client: command.client,
            holder: if nameless {
                command.principal.clone()
            } else {
                acquire.holder.clone()
            },
            since: self.now,
            deadline: self.now.plus(ms(acquire.wait_ms)),
            offered: false,
            place: self
                .places
                .get(&(zone, key.clone()))
                .copied()
                .unwrap_or_default(),
        };
        if free {
            let hold = self.grant(&claim);
            return (self.describe(&hold, false), Seen::Grant(hold.fence));
        }
        self.waits.push(claim.clone());
        *self.places.entry((zone, key.clone())).or_default() += 1;
        let position = self.position(&claim);
        (
            Answer::Queued {
                ticket: claim.id,
                position,
            },
            Seen::Ticket(claim.id),
        )
    }

    fn release(&mut self, zone: ZoneId, key: &Key, fence: Fence) -> Answer {
        if fence > self.fences[&zone] {
            return Answer::Refused(Refusal::NotHeld);
        }
        let alive = self.find(zone, key, fence).is_some();
        let at = self
            .holds
            .iter()
            .position(|h| h.zone == zone && h.key == *key && h.fence == fence);
        if let Some(at) = at {
            self.budget = self.budget.max(1);
            if alive {
                self.end(at, true)
            } else {
                self.lose(at, true)
            }
        }
        Answer::Released {
            fence,
            already: !alive,
        }
    }

    fn cancel(&mut self, command: &Command, id: TicketId) -> Answer {
        let found = self
            .waits
            .iter()
            .find(|w| w.id == id && w.zone == command.zone)
            .cloned();
        let Some(wait) = found.filter(|w| self.waits_on(w)) else {
            return Answer::Refused(Refusal::NoSuchTicket);
        };
        if let Client::Session { id: owner, .. } = wait.client
            && !matches!(command.client, Client::Session { id, .. } if id == owner)
        {
            return Answer::Refused(Refusal::NoSuchTicket);
        }
        self.end_ticket(&wait, Refusal::Cancelled);
        self.budget = self.budget.max(1);
        self.serve(wait.zone, &wait.key, false);
        Answer::Cancelled { ticket: id }
    }

    fn confirm(&mut self, zone: ZoneId, id: TicketId) -> Answer {
        let found = self
            .waits
            .iter()
            .find(|w| w.id == id && w.zone == zone)
            .cloned();
        let Some(wait) = found.filter(|w| self.waits_on(w)) else {
            return Answer::Refused(Refusal::NoSuchTicket);
        };
        if wait.offered {
            return self.grant_ticket(id);
        }
        Answer::Queued {
            ticket: id,
            position: self.position(&wait),
        }
    }

    fn open(&mut self, place: u64, zone: ZoneId, ttl_ms: u64, identifier: &Bytes) -> Answer {
        let namesake = self.sessions.iter().find(|s| {
            s.over.is_none()
                && s.zone == zone
                && !identifier.is_empty()
                && s.identifier == identifier
        });
        if let Some(id) = namesake.map(|s| s.id) {
            if self.session(id).is_some() {
                return Answer::Refused(Refusal::IdentifierInUse);
            }
            self.over(id, false);
        }
        let count = self
            .sessions
            .iter()
            .filter(|s| s.zone == zone && s.over.is_none())
            .count();
        if count >= self.limits.sessions {
            return Answer::Refused(Refusal::Quota {
                what: answer::Table::Sessions,
            });
        }
        let id = SessionId::new(u128::from(place));
        self.sessions.push(Member {
            id,
            zone,
            ttl_ms,
            deadline: self.now.plus(ms(ttl_ms)),
            done_through: 0,
            seen: BTreeMap::new(),
            identifier: identifier.clone(),
            over: None,
        });
        Answer::SessionOpened {
            session: id,
            ttl_ms,
        }
    }

    /// What anybody would see of a lock.
    pub(super) fn inspect(&self, zone: ZoneId, key: &Key) -> query::LockView {
        let holders = self.holders(zone, key);
        let line = self.line(zone, key);
        let holder = |h: &Hold| query::HolderView {
            holder: self.name(&h.holder, h.session),
            mode: h.mode,
            fence: h.fence,
            session: h.session,
            held_ms: left(self.now, h.since),
            remaining_ms: self.hold_end(h).map(|end| left(end, self.now)),
        };
        let waiter = |w: &Wait| query::WaiterView {
            holder: match w.client {
                Client::Session { id, .. } => self.name(&w.holder, Some(id)),
                _ => w.holder.clone(),
            },
            mode: w.mode,
            ticket: w.id,
            waiting_ms: left(self.now, w.since),
        };
        query::LockView {
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
