//! The members as this server knew them last: whom it calls at its next start. A hint in its data
//! directory, nothing more: what can't be read is as good as nothing.
//!
//! ```text
//! 0 XXH3 of the rest u64 | 8 the shared configuration
//! ```

use std::io;
use std::path::{Path, PathBuf};
use tenure_core::config::{Shared, Standing};
use tenure_core::hash::hash64;
use tenure_host::Published;

const NAME: &str = "members";
const UNFINISHED: &str = "members.new";

/// What was known last of the cluster that began with `genesis`, if it is newer than that.
pub(crate) fn load(dir: &Path, genesis: &Shared) -> Option<Shared> {
    let bytes = std::fs::read(dir.join(NAME)).ok()?;
    let (check, rest) = bytes.split_first_chunk::<8>()?;
    if u64::from_le_bytes(*check) != hash64(rest) {
        tracing::warn!("the file with the members known last is damaged, and not used");
        return None;
    }
    let found = Shared::parse(rest).ok()?;
    let is_ours = found.cluster() == genesis.cluster();
    (is_ours && found.judge(genesis.mark()) == Standing::Behind).then_some(found)
}

/// Remembers `shared`.
pub(crate) fn save(dir: &Path, shared: &Shared) {
    if let Err(error) = write(dir, shared) {
        tracing::warn!(%error, "the members can't be remembered for the next start");
    }
}

fn write(dir: &Path, shared: &Shared) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let config = shared.encode();
    let mut bytes = hash64(&config).to_le_bytes().to_vec();
    bytes.extend_from_slice(&config);
    let unfinished = dir.join(UNFINISHED);
    std::fs::write(&unfinished, bytes)?;
    std::fs::rename(unfinished, dir.join(NAME))
}

/// Remembers each change, until the server stops. Writing is no more than handing a page to the kernel;
/// nobody waits for the disk.
pub(crate) async fn keep(dir: PathBuf, mut published: Published) {
    while published.changed().await {
        save(&dir, published.now().shared());
    }
}

#[cfg(test)]
mod tests {
    use super::{NAME, load, save};
    use tenure_core::config::{Change, Member, Policy, Shared};
    use tenure_core::ids::{ClusterId, NodeId, Slot};
    use tenure_core::time::Stamp;

    fn genesis(cluster: u8) -> Shared {
        let member = Member {
            node: NodeId::new(1),
            ..Member::default()
        };
        Shared::genesis(ClusterId([cluster; 16]), vec![member]).expect("it is right")
    }

    fn later(shared: &Shared) -> Shared {
        let expect = shared.mark().change;
        let policy = Change::Policy(Policy::default());
        let next = shared.apply(Slot::new(9), Stamp::ZERO, "", expect, &policy);
        next.expect("it fits")
    }

    #[test]
    fn what_was_known_last_is_known_again() {
        let folder = tempfile::tempdir().expect("there is room");
        let begun = genesis(1);
        assert_eq!(load(folder.path(), &begun), None);
        save(folder.path(), &begun);
        assert_eq!(load(folder.path(), &begun), None, "nothing newer");
        save(folder.path(), &later(&begun));
        assert_eq!(load(folder.path(), &begun), Some(later(&begun)));
    }

    #[test]
    fn what_is_damaged_or_of_another_cluster_is_not_believed() {
        let folder = tempfile::tempdir().expect("there is room");
        save(folder.path(), &later(&genesis(2)));
        assert_eq!(load(folder.path(), &genesis(1)), None);
        let file = folder.path().join(NAME);
        let mut bytes = std::fs::read(&file).expect("it is there");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&file, &bytes).expect("there is room");
        assert_eq!(load(folder.path(), &genesis(2)), None);
        std::fs::write(&file, [1, 2]).expect("there is room");
        assert_eq!(load(folder.path(), &genesis(2)), None);
    }
}
