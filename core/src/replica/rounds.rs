//! Pings and their answers: one mechanism for failure detection, for the confirmation of reads,
//! and for agreed time.

use super::fitness::Fitness;
use super::message::{Beat, Message};
use super::quorum::reached;
use super::{Effect, Replica, Role, Until};
use crate::ids::{Ballot, Boot, NodeId, Slot};
use crate::limits::PING_INTERVAL;
use crate::time::Timestamp;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Rounds whose sending time is remembered: answers older than that confirm nothing.
const REMEMBERED: usize = 64;
/// Rounds of one boot: more than a server can send in centuries.
const BOOT_SHIFT: u32 = 40;

/// The answer to a ping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pong {
    pub(super) round: u64,
    pub(super) promised: Ballot,
    pub(super) beat: Beat,
    pub(super) decided: Slot,
    pub(super) clock_ns: u64,
    pub(super) fitness: Fitness,
}

#[derive(Clone, Debug)]
pub(super) struct Rounds {
    round: u64,
    sent: VecDeque<(u64, Timestamp)>,
    next_at: Timestamp,
}

impl Rounds {
    /// Rounds of different boots never have the same number: a late answer to an earlier boot
    /// must not confirm anything.
    pub(super) fn new(boot: Boot, now: Timestamp) -> Self {
        Self {
            round: boot.get() << BOOT_SHIFT,
            sent: VecDeque::new(),
            next_at: now,
        }
    }

    pub(super) fn due(&self, now: Timestamp) -> bool {
        now >= self.next_at
    }

    pub(super) const fn next_at(&self) -> Timestamp {
        self.next_at
    }

    /// The round that was sent last.
    pub(super) const fn round(&self) -> u64 {
        self.round
    }

    fn start(&mut self, now: Timestamp) -> u64 {
        self.round += 1;
        self.sent.push_back((self.round, now));
        if self.sent.len() > REMEMBERED {
            self.sent.pop_front();
        }
        self.next_at = now.plus(PING_INTERVAL);
        self.round
    }

    fn sent_at(&self, round: u64) -> Option<Timestamp> {
        self.sent
            .iter()
            .rev()
            .find(|(sent, _)| *sent == round)
            .map(|(_, at)| *at)
    }
}

impl Replica {
    pub(super) fn start_round(&mut self, out: &mut Vec<Effect>) {
        self.rounds.start(self.now);
        self.raise_beat();
        let peers: Vec<NodeId> = self.config.peers().collect();
        for peer in peers {
            self.ping(peer, out);
        }
        self.ask_promises(out);
        self.tell_outranked(out);
        self.confirm_rounds(out);
    }

    pub(super) fn ping(&self, to: NodeId, out: &mut Vec<Effect>) {
        let message = Message::Ping {
            round: self.rounds.round(),
            beat: self.election.freshest(),
            decided: self.commit(),
            mark: self.config.shared().mark(),
        };
        out.push(Effect::Send {
            to,
            message,
            until: Until::Now,
        });
    }

    pub(super) fn on_ping(
        &mut self,
        from: NodeId,
        round: u64,
        beat: Beat,
        decided: Slot,
        out: &mut Vec<Effect>,
    ) {
        self.note_beat(beat, out);
        self.catchup.learn(from, decided);
        let message = Message::Pong {
            round,
            promised: self.acceptor.promised(),
            beat: self.election.freshest(),
            decided: self
                .firm
                .upto(self.log.decided(), self.records, self.durable),
            clock_ns: self.now.as_nanos(),
            fitness: self.fitness(),
        };
        out.push(Effect::Send {
            to: from,
            message,
            until: Until::Now,
        });
    }

    pub(super) fn on_pong(&mut self, from: NodeId, pong: &Pong, out: &mut Vec<Effect>) {
        if pong.round > self.rounds.round() {
            return; // an answer to nothing that this boot asked
        }
        self.note_beat(pong.beat, out);
        self.acceptor.see(pong.promised);
        self.catchup.learn(from, pong.decided);
        let now = self.now;
        let leads_at = match &self.role {
            Role::Leading(leading) => Some((leading.ballot(), leading.first_round())),
            Role::Following | Role::Polling(_) | Role::Preparing(_) => None,
        };
        let was_silent = self.peers.get(&from).is_some_and(|peer| !self.hears(peer));
        if was_silent && self.leader() == Some(from) {
            // What was sent to it meanwhile is lost, and waits longer from one try to the next.
            let leader = Some(from);
            out.push(Effect::Following { leader });
        }
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        peer.heard_at = Some(now);
        peer.decided = peer.decided.max(pong.decided);
        peer.promised = peer.promised.max(pong.promised);
        peer.fitness = pong.fitness;
        if let Role::Leading(leading) = &mut self.role {
            leading.hear_promise(pong.promised, now);
        }
        let Some((ballot, first_round)) = leads_at else {
            return;
        };
        // A voter that promised more, durably or not, no longer confirms this leader.
        if pong.promised <= ballot && pong.round >= first_round && pong.round > peer.confirmed {
            peer.confirmed = pong.round;
            let asked = self.rounds.sent_at(pong.round);
            if let (Role::Leading(leading), Some(asked)) = (&mut self.role, asked) {
                let round = (pong.round, asked);
                leading.clocks.hear(from, pong.clock_ns, round, now);
                if self.config.votes(from) {
                    leading.hear_clock(from, pong.clock_ns, asked, now);
                }
            }
            self.confirm_rounds(out);
            self.resend_if_stalled(from);
        }
    }

    /// A round is confirmed when a quorum answered it or a later one: what they said was said
    /// after it began.
    fn confirm_rounds(&mut self, out: &mut Vec<Effect>) {
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        let voters = || {
            let peers = self.peers.iter();
            peers.filter(|(node, _)| self.config.votes(**node))
        };
        let mut answered: Vec<u64> = voters().map(|(_, peer)| peer.confirmed).collect();
        answered.push(self.rounds.round());
        let confirmed = reached(&mut answered, self.config.quorum());
        if confirmed < leading.first_round() || confirmed <= leading.confirmed_round() {
            return;
        }
        if let Some(sent) = self.rounds.sent_at(confirmed) {
            leading.confirm(confirmed, sent, self.now);
            self.release_reads(confirmed, out);
            self.tell_leader(out);
        }
    }
}
