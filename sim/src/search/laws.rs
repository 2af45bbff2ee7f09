//! What must hold in every state.

use super::model::{Server, World};
use std::collections::BTreeMap;
use tenure_core::entry::EntryKind;
use tenure_core::ids::{Ballot, Slot};
use tenure_core::replica::record::Record;

pub(super) fn check(world: &World) -> Result<(), String> {
    let chosen = chosen(world)?;
    nothing_is_chosen_above_a_stop_sign(world, &chosen)?;
    later_ballots_propose_what_is_chosen(world, &chosen)?;
    for server in &world.servers {
        knows_only_what_is_chosen(server, &chosen)?;
        accepts_without_a_hole(server)?;
        server
            .replica
            .audit()
            .map_err(|broken| format!("a server's own invariants: {broken}"))?;
    }
    Ok(())
}

/// The values that are chosen, each with the lowest ballot under which it is.
type Chosen = BTreeMap<Slot, (Ballot, u64)>;

/// What a majority of disks has under one ballot; one value for each slot.
fn chosen(world: &World) -> Result<Chosen, String> {
    let mut votes: BTreeMap<(Slot, Ballot), (u64, usize)> = BTreeMap::new();
    for server in &world.servers {
        for record in server.image() {
            if let Record::Accepted {
                ballot,
                slot,
                entry,
                ..
            } = record
            {
                let vote = votes.entry((*slot, *ballot)).or_insert((entry.hash(), 0));
                if vote.0 != entry.hash() {
                    return Err(format!(
                        "one value for one slot and ballot: {slot} under {ballot}"
                    ));
                }
                vote.1 += usize::from(voters_of(world, *ballot) > server.index);
            }
        }
    }
    let mut chosen = BTreeMap::new();
    for ((slot, ballot), (hash, voters)) in votes {
        let quorum = voters_of(world, ballot) / 2 + 1;
        if voters >= quorum && chosen.entry(slot).or_insert((ballot, hash)).1 != hash {
            return Err(format!(
                "agreement: slot {slot} has a second value under {ballot}"
            ));
        }
    }
    Ok(chosen)
}

/// Each epoch has one voter less than the one before: the last.
fn voters_of(world: &World, ballot: Ballot) -> usize {
    let gone = usize::try_from(ballot.epoch.get().saturating_sub(1));
    world.servers.len().saturating_sub(gone.unwrap_or_default())
}

/// The stop-sign lemma: an epoch ends where its sign is chosen (rule 28), and one sign is.
fn nothing_is_chosen_above_a_stop_sign(world: &World, chosen: &Chosen) -> Result<(), String> {
    for record in world.servers.iter().flat_map(|server| server.records()) {
        if let Record::Accepted { slot, entry, .. } = record
            && entry.kind() == EntryKind::Stop
            && let Some((under, hash)) = chosen.get(slot)
            && *hash == entry.hash()
        {
            let mut above = chosen.range(slot.next()..);
            if let Some((other, (ballot, _))) = above.find(|(_, (it, _))| it.epoch <= under.epoch) {
                return Err(format!(
                    "nothing is chosen above a stop-sign: {slot} stops {}, and {other} is chosen under {ballot}",
                    under.epoch
                ));
            }
        }
    }
    Ok(())
}

/// P2c of Paxos Made Simple, §2.2.
fn later_ballots_propose_what_is_chosen(world: &World, chosen: &Chosen) -> Result<(), String> {
    for record in world.servers.iter().flat_map(|server| server.records()) {
        if let Record::Accepted {
            ballot,
            slot,
            entry,
            ..
        } = record
            && let Some((under, hash)) = chosen.get(slot)
            && ballot > under
            && entry.hash() != *hash
        {
            return Err(format!(
                "a later ballot proposes what is chosen: slot {slot} was chosen under {under}, {ballot} proposes another value"
            ));
        }
    }
    Ok(())
}

fn knows_only_what_is_chosen(server: &Server, chosen: &Chosen) -> Result<(), String> {
    let mut slot = Slot::new(1);
    while slot <= server.replica.decided() {
        let held = server.replica.decided_entry(slot).map(|entry| entry.hash());
        let known = chosen.get(&slot).map(|(_, hash)| hash);
        if known.is_none() || held.is_some_and(|held| Some(&held) != known) {
            let name = server.index + 1;
            return Err(format!(
                "decided only what a majority has on disk: server {name}, slot {slot}"
            ));
        }
        slot = slot.next();
    }
    Ok(())
}

/// The accept lemma: a slot is accepted under a ballot only if every slot between the ballot's base
/// and it is, or is decided. So what a leader hears of in phase 1 has no hole that could hide a
/// value (rules 1 and 2, F7).
fn accepts_without_a_hole(server: &Server) -> Result<(), String> {
    let image = server.image();
    let has = |slot: Slot, ballot: Ballot| {
        slot <= server.replica.decided()
            || image.iter().any(|record| match record {
                Record::Accepted {
                    slot: held,
                    ballot: under,
                    ..
                } => *held == slot && *under == ballot,
                Record::Decided { slot: held, .. } => *held == slot,
                Record::DecidedHint { upto } => slot <= *upto,
            })
    };
    for record in image {
        if let Record::Accepted {
            ballot, base, slot, ..
        } = record
        {
            let mut before = base.next();
            while before < *slot {
                if !has(before, *ballot) {
                    let name = server.index + 1;
                    return Err(format!(
                        "accepts have no hole: server {name} has slot {slot} under {ballot}, not {before}"
                    ));
                }
                before = before.next();
            }
        }
    }
    Ok(())
}
