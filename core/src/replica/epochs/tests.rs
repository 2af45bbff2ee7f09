//! What one acceptor does at the end of its epoch, word by word.

use super::*;
use crate::config::{Config, Mark, Member, Role as MemberRole, Seat};
use crate::ids::{Boot, ClusterId, Epoch, NodeId, Round, Seed};
use crate::replica::message::{Beat, Message, TimeHeard};
use crate::replica::record::{Recovered, RecoveredEntry};
use crate::time::Stamp;
use alloc::vec;
use bytes::Bytes;

const NOW: Timestamp = Timestamp::ZERO;

fn node(number: u64) -> NodeId {
    NodeId::new(number)
}

fn ballot(epoch: u64, round: u64, owner: u64) -> Ballot {
    Ballot {
        epoch: Epoch::new(epoch),
        round: Round::new(round),
        node: node(owner),
    }
}

fn config() -> Config {
    let member = |number| Member {
        node: node(number),
        ..Member::default()
    };
    let members = (1..=3).map(member).collect();
    Config::new(ClusterId([9; 16]), node(1), members).unwrap()
}

/// Servers 1 and 2 vote above slot 2.
fn next() -> Membership {
    let seat = |number| Seat {
        node: node(number),
        role: MemberRole::Voter,
    };
    Membership::new(Epoch::new(2), Slot::new(2), vec![seat(1), seat(2)]).unwrap()
}

fn entry(text: &'static str) -> Entry {
    let text = Bytes::from_static(text.as_bytes());
    Entry::new(EntryKind::Batch, Stamp::ZERO, &[text])
}

fn stop() -> Entry {
    Entry::new(EntryKind::Stop, Stamp::ZERO, &[next().encode()])
}

fn boot(recovered: Recovered) -> Replica {
    let recovered = Recovered {
        boot: Boot::new(1),
        ..recovered
    };
    Replica::boot(config(), recovered, Seed::new(1), Bytes::new(), NOW)
}

fn hear(replica: &mut Replica, from: u64, message: Message) -> Vec<Effect> {
    let mut out = Vec::new();
    replica.on_message(NOW, node(from), Boot::new(1), message, &mut out);
    replica.on_flush(NOW, &mut out);
    out
}

fn promise(replica: &mut Replica, ballot: Ballot) -> Vec<Effect> {
    let mut out = hear(
        replica,
        ballot.node.get(),
        Message::Prepare {
            ballot,
            from: Some(Slot::new(1)),
            goes_on: false,
        },
    );
    if replica.promised() == ballot {
        replica.on_promise_durable(NOW, ballot, &mut out);
    }
    out
}

fn accept(ballot: Ballot, first: u64, entries: Vec<Entry>, commit: u64) -> Message {
    Message::Accept {
        ballot,
        base: Slot::new(0),
        first: Slot::new(first),
        entries,
        commit: Slot::new(commit),
    }
}

/// What it reports to whoever stands under `ballot`, in one part.
fn reports(out: &[Effect]) -> Option<usize> {
    out.iter().find_map(|effect| match effect {
        Effect::Send {
            message: Message::Promise { reports, .. },
            ..
        } => Some(reports.len()),
        _ => None,
    })
}

fn begins(out: &[Effect]) -> bool {
    let is_epoch = |effect: &Effect| matches!(effect, Effect::Promise { membership: Some(next), .. } if next.epoch() == Epoch::new(2));
    out.iter().any(is_epoch)
}

/// It accepted three slots of a first leader; a second one stopped the epoch at slot 2, and that is
/// decided. Slot 3 is still the first one's.
fn stopped() -> (Replica, Vec<Effect>) {
    let mut replica = boot(Recovered::default());
    let old = ballot(1, 1, 2);
    promise(&mut replica, old);
    let three = vec![entry("a"), entry("b"), entry("c")];
    hear(&mut replica, 2, accept(old, 1, three, 0));
    let new = ballot(1, 2, 3);
    promise(&mut replica, new);
    let message = accept(new, 1, vec![entry("a"), stop()], 2);
    let out = hear(&mut replica, 3, message);
    (replica, out)
}

#[test]
fn an_epoch_begins_when_all_of_the_one_before_is_durable() {
    let (mut replica, out) = stopped();
    assert_eq!(replica.decided(), Slot::new(2));
    assert!(!begins(&out), "its records are on their way to the disk");
    let (last, _) = replica.records();
    replica.on_durable(NOW, last);
    let mut out = Vec::new();
    replica.on_flush(NOW, &mut out);
    assert!(begins(&out));
    assert_eq!(replica.config().epoch(), Epoch::new(1), "not on disk yet");
    replica.on_promise_durable(NOW, Ballot::opening(Epoch::new(2)), &mut out);
    assert_eq!(*replica.config().membership(), next());
}

#[test]
fn between_two_epochs_there_is_no_vote() {
    let (mut replica, _) = stopped();
    let later = ballot(1, 3, 3);
    assert_eq!(promise(&mut replica, later), vec![]);
    assert_ne!(replica.promised(), later);
    let more = accept(ballot(1, 2, 3), 3, vec![entry("d")], 2);
    assert_eq!(hear(&mut replica, 3, more), vec![]);
    let early = ballot(2, 1, 2);
    assert_eq!(promise(&mut replica, early), vec![], "rule 28");
}

#[test]
fn what_was_accepted_above_a_stop_sign_is_void() {
    let (mut replica, _) = stopped();
    let (last, _) = replica.records();
    replica.on_durable(NOW, last);
    let mut out = Vec::new();
    replica.on_flush(NOW, &mut out);
    replica.on_promise_durable(NOW, Ballot::opening(Epoch::new(2)), &mut out);
    let out = promise(&mut replica, ballot(2, 1, 2));
    assert_eq!(reports(&out), Some(0));
}

#[test]
fn void_records_do_not_come_back() {
    let held = |slot, ballot, entry| RecoveredEntry {
        slot: Slot::new(slot),
        ballot: Some(ballot),
        entry,
    };
    let recovered = Recovered {
        promised: ballot(2, 0, 0),
        membership: Some(next()),
        accepted: vec![
            held(1, ballot(1, 2, 3), entry("a")),
            held(2, ballot(1, 2, 3), stop()),
            held(3, ballot(1, 1, 2), entry("c")),
        ],
        ..Recovered::default()
    };
    let mut replica = boot(recovered);
    assert_eq!(replica.decided(), Slot::new(2), "all up to the sign is");
    assert_eq!(replica.accepted(), Slot::new(2));
    let out = promise(&mut replica, ballot(2, 1, 2));
    assert_eq!(reports(&out), Some(0));
}

/// Who was told of the next epoch, and not how this one ended, must still be able to elect in it.
#[test]
fn a_ballot_of_a_later_epoch_is_none_to_stand_above() {
    let mut replica = boot(Recovered::default());
    promise(&mut replica, ballot(1, 5, 2));
    let told = Message::PreVoteReply {
        ballot: ballot(1, 6, 1),
        granted: false,
        promised: Ballot::opening(Epoch::new(2)),
    };
    hear(&mut replica, 2, told);
    let mut out = Vec::new();
    replica.campaign(&mut out);
    assert_eq!(replica.promised(), ballot(1, 6, 1));
}

#[test]
fn a_stop_sign_that_ends_something_else_is_not_accepted() {
    let mut replica = boot(Recovered::default());
    let leader = ballot(1, 1, 2);
    promise(&mut replica, leader);
    let message = accept(leader, 1, vec![stop()], 0);
    assert_eq!(hear(&mut replica, 2, message), vec![], "it names slot 2");
    assert_eq!(replica.accepted(), Slot::new(0));
}

/// What it tells a candidate of the next epoch about agreed time.
fn heard_in_the_next_epoch(replica: &mut Replica) -> Option<TimeHeard> {
    let out = promise(replica, ballot(2, 1, 2));
    out.into_iter().find_map(|effect| match effect {
        Effect::Send {
            message: Message::Promise { heard, .. },
            ..
        } => Some(heard),
        _ => None,
    })
}

const SIGNED: Stamp = Stamp::from_nanos(3_000_000_000);

/// Nobody is above the next epoch's own leaders, and its time goes on from the stop-sign, applied or not.
const OPENING: TimeHeard = TimeHeard {
    ballot: Ballot::opening(Epoch::new(2)),
    stamp: SIGNED,
};

fn late_stop() -> Entry {
    Entry::new(EntryKind::Stop, SIGNED, &[next().encode()])
}

fn begin_the_next_epoch(replica: &mut Replica) {
    let (last, _) = replica.records();
    replica.on_durable(NOW, last);
    let mut out = Vec::new();
    replica.on_flush(NOW, &mut out);
    replica.on_promise_durable(NOW, Ballot::opening(Epoch::new(2)), &mut out);
    assert_eq!(*replica.config().membership(), next());
}

/// A leader that was deposed may have gone on alone, and who followed it learns of the stop-sign from
/// others. The next epoch's quorums need not meet those that know whose time that was.
#[test]
fn the_time_of_a_leader_ends_with_its_epoch() {
    let mut replica = boot(Recovered::default());
    let deposed = ballot(1, 1, 3);
    promise(&mut replica, deposed);
    hear(&mut replica, 3, accept(deposed, 1, vec![entry("a")], 1));
    let beat = Beat {
        ballot: deposed,
        beat: 7,
        stamp: Stamp::from_nanos(9_900_000_000),
    };
    let ping = Message::Ping {
        round: 1,
        beat,
        decided: Slot::new(1),
        mark: Mark::default(),
    };
    hear(&mut replica, 3, ping);
    let decided = Message::Decided {
        first: Slot::new(1),
        entries: vec![entry("a"), late_stop()],
        decided: Slot::new(2),
    };
    hear(&mut replica, 2, decided);
    begin_the_next_epoch(&mut replica);
    assert_eq!(heard_in_the_next_epoch(&mut replica), Some(OPENING));
}

/// Nor what is decided and not applied yet is forgotten: no lease before the sign is lengthened.
#[test]
fn the_next_epoch_goes_on_from_the_stamp_of_the_stop_sign() {
    let mut replica = boot(Recovered::default());
    let old = ballot(1, 1, 2);
    promise(&mut replica, old);
    hear(
        &mut replica,
        2,
        accept(old, 1, vec![entry("a"), late_stop()], 2),
    );
    begin_the_next_epoch(&mut replica);
    assert_eq!(heard_in_the_next_epoch(&mut replica), Some(OPENING));
}

#[test]
fn who_starts_again_followed_nobody_of_an_earlier_epoch() {
    let mut replica = boot(Recovered {
        promised: Ballot::opening(Epoch::new(2)),
        membership: Some(next()),
        decided: Slot::new(2),
        followed: Some(ballot(1, 9, 3)),
        ..Recovered::default()
    });
    let heard = heard_in_the_next_epoch(&mut replica);
    let whose = heard.map(|heard| heard.ballot);
    assert_eq!(whose, Some(OPENING.ballot));
}

/// Rule 29 counts on it: what a newcomer learned may still be on its way to its disk.
#[test]
fn a_pong_tells_of_what_is_on_the_disk_alone() {
    let mut replica = boot(Recovered::default());
    let told = |replica: &mut Replica| {
        let ping = Message::Ping {
            round: 1,
            beat: Beat::default(),
            decided: Slot::new(2),
            mark: Mark::default(),
        };
        let out = hear(replica, 2, ping);
        out.into_iter().find_map(|effect| match effect {
            Effect::Send {
                message: Message::Pong { decided, .. },
                ..
            } => Some(decided),
            _ => None,
        })
    };
    let decided = Message::Decided {
        first: Slot::new(1),
        entries: vec![entry("a"), entry("b")],
        decided: Slot::new(2),
    };
    hear(&mut replica, 2, decided);
    assert_eq!(replica.decided(), Slot::new(2));
    assert_eq!(told(&mut replica), Some(Slot::new(0)), "on its way");
    let (last, _) = replica.records();
    replica.on_durable(NOW, last);
    assert_eq!(told(&mut replica), Some(Slot::new(2)));
}
