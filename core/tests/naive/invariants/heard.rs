//! Promises about what is said: each grant, each end, once, in time, and to whom it concerns.

use super::{Alive, Checked, Held, Ledger, Step, Waiting, command_of, hold};
use tenure_core::ids::{Fence, SessionId, TicketId, ZoneId};
use tenure_core::limits::OFFER_MS;
use tenure_core::machine::answer::{Answer, Event, Grant, Refusal};
use tenure_core::machine::command::{Client, Command, Life, Operation};

const MS: u64 = 1_000_000;

impl Ledger {
    pub(super) fn hear(&mut self, step: &Step<'_>) -> Checked {
        self.a_command_is_done_once(step)?;
        // Renewals come before all else of an entry (rule 22), also if they are told later.
        for event in step.events {
            if let Event::Answered { via, answer } = event
                && let Some(command) = command_of(step, *via)
            {
                self.hear_renewal(command.zone, answer)?;
            }
        }
        for event in step.events {
            match event {
                Event::Answered { via, answer } => {
                    let command = command_of(step, *via);
                    let Some(command) = command else {
                        return hold(false, "who did not ask is not answered", || {
                            format!("{via:?}")
                        });
                    };
                    if !self.a_retry_is_told_what_was(command, answer)? {
                        self.hear_answer(step, command, answer)?;
                    }
                }
                Event::Offered { ticket } => self.hear_offer(*ticket)?,
                Event::Ended { ticket, answer } => self.hear_end(*ticket, answer)?,
                Event::Lost { fence, zone, .. } => self.hear_loss(*zone, *fence)?,
                Event::SessionExpired { session } => self.hear_expiry(*session)?,
            }
        }
        Ok(())
    }

    fn a_command_is_done_once(&mut self, step: &Step<'_>) -> Checked {
        for event in step.events {
            if let Event::Answered { via, .. } = event {
                let new = !self.answered.contains(via);
                hold(new, "a command is done once", || format!("{via:?}"))?;
                self.answered.push(*via);
            }
        }
        Ok(())
    }

    fn hear_renewal(&mut self, zone: ZoneId, answer: &Answer) -> Checked {
        match answer {
            Answer::Renewed { fence, ttl_ms } => {
                let now = self.now;
                let held = self.held(zone, *fence);
                let Some(held) = held else {
                    return hold(false, "only what is held is renewed", || format!("{fence}"));
                };
                held.ends = Some(now + ttl_ms * MS);
                Ok(())
            }
            Answer::KeptAlive {
                session, ttl_ms, ..
            } => {
                let now = self.now;
                let mut all = self.sessions.iter_mut();
                let Some(alive) = all.find(|one| one.id == *session) else {
                    return hold(false, "only who lives is kept alive", || {
                        format!("{session}")
                    });
                };
                alive.ends = now + ttl_ms * MS;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn hear_answer(&mut self, step: &Step<'_>, command: &Command, answer: &Answer) -> Checked {
        let zone = command.zone;
        match answer {
            Answer::Granted(grant) => {
                let confirmed = matches!(command.operation, Operation::Confirm { .. });
                if grant.replayed || confirmed && super::ticket_of(step, grant.fence).is_some() {
                    return Ok(());
                }
                self.hear_grant(session_of(command.client), grant)
            }
            Answer::Queued { ticket, .. } => self.hear_queued(command, *ticket),
            Answer::Released {
                fence,
                already: false,
                entered,
            } => self.hear_release(zone, *fence, *entered),
            Answer::SessionOpened { session, ttl_ms } => {
                let new = !self.opened.contains(&(zone, *session));
                hold(new, "a session's number is new", || format!("{session}"))?;
                self.opened.push((zone, *session));
                self.sessions.push(Alive {
                    zone,
                    id: *session,
                    ends: self.now + ttl_ms * MS,
                });
                Ok(())
            }
            Answer::SessionClosed { session } => {
                self.sessions.retain(|one| one.id != *session);
                self.held.retain(|held| held.session != Some(*session));
                Ok(())
            }
            Answer::Released { .. }
            | Answer::Renewed { .. }
            | Answer::KeptAlive { .. }
            | Answer::Offered { .. }
            | Answer::Cancelled { .. }
            | Answer::Resized { .. }
            | Answer::Converted { .. }
            | Answer::Forced { .. }
            | Answer::Configured { .. }
            | Answer::Refused(_) => Ok(()),
        }
    }

    /// A grant is new, or its own session enters it once more.
    fn hear_grant(&mut self, asked_by: Option<SessionId>, grant: &Grant) -> Checked {
        let shown = || format!("{grant:?}");
        if let Some(held) = self.held(grant.zone, grant.fence) {
            let once_more = held.entered > 0 && grant.entered == held.entered + 1;
            held.entered = grant.entered;
            hold(once_more, "each entry is counted", shown)?;
            let own = grant.session.is_some() && grant.session == asked_by;
            return hold(own, "only the session itself enters", shown);
        }
        let mut all = self.highest.iter_mut();
        let (_, highest) = all.find(|(zone, _)| *zone == grant.zone).expect("a zone");
        hold(grant.fence > *highest, "fences only grow", shown)?;
        *highest = grant.fence;
        let whole = match grant.life {
            Life::Lease { ttl_ms } => grant.remaining_ms == Some(ttl_ms),
            Life::Static => grant.remaining_ms.is_none(),
            Life::Session => grant.session.is_some(),
        };
        hold(whole, "a wait spends no time to live", shown)?;
        self.held.push(Held {
            zone: grant.zone,
            fence: grant.fence,
            parts: grant.parts.clone(),
            session: grant.session,
            ends: match grant.life {
                Life::Lease { ttl_ms } => Some(self.now + ttl_ms * MS),
                Life::Static | Life::Session => None,
            },
            entered: grant.entered,
        });
        Ok(())
    }

    fn hear_queued(&mut self, command: &Command, ticket: TicketId) -> Checked {
        if self.waiting.iter().any(|one| one.id == ticket) {
            return Ok(());
        }
        let Operation::Acquire(claim) = &command.operation else {
            return hold(false, "only claims wait", || format!("{command:?}"));
        };
        self.waiting.push(Waiting {
            zone: command.zone,
            id: ticket,
            parts: claim.parts.clone(),
            session: session_of(command.client),
            ends: self.now + claim.wait_ms * MS,
        });
        Ok(())
    }

    /// Each release leaves once, and the last one ends the grant.
    fn hear_release(&mut self, zone: ZoneId, fence: Fence, entered: u32) -> Checked {
        let Some(held) = self.held(zone, fence) else {
            return hold(false, "only what is held is released", || {
                format!("{fence}")
            });
        };
        let was = held.entered;
        held.entered = entered;
        hold(
            entered == 0 || entered + 1 == was,
            "each release leaves once",
            || format!("{fence}: {was}, and then {entered}"),
        )?;
        if entered == 0 {
            self.held
                .retain(|one| (one.zone, one.fence) != (zone, fence));
        }
        Ok(())
    }

    fn hear_offer(&mut self, ticket: TicketId) -> Checked {
        let now = self.now;
        let mut all = self.waiting.iter_mut();
        let Some(waiting) = all.find(|one| one.id == ticket) else {
            return hold(false, "only who waits is offered", || format!("{ticket}"));
        };
        waiting.ends = now + OFFER_MS * MS;
        let nobody = waiting.session.is_none();
        hold(nobody, "who has a session is granted at once", || {
            format!("{ticket}")
        })
    }

    /// A wait ends once, and not before its time.
    fn hear_end(&mut self, ticket: TicketId, answer: &Answer) -> Checked {
        let at = self.waiting.iter().position(|one| one.id == ticket);
        let Some(at) = at else {
            return hold(false, "each end of a wait is told once", || {
                format!("{ticket}")
            });
        };
        let waiting = self.waiting.remove(at);
        if let Answer::Refused(Refusal::WaitTimeout { .. }) = answer {
            let (ends, now) = (waiting.ends, self.now);
            hold(ends <= now, "no wait ends early", || {
                format!("{ticket}: {ends}, {now}")
            })?;
        }
        let Answer::Granted(grant) = answer else {
            return Ok(());
        };
        let lives = waiting.session.is_none() || self.session_ends(waiting.session).is_some();
        hold(lives, "who is gone is granted nothing", || {
            format!("{grant:?}")
        })?;
        if self.held(grant.zone, grant.fence).is_none() {
            hold(
                grant.parts.count() == waiting.parts.count(),
                "all or nothing",
                || format!("{grant:?} of {:?}", waiting.parts),
            )?;
        }
        self.hear_grant(waiting.session, grant)
    }

    /// The loser is told, once, and nobody loses early.
    fn hear_loss(&mut self, zone: ZoneId, fence: Fence) -> Checked {
        let mut all = self.held.iter();
        let at = all.position(|held| (held.zone, held.fence) == (zone, fence));
        let Some(at) = at else {
            return hold(false, "each loss is told once", || format!("{fence}"));
        };
        let over = self.is_over(self.held[at].session, self.held[at].ends);
        let (ends, now) = (self.held[at].ends, self.now);
        self.held.remove(at);
        hold(over, "no grant ends early", || {
            format!("{fence}: {ends:?}, {now}")
        })
    }

    fn hear_expiry(&mut self, session: SessionId) -> Checked {
        let Some(at) = self.sessions.iter().position(|one| one.id == session) else {
            return hold(false, "the end of a session is told once", || {
                format!("{session}")
            });
        };
        let ends = self.sessions[at].ends;
        self.sessions.remove(at);
        let now = self.now;
        hold(ends <= now, "no session ends early", || {
            format!("{session}: {ends}, {now}")
        })
    }

    fn held(&mut self, zone: ZoneId, fence: Fence) -> Option<&mut Held> {
        let mut all = self.held.iter_mut();
        all.find(|held| (held.zone, held.fence) == (zone, fence))
    }
}

const fn session_of(client: Client) -> Option<SessionId> {
    match client {
        Client::Session { id, .. } => Some(id),
        Client::None | Client::Key(_) => None,
    }
}
