//! What one server said and what its disk remembers of it (K5, K6, K20, K25).

use super::Docket;
use super::votes::Votes;
use std::collections::BTreeMap;
use tenure_core::entry::Entry;
use tenure_core::ids::{Ballot, Boot, Slot};
use tenure_core::replica::record::Recovered;

/// The ledger of one server.
#[derive(Debug, Default)]
pub struct Promises {
    boot: Boot,
    /// The highest ballot that it told anybody it promised.
    said: Ballot,
    /// The highest ballot on its superblock's image.
    durable: Ballot,
    /// For each slot what its image holds at the highest ballot; no ballot: decided.
    image: BTreeMap<Slot, (Option<Ballot>, u64)>,
    /// The newest snapshot that its image holds, under its name.
    snapshot: Slot,
    /// How far its own memory said that slots are decided, in this boot.
    decided: Slot,
}

impl Promises {
    /// The superblock's image now holds this promise.
    pub fn on_promise_durable(&mut self, server: usize, ballot: Ballot, docket: &mut Docket) {
        docket.check(ballot >= self.durable, "promises never go back", || {
            format!(
                "server {}: {} then {ballot} on the image",
                server + 1,
                self.durable
            )
        });
        self.durable = ballot;
    }

    /// It tells a candidate, or a leader by accepting, that it promised.
    pub fn on_say_promise(&mut self, server: usize, ballot: Ballot, docket: &mut Docket) {
        self.said = self.said.max(ballot);
        docket.check(
            ballot <= self.durable,
            "a promise waits for the disk",
            || {
                format!(
                    "server {} spoke of {ballot}, its superblock's image has {}",
                    server + 1,
                    self.durable
                )
            },
        );
    }

    /// It tells a leader that it accepted everything in (base, upto] under `ballot`.
    pub fn on_say_accepted(
        &mut self,
        server: usize,
        ballot: Ballot,
        (base, upto): (Slot, Slot),
        votes: &Votes,
        docket: &mut Docket,
    ) {
        self.on_say_promise(server, ballot, docket);
        let mut slot = base.max(self.decided).next();
        while slot <= upto {
            // What is known to be decided counts as accepted under any ballot (rule 2).
            let decided = self
                .image
                .get(&slot)
                .is_some_and(|(held, _)| held.is_none());
            docket.check(
                decided || votes.has_vote(server, ballot, slot),
                "an acceptance waits for the disk",
                || {
                    format!(
                        "server {} accepted {upto} under {ballot}, slot {slot} is not on its image",
                        server + 1
                    )
                },
            );
            slot = slot.next();
        }
    }

    /// Its memory says that slots up to here are decided.
    pub fn on_decided(&mut self, server: usize, decided: Slot, docket: &mut Docket) {
        docket.check(decided >= self.decided, "decided never goes back", || {
            format!("server {}: {} then {decided}", server + 1, self.decided)
        });
        self.decided = decided;
    }

    /// A whole snapshot is on its image.
    pub fn on_snapshot(&mut self, slot: Slot) {
        self.snapshot = self.snapshot.max(slot);
    }

    /// It lets the log up to here go (rule 5).
    pub fn on_truncate(&self, server: usize, upto: Slot, docket: &mut Docket) {
        docket.check(
            upto <= self.snapshot,
            "only what a durable snapshot covers is discarded",
            || {
                format!(
                    "server {} truncates to {upto}, its image has a snapshot of {}",
                    server + 1,
                    self.snapshot
                )
            },
        );
    }

    /// A record reached its image.
    pub fn on_image(&mut self, slot: Slot, ballot: Option<Ballot>, entry: &Entry) {
        let held = self.image.entry(slot).or_insert((ballot, entry.hash()));
        let outranks = match (ballot, held.0) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(new), Some(old)) => new > old,
        };
        if outranks {
            *held = (ballot, entry.hash());
        }
    }

    /// It starts again with this.
    pub fn on_recovered(
        &mut self,
        server: usize,
        recovered: &Recovered,
        votes: &Votes,
        docket: &mut Docket,
    ) {
        let name = server + 1;
        docket.check(
            recovered.boot > self.boot,
            "each start has its own number",
            || format!("server {name}: boot {} after {}", recovered.boot, self.boot),
        );
        docket.check(
            recovered.promised >= self.durable.max(self.said),
            "promises never go back",
            || {
                format!(
                    "server {name} recovered {}, promised {}",
                    recovered.promised,
                    self.durable.max(self.said)
                )
            },
        );
        votes.on_decided(server, recovered.decided, docket);
        docket.check(
            recovered.decided >= self.snapshot,
            "recovery never forgets",
            || {
                format!(
                    "server {name} recovered {}, its image had a snapshot of {}",
                    recovered.decided, self.snapshot
                )
            },
        );
        let found: BTreeMap<Slot, _> = recovered
            .accepted
            .iter()
            .map(|held| (held.slot, (held.ballot, held.entry.hash())))
            .collect();
        for (slot, (ballot, hash)) in self.image.range(recovered.decided.next()..) {
            let kept = found.get(slot).is_some_and(|(found_ballot, found_hash)| {
                match (found_ballot, ballot) {
                    (None, _) => true,
                    (Some(_), None) => found_hash == hash,
                    (Some(new), Some(old)) => new > old || (new == old && found_hash == hash),
                }
            });
            docket.check(kept, "recovery never forgets", || {
                format!("server {name} forgot slot {slot} under {ballot:?}")
            });
        }
        self.boot = recovered.boot;
        self.durable = recovered.promised;
        self.decided = recovered.decided;
    }
}
