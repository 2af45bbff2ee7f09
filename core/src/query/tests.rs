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
fn machine(names: &[&str]) -> Machine {
    let acquire = |(seq, name): (u64, &&str)| {
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
                parts: Parts::one(Key::from_text(name).unwrap(), Mode::Exclusive),
                life: Life::Lease { ttl_ms: 10_000 },
                wait_ms: 0,
                holder: Bytes::from_static(b"h"),
            }),
        })
    };
    let commands: Vec<Bytes> = (1..).zip(names).map(acquire).collect();
    let mut machine = Machine::new();
    let entry = Entry::new(EntryKind::Batch, Stamp::ZERO, &commands);
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
