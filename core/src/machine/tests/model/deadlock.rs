//! Who waits for whom, said simply: all that can be reached, until nothing more is.

use super::share::meets;
use super::*;

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Who {
    Session(SessionId),
    Ticket(TicketId),
}

const fn asker(wait: &Wait) -> Who {
    match wait.client {
        Client::Session { id, .. } => Who::Session(id),
        _ => Who::Ticket(wait.id),
    }
}

impl Model {
    /// Whether a session would wait for itself, if this claim of it waited.
    pub(super) fn waits_for_itself(&mut self, claim: &Wait) -> bool {
        let Client::Session { id, .. } = claim.client else {
            return false;
        };
        if self.session(id).unwrap().threads {
            return false;
        }
        self.waits.push(claim.clone());
        let own = Who::Session(id);
        let mut reached = self.waits_for(Who::Ticket(claim.id));
        loop {
            let more: BTreeSet<Who> = reached
                .iter()
                .flat_map(|who| self.waits_for(*who))
                .collect();
            let before = reached.len();
            reached.extend(more);
            if reached.len() == before {
                break;
            }
        }
        self.waits.pop();
        reached.contains(&own)
    }

    fn waits_for(&self, who: Who) -> BTreeSet<Who> {
        if let Who::Session(id) = who
            && self.session(id).is_none_or(|session| session.threads)
        {
            return BTreeSet::new();
        }
        let of_who = |w: &&Wait| asker(w) == who || who == Who::Ticket(w.id);
        let waits = self.waits.iter().filter(of_who);
        let waits = waits.filter(|w| !w.offered && self.waits_on(w));
        let mut all = BTreeSet::new();
        for wait in waits {
            for part in wait.parts.iter() {
                let line = self.line(wait.zone, &part.key).into_iter();
                let before = line.take_while(|w| w.id != wait.id);
                let lets_in = |w: &Wait| w.reentrant && wait.reentrant && asker(w) == asker(wait);
                let before: Vec<Wait> = before.filter(|w| !lets_in(w)).collect();
                all.extend(self.stands_before(wait, part, &before));
            }
        }
        all
    }

    /// Whom one key of a claim waits for, behind this part of its line.
    fn stands_before(&self, claim: &Wait, part: &Part, line: &[Wait]) -> BTreeSet<Who> {
        if matches!(part.mode, Mode::Permits { .. }) {
            return BTreeSet::new();
        }
        let holders = self.holders(claim.zone, &part.key).into_iter();
        let holders = holders.filter(|h| Some(h.fence) != claim.converts);
        let stand = holders
            .filter(|h| self.holds_on(h) && !meets(h.parts.of(&part.key).unwrap().mode, part.mode));
        let holders = stand.filter_map(|h| h.session.map(Who::Session));
        let nearest = line.iter().rev().find(|w| self.waits_on(w));
        let nearest = nearest.map(|w| {
            let is_beside = meets(w.parts.of(&part.key).unwrap().mode, part.mode);
            if is_beside {
                Who::Ticket(w.id)
            } else {
                asker(w)
            }
        });
        holders.chain(nearest).collect()
    }
}
