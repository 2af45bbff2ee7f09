//! An acceptor takes what a later leader proposes again, however much earlier ones left open.

use super::*;
use crate::config::{Config, Member};
use crate::entry::EntryKind;
use crate::ids::{Boot, ClusterId, Epoch, Round, Seed};
use crate::replica::candidate::Polling;
use crate::replica::record::{Recovered, RecoveredEntry};
use crate::replica::{Bounds, Window};
use crate::time::Stamp;
use bytes::Bytes;

fn ballot(round: u64, node: u64) -> Ballot {
    Ballot {
        epoch: Epoch::new(1),
        round: Round::new(round),
        node: NodeId::new(node),
    }
}

fn entry(slot: u64) -> Entry {
    let word = Bytes::copy_from_slice(&slot.to_le_bytes());
    Entry::new(EntryKind::Batch, Stamp::ZERO, &[word])
}

/// Server 1 of three, which accepted slots 1 to `open` under ballot 1.3 and promised no more, and
/// whose leaders may leave `open_slots` open.
fn acceptor(open: u64, open_slots: usize) -> Replica {
    let accepted = |slot| RecoveredEntry {
        slot: Slot::new(slot),
        ballot: Some(ballot(1, 3)),
        entry: entry(slot),
    };
    let recovered = Recovered {
        boot: Boot::new(1),
        promised: ballot(1, 3),
        accepted: (1..=open).map(accepted).collect(),
        ..Recovered::default()
    };
    let mut replica = start(recovered);
    let bounds = Bounds {
        open_slots,
        ..Bounds::default()
    };
    replica.bound(Window::default(), bounds);
    replica
}

/// Server 1 of three, with what its disk remembers.
fn start(recovered: Recovered) -> Replica {
    let member = |number| Member {
        node: NodeId::new(number),
        ..Member::default()
    };
    let members = (1..=3).map(member).collect();
    let config = Config::new(ClusterId([9; 16]), NodeId::new(1), members).unwrap();
    let (seed, now) = (Seed::new(1), Timestamp::ZERO);
    Replica::boot(config, recovered, seed, Bytes::new(), now)
}

fn hear(replica: &mut Replica, message: Message) -> Vec<Effect> {
    let mut out = Vec::new();
    let (from, boot) = (NodeId::new(2), Boot::new(1));
    replica.on_message(Timestamp::ZERO, from, boot, message, &mut out);
    out
}

/// What leader 2 is told that it accepted.
fn accepts(replica: &mut Replica, first: u64, count: u64) -> Slot {
    let message = Message::Accept {
        ballot: ballot(2, 2),
        base: Slot::new(0),
        first: Slot::new(first),
        entries: (first..first + count).map(entry).collect(),
        commit: Slot::new(0),
    };
    let upto = |effect| match effect {
        Effect::Send {
            message: Message::Accepted { upto, .. },
            ..
        } => Some(upto),
        _ => None,
    };
    let told = hear(replica, message).into_iter().find_map(upto);
    told.expect("the leader is told")
}

fn promise(replica: &mut Replica) {
    let ballot = ballot(2, 2);
    hear(
        replica,
        Message::Prepare {
            ballot,
            from: Some(Slot::new(1)),
            goes_on: false,
        },
    );
    replica.on_promise_durable(Timestamp::ZERO, ballot, &mut Vec::new());
}

#[test]
fn what_is_open_already_takes_no_more_room() {
    let mut replica = acceptor(50, 2);
    promise(&mut replica);
    assert_eq!(accepts(&mut replica, 1, 50), Slot::new(50));
    assert_eq!(accepts(&mut replica, 51, 1), Slot::new(50), "that is new");
}

#[test]
fn an_empty_log_takes_as_much_as_two_leaders_may_leave_open() {
    let mut replica = acceptor(0, 2);
    promise(&mut replica);
    assert_eq!(accepts(&mut replica, 1, 9), Slot::new(4));
}

#[test]
fn a_promise_is_told_in_parts_that_fit_a_frame() {
    let mut replica = acceptor(9, 9);
    let bytes = entry(1).bytes().len();
    let bounds = Bounds {
        batch_bytes: 2 * bytes,
        ..Bounds::default()
    };
    replica.bound(Window::default(), bounds);
    let told = |from| {
        let piece = replica.promise_part(Slot::new(from), 2 * bytes);
        let next = piece.next.map(Slot::get);
        (piece.first.get(), next, piece.reports.len())
    };
    assert_eq!(told(0), (1, Some(3), 2));
    assert_eq!(told(2), (2, Some(4), 2), "from where it is asked for");
    assert_eq!(told(9), (9, None, 1));
    assert_eq!(told(10), (10, None, 0), "there is nothing more");
}

/// It is asked again for a promise that it gave before a restart. It followed nobody under that: whose
/// time it knows, its log tells. Where no accept is left, it may have followed anybody up to there.
#[test]
fn who_starts_again_tells_whose_time_it_followed() {
    let told = |followed| {
        let mut replica = start(Recovered {
            boot: Boot::new(2),
            promised: ballot(2, 2),
            followed,
            ..Recovered::default()
        });
        let asked = Message::Prepare {
            ballot: ballot(2, 2),
            from: Some(Slot::new(1)),
            goes_on: false,
        };
        let heard = |effect| match effect {
            Effect::Send {
                message: Message::Promise { heard, .. },
                ..
            } => Some(heard.ballot),
            _ => None,
        };
        hear(&mut replica, asked).into_iter().find_map(heard)
    };
    assert_eq!(told(Some(ballot(1, 3))), Some(ballot(1, 3)));
    assert_eq!(told(None), Some(ballot(2, 2)));
}

/// A try that goes on needs this server's patience, also if it asked for votes meanwhile.
#[test]
fn who_asked_for_votes_follows_a_candidate_that_it_promised_and_that_goes_on() {
    let mut replica = acceptor(0, 2);
    promise(&mut replica);
    let polling = Polling::new(ballot(3, 1), Timestamp::ZERO);
    replica.role = Role::Polling(polling);
    let prepare = |goes_on| Message::Prepare {
        ballot: ballot(2, 2),
        from: None,
        goes_on,
    };
    hear(&mut replica, prepare(false));
    assert!(
        matches!(replica.role, Role::Polling(_)),
        "that was said before"
    );
    hear(&mut replica, prepare(true));
    assert!(matches!(replica.role, Role::Following));
}
