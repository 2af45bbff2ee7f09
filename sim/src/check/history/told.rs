//! What servers say of the log, against the log.

use super::super::Docket;
use super::History;
use crate::clock::DRIFT_PPM_MAX;
use tenure_core::config::{self, Standing};
use tenure_core::ids::{Boot, NodeId, Slot};
use tenure_core::machine::answer::{Answer, Event};
use tenure_core::machine::{Form, Machine};
use tenure_core::time::Stamp;

impl History {
    /// What a server says it has applied is one of the states that the log made.
    pub fn on_mark(&self, index: usize, mark: config::Mark, docket: &mut Docket) {
        let standing = self.machine.shared().judge(mark);
        let is_known = matches!(standing, Standing::Same | Standing::Behind);
        docket.check(
            is_known,
            "every configuration is one that the log made",
            || format!("server {} is at {mark}: {standing:?}", index + 1),
        );
    }

    /// A server has this machine: full or not, it comes to the same configuration and the same time,
    /// and a full one to the same rolling digest.
    pub fn on_machine(&self, server: usize, machine: &Machine, docket: &mut Docket) {
        let slot = machine.applied();
        let Some(index) = slot.get().checked_sub(1) else {
            return;
        };
        let Some(mine) = self.slots.get(index as usize) else {
            docket.broken(
                "applied only what is chosen",
                format!("server {} applied {slot}", server + 1),
            );
            return;
        };
        let detail = || format!("server {} at slot {slot}", server + 1);
        let is_full = machine.form() == Form::Full;
        let is_same = !is_full || mine.digest == machine.digest();
        docket.check(is_same, "equal logs give equal digests", detail);
        let known = (machine.shared().mark(), machine.stamp(), machine.started());
        let is_same = known == (mine.mark, mine.stamp, mine.started);
        docket.check(is_same, "equal logs give equal configurations", detail);
    }

    /// A server answers a caller with `answer`, decided at `slot`.
    pub fn on_reply(
        &mut self,
        (node, boot): (NodeId, Boot),
        slot: Slot,
        answer: &Answer,
        docket: &mut Docket,
    ) {
        self.reads.answered = self.reads.answered.max(slot);
        let index = slot.get().saturating_sub(1) as usize;
        let Some(applied) = self.slots.get(index) else {
            docket.broken(
                "nothing is acknowledged before it is chosen",
                format!("slot {slot}"),
            );
            return;
        };
        let said = applied.events.iter().any(|event| match event {
            Event::Answered { via, answer: other } => {
                via.node == node && via.boot == boot && other == answer
            }
            Event::Ended { answer: other, .. } => other == answer,
            Event::Offered { .. } | Event::Lost { .. } | Event::SessionExpired { .. } => false,
        });
        docket.check(said, "what is acknowledged is in the log", || {
            format!(
                "server {node} answered {answer:?}; slot {slot} did {:?}",
                applied.events
            )
        });
    }

    /// A leader proposes at agreed time `stamp`: that is never ahead of true time.
    pub fn on_stamp(&mut self, stamp: Stamp, docket: &mut Docket) {
        let drift_ppm = DRIFT_PPM_MAX.unsigned_abs();
        let (began, base) = *self.first.get_or_insert((docket.now, stamp));
        let elapsed = docket.now - began;
        let drift = elapsed / 1_000_000 * drift_ppm;
        let most = elapsed + drift + 1_000_000 + docket.clock_slack;
        let agreed = stamp.since(base).as_nanos() as u64;
        docket.check(
            agreed <= most,
            "agreed time is never ahead of true time",
            || {
                format!(
                    "{} ms agreed in {} ms",
                    agreed / 1_000_000,
                    elapsed / 1_000_000
                )
            },
        );
    }
}
