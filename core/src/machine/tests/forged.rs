//! Snapshots that no log wrote, whose names fit them: they are refused, or nothing is wrong with what they
//! say. What is read back is not audited as a whole, so what makes it must find what its bytes can say.

use super::compare::{Pair, entries, limits};
use super::snapshots::Written;
use super::state::{Ending, Term};
use super::table::Table;
use super::*;
use proptest::prelude::*;

/// Which kind of change, and which records it takes part in.
type Change = (u8, usize, usize);

/// One of the table's records.
fn pick<T: Clone>(table: &Table<T>, draw: usize) -> Option<Ref<T>> {
    let place = draw.checked_rem(table.len())?;
    table.iter().nth(place).map(|(at, _)| at)
}

/// Two of them.
fn two<T: Clone>(table: &Table<T>, (_, a, b): Change) -> Option<(Ref<T>, Ref<T>)> {
    Some((pick(table, a)?, pick(table, b)?))
}

/// A lie about one record: mostly that it is what another one is.
fn lie(machine: &mut Machine, change: Change) -> Option<()> {
    let (kind, _, draw) = change;
    match kind % 6 {
        0 => lie_of_locks(machine, change),
        1 => lie_of_grants(machine, change),
        2 => lie_of_holds(machine, change),
        3 => lie_of_sessions(machine, change),
        4 => {
            let (at, from) = two(&machine.requests, change)?;
            let other = machine.requests.at(from).clone();
            let request = machine.requests.at_mut(at);
            match draw % 4 {
                0 => (request.id, request.zone) = (other.id, other.zone),
                1 => request.zone = other.zone,
                2 => request.outcome = other.outcome,
                _ => request.forget_at = other.forget_at,
            }
            Some(())
        }
        _ => lie_of_tickets(machine, change),
    }
}

fn lie_of_locks(machine: &mut Machine, change: Change) -> Option<()> {
    let (at, from) = two(&machine.locks, change)?;
    let other = machine.locks.at(from).clone();
    let lock = machine.locks.at_mut(at);
    match change.2 % 4 {
        0 => (lock.key, lock.zone) = (other.key, other.zone),
        1 => lock.zone = other.zone,
        2 => lock.crowd = other.crowd,
        _ => lock.key = other.key,
    }
    Some(())
}

fn lie_of_grants(machine: &mut Machine, change: Change) -> Option<()> {
    let (at, from) = two(&machine.grants, change)?;
    let other = machine.grants.at(from).clone();
    let grant = machine.grants.at_mut(at);
    match change.2 % 7 {
        6 => grant.entered = 1 - grant.entered.min(1),
        0 => (grant.fence, grant.zone) = (other.fence, other.zone),
        1 => grant.zone = other.zone,
        2 => grant.term = other.term,
        3 => grant.request = other.request,
        4 => grant.fence = grant.fence.next(),
        _ => {
            grant.term = Term::Lease {
                deadline: Stamp::MAX,
                ttl_ms: 1,
            }
        }
    }
    Some(())
}

fn lie_of_holds(machine: &mut Machine, change: Change) -> Option<()> {
    let (at, from) = two(&machine.holds, change)?;
    let other = machine.holds.at(from).clone();
    let hold = machine.holds.at_mut(at);
    match change.2 % 4 {
        0 => hold.lock = other.lock,
        1 => hold.grant = other.grant,
        2 => (hold.lock, hold.grant) = (other.lock, other.grant),
        _ => hold.share = other.share,
    }
    Some(())
}

fn lie_of_sessions(machine: &mut Machine, change: Change) -> Option<()> {
    let (at, from) = two(&machine.sessions, change)?;
    let other = machine.sessions.at(from).clone();
    let session = machine.sessions.at_mut(at);
    match change.2 % 5 {
        0 => session.id = other.id,
        1 => session.identifier = other.identifier,
        2 => session.answers = other.answers,
        3 => session.done_through = other.done_through,
        _ => {
            session.ending = match session.ending {
                None => Some(Ending::Closed),
                Some(_) => None,
            }
        }
    }
    Some(())
}

fn lie_of_tickets(machine: &mut Machine, change: Change) -> Option<()> {
    let (at, from) = two(&machine.places, change)?;
    let other = machine.places.at(from).clone();
    let place = machine.places.at_mut(at);
    let ticket = place.ticket;
    match change.2 % 8 {
        7 => {
            let other = machine.tickets.at(other.ticket).aim.clone();
            machine.tickets.at_mut(ticket).aim = other;
        }
        0 => place.number = other.number,
        1 => place.line = other.line,
        2 => place.ticket = other.ticket,
        3 => place.share = other.share,
        4 => {
            let other = machine.tickets.at(other.ticket).clone();
            let ticket = machine.tickets.at_mut(ticket);
            (ticket.id, ticket.asker) = (other.id, other.asker);
        }
        5 => {
            let ticket = machine.tickets.at_mut(ticket);
            ticket.offered = !ticket.offered;
        }
        _ => drop(machine.work.pop_front()),
    }
    Some(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_believed_is_sound(
        limits in limits(),
        history in entries(),
        changes in prop::collection::vec((any::<u8>(), 0..8usize, any::<usize>()), 1..4),
    ) {
        let mut pair = Pair::new(limits);
        for (time, choices) in &history {
            pair.step(*time, choices)?;
        }
        for change in changes {
            lie(&mut pair.machine, change);
        }
        let forged = Written::of(&mut pair.machine);
        if let Ok(machine) = forged.restored(limits, 7) {
            prop_assert_eq!(machine.audit(), Ok(()));
        }
    }
}

/// Every name that two records can share is refused by the invariant that it breaks.
#[test]
fn a_name_is_that_of_one_record() {
    let mut world = World::with_limits(Limits::default());
    let sessions = [world.session(60_000, "one"), world.session(60_000, "two")];
    for (number, session) in (1..).zip(sessions) {
        let name = ["a", "b"][number - 1];
        world.granted(key(number as u128), lease(name));
        let held = acquire(["c", "d"][number - 1], Exclusive, Life::Session, 0);
        world.granted(numbered(session, 1, 0), held);
        world.queued(Client::None, acquire(name, Exclusive, LEASE, 60_000));
    }
    let written = Written::of(&mut world.machine);
    let refused = |kind, draw| {
        let mut machine = written.restored(Limits::default(), 1).unwrap();
        lie(&mut machine, (kind, 1, draw)).unwrap();
        let error = Written::of(&mut machine).restored(Limits::default(), 1);
        std::format!("{}", error.unwrap_err())
    };
    // Of record 0, that it is called as record 1 is, which stands where the draw says too.
    assert!(refused(0, 0).contains("a lock is found by its key"));
    assert!(refused(1, 0).contains("a grant is found by its fence"));
    assert!(refused(3, 0).contains("a session is found by its number"));
    assert!(refused(3, 6).contains("a session is found by what it calls itself"));
    assert!(refused(4, 0).contains("a request is found by its key"));
    assert!(refused(5, 4).contains("a ticket is found by its number"));
    assert!(refused(1, 5).contains("a lease ends"));
}
