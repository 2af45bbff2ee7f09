//! What an operator takes from its holder, said simply.

use super::*;

impl Model {
    pub(super) fn force(&mut self, command: &Command, force: &Force) -> Answer {
        let (zone, key) = (command.zone, &force.key);
        self.settle(zone, key);
        let Some(at) = self.find(zone, key, force.fence) else {
            let holders = self.holders(zone, key).into_iter();
            let alive = holders.filter(|h| self.holds_on(h));
            let by = alive.map(|h| Blocker {
                holder: self.name(&h.holder, h.session),
                fence: h.fence,
                mode: self.now(zone, key, h.parts.of(key).unwrap().mode),
            });
            let by = by.take(BLOCKERS_SHOWN_MAX).collect();
            return Answer::Refused(Refusal::FenceChanged { by });
        };
        let hold = self.holds[at].clone();
        let answer = Answer::Forced {
            fence: hold.fence,
            holder: self.name(&hold.holder, hold.session),
            remaining_ms: self.hold_end(&hold).map(|end| left(end, self.now)),
        };
        if let Some(id) = hold.session {
            let session = self.sessions.iter_mut().find(|s| s.id == id).unwrap();
            if session.taken.len() >= self.limits.taken {
                let what = answer::Table::Taken;
                return Answer::Refused(Refusal::Quota { what });
            }
            session.taken.push(hold.fence);
        }
        let by = match &*command.principal {
            [] => force.cause.by.clone(),
            principal => std::string::String::from_utf8_lossy(principal).into(),
        };
        self.budget = self.budget.max(1);
        let reason = force.cause.reason.clone();
        self.tell_lost(&hold, Loss::Forced(Cause { by, reason }));
        self.end(at);
        self.wake(false);
        answer
    }
}
