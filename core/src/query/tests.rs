use super::*;
use crate::entry::{Entry, EntryKind};
use crate::ids::{Boot, NodeId, Slot};
use crate::machine::codec;
use crate::machine::command::{Acquire, Client, Command, Life, Mode, Operation, Via};
use crate::machine::key::path_prefix;
use crate::machine::parts::Parts;
use alloc::string::String;
use bytes::Bytes;
use core::time::Duration;

/// A machine in which these locks are held for ten seconds.
fn machine(paths: &[&str]) -> Machine {
    let acquires = (1..).zip(paths);
    let acquires = acquires.map(|(seq, path)| acquire(seq, path, Mode::Exclusive, 10_000));
    applied(&acquires.collect::<Vec<Bytes>>())
}

fn acquire(seq: u64, path: &str, mode: Mode, ttl_ms: u64) -> Bytes {
    codec::encode(&Command {
        zone: ZoneId::new(0),
        principal: Bytes::new(),
        client: Client::None,
        via: Via {
            node: NodeId::new(1),
            boot: Boot::new(1),
            seq,
        },
        operation: Operation::Acquire(Acquire {
            parts: Parts::one(Key::from_text(path).unwrap(), mode),
            life: Life::Lease { ttl_ms },
            wait_ms: 0,
            holder: Bytes::from_static(b"h"),
            reentrant: false,
        }),
    })
}

fn applied(commands: &[Bytes]) -> Machine {
    let mut machine = Machine::new();
    let entry = Entry::new(EntryKind::Batch, Stamp::ZERO, commands);
    machine.apply(Slot::new(1), &entry, &mut Vec::new());
    machine
}

fn names(page: &Page) -> Vec<String> {
    page.locks
        .iter()
        .map(|lock| lock.key.path().unwrap())
        .collect()
}

#[test]
fn a_list_is_in_order_and_pages_follow_each_other() {
    let machine = machine(&["x/3", "x/1", "y", "x/2", "x/4"]);
    let zone = ZoneId::new(0);
    let page = |prefix: Bytes, after, limit| Listing {
        prefix,
        after,
        limit,
        ..Listing::default()
    };
    let of = |zone, listing| list(&machine, zone, &listing, Stamp::ZERO);
    let first = of(zone, page(path_prefix("x/"), None, 3));
    assert_eq!(names(&first), ["x/1", "x/2", "x/3"]);
    assert!(first.more);
    let last = first.locks[2].key.clone();
    let second = of(zone, page(path_prefix("x/"), Some(last), 3));
    assert_eq!(names(&second), ["x/4"]);
    assert!(!second.more);
    assert_eq!(of(ZoneId::new(1), page(Bytes::new(), None, 3)).locks, []);
    assert_eq!(names(&of(zone, page(Bytes::new(), None, 9))).len(), 5);
}

/// Whatever the order, the pages put together are the locks that are meant, each once.
#[test]
fn pages_of_a_choice_follow_each_other_in_any_order() {
    let keys: Vec<String> = (0..40)
        .map(|n| alloc::format!("{{n={}u8, m={}u8}}", n % 7, n))
        .collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let machine = machine(&keys);
    for order in ["", "n", "-n,m", "random(3)"] {
        let mut listing = Listing {
            selector: Selector::parse("n<5u8 and m!=7u8").ok(),
            order: Order::parse(order).unwrap(),
            limit: 6,
            ..Listing::default()
        };
        let mut seen: Vec<Key> = Vec::new();
        loop {
            let page = list(&machine, ZoneId::new(0), &listing, Stamp::ZERO);
            seen.extend(page.locks.into_iter().map(|lock| lock.key));
            listing.after = seen.last().cloned();
            if !page.more {
                break;
            }
        }
        let wanted = keys.iter().map(|key| Key::from_text(key).unwrap());
        let meant = |key: &Key| listing.selector.as_ref().unwrap().matches(key.as_bytes());
        let mut wanted: Vec<Key> = wanted.filter(meant).collect();
        wanted.sort_by(|a, b| listing.order.compare(a.as_bytes(), b.as_bytes()));
        assert_eq!(seen, wanted, "{order}");
        assert_eq!(seen.len(), 29);
    }
}

/// What is left counts from the leader's time when it was asked, not from the last entry.
#[test]
fn what_is_left_counts_from_now() {
    let machine = machine(&["x"]);
    let key = Key::from_path("x").unwrap();
    let left = |ms| {
        let now = Stamp::ZERO.plus(Duration::from_millis(ms));
        let view = inspect(&machine, ZoneId::new(0), &key, now);
        (view.holders[0].held_ms, view.holders[0].remaining_ms)
    };
    assert_eq!(left(0), (0, Some(10_000)));
    assert_eq!(left(4_000), (4_000, Some(6_000)));
    assert_eq!(
        left(11_000),
        (11_000, Some(0)),
        "the log has not ended it yet"
    );
    let free = inspect(
        &machine,
        ZoneId::new(0),
        &Key::from_path("y").unwrap(),
        Stamp::ZERO,
    );
    assert!(free.holders.is_empty() && free.waiters.is_empty());
}

fn verdict(machine: &Machine, path: &str, fence: u64, ms: u64) -> Verdict {
    let key = Key::from_path(path).unwrap();
    let now = Stamp::ZERO.plus(Duration::from_millis(ms));
    verify(machine, ZoneId::new(0), &key, Fence::new(fence), now)
}

#[test]
fn only_the_grant_of_this_fence_on_this_lock_holds_it() {
    let machine = machine(&["x", "y"]);
    let held = verdict(&machine, "x", 1, 4_000);
    let holder = held.held.as_ref().expect("it holds");
    assert_eq!(
        (&holder.holder[..], holder.mode),
        (&b"h"[..], Mode::Exclusive)
    );
    assert_eq!(
        (holder.remaining_ms, held.highest),
        (Some(6_000), Some(Fence::new(1)))
    );
    for (path, fence, highest) in [
        ("x", 2, Some(1)),
        ("x", 0, Some(1)),
        ("y", 1, Some(2)),
        ("z", 1, None),
    ] {
        let other = verdict(&machine, path, fence, 0);
        assert_eq!(
            (other.held, other.highest),
            (None, highest.map(Fence::new)),
            "{path} {fence}"
        );
        assert_eq!(other.fence, Fence::new(fence));
    }
    let zone = ZoneId::new(1);
    let key = Key::from_path("x").unwrap();
    assert_eq!(
        verify(&machine, zone, &key, Fence::new(1), Stamp::ZERO).held,
        None
    );
}

/// What is past its end by the leader's time is over, also if no entry has ended it yet: a store that went by
/// the last entry would open to a holder whom the next entry replaces.
#[test]
fn a_grant_past_its_end_holds_no_more() {
    let machine = machine(&["x"]);
    assert!(verdict(&machine, "x", 1, 9_999).held.is_some());
    let over = verdict(&machine, "x", 1, 10_000);
    assert_eq!((over.held, over.highest), (None, None));
}

#[test]
fn the_highest_fence_is_that_of_the_newest_holder() {
    let commands: Vec<Bytes> = (1..=3)
        .map(|seq| acquire(seq, "x", Mode::Shared, seq * 1_000))
        .collect();
    let machine = applied(&commands);
    let highest = |ms| verdict(&machine, "x", 1, ms).highest.map(Fence::get);
    assert_eq!(
        (highest(0), highest(2_999), highest(3_000)),
        (Some(3), Some(3), None)
    );
    let commands: Vec<Bytes> = (1..=3)
        .map(|seq| acquire(seq, "x", Mode::Shared, 10_000 - seq * 1_000))
        .collect();
    let machine = applied(&commands);
    let highest = |ms| verdict(&machine, "x", 1, ms).highest.map(Fence::get);
    assert_eq!(
        (highest(0), highest(7_000), highest(8_000)),
        (Some(3), Some(2), Some(1))
    );
    assert_eq!(highest(9_000), None);
}
