//! How a client behaves.

use bytes::Bytes;
use std::time::Duration;
use tenure_core::client::{SessionSettings, Settings};
use tenure_core::ids::ClusterId;

/// How long a call is tried unless said.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) endpoints: Vec<String>,
    cluster: Option<ClusterId>,
    session: Option<SessionOptions>,
    patience: Duration,
}

/// The session that a client opens.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// How long the session, and all that it holds, outlives its last keep-alive.
    pub ttl: Duration,
    /// What the client calls itself, at most 1 KiB; empty, or unique among the live sessions.
    pub identifier: String,
    /// Whether its tasks take locks one at a time, and wait for nothing but locks while they hold some. Then a
    /// claim for which the session would wait for itself is refused (`deadlock`) instead of waiting until its
    /// end. Of many tasks one may let go of what another one waits for, and nothing is refused.
    pub one_thread: bool,
}

impl Options {
    /// Servers as `host:port`, of which one at least must be there; any of them answers anything.
    pub fn new<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            cluster: None,
            session: None,
            patience: PATIENCE,
        }
    }

    /// Locks live with a session, which the client opens, keeps alive and takes along to other
    /// servers. Without one, each lock has a ttl of its own.
    #[must_use]
    pub fn session(mut self, session: SessionOptions) -> Self {
        self.session = Some(session);
        self
    }

    /// How long a call is tried before it fails; 30 s unless said. A claim's wait is added.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A server of another cluster is not talked to.
    #[must_use]
    pub const fn cluster(mut self, cluster: ClusterId) -> Self {
        self.cluster = Some(cluster);
        self
    }

    pub(crate) const fn has_session(&self) -> bool {
        self.session.is_some()
    }

    pub(crate) fn settings(&self) -> Settings {
        let session = self.session.as_ref().map(|session| SessionSettings {
            ttl_ms: millis(session.ttl),
            identifier: Bytes::from(session.identifier.clone()),
            threads: !session.one_thread,
        });
        Settings {
            servers: self.endpoints.len(),
            cluster: self.cluster,
            session,
            patience: self.patience,
        }
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
