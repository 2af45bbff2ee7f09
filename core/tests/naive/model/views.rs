//! What may be seen of the model: the same questions that the machine answers.

use super::{Grant, MS, Model, Nanos, Ticket, Zone};
use crate::observe::{Known, Observation};
use tenure_core::ids::TicketId;
use tenure_core::machine::key::Key;
use tenure_core::machine::{HolderView, LockView, TicketView, WaiterView};

impl Model {
    /// All that the promises let anybody see, at this entry. Positions in lines are bounds: one that was told is
    /// taken, if it is one.
    pub(crate) fn observe(&self, known: &Known, told: &Observation) -> Observation {
        let mut seen = Observation {
            now: self.now,
            ..Observation::default()
        };
        for zone in &self.zones {
            for key in &known.keys {
                seen.locks.push((zone.id, zone.lock(key, self.now)));
            }
            for (_, id) in known.tickets.iter().filter(|(of, _)| *of == zone.id) {
                let position = told.ticket(zone.id, *id).map(|view| view.position);
                if let Some(view) = zone.ticket_view(*id, position) {
                    seen.tickets.push((zone.id, *id, view));
                }
            }
            for (_, id) in known.sessions.iter().filter(|(of, _)| *of == zone.id) {
                if zone.session(*id).is_some() {
                    seen.sessions.push((zone.id, *id));
                }
            }
        }
        seen
    }

    /// When something ends next.
    pub(crate) fn next_end(&self) -> Option<Nanos> {
        let zones = self.zones.iter();
        zones.flat_map(Zone::ends).min()
    }

    /// Every moment at which something ends, the next one first.
    pub(crate) fn ends(&self) -> Vec<Nanos> {
        let mut all: Vec<Nanos> = self.zones.iter().flat_map(Zone::ends).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl Zone {
    fn ends(&self) -> impl Iterator<Item = Nanos> {
        let grants = self.grants.iter().filter_map(|grant| grant.until);
        let tickets = self.tickets.iter().map(|ticket| ticket.until);
        let sessions = self.sessions.iter().map(|session| session.until);
        let answers = self.keyed.iter().filter_map(|kept| kept.until);
        grants.chain(tickets).chain(sessions).chain(answers)
    }

    fn lock(&self, key: &Key, now: Nanos) -> LockView {
        let here = self.grants.iter().filter(|g| g.parts.of(key).is_some());
        let waits = self.tickets.iter().filter(|t| t.parts.of(key).is_some());
        let waiters: Vec<WaiterView> = waits.map(|t| self.waiter(t, key, now)).collect();
        LockView {
            key: key.clone(),
            holders: here.map(|grant| self.holder(grant, key, now)).collect(),
            waiting: waiters.len() as u64,
            waiters,
        }
    }

    fn holder(&self, grant: &Grant, key: &Key, now: Nanos) -> HolderView {
        let told = self.tell(grant, now, false);
        HolderView {
            holder: grant.holder.clone(),
            mode: told.parts.of(key).expect("it is one of its keys").mode,
            fence: grant.fence,
            session: grant.session,
            held_ms: (now - grant.since) / MS,
            remaining_ms: told.remaining_ms,
            entered: grant.entered,
        }
    }

    fn waiter(&self, ticket: &Ticket, key: &Key, now: Nanos) -> WaiterView {
        let parts = self.with_capacities(&ticket.parts);
        WaiterView {
            holder: ticket.holder.clone(),
            mode: parts.of(key).expect("it is one of its keys").mode,
            ticket: ticket.id,
            waiting_ms: (now - ticket.since) / MS,
        }
    }

    fn ticket_view(&self, id: TicketId, told: Option<u64>) -> Option<TicketView> {
        let ticket = self.tickets.iter().find(|ticket| ticket.id == id)?;
        Some(TicketView {
            parts: self.with_capacities(&ticket.parts),
            session: ticket.session,
            offered: ticket.offered,
            position: self.position(ticket, told),
        })
    }
}
