//! A config that exists is right.

use super::*;
use crate::ids::{Slot, ZoneId};
use crate::limits::{ADDRESS_BYTES_MAX, CONFIG_HISTORY_MAX, LOCATION_BYTES_MAX, ZONES_MAX};
use crate::time::Stamp;
use alloc::vec;
use proptest::prelude::*;

const GOLDEN: &str = "0107070707070707070707070707070707b0caeaccfec1c691130103010000000000000201700163016802617500000300000000000002000764656661756c74000000010470726f6401640000020861752e706572746800030000000305c9a49d82d9ff8b981a0503616e6e010470726f6401640000ac02efca8996a5d1f2d70cac0203616e6e00020170016301680261750000ad02e1cce1b883db9ba1e201ad0203616e6e02020861752e7065727468";

fn member(node: u64) -> Member {
    Member {
        node: NodeId::new(node),
        ..Member::default()
    }
}

fn config(me: u64, nodes: &[u64]) -> Result<Config, ConfigError> {
    let members = nodes.iter().map(|node| member(*node)).collect();
    Config::new(ClusterId([7; 16]), NodeId::new(me), members)
}

#[test]
fn a_quorum_is_a_majority() {
    let quorums = [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)];
    for (size, quorum) in quorums {
        let nodes: Vec<u64> = (1..=size).collect();
        assert_eq!(config(1, &nodes).unwrap().quorum(), quorum, "of {size}");
    }
}

#[test]
fn a_wrong_list_is_refused() {
    assert_eq!(config(1, &[]), Err(ConfigError::Size { found: 0 }));
    assert_eq!(
        config(1, &[1, 2, 1]),
        Err(ConfigError::Twice {
            node: NodeId::new(1)
        })
    );
    assert_eq!(
        config(4, &[1, 2, 3]),
        Err(ConfigError::NotAMember {
            node: NodeId::new(4)
        })
    );
    assert_eq!(config(0, &[0, 1, 2]), Err(ConfigError::Zero));
    let ten: Vec<u64> = vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
    assert_eq!(config(1, &ten), Err(ConfigError::Size { found: 10 }));
}

fn genesis() -> Shared {
    let members = vec![member(2), member(1), member(3)];
    Shared::genesis(ClusterId([7; 16]), members).unwrap()
}

fn policy(members_min: u8) -> Change {
    Change::Policy(Policy {
        members_min,
        leader_location: String::from("au.perth"),
    })
}

fn zone(name: &str) -> Change {
    Change::Zone {
        name: name.into(),
        quota: Quota {
            locks: Some(100),
            ..Quota::default()
        },
    }
}

/// The change of somebody who has seen `shared`.
fn changed(shared: &Shared, at: u64, change: &Change) -> Result<Shared, Refused> {
    let expect = shared.mark().change;
    shared.apply(Slot::new(at), Stamp::from_nanos(at), "ann", expect, change)
}

/// `count` changes, one a slot from `first`.
fn chain(shared: &Shared, first: u64, count: usize) -> Shared {
    (first..).take(count).fold(shared.clone(), |shared, at| {
        changed(&shared, at, &policy(u8::from(at % 2 == 0))).unwrap()
    })
}

#[test]
fn equal_lists_begin_equal_configurations() {
    let other = Shared::genesis(ClusterId([7; 16]), vec![member(3), member(2), member(1)]);
    assert_eq!(other.as_ref().map(Shared::mark), Ok(genesis().mark()));
    assert_eq!(genesis().mark().change, ChangeId::new(0));
    let elsewhere = Member {
        http: "127.0.0.1:7600".into(),
        ..member(1)
    };
    let other = Shared::genesis(ClusterId([7; 16]), vec![elsewhere, member(2), member(3)]);
    assert_eq!(genesis().judge(other.unwrap().mark()), Standing::Forked);
    let other = Shared::genesis(ClusterId([8; 16]), vec![member(1), member(2), member(3)]);
    assert_ne!(other.unwrap().mark(), genesis().mark());
}

#[test]
fn a_change_is_a_compare_and_set() {
    let first = changed(&genesis(), 5, &zone("prod")).unwrap();
    assert_eq!(first.mark().change, ChangeId::new(5));
    assert_ne!(first.mark().hash, genesis().mark().hash);
    let now = first.mark();
    let late = first.apply(
        Slot::new(6),
        Stamp::ZERO,
        "bob",
        ChangeId::new(0),
        &policy(1),
    );
    assert_eq!(late, Err(Refused::Moved { now }));
    // Two changes in one slot would be two states with one number.
    let same_slot = changed(&first, 5, &policy(1));
    assert_eq!(same_slot, Err(Refused::Moved { now }));
    assert!(changed(&first, 6, &policy(1)).is_ok());
}

#[test]
fn the_same_change_at_another_place_is_another_state() {
    let one = changed(&genesis(), 5, &policy(1)).unwrap();
    let other = changed(&genesis(), 6, &policy(1)).unwrap();
    assert_ne!(one.mark().hash, other.mark().hash);
    // And there and back again is not where it began.
    let back = changed(&one, 7, &Change::Policy(Policy::default())).unwrap();
    assert_ne!(back.mark().hash, genesis().mark().hash);
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |change: &Change| match changed(&genesis(), 5, change) {
        Err(Refused::Unfit(why)) => why,
        other => panic!("not refused: {other:?}"),
    };
    assert_eq!(refused(&policy(4)), Unfit::MembersMin);
    assert_eq!(refused(&Change::Member(member(4))), Unfit::NoSuchMember);
    assert_eq!(refused(&zone("a b")), Unfit::Malformed);
}

#[test]
fn what_is_out_of_bounds_is_told_before_it_is_proposed() {
    let long = Member {
        peer: "x".repeat(ADDRESS_BYTES_MAX + 1),
        ..member(1)
    };
    let too_long = Err("an address is too long");
    assert_eq!(Change::Member(long).check(), too_long);
    for name in ["", "a b", "a/b", "\u{e9}", &"x".repeat(65)] {
        let refused = zone(name).check().unwrap_err();
        assert!(refused.starts_with("a zone's name"), "{name}");
    }
    let far = Policy {
        members_min: 0,
        leader_location: "x".repeat(65),
    };
    let too_far = Err("the location is too long");
    assert_eq!(Change::Policy(far).check(), too_far);
    assert!(policy(1).check_from(&"x".repeat(129)).is_err());
    assert!(policy(1).check_from("a\nb").is_err());
    assert_eq!(policy(1).check_from("ann"), Ok(()));
}

#[test]
fn a_zone_keeps_its_number() {
    let shared = changed(&genesis(), 5, &zone("a")).unwrap();
    let shared = changed(&shared, 6, &zone("b")).unwrap();
    let quota = Quota {
        locks: Some(7),
        ..Quota::default()
    };
    let again = Change::Zone {
        name: "a".into(),
        quota,
    };
    let shared = changed(&shared, 7, &again).unwrap();
    assert_eq!(shared.zone_named("default"), Some(ZoneId::new(0)));
    assert_eq!(shared.zone_named("a"), Some(ZoneId::new(1)));
    assert_eq!(shared.zone_named("b"), Some(ZoneId::new(2)));
    assert_eq!(shared.zone_named("c"), None);
    assert_eq!(shared.quota(ZoneId::new(1)), quota);
    assert_eq!(shared.quota(ZoneId::new(9)), Quota::default());
}

#[test]
fn there_are_only_so_many_zones() {
    let mut shared = genesis();
    for number in 1..ZONES_MAX {
        let name = std::format!("z{number}");
        shared = changed(&shared, number as u64, &zone(&name)).unwrap();
    }
    let next = ZONES_MAX as u64;
    let refused = changed(&shared, next, &zone("one-more"));
    assert_eq!(refused, Err(Refused::Unfit(Unfit::Zones)));
    assert!(changed(&shared, next, &zone("z1")).is_ok());
}

#[test]
fn a_server_behind_is_no_fork() {
    let old = chain(&genesis(), 5, 3);
    let new = chain(&old, 20, 2);
    assert_eq!(new.judge(new.mark()), Standing::Same);
    assert_eq!(new.judge(old.mark()), Standing::Behind);
    assert_eq!(new.judge(genesis().mark()), Standing::Behind);
    assert_eq!(old.judge(new.mark()), Standing::Ahead);
    // The same number with another hash, and a number that was never one.
    let other = changed(&changed(&genesis(), 5, &zone("x")).unwrap(), 21, &policy(1)).unwrap();
    assert_eq!(new.judge(other.mark()), Standing::Forked);
    assert_eq!(other.judge(old.mark()), Standing::Forked);
    let never = Mark {
        change: ChangeId::new(19),
        hash: 1,
    };
    assert_eq!(new.judge(never), Standing::Forked);
}

#[test]
fn the_same_change_in_another_history_is_another_state() {
    let made = |stamp, by| {
        let (at, expect) = (Slot::new(5), ChangeId::new(0));
        let stamp = Stamp::from_nanos(stamp);
        genesis().apply(at, stamp, by, expect, &zone("x")).unwrap()
    };
    assert_eq!(made(1, "ann").mark(), made(1, "ann").mark());
    for other in [made(2, "ann"), made(1, "bob")] {
        assert_eq!(made(1, "ann").judge(other.mark()), Standing::Forked);
    }
}

#[test]
fn the_history_is_bounded_and_what_is_forgotten_is_believed() {
    let old = chain(&genesis(), 5, 1);
    let new = chain(&old, 6, CONFIG_HISTORY_MAX);
    assert_eq!(new.history().count(), CONFIG_HISTORY_MAX);
    assert_eq!(new.judge(old.mark()), Standing::Behind);
    assert_eq!(new.judge(genesis().mark()), Standing::Behind);
    let other = Mark {
        hash: 1,
        ..genesis().mark()
    };
    assert_eq!(new.judge(other), Standing::Forked);
    let by: Vec<&str> = new.history().map(|past| past.by.as_str()).collect();
    assert!(by.iter().all(|by| *by == "ann"));
}

fn sample() -> Shared {
    let shared = changed(&genesis(), 5, &zone("prod")).unwrap();
    let moved = Member {
        node: NodeId::new(2),
        peer: "p".into(),
        client: "c".into(),
        http: "h".into(),
        location: "au".into(),
        ..Member::default()
    };
    let shared = changed(&shared, 300, &Change::Member(moved)).unwrap();
    changed(&shared, 301, &policy(2)).unwrap()
}

#[test]
fn golden_bytes() {
    let bytes = sample().encode();
    let hex: String = bytes
        .iter()
        .map(|byte| std::format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, GOLDEN);
    assert_eq!(Shared::parse(&bytes), Ok(sample()));
    assert_eq!(Shared::parse(&genesis().encode()), Ok(genesis()));
}

fn drain(node: u64, drains: bool) -> Change {
    let node = NodeId::new(node);
    Change::Drain { node, drains }
}

#[test]
fn who_drains_is_in_the_bytes_and_in_the_hash() {
    let drained = changed(&sample(), 302, &drain(2, true)).unwrap();
    assert!(drained.drains(NodeId::new(2)) && !drained.drains(NodeId::new(3)));
    let bytes = drained.encode();
    assert_eq!(Shared::parse(&bytes), Ok(drained.clone()));
    let nobody = changed(&sample(), 302, &drain(2, false)).unwrap();
    assert_ne!(nobody.mark(), drained.mark());
    let back = changed(&drained, 303, &drain(2, false)).unwrap();
    assert!(!back.drains(NodeId::new(2)));
    let mut stranger = drained.clone();
    stranger.draining.insert(NodeId::new(9));
    let refused = Err(FormError::Impossible("one drains that is no member"));
    assert_eq!(Shared::parse(&stranger.encode()), refused);
}

#[test]
fn one_that_may_lead_never_drains() {
    let refused = |change| changed(&change, 400, &drain(3, true)).unwrap_err();
    let drained = changed(&sample(), 302, &drain(1, true)).unwrap();
    assert_eq!(
        changed(&drained, 303, &drain(4, true)).unwrap_err(),
        Refused::Unfit(Unfit::NoSuchMember)
    );
    let two = changed(&drained, 303, &drain(2, true)).unwrap();
    assert_eq!(refused(two.clone()), Refused::Unfit(Unfit::Leaders));
    // Nor is the last one taken away, or lets others lead.
    let node = NodeId::new(3);
    for change in [
        Change::Remove { node },
        Change::Role {
            node,
            role: Role::QuorumOnly,
        },
    ] {
        let refused = changed(&two, 304, &change).unwrap_err();
        assert_eq!(refused, Refused::Unfit(Unfit::Leaders), "{change:?}");
    }
    // Who goes is forgotten.
    let gone = changed(
        &two,
        304,
        &Change::Remove {
            node: NodeId::new(1),
        },
    )
    .unwrap();
    let next = gone.next_membership(Slot::new(305), |_| true).unwrap();
    let turned = gone.turn(Slot::new(305), Stamp::ZERO, &next);
    assert!(!turned.drains(NodeId::new(1)) && turned.drains(NodeId::new(2)));
}

#[test]
fn every_cut_and_every_addition_is_refused() {
    let bytes = sample().encode();
    for len in 0..bytes.len() {
        assert_eq!(Shared::parse(&bytes[..len]), Err(FormError::Form), "{len}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(
        Shared::parse(&longer),
        Err(FormError::Trailing { extra: 1 })
    );
    let later = [&[2], &bytes[1..]].concat();
    assert_eq!(Shared::parse(&later), Err(FormError::Version { found: 2 }));
}

#[test]
fn what_could_not_be_is_not_believed() {
    let impossible = |change: &dyn Fn(&mut Shared)| {
        let mut shared = sample();
        change(&mut shared);
        Shared::parse(&shared.encode())
    };
    assert!(impossible(&|_| ()).is_ok());
    assert!(matches!(
        impossible(&|shared| shared.members.clear()),
        Err(FormError::Config(_))
    ));
    assert!(matches!(
        impossible(&|shared| shared.members.reverse()),
        Err(FormError::Config(_))
    ));
    let twice = |shared: &mut Shared| {
        let zone = shared.zones[&ZoneId::new(1)].clone();
        shared.zones.insert(ZoneId::new(2), zone);
    };
    assert_eq!(
        impossible(&twice),
        Err(FormError::Impossible("two zones have one name"))
    );
    let swap = |shared: &mut Shared| shared.history.swap(0, 1);
    assert_eq!(
        impossible(&swap),
        Err(FormError::Impossible("the history is not in order"))
    );
    let long = |shared: &mut Shared| shared.history[0].by = "x".repeat(129);
    assert!(impossible(&long).is_err());
}

#[test]
fn the_first_configuration_fits_a_superblock() {
    let long = |node: u64| Member {
        node: NodeId::new(u64::MAX - node),
        peer: "p".repeat(ADDRESS_BYTES_MAX),
        client: "c".repeat(ADDRESS_BYTES_MAX),
        http: "h".repeat(ADDRESS_BYTES_MAX),
        location: "l".repeat(LOCATION_BYTES_MAX),
        ..Member::default()
    };
    let members = (0..MEMBERS_MAX as u64).map(long).collect();
    let shared = Shared::genesis(ClusterId([7; 16]), members).unwrap();
    assert!(shared.encode().len() <= 3840, "{}", shared.encode().len());
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = sample().encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(shared) = Shared::parse(&bytes) {
            prop_assert_eq!(Shared::parse(&shared.encode()), Ok(shared));
        }
    }
}
