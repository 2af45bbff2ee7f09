//! A quorum is a majority of whole promises, and its choice is the highest ballot's.

use super::*;
use crate::ids::{Epoch, Round};
use alloc::vec;
use bytes::Bytes;
use proptest::prelude::*;
use std::string::String;

fn ballot(round: u64) -> Ballot {
    Ballot {
        epoch: Epoch::new(1),
        round: Round::new(round),
        node: NodeId::new(1),
    }
}

fn entry(text: &str) -> Entry {
    let command = Bytes::copy_from_slice(text.as_bytes());
    Entry::new(EntryKind::Batch, Stamp::from_nanos(5), &[command])
}

fn report(slot: u64, round: u64, text: &str) -> Report {
    Report {
        slot: Slot::new(slot),
        ballot: ballot(round),
        entry: entry(text),
    }
}

fn whole(decided: u64, reports: Vec<Report>) -> Piece {
    piece(1, None, decided, reports)
}

fn heard(round: u64, stamp: u64) -> TimeHeard {
    TimeHeard {
        ballot: ballot(round),
        stamp: Stamp::from_nanos(stamp),
    }
}

fn piece(first: u64, next: Option<u64>, decided: u64, reports: Vec<Report>) -> Piece {
    Piece {
        first: Slot::new(first),
        next: next.map(Slot::new),
        decided: Slot::new(decided),
        heard: heard(1, 3),
        started: Start::default(),
        reports,
    }
}

fn tally() -> Tally {
    Tally::new(ballot(9), 2, Slot::new(1))
}

fn closed(pieces: Vec<(u64, Piece)>) -> Option<PromiseQuorum> {
    let mut tally = tally();
    for (node, piece) in pieces {
        tally.count(NodeId::new(node), piece);
    }
    tally.close().ok()
}

fn text_of(entry: &Entry) -> String {
    entry
        .commands()
        .map(|command| String::from_utf8(command.to_vec()).unwrap())
        .collect()
}

#[test]
fn one_voter_twice_is_no_quorum() {
    assert!(closed(vec![(1, whole(0, vec![])), (1, whole(0, vec![]))]).is_none());
    assert!(closed(vec![(1, whole(0, vec![])), (2, whole(0, vec![]))]).is_some());
}

#[test]
fn half_a_promise_is_none() {
    let first = piece(1, Some(2), 0, vec![report(1, 1, "a")]);
    let last = piece(2, None, 0, vec![report(2, 1, "b")]);
    assert!(closed(vec![(1, whole(0, vec![])), (2, first.clone())]).is_none());
    assert!(closed(vec![(1, whole(0, vec![])), (2, last.clone())]).is_none());
    let chosen = closed(vec![(1, whole(0, vec![])), (2, last), (2, first)]).unwrap();
    assert_eq!(chosen.chosen().len(), 2);
}

/// What was decided in between is told by saying so, and nothing else may be missing.
#[test]
fn parts_cover_every_slot_whatever_was_decided_in_between() {
    let old = piece(11, Some(12), 10, vec![report(11, 1, "a")]);
    let far = piece(17, None, 15, vec![report(17, 1, "b")]);
    assert!(closed(vec![(1, whole(0, vec![])), (2, old.clone()), (2, far)]).is_none());
    let near = piece(16, None, 15, vec![report(16, 1, "b")]);
    let chosen = closed(vec![(1, whole(0, vec![])), (2, old), (2, near)]).unwrap();
    assert_eq!(
        (chosen.base(), chosen.last()),
        (Slot::new(15), Slot::new(16))
    );
}

#[test]
fn what_is_missing_is_told_and_what_was_told_is_no_news() {
    let mut tally = tally();
    let voter = NodeId::new(2);
    let missing = |tally: &Tally| tally.missing(voter).map(Slot::get);
    assert_eq!(missing(&tally), Some(1));
    assert!(
        !tally.count(voter, piece(4, Some(6), 0, vec![])),
        "behind a hole"
    );
    assert_eq!(missing(&tally), Some(1));
    assert!(tally.count(voter, piece(1, Some(4), 0, vec![])));
    assert_eq!(missing(&tally), Some(6));
    assert!(!tally.count(voter, piece(1, Some(4), 0, vec![])), "twice");
    assert!(!tally.count(voter, piece(1, Some(2), 0, vec![])), "less");
    assert_eq!(missing(&tally), Some(6));
    assert!(tally.count(voter, piece(6, None, 0, vec![])));
    assert_eq!(missing(&tally), None);
    tally.forget(voter);
    assert_eq!(missing(&tally), Some(1));
}

#[test]
fn the_highest_ballot_wins_and_not_the_longest_log() {
    let longest = whole(0, vec![report(1, 1, "old"), report(2, 1, "old too")]);
    let highest = whole(0, vec![report(1, 2, "new")]);
    let chosen = closed(vec![(1, longest), (2, highest)]).unwrap();
    let texts: Vec<String> = chosen.chosen().iter().map(text_of).collect();
    assert_eq!(texts, ["new", "old too"]);
}

#[test]
fn a_hole_is_filled_with_nothing() {
    let chosen = closed(vec![
        (1, whole(0, vec![report(2, 1, "b")])),
        (2, whole(0, vec![])),
    ]);
    let chosen = chosen.unwrap();
    let kinds: Vec<EntryKind> = chosen.chosen().iter().map(Entry::kind).collect();
    assert_eq!(kinds, [EntryKind::Noop, EntryKind::Batch]);
}

/// F7: the promiser that has decided more no longer reports those slots, so the other one's silence
/// about them means nothing.
#[test]
fn nothing_is_proposed_at_or_below_what_any_promiser_decided() {
    let behind = whole(100, vec![report(101, 1, "x")]);
    let ahead = whole(128, vec![report(129, 2, "y")]);
    let chosen = closed(vec![(1, behind), (2, ahead)]).unwrap();
    assert_eq!(chosen.base(), Slot::new(128));
    assert_eq!(chosen.richest(), Some(NodeId::new(2)));
    assert_eq!(chosen.chosen().len(), 1);
}

#[test]
fn agreed_time_begins_where_anybody_heard_it_last() {
    let chosen = closed(vec![
        (1, whole(0, vec![report(1, 1, "a")])),
        (2, whole(0, vec![])),
    ]);
    assert_eq!(
        chosen.unwrap().stamp(),
        Stamp::from_nanos(5),
        "the entry's, above the promises'"
    );
}

/// A leader that was cut off went on alone for a while: what was granted under the next one would
/// lose what it was ahead.
#[test]
fn of_two_leaders_time_the_later_ballots_counts() {
    let deposed = Piece {
        heard: heard(1, 900),
        ..whole(0, vec![])
    };
    let later = Piece {
        heard: heard(2, 700),
        ..whole(0, vec![])
    };
    let chosen = closed(vec![(1, deposed), (2, later)]).unwrap();
    assert_eq!(chosen.stamp(), Stamp::from_nanos(700));
}

/// A leader that was cut off wrote two entries alone. The next one began at the first one's slot, so
/// nobody can have decided the second, whose time was never this log's.
#[test]
fn what_a_deposed_leader_wrote_above_the_next_ones_start_is_void() {
    let two = |started: u64| {
        let deposed = whole(4, vec![report(5, 1, "alone"), report(6, 1, "alone too")]);
        let later = Piece {
            started: Start {
                ballot: ballot(2),
                slot: Slot::new(started),
            },
            ..whole(4, vec![report(5, 2, "start")])
        };
        let chosen = closed(vec![(1, deposed), (2, later)]).unwrap();
        let texts: Vec<String> = chosen.chosen().iter().map(text_of).collect();
        (texts, chosen.last().get())
    };
    for started in [5, 6] {
        assert_eq!(two(started), (vec!["start".into()], 5));
    }
    // What is decided behind a hole is reported under the ballot that is promised, whoever began since.
    let started = Start {
        ballot: ballot(10),
        slot: Slot::new(5),
    };
    let decided = Piece {
        started,
        ..whole(4, vec![report(5, 9, "decided")])
    };
    let chosen = closed(vec![(1, decided), (2, whole(4, vec![]))]).unwrap();
    assert_eq!(chosen.last(), Slot::new(5));
    // It found the second, and proposed both again.
    let both = vec!["start".into(), "alone too".into()];
    assert_eq!(two(7), (both, 6));
}

proptest! {
    #[test]
    fn the_order_of_promises_does_not_matter(
        one in prop::collection::vec((1..6_u64, 1..4_u64), 0..5),
        two in prop::collection::vec((1..6_u64, 1..4_u64), 0..5),
        decided in (0..3_u64, 0..3_u64),
    ) {
        let reports = |found: &[(u64, u64)]| {
            found.iter().map(|(slot, round)| report(*slot, *round, "v")).collect::<Vec<_>>()
        };
        let a = (1, whole(decided.0, reports(&one)));
        let b = (2, whole(decided.1, reports(&two)));
        let ab = closed(vec![a.clone(), b.clone()]).unwrap();
        let ba = closed(vec![b, a]).unwrap();
        prop_assert_eq!(ab.base(), ba.base());
        prop_assert_eq!(ab.chosen(), ba.chosen());
        prop_assert_eq!(ab.base(), Slot::new(decided.0.max(decided.1)));
    }

    #[test]
    fn reached_is_what_so_many_have(mut values in prop::collection::vec(0..9_u64, 1..8), quorum in 1..8_usize) {
        let all = values.clone();
        let level = reached(&mut values, quorum);
        let have = all.iter().filter(|value| **value >= level).count();
        prop_assert!(have >= quorum.min(all.len()) || level == 0);
        prop_assert!(all.iter().filter(|value| **value > level).count() < quorum);
    }
}

/// A voter that crashed between two parts may have lost what the second of them would have said
/// again, and may say something else in its place.
#[test]
fn parts_of_two_starts_of_a_voter_do_not_mix() {
    let mut tally = tally();
    tally.count(NodeId::new(1), whole(0, vec![]));
    tally.count(NodeId::new(2), piece(2, None, 0, vec![report(6, 2, "f")]));
    tally.forget(NodeId::new(2));
    tally.count(
        NodeId::new(2),
        piece(1, Some(2), 0, vec![report(1, 1, "a")]),
    );
    assert!(tally.close().is_err());
}

/// What an earlier leader left above a stop-sign is void (rule 28).
#[test]
fn phase_1_ends_at_a_stop_sign() {
    let seat = crate::config::Seat {
        node: NodeId::new(1),
        role: crate::config::Role::Voter,
    };
    let next = crate::config::Membership::new(Epoch::new(2), Slot::new(1), vec![seat]);
    let sign = Entry::new(EntryKind::Stop, Stamp::ZERO, &[next.unwrap().encode()]);
    let stopped = Report {
        entry: sign,
        ..report(1, 2, "")
    };
    let left = whole(0, vec![stopped, report(2, 1, "left")]);
    let chosen = closed(vec![(1, left), (2, whole(0, vec![]))]).unwrap();
    assert_eq!(chosen.chosen().len(), 1);
    assert_eq!(chosen.chosen()[0].kind(), EntryKind::Stop);
}
