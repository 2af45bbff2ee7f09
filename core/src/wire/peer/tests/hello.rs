//! Who is let in.

use super::super::*;
use crate::config::{Change, Config, Mark, Member, Role};
use crate::founding::{Founders, Founding, Stage, Word};
use crate::ids::{ChangeId, Slot};
use crate::time::Stamp;
use alloc::vec;

fn config(cluster: u8, me: u64, nodes: &[u64]) -> Config {
    let member = |node: &u64| Member {
        node: NodeId::new(*node),
        ..Member::default()
    };
    let members = nodes.iter().map(member).collect();
    Config::new(ClusterId([cluster; 16]), NodeId::new(me), members).unwrap()
}

fn doorman(me: u64) -> Doorman {
    let config = config(7, me, &[1, 2, 3]);
    Doorman::new(config, Incarnation::new(100 + me), Boot::new(5))
}

const fn mark(change: u64, hash: u64) -> Mark {
    Mark {
        change: ChangeId::new(change),
        hash,
    }
}

fn hello() -> Hello {
    doorman(2).hello(NodeId::new(1))
}

/// Everything that a doorman says, for the golden file.
pub(super) fn samples() -> Vec<(&'static str, Body)> {
    let node = NodeId::new(2);
    let refusals = [
        (
            "refused_version",
            HelloRefusal::Version {
                expected: 1,
                found: 2,
            },
        ),
        (
            "refused_cluster",
            HelloRefusal::Cluster {
                expected: ClusterId([7; 16]),
                found: ClusterId([8; 16]),
            },
        ),
        ("refused_member", HelloRefusal::UnknownMember { node }),
        (
            "refused_not_me",
            HelloRefusal::NotMe {
                expected: NodeId::new(1),
                found: NodeId::new(3),
            },
        ),
        (
            "refused_incarnation",
            HelloRefusal::Incarnation {
                node,
                expected: Incarnation::new(102),
                found: Incarnation::new(9),
            },
        ),
        (
            "refused_boot",
            HelloRefusal::OldBoot {
                node,
                expected: Boot::new(6),
                found: Boot::new(5),
            },
        ),
        (
            "refused_forked",
            HelloRefusal::Forked {
                expected: mark(9, 10),
                found: mark(300, 11),
            },
        ),
        ("refused_removed", HelloRefusal::Removed { node }),
        ("refused_not_approved", HelloRefusal::NotApproved { node }),
        ("refused_stands", HelloRefusal::Stands { node }),
    ];
    let refusals = refusals.map(|(name, refusal)| (name, Body::Refused(refusal)));
    let mut samples = vec![("hello", Body::Hello(hello()))];
    samples.extend(refusals);
    samples.extend(founding_samples());
    samples
}

/// The words of a founding; the hash of a list changes with what it is over, and its place does not.
fn founding_samples() -> [(&'static str, Body); 3] {
    let pairs = [(1, 0x1122), (2, 0x3344), (3, 0x5566)];
    let pair = |(node, incarnation)| (NodeId::new(node), Incarnation::new(incarnation));
    let founders = Founders::try_from(pairs.map(pair).to_vec()).unwrap();
    let word = Word {
        list: 0x0123_4567_89ab_cdef,
        ..founder()
    };
    let stages = [
        ("founding_alone", Stage::Alone),
        ("founding_agreed", Stage::Agreed(founders)),
        ("founding_founded", Stage::Founded(Incarnation::new(0x3344))),
    ];
    stages.map(|(name, stage)| {
        let word = word.clone();
        (name, Body::Founding(Word { stage, ..word }))
    })
}

/// What server 2 says when it would found the cluster with 1 and 3.
fn founder() -> Word {
    let founding = Founding::begin(config(7, 2, &[1, 2, 3]), None, Incarnation::new(102));
    founding.unwrap().word(NodeId::new(1))
}

#[test]
fn a_cluster_that_stands_lets_only_those_found_it_that_it_began_with() {
    let node = NodeId::new(2);
    let mut door = doorman(1);
    let nobody = HelloRefusal::Stands { node };
    assert_eq!(door.answer_founder(&founder()), Err(nobody));
    let (expected, found) = (Incarnation::new(102), Incarnation::new(103));
    door.remember(node, expected, Boot::new(0));
    let answer = door.answer_founder(&founder()).unwrap();
    assert_eq!(answer.stage, Stage::Founded(expected));
    assert_eq!(
        (answer.node, answer.incarnation),
        (NodeId::new(1), Incarnation::new(101))
    );
    let wiped = Word {
        incarnation: found,
        ..founder()
    };
    let refusal = HelloRefusal::Incarnation {
        node,
        expected,
        found,
    };
    assert_eq!(door.answer_founder(&wiped), Err(refusal));
    door.update(changes(&[Change::Remove { node }]));
    assert_eq!(
        door.answer_founder(&founder()),
        Ok(answer),
        "it leaves, and is told so by the log"
    );
    let strange = Word {
        cluster: ClusterId([8; 16]),
        ..founder()
    };
    let refused = door.answer_founder(&strange);
    assert!(matches!(refused, Err(HelloRefusal::Cluster { .. })));
}

#[test]
fn founders_out_of_order_are_no_frame() {
    let (_, body) = samples()
        .into_iter()
        .find(|(name, _)| *name == "founding_agreed")
        .unwrap();
    let mut frame = super::bytes_of(&body).to_vec();
    let at = frame
        .windows(3)
        .position(|three| three == [1, 0xa2, 0x22])
        .unwrap();
    frame[at] = 2;
    super::mend(&mut frame);
    assert_eq!(parse(&frame.into()), Err(FrameError::Head));
}

#[test]
fn a_member_comes_in_and_comes_in_again() {
    let mut door = doorman(1);
    assert_eq!(door.admit(&hello()), Ok(()));
    assert_eq!(door.admit(&hello()), Ok(()));
    let restarted = Hello {
        boot: Boot::new(6),
        ..hello()
    };
    assert_eq!(door.admit(&restarted), Ok(()));
}

fn changed(change: impl Fn(&mut Hello)) -> Hello {
    let mut hello = hello();
    change(&mut hello);
    hello
}

#[test]
fn a_stranger_is_told_why_not() {
    let node = NodeId::new;
    let (ours, others) = (ClusterId([7; 16]), ClusterId([8; 16]));
    let cases = [
        (
            changed(|hello| hello.version = 2),
            HelloRefusal::Version {
                expected: 1,
                found: 2,
            },
        ),
        (
            changed(|hello| hello.cluster = others),
            HelloRefusal::Cluster {
                expected: ours,
                found: others,
            },
        ),
        (
            changed(|hello| hello.node = node(4)),
            HelloRefusal::UnknownMember { node: node(4) },
        ),
        (
            changed(|hello| hello.node = node(1)),
            HelloRefusal::UnknownMember { node: node(1) },
        ),
        (
            changed(|hello| hello.to = node(3)),
            HelloRefusal::NotMe {
                expected: node(1),
                found: node(3),
            },
        ),
    ];
    for (hello, refusal) in cases {
        assert_eq!(doorman(1).admit(&hello), Err(refusal));
    }
}

/// What server 1 knows after one change at slot `at`.
fn after(at: u64, location: &str) -> Config {
    let config = config(7, 1, &[1, 2, 3]);
    let moved = Member {
        location: location.into(),
        ..config.members()[2].clone()
    };
    let change = Change::Member(moved);
    let shared = config.shared();
    let expect = shared.mark().change;
    let next = shared.apply(Slot::new(at), Stamp::ZERO, "", expect, &change);
    Config::of(NodeId::new(1), next.unwrap()).unwrap()
}

#[test]
fn a_fork_is_refused() {
    let mut door = doorman(1);
    door.update(after(9, "here"));
    let (expected, found) = (
        after(9, "here").shared().mark(),
        after(9, "there").shared().mark(),
    );
    let forked = changed(|hello| hello.mark = found);
    let refusal = HelloRefusal::Forked { expected, found };
    assert_eq!(door.admit(&forked), Err(refusal));
}

#[test]
fn one_that_is_behind_or_ahead_comes_in() {
    let mut door = doorman(1);
    let ahead = changed(|hello| hello.mark = after(9, "here").shared().mark());
    assert_eq!(door.admit(&ahead), Ok(()));
    door.update(after(9, "here"));
    assert_eq!(door.admit(&hello()), Ok(()));
    assert_eq!(door.admit(&ahead), Ok(()));
}

/// How server 1 sees the cluster after these changes, one a slot.
fn changes(changes: &[Change]) -> Config {
    let mut shared = config(7, 1, &[1, 2, 3]).shared().clone();
    for (slot, change) in (10..).zip(changes) {
        let expect = shared.mark().change;
        let next = shared.apply(Slot::new(slot), Stamp::ZERO, "", expect, change);
        shared = next.unwrap();
    }
    Config::of(NodeId::new(1), shared).unwrap()
}

fn newcomer(role: Role) -> Change {
    Change::Add(Member {
        node: NodeId::new(4),
        role,
        ..Member::default()
    })
}

#[test]
fn one_that_was_a_member_hears_that_it_is_not_any_more() {
    let node = NodeId::new(4);
    let gone = changes(&[newcomer(Role::Observer), Change::Remove { node }]);
    let mut door = doorman(1);
    door.update(gone);
    let four = changed(|hello| hello.node = node);
    assert_eq!(door.admit(&four), Err(HelloRefusal::Removed { node }));
    // Nobody ever had this number.
    let node = NodeId::new(5);
    let five = changed(|hello| hello.node = node);
    assert_eq!(door.admit(&five), Err(HelloRefusal::UnknownMember { node }));
}

#[test]
fn a_newcomer_comes_in_once_it_is_let_in() {
    let node = NodeId::new(4);
    let secret_hash = [5; 32];
    let invite = Change::Invite {
        secret_hash,
        role: Role::Voter,
        approve: true,
        ttl_ms: 1000,
    };
    let Change::Add(member) = newcomer(Role::Observer) else {
        unreachable!("it adds")
    };
    let asked = [
        invite,
        Change::Join {
            secret_hash,
            member,
        },
    ];
    let mut door = doorman(1);
    door.update(changes(&asked));
    let four = changed(|hello| hello.node = node);
    assert_eq!(door.admit(&four), Err(HelloRefusal::NotApproved { node }));
    let [invite, join] = asked;
    door.update(changes(&[invite, join, Change::Approve { node }]));
    assert_eq!(door.admit(&four), Ok(()));
}

#[test]
fn a_server_that_was_away_lets_in_whom_only_the_others_know() {
    let mut door = doorman(1);
    let newer = changes(&[newcomer(Role::Voter)]).shared().mark();
    let four = |incarnation| {
        changed(|hello| {
            hello.node = NodeId::new(4);
            hello.mark = newer;
            hello.incarnation = Incarnation::new(incarnation);
        })
    };
    assert_eq!(door.admit(&four(4)), Ok(()));
    // And remembers nothing of it before it knows that there is such a member.
    assert_eq!(door.admit(&four(5)), Ok(()));
    door.update(changes(&[newcomer(Role::Voter)]));
    assert_eq!(door.admit(&four(5)), Ok(()));
    let refused = door.admit(&four(4));
    assert!(
        matches!(refused, Err(HelloRefusal::Incarnation { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_second_server_is_called_so_even_if_its_list_differs() {
    let mut door = doorman(1);
    assert_eq!(door.admit(&hello()), Ok(()));
    let mut second = changed(|hello| hello.mark = mark(0, 11));
    second.incarnation = Incarnation::new(9);
    let refused = door.admit(&second);
    assert!(
        matches!(refused, Err(HelloRefusal::Incarnation { .. })),
        "{refused:?}"
    );
}

#[test]
fn lists_that_differ_are_a_fork_from_the_start() {
    let mut door = doorman(1);
    let other = config(7, 2, &[1, 2]);
    let found = other.shared().mark();
    let stranger = changed(|hello| hello.mark = found);
    let expected = config(7, 1, &[1, 2, 3]).shared().mark();
    let refusal = HelloRefusal::Forked { expected, found };
    assert_eq!(door.admit(&stranger), Err(refusal));
}

#[test]
fn nothing_of_a_stranger_is_remembered() {
    let mut door = doorman(1);
    let stranger = changed(|hello| {
        hello.cluster = ClusterId([8; 16]);
        hello.incarnation = Incarnation::new(9);
    });
    assert!(door.admit(&stranger).is_err());
    assert_eq!(door.admit(&hello()), Ok(()));
}

#[test]
fn two_data_directories_with_one_number_never_both_come_in() {
    let mut door = doorman(1);
    door.remember(NodeId::new(2), Incarnation::new(55), Boot::new(1));
    let refusal = HelloRefusal::Incarnation {
        node: NodeId::new(2),
        expected: Incarnation::new(55),
        found: Incarnation::new(102),
    };
    assert_eq!(door.admit(&hello()), Err(refusal));
}

#[test]
fn an_earlier_start_stays_outside_once_a_later_one_was_heard() {
    let mut door = doorman(1);
    assert_eq!(door.admit(&hello()), Ok(()));
    let earlier = Hello {
        boot: Boot::new(4),
        ..hello()
    };
    let refusal = HelloRefusal::OldBoot {
        node: NodeId::new(2),
        expected: Boot::new(5),
        found: Boot::new(4),
    };
    assert_eq!(door.admit(&earlier), Err(refusal));
}

#[test]
fn a_frame_of_another_sender_is_not_taken_for_the_links() {
    let expected = hello().header();
    assert_eq!(hello().check(&expected), Ok(()));
    let others = [
        Header {
            group: GroupId::new(1),
            ..expected
        },
        Header {
            cluster: 1,
            ..expected
        },
        Header {
            epoch: Epoch::new(2),
            ..expected
        },
        Header {
            from: NodeId::new(3),
            ..expected
        },
        Header {
            incarnation: Incarnation::new(1),
            ..expected
        },
        Header {
            boot: Boot::new(4),
            ..expected
        },
    ];
    for found in others {
        assert_eq!(
            hello().check(&found),
            Err(FrameError::Sender { expected, found })
        );
    }
}

#[test]
fn a_data_directory_that_was_let_in_once_is_known_at_the_next_start() {
    let mut before = doorman(1);
    assert_eq!(before.admit(&hello()), Ok(()));
    let mut door = doorman(1);
    for (node, incarnation) in before.incarnations() {
        door.remember(node, incarnation, Boot::new(0));
    }
    // Whatever it hears of the configuration meanwhile.
    door.update(config(7, 1, &[1, 2, 3]));
    let emptied = changed(|hello| hello.incarnation = Incarnation::new(9));
    let refused = door.admit(&emptied);
    assert!(
        matches!(refused, Err(HelloRefusal::Incarnation { .. })),
        "{refused:?}"
    );
    assert_eq!(door.admit(&hello()), Ok(()));
}
