//! What holds of claims: those that hold, those that wait, and the locks they meet at.

use super::{Checked, must};
use crate::limits::CLAIM_KEYS_MAX;
use crate::machine::command::Life;
use crate::machine::crowd::{Conversions, Crowd, Share};
use crate::machine::state::{Aim, Asker, Grant, Hold, Line, Lock, Outcome, Queue, Term, Ticket};
use crate::machine::table::Ref;
use crate::machine::{Machine, Origin};
use crate::time::Stamp;
use alloc::vec::Vec;

/// The keys of one claim, as they are walked.
#[derive(Default)]
struct Keys<'a> {
    last: Option<&'a [u8]>,
    count: usize,
}

impl<'a> Keys<'a> {
    fn take(&mut self, key: &'a [u8]) -> Checked {
        must(self.last < Some(key), "a claim has each key once, in order")?;
        self.last = Some(key);
        self.count += 1;
        must(self.count <= CLAIM_KEYS_MAX, "a claim has few keys")
    }
}

impl Machine {
    pub(super) fn audit_locks(&self) -> Checked {
        let mut crowds = Vec::new();
        for (at, lock) in self.locks.iter() {
            must(
                lock.holders.is_some() || lock.line.is_some(),
                "a lock that nobody holds or waits for has no record",
            )?;
            self.audit_line(at, lock)?;
            self.audit_crowd(lock)?;
            crowds.extend(lock.crowd.map(Ref::raw));
        }
        crowds.sort_unstable();
        crowds.dedup();
        must(
            crowds.len() == self.crowds.len(),
            "each lock that is shared has a crowd of its own",
        )
    }

    /// Counts again who has a lock or is offered it.
    fn audit_crowd(&self, lock: &Lock) -> Checked {
        let held = self.holders(lock).map(|(_, hold)| (hold.share, None));
        let line = lock.line.map(|line| self.lines.at(line));
        let line = line.into_iter().flat_map(|line| self.places_in(line));
        let offered = line.filter(|(ticket, _)| ticket.offered);
        let mut all = held.chain(offered.map(|(_, place)| (place.share, place.old)));
        let Some(crowd) = lock.crowd.map(|at| self.crowds.at(at)) else {
            let is_exclusive = all
                .next()
                .is_none_or(|(share, _)| share == Share::EXCLUSIVE);
            return must(
                is_exclusive && all.next().is_none(),
                "no two incompatible grants exist",
            );
        };
        let all: Vec<(Share, Option<Share>)> = all.collect();
        let (mut again, is_needed) = match crowd {
            Crowd::Modes(_) => {
                let mut all = all.iter();
                let is_shared = all.any(|(share, _)| *share != Share::EXCLUSIVE);
                (Crowd::beside(false), is_shared)
            }
            Crowd::Permits { capacity, .. } => (Crowd::of_permits(*capacity), self.is_used(lock)),
        };
        must(is_needed, "a lock that nobody shares has no crowd")?;
        for (share, old) in &all {
            let meets = matches!(again, Crowd::Permits { .. }) || again.has_room_for(*share, *old);
            must(meets, "no two incompatible grants exist")?;
            again.add(*share);
        }
        must(again == *crowd, "who shares a lock is counted")
    }

    fn audit_line(&self, at: Ref<Lock>, lock: &Lock) -> Checked {
        let Some(line_at) = lock.line else {
            return Ok(());
        };
        let line = self.lines.at(line_at);
        must(
            line.lock == at,
            "a line stands before the lock that names it",
        )?;
        self.audit_queue(line_at, &line.waiting)?;
        self.audit_queue(line_at, &line.converting)?;
        self.audit_conversions(line)?;
        must(
            line.count() > 0 || line.in_work,
            "an empty line has no record",
        )
    }

    fn audit_queue(&self, line_at: Ref<Line>, queue: &Queue) -> Checked {
        let (mut count, mut number, mut waits) = (0, None, false);
        for (ticket, place) in self.places_of_queue(queue) {
            count += 1;
            must(
                place.line == line_at,
                "a place is in the line that lists it",
            )?;
            must(
                number < Some(place.number),
                "tickets stand in the order they came",
            )?;
            number = Some(place.number);
            must(
                !(waits && ticket.offered),
                "nobody is served before the front",
            )?;
            if ticket.offered {
                must(
                    ticket.session().is_none(),
                    "a session is granted, not asked",
                )?;
            } else if !waits {
                waits = true;
                let front = queue.front.map(|front| self.places.at(front).number);
                must(
                    front == Some(place.number),
                    "the front is the first that waits",
                )?;
            }
        }
        must(waits == queue.front.is_some(), "a front waits")?;
        must(count == queue.count, "a line knows its length")
    }

    /// Those who convert hold the lock, and none of them waits for one behind it.
    fn audit_conversions(&self, line: &Line) -> Checked {
        let mut others = self.places_of_queue(&line.waiting);
        must(
            others.all(|(_, place)| place.old.is_none()),
            "who holds nothing of a lock does not convert",
        )?;
        let mut before = Conversions::default();
        for (ticket, place) in self.places_of_queue(&line.converting) {
            let held = ticket.converts();
            let held = held.and_then(|grant| self.share_of(grant, line.lock));
            must(
                held.is_some() && held == place.old,
                "who converts a lock holds it",
            )?;
            let Some(old) = held.filter(|_| !ticket.offered) else {
                continue;
            };
            let is_sound =
                old != place.share && old.permits().is_some() == place.share.permits().is_some();
            must(is_sound, "a conversion changes what is held")?;
            must(
                old.permits().is_some() || !before.waits_for(old),
                "nobody converts behind one who waits for what he holds",
            )?;
            before.add(old, place.share);
        }
        must(before == line.conversions, "those who convert are counted")
    }

    pub(super) fn audit_grants(&self) -> Checked {
        for (_, grant) in self.grants.iter() {
            let mut keys = Keys::default();
            for (_, hold) in self.holds_of(grant) {
                let lock = self.locks.at(hold.lock);
                must(lock.zone == grant.zone, "a grant holds in its own zone")?;
                keys.take(&lock.key)?;
            }
            must(keys.count > 0, "a claim has a key")?;
            let given = self.zones.get(&grant.zone).map(|zone| zone.fence);
            must(
                Some(grant.fence) <= given,
                "no fence is above the zone's counter",
            )?;
            let is_lease = matches!(grant.term, Term::Lease { .. });
            must(
                is_lease == (grant.deadline() < Stamp::MAX),
                "a lease ends, and nothing else has a deadline of its own",
            )?;
            self.audit_entries(grant)?;
        }
        Ok(())
    }

    /// A lock has at most one re-entrant grant of a session.
    fn audit_entries(&self, grant: &Grant) -> Checked {
        if grant.entered == 0 {
            return Ok(());
        }
        must(
            grant.entered <= self.limits.entries,
            "a grant is not entered more often than the limit",
        )?;
        let session = grant.session();
        must(session.is_some(), "only a session enters again")?;
        let is_found = |(at, hold): (Ref<Hold>, &Hold)| {
            let entry = session.and_then(|session| self.entry_of(session, hold.lock));
            entry == Some(at) && hold.share.permits().is_none()
        };
        must(
            self.holds_of(grant).all(is_found),
            "a session finds what it may enter again",
        )
    }

    pub(super) fn audit_tickets(&self) -> Checked {
        let mut waits = 0;
        for (at, ticket) in self.tickets.iter() {
            self.audit_ticket(at, ticket)?;
            must(
                ticket.id < Origin::after(self.applied).ticket(),
                "a ticket was made by an applied slot",
            )?;
            self.audit_aim(ticket)?;
            if let Asker::Session { session, seq, .. } = ticket.asker {
                let session = self.sessions.at(session);
                must(
                    session.zone == ticket.zone,
                    "a session waits in its own zone",
                )?;
                let answer = session.answers.iter().find(|answer| answer.seq == seq);
                if let Some(answer) = answer {
                    waits += 1;
                    must(
                        matches!(answer.outcome, Outcome::Waits(waits) if waits == at),
                        "who asks again is told of its ticket",
                    )?;
                }
            }
        }
        let answers = self
            .sessions
            .iter()
            .flat_map(|(_, session)| &session.answers);
        let told = answers.filter(|answer| matches!(answer.outcome, Outcome::Waits(_)));
        must(
            told.count() == waits,
            "who asks again is told of a ticket that waits",
        )?;
        let listed = self.lines.iter().map(|(_, line)| line.count()).sum::<u64>();
        must(
            u64::try_from(self.places.len()) == Ok(listed),
            "lines list all places",
        )?;
        let listed = self.tickets.iter();
        let listed = listed.map(|(at, _)| self.keys_wanted(at)).sum::<usize>();
        must(listed == self.places.len(), "tickets list all places")
    }

    fn audit_aim(&self, ticket: &Ticket) -> Checked {
        let (life, reentrant) = match ticket.aim {
            Aim::Take {
                life, reentrant, ..
            } => (life, reentrant),
            Aim::Convert(grant) => {
                let grant = self.grants.at(grant);
                must(
                    grant.zone == ticket.zone,
                    "a grant is converted in its zone",
                )?;
                return must(
                    grant.entered <= 1 || !self.is_ticket_alive(ticket),
                    "what is entered more than once is not converted",
                );
            }
        };
        must(
            life != Life::Session || ticket.session().is_some(),
            "a session lock is asked for by its session",
        )?;
        must(
            life == Life::Session || !reentrant,
            "only a lock that lives with its session is re-entrant",
        )?;
        let mut shares = self.places_of(ticket).map(|(_, place)| place.share);
        must(
            !reentrant || shares.all(|share| share.permits().is_none()),
            "permits are never re-entrant",
        )
    }

    fn audit_ticket(&self, at: Ref<Ticket>, ticket: &Ticket) -> Checked {
        let mut keys = Keys::default();
        for (_, place) in self.places_of(ticket) {
            let line = self.lines.at(place.line);
            let lock = self.locks.at(line.lock);
            must(place.ticket == at, "a ticket's place is its own")?;
            must(lock.zone == ticket.zone, "a ticket waits in its own zone")?;
            let queue = line.queue(ticket.converts().is_some());
            must(place.number < queue.place_next, "a place is given once")?;
            keys.take(&lock.key)?;
        }
        must(keys.count > 0, "a claim has a key")?;
        let is_due = || {
            self.is_next(ticket)
                || self.again_in_front(ticket).is_some()
                || self.stuck_in_front(ticket).is_some()
        };
        let stands = self.is_ticket_alive(ticket) && !ticket.offered && is_due();
        let mut lines = self.places_of(ticket).map(|(_, place)| place.line);
        must(
            !stands || lines.any(|line| self.lines.at(line).in_work),
            "who waits is blocked",
        )
    }
}
