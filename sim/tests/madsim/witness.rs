//! What the clients believed, all in one place that no network parts.

use std::collections::BTreeMap;
use tenure_core::hash::hash64_after;
use tenure_core::ids::Fence;
use tenure_core::time::Timestamp;

/// A belief: from the moment the grant was received to the moment the release is sent, or to the
/// time at which the client itself stops to believe.
#[derive(Clone, Copy, Debug)]
struct Belief {
    shared: bool,
    until: Timestamp,
}

/// What all clients believed so far.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    held: BTreeMap<(String, u64), Belief>,
    highest: BTreeMap<String, Fence>,
    /// Static locks that were acknowledged, and not released.
    pub(crate) kept: BTreeMap<String, Fence>,
    pub(crate) grants: u64,
    /// Grants that came by HTTP, among them.
    pub(crate) http_grants: u64,
    pub(crate) lost: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    /// Of everything that was seen, in order.
    pub(crate) trace: u64,
}

impl Witness {
    /// `client` received a grant.
    pub(crate) fn granted(
        &mut self,
        now: Timestamp,
        key: &str,
        client: u64,
        (shared, fence, until): (bool, Fence, Timestamp),
    ) {
        self.see(now, key, client, fence.get());
        if until <= now {
            return; // it came too late to be believed
        }
        self.grants += 1;
        let highest = self.highest.entry(key.to_owned()).or_default();
        assert!(
            fence > *highest || shared,
            "{key}: client {client} was granted fence {fence} after {highest}"
        );
        *highest = fence.max(*highest);
        self.held
            .insert((key.to_owned(), client), Belief { shared, until });
        self.check(now, key);
    }

    /// `client` may believe for longer, or no longer.
    pub(crate) fn believes(&mut self, now: Timestamp, key: &str, client: u64, until: Timestamp) {
        self.see(now, key, client, until.as_nanos());
        if let Some(belief) = self.held.get_mut(&(key.to_owned(), client)) {
            belief.until = until;
        }
        self.check(now, key);
    }

    /// `client` is about to send its release, or gave up its belief.
    pub(crate) fn ended(&mut self, now: Timestamp, key: &str, client: u64) {
        self.see(now, key, client, 0);
        self.held.remove(&(key.to_owned(), client));
    }

    /// A static lock was acknowledged, and is left behind.
    pub(crate) fn kept(&mut self, now: Timestamp, key: &str, fence: Fence) {
        self.see(now, key, 0, fence.get());
        let old = self.kept.insert(key.to_owned(), fence);
        assert_eq!(old, None, "{key} was granted twice");
    }

    /// No two beliefs that exclude each other.
    fn check(&self, now: Timestamp, key: &str) {
        let of_key = self.held.iter().filter(|((held, _), _)| held == key);
        let live: Vec<_> = of_key.filter(|(_, belief)| belief.until > now).collect();
        let exclusive = live.iter().any(|(_, belief)| !belief.shared);
        assert!(
            !exclusive || live.len() == 1,
            "{key} is held by several at {now:?}: {live:?}"
        );
    }

    fn see(&mut self, now: Timestamp, key: &str, client: u64, what: u64) {
        for number in [now.as_nanos(), client, what] {
            self.trace = hash64_after(self.trace, &number.to_le_bytes());
        }
        self.trace = hash64_after(self.trace, key.as_bytes());
    }
}
