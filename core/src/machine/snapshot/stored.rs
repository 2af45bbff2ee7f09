//! The records in their tables, as they are read back.

use super::records::Record;
use crate::ids::ZoneId;
use crate::machine::Machine;
use crate::machine::crowd::{Crowd, Share};
use crate::machine::state::{Asker, Grant, Hold, Line, Lock, Place, Request, Session, Ticket};
use crate::machine::table::{Ref, Table};
use crate::time::Stamp;

/// A record in its table: what must be there before it, and how it is found.
pub(super) trait Stored: Record + Clone {
    fn table(machine: &mut Machine) -> &mut Table<Self>;

    /// Whether all that it names is there; else what is not.
    fn check(&self, machine: &Machine) -> Result<(), &'static str>;

    /// Puts it where it belongs. What needs an order of its own or the number of them all, is done by
    /// `rebuild`, at the end.
    fn enlist(machine: &mut Machine, at: Ref<Self>);
}

fn there(is_there: bool, expected: &'static str) -> Result<(), &'static str> {
    if is_there { Ok(()) } else { Err(expected) }
}

fn has_zone(machine: &Machine, zone: ZoneId) -> Result<(), &'static str> {
    there(machine.zones.contains_key(&zone), "a zone that is listed")
}

fn has_session(machine: &Machine, session: Option<Ref<Session>>) -> Result<(), &'static str> {
    let is_there = session.is_none_or(|at| machine.sessions.peek(at).is_some());
    there(is_there, "a session that is there")
}

fn has_request(machine: &Machine, request: Option<Ref<Request>>) -> Result<(), &'static str> {
    let is_there = request.is_none_or(|at| machine.requests.peek(at).is_some());
    there(is_there, "a request that is there")
}

impl Stored for Crowd {
    fn table(machine: &mut Machine) -> &mut Table<Self> {
        &mut machine.crowds
    }

    fn check(&self, _: &Machine) -> Result<(), &'static str> {
        Ok(())
    }

    fn enlist(_: &mut Machine, _: Ref<Self>) {}
}

/// Whether a lock is shared in such a way, and this one is in its crowd if it is `counted`.
fn is_shared_so(
    machine: &Machine,
    lock: Ref<Lock>,
    share: Share,
    counted: bool,
) -> Result<(), &'static str> {
    let crowd = machine.locks.peek(lock).and_then(|lock| lock.crowd);
    let fits = match crowd.map(|at| machine.crowds.at(at)) {
        None => share.permits().is_none() && (!counted || share == Share::EXCLUSIVE),
        Some(Crowd::Modes(_)) => share.permits().is_none(),
        Some(Crowd::Permits { .. }) => share.permits().is_some(),
    };
    there(fits, "a share as the lock's are")
}

impl Stored for Lock {
    fn table(machine: &mut Machine) -> &mut Table<Self> {
        &mut machine.locks
    }

    fn check(&self, machine: &Machine) -> Result<(), &'static str> {
        let crowd = self.crowd;
        let is_there = crowd.is_none_or(|at| machine.crowds.peek(at).is_some());
        there(is_there, "a crowd that is there")?;
        has_zone(machine, self.zone)
    }

    fn enlist(_: &mut Machine, _: Ref<Self>) {}
}

impl Stored for Line {
    fn table(machine: &mut Machine) -> &mut Table<Self> {
        &mut machine.lines
    }

    fn check(&self, machine: &Machine) -> Result<(), &'static str> {
        let lock = machine.locks.peek(self.lock);
        there(
            lock.is_some_and(|lock| lock.line.is_none()),
            "a lock that is there and has no other line",
        )
    }

    fn enlist(machine: &mut Machine, at: Ref<Self>) {
        let lock = machine.lines.at(at).lock;
        machine.locks.at_mut(lock).line = Some(at);
    }
}

impl Stored for Session {
    fn table(machine: &mut Machine) -> &mut Table<Self> {
        &mut machine.sessions
    }

    fn check(&self, machine: &Machine) -> Result<(), &'static str> {
        has_zone(machine, self.zone)
    }

    fn enlist(machine: &mut Machine, at: Ref<Self>) {
        if machine.sessions.at(at).ending.is_none() {
            machine.enlist_session(at);
        }
    }
}

impl Stored for Request {
    fn table(machine: &mut Machine) -> &mut Table<Self> {
        &mut machine.requests
    }

    fn check(&self, machine: &Machine) -> Result<(), &'static str> {
        has_zone(machine, self.zone)
    }

    fn enlist(machine: &mut Machine, at: Ref<Self>) {
        if machine.requests.at(at).forget_at < Stamp::MAX {
            machine.count_down(at);
        }
    }
}

impl Stored for Grant {
    fn table(machine: &mut Machine) -> &mut Table<Self> {
        &mut machine.grants
    }

    fn check(&self, machine: &Machine) -> Result<(), &'static str> {
        has_zone(machine, self.zone)?;
        has_session(machine, self.session())?;
        has_request(machine, self.request)
    }

    fn enlist(_: &mut Machine, _: Ref<Self>) {}
}

impl Stored for Hold {
    fn table(machine: &mut Machine) -> &mut Table<Self> {
        &mut machine.holds
    }

    fn check(&self, machine: &Machine) -> Result<(), &'static str> {
        let grant = machine.grants.peek(self.grant);
        there(grant.is_some(), "a grant that is there")?;
        let lock = machine.locks.peek(self.lock);
        there(lock.is_some(), "a lock that is there")?;
        is_shared_so(machine, self.lock, self.share, true)
    }

    fn enlist(_: &mut Machine, _: Ref<Self>) {}
}

impl Stored for Place {
    fn table(machine: &mut Machine) -> &mut Table<Self> {
        &mut machine.places
    }

    fn check(&self, machine: &Machine) -> Result<(), &'static str> {
        let ticket = machine.tickets.peek(self.ticket);
        there(ticket.is_some(), "a ticket that is there")?;
        let lock = machine.lines.peek(self.line).map(|line| line.lock);
        let lock = lock.ok_or("a line that is there")?;
        let offered = ticket.is_some_and(|ticket| ticket.offered);
        is_shared_so(machine, lock, self.share, offered)
    }

    fn enlist(_: &mut Machine, _: Ref<Self>) {}
}

impl Stored for Ticket {
    fn table(machine: &mut Machine) -> &mut Table<Self> {
        &mut machine.tickets
    }

    fn check(&self, machine: &Machine) -> Result<(), &'static str> {
        has_zone(machine, self.zone)?;
        has_session(machine, self.session())?;
        let grant = self.converts();
        let is_there = grant.is_none_or(|at| machine.grants.peek(at).is_some());
        there(is_there, "a grant that is there")?;
        has_request(
            machine,
            match self.asker {
                Asker::Key(request) => Some(request),
                Asker::Nobody | Asker::Session { .. } => None,
            },
        )
    }

    fn enlist(_: &mut Machine, _: Ref<Self>) {}
}
