//! What the machine said of an entry, for what the promises leave open.

use tenure_core::ids::{Fence, SessionId, TicketId};
use tenure_core::machine::answer::{Answer, Event};
use tenure_core::machine::command::Via;

pub(super) struct Seen<'a>(pub(super) &'a [Event]);

/// The number of what the machine did not make, though it had to: no comparison survives it.
const NEVER: u64 = u64::MAX;

impl Seen<'_> {
    pub(super) fn answer(&self, of: Via) -> Option<&Answer> {
        self.0.iter().find_map(|event| match event {
            Event::Answered { via, answer } if *via == of => Some(answer),
            _ => None,
        })
    }

    pub(super) fn ended(&self, of: TicketId) -> Option<&Answer> {
        self.0.iter().find_map(|event| match event {
            Event::Ended { ticket, answer } if *ticket == of => Some(answer),
            _ => None,
        })
    }

    /// Whether a wait ended with this grant.
    pub(super) fn granted(&self, fence: Fence) -> bool {
        self.0.iter().any(|event| match event {
            Event::Ended { answer, .. } => Self::fence(Some(answer)) == fence,
            _ => false,
        })
    }

    /// The fence of what this answer grants.
    pub(super) fn fence(answer: Option<&Answer>) -> Fence {
        match answer {
            Some(Answer::Granted(grant)) => grant.fence,
            _ => Fence::new(NEVER),
        }
    }

    /// The place in the line that this answer tells of.
    pub(super) fn ticket(answer: Option<&Answer>) -> TicketId {
        match answer {
            Some(Answer::Queued { ticket, .. }) => *ticket,
            _ => TicketId::new(NEVER),
        }
    }

    /// The position that this answer tells of.
    pub(super) const fn position(answer: Option<&Answer>) -> Option<u64> {
        match answer {
            Some(Answer::Queued { position, .. }) => Some(*position),
            _ => None,
        }
    }

    /// The session that this answer opens.
    pub(super) fn session(answer: Option<&Answer>) -> SessionId {
        match answer {
            Some(Answer::SessionOpened { session, .. }) => *session,
            _ => SessionId::new(u128::from(NEVER)),
        }
    }
}
