//! First come, first served, by the order of the log (K17).

use super::Docket;
use super::locks::compatible;
use std::collections::BTreeMap;
use tenure_core::ids::{TicketId, ZoneId};
use tenure_core::machine::command::Mode;
use tenure_core::machine::key::Key;

/// The lines, by key, in the order of their tickets' entries.
#[derive(Debug, Default)]
pub struct Order {
    lines: BTreeMap<(ZoneId, Key), Vec<(TicketId, Mode)>>,
    of_ticket: BTreeMap<TicketId, (ZoneId, Key)>,
}

impl Order {
    /// How many tickets wait.
    pub fn waiting(&self) -> usize {
        self.of_ticket.len()
    }

    /// A ticket was given out.
    pub fn on_queued(
        &mut self,
        place: (ZoneId, Key),
        ticket: TicketId,
        mode: Mode,
        docket: &mut Docket,
    ) {
        let line = self.lines.entry(place.clone()).or_default();
        if line.iter().any(|(other, _)| *other == ticket) {
            return; // The same ticket, told again.
        }
        docket.check(
            line.last().is_none_or(|(last, _)| *last < ticket),
            "tickets of a key rise",
            || format!("{ticket} after {line:?}"),
        );
        line.push((ticket, mode));
        self.of_ticket.insert(ticket, place);
    }

    /// A ticket became a grant.
    pub fn on_granted(&mut self, ticket: TicketId, docket: &mut Docket) {
        if let Some(place) = self.of_ticket.get(&ticket)
            && let Some(line) = self.lines.get(place)
        {
            let mode = line
                .iter()
                .find(|(other, _)| *other == ticket)
                .map(|(_, mode)| *mode);
            // Those before it may only be shared as it is: both are let in by the same release.
            let passed = line
                .iter()
                .take_while(|(other, _)| *other != ticket)
                .find(|(_, other)| mode.is_none_or(|mode| !compatible(mode, *other)));
            docket.check(passed.is_none(), "first come, first served", || {
                format!("ticket {ticket} passed {passed:?} on {:?}", place.1)
            });
        }
        self.on_ended(ticket);
    }

    /// A claim was granted at once: nobody waits whom that could hold up. (One who was offered the
    /// lock and did not confirm yet stands in the line too.)
    pub fn on_granted_at_once(&self, place: &(ZoneId, Key), mode: Mode, docket: &mut Docket) {
        let line = self.lines.get(place).map_or(&[][..], Vec::as_slice);
        let passed = line.iter().any(|(_, other)| !compatible(mode, *other));
        docket.check(!passed, "first come, first served", || {
            format!("{:?} was granted at once past {line:?}", place.1)
        });
    }

    /// A ticket is no more.
    pub fn on_ended(&mut self, ticket: TicketId) {
        if let Some(place) = self.of_ticket.remove(&ticket)
            && let Some(line) = self.lines.get_mut(&place)
        {
            line.retain(|(other, _)| *other != ticket);
        }
    }
}
