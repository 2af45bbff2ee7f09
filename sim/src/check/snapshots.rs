//! Snapshots against one of the judges' own, made of the chosen log alone (K9, K25, rule 5).

use super::Docket;
use std::collections::BTreeMap;
use tenure_core::ids::{Slot, SnapshotId};
use tenure_core::machine::snapshot::Slice;
use tenure_core::machine::{Form, Machine};

/// What a snapshot of each slot must be.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// With the full digest of the judges' own machine; none of one that was late.
    due: BTreeMap<Slot, (SnapshotId, Option<u64>)>,
}

impl Snapshots {
    /// The judges' machine says that one is due.
    pub fn on_due(&mut self, machine: &mut Machine) {
        machine.open_snapshot();
        loop {
            match machine.snapshot_slice(usize::MAX) {
                Some(Slice::Done { id, .. }) => {
                    self.due.insert(id.slot, (id, Some(machine.digest_full())));
                    return;
                }
                Some(Slice::More | Slice::Chunk { .. }) => {}
                None => return,
            }
        }
    }

    /// A server says that a snapshot is whole: its own, or one that it received. One that is tried again
    /// after it was given up is of any slot, and equal to all others of that slot.
    pub fn on_whole(&mut self, server: usize, id: SnapshotId, is_late: bool, docket: &mut Docket) {
        if is_late {
            self.due.entry(id.slot).or_insert((id, None));
        }
        let known = self.due.get(&id.slot).map(|(known, _)| *known);
        docket.check(known == Some(id), "equal logs give equal snapshots", || {
            format!("server {} has {id}, it should be {known:?}", server + 1)
        });
    }

    /// A server goes on from a snapshot.
    pub fn on_installed(
        &mut self,
        server: usize,
        id: SnapshotId,
        machine: &Machine,
        docket: &mut Docket,
    ) {
        self.on_whole(server, id, false, docket);
        let known = self.due.get(&id.slot).and_then(|(_, digest)| *digest);
        let is_same = machine.applied() != id.slot
            || machine.form() == Form::Witness
            || known.is_none_or(|known| known == machine.digest_full());
        docket.check(
            is_same,
            "an installed machine equals a replayed one",
            || format!("server {} from {id}", server + 1),
        );
    }
}
