//! A place where the leader does not stay is left alone: it is not moved there again and again, each
//! time for as long as it takes to fail.

use super::Docket;
use crate::Nanos;
use std::collections::BTreeMap;
use tenure_core::ids::{ChangeId, NodeId};

/// The shortest time between two tries, less what a clock may drift. No reign in a world is so long
/// that its end would be no failure.
const APART: Nanos = 29_000_000_000;

/// Who moved the leader: which start of which server, and the last change of the configuration that it
/// knew. Whoever changes where the leader is wanted may want it back.
pub type Giver = (usize, u64, ChangeId);

/// Which places the leader was moved to, by whom, and when.
#[derive(Debug, Default)]
pub struct Places {
    tried: BTreeMap<(Giver, NodeId), Nanos>,
}

impl Places {
    /// The leader moves to where it is wanted, by the clock of whoever gives it.
    pub fn on_relocated(&mut self, giver: Giver, to: NodeId, docket: &mut Docket) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::node_id;

    const SECOND: Nanos = 1_000_000_000;

    /// Server 1 moves the leader to server 3 at these seconds, after these changes; whether a law was
    /// broken.
    fn breaks(moves: &[(u64, u64)]) -> bool {
        let (mut places, mut docket) = (Places::default(), Docket::default());
        for (second, change) in moves {
            docket.now = second * SECOND;
            let giver = (0, 1, ChangeId::new(*change));
            places.on_relocated(giver, node_id(2), &mut docket);
        }
        docket.first().is_some()
    }

    #[test]
    fn a_place_that_is_tried_again_soon_failed_or_is_wanted_anew() {
        assert!(breaks(&[(5, 7), (16, 7)]), "it did not stay there");
        assert!(!breaks(&[(5, 7), (35, 7)]), "half a minute later");
        assert!(!breaks(&[(5, 7), (16, 9)]), "it was wanted back");
    }
}
