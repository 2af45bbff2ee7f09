//! What the host needs of a write-ahead log.

use bytes::Bytes;
use std::io;
use std::time::Duration;
use tenure_core::config::Membership;
use tenure_core::entry::Entry;
use tenure_core::ids::{Ballot, RecordNo, Slot, SnapshotId};
use tenure_core::machine::Machine;
use tenure_core::node::input::Space;
use tenure_core::node::output::Received;
use tenure_core::replica::record::Record;

/// A write-ahead log with its superblock.
///
/// An error of any of these stops the server: a disk that failed once has told what it is, and what
/// it holds is only known after a restart (never retry a sync: the kernel may have dropped the
/// pages that it could not write).
pub trait Log: Send + 'static {
    /// What [`Log::seal`] closed, and is to be synced.
    type Group: Group;
    /// What keeps the snapshots: [`NoKeeper`] if nothing does.
    type Keeper: Keeper;

    /// Adds a record to the open group. `number` is one more than the last. `Appended::GroupFull`
    /// if it was not added, because the group must be sealed and synced first; an empty group has
    /// room for every record. `Appended::NoRoom` if it was not, because the disk is full: it is tried
    /// again.
    ///
    /// # Errors
    ///
    /// The disk is broken.
    fn append(&mut self, number: RecordNo, record: &Record) -> io::Result<Appended>;

    /// Whether new work can be taken. While not, it is refused, and what room is left is for the work
    /// that has begun. Asked again and again.
    ///
    /// # Errors
    ///
    /// The disk is broken.
    fn space(&mut self) -> io::Result<Space> {
        Ok(Space::Enough)
    }

    /// What keeps the snapshots; asked for once. It goes to a thread of its own.
    fn keeper(&mut self) -> Option<Self::Keeper> {
        None
    }

    /// Begins to forget what the log holds up to slot `upto`, for which `snapshot` stands, which is
    /// durable: what comes back is done by the keeper, and then handed to [`Log::end_truncate`]. Until
    /// then no promise is asked for. Nothing if there is nothing to forget.
    ///
    /// # Errors
    ///
    /// The disk is broken.
    fn begin_truncate(
        &mut self,
        upto: Slot,
        snapshot: SnapshotId,
    ) -> io::Result<Option<<Self::Keeper as Keeper>::Truncation>> {
        let _ = (upto, snapshot);
        Ok(None)
    }

    /// Takes note that the keeper has done it.
    fn end_truncate(&mut self, truncation: <Self::Keeper as Keeper>::Truncation) {
        drop(truncation);
    }

    /// Closes the open group, also one without records: that is the trailing seal of rule 12. What
    /// is appended afterwards belongs to the next group.
    ///
    /// # Errors
    ///
    /// The disk is full or broken.
    fn seal(&mut self) -> io::Result<Self::Group>;

    /// Writes the superblock with this promise, and with who votes if an epoch begins with it. It survives a crash when this returns.
    ///
    /// # Errors
    ///
    /// The disk is broken.
    fn promise(&mut self, ballot: Ballot, membership: Option<Membership>) -> io::Result<()>;

    /// Waits for what is being prepared, before the disk is opened again by this very process: nobody else
    /// would hear of a sync that failed.
    ///
    /// # Errors
    ///
    /// The disk is broken.
    fn close(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Decided entries in a row, the first one for slot `from`, none above `upto`: as many as are
    /// at hand and fit a bounded answer. Empty if the log does not have the first one.
    ///
    /// # Errors
    ///
    /// The disk is broken, or the log is damaged here.
    fn load(&mut self, from: Slot, upto: Slot) -> io::Result<Vec<Entry>>;
}

/// Keeps snapshots, and removes from the log what they stand for. It may take its time.
///
/// An error stops the server, but for that of [`Keeper::load`].
pub trait Keeper: Send + 'static {
    /// A part of the log that is to go.
    type Truncation: Send + 'static;

    /// Adds a chunk to the snapshot under construction; the first one begins it, and drops another.
    ///
    /// # Errors
    ///
    /// The disk is broken. (A full one is said by [`Keeper::done`].)
    fn chunk(&mut self, slot: Slot, index: u32, bytes: &Bytes) -> io::Result<()>;

    /// The next chunk is the first of a snapshot that a peer sent, and is read back on the way.
    fn receive(&mut self, received: Received);

    /// Makes the snapshot under construction durable, with its name; one that a peer sent only if it
    /// can be read back. All but the two newest may go then, and those to `keep`.
    ///
    /// # Errors
    ///
    /// The disk is broken.
    fn done(&mut self, id: SnapshotId, chunks: u32, keep: &[SnapshotId]) -> io::Result<Kept>;

    /// A chunk of a durable snapshot; none if that is gone, or has no such chunk.
    ///
    /// # Errors
    ///
    /// It can't be read. The server goes on.
    fn load(&mut self, id: SnapshotId, index: u32) -> io::Result<Option<Bytes>>;

    /// Changes the superblock so that a part of the log counts no more. That survives a crash when this
    /// returns, and not before. A promise may be waiting for it: nothing else is done here.
    ///
    /// # Errors
    ///
    /// The disk is broken.
    fn truncate(&mut self, truncation: &mut Self::Truncation) -> io::Result<()>;

    /// Removes what counts no more.
    ///
    /// # Errors
    ///
    /// The disk is broken.
    fn tidy(&mut self) -> io::Result<()>;
}

/// What became of a snapshot.
#[derive(Debug)]
pub enum Kept {
    /// It survives a crash.
    Durable,
    /// It came from a peer, and survives a crash. This is what it holds.
    Restored(Box<Machine>),
    /// It came from a peer, and is not what its name says: why. Nothing of it is left.
    Bad(String),
    /// It was not kept: why.
    GivenUp(String),
}

/// Of a log without snapshots: there is none.
#[derive(Clone, Copy, Debug)]
pub enum NoKeeper {}

impl Keeper for NoKeeper {
    type Truncation = Self;

    fn chunk(&mut self, _: Slot, _: u32, _: &Bytes) -> io::Result<()> {
        match *self {}
    }

    fn receive(&mut self, _: Received) {
        match *self {}
    }

    fn done(&mut self, _: SnapshotId, _: u32, _: &[SnapshotId]) -> io::Result<Kept> {
        match *self {}
    }

    fn load(&mut self, _: SnapshotId, _: u32) -> io::Result<Option<Bytes>> {
        match *self {}
    }

    fn truncate(&mut self, _: &mut Self) -> io::Result<()> {
        match *self {}
    }

    fn tidy(&mut self) -> io::Result<()> {
        match *self {}
    }
}

/// What [`Log::append`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Appended {
    /// The record is in the open group.
    Yes,
    /// It is not: seal and sync the group, and try again.
    GroupFull,
    /// It is not, and there is no room for it: try again once there is.
    NoRoom,
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
