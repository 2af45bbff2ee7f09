//! One entry of the log, before it is bytes.

use tenure_core::entry::{Entry, EntryKind};
use tenure_core::ids::{Ballot, Epoch, Fence, NodeId, Round};
use tenure_core::machine::codec;
use tenure_core::machine::command::Command;
use tenure_core::time::Stamp;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// The first entry of a leader.
    Lead,
    Noop,
    Batch,
}

#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) kind: Kind,
    /// Nanoseconds of agreed time, as the leader has it.
    pub(crate) stamp: u64,
    pub(crate) commands: Vec<Command>,
}

/// Fences begin above this.
pub(crate) const FENCE_FLOOR: Fence = Fence::new(1 << 20);

impl Turn {
    /// Its bytes. `round` numbers the leaders.
    pub(crate) fn entry(&self, round: u64) -> Entry {
        let stamp = Stamp::from_nanos(self.stamp);
        match self.kind {
            Kind::Lead => {
                let ballot = Ballot {
                    epoch: Epoch::new(1),
                    round: Round::new(round),
                    node: NodeId::new(1),
                };
                // Later leaders have later clocks, and change no fence by it (rule 31).
                let floor = Fence::new(FENCE_FLOOR.get() * round);
                Entry::leader_start(ballot, stamp, &codec::encode_start(floor))
            }
            Kind::Noop => Entry::new(EntryKind::Noop, stamp, &[]),
            Kind::Batch => {
                let commands: Vec<_> = self.commands.iter().map(codec::encode).collect();
                Entry::new(EntryKind::Batch, stamp, &commands)
            }
        }
    }
}
