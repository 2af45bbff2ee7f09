//! The host's log, in files: the disk knows nothing of the host, nor the host of files.

use std::io;
use tenure_core::entry::Entry;
use tenure_core::ids::{Ballot, RecordNo, Slot};
use tenure_core::replica::record::Record;
use tenure_core::wal::writer::AppendError;
use tenure_disk::{Disk, DiskError, Sealed, Space};
use tenure_host::{Appended, Group, Log};

/// The log in a data directory.
pub(crate) struct FileLog(pub(crate) Disk);

/// A group that was stored.
pub(crate) struct FileGroup(Sealed);

impl Log for FileLog {
    type Group = FileGroup;

    fn append(&mut self, number: RecordNo, record: &Record) -> io::Result<Appended> {
        match self.0.append(number, record) {
            Ok(()) => Ok(Appended::Yes),
            Err(DiskError::Append(AppendError::Full)) => Ok(Appended::GroupFull),
            Err(error) => Err(error.into()),
        }
    }

    fn has_room(&mut self) -> bool {
        self.0.space() == Space::Enough
    }

    fn seal(&mut self) -> io::Result<FileGroup> {
        Ok(FileGroup(self.0.seal()?))
    }

    fn promise(&mut self, ballot: Ballot) -> io::Result<()> {
        Ok(self.0.promise(ballot)?)
    }

    fn load(&mut self, from: Slot, upto: Slot) -> io::Result<Vec<Entry>> {
        Ok(self.0.load(from, upto)?)
    }
}

impl Group for FileGroup {
    fn sync(self) -> io::Result<()> {
        self.0.sync()?;
        Ok(())
    }
}
