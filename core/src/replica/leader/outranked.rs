//! A voter that promised more than a living leader's ballot has no leader: the candidate that it
//! promised was never elected, and what this leader says is no evidence to it any more. An accept
//! would be answered with a nack, and the leader would stand again; but an idle leader sends none,
//! and a cut link carries none. So whoever hears of such a promise tells the leader that it follows,
//! and the leader stands above it.
//!
//! ```text
//!  V promised 5         F follows 4              L leads 4
//!  ├── Pong promised 5 ──>│                        │
//!  │                      ├── Outranked 4 by 5 ───>│ for longer than a moment
//!  │<─────────────────────┴──────────── Prepare 6 ─┤
//! ```
//!
//! Two servers that each hear a majority have a neighbour in common, so one step is enough.

use super::Leading;
use crate::ids::Ballot;
use crate::limits::{ELECTION_TIMEOUT, PING_INTERVAL};
use crate::replica::message::Message;
use crate::replica::{Effect, Replica, Role, Until};
use crate::time::Timestamp;
use alloc::vec::Vec;
use core::time::Duration;

/// A candidate gets so long to be elected: a leader that stood again at once would fight with it.
const PATIENCE: Duration = ELECTION_TIMEOUT.saturating_mul(2);
/// A word about a higher promise that is not said again for this long is over.
const OVER: Duration = PING_INTERVAL.saturating_mul(4);

/// Somebody promised more than the leader's ballot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outranked {
    since: Timestamp,
    heard_at: Timestamp,
}

impl Leading {
    /// Heard of a promise, directly or from a follower.
    pub(in crate::replica) fn hear_promise(&mut self, promised: Ballot, now: Timestamp) {
        if promised <= self.ballot || promised.epoch != self.ballot.epoch {
            return;
        }
        let goes_on = |known: &Outranked| now.since(known.heard_at) < OVER;
        let since = self
            .outranked
            .filter(goes_on)
            .map_or(now, |known| known.since);
        self.outranked = Some(Outranked {
            since,
            heard_at: now,
        });
    }

    /// Whether a promise above its ballot keeps somebody from it: one that was not followed by an
    /// election, since a majority confirmed this ballot later.
    fn is_outranked(&self, now: Timestamp) -> bool {
        let keeps = |known: Outranked| {
            now.since(known.heard_at) < OVER
                && now.since(known.since) >= PATIENCE
                && self.clock.confirmed() > known.since
        };
        self.outranked.is_some_and(keeps) && self.hand_over.is_none() && self.has_quorum(now)
    }
}

impl Replica {
    /// With each round a follower tells its leader of a peer that promised more.
    pub(in crate::replica) fn tell_outranked(&self, out: &mut Vec<Effect>) {
        let Some(leader) = self.leader().filter(|_| !self.leads()) else {
            return;
        };
        let ballot = self.election.freshest().ballot;
        let heard = self.peers.values().filter(|peer| self.hears(peer));
        let promised = heard.map(|peer| peer.promised).max();
        if let Some(promised) = promised.filter(|promised| *promised > ballot) {
            out.push(Effect::Send {
                to: leader,
                message: Message::Outranked { ballot, promised },
                until: Until::Now,
            });
        }
    }

    pub(in crate::replica) fn on_outranked(&mut self, ballot: Ballot, promised: Ballot) {
        let now = self.now;
        if let Role::Leading(leading) = &mut self.role
            && leading.ballot == ballot
        {
            leading.hear_promise(promised, now);
            self.acceptor.see(promised);
        }
    }

    /// Stands again, above what was promised. No votes are asked for: it leads.
    pub(in crate::replica) fn tick_outranked(&mut self, out: &mut Vec<Effect>) {
        if let Role::Leading(leading) = &self.role
            && leading.is_outranked(self.now)
            && !self.disk.hangs(self.now)
            && self.may_stand()
        {
            self.follow(out);
            self.stand(out);
        }
    }
}
