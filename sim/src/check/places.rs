//! A place where the leader does not stay is left alone: it is not moved there again and again, each
//! time for as long as it takes to fail.

use super::Docket;
use crate::Nanos;
use std::collections::BTreeMap;
use tenure_core::ids::NodeId;

/// The shortest time between two tries, less what a clock may drift. No reign in a world is so long
/// that its end would be no failure.
const APART: Nanos = 29_000_000_000;

/// Which places the leader was moved to, by which start of which server, and when.
#[derive(Debug, Default)]
pub struct Places {
    tried: BTreeMap<((usize, u64), NodeId), Nanos>,
}

impl Places {
    /// The leader moves to where it is wanted.
    pub fn on_relocated(&mut self, giver: (usize, u64), to: NodeId, docket: &mut Docket) {
        let now = docket.now;
        if let Some(before) = self.tried.insert((giver, to), now) {
            let apart = now - before;
            docket.check(apart >= APART, "a place that failed is left alone", || {
                let (server, ms) = (giver.0 + 1, apart / 1_000_000);
                format!("server {server} hands over to {to} again after {ms} ms")
            });
        }
    }
}
