//! The line before a lock, said simply.

use super::*;

impl Model {
    /// Serves whoever is first in all its lines, in the lines that changed, until nobody is.
    pub(super) fn wake(&mut self, dead_are_free: bool) {
        while !self.woken.is_empty() {
            let (zone, key) = self.woken.remove(0);
            self.serve(zone, &key, dead_are_free);
        }
    }

    fn serve(&mut self, zone: ZoneId, key: &Key, dead_are_free: bool) {
        let Some(front) = self.line(zone, key).into_iter().find(|w| !w.offered) else {
            return;
        };
        let alive = self.waits_on(&front);
        let beyond = front.parts.iter().find_map(|part| match part.mode {
            Mode::Permits { n, .. } => {
                let capacity = self.capacity(zone, &part.key).unwrap();
                (n > capacity).then_some(capacity)
            }
            _ => None,
        });
        let mut parts = front.parts.iter();
        let again = self.comes_again(&front);
        let stuck = self.is_stuck_in_front(&front);
        let free = parts.all(|part| match front.converts {
            Some(fence) => self.is_first_to_convert(zone, part, Some(front.id), fence),
            None => self.is_first(zone, part, Some(front.id)),
        });
        if alive && beyond.is_none() && !again && stuck.is_none() && !free {
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
            self.spend(front.parts.count());
        }
        if !alive {
            self.fail(front.id);
        } else if again {
            self.reenter_from_line(&front);
        } else if let Some(capacity) = beyond {
            self.end_ticket(&front, Refusal::HasCapacity { capacity });
        } else if let Some(by) = stuck {
            self.end_ticket(&front, Refusal::UpgradeDeadlock { by });
        } else if matches!(front.client, Client::Session { .. }) {
            self.grant_ticket(front.id);
        } else {
            let deadline = self.now.plus(ms(OFFER_MS));
            let wait = self.waits.iter_mut().find(|w| w.id == front.id).unwrap();
            (wait.offered, wait.deadline) = (true, deadline);
            self.events.push(Event::Offered { ticket: front.id });
            self.stir(zone, &front.parts);
        }
    }

    pub(super) fn grant_ticket(&mut self, id: TicketId) -> Answer {
        let at = self.waits.iter().position(|w| w.id == id).unwrap();
        let wait = self.waits.remove(at);
        self.stir(wait.zone, &wait.parts);
        let hold = match wait.converts {
            Some(_) => self.replace(&wait),
            None => self.grant(&wait),
        };
        self.conclude(&wait, Seen::Grant(hold.fence));
        let answer = self.describe(&hold, false);
        self.events.push(Event::Ended {
            ticket: id,
            answer: answer.clone(),
        });
        answer
    }

    pub(super) fn fail(&mut self, id: TicketId) {
        let wait = self.wait(id);
        let dead = match wait.client {
            Client::Session { id, .. } if self.session(id).is_none() => {
                Some(self.sessions.iter().find(|s| s.id == id).unwrap().over)
            }
            _ => None,
        };
        let refusal = match dead {
            Some(Some(true)) => Refusal::Cancelled,
            Some(_) => Refusal::SessionGone,
            None if !self.converts_on(&wait) => Refusal::NotHeld,
            None if wait.offered => Refusal::Cancelled,
            None => Refusal::WaitTimeout {
                by: self.blockers(wait.zone, &wait.parts, (Some(id), wait.converts)),
            },
        };
        self.end_ticket(&wait, refusal);
    }

    pub(super) fn end_ticket(&mut self, wait: &Wait, refusal: Refusal) {
        self.waits.retain(|w| w.id != wait.id);
        self.stir(wait.zone, &wait.parts);
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

    pub(super) fn conclude(&mut self, wait: &Wait, seen: Seen) {
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

    pub(super) fn blockers(
        &self,
        zone: ZoneId,
        parts: &Parts,
        (ticket, converts): (Option<TicketId>, Option<Fence>),
    ) -> Vec<Blocker> {
        let mut by: Vec<Blocker> = vec![];
        for part in parts.iter() {
            let is_its_own = || match converts {
                Some(fence) => self.is_first_to_convert(zone, part, ticket, fence),
                None => self.is_first(zone, part, ticket),
            };
            if !self.is_used(zone, &part.key) || is_its_own() {
                continue;
            }
            for h in self.holders(zone, &part.key) {
                if Some(h.fence) == converts {
                    continue;
                }
                if self.holds_on(&h) && by.iter().all(|other| other.fence != h.fence) {
                    by.push(Blocker {
                        holder: self.name(&h.holder, h.session),
                        fence: h.fence,
                        mode: self.now(zone, &part.key, h.parts.of(&part.key).unwrap().mode),
                    });
                }
            }
        }
        by.truncate(BLOCKERS_SHOWN_MAX);
        by
    }
}
