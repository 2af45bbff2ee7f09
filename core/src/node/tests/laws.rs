//! Nothing is said before it is durable, and nothing that was said is forgotten.

use super::*;
use crate::entry::EntryKind;
use crate::ids::{Epoch, Round};
use crate::time::Stamp;

fn ballot(round: u64, node: u64) -> Ballot {
    Ballot {
        epoch: Epoch::new(1),
        round: Round::new(round),
        node: NodeId::new(node),
    }
}

/// Server 1 of three, alone.
fn alone() -> (World, Vec<Output>) {
    let mut world = World::new(3);
    world.nodes.retain(|node, _| *node == 1);
    (world, Vec::new())
}

fn hear(world: &mut World, from: u64, message: Message) -> Vec<Output> {
    let mut out = Vec::new();
    let (now, boot) = (world.now, Boot::new(1));
    let node = world.nodes.get_mut(&1).unwrap();
    node.step(
        now,
        Input::Peer {
            from: NodeId::new(from),
            boot,
            message,
        },
        &mut out,
    );
    node.step(now, Input::Flush, &mut out);
    out
}

fn give(world: &mut World, input: Input) -> Vec<Output> {
    let mut out = Vec::new();
    let now = world.now;
    world.nodes.get_mut(&1).unwrap().step(now, input, &mut out);
    out
}

fn says(out: &[Output], test: impl Fn(&Message) -> bool) -> usize {
    let said = |output: &&Output| matches!(output, Output::Send { message, .. } if test(message));
    out.iter().filter(said).count()
}

const fn is_promise(message: &Message) -> bool {
    matches!(message, Message::Promise { .. })
}

const fn is_accepted(message: &Message) -> bool {
    matches!(message, Message::Accepted { .. })
}

fn entry(text: &'static str) -> Entry {
    Entry::new(
        EntryKind::Batch,
        Stamp::ZERO,
        &[Bytes::from_static(text.as_bytes())],
    )
}

fn accept(round: u64, first: u64, entries: Vec<Entry>, commit: u64) -> Message {
    Message::Accept {
        ballot: ballot(round, 2),
        base: Slot::new(0),
        first: Slot::new(first),
        entries,
        commit: Slot::new(commit),
    }
}

/// Server 1, after it durably promised round 1 of server 2.
fn promised() -> World {
    let (mut world, _) = alone();
    hear(
        &mut world,
        2,
        Message::Prepare {
            ballot: ballot(1, 2),
            from: Some(Slot::new(1)),
            goes_on: false,
        },
    );
    give(
        &mut world,
        Input::Promised {
            ballot: ballot(1, 2),
        },
    );
    world
}

#[test]
fn a_promise_waits_for_the_superblock() {
    let (mut world, _) = alone();
    let out = hear(
        &mut world,
        2,
        Message::Prepare {
            ballot: ballot(1, 2),
            from: Some(Slot::new(1)),
            goes_on: false,
        },
    );
    assert!(out.contains(&Output::Promise {
        ballot: ballot(1, 2),
        membership: None,
    }));
    assert_eq!(says(&out, is_promise), 0, "it is not on disk yet");
    let out = give(
        &mut world,
        Input::Promised {
            ballot: ballot(1, 2),
        },
    );
    assert_eq!(says(&out, is_promise), 1, "now it is");
}

#[test]
fn one_superblock_write_is_under_way_at_a_time() {
    let (mut world, _) = alone();
    hear(
        &mut world,
        2,
        Message::Prepare {
            ballot: ballot(1, 2),
            from: Some(Slot::new(1)),
            goes_on: false,
        },
    );
    let out = hear(
        &mut world,
        3,
        Message::Prepare {
            ballot: ballot(2, 3),
            from: Some(Slot::new(1)),
            goes_on: false,
        },
    );
    assert!(
        !out.iter()
            .any(|output| matches!(output, Output::Promise { .. })),
        "rule 4"
    );
    give(
        &mut world,
        Input::Promised {
            ballot: ballot(1, 2),
        },
    );
    let out = hear(
        &mut world,
        3,
        Message::Prepare {
            ballot: ballot(2, 3),
            from: Some(Slot::new(1)),
            goes_on: false,
        },
    );
    assert!(
        out.contains(&Output::Promise {
            ballot: ballot(2, 3),
            membership: None,
        }),
        "asked again, it is heard"
    );
}

#[test]
fn a_lower_ballot_is_refused() {
    let mut world = promised();
    let out = hear(
        &mut world,
        3,
        Message::Prepare {
            ballot: ballot(0, 3),
            from: Some(Slot::new(1)),
            goes_on: false,
        },
    );
    assert_eq!(says(&out, is_promise), 0);
    assert_eq!(
        says(&out, |message| matches!(message, Message::Nack { .. })),
        1
    );
}

#[test]
fn an_accept_waits_for_its_record() {
    let mut world = promised();
    let out = hear(
        &mut world,
        2,
        accept(1, 1, alloc::vec![entry("a"), entry("b")], 0),
    );
    let appends = out
        .iter()
        .filter(|output| matches!(output, Output::Append { .. }))
        .count();
    assert_eq!(appends, 2);
    assert_eq!(says(&out, is_accepted), 0);
    let out = give(
        &mut world,
        Input::Durable {
            through: RecordNo::new(1),
        },
    );
    assert_eq!(says(&out, is_accepted), 0, "half of it is not all of it");
    let out = give(
        &mut world,
        Input::Durable {
            through: RecordNo::new(2),
        },
    );
    assert_eq!(says(&out, is_accepted), 1);
}

#[test]
fn nothing_is_accepted_before_its_promise_is_durable() {
    let (mut world, _) = alone();
    let out = hear(&mut world, 2, accept(1, 1, alloc::vec![entry("a")], 0));
    assert!(out.contains(&Output::Promise {
        ballot: ballot(1, 2),
        membership: None,
    }));
    assert!(
        !out.iter()
            .any(|output| matches!(output, Output::Append { .. })),
        "rule 3"
    );
}

#[test]
fn a_hole_is_not_accepted_over() {
    let mut world = promised();
    world.now = world.now.plus(MS * 50); // refusals of the same kind are not repeated at once
    let out = hear(&mut world, 2, accept(1, 2, alloc::vec![entry("b")], 0));
    assert!(
        !out.iter()
            .any(|output| matches!(output, Output::Append { .. }))
    );
    let wants =
        |message: &Message| matches!(message, Message::Nack { want, .. } if want.get() == 1);
    assert_eq!(says(&out, wants), 1);
}

#[test]
fn a_watermark_decides_only_what_was_accepted_at_its_ballot() {
    let mut world = promised();
    hear(&mut world, 2, accept(1, 1, alloc::vec![entry("old")], 0));
    hear(
        &mut world,
        2,
        Message::Prepare {
            ballot: ballot(2, 2),
            from: Some(Slot::new(1)),
            goes_on: false,
        },
    );
    give(
        &mut world,
        Input::Promised {
            ballot: ballot(2, 2),
        },
    );
    hear(
        &mut world,
        2,
        Message::Accept {
            ballot: ballot(2, 2),
            base: Slot::new(0),
            first: Slot::new(1),
            entries: Vec::new(),
            commit: Slot::new(1),
        },
    );
    assert_eq!(
        world.nodes[&1].view().decided,
        Slot::new(0),
        "slot 1 holds another ballot's value"
    );
    hear(&mut world, 2, accept(2, 1, alloc::vec![entry("new")], 1));
    assert_eq!(world.nodes[&1].view().decided, Slot::new(1));
}

#[test]
fn two_values_for_one_ballot_stop_the_server() {
    let mut world = promised();
    hear(&mut world, 2, accept(1, 1, alloc::vec![entry("a")], 0));
    let out = hear(&mut world, 2, accept(1, 1, alloc::vec![entry("b")], 0));
    let halted = |output: &Output| matches!(output, Output::Halt { reason: Halt::TwoValues { slot, .. } } if slot.get() == 1);
    assert!(out.iter().any(halted));
    assert_eq!(world.nodes[&1].wake_at(), None, "it does nothing more");
}

#[test]
fn a_late_frame_of_an_earlier_boot_is_not_heard() {
    let mut world = promised();
    let mut out = Vec::new();
    let now = world.now;
    let node = world.nodes.get_mut(&1).unwrap();
    let newer = Input::Peer {
        from: NodeId::new(2),
        boot: Boot::new(2),
        message: Message::ReadIndex { nonce: 1 },
    };
    node.step(now, newer, &mut out);
    let out = hear(&mut world, 2, accept(1, 1, alloc::vec![entry("a")], 0));
    assert!(out.is_empty(), "{out:?}");
}

#[test]
fn a_leader_counts_itself_only_after_its_own_sync() {
    let mut world = World::new(1);
    let mut records = 0;
    let mut inputs = alloc::vec![Input::Tick];
    while let Some(input) = inputs.pop() {
        for output in give(&mut world, input) {
            match output {
                Output::Promise { ballot, .. } => inputs.push(Input::Promised { ballot }),
                Output::Append { number, .. } => records = number.get(),
                _ => {}
            }
        }
    }
    give(&mut world, Input::Flush);
    assert_eq!(world.nodes[&1].view().role, "leader");
    assert!(records > 0);
    assert_eq!(
        world.nodes[&1].view().decided,
        Slot::new(0),
        "not synced, not decided"
    );
    give(
        &mut world,
        Input::Durable {
            through: RecordNo::new(records),
        },
    );
    give(&mut world, Input::Flush);
    assert_eq!(world.nodes[&1].view().decided, Slot::new(1));
}

#[test]
fn an_idle_cluster_writes_almost_nothing() {
    let mut world = World::new(3);
    world.run(MS * 1000);
    let decided = |world: &World| world.nodes[&1].view().decided.get();
    let before = decided(&world);
    world.run(MS * 60_000);
    assert_eq!(decided(&world), before, "nothing is pending");
    // While a deadline is pending, one entry in ten seconds carries a stamp (rule 19).
    let mut ask = acquire("a", 0);
    if let Ask::Acquire(acquire) = &mut ask {
        acquire.life = Life::Lease { ttl_ms: 3_600_000 };
    }
    world.ask(1, Client::None, ask);
    world.run(MS * 1000);
    let before = decided(&world);
    world.run(MS * 60_000);
    let written = decided(&world) - before;
    assert!((5..=7).contains(&written), "{written} entries in a minute");
}
