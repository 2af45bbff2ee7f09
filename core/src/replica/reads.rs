//! Linearizable reads by a quorum round (Ongaro 2014, §6.4).
//!
//! A read may be answered from the state at slot s if s was committed when the read began, and a
//! quorum then still followed this leader: a ping round that *started after* the read began proves
//! it. Reads of one flush share one round.

use super::message::Message;
use super::{Effect, Replica, Role, Until};
use crate::ids::{NodeId, Slot};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Who asked: this server, or a follower; and what it calls the read.
#[derive(Clone, Copy, Debug)]
struct Asked {
    by: NodeId,
    nonce: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    round: u64,
    slot: Slot,
    asked: Asked,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    fresh: Vec<Asked>,
    waiting: VecDeque<Waiting>,
}

impl Reads {
    /// Drops everything: who asked asks again, under a new nonce.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Beyond the bound who asked hears nothing, and asks again.
    fn add(&mut self, asked: Asked, most: usize) {
        if self.len() < most {
            self.fresh.push(asked);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.fresh.len() + self.waiting.len()
    }
}

impl Replica {
    /// A read begins. [`Effect::ReadAt`] says when it may be answered; if that does not come, ask
    /// again with another nonce.
    pub fn read(&mut self, nonce: u64, out: &mut Vec<Effect>) {
        if self.leads_a_quorum() {
            let by = self.config.me();
            self.reads.add(Asked { by, nonce }, self.bounds.reads);
        } else if let Some(to) = self.leader() {
            let message = Message::ReadIndex { nonce };
            out.push(Effect::Send {
                to,
                message,
                until: Until::Now,
            });
        }
    }

    pub(super) fn on_read_index(&mut self, from: NodeId, nonce: u64) {
        if self.leads_a_quorum() {
            self.reads.add(Asked { by: from, nonce }, self.bounds.reads);
        }
    }

    pub(super) fn flush_reads(&mut self, out: &mut Vec<Effect>) {
        let Role::Leading(leading) = &self.role else {
            return;
        };
        // Before its first entry is decided a leader may not know of all that was decided.
        if self.reads.fresh.is_empty() || !leading.has_started() {
            return;
        }
        // One round at a time: what arrives meanwhile shares the next. A lost one is followed by
        // the regular pings.
        if !self.reads.waiting.is_empty() && !self.rounds.due(self.now) {
            return;
        }
        let (slot, round) = (leading.commit(), self.rounds.round() + 1);
        let fresh = core::mem::take(&mut self.reads.fresh);
        let waiting = fresh
            .into_iter()
            .map(|asked| Waiting { round, slot, asked });
        self.reads.waiting.extend(waiting);
        self.start_round(out);
    }

    pub(super) fn release_reads(&mut self, confirmed: u64, out: &mut Vec<Effect>) {
        let now = self.now;
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        let stamp = leading.stamp(now);
        while let Some(Waiting { round, slot, asked }) = self.reads.waiting.front().copied() {
            if round > confirmed {
                break;
            }
            self.reads.waiting.pop_front();
            let nonce = asked.nonce;
            out.push(if asked.by == self.config.me() {
                Effect::ReadAt { nonce, slot, stamp }
            } else {
                let message = Message::ReadAt { nonce, slot, stamp };
                Effect::Send {
                    to: asked.by,
                    message,
                    until: Until::Now,
                }
            });
        }
    }
}
