//! A leader hands over to a server that leads better, or that its operator names (Ongaro 2014,
//! §3.10): it proposes nothing new until that one has all that it has, and then tells it to stand at
//! once. A prepare needs nobody's suspicion, so the voters promise though the old leader lives.
//!
//! ```text
//!  L                                  T
//!  │ nothing new gets a slot          │
//!  ├── Accept … ─────────────────────>│
//!  │<───────── Accepted upto last ────┤
//!  ├── TakeOver b ───────────────────>│  still follows b: no pre-vote
//!  │<───────────────── Prepare b' ────┤
//!  │ follows                          │  leads
//! ```

mod reigns;

pub(super) use reigns::Reigns;

use super::fitness::Space;
use super::message::Message;
use super::{Effect, Peer, Replica, Role, Until};
use crate::ids::{Ballot, NodeId};
use crate::limits::{ELECTION_TIMEOUT, OPEN_SLOTS_MAX, PING_INTERVAL};
use crate::time::Timestamp;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;

/// How long a leader waits for the one that it hands over to; proposals wait as long.
const PATIENCE: Duration = ELECTION_TIMEOUT.saturating_mul(2);
/// A leader looks whether another one is better only after this long, and again after a try that
/// failed: clients must not be sent around for a hiccup.
pub(super) const SETTLE: Duration = Duration::from_secs(5);
/// The same for what cannot wait.
const SETTLE_URGENT: Duration = Duration::from_millis(500);

/// Why a leader hands over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// Its operator asked.
    Asked,
    /// It is about to stop.
    Stops,
    /// Its disk has little room left.
    Space,
    /// Its disk is much slower than the other one's, or hangs.
    Disk,
    /// The other one stands where the leader should be.
    Location,
    /// Its clock is wrong: if it is slow, nobody else's can make time go on faster.
    Clock,
    /// Its operator wants to take it down.
    Drains,
}

/// To whom, and until when.
#[derive(Clone, Copy, Debug)]
pub(super) struct HandOver {
    to: NodeId,
    until: Timestamp,
    told_at: Option<Timestamp>,
}

impl Replica {
    /// Another server shall lead: `to`, or the fittest. Who does not lead passes the wish on.
    pub fn on_hand_over(&mut self, now: Timestamp, to: Option<NodeId>, out: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        if self.leads() {
            let found = match to {
                // One that drains would give it back at once.
                Some(to) => {
                    let mut heirs = self.heirs();
                    heirs.find(|(node, _)| *node == to && !self.config.drains(to))
                }
                None => self.best(|_| true),
            };
            match found.map(|(node, _)| node) {
                Some(heir) => self.hand_over(heir, Why::Asked, out),
                None => out.push(Effect::KeepsLeading { to }),
            }
        } else if let Some(leader) = self.leader() {
            out.push(Effect::Send {
                to: leader,
                message: Message::HandOver { to },
                until: Until::Now,
            });
        }
    }

    /// This server is about to stop: it leads no more, and hands over if it does.
    pub fn on_stop(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        self.stops = true;
        if self.leads() {
            match self.last_heir() {
                Some(heir) => self.hand_over(heir, Why::Stops, out),
                None => out.push(Effect::KeepsLeading { to: None }),
            }
        }
    }

    /// Compares the clocks. The leader's own can be outvoted if it is fast; it is the others' turn if
    /// it is slow.
    pub(super) fn judge_clocks(&mut self, out: &mut Vec<Effect>) {
        let (now, me) = (self.now, self.config.me());
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        let off = leading.clocks.judge(me, now);
        let is_mine = off.iter().any(|(node, _)| *node == me);
        let off = off.into_iter();
        out.extend(off.map(|(node, ahead_ms)| Effect::ClockOff { node, ahead_ms }));
        if is_mine && let Some((heir, _)) = self.best(|_| true) {
            self.hand_over(heir, Why::Clock, out);
        }
    }

    /// Fit peers that have, or will have in a moment, all that this leader has.
    fn heirs(&self) -> impl Iterator<Item = (NodeId, &Peer)> {
        let lag_max = u64::try_from(OPEN_SLOTS_MAX).unwrap_or(u64::MAX);
        self.fit_peers().filter(move |(node, _)| match &self.role {
            Role::Leading(leading) => leading.lag(*node).is_some_and(|lag| lag <= lag_max),
            Role::Following | Role::Polling(_) | Role::Preparing(_) => false,
        })
    }

    /// Whether `node` stands where the leader should, and did not fail there a moment ago.
    pub(super) fn prefers(&self, node: NodeId) -> bool {
        let may_stay = !self.config.drains(node) && !self.reigns.failed_lately(node, self.now);
        self.config.prefers(node) && may_stay
    }

    /// The best of those that suit, and do not drain.
    fn best(&self, suits: impl Fn(&Peer) -> bool) -> Option<(NodeId, &Peer)> {
        let heirs = self.heirs();
        let heirs = heirs.filter(|(node, peer)| !self.config.drains(*node) && suits(peer));
        heirs.max_by_key(|(node, peer)| {
            let stands = self.prefers(*node);
            let failed = self.reigns.failed_lately(*node, self.now);
            (
                !failed,
                stands,
                Reverse(peer.fitness.disk_us),
                Reverse(*node),
            )
        })
    }

    /// The best one, and if nobody else is left, one that drains: to be served outranks that.
    fn last_heir(&self) -> Option<NodeId> {
        let best = self.best(|_| true).map(|(heir, _)| heir);
        best.or_else(|| self.heirs().next().map(|(heir, _)| heir))
    }

    fn hand_over(&mut self, to: NodeId, why: Why, out: &mut Vec<Effect>) {
        let until = self.now.plus(PATIENCE);
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        leading.hand_over_after = until.plus(SETTLE);
        if leading.hand_over.is_none() {
            leading.hand_over = Some(HandOver {
                to,
                until,
                told_at: None,
            });
            self.reigns.hand_over(to, leading.ballot());
            out.push(Effect::HandingOver { to, why });
        }
    }

    fn watch_reign(&mut self) {
        let (known, alive) = (self.election.freshest().ballot, self.leader().is_some());
        let config = &self.config;
        let yields = |before, after| {
            let is_nearer = config.prefers(after) && !config.prefers(before);
            is_nearer || config.drains(before) && !config.drains(after)
        };
        self.reigns.watch(known, alive, yields, self.now);
    }

    /// Looks whether somebody would lead better, and gives up what took too long.
    pub(super) fn tick_hand_over(&mut self, out: &mut Vec<Effect>) {
        let now = self.now;
        self.watch_reign();
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        if let Some(HandOver { to, until, .. }) = leading.hand_over
            && now >= until
        {
            leading.hand_over = None;
            self.reigns.fail(to, now);
            out.push(Effect::KeepsLeading { to: Some(to) });
        }
        let settled = now >= leading.hand_over_after;
        let urgent = now >= leading.since.plus(SETTLE_URGENT)
            && leading.hand_over_after == leading.since.plus(SETTLE);
        let is_busy = leading.hand_over.is_some() || leading.ending.holds();
        if is_busy || !leading.has_started() || !(settled || urgent) {
            return;
        }
        if let Some((heir, why)) = self.better_leader(settled) {
            self.hand_over(heir, why, out);
        }
    }

    fn better_leader(&self, settled: bool) -> Option<(NodeId, Why)> {
        let mine = self.fitness();
        if self.stops
            && let Some(heir) = self.last_heir()
        {
            return Some((heir, Why::Stops));
        }
        if mine.space != Space::Enough
            && let Some(heir) = self.last_heir()
        {
            return Some((heir, Why::Space));
        }
        if self.config.drains(self.config.me())
            && let Some((heir, _)) = self.best(|_| true)
            && (settled || !self.reigns.failed_lately(heir, self.now))
        {
            return Some((heir, Why::Drains));
        }
        let faster = |peer: &Peer| mine.is_slow_beside(peer.fitness);
        if let Some((heir, _)) = self.best(faster) {
            return Some((heir, Why::Disk));
        }
        let best = self.best(|peer| !peer.fitness.is_slow_beside(mine))?.0;
        let is_nearer = self.prefers(best) && !self.prefers(self.config.me());
        (settled && is_nearer).then_some((best, Why::Location))
    }

    /// Tells the heir once it has everything, and again with each round in case that was lost.
    pub(super) fn flush_hand_over(&mut self, out: &mut Vec<Effect>) {
        let now = self.now;
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        let ballot = leading.ballot();
        let Some(HandOver { to, told_at, .. }) = leading.hand_over else {
            return;
        };
        let is_told = told_at.is_some_and(|at| now.since(at) < PING_INTERVAL);
        if is_told || leading.lag(to) != Some(0) {
            return;
        }
        if let Some(hand_over) = &mut leading.hand_over {
            hand_over.told_at = Some(now);
        }
        out.push(Effect::Send {
            to,
            message: Message::TakeOver { ballot },
            until: Until::Now,
        });
    }

    /// The leader of `ballot` wants this server to lead. It stands at once, if it still follows that
    /// one: a late word of an earlier leader is none.
    pub(super) fn on_take_over(&mut self, from: NodeId, ballot: Ballot, out: &mut Vec<Effect>) {
        let is_leader = ballot.node == from
            && ballot == self.election.freshest().ballot
            && ballot == self.acceptor.promised();
        let is_free = match self.role {
            Role::Following | Role::Polling(_) => true,
            Role::Preparing(_) | Role::Leading(_) => false,
        };
        let is_able = self.fitness().is_fit() && self.may_stand();
        if is_leader && is_free && is_able {
            self.stand(out);
        }
    }
}
