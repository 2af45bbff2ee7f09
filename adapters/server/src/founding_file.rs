//! What a data directory remembers while it is not formatted yet, and its cluster is being founded: the
//! file `founding`, whose bytes are `core`'s.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use tenure_core::founding::Record;

const NAME: &str = "founding";
const UNFINISHED: &str = "founding.new";

/// What was kept; none if nothing was.
///
/// # Errors
///
/// There is something, and it can't be believed: it may say to what this server agreed.
pub(crate) fn load(dir: &Path) -> io::Result<Option<Record>> {
    let path = dir.join(NAME);
    let named =
        |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
    match std::fs::read(&path) {
        Ok(bytes) => Record::parse(&bytes)
            .map(Some)
            .map_err(|error| named(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(&error)),
    }
}

/// Keeps a record. It survives a crash when this returns.
pub(crate) fn keep(dir: &Path, record: &Record) -> io::Result<()> {
    let unfinished = dir.join(UNFINISHED);
    let mut file = File::create(&unfinished)?;
    file.write_all(&record.encode())?;
    file.sync_all()?;
    std::fs::rename(unfinished, dir.join(NAME))?;
    File::open(dir)?.sync_all()
}

/// The data directory is formatted, and nothing of this is asked for any more. What is left would be of
/// use to nobody but one who removes the rest.
pub(crate) fn remove(dir: &Path) {
    for name in [NAME, UNFINISHED] {
        match std::fs::remove_file(dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the file {name} of the founding can't be removed");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NAME, keep, load, remove};
    use tenure_core::founding::{Founders, Record};
    use tenure_core::ids::{Incarnation, NodeId};

    #[test]
    fn what_was_kept_is_there_at_the_next_start_or_there_is_none() {
        let folder = tempfile::tempdir().expect("there is room");
        let dir = folder.path();
        assert_eq!(load(dir).expect("nothing was"), None);
        let alone = Record {
            list: 7,
            incarnation: Incarnation::new(8),
            agreed: None,
        };
        let pair = (NodeId::new(1), Incarnation::new(8));
        let founders = Founders::try_from(vec![pair]).expect("they are in order");
        let agreed = Record {
            agreed: Some(founders),
            ..alone.clone()
        };
        for record in [alone, agreed] {
            keep(dir, &record).expect("there is room");
            assert_eq!(load(dir).expect("it is whole"), Some(record));
        }
        let mut bytes = std::fs::read(dir.join(NAME)).expect("it is there");
        bytes[9] ^= 1;
        std::fs::write(dir.join(NAME), bytes).expect("there is room");
        let error = load(dir).expect_err("it is damaged").to_string();
        assert!(
            error.contains("founding") && error.contains("checksum"),
            "{error}"
        );
        remove(dir);
        remove(dir);
        assert_eq!(load(dir).expect("it is gone"), None);
    }
}
