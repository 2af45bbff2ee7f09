//! What can be seen after an entry, by whoever asks.

use core::time::Duration;
use tenure_core::ids::{SessionId, TicketId, ZoneId};
use tenure_core::machine::key::Key;
use tenure_core::machine::{LockView, Machine, TicketView};
use tenure_core::query;
use tenure_core::query::Verdict;
use tenure_core::time::Stamp;

/// What there is to ask about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) zones: Vec<ZoneId>,
    pub(crate) keys: Vec<Key>,
    /// The latest tickets, also those that ended.
    pub(crate) tickets: Vec<(ZoneId, TicketId)>,
    pub(crate) sessions: Vec<(ZoneId, SessionId)>,
}

/// The answers to all questions. Holders stand in the order of their fences.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Observation {
    pub(crate) now: u64,
    pub(crate) locks: Vec<(ZoneId, LockView)>,
    pub(crate) tickets: Vec<(ZoneId, TicketId, TicketView)>,
    /// Those that live.
    pub(crate) sessions: Vec<(ZoneId, SessionId)>,
}

impl Observation {
    pub(crate) fn of(machine: &Machine, known: &Known) -> Self {
        let now = machine.stamp();
        let mut seen = Self {
            now: now.as_nanos(),
            ..Self::default()
        };
        for zone in &known.zones {
            for key in &known.keys {
                let lock = query::inspect(machine, *zone, key, now);
                seen.locks.push((*zone, lock));
            }
            for (_, id) in known.tickets.iter().filter(|(of, _)| of == zone) {
                if let Some(view) = machine.ticket(*zone, *id) {
                    seen.tickets.push((*zone, *id, view));
                }
            }
            for (_, id) in known.sessions.iter().filter(|(of, _)| of == zone) {
                if machine.has_session(*zone, *id) {
                    seen.sessions.push((*zone, *id));
                }
            }
        }
        seen.in_order()
    }

    /// Nobody promised an order of holders; and what was asked about stands in no order.
    pub(crate) fn in_order(mut self) -> Self {
        self.tickets.sort_by_key(|(zone, id, _)| (*zone, *id));
        self.sessions.sort_unstable();
        for (_, lock) in &mut self.locks {
            lock.holders.sort_by_key(|holder| holder.fence);
        }
        self
    }

    /// The same, but for what time alone changes.
    pub(crate) fn without_time(mut self) -> Self {
        self.now = 0;
        for (_, lock) in &mut self.locks {
            for holder in &mut lock.holders {
                holder.held_ms = 0;
                holder.remaining_ms = holder.remaining_ms.map(|_| 0);
            }
            for waiter in &mut lock.waiters {
                waiter.waiting_ms = 0;
            }
        }
        self
    }

    pub(crate) fn lock(&self, zone: ZoneId, key: &Key) -> Option<&LockView> {
        let mut all = self.locks.iter();
        let found = all.find(|(of, lock)| *of == zone && lock.key == *key);
        found.map(|(_, lock)| lock)
    }

    pub(crate) fn ticket(&self, zone: ZoneId, ticket: TicketId) -> Option<&TicketView> {
        let mut all = self.tickets.iter();
        let found = all.find(|(of, id, _)| *of == zone && *id == ticket);
        found.map(|(_, _, view)| view)
    }

    /// Who waits for a lock and was not offered it.
    pub(crate) fn line(&self, zone: ZoneId, key: &Key) -> Vec<TicketId> {
        let lock = self.lock(zone, key);
        let waiters = lock.iter().flat_map(|lock| &lock.waiters);
        let ids = waiters.map(|waiter| waiter.ticket);
        let offered = |id: &TicketId| self.ticket(zone, *id).is_some_and(|view| view.offered);
        ids.filter(|id| !offered(id)).collect()
    }
}

/// Whether reads of one position of the log agree: a lock alone, the list, and whether a grant holds. Also a
/// moment later, by the leader's clock: then what ended by it is not there.
pub(crate) fn reads_agree(machine: &Machine, known: &Known, later: Stamp) -> Result<(), String> {
    for zone in &known.zones {
        let listing = query::Listing {
            limit: known.keys.len() + 1,
            ..query::Listing::default()
        };
        let page = query::list(machine, *zone, &listing, later);
        for key in &known.keys {
            let lock = query::inspect(machine, *zone, key, later);
            let listed = page.locks.iter().find(|one| one.key == *key);
            // Who is over may still be counted, where its end is left to the next entry.
            let idle = lock.holders.is_empty() && lock.waiters.is_empty();
            if listed.map_or(!idle, |listed| *listed != lock) {
                return Err(format!("the list has {listed:?}, the lock is {lock:?}"));
            }
            let held: Vec<Verdict> = lock
                .holders
                .iter()
                .map(|holder| query::verify(machine, *zone, key, holder.fence, later))
                .filter(|verdict| verdict.held.is_some())
                .collect();
            let highest = held.iter().map(|verdict| verdict.fence).max();
            for holder in &lock.holders {
                let verdict = query::verify(machine, *zone, key, holder.fence, later);
                // Who is over by the leader's clock is shown with nothing left, until an entry ends it.
                let over = verdict.held.is_none() && holder.remaining_ms == Some(0);
                let same = over || verdict.held.as_ref() == Some(holder);
                if !same || verdict.highest != highest {
                    return Err(format!("{holder:?} verifies as {verdict:?}"));
                }
                let left = Duration::from_millis(holder.remaining_ms.unwrap_or(0) + 1);
                let after = later.plus(left);
                let verdict = query::verify(machine, *zone, key, holder.fence, after);
                if holder.remaining_ms.is_some() == verdict.held.is_some() {
                    return Err(format!("{holder:?} verifies later as {verdict:?}"));
                }
            }
        }
    }
    Ok(())
}
