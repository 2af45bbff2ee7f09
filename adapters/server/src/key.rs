//! The cluster's token key: 32 random bytes that all servers have alike, as one line of 64 hex
//! digits. Tokens are computed from it (`docs/LOCKS.md`), so whoever reads it can forge them, and
//! a server with another key refuses what the others gave out.

use crate::settings::TokenKey;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Why there is no token key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file can't be read or made.
    #[error("token key {path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The cluster's servers share a file, and it is not there: only an operator can know where
    /// the others have it from.
    #[error(
        "token key {path} is not there: copy it from another server, or make it with `tenure token-key {path}`"
    )]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// Not 64 hex digits.
    #[error("token key {path} is not one line of 64 hex digits")]
    Garbage {
        /// Which file.
        path: PathBuf,
    },
}

/// Reads the token key; the only server of a cluster makes its own at the first start.
///
/// # Errors
///
/// It is not there, or not readable.
pub fn load(key: &TokenKey) -> Result<[u8; 32], KeyError> {
    match key {
        TokenKey::Shared(path) if !path.exists() => Err(KeyError::Missing { path: path.clone() }),
        TokenKey::Own(path) if !path.exists() => make(path),
        TokenKey::Shared(path) | TokenKey::Own(path) => read(path),
    }
}

/// Makes a new key in a new file that only its owner reads.
///
/// # Errors
///
/// The file is there already, or can't be written.
pub fn make(path: &Path) -> Result<[u8; 32], KeyError> {
    let io = |error| KeyError::Io {
        path: path.to_owned(),
        error,
    };
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| io(error.into()))?;
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io)?;
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let written = writeln!(file, "{digits}").and_then(|()| file.sync_all());
    written.and_then(|()| sync_folder(path)).map_err(io)?;
    Ok(key)
}

/// Makes the file's name survive a crash: tokens that were given out must be good afterwards.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn read(path: &Path) -> Result<[u8; 32], KeyError> {
    let text = std::fs::read_to_string(path).map_err(|error| KeyError::Io {
        path: path.to_owned(),
        error,
    })?;
    parse(text.trim_end()).ok_or_else(|| KeyError::Garbage {
        path: path.to_owned(),
    })
}

fn parse(digits: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::{KeyError, load, make};
    use crate::settings::TokenKey;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_only_server_makes_its_key_once_and_for_itself() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("token.key");
        let own = TokenKey::Own(path.clone());
        let first = load(&own).expect("it is made");
        assert_eq!(load(&own).expect("it is read"), first);
        assert_ne!(first, [0; 32]);
        let mode = path.metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(make(&path).is_err(), "a key is never overwritten");
        assert_eq!(load(&TokenKey::Shared(path)).expect("it is read"), first);
    }

    #[test]
    fn a_shared_key_is_never_made_up() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("token.key");
        let shared = TokenKey::Shared(path.clone());
        assert!(matches!(load(&shared), Err(KeyError::Missing { .. })));
        for garbage in ["", "zz", &"g".repeat(64), &"0".repeat(63), &"é".repeat(32)] {
            std::fs::write(&path, garbage).expect("there is room");
            assert!(matches!(load(&shared), Err(KeyError::Garbage { .. })));
        }
    }
}
