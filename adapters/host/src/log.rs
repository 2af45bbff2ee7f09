//! What the host needs of a write-ahead log.

use std::io;
use std::time::Duration;
use tenure_core::entry::Entry;
use tenure_core::ids::{Ballot, RecordNo, Slot};
use tenure_core::replica::record::Record;

/// A write-ahead log with its superblock.
///
/// An error of any of these stops the server: a disk that failed once has told what it is, and what
/// it holds is only known after a restart (never retry a sync: the kernel may have dropped the
/// pages that it could not write).
pub trait Log: Send + 'static {
    /// What [`Log::seal`] closed, and is to be synced.
    type Group: Group;

    /// Adds a record to the open group. `number` is one more than the last. `Appended::GroupFull`
    /// if it was not added, because the group must be sealed and synced first; an empty group has
    /// room for every record.
    ///
    /// # Errors
    ///
    /// The disk is full or broken.
    fn append(&mut self, number: RecordNo, record: &Record) -> io::Result<Appended>;

    /// Whether new work can be taken. While not, callers are refused, and what room is left is for
    /// the work that has begun.
    fn has_room(&mut self) -> bool {
        true
    }

    /// Closes the open group, also one without records: that is the trailing seal of rule 12. What
    /// is appended afterwards belongs to the next group.
    ///
    /// # Errors
    ///
    /// The disk is full or broken.
    fn seal(&mut self) -> io::Result<Self::Group>;

    /// Writes the superblock with this promise. It survives a crash when this returns.
    ///
    /// # Errors
    ///
    /// The disk is broken.
    fn promise(&mut self, ballot: Ballot) -> io::Result<()>;

    /// Decided entries in a row, the first one for slot `from`, none above `upto`: as many as are
    /// at hand and fit a bounded answer. Empty if the log does not have the first one.
    ///
    /// # Errors
    ///
    /// The disk is broken, or the log is damaged here.
    fn load(&mut self, from: Slot, upto: Slot) -> io::Result<Vec<Entry>>;
}

/// What [`Log::append`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Appended {
    /// The record is in the open group.
    Yes,
    /// It is not: seal and sync the group, and try again.
    GroupFull,
}

/// A closed group of records. It may be synced on another thread while the next one is written.
pub trait Group: Send + 'static {
    /// Waits until the group, and everything before it, survives a crash.
    ///
    /// # Errors
    ///
    /// It may not.
    fn sync(self) -> io::Result<()>;

    /// How long a simulated disk will take: the host waits so long before it calls [`Group::sync`].
    /// A real disk says nothing, and takes its time in `sync`.
    fn pace(&self) -> Option<Duration> {
        None
    }
}
