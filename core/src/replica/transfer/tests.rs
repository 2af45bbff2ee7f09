//! A snapshot is fetched a few chunks at a time, from whoever has it, and changes nothing before it
//! is durable.

use super::*;
use crate::config::Membership;
use crate::config::{Config, Member};
use crate::ids::{Ballot, Boot, ClusterId, Round, Seed};
use crate::limits::PIN_NEWER_MAX;
use crate::replica::record::Recovered;
use alloc::vec;
use core::time::Duration;

const ID: SnapshotId = snapshot(90, 0xa4);

const fn snapshot(slot: u64, hash: u64) -> SnapshotId {
    SnapshotId {
        slot: Slot::new(slot),
        hash,
    }
}

fn node(number: u64) -> NodeId {
    NodeId::new(number)
}

fn at_ms(ms: u64) -> Timestamp {
    Timestamp::ZERO.plus(Duration::from_millis(ms))
}

/// Server `me` of three, decided up to `decided`.
fn replica(me: u64, decided: u64) -> Replica {
    let member = |number| Member {
        node: node(number),
        ..Member::default()
    };
    let members = (1..=3).map(member).collect();
    let config = Config::new(ClusterId([9; 16]), node(me), members).unwrap();
    let recovered = Recovered {
        boot: Boot::new(1),
        decided: Slot::new(decided),
        ..Recovered::default()
    };
    Replica::boot(config, recovered, Seed::new(me), Bytes::new(), at_ms(0))
}

fn hear(to: &mut Replica, ms: u64, from: u64, message: Message) -> Vec<Effect> {
    let mut out = Vec::new();
    to.on_message(at_ms(ms), node(from), Boot::new(1), message, &mut out);
    out
}

fn offer(id: SnapshotId, chunks: u32) -> Message {
    Message::SnapshotOffer { id, chunks }
}

fn chunk(id: SnapshotId, index: u32) -> Message {
    let bytes = Bytes::from(vec![index.to_le_bytes()[0]; 4]);
    Message::SnapshotChunk { id, index, bytes }
}

/// Which chunks are asked for, of whom.
fn asked(effects: &[Effect]) -> Vec<(u64, u32)> {
    let asked = effects.iter().filter_map(|effect| match effect {
        Effect::Send {
            to,
            message: Message::SnapshotGet { index, .. },
            ..
        } => Some((to.get(), *index)),
        _ => None,
    });
    asked.collect()
}

fn received(effects: &[Effect]) -> Vec<u32> {
    let received = effects.iter().filter_map(|effect| match effect {
        Effect::Receive { index, .. } => Some(*index),
        _ => None,
    });
    received.collect()
}

#[test]
fn chunks_are_asked_for_a_few_at_a_time_and_handed_on_in_order() {
    let mut learner = replica(1, 7);
    let out = hear(&mut learner, 1, 2, offer(ID, 6));
    assert_eq!(asked(&out), [(2, 0), (2, 1), (2, 2), (2, 3)]);
    let out = hear(&mut learner, 2, 2, chunk(ID, 1));
    assert_eq!((received(&out), asked(&out)), (vec![], vec![]));
    let out = hear(&mut learner, 3, 2, chunk(ID, 0));
    assert_eq!(received(&out), [0, 1]);
    assert_eq!(asked(&out), [(2, 4), (2, 5)]);
    let again = hear(&mut learner, 4, 2, chunk(ID, 1));
    assert!(again.is_empty(), "a chunk is handed on once");
    for index in 2..6 {
        let out = hear(&mut learner, 5, 2, chunk(ID, index));
        assert_eq!(received(&out), [index]);
    }
    assert_eq!(learner.decided(), Slot::new(7), "nothing is durable yet");
}

#[test]
fn a_silent_source_is_left_for_another_which_goes_on() {
    let mut learner = replica(1, 7);
    hear(&mut learner, 1, 2, offer(ID, 6));
    hear(&mut learner, 2, 2, chunk(ID, 0));
    hear(&mut learner, 3, 2, chunk(ID, 2));
    let mut out = Vec::new();
    learner.on_tick(at_ms(2).plus(TRANSFER_PATIENCE), &mut out);
    assert_eq!(asked(&out), [(3, 1), (3, 3), (3, 4)], "not what is held");
    let out = hear(&mut learner, 600, 3, chunk(ID, 1));
    assert_eq!(received(&out), [1, 2]);
}

#[test]
fn chunks_of_another_snapshot_are_not_mixed_in() {
    let mut learner = replica(1, 7);
    hear(&mut learner, 1, 2, offer(ID, 6));
    for other in [snapshot(90, 0xa5), snapshot(91, 0xa4)] {
        assert!(hear(&mut learner, 2, 3, chunk(other, 0)).is_empty());
    }
}

#[test]
fn a_source_that_has_only_a_newer_one_begins_anew() {
    let mut learner = replica(1, 7);
    hear(&mut learner, 1, 2, offer(ID, 6));
    hear(&mut learner, 2, 2, chunk(ID, 0));
    let newer = snapshot(120, 1);
    let stranger = hear(&mut learner, 3, 3, offer(newer, 2));
    assert!(stranger.is_empty(), "the source still has it");
    let out = hear(&mut learner, 4, 2, offer(newer, 2));
    assert!(out.contains(&Effect::Abandon { id: ID }));
    assert_eq!(asked(&out), [(2, 0), (2, 1)]);
    let older = hear(&mut learner, 5, 2, offer(ID, 6));
    assert_eq!(asked(&older), [(3, 0), (3, 1)], "it has gone back");
}

#[test]
fn nobody_who_has_it_ends_the_try() {
    let mut learner = replica(1, 7);
    hear(&mut learner, 1, 2, offer(ID, 6));
    let mut out = Vec::new();
    for turn in 1..=5 {
        learner.on_tick(at_ms(1).plus(TRANSFER_PATIENCE * turn), &mut out);
    }
    assert!(out.contains(&Effect::Abandon { id: ID }));
    assert!(!learner.awaits_snapshot());
}

/// `peer` answered a ping.
fn answers(learner: &mut Replica, ms: u64, peer: u64) {
    hear(learner, ms, peer, Message::CatchUp { from: Slot::new(0) });
    let peer = learner.peers.get_mut(&node(peer)).unwrap();
    peer.heard_at = Some(at_ms(ms));
}

#[test]
fn only_those_that_are_heard_are_asked() {
    let mut learner = replica(1, 7);
    hear(&mut learner, 1, 2, offer(ID, 6));
    answers(&mut learner, 450, 2);
    let out = tick(&mut learner, 501);
    assert_eq!(asked(&out)[0].0, 2, "server 3 is not there");
}

/// The source is gone, and the other one has an older snapshot alone: with the log behind it that is more
/// than nothing.
#[test]
fn an_older_one_is_taken_when_nobody_who_is_there_has_it() {
    let mut learner = replica(1, 7);
    hear(&mut learner, 1, 2, offer(ID, 6));
    answers(&mut learner, 450, 3);
    assert_eq!(asked(&tick(&mut learner, 501))[0].0, 3);
    let older = snapshot(60, 1);
    let out = hear(&mut learner, 502, 3, offer(older, 2));
    assert!(out.contains(&Effect::Abandon { id: ID }));
    assert_eq!(asked(&out), [(3, 0), (3, 1)], "at once");
}

#[test]
fn of_those_that_are_older_the_newest_is_taken() {
    let mut learner = replica(1, 7);
    hear(&mut learner, 1, 2, offer(ID, 6));
    let out = hear(&mut learner, 2, 2, offer(snapshot(60, 1), 2));
    assert_eq!(asked(&out)[0].0, 3, "server 3 may have it");
    let out = hear(&mut learner, 3, 3, offer(snapshot(50, 1), 2));
    assert_eq!(asked(&out), [(2, 0), (2, 1)]);
}

/// Who is silent is asked once only if there is something else, and nothing is here yet.
#[test]
fn silence_does_not_hold_up_an_older_one_for_long() {
    let mut learner = replica(1, 7);
    hear(&mut learner, 1, 2, offer(ID, 6));
    tick(&mut learner, 502);
    let out = hear(&mut learner, 503, 3, offer(snapshot(60, 1), 2));
    assert_eq!(asked(&out), [(3, 0), (3, 1)]);
}

/// Else who fetches a newer one and loses a word now and then would begin it anew for ever, after the older.
#[test]
fn a_lost_word_costs_nothing_of_what_is_here() {
    let mut learner = replica(1, 7);
    hear(&mut learner, 1, 2, offer(ID, 6));
    for index in 0..5 {
        hear(&mut learner, 2, 2, chunk(ID, index));
    }
    assert_eq!(asked(&tick(&mut learner, 502)), [(3, 5)]);
    let out = hear(&mut learner, 503, 3, offer(snapshot(60, 1), 2));
    assert_eq!(asked(&out), [(2, 5)], "it is asked once more");
    let out = hear(&mut learner, 504, 2, chunk(ID, 5));
    assert_eq!(received(&out), [5]);
}

/// In the end an older one is more than one that nobody sends.
#[test]
fn what_is_never_sent_is_left_for_an_older_one() {
    let mut learner = replica(1, 7);
    hear(&mut learner, 1, 2, offer(ID, 6));
    hear(&mut learner, 2, 2, chunk(ID, 0));
    tick(&mut learner, 502);
    hear(&mut learner, 503, 3, offer(snapshot(60, 1), 2));
    let silence = |turn| at_ms(503).plus(TRANSFER_PATIENCE * turn);
    let mut out = Vec::new();
    for turn in 1..=3 {
        learner.on_tick(silence(turn), &mut out);
        assert!(asked(&out).iter().all(|(source, _)| *source == 2));
    }
    learner.on_tick(silence(4), &mut out);
    assert!(out.contains(&Effect::Abandon { id: ID }));
    assert!(asked(&out).ends_with(&[(3, 0), (3, 1)]));
}

/// With one source that is heard a try lasts as long as with two.
#[test]
fn a_source_that_is_alone_is_asked_as_often_as_two() {
    let mut learner = replica(1, 7);
    hear(&mut learner, 1, 2, offer(ID, 6));
    let mut out = Vec::new();
    for turn in 1..=4 {
        let now = at_ms(1).plus(TRANSFER_PATIENCE * turn);
        answers(&mut learner, 500 * u64::from(turn), 2);
        out.clear();
        learner.on_tick(now, &mut out);
        assert_eq!(asked(&out).first(), Some(&(2, 0)), "in try {turn}");
    }
}

/// It is not even of use: the log is further. The try ends at once.
#[test]
fn one_that_is_of_no_use_says_that_the_wanted_one_is_gone() {
    let mut learner = replica(1, 7);
    hear(&mut learner, 1, 2, offer(ID, 6));
    answers(&mut learner, 450, 3);
    tick(&mut learner, 501);
    let out = hear(&mut learner, 502, 3, offer(snapshot(5, 1), 2));
    assert_eq!(out, [Effect::Abandon { id: ID }]);
}

/// The source makes a snapshot at each of `slots`; gives what it said that its disk shall keep beside.
fn make(source: &mut Replica, slots: core::ops::Range<u64>) -> Vec<SnapshotId> {
    let mut kept = Vec::new();
    for slot in slots {
        kept = source.pin_snapshots();
        source.on_snapshot_durable(snapshot(slot, 0xa4), 6);
    }
    kept
}

#[test]
fn what_a_learner_is_in_the_middle_of_stays() {
    let mut source = replica(2, 200);
    assert_eq!(make(&mut source, 89..91), []);
    let get = |index| Message::SnapshotGet { id: ID, index };
    hear(&mut source, 1, 1, get(0));
    assert_eq!(make(&mut source, 91..95), [ID]);
    assert_eq!(hear(&mut source, 4000, 1, get(1)).len(), 1);
    tick(&mut source, 8999);
    assert_eq!(
        make(&mut source, 95..96),
        [ID],
        "and while the log behind it"
    );
    hear(
        &mut source,
        8999,
        1,
        Message::CatchUp {
            from: Slot::new(91),
        },
    );
    tick(&mut source, 13_998);
    assert_eq!(make(&mut source, 96..97), [ID]);
    tick(&mut source, 13_999);
    assert_eq!(make(&mut source, 97..98), [], "nothing was asked for 5 s");
    let gone = hear(&mut source, 14_000, 1, get(2));
    assert!(matches!(
        gone[..],
        [Effect::Send {
            message: Message::SnapshotOffer { .. },
            ..
        }]
    ));
}

#[test]
fn a_laggard_does_not_fill_the_disk() {
    let mut source = replica(2, 200);
    make(&mut source, 89..91);
    let get = Message::SnapshotGet { id: ID, index: 0 };
    let newer_max = u64::from(PIN_NEWER_MAX);
    for newer in 1..newer_max {
        hear(&mut source, newer, 1, get.clone());
        for _ in 0..3 {
            assert_eq!(source.pin_snapshots(), [ID], "some are not kept");
        }
        make(&mut source, 90 + newer..91 + newer);
        assert_eq!(source.pinned(), [ID]);
    }
    hear(&mut source, 100, 1, get);
    make(&mut source, 90 + newer_max..91 + newer_max);
    assert_eq!(source.pinned(), [], "nor the log behind it");
}

#[test]
fn who_is_low_on_room_keeps_nothing_for_others() {
    let mut source = replica(2, 200);
    make(&mut source, 89..91);
    let get = || Message::SnapshotGet { id: ID, index: 0 };
    for space in [Space::Low, Space::Full] {
        hear(&mut source, 1, 1, get());
        assert_eq!(source.pinned(), [ID]);
        source.on_space(space);
        assert_eq!(source.pinned(), []);
        let out = hear(&mut source, 2, 1, get());
        assert!(matches!(out[..], [Effect::LoadChunk { .. }]), "as long as");
        assert_eq!(make(&mut source, 90..91), [], "it is there anyway");
        source.on_space(Space::Enough);
    }
}

#[test]
fn each_peer_has_one_pin() {
    let mut source = replica(2, 200);
    make(&mut source, 89..91);
    let get = |slot| Message::SnapshotGet {
        id: snapshot(slot, 0xa4),
        index: 0,
    };
    hear(&mut source, 1, 1, get(89));
    hear(&mut source, 2, 1, get(90));
    assert_eq!(source.pinned(), [ID]);
    hear(&mut source, 3, 3, get(90));
    assert_eq!(
        source.pinned(),
        [ID],
        "and two of one need no more than one"
    );
}

#[test]
fn what_is_not_ahead_is_not_wanted() {
    let mut learner = replica(1, 90);
    assert!(hear(&mut learner, 1, 2, offer(ID, 6)).is_empty());
}

#[test]
fn only_what_is_durable_is_offered_and_given() {
    let mut source = replica(2, 100);
    let get = Message::SnapshotGet { id: ID, index: 0 };
    assert!(hear(&mut source, 1, 1, get.clone()).is_empty());
    source.on_snapshot_durable(ID, 6);
    let peer = node(1);
    let wants = Effect::LoadChunk {
        peer,
        id: ID,
        index: 0,
    };
    let loads = [wants];
    assert_eq!(hear(&mut source, 2, 1, get.clone()), loads);
    source.on_snapshot_durable(snapshot(95, 1), 3);
    source.on_snapshot_durable(snapshot(99, 2), 3);
    // The disk may still have it, because somebody is in the middle of it; until it says no.
    assert_eq!(hear(&mut source, 3, 1, get.clone()), loads);
    source.on_snapshot_lost(ID);
    let gone = hear(&mut source, 4, 1, get);
    let expected = Effect::Send {
        to: peer,
        message: offer(snapshot(99, 2), 3),
        until: Until::Now,
    };
    assert_eq!(gone, [expected], "another one instead");
    // Nor is the newest one offered once it is lost.
    source.on_snapshot_lost(snapshot(99, 2));
    let newest = source.snapshot();
    assert_eq!(newest, Some(snapshot(95, 1)));
}

#[test]
fn an_install_jumps_the_log_and_is_acknowledged_through_the_disk() {
    let mut learner = replica(1, 7);
    let ballot = Ballot::ZERO.above(node(2));
    let ballot = Ballot {
        epoch: learner.config.epoch(),
        round: Round::new(1),
        ..ballot
    };
    let accept = |commit| Message::Accept {
        ballot,
        base: Slot::new(50),
        first: Slot::new(200),
        entries: Vec::new(),
        commit: Slot::new(commit),
    };
    hear(&mut learner, 1, 2, accept(120));
    learner.on_promise_durable(at_ms(2), ballot, &mut Vec::new());
    hear(&mut learner, 3, 2, accept(120));
    hear(&mut learner, 4, 2, offer(ID, 1));
    let out = hear(&mut learner, 5, 2, chunk(ID, 0));
    assert_eq!(received(&out), [0]);

    learner.on_snapshot_durable(ID, 1);
    let mut out = Vec::new();
    assert!(learner.install(ID, Membership::default(), &mut out));
    assert_eq!(learner.decided(), ID.slot);
    learner.audit().unwrap();
    let acked = out.iter().find_map(|effect| match effect {
        Effect::Send {
            message: Message::Accepted { upto, .. },
            until,
            ..
        } => Some((*upto, *until)),
        _ => None,
    });
    assert_eq!(acked, Some((ID.slot, Until::Record(learner.records().0))));
}

#[test]
#[should_panic(expected = "only a durable snapshot")]
fn an_install_before_the_disk_has_it_is_a_bug() {
    let mut learner = replica(1, 7);
    hear(&mut learner, 1, 2, offer(ID, 1));
    hear(&mut learner, 2, 2, chunk(ID, 0));
    learner.install(ID, Membership::default(), &mut Vec::new());
}

/// Whom this asks for a snapshot, and of which slot on.
fn wishes(effects: &[Effect]) -> Vec<(u64, u64)> {
    let wishes = effects.iter().filter_map(|effect| match effect {
        Effect::Send {
            to,
            message: Message::SnapshotWish { from },
            ..
        } => Some((to.get(), from.get())),
        _ => None,
    });
    wishes.collect()
}

fn tick(replica: &mut Replica, ms: u64) -> Vec<Effect> {
    let mut out = Vec::new();
    replica.on_tick(at_ms(ms), &mut out);
    out
}

#[test]
fn one_that_is_due_is_asked_for_one_peer_after_another() {
    let mut witness = replica(1, 100);
    witness.want_snapshot(Slot::new(90));
    assert_eq!(wishes(&tick(&mut witness, 999)), []);
    assert_eq!(wishes(&tick(&mut witness, 1000)), [(2, 90)]);
    assert_eq!(wishes(&tick(&mut witness, 1999)), [], "and not more often");
    assert_eq!(wishes(&tick(&mut witness, 2000)), [(3, 90)]);
    assert_eq!(wishes(&tick(&mut witness, 3000)), [(2, 90)]);
    // It is fetched though the log is here, and nobody is asked meanwhile.
    let out = hear(&mut witness, 3001, 2, offer(ID, 2));
    assert_eq!(asked(&out), [(2, 0), (2, 1)]);
    assert!(witness.transfer.incoming.is_some());
    assert!(
        !witness.awaits_snapshot(),
        "entries are asked for meanwhile"
    );
    assert_eq!(wishes(&tick(&mut witness, 3400)), []);
    assert!(
        witness.transfer.incoming.is_some(),
        "the log is no reason to leave it"
    );
    for index in 0..2 {
        hear(&mut witness, 3401, 2, chunk(ID, index));
    }
    witness.on_snapshot_durable(ID, 2);
    let mut out = Vec::new();
    assert!(!witness.install(ID, Membership::default(), &mut out));
    assert_eq!(wishes(&tick(&mut witness, 9000)), [], "it has it");
    assert_eq!(witness.decided(), Slot::new(100), "the log is as it was");
}

#[test]
fn an_older_one_than_is_due_is_not_fetched() {
    let mut witness = replica(1, 100);
    witness.want_snapshot(Slot::new(91));
    assert_eq!(wishes(&tick(&mut witness, 1000)), [(2, 91)]);
    let out = hear(&mut witness, 1001, 2, offer(ID, 2));
    assert_eq!(asked(&out), []);
}

/// Else peers that make them slower than they are due would never have the one that is asked for.
#[test]
fn the_next_one_is_wanted_after_the_one_before_it_came() {
    let mut witness = replica(1, 100);
    witness.want_snapshot(Slot::new(80));
    witness.want_snapshot(Slot::new(95));
    assert_eq!(wishes(&tick(&mut witness, 1000)), [(2, 80)]);
    hear(&mut witness, 1001, 2, offer(ID, 1));
    hear(&mut witness, 1002, 2, chunk(ID, 0));
    witness.on_snapshot_durable(ID, 1);
    witness.install(ID, Membership::default(), &mut Vec::new());
    assert_eq!(wishes(&tick(&mut witness, 2100)), [(2, 95)]);
}

/// Else a witness whose disk is too small would fetch whole snapshots without a pause.
#[test]
fn one_that_can_not_be_kept_is_wished_for_ever_more_seldom() {
    let mut witness = replica(1, 100);
    witness.want_snapshot(Slot::new(90));
    let mut now = 1000;
    for wait in [1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 64_000] {
        assert_eq!(wishes(&tick(&mut witness, now)).len(), 1, "after {now} ms");
        let out = hear(&mut witness, now, 2, offer(ID, 1));
        assert_eq!(asked(&out), [(2, 0)]);
        hear(&mut witness, now, 2, chunk(ID, 0));
        witness.reject_snapshot(ID);
        // Whoever offers one to a server that asked for entries.
        let out = hear(&mut witness, now + wait - 1, 3, offer(ID, 1));
        assert_eq!(asked(&out), []);
        assert_eq!(wishes(&tick(&mut witness, now + wait - 1)), []);
        now += wait;
    }
    // One that is kept ends it: the next is asked for as at first.
    hear(&mut witness, now, 2, offer(ID, 1));
    witness.on_snapshot_durable(ID, 1);
    witness.install(ID, Membership::default(), &mut Vec::new());
    witness.want_snapshot(Slot::new(95));
    assert_eq!(wishes(&tick(&mut witness, now + 1000)), [(2, 95)]);
}

#[test]
fn room_ends_the_wait_of_a_wish() {
    let mut witness = replica(1, 100);
    witness.want_snapshot(Slot::new(90));
    for ms in [1000, 2000, 4000] {
        tick(&mut witness, ms);
        hear(&mut witness, ms, 2, offer(ID, 1));
        witness.reject_snapshot(ID);
    }
    assert_eq!(wishes(&tick(&mut witness, 7999)), []);
    witness.retry_wish();
    assert_eq!(wishes(&tick(&mut witness, 7999)).len(), 1);
}

/// The log is not here: nothing else brings this server on.
#[test]
fn who_lacks_the_entries_asks_again_soon_though_it_could_not_keep_them() {
    let mut learner = replica(1, 7);
    learner.want_snapshot(Slot::new(90));
    for turn in 1..=3 {
        let now = 1000 * turn;
        let out = hear(&mut learner, now, 2, offer(ID, 1));
        assert_eq!(asked(&out), [(2, 0)], "try {turn}");
        learner.reject_snapshot(ID);
        let out = hear(&mut learner, now + 499, 2, offer(ID, 1));
        assert_eq!(asked(&out), [], "try {turn}");
    }
}

#[test]
fn who_has_none_of_that_slot_says_nothing() {
    let mut full = replica(2, 100);
    let wish = |from| Message::SnapshotWish {
        from: Slot::new(from),
    };
    assert!(hear(&mut full, 1, 1, wish(90)).is_empty());
    full.on_snapshot_durable(ID, 3);
    let offered = |out: &[Effect]| {
        let is_offer = |effect: &&Effect| matches!(effect, Effect::Send { message: Message::SnapshotOffer { id, .. }, .. } if *id == ID);
        out.iter().filter(is_offer).count()
    };
    assert_eq!(offered(&hear(&mut full, 2, 1, wish(90))), 1);
    assert!(hear(&mut full, 3, 1, wish(91)).is_empty());
}
