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
    /// The leader leaves a place that did not fail: somebody changed where it is wanted, and may change
    /// that back.
    pub fn on_left(&mut self, left: NodeId) {
        self.tried.retain(|(_, place), _| *place != left);
    }

    /// The leader moves to where it is wanted, by the clock of whoever gives it.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::node_id;

    const SECOND: Nanos = 1_000_000_000;

    /// Moves the leader from one to the other at these seconds; whether a law was broken.
    fn breaks(moves: &[(u64, usize, usize)]) -> bool {
        let (mut places, mut docket) = (Places::default(), Docket::default());
        for (second, from, to) in moves {
            docket.now = second * SECOND;
            places.on_left(node_id(*from));
            places.on_relocated((*from, 1), node_id(*to), &mut docket);
        }
        docket.first().is_some()
    }

    #[test]
    fn a_place_that_is_tried_again_soon_was_left_for_another_one_or_failed() {
        assert!(breaks(&[(5, 0, 2), (16, 0, 2)]), "it did not stay there");
        assert!(!breaks(&[(5, 0, 2), (35, 0, 2)]), "half a minute later");
        assert!(
            !breaks(&[(5, 0, 2), (11, 2, 0), (16, 0, 2)]),
            "it was wanted back"
        );
    }
}
