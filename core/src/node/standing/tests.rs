//! Who takes clients, and who does not.

use super::*;
use crate::config::{Change, Member, Policy};
use crate::ids::{ChangeId, ClusterId, Slot};
use crate::time::Stamp;
use alloc::string::String;
use core::time::Duration;

const QUORUM: usize = 2;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_nanos(1_000_000_000).plus(Duration::from_millis(ms))
}

fn genesis() -> Shared {
    let member = |node| Member {
        node: NodeId::new(node),
        ..Member::default()
    };
    Shared::genesis(ClusterId([7; 16]), [1, 2, 3].map(member).into()).unwrap()
}

/// After a change at `slot`.
fn changed(shared: &Shared, slot: u64, members_min: u8) -> Shared {
    let change = Change::Policy(Policy {
        members_min,
        leader_location: String::new(),
    });
    let expect = shared.mark().change;
    let at = Slot::new(slot);
    shared.apply(at, Stamp::ZERO, "", expect, &change).unwrap()
}

fn hear(peers: &mut Peers, ms: u64, peer: u64, mark: Mark, shared: &Shared) {
    peers.hear(at(ms), NodeId::new(peer), mark, shared);
}

#[test]
fn a_server_that_agrees_takes_clients() {
    let shared = changed(&genesis(), 5, 0);
    let mut peers = Peers::default();
    assert_eq!(peers.refusal(at(0), &shared, QUORUM), None);
    hear(&mut peers, 0, 2, shared.mark(), &shared);
    hear(&mut peers, 0, 3, genesis().mark(), &shared);
    assert_eq!(peers.refusal(at(0), &shared, QUORUM), None);
}

#[test]
fn one_that_stays_behind_takes_none_until_it_has_learned() {
    let (old, new) = (genesis(), changed(&genesis(), 5, 0));
    let newer = new.mark();
    let mut peers = Peers::default();
    for ms in [0, 500, 999] {
        hear(&mut peers, ms, 2, newer, &old);
        assert_eq!(peers.refusal(at(ms), &old, QUORUM), None, "{ms}");
    }
    hear(&mut peers, 1000, 2, newer, &old);
    let behind = Some(NotReady::Behind { newer });
    assert_eq!(peers.refusal(at(1000), &old, QUORUM), behind);
    assert_eq!(peers.refusal(at(1000), &new, QUORUM), None);
}

#[test]
fn of_two_histories_the_smaller_one_takes_no_clients() {
    let (ours, theirs) = (changed(&genesis(), 5, 0), changed(&genesis(), 5, 1));
    let other = theirs.mark();
    let mut peers = Peers::default();
    hear(&mut peers, 0, 2, other, &ours);
    let forked = Some(NotReady::Forked { other });
    assert_eq!(peers.refusal(at(0), &ours, QUORUM), forked);
    // With a quorum on its side it is the other one that is wrong.
    hear(&mut peers, 0, 3, ours.mark(), &ours);
    assert_eq!(peers.refusal(at(0), &ours, QUORUM), None);
}

#[test]
fn the_policy_says_how_many_must_be_heard() {
    let shared = changed(&genesis(), 5, 3);
    let mut peers = Peers::default();
    let alone = |members| Some(NotReady::Alone { members, wanted: 3 });
    hear(&mut peers, 0, 2, shared.mark(), &shared);
    assert_eq!(peers.refusal(at(0), &shared, QUORUM), alone(2));
    hear(&mut peers, 0, 3, shared.mark(), &shared);
    assert_eq!(peers.refusal(at(0), &shared, QUORUM), None);
    // A stranger does not count, and nor does who fell silent.
    hear(&mut peers, 400, 9, shared.mark(), &shared);
    hear(&mut peers, 400, 2, shared.mark(), &shared);
    assert_eq!(peers.refusal(at(500), &shared, QUORUM), alone(2));
}

#[test]
fn who_drains_takes_no_clients() {
    let mut peers = Peers {
        draining: true,
        ..Peers::default()
    };
    let draining = Some(NotReady::Draining);
    assert_eq!(peers.refusal(at(0), &genesis(), QUORUM), draining);
    let never = Mark {
        change: ChangeId::new(9),
        hash: 0,
    };
    hear(&mut peers, 0, 2, never, &genesis());
    assert_eq!(peers.refusal(at(0), &genesis(), QUORUM), draining);
}

#[test]
fn one_that_says_something_newer_does_not_stop_a_quorum_that_agrees() {
    let (old, new) = (genesis(), changed(&genesis(), 5, 0));
    let mut peers = Peers::default();
    for ms in [0, 1000] {
        hear(&mut peers, ms, 2, new.mark(), &old);
        hear(&mut peers, ms, 3, old.mark(), &old);
    }
    assert_eq!(peers.refusal(at(1000), &old, QUORUM), None);
}

#[test]
fn too_little_company_ends_nothing_that_was_begun() {
    let alone = NotReady::Alone {
        members: 2,
        wanted: 3,
    };
    let session = crate::ids::SessionId::new(1);
    let keep_alive = Ask::KeepAlive { session };
    let open = Ask::OpenSession {
        ttl_ms: 1000,
        identifier: bytes::Bytes::new(),
        threads: false,
    };
    assert!(alone.refuses(&open) && !alone.refuses(&keep_alive));
    assert!(NotReady::Draining.refuses(&open) && NotReady::Draining.refuses(&keep_alive));
    assert!(!NotReady::Draining.refuses(&Ask::Servers), "operators ask");
}
