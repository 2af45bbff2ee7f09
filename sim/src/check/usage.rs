//! What one server keeps on its disk has a bound (K30).
//!
//! Between one and two intervals of log stay, and more only while a peer fetches a snapshot and needs
//! what comes behind it, which ends after so many newer ones (rule 5, `PIN_NEWER_MAX`).

use super::Docket;
use std::collections::VecDeque;
use tenure_core::ids::Slot;
use tenure_core::limits::PIN_NEWER_MAX;

/// Snapshots that stay whoever wants them.
pub const NEWEST: usize = 2;

/// The ledger of one server.
#[derive(Debug, Default)]
pub struct Usage {
    /// The snapshots that became durable in this start, the last ones.
    made: VecDeque<Slot>,
    /// The log up to here was let go.
    truncated: Slot,
}

impl Usage {
    /// It starts again.
    pub fn on_start(&mut self) {
        self.made.clear();
    }

    /// It lets the log up to here go.
    pub fn on_truncate(&mut self, upto: Slot) {
        self.truncated = self.truncated.max(upto);
    }

    /// Another snapshot is durable, and so many are kept now, of a cluster of so many servers.
    pub fn on_snapshot(
        &mut self,
        (server, servers): (usize, usize),
        slot: Slot,
        kept: usize,
        docket: &mut Docket,
    ) {
        let peers = servers - 1;
        docket.check(
            kept <= NEWEST + peers,
            "what a server keeps on its disk has a bound",
            || format!("server {} keeps {kept} snapshots", server + 1),
        );
        self.made.push_back(slot);
        // Each peer may be given time for one in turn; the last one here is not known to the node yet.
        let most = NEWEST + 1 + peers * PIN_NEWER_MAX as usize;
        if self.made.len() > most {
            let oldest = self.made.pop_front().unwrap_or_default();
            docket.check(
                self.truncated >= oldest,
                "what a server keeps on its disk has a bound",
                || {
                    let (number, truncated) = (server + 1, self.truncated);
                    format!(
                        "server {number} keeps the log from {truncated} on, and has {most} snapshots above {oldest}"
                    )
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_never_let_go_is_found() {
        let (mut usage, mut docket) = (Usage::default(), Docket::default());
        for slot in 1..=20 {
            usage.on_snapshot((0, 3), Slot::new(slot), NEWEST, &mut docket);
        }
        assert!(docket.first().is_some());
    }

    #[test]
    fn a_log_behind_what_a_peer_fetches_is_in_order() {
        let (mut usage, mut docket) = (Usage::default(), Docket::default());
        for slot in 1..=60_u64 {
            usage.on_truncate(Slot::new(slot.saturating_sub(9)));
            usage.on_snapshot((0, 3), Slot::new(slot), NEWEST + 1, &mut docket);
        }
        assert_eq!(docket.first(), None);
        usage.on_snapshot((0, 3), Slot::new(61), NEWEST + 3, &mut docket);
        assert!(docket.first().is_some());
    }
}
