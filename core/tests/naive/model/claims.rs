//! Taking locks: what a claim finds, and what it gets.

use super::seen::Seen;
use super::{Grant, MS, Nanos, Session, Ticket, Zone, compatible, covers};
use tenure_core::ids::{Fence, SessionId};
use tenure_core::machine::Limits;
use tenure_core::machine::answer::{self, Answer, Blocker, Refusal, Table};
use tenure_core::machine::command::{Acquire, Client, Life, Mode};
use tenure_core::machine::key::Key;
use tenure_core::machine::parts::{Part, Parts};

/// How a lock is in use.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Usage {
    Free,
    InModes,
    ByPermits(u32),
}

impl Zone {
    pub(super) fn acquire(
        &mut self,
        client: Client,
        claim: &Acquire,
        now: Nanos,
        limits: &Limits,
        told: Option<&Answer>,
    ) -> Answer {
        let session = session_of(client);
        if claim.reentrant
            && let Some(answer) = self.enter(session, &claim.parts, now, limits, told)
        {
            return answer;
        }
        let free = self.nobody_waits(&claim.parts) && self.fits(&claim.parts);
        let reasons = self.reasons_against(claim, free, limits, told);
        if let Some(first) = reasons.first() {
            let chosen = told.filter(|told| reasons.contains(told));
            return chosen.unwrap_or(first).clone();
        }
        self.note_capacities(&claim.parts);
        if free {
            let ticket = self.ticket(session, claim, now, told);
            return Answer::Granted(self.grant(&ticket, now, Seen::fence(told)));
        }
        let ticket = self.ticket(session, claim, now, told);
        self.tickets.push(ticket.clone());
        self.came.push((ticket.id, ticket.parts.clone()));
        Answer::Queued {
            ticket: ticket.id,
            position: self.position(&ticket, Seen::position(told)),
        }
    }

    /// All that speaks against a claim. More than one thing may; which is told is left open.
    fn reasons_against(
        &self,
        claim: &Acquire,
        free: bool,
        limits: &Limits,
        told: Option<&Answer>,
    ) -> Vec<Answer> {
        let mut reasons: Vec<Refusal> = claim
            .parts
            .iter()
            .filter_map(|part| self.other_kind(part))
            .collect();
        if !free && claim.wait_ms == 0 && reasons.is_empty() {
            let told = match told {
                Some(Answer::Refused(Refusal::Held { by })) => by.as_slice(),
                _ => &[],
            };
            let by = self.honest(told, &claim.parts);
            reasons.push(Refusal::Held { by });
        }
        let count = claim.parts.count();
        let waiting = self.waiting_keys();
        if waiting + self.held_keys() + count > limits.locks {
            reasons.push(Refusal::Quota { what: Table::Locks });
        }
        if !free && claim.wait_ms > 0 && waiting + count > limits.tickets {
            let what = Table::Tickets;
            reasons.push(Refusal::Quota { what });
        }
        reasons.into_iter().map(Answer::Refused).collect()
    }

    /// A lock is shared in modes or by permits, and all say the same capacity (0111).
    fn other_kind(&self, part: &Part) -> Option<Refusal> {
        match (part.mode, self.usage(&part.key)) {
            (_, Usage::Free) => None,
            (Mode::Permits { capacity, .. }, Usage::ByPermits(has)) if capacity == has => None,
            (_, Usage::ByPermits(capacity)) => Some(Refusal::HasCapacity { capacity }),
            (Mode::Permits { .. }, Usage::InModes) => Some(Refusal::NoPermits),
            (_, Usage::InModes) => None,
        }
    }

    /// Enters what the session holds already, or says that it would wait for itself (0116): for some lock that it
    /// has, if it has more than one.
    pub(super) fn enter(
        &mut self,
        session: Option<SessionId>,
        parts: &Parts,
        now: Nanos,
        limits: &Limits,
        told: Option<&Answer>,
    ) -> Option<Answer> {
        let own = |grant: &Grant| grant.entered > 0 && grant.session == session;
        let all = self.blockers_of(own);
        let in_the_way = all.into_iter().filter(|(key, _)| parts.of(key).is_some());
        let in_the_way: Vec<Blocker> = in_the_way.map(|(_, blocker)| blocker).collect();
        let first = in_the_way.first()?;
        let covered = |grant: &Grant| {
            parts.iter().all(|part| {
                let held = grant.parts.of(&part.key);
                held.is_some_and(|held| covers(held.mode, part.mode))
            })
        };
        let mut all = self.grants.iter_mut();
        let Some(grant) = all.find(|grant| own(grant) && covered(grant)) else {
            let told = match told {
                Some(Answer::Refused(Refusal::NotCovered { by })) => by.first(),
                _ => None,
            };
            let one = told.filter(|told| in_the_way.contains(told));
            let by = vec![one.unwrap_or(first).clone()];
            return Some(Answer::Refused(Refusal::NotCovered { by }));
        };
        if grant.entered >= limits.entries {
            let what = Table::Entries;
            return Some(Answer::Refused(Refusal::Quota { what }));
        }
        grant.entered += 1;
        let grant = grant.clone();
        Some(Answer::Granted(self.tell(&grant, now, false)))
    }

    /// Whether all of a claim can be had beside those who hold, and those to whom something is offered.
    pub(super) fn fits(&self, parts: &Parts) -> bool {
        parts.iter().all(|part| self.fits_beside(part))
    }

    pub(super) fn fits_beside(&self, part: &Part) -> bool {
        let mut taken = 0;
        for beside in self.taken(&part.key) {
            if !compatible(beside, part.mode) {
                return false;
            }
            taken += permits(beside);
        }
        match (part.mode, self.usage(&part.key)) {
            (Mode::Permits { n, .. }, Usage::ByPermits(capacity)) => {
                taken + u64::from(n) <= u64::from(capacity)
            }
            _ => true,
        }
    }

    /// The modes in which a lock is held, or offered.
    fn taken(&self, key: &Key) -> Vec<Mode> {
        let held = self.grants.iter().map(|grant| &grant.parts);
        let offered = self.tickets.iter().filter(|ticket| ticket.offered);
        held.chain(offered.map(|ticket| &ticket.parts))
            .filter_map(|parts| Some(parts.of(key)?.mode))
            .collect()
    }

    pub(super) fn usage(&self, key: &Key) -> Usage {
        let held = self.grants.iter().map(|grant| &grant.parts);
        let waited = self.tickets.iter().map(|ticket| &ticket.parts);
        let mut users = held.chain(waited).filter_map(|parts| parts.of(key));
        match users.next().map(|part| part.mode) {
            None => Usage::Free,
            Some(Mode::Permits { .. }) => {
                let noted = self.capacities.iter().find(|(of, _)| of == key);
                Usage::ByPermits(noted.expect("who uses permits said how many there are").1)
            }
            Some(_) => Usage::InModes,
        }
    }

    /// Who uses a lock first says how many permits it has.
    fn note_capacities(&mut self, parts: &Parts) {
        for part in parts.iter() {
            if let Mode::Permits { capacity, .. } = part.mode {
                self.set_capacity(&part.key, capacity);
            }
        }
    }

    pub(super) fn set_capacity(&mut self, key: &Key, capacity: u32) {
        self.capacities.retain(|(of, _)| of != key);
        self.capacities.push((key.clone(), capacity));
    }

    fn ticket(
        &self,
        session: Option<SessionId>,
        claim: &Acquire,
        now: Nanos,
        told: Option<&Answer>,
    ) -> Ticket {
        Ticket {
            id: Seen::ticket(told),
            parts: claim.parts.clone(),
            life: claim.life,
            session,
            holder: claim.holder.clone(),
            since: now,
            until: now + claim.wait_ms * MS,
            offered: false,
            reentrant: claim.reentrant,
        }
    }

    /// Makes a claim hold, from now on. Its time begins here.
    pub(super) fn grant(&mut self, of: &Ticket, now: Nanos, fence: Fence) -> answer::Grant {
        let grant = Grant {
            fence,
            parts: of.parts.clone(),
            life: of.life,
            session: of.session.filter(|_| of.life == Life::Session),
            holder: of.holder.clone(),
            since: now,
            until: match of.life {
                Life::Lease { ttl_ms } => Some(now + ttl_ms * MS),
                Life::Static | Life::Session => None,
            },
            entered: u32::from(of.reentrant),
        };
        self.highest = self.highest.max(fence);
        self.grants.push(grant.clone());
        self.tell(&grant, now, false)
    }

    /// A grant as its holder is told of it.
    pub(super) fn tell(&self, grant: &Grant, now: Nanos, replayed: bool) -> answer::Grant {
        answer::Grant {
            zone: self.id,
            parts: self.with_capacities(&grant.parts),
            fence: grant.fence,
            life: grant.life,
            session: grant.session,
            holder: grant.holder.clone(),
            remaining_ms: self.end_of(grant).map(|until| (until - now) / MS),
            replayed,
            entered: grant.entered,
        }
    }

    /// When a grant ends, if nobody does anything: what belongs to a session, with that.
    pub(super) fn end_of(&self, grant: &Grant) -> Option<Nanos> {
        grant
            .until
            .or_else(|| Some(self.session(grant.session?)?.until))
    }

    pub(super) fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.iter().find(|session| session.id == id)
    }

    /// With the capacities that the locks have by now.
    pub(super) fn with_capacities(&self, parts: &Parts) -> Parts {
        let parts = parts.iter().map(|part| Part {
            key: part.key.clone(),
            mode: match (part.mode, self.usage(&part.key)) {
                (Mode::Permits { n, .. }, Usage::ByPermits(capacity)) => {
                    Mode::Permits { n, capacity }
                }
                (mode, _) => mode,
            },
        });
        Parts::new(parts.collect()).expect("a claim stays one")
    }

    /// The holders that a refusal names, if they are in the claim's way; else those who are.
    fn honest(&self, told: &[Blocker], parts: &Parts) -> Vec<Blocker> {
        let in_the_way = |key: &Key| {
            let part = parts.of(key);
            part.is_some_and(|part| !self.free_to_take(part))
        };
        let all = self.blockers_of(|_| true);
        let in_way = all.into_iter().filter(|(key, _)| in_the_way(key));
        let all: Vec<Blocker> = in_way.map(|(_, blocker)| blocker).collect();
        let honest = told.iter().all(|one| all.contains(one));
        if honest && told.is_empty() == all.is_empty() {
            told.to_vec()
        } else {
            all
        }
    }

    fn free_to_take(&self, part: &Part) -> bool {
        let alone = Parts::one(part.key.clone(), part.mode);
        self.nobody_waits(&alone) && self.fits_beside(part)
    }

    /// All who hold anything.
    pub(super) fn blockers(&self) -> Vec<Blocker> {
        let all = self.blockers_of(|_| true);
        all.into_iter().map(|(_, blocker)| blocker).collect()
    }

    fn blockers_of(&self, which: impl Fn(&Grant) -> bool) -> Vec<(Key, Blocker)> {
        let mut all = Vec::new();
        for grant in self.grants.iter().filter(|grant| which(grant)) {
            for part in self.with_capacities(&grant.parts).iter() {
                let blocker = Blocker {
                    holder: grant.holder.clone(),
                    fence: grant.fence,
                    mode: part.mode,
                };
                all.push((part.key.clone(), blocker));
            }
        }
        all
    }

    fn held_keys(&self) -> usize {
        self.grants.iter().map(|grant| grant.parts.count()).sum()
    }

    fn waiting_keys(&self) -> usize {
        self.tickets.iter().map(|ticket| ticket.parts.count()).sum()
    }
}

pub(super) const fn session_of(client: Client) -> Option<SessionId> {
    match client {
        Client::Session { id, .. } => Some(id),
        Client::None | Client::Key(_) => None,
    }
}

const fn permits(mode: Mode) -> u64 {
    match mode {
        Mode::Permits { n, .. } => n as u64,
        _ => 0,
    }
}
