//! The worked example of `docs/SHOULD-YOU-LOCK.md`: a server of files that opens them under locks. It alone
//! reaches the lock service; its clients hold passes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tenure_service::{Claim, Error, Fence, Held, Key, LockService, Mode, Proof, TokenText, Verify};

/// What a client wants with a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Beside other readers.
    Read,
    /// Alone.
    Write,
}

/// Why a client is not let in.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Somebody has the file.
    #[error("{holder} has it, and {before} wait for it")]
    Busy {
        /// Who.
        holder: String,
        /// How many would be served before.
        before: u64,
    },
    /// The pass is over: closed, or not renewed in time.
    #[error("the pass is over")]
    Over,
    /// It is no pass for this file.
    #[error("it is no pass for this file")]
    Forged,
    /// A pass to read.
    #[error("the pass is for reading")]
    ReadOnly,
    /// A later holder has written.
    #[error("fence {seen} has written already")]
    Late {
        /// Under which fence.
        seen: Fence,
    },
    /// The lock service says neither yes nor no, so the file stays shut.
    #[error(transparent)]
    NoService(Error),
}

/// The server of files.
#[derive(Debug)]
pub struct Files<L> {
    locks: L,
    store: Store,
    /// How long a pass is good without a renewal.
    ttl: Duration,
}

impl<L: LockService> Files<L> {
    /// No files yet.
    pub fn new(locks: L, ttl: Duration) -> Self {
        let store = Store::default();
        Self { locks, store, ttl }
    }

    /// Opens a file on behalf of a client, who gets a pass; or says who has it, and how many are before.
    ///
    /// # Errors
    ///
    /// Somebody had it until `wait` was over.
    pub async fn open(
        &self,
        client: &str,
        file: &str,
        access: Access,
        wait: Duration,
    ) -> Result<TokenText, Refused> {
        let mode = match access {
            Access::Read => Mode::Shared,
            Access::Write => Mode::Exclusive,
        };
        let claim = Claim::of(key_of(file)?).mode(mode);
        let claim = claim.holder(client).ttl(self.ttl).wait(wait);
        match self.locks.acquire(claim).await {
            Ok(held) => Ok(held.token()),
            Err(Error::Held { by, .. }) => {
                let lock = self.locks.query(&key_of(file)?).await;
                let holder = by.into_iter().next().map(|holder| holder.name);
                Err(Refused::Busy {
                    holder: holder.unwrap_or_default(),
                    before: lock.map_err(refused)?.waiting,
                })
            }
            Err(error) => Err(refused(error)),
        }
    }

    /// What is in a file.
    ///
    /// # Errors
    ///
    /// The pass does not open it, or not any more.
    pub async fn read(&self, file: &str, pass: TokenText) -> Result<Vec<u8>, Refused> {
        self.check(file, pass).await?;
        Ok(self.store.read(file))
    }

    /// Writes a file.
    ///
    /// # Errors
    ///
    /// The pass does not open it, or not any more; or it is one to read.
    pub async fn write(&self, file: &str, pass: TokenText, bytes: &[u8]) -> Result<(), Refused> {
        if self.check(file, pass).await? != Mode::Exclusive {
            return Err(Refused::ReadOnly);
        }
        // The pass may have ended since it was checked. The store has the last word.
        self.store.write(file, pass.fence, bytes)
    }

    /// Shuts a file. Says whether the pass had ended before.
    ///
    /// # Errors
    ///
    /// It is no pass for this file.
    pub async fn close(&self, file: &str, pass: TokenText) -> Result<bool, Refused> {
        let held = Held {
            proof: proof_of(file, pass)?,
            ttl: None,
        };
        self.locks.release(&held).await.map_err(refused)
    }

    /// Whether the pass opens the file now, and how.
    async fn check(&self, file: &str, pass: TokenText) -> Result<Mode, Refused> {
        let verify = Verify::from(proof_of(file, pass)?);
        let verdict = self.locks.verify(verify).await.map_err(refused)?;
        verdict.held.map(|held| held.mode).ok_or(Refused::Over)
    }

    /// Where the bytes are.
    pub const fn store(&self) -> &Store {
        &self.store
    }
}

/// The bytes of each file, and the highest fence that wrote it.
#[derive(Debug, Default)]
pub struct Store {
    files: Mutex<BTreeMap<String, (Fence, Vec<u8>)>>,
}

impl Store {
    /// What is in a file; nothing if it was never written.
    pub fn read(&self, file: &str) -> Vec<u8> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files
            .get(file)
            .map_or_else(Vec::new, |(_, bytes)| bytes.clone())
    }

    /// Writes, unless a later holder has: the one step that no lock service can do for a store.
    ///
    /// # Errors
    ///
    /// A higher fence was seen.
    pub fn write(&self, file: &str, fence: Fence, bytes: &[u8]) -> Result<(), Refused> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let (seen, content) = files.entry(file.to_owned()).or_default();
        if fence < *seen {
            return Err(Refused::Late { seen: *seen });
        }
        *seen = fence;
        *content = bytes.to_vec();
        Ok(())
    }
}

fn key_of(file: &str) -> Result<Key, Refused> {
    let key = Key::from_path(&format!("files/{file}"));
    key.map_err(|error| Refused::NoService(Error::Invalid(error.to_string())))
}

fn proof_of(file: &str, pass: TokenText) -> Result<Proof, Refused> {
    Ok(Proof {
        key: key_of(file)?,
        fence: pass.fence,
        session: None,
        token: pass.token,
    })
}

fn refused(error: Error) -> Refused {
    match error {
        Error::BadProof => Refused::Forged,
        error => Refused::NoService(error),
    }
}
