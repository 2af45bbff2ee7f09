//! A read is answered when a quorum still followed this leader after it was asked (Ongaro 2014, §6.4).

use super::*;
use crate::replica::fitness::Fitness;
use crate::replica::message::Beat;

const TAG: Tag = Tag {
    conn: 9,
    request: 9,
};

/// Three servers, of which the first leads; what it says to the others from now on stays in the net.
fn leader() -> World {
    let mut world = World::new(3);
    world.run(MS * 100);
    assert_eq!(world.leader(), 1);
    world.net.clear();
    world
}

impl World {
    /// The last round that the leader began.
    fn last_round(&self) -> u64 {
        let pings = self.net.iter().filter_map(|(_, _, _, said)| match said {
            Message::Ping { round, .. } => Some(*round),
            _ => None,
        });
        pings.max().expect("a round began")
    }

    fn begin_read(&mut self) {
        let request = Request {
            zone: ZoneId::default(),
            principal: Bytes::new(),
            client: Client::None,
            ask: Ask::Inspect {
                key: Key::from_path("a").unwrap(),
            },
        };
        self.step(1, Input::Request { tag: TAG, request });
    }

    /// The second server answers a round. Gives what the reader was told by then.
    fn pong(&mut self, round: u64, promised: Ballot) -> Option<Reply> {
        let message = Message::Pong {
            round,
            promised,
            beat: Beat::default(),
            decided: Slot::new(0),
            clock_ns: 0,
            fitness: Fitness::default(),
        };
        let (from, boot) = (NodeId::new(2), Boot::new(1));
        let heard = Input::Peer {
            from,
            boot,
            message,
        };
        self.step(1, heard);
        self.reply(TAG).cloned()
    }
}

/// It may have helped to elect another leader, which this one has not heard of yet.
#[test]
fn a_voter_that_promised_more_confirms_no_read() {
    let mut world = leader();
    let own = world.nodes[&1].view().ballot;
    world.begin_read();
    let round = world.last_round();
    assert_eq!(world.pong(round, own.above(NodeId::new(2))), None);
    assert!(matches!(world.pong(round, own), Some(Reply::Lock { .. })));
}

/// An answer to a ping of before may be older than another leader, and than what that has decided.
#[test]
fn a_round_that_began_before_a_read_confirms_it_not() {
    let mut world = leader();
    let own = world.nodes[&1].view().ballot;
    world.now = world.nodes[&1].wake_at().expect("it pings");
    world.step(1, Input::Tick);
    let before = world.last_round();
    world.begin_read();
    let after = world.last_round();
    assert!(after > before, "the read began a round of its own");
    assert_eq!(world.pong(before, own), None);
    assert!(matches!(world.pong(after, own), Some(Reply::Lock { .. })));
}

/// However many they are: what a quorum confirms, it confirms for all that began before.
#[test]
fn reads_of_one_tick_share_one_round() {
    let mut world = leader();
    let own = world.nodes[&1].view().ballot;
    let read = |request| {
        let tag = Tag { conn: 2, request };
        let request = Request {
            zone: ZoneId::default(),
            principal: Bytes::new(),
            client: Client::None,
            ask: Ask::Inspect {
                key: Key::from_path("a").unwrap(),
            },
        };
        Input::Request { tag, request }
    };
    let mut out = Vec::new();
    let now = world.now;
    let node = world.nodes.get_mut(&1).unwrap();
    (0..10).for_each(|request| node.step(now, read(request), &mut out));
    node.step(now, Input::Flush, &mut out);
    let rounds = out.iter().filter_map(|output| match output {
        Output::Send {
            message: Message::Ping { round, .. },
            ..
        } => Some(*round),
        _ => None,
    });
    let rounds: Vec<u64> = rounds.collect();
    assert_eq!(rounds.len(), 2, "one ping to each of the others");
    assert_eq!(rounds[0], rounds[1]);
    // Those that come meanwhile share the next.
    (10..20).for_each(|request| world.step(1, read(request)));
    assert!(world.net.is_empty(), "a round is under way");
    let answered = |world: &World| {
        let told = |(_, tag, reply): &&(u64, Tag, Reply)| {
            tag.conn == 2 && matches!(reply, Reply::Lock { .. })
        };
        world.replies.iter().filter(told).count()
    };
    world.pong(rounds[0], own);
    assert_eq!(answered(&world), 10);
    let next = world.last_round();
    assert_eq!(next, rounds[0] + 1);
    world.pong(next, own);
    assert_eq!(answered(&world), 20);
}

const OLD: u64 = 77;

/// What others decided in between is missing in the slot that it would name, though its new rounds are
/// confirmed (etcd #21375).
#[test]
fn a_leader_that_stands_again_answers_no_read_of_before() {
    let mut world = leader();
    let asked = Input::Peer {
        from: NodeId::new(2),
        boot: Boot::new(1),
        message: Message::ReadIndex { nonce: OLD },
    };
    world.step(1, asked);
    world.net.clear();
    world.is_lost = |_, said| {
        let answers = matches!(said, Message::ReadAt { nonce: OLD, .. });
        assert!(!answers, "the ballot of that read is over");
        false
    };
    let mut leader = 1;
    for _ in 0..20 {
        world.cut.clear();
        world.isolate(leader);
        world.run(MS * 2_000);
        leader = world.leader();
        if leader == 1 {
            break;
        }
    }
    assert_eq!(leader, 1, "it stood again");
    world.run(MS * 200);
}
