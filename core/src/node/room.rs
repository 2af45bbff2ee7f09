//! What is refused for want of room on a disk, before anything of it is appended.

use super::Node;
use super::input::{Ask, Space};
use super::output::Output;
use crate::ids::NodeId;
use crate::machine::codec;
use crate::replica::Effect;
use crate::replica::message::{Proposal, Refused};
use alloc::vec::Vec;
use bytes::Bytes;

impl Node {
    /// The host looked at the room on its disk.
    pub(super) fn space(&mut self, space: Space, out: &mut Vec<Output>) {
        self.replica.on_space(space);
        match space {
            Space::Enough => {
                self.snapshots.retry_now(self.now);
                self.replica.retry_wish();
            }
            Space::Low | Space::Full => self.truncate_to_newest(out),
        }
    }

    /// Whether the own disk has no room for what `ask` would lead to. One that takes nothing more does
    /// not learn either: who asks it would wait in vain.
    pub(super) fn has_no_room_for(&self, ask: &Ask) -> bool {
        match self.replica.space() {
            Space::Enough => false,
            Space::Low => ask.is_new_work(),
            Space::Full => !ask.is_answered_here(),
        }
    }

    /// A leader that is low refuses what is new, whoever sends it: it would be appended here first.
    pub(super) fn admit(
        &self,
        from: NodeId,
        proposals: &mut Vec<Proposal>,
        effects: &mut Vec<Effect>,
    ) {
        if self.replica.space() == Space::Enough || !self.replica.leads() {
            return;
        }
        let refused = proposals.extract_if(.., |proposal| is_new_work(&proposal.command));
        let numbers: Vec<u64> = refused.map(|proposal| proposal.number).collect();
        if !numbers.is_empty() {
            let reason = Refused::DiskFull;
            self.replica.refuse(from, numbers, reason, effects);
        }
    }
}

/// What can't be read asks for nothing: the machine will say so.
fn is_new_work(command: &Bytes) -> bool {
    codec::decode(command).is_ok_and(|command| command.operation.is_new_work())
}
