//! What a snapshot leaves out because it can be computed: indexes, rings, lists, fronts, counts, timers.

use crate::ids::{Fence, TicketId};
use crate::machine::Machine;
use crate::machine::audit::Violation;
use crate::machine::convert::conversion_hash;
use crate::machine::index::Index;
use crate::machine::line::ticket_hash;
use crate::machine::session::session_hash;
use crate::machine::state::{Grant, Hold, Lock, Place, Session, Ticket, Work};
use crate::machine::table::{Ref, Table};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

impl Machine {
    /// Every ring is in the order of what the log gave its records: fences, and numbers of tickets.
    pub(super) fn rebuild(&mut self) -> Result<(), Violation> {
        self.rebuild_indexes()?;
        let grants = self.grants.iter().map(|(at, grant)| (grant.fence, at));
        let mut grants: Vec<(Fence, Ref<Grant>)> = grants.collect();
        grants.sort_unstable_by_key(|(fence, at)| (*fence, at.raw()));
        grants.into_iter().for_each(|(_, at)| self.enlist(at));
        self.rebuild_holds();

        let tickets = self.tickets.iter().map(|(at, ticket)| (ticket.id, at));
        let mut tickets: Vec<(TicketId, Ref<Ticket>)> = tickets.collect();
        tickets.sort_unstable_by_key(|(id, at)| (*id, at.raw()));
        tickets
            .into_iter()
            .for_each(|(_, at)| self.enlist_ticket(at));
        self.rebuild_places()?;

        self.rebuild_work()
    }

    /// What is looked for by a name has it alone.
    fn rebuild_indexes(&mut self) -> Result<(), Violation> {
        let hasher = self.hasher;
        self.lock_index = index(
            &self.locks,
            |lock| Some(hasher.lock(lock)),
            |a, b| a.zone == b.zone && a.key == b.key,
        )
        .ok_or(Violation("a lock is found by its key"))?;
        self.grant_index = index(
            &self.grants,
            |grant| Some(hasher.fence(grant.zone, grant.fence)),
            |a, b| a.zone == b.zone && a.fence == b.fence,
        )
        .ok_or(Violation("a grant is found by its fence"))?;
        self.ticket_index = index(
            &self.tickets,
            |ticket| Some(ticket_hash(ticket.id)),
            |a, b| a.zone == b.zone && a.id == b.id,
        )
        .ok_or(Violation("a ticket is found by its number"))?;
        self.conversion_index = index(
            &self.tickets,
            |ticket| ticket.converts().map(conversion_hash),
            |a, b| a.converts() == b.converts(),
        )
        .ok_or(Violation("a grant is converted once at a time"))?;
        self.request_index = index(
            &self.requests,
            |request| Some(hasher.request(request.zone, request.id)),
            |a, b| a.zone == b.zone && a.id == b.id,
        )
        .ok_or(Violation("a request is found by its key"))?;
        let lives = |session: &Session| session.ending.is_none();
        self.session_index = index(
            &self.sessions,
            |session| lives(session).then(|| session_hash(session.id)),
            |a, b| a.zone == b.zone && a.id == b.id,
        )
        .ok_or(Violation("a session is found by its number"))?;
        self.identifier_index = index(
            &self.sessions,
            |session| {
                let is_named = lives(session) && !session.identifier.is_empty();
                is_named.then(|| hasher.identifier(session))
            },
            |a, b| a.zone == b.zone && a.identifier == b.identifier,
        )
        .ok_or(Violation("a session is found by what it calls itself"))?;
        Ok(())
    }

    /// Those of one claim stand by key: from the last to the first, each before the ones after it.
    fn rebuild_holds(&mut self) {
        let all = self.holds.iter();
        let named = all.map(|(at, hold)| (self.grants.at(hold.grant).fence, hold.lock, at));
        let mut all: Vec<(Fence, Ref<Lock>, Ref<Hold>)> = named.collect();
        let key = |at: &Ref<Lock>| &self.locks.at(*at).key;
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| key(&a.1).cmp(key(&b.1))));
        for (_, _, at) in all.iter().rev() {
            let grant = self.holds.at(*at).grant;
            let grant = self.grants.at_mut(grant);
            self.holds.at_mut(*at).next = grant.holds.replace(*at);
        }
        all.into_iter().for_each(|(_, _, at)| self.enlist_hold(at));
    }

    fn rebuild_places(&mut self) -> Result<(), Violation> {
        let all = self.places.iter();
        let named = all.map(|(at, place)| {
            let lock = self.lines.at(place.line).lock;
            (self.tickets.at(place.ticket).id, lock, at)
        });
        let mut all: Vec<(TicketId, Ref<Lock>, Ref<Place>)> = named.collect();
        let key = |at: &Ref<Lock>| &self.locks.at(*at).key;
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| key(&a.1).cmp(key(&b.1))));
        for (_, lock, at) in all.iter().rev() {
            let lock = *lock;
            let ticket = self.places.at(*at).ticket;
            let ticket = self.tickets.at_mut(ticket);
            let converts = ticket.converts();
            self.places.at_mut(*at).next = ticket.places.replace(*at);
            if let Some(grant) = converts {
                let old = self.share_of(grant, lock);
                self.places.at_mut(*at).old =
                    Some(old.ok_or(Violation("who converts a lock holds it"))?);
            }
        }
        all.into_iter().for_each(|(_, _, at)| self.line_up(at));
        Ok(())
    }

    fn rebuild_work(&mut self) -> Result<(), Violation> {
        let mut over = BTreeSet::new();
        for work in &self.work {
            let is_due_once = match work {
                Work::Line(at) => {
                    let waits = self.lines.peek(*at).is_some_and(|line| !line.in_work);
                    if waits {
                        self.lines.at_mut(*at).in_work = true;
                    }
                    waits
                }
                Work::Session(at) => {
                    let session = self.sessions.peek(*at);
                    session.is_some_and(|session| session.ending.is_some()) && over.insert(at.raw())
                }
            };
            if !is_due_once {
                return Err(Violation("what is left to do is there, and listed once"));
            }
        }
        Ok(())
    }
}

/// The index of those in a table that have a hash, unless two of them have the `same` name.
fn index<T: Clone>(
    table: &Table<T>,
    hash: impl Fn(&T) -> Option<u64>,
    is_same: impl Fn(&T, &T) -> bool,
) -> Option<Index<T>> {
    let hashed = table
        .iter()
        .filter_map(|(at, record)| Some((hash(record)?, at)));
    Index::of(
        hashed.collect(),
        |a, b| is_same(table.at(a), table.at(b)),
        |at| hash(table.at(at)).unwrap_or_default(),
    )
}
