//! Counted re-entry, said simply.

use super::share::meets;
use super::*;

const MODES: [Mode; 6] = [
    Mode::Null,
    Mode::ConcurrentRead,
    Mode::ConcurrentWrite,
    Shared,
    Mode::ProtectedWrite,
    Exclusive,
];

/// Whether one who has the first mode has all that the second one would give: it keeps out whoever that
/// keeps out.
pub(super) fn is_as_strong(has: Mode, asks: Mode) -> bool {
    let others = MODES.iter();
    let mut kept_out = others.filter(|other| !meets(asks, **other));
    kept_out.all(|other| !meets(has, *other))
}

impl Model {
    /// The re-entrant grant by which a session holds any of these keys.
    fn standing(&self, session: SessionId, parts: &Parts) -> Option<usize> {
        let of_key = |part: &Part| {
            self.holds.iter().position(|hold| {
                hold.session == Some(session)
                    && hold.entered > 0
                    && hold.parts.of(&part.key).is_some()
            })
        };
        parts.iter().find_map(of_key)
    }

    /// The answer to a re-entrant claim, if the session holds any of it; with the fence if it got in.
    pub(super) fn reenter(
        &mut self,
        session: SessionId,
        parts: &Parts,
    ) -> Option<(Option<Fence>, Answer)> {
        let at = self.standing(session, parts)?;
        let hold = self.holds[at].clone();
        let has = |part: &Part| {
            let held = hold.parts.of(&part.key);
            held.is_some_and(|held| is_as_strong(held.mode, part.mode))
        };
        if !parts.iter().all(has) {
            let mut shared = parts.iter().filter_map(|part| hold.parts.of(&part.key));
            let by = vec![Blocker {
                holder: self.name(&hold.holder, hold.session),
                fence: hold.fence,
                mode: shared.next().expect("it has one of the keys").mode,
            }];
            return Some((None, Answer::Refused(Refusal::NotCovered { by })));
        }
        let converts = |w: &Wait| w.zone == hold.zone && w.converts == Some(hold.fence);
        let is_full = hold.entered >= self.limits.entries;
        if !is_full && self.waits.iter().any(|w| converts(w) && self.waits_on(w)) {
            return Some((None, Answer::Refused(Refusal::Converting)));
        }
        if is_full {
            let what = answer::Table::Entries;
            return Some((None, Answer::Refused(Refusal::Quota { what })));
        }
        self.holds[at].entered += 1;
        let hold = self.holds[at].clone();
        Some((Some(hold.fence), self.describe(&hold, false)))
    }

    /// Whether a ticket is first in all its lines, and its session came to hold some of it meanwhile.
    pub(super) fn comes_again(&self, wait: &Wait) -> bool {
        let Client::Session { id, .. } = wait.client else {
            return false;
        };
        let in_front = |part: &Part| {
            let line = self.line(wait.zone, &part.key);
            let front = line.into_iter().find(|other| !other.offered);
            front.is_some_and(|front| front.id == wait.id)
        };
        wait.reentrant
            && wait.parts.iter().all(in_front)
            && self.standing(id, &wait.parts).is_some()
    }

    pub(super) fn reenter_from_line(&mut self, wait: &Wait) {
        let Client::Session { id, .. } = wait.client else {
            unreachable!()
        };
        let (fence, answer) = self.reenter(id, &wait.parts).unwrap();
        let Some(fence) = fence else {
            let Answer::Refused(refusal) = answer else {
                unreachable!()
            };
            return self.end_ticket(wait, refusal);
        };
        self.waits.retain(|other| other.id != wait.id);
        self.stir(wait.zone, &wait.parts);
        self.conclude(wait, Seen::Grant(fence));
        self.events.push(Event::Ended {
            ticket: wait.id,
            answer,
        });
    }

    pub(super) fn count_down(&mut self, at: usize, client: Client) -> Answer {
        if client == Client::None {
            return Answer::Refused(Refusal::Invalid {
                what: "a retry of a release that counts down must be known as one",
            });
        }
        self.holds[at].entered -= 1;
        Answer::Released {
            fence: self.holds[at].fence,
            already: false,
            entered: self.holds[at].entered,
        }
    }
}
