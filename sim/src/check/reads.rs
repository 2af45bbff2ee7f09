//! Reads are linearizable (K23, K24): an answer is true at a position of the log that is not
//! before any change that was answered before the read began.

use super::Docket;
use super::locks::Locks;
use std::collections::BTreeMap;
use tenure_core::ids::{Fence, Slot, ZoneId};
use tenure_core::machine::key::Key;
use tenure_core::query::{LockView, Verdict};

/// Who held a lock from this position on.
type Holders = (Slot, Vec<Fence>);

/// Who held each lock after each entry that changed it.
#[derive(Debug, Default)]
pub struct Reads {
    holders: BTreeMap<(ZoneId, Key), Vec<Holders>>,
    /// The highest position that any answer so far spoke of.
    pub answered: Slot,
}

impl Reads {
    /// An entry touched `key`.
    pub fn on_touched(&mut self, slot: Slot, zone: ZoneId, key: &Key, locks: &Locks) {
        let now = locks.holders(zone, key);
        let then = self.holders.entry((zone, key.clone())).or_default();
        if then.last().is_none_or(|(_, before)| *before != now) {
            then.push((slot, now));
        }
    }

    /// Every lock that was ever touched.
    pub fn keys(&self) -> Vec<(ZoneId, Key)> {
        self.holders.keys().cloned().collect()
    }

    fn at(&self, slot: Slot, zone: ZoneId, key: &Key) -> &[Fence] {
        let Some(then) = self.holders.get(&(zone, key.clone())) else {
            return &[];
        };
        let known = then.partition_point(|(when, _)| *when <= slot);
        known.checked_sub(1).map_or(&[], |last| &then[last].1)
    }

    /// A client asked when answers spoke of `began`, and was told `view` at `slot`.
    pub fn on_read(
        &self,
        (began, slot): (Slot, Slot),
        zone: ZoneId,
        view: &LockView,
        docket: &mut Docket,
    ) {
        docket.check(
            slot >= began,
            "a read sees what was answered before it",
            || {
                format!(
                    "{:?} read at {slot}, answers had spoken of {began}",
                    view.key
                )
            },
        );
        let held = self.at(slot, zone, &view.key);
        let mut told: Vec<Fence> = view.holders.iter().map(|holder| holder.fence).collect();
        told.sort_unstable();
        // A grant past its deadline is dead, reaped or not: a view may leave it out.
        let same = told.iter().all(|fence| held.contains(fence));
        docket.check(same, "a read tells what the log says", || {
            format!(
                "{:?} at {slot}: told {told:?}, the log has {held:?}",
                view.key
            )
        });
    }

    /// Somebody was told whether a grant holds a lock.
    pub fn on_verdict(
        &self,
        (began, slot): (Slot, Slot),
        zone: ZoneId,
        verdict: &Verdict,
        docket: &mut Docket,
    ) {
        docket.check(
            slot >= began,
            "a read sees what was answered before it",
            || format!("{verdict:?} at {slot}, answers had spoken of {began}"),
        );
        let held = self.at(slot, zone, &verdict.key);
        let is_named = verdict.held.as_ref().is_none_or(|view| {
            view.fence == verdict.fence && verdict.highest >= Some(verdict.fence)
        });
        // What has ended by time may be left out, as by a view.
        let told = verdict.held.iter().map(|view| view.fence);
        let mut told = told.chain(verdict.highest);
        let same = is_named && told.all(|fence| held.contains(&fence));
        docket.check(same, "a read tells what the log says", || {
            format!("{verdict:?} at {slot}, the log has {held:?}")
        });
    }
}
