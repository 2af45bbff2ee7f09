//! Makes a run that breaks a law as small as it gets while it still breaks it.
//!
//! Faults and wishes stand in lists (`scenario::Plan`), and draws belong to their moments, so an
//! item can be taken out without moving another one. The lists are cut by delta debugging (Zeller
//! and Hildebrandt, Simplifying and Isolating Failure-Inducing Input, 2002).

use crate::replay::Case;
use crate::report::Broken;
use crate::scenario::{Fault, Plan, TinyLimits, Wishes};
use crate::trace::Print;
use std::time::{Duration, Instant};

/// What shrinking came to.
#[derive(Debug)]
pub struct Shrunk {
    /// The smallest run found.
    pub case: Case,
    /// What it breaks.
    pub broken: Broken,
    /// How many runs it took.
    pub runs: u64,
}

/// Something that can be left out of a plan.
type Simpler = fn(&mut Plan);

/// From what takes most away to what takes least.
const SIMPLER: &[Simpler] = &[
    |plan| plan.net.codec = false,
    |plan| plan.net.drop_ppm = 0,
    |plan| plan.net.duplicate_ppm = 0,
    |plan| plan.net.replay_ppm = 0,
    |plan| plan.net.reorder_ppm = 0,
    |plan| plan.net.heavy_tail_ppm = 0,
    |plan| plan.net.beat_drop_ppm = 0,
    |plan| plan.net.thin_ppm = 0,
    |plan| plan.net.spoil_ppm = 0,
    |plan| plan.net.under_way_max = 0,
    |plan| plan.net.asymmetry = 0,
    |plan| plan.net.bytes_per_s = 0,
    |plan| plan.host.sync_error_ppm = 0,
    |plan| plan.host.slow_sync_ppm = 0,
    |plan| plan.host.shuffle = false,
    |plan| plan.bad_clock = None,
    |plan| plan.load.duplicate_ppm = 0,
    |plan| plan.load.hang_up_ppm = 0,
    |plan| plan.load.crash_ppm = 0,
    |plan| plan.load.forge_ppm = 0,
    |plan| plan.load.read_ppm = 0,
    |plan| plan.load.wait_ppm = 0,
    |plan| plan.load.shared_ppm = 0,
    |plan| plan.load.modes_ppm = 0,
    |plan| plan.load.reenter_ppm = 0,
    |plan| plan.load.force_ppm = 0,
    |plan| plan.load.many_ppm = 0,
    |plan| plan.load.forget_ppm = 0,
    |plan| plan.load.keys = 1,
    |plan| plan.host.limits = TinyLimits::default(),
];

struct Search {
    best: Case,
    broken: Broken,
    runs: u64,
    until: Instant,
}

/// The smallest run that breaks the law which `case` breaks; none if it breaks none.
pub fn shrink(case: Case, time: Duration) -> Option<Shrunk> {
    let broken = case.run(Print::No).broken?;
    let mut search = Search {
        best: case,
        broken,
        runs: 1,
        until: Instant::now() + time,
    };
    loop {
        let before = search.size();
        search.cut_the_end();
        search.cut_faults();
        search.cut_wishes();
        search.fewer();
        for simpler in SIMPLER {
            search.attempt(*simpler);
        }
        if search.size() == before || search.is_over() {
            break;
        }
    }
    let Search {
        mut best,
        broken,
        runs,
        ..
    } = search;
    best.law = Some(broken.law.clone());
    Some(Shrunk {
        case: best,
        broken,
        runs,
    })
}

impl Search {
    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    fn size(&self) -> (usize, usize, usize, usize) {
        let plan = &self.best.plan;
        let clients = plan.load.clients;
        (plan.servers, clients, plan.faults.len(), self.best.wishes())
    }

    /// Keeps what `change` makes of the best plan if that still breaks the same law.
    fn attempt(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        if self.is_over() {
            return false;
        }
        let mut case = self.best.clone();
        change(&mut case.plan);
        if case.plan.check().is_err() {
            return false;
        }
        self.runs += 1;
        match case.run(Print::No).broken {
            Some(broken) if broken.is_like(&self.broken) => {
                self.best = case;
                self.broken = broken;
                true
            }
            Some(_) | None => false,
        }
    }

    /// What comes after the law was broken broke nothing.
    fn cut_the_end(&mut self) {
        if let Some(end) = self.broken.at {
            self.attempt(|plan| {
                plan.faults.retain(|fault| fault.at <= end);
                for wishes in &mut plan.wishes {
                    wishes.0.retain(|at| *at <= end);
                }
            });
        }
    }

    fn cut_faults(&mut self) {
        let faults = self.best.plan.faults.clone();
        ddmin(faults, |left: &[Fault]| {
            let left = left.to_vec();
            self.attempt(|plan| plan.faults = left)
        });
    }

    fn cut_wishes(&mut self) {
        let wishes = self.best.plan.wishes.iter().enumerate();
        let mut all: Vec<(usize, u64)> = wishes
            .flat_map(|(client, wishes)| wishes.0.iter().map(move |at| (client, *at)))
            .collect();
        all.sort_unstable_by_key(|(client, at)| (*at, *client));
        ddmin(all, |left: &[(usize, u64)]| {
            self.attempt(|plan| {
                plan.wishes = vec![Wishes::default(); plan.wishes.len()];
                for (client, at) in left {
                    plan.wishes[*client].0.push(*at);
                }
            })
        });
    }

    /// Fewer servers; and no clients without wishes behind the last one that has some.
    fn fewer(&mut self) {
        for servers in 1..self.best.plan.servers {
            if self.attempt(|plan| plan.servers = servers) {
                break;
            }
        }
        let wishes = &self.best.plan.wishes;
        let last = wishes.iter().rposition(|wishes| !wishes.0.is_empty());
        self.attempt(|plan| {
            plan.load.clients = last.map_or(0, |last| last + 1);
            plan.wishes.truncate(plan.load.clients);
        });
    }
}

/// The least of `items`, in their order, for which `fails` still holds: without any one of them it
/// does not, unless time is up.
fn ddmin<T: Clone>(mut items: Vec<T>, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    if items.is_empty() || fails(&[]) {
        return Vec::new();
    }
    let mut size = items.len().div_ceil(2);
    loop {
        let mut from = 0;
        let before = items.len();
        while from < items.len() {
            let to = (from + size).min(items.len());
            let rest = [&items[..from], &items[to..]].concat();
            if fails(&rest) {
                items = rest;
            } else {
                from = to;
            }
        }
        if size > 1 {
            size = size.div_ceil(2);
        } else if items.len() == before {
            return items;
        }
    }
}

#[cfg(test)]
mod tests;
