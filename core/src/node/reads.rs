//! Linearizable questions: asked of the leader for a slot, answered here once that is applied.

use super::Node;
use super::input::Question;
use super::output::{Failure, Output, Reply};
use crate::ids::{Boot, Slot, Tag, ZoneId};
use crate::limits::{FORWARD_RETRY, REQUEST_PATIENCE};
use crate::query;
use crate::replica::Effect;
use crate::time::{Stamp, Timestamp};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

#[derive(Debug)]
struct Asked {
    tag: Tag,
    zone: ZoneId,
    question: Question,
    born: Timestamp,
}

/// Questions that share one round.
#[derive(Debug)]
struct Batch {
    asked: Vec<Asked>,
    sent_at: Timestamp,
    /// What the leader said; the state at this slot or later answers.
    at: Option<(Slot, Stamp)>,
}

#[derive(Debug)]
pub(super) struct Reads {
    /// Never used twice, nor in another boot: an answer to an old try must not match (etcd #21399).
    nonce: u64,
    fresh: Vec<Asked>,
    batches: BTreeMap<u64, Batch>,
    count: usize,
    check_at: Option<Timestamp>,
}

impl Reads {
    pub(super) const fn new(boot: Boot) -> Self {
        Self {
            nonce: boot.get() << 40,
            fresh: Vec::new(),
            batches: BTreeMap::new(),
            count: 0,
            check_at: None,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    pub(super) fn ask(&mut self, tag: Tag, zone: ZoneId, question: Question, born: Timestamp) {
        self.count += 1;
        self.check_at = self.check_at.or(Some(born.plus(FORWARD_RETRY)));
        self.fresh.push(Asked {
            tag,
            zone,
            question,
            born,
        });
    }

    pub(super) fn gone(&mut self, tag: Tag) {
        let batches = self.batches.values_mut().map(|batch| &mut batch.asked);
        for asked in batches.chain(core::iter::once(&mut self.fresh)) {
            let before = asked.len();
            asked.retain(|asked| asked.tag != tag);
            self.count -= before - asked.len();
        }
    }

    /// Asks again what was not answered, under a new nonce: the leader is another one.
    pub(super) fn restart(&mut self) {
        let is_unanswered = |batch: &Batch| batch.at.is_none();
        self.take_back(is_unanswered);
    }

    fn take_back(&mut self, which: impl Fn(&Batch) -> bool) {
        let nonces: Vec<u64> = self
            .batches
            .iter()
            .filter(|(_, batch)| which(batch))
            .map(|(nonce, _)| *nonce)
            .collect();
        for batch in nonces.iter().filter_map(|nonce| self.batches.remove(nonce)) {
            self.fresh.extend(batch.asked);
        }
    }

    pub(super) const fn wake_at(&self) -> Option<Timestamp> {
        self.check_at
    }
}

impl Node {
    pub(super) fn flush_reads(&mut self, effects: &mut Vec<Effect>) {
        // Without a leader there is nobody to ask; the next one is asked at once.
        if self.reads.fresh.is_empty() || self.replica.leader().is_none() {
            return;
        }
        self.reads.nonce += 1;
        let asked = core::mem::take(&mut self.reads.fresh);
        let batch = Batch {
            asked,
            sent_at: self.now,
            at: None,
        };
        self.reads.batches.insert(self.reads.nonce, batch);
        self.replica.read(self.reads.nonce, effects);
    }

    pub(super) fn read_at(&mut self, nonce: u64, slot: Slot, stamp: Stamp) {
        if let Some(batch) = self.reads.batches.get_mut(&nonce) {
            batch.at = Some((slot, stamp));
        }
    }

    pub(super) fn answer_reads(&mut self, out: &mut Vec<Output>) {
        let applied = self.machine.applied();
        let is_ready = |batch: &Batch| batch.at.is_some_and(|(slot, _)| slot <= applied);
        let ready = self
            .reads
            .batches
            .iter()
            .filter(|(_, batch)| is_ready(batch));
        let nonces: Vec<u64> = ready.map(|(nonce, _)| *nonce).collect();
        for nonce in nonces {
            let Some(batch) = self.reads.batches.remove(&nonce) else {
                continue;
            };
            let stamp = batch
                .at
                .map_or(Stamp::ZERO, |(_, stamp)| stamp)
                .max(self.machine.stamp());
            for asked in batch.asked {
                self.reads.count -= 1;
                let reply = self.look(asked.zone, &asked.question, stamp);
                out.push(Output::Reply {
                    tag: asked.tag,
                    reply,
                });
            }
        }
    }

    /// What this server knows of `question` at the slot that it has applied.
    pub(super) fn look(&self, zone: ZoneId, question: &Question, stamp: Stamp) -> Reply {
        let slot = self.machine.applied();
        match question {
            Question::Config => Reply::Config {
                shared: self.machine.shared().clone(),
                slot,
                stamp,
            },
            Question::Inspect { key } => {
                let view = query::inspect(&self.machine, zone, key, stamp);
                Reply::Lock { view, slot, stamp }
            }
            Question::Verify(verify) => {
                let (key, fence) = (&verify.key, verify.fence);
                if !self.proofs.is_token_right(&self.machine, zone, verify) {
                    return Reply::Failed(Failure::BadProof);
                }
                let verdict = query::verify(&self.machine, zone, key, fence, stamp);
                Reply::Verdict {
                    verdict,
                    slot,
                    stamp,
                }
            }
            Question::List(listing) => {
                let page = query::list(&self.machine, zone, listing, stamp);
                Reply::Locks { page, slot, stamp }
            }
        }
    }

    pub(super) fn tick_reads(&mut self, effects: &mut Vec<Effect>, out: &mut Vec<Output>) {
        let now = self.now;
        if self.reads.wake_at().is_none_or(|at| now < at) {
            return;
        }
        self.reads
            .take_back(|batch| now.since(batch.sent_at) >= FORWARD_RETRY);
        let is_late = |asked: &Asked| now.since(asked.born) >= REQUEST_PATIENCE;
        let fresh = core::mem::take(&mut self.reads.fresh);
        for asked in fresh {
            if is_late(&asked) {
                self.reads.count -= 1;
                let reply = Reply::Failed(Failure::NoQuorum);
                out.push(Output::Reply {
                    tag: asked.tag,
                    reply,
                });
            } else {
                self.reads.fresh.push(asked);
            }
        }
        self.flush_reads(effects);
        self.reads.check_at = (self.reads.count > 0).then(|| now.plus(FORWARD_RETRY));
    }
}
