//! A client that asks again for what it holds, or already asks for.

use super::op::{Doing, Op};
use super::{Client, Scene};
use tenure_core::ids::Fence;
use tenure_core::machine::answer::Grant;
use tenure_core::machine::command::{Acquire, Life, Mode};
use tenure_core::machine::parts::{Part, Parts};
use tenure_core::node::input::Token;

/// Claims of one client that are under way when it asks for the same once more.
const ENTERING_MAX: usize = 4;

/// The re-entrant claim that an operation is.
fn entering(op: &Op) -> Option<&Acquire> {
    match &op.doing {
        Doing::Acquire(acquire) if acquire.reentrant => Some(acquire),
        _ => None,
    }
}

fn meets(one: &Parts, other: &Parts) -> bool {
    one.iter().any(|part| other.of(&part.key).is_some())
}

impl Client {
    /// Asks once more for what it holds by a re-entrant grant, or waits for by a re-entrant claim; most times in
    /// the same modes, and sometimes for less, or for more. False if it does not.
    pub(super) fn enters_again(&mut self, scene: &mut Scene<'_>) -> bool {
        if self.knobs.reenter_ppm == 0 || !self.rand.chance(self.knobs.reenter_ppm) {
            return false;
        }
        let is_open = |held: &&super::Held| held.entries > 0 && !held.releasing && !held.forgotten;
        let held = self.held.iter().filter(is_open).map(|held| &held.parts);
        let asked = self.ops.values().filter_map(entering);
        let under_way = asked.clone().count();
        let all: Vec<Parts> = held
            .chain(asked.map(|acquire| &acquire.parts))
            .cloned()
            .collect();
        let closing = self.session.as_ref().is_none_or(|session| session.closing);
        if closing || all.is_empty() || under_way >= ENTERING_MAX {
            return false;
        }
        let parts = all[self.rand.index(all.len())].clone();
        if let Some(parts) = self.varied(&parts) {
            self.ask_for((parts, Life::Session, true), scene);
        }
        true
    }

    fn varied(&mut self, parts: &Parts) -> Option<Parts> {
        const OTHERS: [Mode; 4] = [
            Mode::Exclusive,
            Mode::Shared,
            Mode::ConcurrentWrite,
            Mode::Null,
        ];
        let mut varied: Vec<Part> = parts.iter().cloned().collect();
        if self.rand.chance(200_000) {
            varied.truncate(1);
        }
        if self.rand.chance(200_000) {
            let index = self.rand.index(varied.len());
            varied[index].mode = OTHERS[self.rand.index(OTHERS.len())];
        }
        if self.rand.chance(100_000) {
            let key = self.keys[self.rand.index(self.keys.len())].clone();
            if parts.of(&key).is_none() && !self.is_busy_with(&key) {
                let mode = Mode::Shared;
                varied.push(Part { key, mode });
            }
        }
        Parts::new(varied).ok()
    }

    /// Whether this is a grant that it was not told of before: several claims may have made one.
    pub(super) fn is_first_entry(&mut self, grant: &Grant) -> bool {
        grant.entered == 0 || self.told.insert(grant.fence)
    }

    /// Whether a claim is under way that may enter this grant.
    pub(super) fn is_entering(&self, fence: Fence) -> bool {
        let held = self.held.iter().find(|held| held.fence == fence);
        let held = held.filter(|held| held.entries > 0);
        let mut ops = self.ops.values().filter_map(entering);
        held.is_some_and(|held| ops.any(|acquire| meets(&acquire.parts, &held.parts)))
    }

    /// It was granted something: a new grant, or one more entry.
    pub(super) fn taken(
        &mut self,
        grant: &Grant,
        token: Token,
        first_sent: u64,
        scene: &mut Scene<'_>,
    ) {
        let fence = grant.fence;
        let Some(held) = self.held.iter_mut().find(|held| held.fence == fence) else {
            return self.hold(grant, token, first_sent, scene);
        };
        if held.entries > 0 {
            held.entries += 1;
            self.let_go_later(fence, scene);
        }
    }

    /// An operation, since the first of those that may have made the grant that it was answered with. A
    /// grant that was entered before, and by nobody who was told, was made by one that is over: at any time.
    pub(super) fn since_first_asked(&self, op: &Op, grant: &Grant) -> Op {
        let asked = self.ops.values().filter(|other| {
            let entering = entering(other);
            grant.entered > 0 && entering.is_some_and(|other| meets(&other.parts, &grant.parts))
        });
        let began = asked.map(|other| other.began).min();
        let began = began.map_or(op.began, |began| began.min(op.began));
        Op {
            began: if grant.entered > 1 { 0 } else { began },
            ..op.clone()
        }
    }
}
