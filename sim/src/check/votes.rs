//! What is chosen, by the votes on the disks' images, and what follows from it (K1 to K4, K7, K8).
//!
//! A value is chosen when a majority has it durably accepted under one ballot (Paxos Made Simple,
//! §2.2). The servers' own opinion of what is decided is compared with this, never used for it.

use super::Docket;
use crate::server::index_of;
use std::collections::BTreeMap;
use tenure_core::config::{Membership, Role, Seat};
use tenure_core::entry::Entry;
use tenure_core::ids::{Ballot, Boot, Epoch, Slot};

#[derive(Clone, Debug)]
struct Vote {
    ballot: Ballot,
    hash: u64,
    voters: u16,
}

#[derive(Clone, Debug)]
struct Proposed {
    hash: u64,
}

/// A chosen value.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The ballot under which a majority first had it.
    pub ballot: Ballot,
    /// The value.
    pub entry: Entry,
}

/// The shadow ledger of proposals and votes.
#[derive(Debug)]
pub struct Votes {
    /// Who votes in each epoch: as it began, and as stop-signs say that are chosen.
    epochs: BTreeMap<Epoch, Membership>,
    /// Where each epoch was stopped, once that is chosen.
    stops: BTreeMap<Epoch, Slot>,
    proposed: BTreeMap<(Slot, Ballot), Proposed>,
    votes: BTreeMap<Slot, Vec<Vote>>,
    chosen: BTreeMap<Slot, Chosen>,
    contiguous: Slot,
    leaders: BTreeMap<Ballot, (usize, Boot)>,
    bases: BTreeMap<Ballot, Slot>,
    reproposed: u64,
    /// What stop-signs that were proposed begin.
    begun: Vec<Membership>,
}

impl Votes {
    /// Nothing voted yet.
    pub fn new(first: Membership) -> Self {
        Self {
            epochs: BTreeMap::from([(first.epoch(), first)]),
            stops: BTreeMap::new(),
            proposed: BTreeMap::new(),
            votes: BTreeMap::new(),
            chosen: BTreeMap::new(),
            contiguous: Slot::new(0),
            leaders: BTreeMap::new(),
            bases: BTreeMap::new(),
            reproposed: 0,
            begun: Vec::new(),
        }
    }

    /// Every slot up to here is chosen.
    pub const fn contiguous(&self) -> Slot {
        self.contiguous
    }

    /// What is chosen for a slot.
    pub fn chosen(&self, slot: Slot) -> Option<&Chosen> {
        self.chosen.get(&slot)
    }

    /// How often a later leader proposed the value of an earlier one again.
    pub const fn reproposed(&self) -> u64 {
        self.reproposed
    }

    /// `server`, started for the `boot`-th time, acts as the owner of `ballot`.
    pub fn on_lead(&mut self, server: usize, boot: Boot, ballot: Ballot, docket: &mut Docket) {
        docket.check(
            ballot.node.get() == server as u64 + 1,
            "a ballot is used by its owner alone",
            || format!("server {} used {ballot}", server + 1),
        );
        let seats = self.epochs.get(&ballot.epoch);
        let role = seats.and_then(|seats| seats.role(ballot.node));
        docket.check(role == Some(Role::Voter), "only a full voter leads", || {
            format!("server {} used {ballot} as {role:?}", server + 1)
        });
        let owner = *self.leaders.entry(ballot).or_insert((server, boot));
        docket.check(
            owner == (server, boot),
            "a ballot is never used by two starts",
            || format!("{ballot} by boot {} and by boot {boot}", owner.1),
        );
    }

    /// The owner of `ballot` proposes nothing at or below `base` under it: that must be chosen.
    pub fn on_base(&mut self, ballot: Ballot, base: Slot, docket: &mut Docket) {
        let known = *self.bases.entry(ballot).or_insert(base);
        docket.check(known == base, "a ballot has one base", || {
            format!("{ballot}: {known} and {base}")
        });
        docket.check(base <= self.contiguous, "a base is decided", || {
            format!(
                "{ballot} begins after {base}, chosen is only {}",
                self.contiguous
            )
        });
    }

    /// The base of a ballot.
    pub fn base(&self, ballot: Ballot) -> Slot {
        self.bases.get(&ballot).copied().unwrap_or_default()
    }

    /// `entry` was proposed.
    pub fn on_propose(&mut self, ballot: Ballot, slot: Slot, entry: &Entry, docket: &mut Docket) {
        let hash = entry.hash();
        let mut first = false;
        let known = self.proposed.entry((slot, ballot)).or_insert_with(|| {
            first = true;
            Proposed { hash }
        });
        docket.check(
            known.hash == hash,
            "one value for one slot and ballot",
            || format!("slot {slot} under {ballot} was proposed twice, differently"),
        );
        if !first {
            return;
        }
        if let Some(votes) = self.votes.get(&slot)
            && votes
                .iter()
                .any(|vote| vote.hash == hash && vote.ballot < ballot)
        {
            self.reproposed += 1;
        }
        if let Some(chosen) = self.chosen.get(&slot) {
            docket.check(
                chosen.ballot > ballot || chosen.entry.hash() == hash,
                "a later ballot proposes what is chosen",
                || {
                    format!(
                        "slot {slot} was chosen under {}, and {ballot} proposed another value",
                        chosen.ballot
                    )
                },
            );
        }
    }

    /// Whether a stop-sign was proposed that begins this; from now on it was.
    pub fn knows_stop(&mut self, next: &Membership) -> bool {
        let is_known = self.begun.contains(next);
        if !is_known {
            self.begun.push(next.clone());
        }
        is_known
    }

    /// Whether this value was proposed there under this ballot.
    pub fn is_proposed(&self, slot: Slot, ballot: Ballot, hash: u64) -> bool {
        let known = self.proposed.get(&(slot, ballot));
        known.is_some_and(|known| known.hash == hash)
    }

    /// Whether this value is chosen there.
    pub fn is_chosen(&self, slot: Slot, hash: u64) -> bool {
        let chosen = self.chosen(slot);
        chosen.is_some_and(|chosen| chosen.entry.hash() == hash)
    }

    /// `server` has the vote on its disk's image.
    pub fn on_vote(
        &mut self,
        server: usize,
        ballot: Ballot,
        slot: Slot,
        entry: &Entry,
        docket: &mut Docket,
    ) {
        let hash = entry.hash();
        docket.check(
            self.proposed
                .get(&(slot, ballot))
                .is_some_and(|known| known.hash == hash),
            "only a proposed value is accepted",
            || format!("server {} accepted slot {slot} under {ballot}", server + 1),
        );
        let votes = self.votes.entry(slot).or_default();
        let vote = match votes.iter_mut().find(|vote| vote.ballot == ballot) {
            Some(vote) => vote,
            None => {
                votes.push(Vote {
                    ballot,
                    hash,
                    voters: 0,
                });
                let Some(vote) = votes.last_mut() else { return };
                vote
            }
        };
        vote.voters |= 1 << server;
        let Some(membership) = self.epochs.get(&ballot.epoch) else {
            let detail = format!("server {} accepted under {ballot}", server + 1);
            return docket.broken("an epoch begins with a stop-sign", detail);
        };
        let counts = |seat: &&Seat| vote.voters & (1 << index_of(seat.node)) != 0;
        if membership.seats().iter().filter(counts).count() >= membership.quorum() {
            self.choose(ballot, slot, entry, docket);
        }
    }

    /// A stop-sign names who votes above it; chosen, it ends its epoch (K10).
    fn on_stop(&mut self, ballot: Ballot, slot: Slot, next: &Membership, docket: &mut Docket) {
        let stop = *self.stops.entry(ballot.epoch).or_insert(slot);
        docket.check(stop == slot, "an epoch is stopped once", || {
            format!("epoch {}: at {stop} and at {slot}", ballot.epoch)
        });
        docket.check(
            next.epoch() == ballot.epoch.next() && next.base() == slot,
            "a stop-sign begins the next epoch",
            || format!("at {slot}, in epoch {}: {next:?}", ballot.epoch),
        );
        let above = self.chosen.range(slot.next()..);
        for (other, chosen) in above {
            let later = chosen.ballot.epoch > ballot.epoch;
            docket.check(later, "nothing is chosen above a stop-sign", || {
                format!("slot {other} under {}, stopped at {slot}", chosen.ballot)
            });
        }
        let known = self
            .epochs
            .entry(next.epoch())
            .or_insert_with(|| next.clone());
        docket.check(known == next, "an epoch has one membership", || {
            format!("{known:?} and {next:?}")
        });
    }

    fn choose(&mut self, ballot: Ballot, slot: Slot, entry: &Entry, docket: &mut Docket) {
        let hash = entry.hash();
        if let Some(chosen) = self.chosen.get_mut(&slot) {
            docket.check(chosen.entry.hash() == hash, "agreement", || {
                format!(
                    "slot {slot}: two values, under {} and {ballot}",
                    chosen.ballot
                )
            });
            chosen.ballot = chosen.ballot.min(ballot);
            return;
        }
        let later = (slot, ballot)
            ..=(
                slot,
                Ballot {
                    epoch: Epoch::new(u64::MAX),
                    ..ballot
                },
            );
        for ((_, other), proposed) in self.proposed.range(later) {
            docket.check(
                proposed.hash == hash,
                "a later ballot proposes what is chosen",
                || {
                    format!(
                        "slot {slot} is chosen under {ballot}, and {other} proposed another value"
                    )
                },
            );
        }
        if let Some(stop) = self.stops.get(&ballot.epoch) {
            docket.check(slot <= *stop, "nothing is chosen above a stop-sign", || {
                format!("slot {slot} under {ballot}, stopped at {stop}")
            });
        }
        if let Some(next) = entry.next_membership() {
            self.on_stop(ballot, slot, &next, docket);
        }
        let entry = entry.clone();
        self.chosen.insert(slot, Chosen { ballot, entry });
        while self.chosen.contains_key(&self.contiguous.next()) {
            self.contiguous = self.contiguous.next();
        }
    }

    /// `server` has accepted `slot` under `ballot` on its image.
    pub fn has_vote(&self, server: usize, ballot: Ballot, slot: Slot) -> bool {
        self.votes.get(&slot).is_some_and(|votes| {
            votes
                .iter()
                .any(|vote| vote.ballot == ballot && vote.voters & (1 << server) != 0)
        })
    }

    /// `server` says that every slot up to `decided` is decided.
    pub fn on_decided(&self, server: usize, decided: Slot, docket: &mut Docket) {
        docket.check(
            decided <= self.contiguous,
            "decided only what a majority has on disk",
            || {
                format!(
                    "server {} decided {decided}, the disks' images only {}",
                    server + 1,
                    self.contiguous
                )
            },
        );
    }

    /// An entry that a server read back as decided, or that it sends as such.
    pub fn on_decided_entry(&self, slot: Slot, entry: &Entry, docket: &mut Docket) {
        let same = self
            .chosen(slot)
            .is_some_and(|chosen| chosen.entry.hash() == entry.hash());
        docket.check(same, "agreement", || {
            format!("slot {slot} is given out as decided with a value that is not chosen")
        });
    }
}
