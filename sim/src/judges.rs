//! All judges together.

use crate::check::Docket;
use crate::check::belief::Beliefs;
use crate::check::calls::Calls;
use crate::check::history::History;
use crate::check::places::Places;
use crate::check::promises::Promises;
use crate::check::usage::Usage;
use crate::check::votes::Votes;
use crate::marks::Marks;
use crate::scenario::HostKnobs;
use crate::server::genesis;
use tenure_core::ids::SnapshotId;
use tenure_core::machine::Machine;

/// All judges together, and what they found.
#[derive(Debug)]
pub struct Judges {
    /// What they found.
    pub docket: Docket,
    /// What is chosen.
    pub votes: Votes,
    /// What each server said and its disk remembers.
    pub promises: Vec<Promises>,
    /// What each one keeps on its disk.
    pub usage: Vec<Usage>,
    /// What the log means.
    pub history: History,
    /// Which places the leader was moved to.
    pub places: Places,
    /// What clients believe.
    pub beliefs: Beliefs,
    /// What clients asked and were told.
    pub calls: Calls,
}

impl Judges {
    /// Judges of a world with so many servers, before anything happened.
    pub fn new(servers: usize, knobs: &HostKnobs) -> Self {
        let limits = knobs.limits().machine;
        let genesis = genesis(servers, knobs);
        Self {
            docket: Docket::default(),
            votes: Votes::new(genesis.membership()),
            promises: (0..servers).map(|_| Promises::default()).collect(),
            usage: (0..servers).map(|_| Usage::default()).collect(),
            history: History::new(genesis, limits),
            places: Places::default(),
            beliefs: Beliefs::default(),
            calls: Calls::default(),
        }
    }

    /// A server goes on from a snapshot.
    pub fn on_installed(&mut self, server: usize, id: SnapshotId, machine: &Machine) {
        self.history.on_machine(server, machine, &mut self.docket);
        let snapshots = &mut self.history.snapshots;
        snapshots.on_installed(server, id, machine, &mut self.docket);
    }

    /// Reads what is chosen since the last time.
    pub fn advance(&mut self, marks: &mut Marks) {
        let (beliefs, docket) = (&mut self.beliefs, &mut self.docket);
        self.history.advance(&self.votes, beliefs, docket, marks);
        for (key, fence) in self.history.take_taken() {
            self.calls.on_taken(&key, self.docket.now, fence);
        }
    }
}
