//! Lines: who is before whom, and who is next.

use super::claims::Usage;
use super::seen::Seen;
use super::{Nanos, OFFER, Ticket, Zone};
use tenure_core::ids::TicketId;
use tenure_core::machine::Limits;
use tenure_core::machine::answer::{Answer, Event, Refusal};
use tenure_core::machine::command::{Life, Mode};
use tenure_core::machine::key::Key;
use tenure_core::machine::parts::Parts;

impl Zone {
    /// Serves whoever is in front and can be served, until nobody can.
    pub(super) fn serve(
        &mut self,
        now: Nanos,
        limits: &Limits,
        seen: &Seen<'_>,
        said: &mut Vec<Event>,
    ) {
        while self.serve_one(now, limits, seen, said) {}
    }

    fn serve_one(
        &mut self,
        now: Nanos,
        limits: &Limits,
        seen: &Seen<'_>,
        said: &mut Vec<Event>,
    ) -> bool {
        let waiting = self.tickets.iter().filter(|ticket| !ticket.offered);
        let waiting: Vec<Ticket> = waiting.cloned().collect();
        for ticket in waiting {
            let id = ticket.id;
            let answer = if let Some(refusal) = self.waits_for_ever(&ticket, seen.ended(id)) {
                Answer::Refused(refusal)
            } else if !self.is_first_in_all(&ticket) {
                continue;
            } else if ticket.reentrant
                && let Some(answer) =
                    self.enter(ticket.session, &ticket.parts, now, limits, seen.ended(id))
            {
                answer
            } else if !self.fits(&ticket.parts) {
                continue;
            } else if ticket.session.is_none() {
                self.offer(id, now);
                said.push(Event::Offered { ticket: id });
                return true;
            } else {
                let fence = Seen::fence(seen.ended(id));
                Answer::Granted(self.grant(&ticket, now, fence))
            };
            self.end_ticket(id, answer, now, said);
            return true;
        }
        false
    }

    /// Who is in front of a line, and wants more permits of that lock than there are by now, would block it for ever.
    /// Who is in front of another one may be told so as well.
    fn waits_for_ever(&self, ticket: &Ticket, told: Option<&Answer>) -> Option<Refusal> {
        let in_front = |key: &Key| self.first_in_line(key) == Some(ticket.id);
        let may = ticket.parts.iter().any(|part| in_front(&part.key));
        ticket.parts.iter().find_map(|part| {
            let Usage::ByPermits(capacity) = self.usage(&part.key) else {
                return None;
            };
            let refusal = Refusal::HasCapacity { capacity };
            let is_told = told == Some(&Answer::Refused(refusal.clone()));
            let is_due = in_front(&part.key) || (may && is_told);
            let too_many = matches!(part.mode, Mode::Permits { n, .. } if n > capacity);
            (too_many && is_due).then_some(refusal)
        })
    }

    fn is_first_in_all(&self, ticket: &Ticket) -> bool {
        let mut keys = ticket.parts.iter().map(|part| &part.key);
        keys.all(|key| self.first_in_line(key) == Some(ticket.id))
    }

    /// Who has nobody but its connection is asked whether it is still there.
    fn offer(&mut self, id: TicketId, now: Nanos) {
        let mut all = self.tickets.iter_mut();
        let ticket = all.find(|ticket| ticket.id == id).expect("it waits");
        assert!(ticket.life != Life::Session, "a session is never offered");
        ticket.offered = true;
        ticket.until = now + OFFER;
    }

    fn first_in_line(&self, key: &Key) -> Option<TicketId> {
        Some(self.line(key).first()?.id)
    }

    /// Who waits for a lock, in the order in which they came. What was offered is as good as held.
    pub(super) fn line(&self, key: &Key) -> Vec<&Ticket> {
        self.tickets
            .iter()
            .filter(|ticket| !ticket.offered && ticket.parts.of(key).is_some())
            .collect()
    }

    /// Nobody barges: who finds a line goes to its end, also who would fit.
    pub(super) fn nobody_waits(&self, parts: &Parts) -> bool {
        parts.iter().all(|part| self.line(&part.key).is_empty())
    }

    /// How many are before it at most, plus one. What is told must be no less than those who are, also who was
    /// offered it and may not take it; and no more than those who came since the front of each of its lines did
    /// (0110, rule 47: who left a line from its middle may be counted).
    pub(super) fn position(&self, ticket: &Ticket, told: Option<u64>) -> u64 {
        let shares = |parts: &Parts| {
            parts
                .iter()
                .any(|part| ticket.parts.of(&part.key).is_some())
        };
        let before = self.tickets.iter().take_while(|one| one.id != ticket.id);
        let least = before.filter(|one| shares(&one.parts)).count() as u64 + 1;
        let most = 1 + ticket
            .parts
            .iter()
            .map(|part| self.came_before(ticket, &part.key))
            .sum::<u64>();
        told.filter(|told| (least..=most).contains(told))
            .unwrap_or(least)
    }

    /// Who came to a line since its front did, and before this ticket.
    fn came_before(&self, ticket: &Ticket, key: &Key) -> u64 {
        let mut here = self
            .tickets
            .iter()
            .filter(|one| one.parts.of(key).is_some());
        let front = here.next().map(|one| one.id);
        let came = self
            .came
            .iter()
            .filter(|(_, parts)| parts.of(key).is_some());
        let since = came.map(|(id, _)| Some(*id)).skip_while(|id| *id != front);
        since.take_while(|id| *id != Some(ticket.id)).count() as u64
    }
}
