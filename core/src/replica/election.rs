//! When to suspect a leader, and who tries first (rules 25 to 27).

use super::candidate::Polling;
use super::message::{Beat, TimeHeard};
use super::{Effect, Peer, Replica, Role};
use crate::ids::{Ballot, Epoch, NodeId};
use crate::limits::{CHECK_QUORUM, ELECTION_TIMEOUT, PING_INTERVAL, RANK_DELAY};
use crate::rng::Rng;
use crate::time::{Stamp, Timestamp};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;

/// The most that chance adds to a candidate's wait, so that equals do not try together.
const JITTER_MS_MAX: u64 = 10;
/// A peer that answered no ping for this long is not counted on.
const SILENCE: Duration = Duration::from_millis(120);
/// How long a candidate waits for answers before it begins anew, beside what disks take.
const TRY: Duration = CHECK_QUORUM;
/// How long it waits for its own promise to be durable: there is no other way to lead.
const OWN_PROMISE: Duration = Duration::from_secs(5);

/// How long a leader that got nothing through leaves it to others to lead.
const STEP_ASIDE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct Election {
    freshest: Beat,
    heard_at: Timestamp,
    suspect: bool,
    /// This server never promised anything nor heard of a leader: there was none to be faithful to.
    is_new: bool,
    /// This server does not try before: another candidate was just promised, or its own try failed.
    patient_until: Timestamp,
    jitter: Duration,
    heard: TimeHeard,
    /// The latest stamp of what is decided: agreed time came so far, whoever led then.
    settled: Stamp,
    /// When the promise that is being written was given to the disk, and what the last one took.
    promising_since: Timestamp,
    promise_took: Duration,
}

impl Election {
    /// The disk remembers what was `promised`, and who was `followed` last: nothing was accepted above
    /// that. Of what was accepted only what was decided tells the time: the rest may be of a leader that
    /// was deposed.
    pub(super) fn new(now: Timestamp, promised: Ballot, followed: Ballot) -> Self {
        Self {
            freshest: Beat {
                ballot: Ballot::ZERO,
                beat: 0,
                stamp: Stamp::ZERO,
            },
            heard_at: now,
            suspect: false,
            is_new: promised == Ballot::ZERO,
            patient_until: now,
            jitter: Duration::ZERO,
            heard: TimeHeard {
                ballot: followed,
                stamp: Stamp::ZERO,
            },
            settled: Stamp::ZERO,
            promising_since: now,
            promise_took: Duration::ZERO,
        }
    }

    pub(super) const fn freshest(&self) -> Beat {
        self.freshest
    }

    /// How far agreed time came, as far as this server may tell a candidate.
    pub(super) fn heard(&self) -> TimeHeard {
        TimeHeard {
            stamp: self.heard.stamp.max(self.settled),
            ..self.heard
        }
    }

    pub(super) const fn settled(&self) -> Stamp {
        self.settled
    }

    /// Something with this stamp is decided.
    pub(super) fn settle(&mut self, stamp: Stamp) {
        self.settled = self.settled.max(stamp);
    }

    /// Something with this stamp was accepted under `ballot`. Who accepts from another leader follows
    /// its time too, and forgets that of the one before: it may have gone on alone for a while.
    pub(super) fn accepted(&mut self, ballot: Ballot, stamp: Stamp) {
        if ballot > self.heard.ballot {
            self.heard = TimeHeard { ballot, stamp };
            self.hear(self.freshest);
        }
        self.heard.stamp = self.heard.stamp.max(stamp);
    }

    /// Only the leader that this server accepts from tells it the time: another one's log may lack
    /// what a quorum with this server would find, and its time belongs to its log.
    fn hear(&mut self, beat: Beat) {
        if beat.ballot == self.heard.ballot {
            self.heard.stamp = self.heard.stamp.max(beat.stamp);
        }
    }

    /// Whether the leader is silent. Without jitter: a voter that waited for its own would make a
    /// ready candidate wait for the slowest (rule 27).
    pub(super) fn suspects(&self, now: Timestamp) -> bool {
        self.suspect || self.is_new || now.since(self.heard_at) >= ELECTION_TIMEOUT
    }

    /// The connection to the leader broke: a hint that it died.
    pub(super) const fn suspect_now(&mut self) {
        self.suspect = true;
    }

    /// A candidate was promised: it gets the time to lead.
    pub(super) fn wait_for_candidate(&mut self, now: Timestamp) {
        self.patient_until = self.patient_until.max(now.plus(ELECTION_TIMEOUT));
        self.is_new = false;
    }

    /// A promise was given to the disk.
    pub(super) const fn promise_began(&mut self, now: Timestamp) {
        self.promising_since = now;
    }

    /// It is durable. What it took is what a peer's may take: an election is never given up before
    /// the disks can be done, or slow disks would elect nobody, for ever.
    pub(super) fn promise_ended(&mut self, now: Timestamp) {
        self.promise_took = now.since(self.promising_since);
    }

    /// What an election waits for disks beyond what it waits for words: a voter may be busy with
    /// another promise first.
    fn disks(&self) -> Duration {
        self.promise_took * 2
    }

    /// After a failed try: not again at once, and not together with the others.
    pub(super) fn rest(&mut self, now: Timestamp, rng: &mut Rng) {
        self.jitter = Duration::from_millis(rng.below(JITTER_MS_MAX + 1));
        self.patient_until = self.patient_until.max(now.plus(RANK_DELAY));
    }

    /// A leader whose proposals did not get through lets another one try first: its links or its disk
    /// are the likely reason, and its log is the longest, so that it would win again (F10b).
    pub(super) fn step_aside(&mut self, now: Timestamp) {
        self.patient_until = self.patient_until.max(now.plus(STEP_ASIDE));
    }

    /// A new epoch begins: nobody leads it yet. Whoever led before does at once, if it `goes_on`.
    /// Quorums of two epochs need not meet, so whom this server followed in the one before says nothing in
    /// this one. Time goes on from the stop-sign, which everybody here has.
    pub(super) fn begin_epoch(&mut self, epoch: Epoch, now: Timestamp, goes_on: bool) {
        self.freshest = Beat::default();
        self.heard = TimeHeard {
            ballot: Ballot::opening(epoch),
            stamp: Stamp::ZERO,
        };
        self.heard_at = now;
        self.suspect = !goes_on;
        self.is_new = false;
    }

    /// Takes what is news; the same beat again is none, or two followers would keep a dead leader
    /// alive by telling each other (F10a).
    fn note(&mut self, beat: Beat, now: Timestamp) -> bool {
        let is_news = (beat.ballot, beat.beat) > (self.freshest.ballot, self.freshest.beat);
        if is_news {
            self.freshest = beat;
            self.heard_at = now;
            self.suspect = false;
            self.is_new = false;
        }
        is_news
    }
}

impl Replica {
    pub(super) fn note_beat(&mut self, beat: Beat, out: &mut Vec<Effect>) {
        self.election.hear(beat);
        // A leader below this server's promise can no longer count on it: no evidence.
        if beat.ballot < self.acceptor.promised() || beat.ballot.epoch != self.config.epoch() {
            return;
        }
        self.acceptor.see(beat.ballot);
        if beat.ballot.node == self.config.me() || !self.election.note(beat, self.now) {
            return;
        }
        match self.role {
            Role::Following => self.tell_leader(out),
            Role::Polling(_) | Role::Preparing(_) | Role::Leading(_) => self.follow(out),
        }
    }

    /// A leader that a quorum hears, and whose proposals commit, says so in each round (rule 26).
    pub(super) fn raise_beat(&mut self) {
        let now = self.now;
        if let Role::Leading(leading) = &mut self.role
            && leading.has_quorum(now)
        {
            let beat = leading.beat(now);
            self.election.hear(beat);
            let is_news = self.election.note(beat, now);
            assert!(is_news, "a leader never repeats a beat");
        }
    }

    pub(super) fn tick_election(&mut self, out: &mut Vec<Effect>) {
        match &self.role {
            Role::Leading(_) => {}
            Role::Following => {
                if self.may_try() && self.now >= self.try_at() {
                    self.poll(out);
                }
            }
            Role::Polling(polling) => {
                if self.now >= polling.until() {
                    self.follow(out);
                }
            }
            Role::Preparing(preparing) => {
                if self.now >= preparing.until() {
                    self.follow(out);
                }
            }
        }
        self.tell_leader(out);
    }

    pub(super) fn election_wake_at(&self) -> Timestamp {
        match &self.role {
            Role::Leading(_) => Timestamp::MAX,
            Role::Following if self.may_try() => self.try_at(),
            Role::Following => Timestamp::MAX, // the next ping looks again
            Role::Polling(polling) => polling.until(),
            Role::Preparing(preparing) => preparing.until(),
        }
    }

    /// Only who hears a quorum tries: others would disturb for nothing. Nor does who could not lead.
    fn may_try(&self) -> bool {
        let may_work = !self.stops && !self.is_full() && !self.disk.hangs(self.now);
        may_work && self.may_stand() && self.hears_quorum()
    }

    /// Whether a majority answers, this server among it.
    pub(super) fn hears_quorum(&self) -> bool {
        let me = usize::from(self.config.votes(self.config.me()));
        let heard = self.voting_peers().filter(|(_, peer)| self.hears(peer));
        heard.count() + me >= self.config.quorum()
    }

    /// What is known of those that vote.
    pub(super) fn voting_peers(&self) -> impl Iterator<Item = (NodeId, &Peer)> {
        let peers = self.peers.iter().map(|(node, peer)| (*node, peer));
        peers.filter(|(node, _)| self.config.votes(*node))
    }

    pub(super) fn hears(&self, peer: &Peer) -> bool {
        peer.heard_at.is_some_and(|at| self.now.since(at) < SILENCE)
    }

    fn try_at(&self) -> Timestamp {
        let is_first_start = self.election.is_new
            && self.voting_peers().all(|(_, peer)| self.hears(peer))
            && self.rank() == 0;
        if is_first_start || self.config.quorum() == 1 {
            return self.now;
        }
        let silent_at = if self.election.suspect {
            self.election.heard_at
        } else {
            self.election.heard_at.plus(ELECTION_TIMEOUT)
        };
        let wait = RANK_DELAY * self.rank() + self.election.jitter;
        silent_at.max(self.election.patient_until).plus(wait)
    }

    /// How many of the servers that answer should lead rather than this one: of those that hear a
    /// majority too, the fit ones that do not drain; of these those whose log is longer; of equals those
    /// in the preferred place, and then those with a lower number (rule 27).
    fn rank(&self) -> u32 {
        let place = |fit, decided, node| {
            let stays = fit && !self.config.drains(node);
            (stays, fit, decided, self.prefers(node), Reverse(node))
        };
        // At the first start nobody has had the time to hear a majority.
        let is_new = self.election.is_new;
        let is_fit = is_new || self.fitness().is_fit();
        let me = place(is_fit, self.log.decided(), self.config.me());
        let gone = self.election.freshest.ballot.node;
        let better = |(node, peer): &(NodeId, &Peer)| {
            let fit = is_new || peer.fitness.is_fit();
            let can_try = is_new || peer.fitness.hears_quorum;
            let can_try = can_try && self.config.may_lead(*node);
            let is_there = *node != gone && self.hears(peer) && can_try;
            is_there && place(fit, peer.decided, *node) > me
        };
        let better = self.voting_peers().filter(better);
        u32::try_from(better.count()).unwrap_or(u32::MAX)
    }

    fn poll(&mut self, out: &mut Vec<Effect>) {
        let ballot = Ballot {
            epoch: self.config.epoch(),
            ..self.acceptor.seen()
        }
        .above(self.config.me());
        let until = self.now.plus(PING_INTERVAL * 2);
        self.role = Role::Polling(Polling::new(ballot, until));
        self.ask_votes(ballot, out);
    }

    /// When a try is given up whose own promise is on its way to the disk.
    pub(super) fn stand_until(&self) -> Timestamp {
        self.now.plus(OWN_PROMISE)
    }

    /// When a try that asks for promises now is given up.
    pub(super) fn try_until(&self) -> Timestamp {
        self.now.plus(TRY).plus(self.election.disks())
    }
}
