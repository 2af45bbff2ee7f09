//! What a retry is answered from, as bytes.

use super::form::{Read, Reader, Writer};
use super::records::{put_mode, take_mode};
use crate::ids::{Fence, RequestSeq, SessionId, TicketId};
use crate::limits::{BLOCKERS_SHOWN_MAX, CIRCLE_SHOWN_MAX, HOLDER_BYTES_MAX, SESSION_WINDOW};
use crate::machine::answer::{Answer, Blocker, Refusal, Table};
use crate::machine::state::{Numbered, Outcome};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;

impl Outcome {
    pub(super) fn put(&self, to: &mut Writer<'_>) {
        match self {
            Self::Open => panic!("a request is decided within its entry"),
            Self::Granted { fence } => {
                to.u8(1);
                to.u64(fence.get());
            }
            Self::Waits(ticket) => {
                to.u8(2);
                to.name(*ticket);
            }
            Self::Released {
                fence,
                already,
                entered,
            } => {
                to.u8(3);
                to.u64(fence.get());
                to.bool(*already);
                to.u32(*entered);
            }
            Self::Said(answer) => {
                to.u8(4);
                put_answer(to, answer);
            }
        }
    }

    pub(super) fn take(from: &mut Reader<'_>) -> Read<Self> {
        Ok(match from.u8()? {
            1 => Self::Granted {
                fence: Fence::new(from.u64()?),
            },
            2 => Self::Waits(from.name()?),
            3 => Self::Released {
                fence: Fence::new(from.u64()?),
                already: from.bool()?,
                entered: from.u32()?,
            },
            4 => Self::Said(Box::new(take_answer(from)?)),
            other => return from.bad(1, "an outcome, 1 to 4", other.into()),
        })
    }
}

/// Those of a session.
pub(super) fn put_answers(to: &mut Writer<'_>, answers: &[Numbered]) {
    to.count(answers.len());
    for answer in answers {
        to.u64(answer.seq.get());
        to.u64(answer.hash);
        answer.outcome.put(to);
    }
}

pub(super) fn take_answers(from: &mut Reader<'_>) -> Read<Vec<Numbered>> {
    let count = from.u32()?;
    if u64::from(count) > SESSION_WINDOW {
        return from.bad(4, "as many answers as a session's window", count.into());
    }
    let answer = |_| {
        Ok(Numbered {
            seq: RequestSeq::new(from.u64()?),
            hash: from.u64()?,
            outcome: Outcome::take(from)?,
        })
    };
    (0..count).map(answer).collect()
}

const BESIDE: &str = "what was said of a change of the configuration is in the configuration";

/// The numbers are those that the digest has for the same answers.
fn put_answer(to: &mut Writer<'_>, answer: &Answer) {
    match answer {
        Answer::Cancelled { ticket } => {
            to.u8(6);
            to.u64(ticket.get());
        }
        Answer::SessionOpened { session, ttl_ms } => {
            to.u8(7);
            to.u128(session.get());
            to.u64(*ttl_ms);
        }
        Answer::SessionClosed { session } => {
            to.u8(9);
            to.u128(session.get());
        }
        Answer::Resized { capacity } => {
            to.u8(12);
            to.u32(*capacity);
        }
        Answer::Converted { fence } => {
            to.u8(14);
            to.u64(fence.get());
        }
        Answer::Forced {
            fence,
            holder,
            remaining_ms,
        } => {
            to.u8(13);
            to.u64(fence.get());
            to.short_string(holder);
            to.bool(remaining_ms.is_some());
            to.u64(remaining_ms.unwrap_or_default());
        }
        Answer::Refused(refusal) => {
            to.u8(10);
            put_refusal(to, refusal);
        }
        Answer::Configured { .. } => panic!("{BESIDE}"),
        Answer::Granted(_)
        | Answer::Queued { .. }
        | Answer::Offered { .. }
        | Answer::Released { .. }
        | Answer::Renewed { .. }
        | Answer::KeptAlive { .. } => panic!("what goes on changing is never kept as a copy"),
    }
}

fn take_answer(from: &mut Reader<'_>) -> Read<Answer> {
    Ok(match from.u8()? {
        6 => Answer::Cancelled {
            ticket: TicketId::new(from.u64()?),
        },
        7 => Answer::SessionOpened {
            session: SessionId::new(from.u128()?),
            ttl_ms: from.u64()?,
        },
        9 => Answer::SessionClosed {
            session: SessionId::new(from.u128()?),
        },
        10 => Answer::Refused(take_refusal(from)?),
        12 => Answer::Resized {
            capacity: from.u32()?,
        },
        14 => Answer::Converted {
            fence: Fence::new(from.u64()?),
        },
        13 => take_forced(from)?,
        other => {
            return from.bad(
                1,
                "an answer that is kept: 6, 7, 9, 10, 12 to 14",
                other.into(),
            );
        }
    })
}

fn take_forced(from: &mut Reader<'_>) -> Read<Answer> {
    let fence = Fence::new(from.u64()?);
    let holder = Bytes::copy_from_slice(from.short_string(HOLDER_BYTES_MAX)?);
    let has_end = from.bool()?;
    let left = from.u64()?;
    if !has_end && left != 0 {
        return from.bad(8, "zero, for the grant had no end", left);
    }
    Ok(Answer::Forced {
        fence,
        holder,
        remaining_ms: has_end.then_some(left),
    })
}

fn put_refusal(to: &mut Writer<'_>, refusal: &Refusal) {
    match refusal {
        Refusal::Held { by } => {
            to.u8(1);
            put_blockers(to, by);
        }
        Refusal::WaitTimeout { by } => {
            to.u8(2);
            put_blockers(to, by);
        }
        Refusal::Cancelled => to.u8(3),
        Refusal::NotHeld => to.u8(4),
        Refusal::NotLeased => to.u8(5),
        Refusal::NoSuchTicket => to.u8(6),
        Refusal::SessionGone => to.u8(7),
        Refusal::IdentifierInUse => to.u8(8),
        Refusal::SessionBusy => to.u8(9),
        Refusal::Forgotten => to.u8(10),
        Refusal::RequestIdReused => to.u8(11),
        Refusal::Quota { what } => {
            to.u8(12);
            to.u8(match what {
                Table::Locks => 1,
                Table::Tickets => 2,
                Table::Sessions => 3,
                Table::Answers => 4,
                Table::Zones => 5,
                Table::Entries => 6,
                Table::Taken => 7,
            });
        }
        Refusal::HasCapacity { capacity } => {
            to.u8(16);
            to.u32(*capacity);
        }
        Refusal::NoPermits => to.u8(17),
        Refusal::NotCovered { by } => {
            to.u8(18);
            put_blockers(to, by);
        }
        Refusal::Entered { entered } => {
            to.u8(20);
            to.u32(*entered);
        }
        Refusal::Converting => to.u8(21),
        Refusal::UpgradeDeadlock { by } => {
            to.u8(22);
            put_blockers(to, by);
        }
        Refusal::FenceChanged { by } => {
            to.u8(19);
            put_blockers(to, by);
        }
        Refusal::Deadlock { by } => {
            to.u8(28);
            put_blockers(to, by);
        }
        Refusal::SearchLimit => to.u8(29),
        Refusal::ConfigMoved { .. } | Refusal::ConfigUnfit { .. } => panic!("{BESIDE}"),
        Refusal::Invalid { .. } => panic!("a command that is not valid is never remembered"),
    }
}

fn take_refusal(from: &mut Reader<'_>) -> Read<Refusal> {
    Ok(match from.u8()? {
        1 => Refusal::Held {
            by: take_blockers(from)?,
        },
        2 => Refusal::WaitTimeout {
            by: take_blockers(from)?,
        },
        3 => Refusal::Cancelled,
        4 => Refusal::NotHeld,
        5 => Refusal::NotLeased,
        6 => Refusal::NoSuchTicket,
        7 => Refusal::SessionGone,
        8 => Refusal::IdentifierInUse,
        9 => Refusal::SessionBusy,
        10 => Refusal::Forgotten,
        11 => Refusal::RequestIdReused,
        12 => Refusal::Quota {
            what: match from.u8()? {
                1 => Table::Locks,
                2 => Table::Tickets,
                3 => Table::Sessions,
                4 => Table::Answers,
                5 => Table::Zones,
                6 => Table::Entries,
                7 => Table::Taken,
                other => return from.bad(1, "a table, 1 to 7", other.into()),
            },
        },
        16 => Refusal::HasCapacity {
            capacity: from.u32()?,
        },
        17 => Refusal::NoPermits,
        18 => Refusal::NotCovered {
            by: take_blockers(from)?,
        },
        19 => Refusal::FenceChanged {
            by: take_blockers(from)?,
        },
        20 => Refusal::Entered {
            entered: from.u32()?,
        },
        21 => Refusal::Converting,
        22 => Refusal::UpgradeDeadlock {
            by: take_blockers(from)?,
        },
        28 => Refusal::Deadlock {
            by: take_blockers(from)?,
        },
        29 => Refusal::SearchLimit,
        other => {
            return from.bad(1, "a refusal: 1 to 12, 16 to 22, 28, 29", other.into());
        }
    })
}

fn put_blockers(to: &mut Writer<'_>, by: &[Blocker]) {
    let Ok(count) = u8::try_from(by.len()) else {
        panic!("a refusal names few blockers");
    };
    to.u8(count);
    for blocker in by {
        to.u64(blocker.fence.get());
        put_mode(to, blocker.mode);
        to.short_string(&blocker.holder);
    }
}

fn take_blockers(from: &mut Reader<'_>) -> Read<Vec<Blocker>> {
    let count = from.u8()?;
    if usize::from(count) > BLOCKERS_SHOWN_MAX.max(CIRCLE_SHOWN_MAX) {
        return from.bad(1, "as many blockers as are shown", count.into());
    }
    let blocker = |_| {
        Ok(Blocker {
            fence: Fence::new(from.u64()?),
            mode: take_mode(from)?,
            holder: Bytes::copy_from_slice(from.short_string(HOLDER_BYTES_MAX)?),
        })
    };
    (0..count).map(blocker).collect()
}
