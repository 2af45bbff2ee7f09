//! What the disk did, for metrics and for the choice between threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the disk did since it was opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Groups that were synced.
    pub syncs: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// How long the syncs took, all together.
    pub sync_time: Duration,
    /// How long the longest took.
    pub sync_time_max: Duration,
    /// Changes of the superblock, each four syncs.
    pub promises: u64,
}

/// The counters, shared with the thread that syncs.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    syncs: AtomicU64,
    bytes: AtomicU64,
    nanos: AtomicU64,
    nanos_max: AtomicU64,
    promises: AtomicU64,
}

impl Tally {
    pub(crate) fn synced(&self, bytes: u64, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.nanos_max.fetch_max(nanos, Ordering::Relaxed);
    }

    pub(crate) fn promised(&self) {
        self.promises.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Counters {
        Counters {
            syncs: self.syncs.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            sync_time: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
            sync_time_max: Duration::from_nanos(self.nanos_max.load(Ordering::Relaxed)),
            promises: self.promises.load(Ordering::Relaxed),
        }
    }
}
