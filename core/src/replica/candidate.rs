//! Pre-vote, prepare, and the step to leadership: Paxos Made Simple, §2.2, phase 1a.
//!
//! The pre-vote (Ongaro 2014, §9.6) changes nothing anywhere: a server that was cut off asks
//! before it disturbs.

use super::message::Message;
use super::quorum::{Piece, Tally};
use super::{Effect, Replica, Role, Until};
use crate::ids::{Ballot, NodeId, Slot};
use crate::limits::{OPEN_SLOTS_MAX, PING_INTERVAL};
use crate::time::Timestamp;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

/// Asks whether a ballot would be promised.
#[derive(Clone, Debug)]
pub(super) struct Polling {
    ballot: Ballot,
    granted: BTreeSet<NodeId>,
    until: Timestamp,
}

impl Polling {
    pub(super) const fn new(ballot: Ballot, until: Timestamp) -> Self {
        Self {
            ballot,
            granted: BTreeSet::new(),
            until,
        }
    }

    pub(super) const fn until(&self) -> Timestamp {
        self.until
    }
}

/// Gathers promises.
#[derive(Clone, Debug)]
pub(super) struct Preparing {
    tally: Tally,
    ballot: Ballot,
    until: Timestamp,
    /// When the prepare was sent: what the promises confirm began no later.
    sent: Timestamp,
    asked: BTreeMap<NodeId, Asked>,
    /// Until then promises come in: the next part of one may take twice what the last one took.
    goes_on_until: Timestamp,
}

/// What a voter was asked, and how long its answer may take: twice what the last one took, and twice that
/// when nothing came. A part may wait on a slow link behind those that were asked for in vain.
#[derive(Clone, Copy, Debug)]
struct Asked {
    first: Timestamp,
    last: Timestamp,
    pause: Duration,
}

impl Preparing {
    pub(super) const fn ballot(&self) -> Ballot {
        self.ballot
    }

    pub(super) const fn until(&self) -> Timestamp {
        self.until
    }

    /// A voter started anew.
    pub(super) fn forget(&mut self, voter: NodeId) {
        self.tally.forget(voter);
        self.asked.remove(&voter);
    }

    /// The first slot of which `voter` is to tell now, if it is time to ask it (again). One that
    /// `has_promised` may be telling; what others are asked is short, and answered once.
    fn question(&mut self, voter: NodeId, has_promised: bool, now: Timestamp) -> Option<Slot> {
        let missing = self.tally.missing(voter)?;
        let asked = match self.asked.get(&voter) {
            None => Asked {
                first: now,
                last: now,
                pause: PING_INTERVAL,
            },
            Some(asked) if now.since(asked.last) >= asked.pause => Asked {
                last: now,
                pause: asked.pause * if has_promised { 2 } else { 1 },
                ..*asked
            },
            Some(_) => return None,
        };
        self.asked.insert(voter, asked);
        Some(missing)
    }

    /// The first slot of what `voter` is to tell next, now that another part of its promise is here.
    fn next_question(&mut self, voter: NodeId, now: Timestamp) -> Option<Slot> {
        let missing = self.tally.missing(voter)?;
        let took = self.asked.get(&voter).map(|asked| now.since(asked.first));
        let pause = PING_INTERVAL.max(took.unwrap_or_default() * 2);
        let (first, last) = (now, now);
        self.asked.insert(voter, Asked { first, last, pause });
        self.goes_on_until = self.goes_on_until.max(now.plus(pause));
        self.until = self.until.max(self.goes_on_until);
        Some(missing)
    }

    fn ask(&self, to: NodeId, from: Option<Slot>, goes_on: bool) -> Effect {
        let ballot = self.ballot;
        Effect::Send {
            to,
            message: Message::Prepare {
                ballot,
                from,
                goes_on,
            },
            until: Until::Now,
        }
    }
}

impl Replica {
    pub(super) fn ask_votes(&mut self, ballot: Ballot, out: &mut Vec<Effect>) {
        let decided = self.log.decided();
        for to in self.config.voters() {
            let message = Message::PreVote { ballot, decided };
            out.push(Effect::Send {
                to,
                message,
                until: Until::Now,
            });
        }
        self.on_pre_vote_reply(self.config.me(), ballot, true, Ballot::ZERO, out);
    }

    pub(super) fn on_pre_vote(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        decided: Slot,
        out: &mut Vec<Effect>,
    ) {
        let lag = self.log.decided().get().saturating_sub(decided.get());
        let is_close = usize::try_from(lag).is_ok_and(|lag| lag <= OPEN_SLOTS_MAX);
        // Who leads by the vote of a full server could decide nothing with it.
        let granted = !self.is_full()
            && ballot.node == from
            && ballot.epoch == self.config.epoch()
            && !self.is_between_epochs()
            && ballot > self.acceptor.promised()
            && !self.leads_a_quorum()
            && self.election.suspects(self.now)
            && is_close;
        let promised = self.acceptor.promised();
        let message = Message::PreVoteReply {
            ballot,
            granted,
            promised,
        };
        out.push(Effect::Send {
            to: from,
            message,
            until: Until::Now,
        });
    }

    pub(super) fn on_pre_vote_reply(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        granted: bool,
        promised: Ballot,
        out: &mut Vec<Effect>,
    ) {
        self.acceptor.see(promised);
        let quorum = self.config.quorum();
        let Role::Polling(polling) = &mut self.role else {
            return;
        };
        if polling.ballot != ballot || !granted || !self.config.votes(from) {
            return;
        }
        polling.granted.insert(from);
        if polling.granted.len() >= quorum && self.may_stand() {
            self.stand(out);
        }
    }

    /// Stands without asking for votes first. Votes only keep the peace (rule 27), and safety may not
    /// lean on them: the exhaustive search of small cases lets anybody stand at any time.
    pub fn campaign(&mut self, out: &mut Vec<Effect>) {
        if !self.leads() && self.may_stand() {
            self.stand(out);
        }
    }

    /// Whether it can: another promise is not on its way to the disk, and it votes in an epoch that is
    /// not over.
    pub(super) fn may_stand(&self) -> bool {
        let may_lead = self.config.may_lead(self.config.me());
        may_lead && !self.acceptor.is_writing() && !self.is_between_epochs()
    }

    /// Becomes a candidate. Its own promise is durable before the first word (no round is ever
    /// used twice, even across a crash).
    pub(super) fn stand(&mut self, out: &mut Vec<Effect>) {
        let highest = Ballot {
            epoch: self.config.epoch(),
            ..self.acceptor.seen()
        };
        let ballot = highest.above(self.config.me());
        self.acceptor.promise(ballot, out);
        self.election.promise_began(self.now);
        self.role = Role::Preparing(Preparing {
            tally: Tally::new(ballot, self.config.quorum(), self.log.decided().next()),
            ballot,
            until: self.stand_until(),
            sent: self.now,
            asked: BTreeMap::new(),
            goes_on_until: self.now,
        });
    }

    /// 1a, once the own promise is durable; which is also the first promise.
    pub(super) fn prepare(&mut self, out: &mut Vec<Effect>) {
        let (now, until) = (self.now, self.try_until());
        if let Role::Preparing(preparing) = &mut self.role {
            preparing.sent = now;
            preparing.until = until;
        }
        self.ask_promises(out);
        self.promise_oneself(out);
    }

    fn promise_oneself(&mut self, out: &mut Vec<Effect>) {
        let piece = self.promise_part(self.log.decided().next(), usize::MAX);
        self.on_promise(self.config.me(), self.acceptor.promised(), piece, out);
    }

    /// 1a to everybody; with the rounds of pings again, since it may be lost, or dropped by a voter that
    /// is busy with another promise. While promises come in, voters are told: a promise may be longer
    /// than the link is fast, and who stands instead begins anew.
    pub(super) fn ask_promises(&mut self, out: &mut Vec<Effect>) {
        let Role::Preparing(preparing) = &mut self.role else {
            return;
        };
        if self.acceptor.is_writing() {
            return;
        }
        let goes_on = self.now < preparing.goes_on_until;
        for to in self.config.voters() {
            let peer = self.peers.get(&to);
            let has_promised = peer.is_some_and(|peer| peer.promised >= preparing.ballot);
            let question = preparing.question(to, has_promised, self.now);
            if question.is_some() || goes_on {
                out.push(preparing.ask(to, question, goes_on));
            }
        }
    }

    pub(super) fn on_promise(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        piece: Piece,
        out: &mut Vec<Effect>,
    ) {
        let (now, until) = (self.now, self.try_until());
        let role = core::mem::replace(&mut self.role, Role::Following);
        let Role::Preparing(mut preparing) = role else {
            self.role = role;
            return;
        };
        let counts = self.config.votes(from) && !self.is_between_epochs();
        if preparing.ballot != ballot || !counts {
            self.role = Role::Preparing(preparing);
            return;
        }
        let is_news = preparing.tally.count(from, piece);
        if from != self.config.me() {
            preparing.until = preparing.until.max(until);
            if is_news && let Some(next) = preparing.next_question(from, now) {
                out.push(preparing.ask(from, Some(next), true));
            }
        }
        let Preparing { mut tally, .. } = preparing;
        // It may have learned more since it promised itself.
        let own = self.promise_part(self.log.decided().next(), usize::MAX);
        tally.count(self.config.me(), own);
        match tally.close() {
            Ok(evidence) => self.lead(&evidence, preparing.sent, out),
            Err(tally) => self.role = Role::Preparing(Preparing { tally, ..preparing }),
        }
    }

    pub(super) fn on_nack(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        promised: Ballot,
        want: Slot,
        out: &mut Vec<Effect>,
    ) {
        self.acceptor.see(promised);
        let (own, is_refused) = match &self.role {
            Role::Preparing(preparing) => (preparing.ballot, promised > preparing.ballot),
            Role::Leading(leading) => (leading.ballot(), promised > leading.ballot()),
            Role::Following | Role::Polling(_) => return,
        };
        if ballot != own {
            return;
        }
        if is_refused {
            self.follow(out);
        } else if self.leads() {
            self.rewind(from, want, out);
        }
    }
}

#[cfg(test)]
mod tests;
