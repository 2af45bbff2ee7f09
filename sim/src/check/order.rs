//! First come, first served, by the order of the log (K17).

use super::Docket;
use super::locks::compatible;
use std::collections::BTreeMap;
use tenure_core::ids::{TicketId, ZoneId};
use tenure_core::machine::command::Mode;
use tenure_core::machine::key::Key;
use tenure_core::machine::parts::Parts;

/// The lines, by key, in the order of their tickets' entries.
#[derive(Debug, Default)]
pub struct Order {
    lines: BTreeMap<(ZoneId, Key), Vec<(TicketId, Mode)>>,
    of_ticket: BTreeMap<TicketId, Parts>,
}

impl Order {
    /// How many places in lines are taken.
    pub fn waiting(&self) -> usize {
        self.of_ticket.values().map(Parts::count).sum()
    }

    /// The keys of a ticket that waits.
    pub fn keys_of(&self, ticket: TicketId) -> usize {
        self.of_ticket.get(&ticket).map_or(0, Parts::count)
    }

    /// A ticket was given out.
    pub fn on_queued(
        &mut self,
        zone: ZoneId,
        ticket: TicketId,
        parts: &Parts,
        docket: &mut Docket,
    ) {
        if self.of_ticket.contains_key(&ticket) {
            return; // The same ticket, told again.
        }
        for part in parts.iter() {
            let line = self.lines.entry((zone, part.key.clone())).or_default();
            docket.check(
                line.last().is_none_or(|(last, _)| *last < ticket),
                "tickets of a key rise",
                || format!("{ticket} after {line:?}"),
            );
            line.push((ticket, part.mode));
        }
        self.of_ticket.insert(ticket, parts.clone());
    }

    /// A ticket became a grant.
    pub fn on_granted(&mut self, zone: ZoneId, ticket: TicketId, docket: &mut Docket) {
        let parts = self.of_ticket.get(&ticket);
        for part in parts.iter().flat_map(|parts| parts.iter()) {
            let line = self.lines.get(&(zone, part.key.clone()));
            // Those before it may only be shared as it is: both are let in by the same release.
            let passed = line
                .into_iter()
                .flatten()
                .take_while(|(other, _)| *other != ticket)
                .find(|(_, other)| !compatible(part.mode, *other));
            docket.check(passed.is_none(), "first come, first served", || {
                format!("ticket {ticket} passed {passed:?} on {:?}", part.key)
            });
        }
        self.on_ended(zone, ticket);
    }

    /// A claim was granted at once: nobody waits whom that could hold up. (One who was offered the
    /// lock and did not confirm yet stands in the line too.)
    pub fn on_granted_at_once(&self, zone: ZoneId, parts: &Parts, docket: &mut Docket) {
        for part in parts.iter() {
            let line = self.lines.get(&(zone, part.key.clone()));
            let line = line.map_or(&[][..], Vec::as_slice);
            let passed = line.iter().any(|(_, other)| !compatible(part.mode, *other));
            docket.check(!passed, "first come, first served", || {
                format!("{:?} was granted at once past {line:?}", part.key)
            });
        }
    }

    /// A ticket is no more.
    pub fn on_ended(&mut self, zone: ZoneId, ticket: TicketId) {
        let parts = self.of_ticket.remove(&ticket);
        for part in parts.iter().flat_map(|parts| parts.iter()) {
            if let Some(line) = self.lines.get_mut(&(zone, part.key.clone())) {
                line.retain(|(other, _)| *other != ticket);
            }
        }
    }
}
