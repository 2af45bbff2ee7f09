//! What will be done to a world, as lists that stand before it begins: a fault or a request can be
//! taken out, and moves nothing else.

use super::{MS, NemesisKnobs, Plan, SECOND, Trouble};
use crate::Nanos;
use crate::rand::Rand;
use serde::{Deserialize, Serialize};
use tenure_core::limits::MEMBERS_MAX;

/// The nemesis does something.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Fault {
    /// When. The moment also decides what is left to chance: which server, for how long.
    pub at: Nanos,
    /// What.
    pub trouble: Trouble,
}

/// When a client decides what to do next. What it does depends on what it has.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Wishes(pub Vec<Nanos>);

impl std::fmt::Debug for Wishes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} wishes", self.0.len())
    }
}

impl Plan {
    /// Draws the lists that the knobs ask for.
    pub(super) fn draw_lists(&mut self, seed: u64) {
        self.faults = draw_faults(&self.nemesis, self.safety, seed);
        let mut takers = Rand::stream(seed, "takers");
        if self.load.force_ppm > 0 {
            let often = takers.log_uniform(500, 30_000);
            self.load.force_ppm = if takers.chance(600_000) { often } else { 0 };
        }
        let end = self.drain_at();
        let wishes = |client| {
            let mut rand = Rand::nth(seed, "wishes", client);
            let mut at = 200 * MS + rand.below(300 * MS);
            let mut wishes = Vec::new();
            while at < end {
                wishes.push(at);
                at += 1 + rand.exponential(self.load.think);
            }
            Wishes(wishes)
        };
        self.wishes = (0..self.load.clients).map(wishes).collect();
    }

    /// Whether a world can be made of it: a file may say anything.
    pub fn check(&self) -> Result<(), String> {
        let rules = [
            (
                (1..=MEMBERS_MAX).contains(&self.servers),
                "a world has 1 to 9 servers",
            ),
            (self.liveness >= 4 * SECOND, "the end takes 4 s or more"),
            (self.load.keys > 0, "clients want at least one lock"),
            (
                self.wishes.len() == self.load.clients,
                "each client has a list of wishes",
            ),
            (
                self.bad_clock.is_none_or(|bad| bad < self.servers),
                "the bad clock is a server's",
            ),
            (
                self.faults.is_sorted_by_key(|fault| fault.at),
                "faults stand in the order of their times",
            ),
            (
                self.wishes.iter().all(|wishes| wishes.0.is_sorted()),
                "wishes stand in the order of their times",
            ),
        ];
        let broken = rules.iter().find(|(holds, _)| !holds);
        broken.map_or(Ok(()), |(_, rule)| Err((*rule).to_owned()))
    }

    /// When clients stop to want new things.
    pub const fn drain_at(&self) -> Nanos {
        self.safety + self.liveness / 4
    }
}

fn draw_faults(knobs: &NemesisKnobs, safety: Nanos, seed: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    let total = knobs.troubles.iter().map(|(_, weight)| weight).sum();
    let Some(every) = knobs.every.filter(|_| total > 0) else {
        return faults;
    };
    let mut rand = Rand::stream(seed, "faults");
    let mut at = 500 * MS + rand.exponential(every);
    while at < safety {
        let mut drawn = rand.below(total);
        for (trouble, weight) in &knobs.troubles {
            if drawn < *weight {
                let trouble = *trouble;
                faults.push(Fault { at, trouble });
                break;
            }
            drawn -= weight;
        }
        at += MS + rand.exponential(every);
    }
    faults
}
