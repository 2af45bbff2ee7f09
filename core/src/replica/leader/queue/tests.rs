use super::*;
use alloc::vec::Vec;
use bytes::Bytes;

const MOST: usize = 3;

fn node(number: u64) -> NodeId {
    NodeId::new(number)
}

fn proposal(number: u64, command: &'static [u8]) -> Proposal {
    let command = Bytes::from_static(command);
    Proposal { number, command }
}

fn push(queue: &mut Queue, from: u64, number: u64, command: &'static [u8]) -> bool {
    let pushed = queue.push(node(from), proposal(number, command), MOST);
    pushed.is_ok()
}

fn waiting(queue: &Queue) -> Vec<(u64, Bytes)> {
    let waiting = queue.clone().into_waiting();
    waiting.map(|(_, one)| (one.number, one.command)).collect()
}

#[test]
fn a_copy_of_what_waits_is_not_queued() {
    let mut queue = Queue::default();
    assert!(push(&mut queue, 1, 7, b"a"));
    assert!(push(&mut queue, 1, 8, b"b"));
    assert!(push(&mut queue, 1, 7, b"a"));
    let numbers: Vec<u64> = waiting(&queue).into_iter().map(|one| one.0).collect();
    assert_eq!(numbers, [7, 8], "in the order in which they came first");
}

#[test]
fn the_same_number_of_another_server_or_start_is_another_command() {
    let mut queue = Queue::default();
    assert!(push(&mut queue, 1, 7, b"a"));
    assert!(push(&mut queue, 2, 7, b"a"));
    assert!(push(&mut queue, 1, 7, b"of the next start"));
    assert_eq!(waiting(&queue).len(), 3);
}

#[test]
fn a_full_queue_refuses_what_is_new_and_not_what_waits() {
    let mut queue = Queue::default();
    for number in 1..=3 {
        assert!(push(&mut queue, 1, number, b"a"));
    }
    assert!(!push(&mut queue, 1, 4, b"a"));
    assert!(push(&mut queue, 1, 2, b"a"));
    assert_eq!(waiting(&queue).len(), MOST);
}

#[test]
fn what_left_the_queue_may_come_again() {
    let mut queue = Queue::default();
    assert!(push(&mut queue, 1, 7, b"a"));
    queue.pop();
    assert!(queue.is_empty());
    assert!(push(&mut queue, 1, 7, b"a"), "its slot may have been lost");
    assert_eq!(queue.front(), Some(&proposal(7, b"a")));
}
