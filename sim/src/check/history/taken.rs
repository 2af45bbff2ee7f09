//! What operators take from holders, by the log.

use super::super::Docket;
use super::History;
use crate::marks::{Mark, Marks};
use std::collections::BTreeSet;
use tenure_core::ids::{Fence, ZoneId};
use tenure_core::machine::answer::Blocker;
use tenure_core::machine::command::{Command, Force, Operation};
use tenure_core::machine::key::Key;

/// What was taken.
#[derive(Debug, Default)]
pub(super) struct Taken {
    all: BTreeSet<(ZoneId, Fence)>,
    /// What nobody else was told of yet.
    news: Vec<(Key, Fence)>,
}

impl History {
    /// A grant is no more, since an operator wanted it.
    pub(super) fn on_taken(
        &mut self,
        zone: ZoneId,
        keys: &[Key],
        fence: Fence,
        docket: &mut Docket,
    ) {
        self.locks.on_taken(zone, fence, docket);
        self.lateness.on_ended((zone, fence));
        self.taken.all.insert((zone, fence));
        let news = keys.iter().map(|key| (key.clone(), fence));
        self.taken.news.extend(news);
    }

    /// An operator is told that he took a grant: it is the one that he looked at, and it has ended.
    pub(super) fn on_forced(&self, zone: ZoneId, force: &Force, fence: Fence, docket: &mut Docket) {
        let is_gone = self.taken.all.contains(&(zone, fence));
        let stands = self.locks.live(zone, fence).is_some();
        docket.check(
            is_gone && !stands && force.fence == fence,
            "what is taken is what was looked at",
            || format!("{force:?} was answered {fence}; taken {is_gone}, standing {stands}"),
        );
    }

    /// He is told that it is another one by now: neither does his stand, nor is one named that does not.
    pub(super) fn note_changed(
        &self,
        command: &Command,
        by: &[Blocker],
        docket: &mut Docket,
        marks: &mut Marks,
    ) {
        marks.hit(Mark::FenceChanged);
        let Operation::Force(force) = &command.operation else {
            return;
        };
        let has_key = |fence| {
            let live = self.locks.live(command.zone, fence);
            live.is_some_and(|live| live.parts.of(&force.key).is_some())
        };
        let is_so = !has_key(force.fence) && by.iter().all(|holder| has_key(holder.fence));
        docket.check(is_so, "no refusal without its reason", || {
            format!("{force:?} was refused because of {by:?}")
        });
    }

    /// Grants that were taken since this was last asked, lock by lock.
    pub fn take_taken(&mut self) -> Vec<(Key, Fence)> {
        std::mem::take(&mut self.taken.news)
    }
}
