//! What a server knows of the others when it starts again, in two files of its data directory.
//!
//! ```text
//! members   0 XXH3 of the rest u64 | 8 the shared configuration as it was known last
//! peers     0 XXH3 of the rest u64 | 8 for each that was let in: number u64  data directory u64
//! ```
//! The first is a hint, whom to call: what can't be read is as good as nothing. The second is durable
//! before a peer hears a word: whoever comes later with another data directory under its number has lost
//! what it promised. If it can't be believed the server does not start.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use tenure_core::config::{Shared, Standing};
use tenure_core::hash::hash64;
use tenure_core::ids::{Incarnation, NodeId};
use tenure_host::Published;
use tenure_tcp::Memory;

const NAME: &str = "members";
const UNFINISHED: &str = "members.new";
const PEERS: &str = "peers";
const PEERS_UNFINISHED: &str = "peers.new";

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

/// The data directories of the peers that were let in.
///
/// # Errors
///
/// There is such a file, and it can't be believed.
pub(crate) fn load_peers(dir: &Path) -> io::Result<BTreeMap<NodeId, Incarnation>> {
    let bytes = match std::fs::read(dir.join(PEERS)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let damaged = || io::Error::other("the file with the peers that were let in is damaged");
    let (check, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (pairs, tail) = rest.as_chunks::<16>();
    if u64::from_le_bytes(*check) != hash64(rest) || !tail.is_empty() {
        return Err(damaged());
    }
    let pair = |pair: &[u8; 16]| {
        let (node, incarnation) = pair.split_at(8);
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        let incarnation = Incarnation::new(number(incarnation));
        (NodeId::new(number(node)), incarnation)
    };
    Ok(pairs.iter().map(pair).collect())
}

/// The file with the peers that were let in, in this data directory.
pub(crate) struct PeersFile(pub(crate) PathBuf);

impl Memory for PeersFile {
    fn keep(&mut self, incarnations: &BTreeMap<NodeId, Incarnation>) -> io::Result<()> {
        let mut rest = Vec::new();
        for (node, incarnation) in incarnations {
            rest.extend_from_slice(&node.get().to_le_bytes());
            rest.extend_from_slice(&incarnation.get().to_le_bytes());
        }
        let unfinished = self.0.join(PEERS_UNFINISHED);
        let mut file = File::create(&unfinished)?;
        file.write_all(&hash64(&rest).to_le_bytes())?;
        file.write_all(&rest)?;
        file.sync_all()?;
        std::fs::rename(unfinished, self.0.join(PEERS))?;
        File::open(&self.0)?.sync_all()
    }
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
    use super::{NAME, PEERS, PeersFile, load, load_peers, save};
    use std::collections::BTreeMap;
    use tenure_core::config::{Change, Member, Policy, Shared};
    use tenure_core::ids::{ClusterId, Incarnation, NodeId, Slot};
    use tenure_core::time::Stamp;
    use tenure_tcp::Memory as _;

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

    #[test]
    fn who_was_let_in_is_known_at_the_next_start_or_there_is_none() {
        let folder = tempfile::tempdir().expect("there is room");
        let dir = folder.path();
        assert!(load_peers(dir).expect("nobody was").is_empty());
        let pair = |node, incarnation| (NodeId::new(node), Incarnation::new(incarnation));
        let known = BTreeMap::from([pair(2, 20), pair(3, u64::MAX)]);
        let mut file = PeersFile(dir.to_owned());
        file.keep(&known).expect("there is room");
        assert_eq!(load_peers(dir).expect("it is whole"), known);
        let whole = std::fs::read(dir.join(PEERS)).expect("it is there");
        for len in 0..whole.len() {
            std::fs::write(dir.join(PEERS), &whole[..len]).expect("there is room");
            assert!(load_peers(dir).is_err(), "{len} bytes of it");
        }
    }
}
