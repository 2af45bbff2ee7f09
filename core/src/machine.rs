//! The replicated state: what every server computes from the same log.

pub mod answer;
pub mod codec;
pub mod command;
pub mod key;
use crate::{entry::Entry, ids::*, time::Stamp};
/// stub
#[derive(Debug)]
pub struct Machine {
    applied: Slot,
    stamp: Stamp,
}
impl Machine {
    /// stub
    pub fn new() -> Self {
        Self {
            applied: Slot::new(0),
            stamp: Stamp::ZERO,
        }
    }
    /// stub
    pub fn apply(
        &mut self,
        slot: Slot,
        entry: &Entry,
        _events: &mut alloc::vec::Vec<answer::Event>,
    ) {
        assert!(slot == self.applied.next());
        self.applied = slot;
        self.stamp = self.stamp.max(entry.stamp());
    }
    /// stub
    pub fn applied(&self) -> Slot {
        self.applied
    }
    /// stub
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }
    /// stub
    pub fn digest(&self) -> u64 {
        0
    }
    /// stub
    pub fn next_deadline(&self) -> Option<Stamp> {
        None
    }
    /// stub
    pub fn audit(&self) -> Result<(), &'static str> {
        Ok(())
    }
}
