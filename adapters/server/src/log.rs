//! The host's log, in files: the disk knows nothing of the host, nor the host of files.

use bytes::Bytes;
use std::io;
use tenure_core::config::Membership;
use tenure_core::entry::Entry;
use tenure_core::ids::{Ballot, RecordNo, Slot, SnapshotId};
use tenure_core::machine::snapshot::Restore;
use tenure_core::node::input::Space;
use tenure_core::node::output::Received;
use tenure_core::replica::record::Record;
use tenure_core::wal::writer::AppendError;
use tenure_disk::{Disk, DiskError, Sealed, Truncation};
use tenure_host::{Appended, Group, Keeper, Kept, Log};

/// The log in a data directory, and what keeps its snapshots, until the host takes that.
pub(crate) struct FileLog {
    disk: Disk,
    keeper: Option<FileKeeper>,
}

impl FileLog {
    pub(crate) const fn new(disk: Disk, keeper: tenure_disk::Keeper) -> Self {
        Self {
            disk,
            keeper: Some(FileKeeper {
                files: keeper,
                restoring: None,
            }),
        }
    }
}

/// The snapshots in a data directory.
pub(crate) struct FileKeeper {
    files: tenure_disk::Keeper,
    /// What a peer sends is read back while it is written.
    restoring: Option<Restore>,
}

/// A group that was stored.
pub(crate) struct FileGroup(Sealed);

impl Log for FileLog {
    type Group = FileGroup;
    type Keeper = FileKeeper;

    fn append(&mut self, number: RecordNo, record: &Record) -> io::Result<Appended> {
        match self.disk.append(number, record) {
            Ok(()) => Ok(Appended::Yes),
            Err(DiskError::Append(AppendError::Full)) => Ok(Appended::GroupFull),
            Err(DiskError::Full { .. }) => Ok(Appended::NoRoom),
            Err(error) => Err(error.into()),
        }
    }

    fn space(&mut self) -> io::Result<Space> {
        Ok(match self.disk.space()? {
            tenure_disk::Space::Enough => Space::Enough,
            tenure_disk::Space::Low => Space::Low,
        })
    }

    fn keeper(&mut self) -> Option<FileKeeper> {
        self.keeper.take()
    }

    fn begin_truncate(
        &mut self,
        upto: Slot,
        snapshot: SnapshotId,
    ) -> io::Result<Option<Truncation>> {
        Ok(self.disk.begin_truncate(upto, snapshot)?)
    }

    fn end_truncate(&mut self, truncation: Truncation) {
        self.disk.end_truncate(truncation);
    }

    fn seal(&mut self) -> io::Result<FileGroup> {
        Ok(FileGroup(self.disk.seal()?))
    }

    fn promise(&mut self, ballot: Ballot, membership: Option<Membership>) -> io::Result<()> {
        Ok(self.disk.promise(ballot, membership)?)
    }

    fn close(&mut self) -> io::Result<()> {
        Ok(self.disk.close()?)
    }

    fn load(&mut self, from: Slot, upto: Slot) -> io::Result<Vec<Entry>> {
        Ok(self.disk.load(from, upto)?)
    }
}

impl Keeper for FileKeeper {
    type Truncation = Truncation;

    fn chunk(&mut self, slot: Slot, index: u32, bytes: &Bytes) -> io::Result<()> {
        if index == 0 && self.restoring.as_ref().is_some_and(Restore::has_begun) {
            self.restoring = None; // it came to nothing
        }
        if let Some(restoring) = &mut self.restoring {
            // What is wrong is said at its end.
            drop(restoring.chunk(bytes));
        }
        Ok(self.files.chunk(slot, index, bytes)?)
    }

    fn receive(&mut self, received: Received) {
        self.restoring = Some(received.restore());
    }

    fn done(&mut self, id: SnapshotId, chunks: u32, keep: &[SnapshotId]) -> io::Result<Kept> {
        let machine = match self.restoring.take().map(Restore::finish).transpose() {
            Ok(machine) => machine.map(Box::new),
            Err(error) => {
                self.files.give_up()?;
                return Ok(Kept::Bad(error.to_string()));
            }
        };
        Ok(match (self.files.done(id, chunks, keep)?, machine) {
            (tenure_disk::Kept::Durable, None) => Kept::Durable,
            (tenure_disk::Kept::Durable, Some(machine)) => Kept::Restored(machine),
            (tenure_disk::Kept::GivenUp(why), _) => Kept::GivenUp(why),
        })
    }

    fn load(&mut self, id: SnapshotId, index: u32) -> io::Result<Option<Bytes>> {
        Ok(self.files.load(id, index)?)
    }

    fn truncate(&mut self, truncation: &mut Truncation) -> io::Result<()> {
        Ok(self.files.truncate(truncation)?)
    }

    fn tidy(&mut self) -> io::Result<()> {
        Ok(self.files.tidy()?)
    }
}

impl Group for FileGroup {
    fn sync(self) -> io::Result<()> {
        self.0.sync()?;
        Ok(())
    }
}
