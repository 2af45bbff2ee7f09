//! What clients believe, in true time (K14, K15): nobody is granted what another one, whose clock
//! keeps its specification, still believes to hold.

use super::Docket;
use super::locks::compatible;
use crate::Nanos;
use std::collections::BTreeMap;
use tenure_core::ids::{Fence, Slot, ZoneId};
use tenure_core::machine::answer::Grant;
use tenure_core::machine::parts::{Part, Parts};

/// Whether two claims ask for one key in modes that exclude each other.
fn meets(one: &Parts, other: &Parts) -> bool {
    let meets = |part: &Part| {
        let same = other.of(&part.key);
        same.is_some_and(|other| !compatible(part.mode, other.mode))
    };
    one.iter().any(meets)
}

/// One client's belief that it holds its locks.
#[derive(Clone, Debug)]
struct Belief {
    client: usize,
    parts: Parts,
    until: Nanos,
}

/// All beliefs.
#[derive(Debug, Default)]
pub struct Beliefs {
    held: BTreeMap<(ZoneId, Fence), Belief>,
    /// What operators took, and where in the log: whoever had it may believe so for a while, and nobody waits for
    /// that (rule 16).
    taken: BTreeMap<(ZoneId, Fence), Slot>,
}

impl Beliefs {
    /// `client` received `grant`, and believes in it until then.
    pub fn on_received(
        &mut self,
        now: Nanos,
        client: usize,
        grant: &Grant,
        until: Nanos,
        docket: &mut Docket,
    ) {
        self.held.retain(|_, belief| belief.until > now);
        if self.is_taken(grant.zone, grant.fence) {
            return; // only the fence keeps it out
        }
        for ((zone, fence), other) in &self.held {
            let same = *fence == grant.fence || *zone != grant.zone;
            docket.check(
                same || until <= now || !meets(&other.parts, &grant.parts),
                "mutual exclusion in real time",
                || {
                    format!(
                        "clients {} (fence {fence}) and {client} (fence {}) both hold {:?}",
                        other.client, grant.fence, grant.parts
                    )
                },
            );
        }
        let belief = Belief {
            client,
            parts: grant.parts.clone(),
            until,
        };
        self.held.insert((grant.zone, grant.fence), belief);
    }

    /// An operator took it at this position of the log.
    pub fn on_taken(&mut self, zone: ZoneId, fence: Fence, slot: Slot) {
        self.held.remove(&(zone, fence));
        self.taken.insert((zone, fence), slot);
    }

    /// Whether an operator took it.
    pub fn is_taken(&self, zone: ZoneId, fence: Fence) -> bool {
        self.taken.contains_key(&(zone, fence))
    }

    /// It believes until then, since it was told something at `slot`.
    pub fn on_extended(
        &mut self,
        place: (ZoneId, Fence),
        until: Nanos,
        slot: Slot,
        docket: &mut Docket,
    ) {
        let is_late = self.taken.get(&place).is_some_and(|taken| *taken < slot);
        docket.check(!is_late, "nobody believes longer in what was taken", || {
            format!("{place:?} was taken before {slot}, which lets it be believed in")
        });
        if let Some(belief) = self.held.get_mut(&place) {
            belief.until = belief.until.max(until);
        }
    }

    /// It stopped believing: it asked to give the lock back, or died.
    pub fn on_stopped(&mut self, zone: ZoneId, fence: Fence) {
        self.held.remove(&(zone, fence));
    }

    /// Whether somebody believes to hold it.
    pub fn believes(&self, now: Nanos, zone: ZoneId, fence: Fence) -> bool {
        let belief = self.held.get(&(zone, fence));
        belief.is_some_and(|belief| belief.until > now)
    }

    /// The log gave `grant` at this moment.
    pub fn on_granted(&self, now: Nanos, grant: &Grant, docket: &mut Docket) {
        for ((zone, fence), other) in &self.held {
            let same = *fence == grant.fence || *zone != grant.zone;
            let stands = !same && other.until > now && meets(&other.parts, &grant.parts);
            docket.check(!stands, "no grant while another still believes", || {
                format!(
                    "{:?} granted under {}, client {} believes in {fence} for {} ms more",
                    grant.parts,
                    grant.fence,
                    other.client,
                    (other.until - now) / 1_000_000
                )
            });
        }
    }
}
