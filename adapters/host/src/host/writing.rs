//! The loop's dealings with the log and the superblock: append, seal, sync, promise.

use super::{Host, HostError, Steps, disk};
use crate::log::{Appended, Log};
use crate::peers::Peers;
use crate::snapshots::Job;
use crate::syncer::Begun;
use tenure_core::ids::RecordNo;
use tenure_core::limits::TRAILING_SEAL_AFTER;
use tenure_core::node::input::Input;
use tenure_rt::clock;

impl<N: Steps, L: Log, P: Peers> Host<N, L, P> {
    /// Promises, or begins to truncate: one after another (rule 4). A truncation begins when nothing
    /// stands before it on its thread, so that the next promise waits for its four syncs at most.
    pub(super) fn change_superblock(&mut self) -> Result<(), HostError> {
        if self.truncating {
            return Ok(());
        }
        if let Some((ballot, membership)) = self.promise.take() {
            let promised = self.log.promise(ballot, membership);
            promised.map_err(disk("promised to"))?;
            self.inputs.push(Input::Promised { ballot });
        }
        if let Some((upto, snapshot)) = self.truncate.take_if(|_| self.snapshots.is_idle()) {
            let begun = self.log.begin_truncate(upto, snapshot);
            if let Some(truncation) = begun.map_err(disk("truncated"))? {
                // If its thread is gone, that is the last event, and the server stops.
                self.snapshots.begin(Job::Truncate(truncation));
                self.truncating = true;
            }
        }
        Ok(())
    }

    /// Syncs what was appended, unless a sync is on its way: then its end begins the next, and all
    /// that is appended until then shares it.
    pub(super) fn sync_appended(&mut self) -> Result<(), HostError> {
        loop {
            self.append()?;
            let Some(through) = self.appended.filter(|_| self.syncer.is_idle()) else {
                return Ok(());
            };
            self.appended = None;
            self.sync_group(Some(through))?;
            self.trailing_seal_at = Some(clock::now().plus(TRAILING_SEAL_AFTER));
        }
    }

    /// Adds to the open group what fits. What the disk has no room for waits: nothing was said of it.
    fn append(&mut self) -> Result<(), HostError> {
        self.waits_for_room = false;
        while let Some((number, record)) = self.to_append.front() {
            let appended = self.log.append(*number, record);
            match appended.map_err(disk("written"))? {
                Appended::Yes => {
                    self.appended = Some(*number);
                    self.to_append.pop_front();
                }
                Appended::GroupFull => {
                    assert!(
                        self.appended.is_some(),
                        "an empty group has room for every record"
                    );
                    break;
                }
                Appended::NoRoom => {
                    self.waits_for_room = true;
                    break;
                }
            }
        }
        Ok(())
    }

    pub(super) fn sync_group(&mut self, through: Option<RecordNo>) -> Result<(), HostError> {
        let group = self.log.seal().map_err(disk("written"))?;
        let begun = self.syncer.begin(group, through);
        match (begun.map_err(disk("synced"))?, through) {
            (Begun::Done, Some(through)) => self.inputs.push(Input::Durable { through }),
            (Begun::Done, None) | (Begun::InFlight, _) => {}
        }
        Ok(())
    }

    /// Takes the end of a sync, and begins the next.
    pub(super) fn take_synced(&mut self) -> Result<(), HostError> {
        if let Some(done) = self.syncer.take_done() {
            if let Some(through) = done.map_err(disk("synced"))? {
                self.inputs.push(Input::Durable { through });
            }
            self.sync_appended()?;
        }
        Ok(())
    }
}
