//! What one server said and what its disk remembers of it (K5, K6, K20, K25).

use super::Docket;
use super::votes::Votes;
use std::collections::BTreeMap;
use tenure_core::entry::Entry;
use tenure_core::ids::{Ballot, Boot, Slot};
use tenure_core::replica::message::Report;
use tenure_core::replica::record::Recovered;

/// A part of a promise, as it was said: of the slots from `first` on, and before `next`.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// What was promised.
    pub ballot: Ballot,
    /// The first slot that it tells of, above all that is decided.
    pub first: Slot,
    /// The first one that it does not tell of any more; none if it tells of all.
    pub next: Option<Slot>,
    /// What was accepted there.
    pub reports: &'a [Report],
}

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
    /// The last ballot that it led under. A quorum of promises tells a new leader what was not chosen, and
    /// it forgets that.
    led: Ballot,
    /// How far its last start knew from its disk that slots are decided.
    recovered: Slot,
    /// It lost its disk.
    is_lost: bool,
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

    /// It proposes under `ballot`.
    pub fn on_lead(&mut self, ballot: Ballot) {
        self.led = self.led.max(ballot);
    }

    /// It tells a candidate what it accepted. Whatever it says of one ballot, in however many parts, starts
    /// and repetitions, agrees with its image, which only grows, and with what was proposed; and so it agrees
    /// with itself (K6).
    pub fn on_say_part(&self, server: usize, part: &Part<'_>, votes: &Votes, docket: &mut Docket) {
        let number = server + 1;
        for report in part.reports {
            // What is known to be decided is reported under the promised ballot.
            let (slot, ballot, hash) = (report.slot, report.ballot, report.entry.hash());
            let is_true = votes.is_proposed(slot, ballot, hash)
                || (ballot == part.ballot && votes.is_chosen(slot, hash));
            docket.check(is_true, "a promise tells what was proposed", || {
                format!("server {number} reports slot {slot} under {ballot}")
            });
            // What is void was never chosen (rule 28).
            let is_of_it = ballot.epoch == part.ballot.epoch;
            docket.check(is_of_it, "a promise tells of its own epoch", || {
                let of = part.ballot;
                format!("server {number} reports slot {slot} under {ballot} to {of}")
            });
        }
        let end = part.next.unwrap_or(Slot::new(u64::MAX)).max(part.first);
        // What it accepted or learned under this ballot may have come while the promise waited for the disk.
        let counts = |held: &Ballot| {
            *held >= self.led && *held < part.ballot && held.epoch == part.ballot.epoch
        };
        for (slot, (held, hash)) in self.image.range(part.first..end) {
            let Some(held) = held.filter(counts) else {
                continue;
            };
            let told = part.reports.iter().find(|report| report.slot == *slot);
            let is_told = told.is_some_and(|told| told.ballot > held || told.entry.hash() == *hash);
            docket.check(is_told, "a promise tells what is on the disk", || {
                let told = told.map(|told| told.ballot);
                format!("server {number} holds slot {slot} under {held}, and tells {told:?} of it")
            });
        }
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

    /// Its disk is lost. What it had said of that one stays said.
    pub fn lose(&mut self) {
        *self = Self {
            is_lost: true,
            ..Self::default()
        };
    }

    /// Whether its image has all that is chosen up to here, or may have had until it was lost.
    pub fn has_all(&self, upto: Slot, votes: &Votes) -> bool {
        if self.is_lost {
            return true;
        }
        let mut slot = self.snapshot.max(self.recovered).next();
        while slot <= upto {
            let held = self.image.get(&slot);
            if !held.is_some_and(|(_, hash)| votes.is_chosen(slot, *hash)) {
                return false;
            }
            slot = slot.next();
        }
        true
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
        self.recovered = recovered.decided;
    }
}
