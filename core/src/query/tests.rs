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

/// A machine in which these paths are held for ten seconds.
fn machine(paths: &[&str]) -> Machine {
    let acquire = |(seq, path): (u64, &&str)| {
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
                parts: Parts::one(Key::from_path(path).unwrap(), Mode::Exclusive),
                life: Life::Lease { ttl_ms: 10_000 },
                wait_ms: 0,
                holder: Bytes::from_static(b"h"),
            }),
        })
    };
    let commands: Vec<Bytes> = (1..).zip(paths).map(acquire).collect();
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
    let prefix = path_prefix("x/");
    let first = list(&machine, zone, &prefix, None, 3, Stamp::ZERO);
    assert_eq!(names(&first), ["x/1", "x/2", "x/3"]);
    assert!(first.more);
    let second = list(
        &machine,
        zone,
        &prefix,
        Some(&first.locks[2].key),
        3,
        Stamp::ZERO,
    );
    assert_eq!(names(&second), ["x/4"]);
    assert!(!second.more);
    assert_eq!(
        list(&machine, ZoneId::new(1), &[], None, 3, Stamp::ZERO).locks,
        []
    );
    assert_eq!(
        names(&list(&machine, zone, &[], None, 9, Stamp::ZERO)).len(),
        5
    );
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
