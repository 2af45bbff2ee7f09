//! Promises about what is: who holds, who waits, and who may not.

use super::{Checked, Ledger, Step, hold, ticket_of};
use crate::model::compatible;
use tenure_core::ids::{Fence, TicketId, ZoneId};
use tenure_core::machine::answer::{Answer, Event};
use tenure_core::machine::command::{Mode, Operation};
use tenure_core::machine::key::Key;
use tenure_core::machine::parts::{Part, Parts};
use tenure_core::machine::{LockView, TicketView};

impl Ledger {
    pub(super) fn views(&self, step: &Step<'_>) -> Checked {
        for (zone, lock) in &step.after.locks {
            no_two_incompatible_grants(lock)?;
            no_more_permits_than_the_capacity(step, *zone, lock)?;
            nobody_overtakes(step, *zone, lock)?;
        }
        self.who_holds_is_who_was_granted(step)?;
        self.who_waits_is_who_was_queued(step)?;
        nobody_waits_in_vain(step)?;
        a_refusal_changes_nothing(step)
    }

    /// All or nothing, neither early nor late: what is seen held is what was granted and is not over, with
    /// each of its keys.
    fn who_holds_is_who_was_granted(&self, step: &Step<'_>) -> Checked {
        let mut told: Vec<(ZoneId, Fence, &Key, u32)> = Vec::new();
        for held in self
            .held
            .iter()
            .filter(|held| !self.is_over(held.session, held.ends))
        {
            for part in held.parts.iter() {
                told.push((held.zone, held.fence, &part.key, held.entered));
            }
        }
        let mut seen = Vec::new();
        for (zone, lock) in &step.after.locks {
            for holder in &lock.holders {
                seen.push((*zone, holder.fence, &lock.key, holder.entered));
            }
        }
        told.sort_unstable();
        seen.sort_unstable();
        hold(told == seen, "all or nothing, and each end is told", || {
            format!("told {told:?}, seen {seen:?}")
        })
    }

    fn who_waits_is_who_was_queued(&self, step: &Step<'_>) -> Checked {
        let mut told: Vec<(ZoneId, TicketId, &Key)> = Vec::new();
        for waiting in &self.waiting {
            // What is over may stand there until there is room for its end.
            if self.is_over(waiting.session, Some(waiting.ends)) {
                hold(!step.settled, "no wait ends late", || {
                    format!("{}", waiting.id)
                })?;
                continue;
            }
            for part in waiting.parts.iter() {
                told.push((waiting.zone, waiting.id, &part.key));
            }
        }
        let mut seen = Vec::new();
        for (zone, lock) in &step.after.locks {
            for waiter in &lock.waiters {
                seen.push((*zone, waiter.ticket, &lock.key));
            }
        }
        told.sort_unstable();
        seen.sort_unstable();
        let agree = if step.settled {
            told == seen
        } else {
            told.iter().all(|one| seen.contains(one))
        };
        hold(
            agree,
            "a claim waits in all of its lines, until it is told",
            || format!("told {told:?}, seen {seen:?}"),
        )
    }
}

fn no_two_incompatible_grants(lock: &LockView) -> Checked {
    for (at, one) in lock.holders.iter().enumerate() {
        for other in &lock.holders[at + 1..] {
            let fine = one.fence != other.fence && compatible(one.mode, other.mode);
            hold(fine, "no two incompatible grants", || format!("{lock:?}"))?;
        }
    }
    Ok(())
}

/// Unless the capacity shrank; and then nothing more is granted.
fn no_more_permits_than_the_capacity(step: &Step<'_>, zone: ZoneId, lock: &LockView) -> Checked {
    let mut taken = 0;
    let mut has = 0;
    for holder in &lock.holders {
        if let Mode::Permits { n, capacity } = holder.mode {
            taken += n;
            has = capacity;
        }
    }
    let shrinks = step.turn.commands.iter().any(
        |command| matches!(&command.operation, Operation::Resize { key, .. } if *key == lock.key),
    );
    let was = step.before.lock(zone, &lock.key);
    let old = |fence: Fence| was.is_some_and(|was| was.holders.iter().any(|h| h.fence == fence));
    // Nor is what was offered taken back: then its confirm is the new holder.
    let confirmed = |fence: Fence| ticket_of(step, fence).is_some();
    let drains = lock
        .holders
        .iter()
        .all(|holder| old(holder.fence) || confirmed(holder.fence));
    hold(
        taken <= has || shrinks || drains,
        "no more permits than the capacity",
        || format!("{lock:?}"),
    )
}

/// First come, first served. Who waited before this entry, and still does, saw nobody pass.
fn nobody_overtakes(step: &Step<'_>, zone: ZoneId, lock: &LockView) -> Checked {
    let before = step.before.line(zone, &lock.key);
    let after = step.after.line(zone, &lock.key);
    let stays: Vec<TicketId> = after
        .iter()
        .copied()
        .filter(|id| before.contains(id))
        .collect();
    let in_order = after.starts_with(&stays)
        && stays.is_sorted_by_key(|id| before.iter().position(|one| one == id));
    hold(in_order, "a line keeps its order", || {
        format!("{before:?}, then {after:?}")
    })?;
    let Some(first) = stays.first() else {
        return Ok(());
    };
    let ahead = |id: &TicketId| {
        before
            .iter()
            .take_while(|one| *one != first)
            .any(|one| one == id)
    };
    for event in step.events {
        let (who, served) = match event {
            Event::Ended {
                ticket,
                answer: Answer::Granted(grant),
            } => (Some(*ticket), Some(grant)),
            Event::Answered {
                answer: Answer::Granted(grant),
                ..
            } if !grant.replayed => (ticket_of(step, grant.fence), Some(grant)),
            Event::Offered { ticket } => (Some(*ticket), None),
            _ => continue,
        };
        let entered = served.is_some_and(|grant| grant.entered > 1);
        let offered =
            who.is_some_and(|who| step.before.ticket(zone, who).is_some_and(|t| t.offered));
        let here = match served {
            Some(grant) => grant.zone == zone && grant.parts.of(&lock.key).is_some(),
            None => who.is_some_and(|who| {
                let view = step.after.ticket(zone, who);
                view.is_some_and(|view| view.parts.of(&lock.key).is_some())
            }),
        };
        let fair = !here || entered || offered || who.is_some_and(|who| ahead(&who));
        hold(fair, "nobody overtakes", || {
            format!("{event:?} before {stays:?} of {}", lock.key)
        })?;
    }
    Ok(())
}

/// Who is first in all of its lines, and could have all that it asks for, has it.
fn nobody_waits_in_vain(step: &Step<'_>) -> Checked {
    if !step.settled {
        return Ok(());
    }
    for (zone, id, ticket) in &step.after.tickets {
        let first = ticket.parts.iter().all(|part| {
            let line = step.after.line(*zone, &part.key);
            line.first() == Some(id)
        });
        let vain = !ticket.offered && first && could_have(step, *zone, &ticket.parts);
        hold(!vain, "nobody waits in vain", || {
            format!("{id}: {ticket:?}")
        })?;
    }
    Ok(())
}

fn could_have(step: &Step<'_>, zone: ZoneId, parts: &Parts) -> bool {
    parts.iter().all(|part| {
        let offered = step.after.tickets.iter();
        let offered = offered.filter(|(of, _, view)| *of == zone && view.offered);
        let offered = offered.filter_map(|(_, _, view)| mode_in(view, &part.key));
        let held = step.after.lock(zone, &part.key);
        let held = held.into_iter().flat_map(|lock| &lock.holders);
        let taken: Vec<Mode> = held.map(|holder| holder.mode).chain(offered).collect();
        fits(&taken, part)
    })
}

fn mode_in(view: &TicketView, key: &Key) -> Option<Mode> {
    Some(view.parts.of(key)?.mode)
}

fn fits(taken: &[Mode], part: &Part) -> bool {
    let Mode::Permits { n, capacity } = part.mode else {
        return taken.iter().all(|mode| compatible(*mode, part.mode));
    };
    let numbers = taken.iter().map(|mode| match mode {
        Mode::Permits { n, .. } => *n,
        _ => u32::MAX,
    });
    numbers.fold(n, u32::saturating_add) <= capacity
}

/// A refusal is an answer. (What time does in the same entry is told by other events.)
fn a_refusal_changes_nothing(step: &Step<'_>) -> Checked {
    let refused = |event: &Event| {
        matches!(
            event,
            Event::Answered {
                answer: Answer::Refused(_),
                ..
            }
        )
    };
    // Where an end is left to the next entry, who is over is gone before it is told.
    if !step.settled || !step.events.iter().all(refused) {
        return Ok(());
    }
    let before = step.before.clone().without_time();
    let after = step.after.clone().without_time();
    // Without any event, too, nothing changes.
    hold(before == after, "a refusal changes nothing", || {
        format!("{:?}: {before:?}, then {after:?}", step.events)
    })
}
