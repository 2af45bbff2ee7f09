//! Snapshots through the door: made, truncated to, fetched, installed, restarted from.

use super::*;
use crate::ids::RequestId;
use crate::machine;
use crate::machine::snapshot::Restore;
use crate::node::input::Proof;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec;

impl Disk {
    /// Does what has to do with snapshots, at once and for good.
    pub(super) fn snapshot(&mut self, output: Output) -> Vec<Input> {
        match output {
            Output::SnapshotChunk {
                slot,
                index,
                bytes,
                received,
            } => {
                if index == 0 {
                    self.building.clear();
                    self.reading = received.map(|of| of.restore());
                    self.is_bad = false;
                }
                if let Some(reading) = &mut self.reading {
                    self.is_bad |= reading.chunk(&bytes).is_err();
                }
                self.building.push(bytes);
                vec![Input::ChunkStored { slot, index }]
            }
            Output::SnapshotDone { id, .. } if self.has_no_room => {
                self.given_up += 1;
                vec![Input::SnapshotFailed { id }]
            }
            Output::SnapshotDone { id, chunks, keep } => {
                self.pinned = keep;
                assert_eq!(self.building.len(), chunks as usize);
                let durable = match self.reading.take().map(Restore::finish) {
                    Some(Ok(machine)) if !self.is_bad => {
                        let machine = Box::new(machine);
                        Input::SnapshotRestored { id, machine }
                    }
                    Some(_) => return vec![Input::SnapshotBad { id }],
                    None => Input::SnapshotDurable { id },
                };
                self.snapshots.insert(id, self.building.clone());
                vec![durable]
            }
            Output::Truncate { .. } if self.keeps_log => Vec::new(),
            Output::Truncate { upto, .. } => {
                self.records.retain(|record| match record {
                    Record::Accepted { slot, .. } | Record::Decided { slot, .. } => *slot > upto,
                    Record::DecidedHint { .. } => true,
                });
                let mut newer = self.snapshots.len();
                self.snapshots.retain(|id, _| {
                    newer -= 1;
                    newer < 2 || self.pinned.contains(id)
                });
                Vec::new()
            }
            Output::LoadChunk { id, index } => {
                let chunks = self.snapshots.get(&id);
                let bytes = chunks.and_then(|chunks| chunks.get(index as usize).cloned());
                vec![Input::ChunkLoaded { id, index, bytes }]
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn restored(&self, limits: machine::Limits, config: &Config) -> Option<Restored> {
        let membership = self.membership.as_ref();
        let form = Form::of(membership.unwrap_or(config.membership()), config.me());
        let mut newest_first = self.snapshots.iter().rev();
        let (id, chunks) = newest_first.next()?;
        let older = newest_first.next();
        let mut restore = Restore::new(*id, limits, Seed::new(1)).in_form(form);
        for chunk in chunks {
            restore.chunk(chunk).unwrap();
        }
        Some(Restored {
            id: *id,
            chunks: chunks.len() as u32,
            machine: restore.finish().unwrap(),
            older: older.map(|(id, chunks)| (*id, chunks.len() as u32)),
        })
    }
}

/// Three servers that make a snapshot every few entries and keep nothing in memory.
pub(super) fn forgetful(budget: Budget) -> World {
    let limits = Limits {
        machine: machine::Limits {
            snapshot_bytes: 1000,
            snapshot_entry_bytes_min: 0,
            snapshot_chunk_bytes: 1 << 10,
            ..machine::Limits::default()
        },
        window: Window {
            slots_max: 2,
            ..Window::default()
        },
        budget,
        ..Limits::default()
    };
    let mut world = World::limited(3, None, limits);
    world.run(MS * 500);
    world
}

/// So many locks, one entry after another.
pub(super) fn work(world: &mut World, node: u64, from: u64, count: u64) {
    for number in from..from + count {
        let path = alloc::format!("work/{number}");
        world.ask(node, Client::None, acquire(&path, 0));
        world.run(MS * 3);
    }
}

pub(super) fn follower(world: &World) -> u64 {
    let leader = world.leader();
    (1..=3).find(|node| *node != leader).unwrap()
}

pub(super) fn applied(world: &World, node: u64) -> (Slot, u64) {
    let machine = world.nodes[&node].view().machine;
    (machine.applied(), machine.digest_full())
}

pub(super) fn release_of(world: &World, tag: Tag) -> Ask {
    let Some(Reply::Decided {
        answer: Answer::Granted(grant),
        token: Some(token),
        ..
    }) = world.reply(tag)
    else {
        panic!("it was granted");
    };
    Ask::release(Proof {
        key: grant.key().clone(),
        fence: grant.fence,
        session: None,
        token: *token,
    })
}

fn installs(world: &World, node: u64) -> usize {
    let installed =
        |(of, note): &&(u64, Note)| *of == node && matches!(note, Note::Installed { .. });
    world.notes.iter().filter(installed).count()
}

#[test]
fn a_cold_follower_catches_up_while_the_load_goes_on() {
    let mut world = forgetful(Budget::default());
    let (leader, cold) = (world.leader(), follower(&world));
    world.isolate(cold);
    work(&mut world, leader, 0, 80);
    let first = world.disks[&leader].load(Slot::new(1), Slot::new(1));
    assert!(first.is_empty(), "the leader's log begins later");

    world.cut.clear();
    work(&mut world, leader, 100, 40);
    assert_eq!(installs(&world, cold), 1);
    world.run(MS * 200);
    assert_eq!(applied(&world, cold), applied(&world, leader));
    assert_eq!(world.halts, []);
}

/// Its source keeps what it fetches, and the log behind that: else it would begin anew again and again.
#[test]
fn a_learner_gets_done_though_snapshots_come_faster_than_it_fetches() {
    let budget = Budget {
        bytes_per_second: 40_000,
        bytes_max: 1,
    };
    let mut world = forgetful(budget);
    let (leader, cold) = (world.leader(), follower(&world));
    world.isolate(cold);
    work(&mut world, leader, 0, 80);

    world.cut.clear();
    let (mut asked, mut made) = (100, BTreeSet::new());
    while installs(&world, cold) == 0 {
        assert!(asked < 300, "it gets done under load");
        work(&mut world, leader, asked, 1);
        made.extend(world.disks[&leader].snapshots.keys().copied());
        asked += 1;
    }
    let installed = world.notes.iter().find_map(|(_, note)| match note {
        Note::Installed { id } => Some(*id),
        _ => None,
    });
    let newer = made.iter().filter(|id| Some(**id) > installed).count();
    assert!(newer > 2, "{newer} came meanwhile");
    work(&mut world, leader, 300, 40);
    world.run(MS * 2000);
    assert_eq!(applied(&world, cold), applied(&world, leader));
    assert_eq!(installs(&world, cold), 1, "the rest is in the log");
    assert_eq!(world.halts, []);
}

#[test]
fn what_laggards_get_is_bounded_by_time() {
    let budget = Budget {
        bytes_per_second: 50_000,
        bytes_max: 1,
    };
    let mut world = forgetful(budget);
    let (leader, cold) = (world.leader(), follower(&world));
    world.isolate(cold);
    work(&mut world, leader, 0, 80);
    let (_, chunks) = world.disks[&leader].snapshots.last_key_value().unwrap();
    let bytes: usize = chunks.iter().map(Bytes::len).sum();
    let least = Duration::from_secs_f64(bytes as f64 / 50_000.0);

    world.cut.clear();
    let begun = world.now;
    while installs(&world, cold) == 0 {
        assert!(
            world.now.since(begun) < least * 4 + MS * 500,
            "it comes at all"
        );
        world.run(MS);
    }
    // Two sources may serve, and the last read may overdraw.
    assert!(world.now.since(begun) > least / 3, "and not at once");
}

#[test]
fn a_source_of_a_snapshot_keeps_to_its_budget_beside_live_requests() {
    let mut world = forgetful(TIGHT);
    let cold = catch_up_under_load(&mut world);
    assert_eq!(installs(&world, cold), 1);
    is_within(&world, cold, TIGHT);
}

#[test]
fn a_source_of_entries_keeps_to_its_budget_beside_live_requests() {
    // What is in the leader's memory it says again as accepts; the log is for who is further behind.
    let limits = Limits {
        window: Window {
            slots_max: 2,
            ..Window::default()
        },
        budget: TIGHT,
        ..Limits::default()
    };
    let mut world = World::limited(3, None, limits);
    world.run(MS * 500);
    let cold = catch_up_under_load(&mut world);
    assert_eq!(installs(&world, cold), 0);
    is_within(&world, cold, TIGHT);
}

const TIGHT: Budget = Budget {
    bytes_per_second: 40_000,
    bytes_max: 3_000,
};

/// One that was away gets what it missed, while each request is answered as soon as without that.
fn catch_up_under_load(world: &mut World) -> u64 {
    let (leader, cold) = (world.leader(), follower(world));
    world.isolate(cold);
    work(world, leader, 0, 120);
    world.cut.clear();
    world.given.clear();
    for number in 1_000.. {
        assert!(number < 1_400, "it gets done under load");
        let path = alloc::format!("live/{number}");
        let tag = world.ask(leader, Client::None, acquire(&path, 0));
        assert!(matches!(world.answer(tag), Answer::Granted(_)), "at once");
        world.run(MS * 5);
        if applied(world, cold) == applied(world, leader) {
            break;
        }
    }
    cold
}

/// In no interval did anybody give more than its bucket held and time added, and one piece, which may
/// overdraw it.
fn is_within(world: &World, cold: u64, budget: Budget) {
    let rate = budget.bytes_per_second as f64;
    for source in 1..=3 {
        let by_it = |given: &&(u64, u64, Timestamp, usize)| given.0 == source && given.1 == cold;
        let given: Vec<_> = world.given.iter().filter(by_it).collect();
        let piece = given.iter().map(|given| given.3).max().unwrap_or(0);
        for (first, (_, _, begun, _)) in given.iter().enumerate() {
            let mut sum = 0;
            for (_, _, at, bytes) in &given[first..] {
                sum += bytes;
                let time = at.since(*begun).as_secs_f64();
                let most = budget.bytes_max as usize + piece + (rate * time).ceil() as usize;
                assert!(sum <= most, "{source} gave {sum} in {time} s");
            }
        }
    }
}

#[test]
fn a_restart_goes_on_from_the_newest_snapshot() {
    let mut world = forgetful(Budget::default());
    let leader = world.leader();
    work(&mut world, leader, 0, 60);
    let before = applied(&world, leader);
    world.start(leader);
    assert!(
        applied(&world, leader).0 > Slot::new(20),
        "before the first step"
    );
    world.run(MS * 500);
    assert_eq!(world.halts, []);
    let after = applied(&world, leader);
    assert!(after.0 >= before.0);
    assert_eq!(after, applied(&world, world.leader()));
}

/// The log that it read below the snapshot is gone.
#[test]
fn a_snapshot_remembers_who_began_last() {
    let mut world = forgetful(Budget::default());
    let leader = world.leader();
    work(&mut world, leader, 0, 60);
    for node in 1..=3 {
        let disk = &world.disks[&node];
        let kept = disk.records.iter().filter_map(|record| match record {
            Record::Accepted { slot, entry, .. } => entry.start_at(*slot),
            Record::Decided { .. } | Record::DecidedHint { .. } => None,
        });
        assert_eq!(kept.max(), None, "no start is left in a log");
        world.start(node);
    }
    world.promises.clear();
    world.run(MS * 500);
    assert!(!world.promises.is_empty());
    for started in &world.promises {
        assert_eq!(started.ballot.node.get(), leader);
    }
}

#[test]
fn callers_whose_answers_were_skipped_hear_that_it_is_unknown() {
    let mut world = forgetful(Budget::default());
    let (leader, cold) = (world.leader(), follower(&world));
    let held = world.ask(leader, Client::None, acquire("held", 0));
    world.run(MS * 20);
    let named = Client::Key(RequestId::new(7));
    let waits = world.ask(cold, named, acquire("held", 60_000));
    world.run(MS * 50);
    assert!(matches!(world.answer(waits), Answer::Queued { .. }));

    // The request still goes out, and the answer does not come in.
    let others = (1..=3).filter(|node| *node != cold);
    world.cut = others.map(|node| (node, cold)).collect();
    let asked = world.ask(cold, Client::None, acquire("asked", 0));
    world.run(MS * 20);
    assert_eq!(world.reply(asked), None);
    let release = release_of(&world, held);
    world.ask(leader, Client::None, release);
    work(&mut world, leader, 0, 80);

    world.cut.clear();
    work(&mut world, leader, 100, 40);
    assert_eq!(installs(&world, cold), 1);
    let unknown = Reply::Failed(Failure::Unknown);
    assert_eq!(world.reply(asked), Some(&unknown));
    // It was offered the lock in an entry that was skipped, and takes it in time.
    assert!(matches!(world.answer(waits), Answer::Granted(_)));
    assert_eq!(world.nodes[&cold].view().queued, [0, 0, 0]);
}

#[test]
fn what_an_install_jumped_over_is_given_to_nobody() {
    let mut world = forgetful(Budget::default());
    let (leader, cold) = (world.leader(), follower(&world));
    world.isolate(cold);
    work(&mut world, leader, 0, 80);
    // What the cold one accepted last was never chosen, and stands in its log for ever.
    let next = world.nodes[&cold].view().decided.next();
    let disk = world.disks.get_mut(&cold).unwrap();
    disk.keeps_log = true;
    disk.records.push(Record::Accepted {
        ballot: Ballot::ZERO.above(NodeId::new(cold)),
        base: Slot::new(0),
        slot: next,
        entry: Entry::new(crate::entry::EntryKind::Noop, Stamp::ZERO, &[]),
    });
    world.cut.clear();
    work(&mut world, leader, 100, 10);
    assert_eq!(installs(&world, cold), 1);

    world.net.clear();
    let message = Message::CatchUp { from: next };
    let boot = world.nodes[&leader].identity().1;
    let from = NodeId::new(leader);
    world.step(
        cold,
        Input::Peer {
            from,
            boot,
            message,
        },
    );
    let said: Vec<&Message> = world.net.iter().map(|(_, _, _, message)| message).collect();
    assert!(
        said.iter()
            .any(|message| matches!(message, Message::SnapshotOffer { .. })),
        "{said:?}"
    );
    assert!(
        !said
            .iter()
            .any(|message| matches!(message, Message::Decided { .. }))
    );
}

#[test]
fn a_snapshot_that_is_not_its_name_is_refused() {
    let mut world = forgetful(Budget::default());
    let (leader, cold) = (world.leader(), follower(&world));
    world.isolate(cold);
    work(&mut world, leader, 0, 80);
    for disk in world.disks.values_mut() {
        for chunks in disk.snapshots.values_mut() {
            let mut bytes = chunks[0].to_vec();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            chunks[0] = bytes.into();
        }
    }
    world.cut.clear();
    world.run(MS * 800);
    let refused =
        |(node, note): &(u64, Note)| *node == cold && matches!(note, Note::BadSnapshot { .. });
    assert!(world.notes.iter().any(refused));
    assert_eq!(installs(&world, cold), 0);
    assert!(
        applied(&world, cold).0 < Slot::new(30),
        "nothing was believed"
    );
}

/// A file can rot. A server that finds so makes another snapshot at once: the newest must be whole.
#[test]
fn a_snapshot_that_is_lost_is_not_offered_again_and_another_one_is_made() {
    let mut world = forgetful(Budget::default());
    let (leader, cold) = (world.leader(), follower(&world));
    world.isolate(cold);
    work(&mut world, leader, 0, 80);
    let mut lost = Vec::new();
    for (node, disk) in &mut world.disks {
        if *node != cold {
            let (id, _) = disk.snapshots.pop_last().unwrap();
            lost.push((*node, id));
        }
    }
    world.cut.clear();
    world.run(MS * 800);
    assert_eq!(installs(&world, cold), 1, "{:?}", world.notes);
    assert_eq!(applied(&world, cold), applied(&world, leader));
    // Those who were asked found out.
    let is_made = |(node, id): &&(u64, SnapshotId)| {
        world.disks[node].snapshots.last_key_value().unwrap().0.slot > id.slot
    };
    assert!(lost.iter().any(|lost| is_made(&lost)));
}

#[test]
fn after_a_restart_the_older_snapshot_is_given_too() {
    let mut world = forgetful(Budget::default());
    let (leader, peer) = (world.leader(), follower(&world));
    work(&mut world, leader, 0, 60);
    let disk = &world.disks[&leader];
    let mut ids = disk.snapshots.keys().rev().copied();
    let (newest, older) = (ids.next().unwrap(), ids.next().unwrap());
    world.start(leader);
    world.net.clear();
    for id in [newest, older] {
        let from = NodeId::new(peer);
        let boot = world.nodes[&peer].identity().1;
        let message = Message::SnapshotGet { id, index: 0 };
        world.step(
            leader,
            Input::Peer {
                from,
                boot,
                message,
            },
        );
        let is_it = |message: &Message| matches!(message, Message::SnapshotChunk { id: given, .. } if *given == id);
        let is_given = world.net.iter().any(|(_, _, _, message)| is_it(message));
        assert!(is_given, "{id}");
    }
}
