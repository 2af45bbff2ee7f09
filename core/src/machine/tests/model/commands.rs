//! What each command does, said simply.

use super::*;

/// Any of its keys names a claim.
fn is_it(hold: &Hold, zone: ZoneId, key: &Key, fence: Fence) -> bool {
    hold.zone == zone && hold.fence == fence && hold.parts.of(key).is_some()
}

impl Model {
    pub(super) fn renew(&mut self, command: &Command, clock: Stamp) -> Answer {
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
                    taken: found.taken.clone(),
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

    fn next_places(&self, zone: ZoneId, parts: &Parts, converts: bool) -> Vec<u64> {
        let line = |part: &Part| (zone, part.key.clone(), converts);
        let next = |part: &Part| self.places.get(&line(part)).copied();
        parts
            .iter()
            .map(|part| next(part).unwrap_or_default())
            .collect()
    }

    /// Puts a claim in its lines, with the next numbers there.
    pub(super) fn line_up(&mut self, mut wait: Wait) -> (Answer, Seen) {
        let (zone, ticket, converts) = (wait.zone, wait.id, wait.converts.is_some());
        wait.places = self.next_places(zone, &wait.parts, converts);
        for part in wait.parts.iter() {
            let line = (zone, part.key.clone(), converts);
            *self.places.entry(line).or_default() += 1;
        }
        self.waits.push(wait.clone());
        let position = self.position(&wait);
        (Answer::Queued { ticket, position }, Seen::Ticket(ticket))
    }

    /// The grant, if it is alive.
    pub(super) fn find(&self, zone: ZoneId, key: &Key, fence: Fence) -> Option<usize> {
        self.holds
            .iter()
            .position(|h| is_it(h, zone, key, fence) && self.holds_on(h))
    }

    pub(super) fn execute(&mut self, place: u64, command: &Command) -> Answer {
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
                let parts = match &command.operation {
                    Operation::Acquire(acquire) => &acquire.parts,
                    Operation::Convert(convert) => &convert.parts,
                    _ => unreachable!(),
                };
                match self.find(command.zone, &parts.first().key, *fence) {
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
            Operation::Convert(convert) => return self.convert(place, command, convert),
            Operation::Release { key, fence, all } => {
                self.release((zone, key, *fence), *all, command.client)
            }
            Operation::Cancel { ticket } => self.cancel(command, *ticket),
            Operation::Confirm { ticket } => self.confirm(zone, *ticket),
            Operation::OpenSession {
                ttl_ms,
                identifier,
                threads,
            } => self.open(place, zone, *ttl_ms, identifier, *threads),
            Operation::CloseSession { session } => {
                if self.session_in(zone, *session) {
                    self.budget = self.budget.max(1);
                    self.over(*session, true);
                    Answer::SessionClosed { session: *session }
                } else {
                    Answer::Refused(Refusal::SessionGone)
                }
            }
            Operation::Resize { key, capacity } => self.resize(zone, key, *capacity),
            Operation::Force(force) => self.force(command, force),
            // `tests/config.rs` is about it.
            Operation::Configure(_) | Operation::Renew { .. } | Operation::KeepAlive { .. } => {
                unreachable!()
            }
        };
        (answer.clone(), Seen::Said(answer))
    }

    /// Those who are dead and stand in the way go first.
    pub(super) fn settle(&mut self, zone: ZoneId, key: &Key) {
        if !self.is_behind() {
            return;
        }
        for hold in self.holders(zone, key) {
            if !self.holds_on(&hold) {
                let same = |h: &Hold| h.fence == hold.fence && h.zone == zone;
                self.lose(self.holds.iter().position(same).unwrap());
            }
        }
        if !self.line(zone, key).is_empty() || self.to_do.contains(&ToDo::Line(zone, key.clone())) {
            self.budget = self.budget.max(1);
        }
        for converts in [true, false] {
            while let Some(first) = self.queue(zone, key, converts).first()
                && first.offered
                && !self.waits_on(first)
            {
                self.fail(first.id);
            }
        }
        self.woken.push((zone, key.clone()));
        self.wake(true);
    }

    fn acquire(&mut self, place: u64, command: &Command, acquire: &Acquire) -> (Answer, Seen) {
        let (zone, parts) = (command.zone, &acquire.parts);
        for part in parts.iter() {
            self.settle(zone, &part.key);
        }
        let refused = |refusal: Refusal| {
            let answer = Answer::Refused(refusal);
            (answer.clone(), Seen::Said(answer))
        };
        if acquire.reentrant
            && let Client::Session { id, .. } = command.client
            && let Some((fence, answer)) = self.reenter(id, parts)
        {
            let said = Seen::Said(answer.clone());
            return (answer, fence.map_or(said, Seen::Grant));
        }
        if let Some(refusal) = self.otherwise(zone, parts) {
            return refused(refusal);
        }
        let used = |part: &&Part| self.is_used(zone, &part.key);
        let mut free = parts.iter().filter(used);
        let free = free.all(|part| self.is_first(zone, part, None));
        if !free && acquire.wait_ms == 0 {
            return refused(Refusal::Held {
                by: self.blockers(zone, parts, (None, None)),
            });
        }
        if let Some(what) = self.exceeded(zone, parts, free) {
            return refused(Refusal::Quota { what });
        }
        let claim = Wait {
            zone,
            parts: parts.clone(),
            places: vec![],
            life: acquire.life,
            id: TicketId::new(place),
            client: command.client,
            holder: self.holder_to_keep(command, acquire),
            since: self.now,
            deadline: self.now.plus(ms(acquire.wait_ms)),
            offered: false,
            reentrant: acquire.reentrant,
            converts: None,
        };
        if !free && self.waits_for_itself(&claim) {
            return refused(Refusal::Deadlock { by: vec![] });
        }
        for part in parts.iter() {
            if let Mode::Permits { capacity, .. } = part.mode {
                self.capacities.insert((zone, part.key.clone()), capacity);
            }
        }
        if free {
            let hold = self.grant(&claim);
            return (self.describe(&hold, false), Seen::Grant(hold.fence));
        }
        self.line_up(claim)
    }

    /// The session's identifier says it, if the claim does not.
    fn holder_to_keep(&self, command: &Command, acquire: &Acquire) -> Bytes {
        let named = match command.client {
            Client::Session { id, .. } => !self.session(id).unwrap().identifier.is_empty(),
            _ => false,
        };
        if acquire.holder.is_empty() && !named {
            return command.principal.clone();
        }
        acquire.holder.clone()
    }

    pub(super) fn exceeded(
        &self,
        zone: ZoneId,
        parts: &Parts,
        free: bool,
    ) -> Option<answer::Table> {
        let held = self.holds.iter().filter(|h| h.zone == zone);
        let held: usize = held.map(|h| h.parts.count()).sum();
        let waited = self.waits.iter().filter(|w| w.zone == zone);
        let waited: usize = waited.map(|w| w.parts.count()).sum();
        if held + waited + parts.count() > self.limits.locks {
            return Some(answer::Table::Locks);
        }
        (!free && waited + parts.count() > self.limits.tickets).then_some(answer::Table::Tickets)
    }

    /// Why the locks, as they are in use, can't be shared like this.
    pub(super) fn otherwise(&mut self, zone: ZoneId, parts: &Parts) -> Option<Refusal> {
        for part in parts.iter() {
            if !self.is_used(zone, &part.key) {
                self.capacities.remove(&(zone, part.key.clone()));
                continue;
            }
            match (self.capacity(zone, &part.key), part.mode) {
                (Some(now), Mode::Permits { capacity, .. }) if now == capacity => {}
                (Some(capacity), _) => return Some(Refusal::HasCapacity { capacity }),
                (None, Mode::Permits { .. }) => return Some(Refusal::NoPermits),
                (None, _) => {}
            }
        }
        None
    }

    fn release(
        &mut self,
        (zone, key, fence): (ZoneId, &Key, Fence),
        all: bool,
        client: Client,
    ) -> Answer {
        if fence > self.fences[&zone] {
            return Answer::Refused(Refusal::NotHeld);
        }
        let alive = self.find(zone, key, fence).is_some();
        let at = self.holds.iter().position(|h| is_it(h, zone, key, fence));
        if let Some(at) = at {
            self.budget = self.budget.max(1);
            if alive && !all && self.holds[at].entered > 1 {
                return self.count_down(at, client);
            }
            if alive {
                self.end(at)
            } else {
                self.lose(at)
            }
            self.wake(false);
        }
        Answer::Released {
            fence,
            already: !alive,
            entered: 0,
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
        self.wake(false);
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
            let answer = self.grant_ticket(id);
            self.wake(false);
            return answer;
        }
        Answer::Queued {
            ticket: id,
            position: self.position(&wait),
        }
    }

    fn resize(&mut self, zone: ZoneId, key: &Key, capacity: u32) -> Answer {
        self.settle(zone, key);
        if self.capacity(zone, key).is_none() {
            return Answer::Refused(Refusal::NoPermits);
        }
        self.capacities.insert((zone, key.clone()), capacity);
        self.budget = self.budget.max(1);
        self.woken.push((zone, key.clone()));
        self.wake(false);
        Answer::Resized { capacity }
    }

    fn open(
        &mut self,
        place: u64,
        zone: ZoneId,
        ttl_ms: u64,
        identifier: &Bytes,
        threads: bool,
    ) -> Answer {
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
            taken: vec![],
            threads,
            over: None,
        });
        Answer::SessionOpened {
            session: id,
            ttl_ms,
        }
    }
}
