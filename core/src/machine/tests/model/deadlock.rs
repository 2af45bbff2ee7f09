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
    /// Whether a session that waits for these locks, behind all who wait already, would wait for itself.
    pub(super) fn waits_for_itself(&self, claim: &Wait) -> bool {
        let Client::Session { id, .. } = claim.client else {
            return false;
        };
        if self.session(id).unwrap().threads {
            return false;
        }
        let own = Who::Session(id);
        let mut reached = BTreeSet::new();
        for part in claim.parts.iter() {
            let mut line = self.queue(claim.zone, &part.key, true);
            if claim.converts.is_none() {
                line.extend(self.queue(claim.zone, &part.key, false));
            }
            line.retain(|w| !(claim.reentrant && w.reentrant && asker(w) == own));
            reached.extend(self.stands_before(claim, part, &line));
        }
        loop {
            let more: BTreeSet<Who> = reached
                .iter()
                .flat_map(|who| self.waits_for(*who))
                .collect();
            let before = reached.len();
            reached.extend(more);
            if reached.len() == before {
                return reached.contains(&own);
            }
        }
    }

    fn waits_for(&self, who: Who) -> BTreeSet<Who> {
        if let Who::Session(id) = who
            && self.session(id).is_none_or(|session| session.threads)
        {
            return BTreeSet::new();
        }
        let of_who = |w: &&Wait| {
            asker(w) == who || who == Who::Ticket(w.id) && !matches!(asker(w), Who::Session(_))
        };
        let waits = self.waits.iter().filter(of_who);
        let waits = waits.filter(|w| !w.offered && self.waits_on(w));
        let mut all = BTreeSet::new();
        for wait in waits {
            for part in wait.parts.iter() {
                let line = self.line(wait.zone, &part.key).into_iter();
                let before: Vec<Wait> = line.take_while(|w| w.id != wait.id).collect();
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
        let nearest = line.iter().rev().find(|w| self.waits_on(w)).map(asker);
        holders.chain(nearest).collect()
    }
}
