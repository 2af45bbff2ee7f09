//! Conversion of a grant, said simply.

use super::reenter::is_as_strong;
use super::share::meets;
use super::*;
use crate::machine::command::Convert;

/// Who has the first has no more by the second.
fn is_no_more(held: Mode, asked: Mode) -> bool {
    match (held, asked) {
        (Mode::Permits { n: held, .. }, Mode::Permits { n: asked, .. }) => asked <= held,
        (Mode::Permits { .. }, _) | (_, Mode::Permits { .. }) => unreachable!(),
        _ => is_as_strong(held, asked),
    }
}

fn permits(mode: Mode) -> u32 {
    match mode {
        Mode::Permits { n, .. } => n,
        _ => unreachable!(),
    }
}

fn is_same(a: Mode, b: Mode) -> bool {
    match (a, b) {
        (Mode::Permits { n: a, .. }, Mode::Permits { n: b, .. }) => a == b,
        _ => a == b,
    }
}

impl Model {
    /// The grant that a ticket converts, dead or alive.
    pub(super) fn converted_by(&self, wait: &Wait) -> Option<&Hold> {
        let is_it = |h: &&Hold| h.zone == wait.zone && Some(h.fence) == wait.converts;
        self.holds.iter().find(is_it)
    }

    /// Whether the grant that it converts, if it does, is alive.
    pub(super) fn converts_on(&self, wait: &Wait) -> bool {
        let hold = self.converted_by(wait);
        hold.map_or(wait.converts.is_none(), |hold| self.holds_on(hold))
    }

    fn held_by(&self, wait: &Wait, key: &Key) -> Mode {
        let hold = self.converted_by(wait).unwrap();
        hold.parts.of(key).unwrap().mode
    }

    /// Those who convert a lock and were not offered it.
    fn converting(&self, zone: ZoneId, key: &Key) -> Vec<Wait> {
        let mut queue = self.queue(zone, key, true);
        queue.retain(|w| !w.offered);
        queue
    }

    /// Whether nobody converts before it, and the others who have the lock leave room: a newcomer, or the ticket.
    pub(super) fn is_first_to_convert(
        &self,
        zone: ZoneId,
        part: &Part,
        ticket: Option<TicketId>,
        fence: Fence,
    ) -> bool {
        let front = self.converting(zone, &part.key).into_iter().next();
        if front.map(|w| w.id) != ticket {
            return false;
        }
        let holders = self.holders(zone, &part.key).into_iter();
        let (own, others): (Vec<_>, Vec<_>) = holders.partition(|h| h.fence == fence);
        let own = own[0].parts.of(&part.key).unwrap().mode;
        let line = self.line(zone, &part.key).into_iter();
        let offered = line.filter(|w| w.offered).map(|w| w.parts);
        let others = others.into_iter().map(|h| h.parts).chain(offered);
        let mut others = others.map(|parts| parts.of(&part.key).unwrap().mode);
        match part.mode {
            Mode::Permits { n, .. } => {
                let others: u32 = others.map(permits).sum();
                n <= permits(own) || n + others <= self.capacity(zone, &part.key).unwrap()
            }
            mode => others.all(|other| meets(mode, other)),
        }
    }

    fn blocker(&self, wait: &Wait, key: &Key) -> Vec<Blocker> {
        let hold = self.converted_by(wait).unwrap();
        vec![Blocker {
            holder: self.name(&hold.holder, hold.session),
            fence: hold.fence,
            mode: self.now(wait.zone, key, hold.parts.of(key).unwrap().mode),
        }]
    }

    /// Who converts before and waits for what a newcomer holds and would keep.
    fn deadlock(&self, zone: ZoneId, part: &Part, held: Mode) -> Option<Vec<Blocker>> {
        let before = self.converting(zone, &part.key);
        if let Mode::Permits { n, .. } = held {
            let front = before.first()?;
            let is_stuck = self.is_stuck(&before, &part.key, n);
            return is_stuck.then(|| self.blocker(front, &part.key));
        }
        let target = |w: &Wait| w.parts.of(&part.key).unwrap().mode;
        let waits = before.iter().find(|w| !meets(target(w), held))?;
        Some(self.blocker(waits, &part.key))
    }

    /// Whether the first can't have its permits while the others, and one more, keep theirs.
    fn is_stuck(&self, queue: &[Wait], key: &Key, more: u32) -> bool {
        let (front, behind) = queue.split_first().unwrap();
        let n = permits(front.parts.of(key).unwrap().mode);
        let kept = behind.iter().map(|w| permits(self.held_by(w, key)));
        let kept = kept.sum::<u32>() + more;
        let own = permits(self.held_by(front, key));
        n > own && n + kept > self.capacity(front.zone, key).unwrap()
    }

    /// Whether one who is first to convert waits for permits of one who does behind it: that one.
    pub(super) fn is_stuck_in_front(&self, wait: &Wait) -> Option<Vec<Blocker>> {
        wait.converts?;
        wait.parts.iter().find_map(|part| {
            let queue = self.converting(wait.zone, &part.key);
            let is_front = queue.first().is_some_and(|front| front.id == wait.id);
            let by_permits = matches!(part.mode, Mode::Permits { .. });
            if !is_front || !by_permits || !self.is_stuck(&queue, &part.key, 0) {
                return None;
            }
            Some(self.blocker(queue.get(1).unwrap_or(wait), &part.key))
        })
    }

    pub(super) fn convert(
        &mut self,
        place: u64,
        command: &Command,
        convert: &Convert,
    ) -> (Answer, Seen) {
        let zone = command.zone;
        for part in convert.parts.iter() {
            self.settle(zone, &part.key);
        }
        match self.converts(place, command, convert) {
            Ok(answered) => answered,
            Err(refusal) => {
                let answer = Answer::Refused(refusal);
                (answer.clone(), Seen::Said(answer))
            }
        }
    }

    fn converts(
        &mut self,
        place: u64,
        command: &Command,
        convert: &Convert,
    ) -> Result<(Answer, Seen), Refusal> {
        let (zone, fence) = (command.zone, convert.fence);
        let found = self.find(zone, &convert.parts.first().key, fence);
        found.ok_or(Refusal::NotHeld)?;
        let is_its = |w: &&Wait| w.zone == zone && w.converts == Some(fence);
        if let Some(wait) = self.waits.iter().find(is_its).cloned() {
            if self.waits_on(&wait) {
                return Err(Refusal::Converting);
            }
            self.fail(wait.id);
            self.wake(true);
        }
        let at = self.find(zone, &convert.parts.first().key, fence).unwrap();
        let hold = self.holds[at].clone();
        if hold.entered > 1 {
            return Err(Refusal::Entered {
                entered: hold.entered,
            });
        }
        let changes = self.changes(&hold, &convert.parts)?;
        let held = |part: &Part| hold.parts.of(&part.key).unwrap().mode;
        let mut all = changes.iter();
        if all.all(|part| is_no_more(held(part), part.mode)) {
            self.lessen(at, &changes);
            let answer = Answer::Converted { fence };
            return Ok((answer.clone(), Seen::Said(answer)));
        }
        let wait = Wait {
            zone,
            parts: Parts::new(changes).unwrap(),
            places: vec![],
            life: Life::Static,
            id: TicketId::new(place),
            client: command.client,
            holder: Bytes::new(),
            since: self.now,
            deadline: self.now.plus(ms(convert.wait_ms)),
            offered: false,
            reentrant: false,
            converts: Some(fence),
        };
        let parts = wait.parts.clone();
        let mut all = parts.iter();
        if all.all(|part| self.is_first_to_convert(zone, part, None, fence)) {
            let hold = self.replace(&wait);
            let answer = self.describe(&hold, false);
            self.budget = self.budget.max(1);
            self.wake(false);
            return Ok((answer, Seen::Grant(hold.fence)));
        }
        if convert.wait_ms == 0 {
            return Err(Refusal::Held {
                by: self.blockers(zone, &wait.parts, (None, Some(fence))),
            });
        }
        let mut all = parts.iter();
        if let Some(by) = all.find_map(|part| self.deadlock(zone, part, held(part))) {
            return Err(Refusal::UpgradeDeadlock { by });
        }
        if let Some(what) = self.exceeded(zone, &wait.parts, false) {
            return Err(Refusal::Quota { what });
        }
        if self.waits_for_itself(&wait) {
            return Err(Refusal::Deadlock { by: vec![] });
        }
        Ok(self.line_up(wait))
    }

    fn changes(&mut self, hold: &Hold, parts: &Parts) -> Result<Vec<Part>, Refusal> {
        for part in parts.iter() {
            hold.parts.of(&part.key).ok_or(Refusal::NotHeld)?;
            let one = Parts::one(part.key.clone(), part.mode);
            if let Some(refusal) = self.otherwise(hold.zone, &one) {
                return Err(refusal);
            }
        }
        let held = |part: &Part| hold.parts.of(&part.key).unwrap().mode;
        let changes = parts.iter();
        let changes = changes.filter(|part| !is_same(part.mode, held(part)));
        Ok(changes.cloned().collect())
    }

    fn lessen(&mut self, at: usize, changes: &[Part]) {
        let hold = self.holds[at].clone();
        self.holds[at].parts = changed(&hold.parts, changes);
        if let Ok(changes) = Parts::new(changes.to_vec()) {
            self.stir(hold.zone, &changes);
        }
        self.budget = self.budget.max(1);
        self.wake(false);
    }

    /// The end of a grant, and another one that has more for what is left of its life.
    pub(super) fn replace(&mut self, wait: &Wait) -> Hold {
        let old = self.converted_by(wait).unwrap().clone();
        let same = |h: &Hold| h.zone == old.zone && h.fence == old.fence;
        let at = self.holds.iter().position(same).unwrap();
        self.end(at);
        let changes: Vec<Part> = wait.parts.iter().cloned().collect();
        let claim = Wait {
            parts: changed(&old.parts, &changes),
            life: old.life,
            ..wait.clone()
        };
        self.grant(&claim);
        let new = self.holds.last_mut().unwrap();
        new.session = old.session;
        new.holder = old.holder;
        new.deadline = old.deadline;
        new.entered = old.entered;
        new.clone()
    }

    /// The end of a grant is that of its conversion.
    pub(super) fn end_conversion(&mut self, hold: &Hold) {
        let is_its = |w: &&Wait| w.zone == hold.zone && w.converts == Some(hold.fence);
        if let Some(wait) = self.waits.iter().find(is_its).cloned() {
            self.end_ticket(&wait, Refusal::NotHeld);
        }
    }
}

/// With other modes for some of the keys.
fn changed(parts: &Parts, changes: &[Part]) -> Parts {
    let part = |part: &Part| {
        let change = changes.iter().find(|change| change.key == part.key);
        change.unwrap_or(part).clone()
    };
    Parts::new(parts.iter().map(part).collect()).unwrap()
}
