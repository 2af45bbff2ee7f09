//! Who is let in.

use super::super::*;
use crate::config::{Config, Member};
use alloc::string::String;
use alloc::vec;

fn config(cluster: u8, me: u64, nodes: &[u64]) -> Config {
    let member = |node: &u64| Member {
        node: NodeId::new(*node),
        peer: String::new(),
        client: String::new(),
        http: String::new(),
        location: String::new(),
    };
    let members = nodes.iter().map(member).collect();
    Config::new(ClusterId([cluster; 16]), NodeId::new(me), members).unwrap()
}

fn doorman(me: u64) -> Doorman {
    let config = config(7, me, &[1, 2, 3]);
    Doorman::new(config, Incarnation::new(100 + me), Boot::new(5))
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
            "refused_config",
            HelloRefusal::Config {
                epoch: Epoch::new(1),
                expected: 10,
                found: 11,
            },
        ),
    ];
    let refusals = refusals.map(|(name, refusal)| (name, Body::Refused(refusal)));
    let mut samples = vec![("hello", Body::Hello(hello()))];
    samples.extend(refusals);
    samples
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

#[test]
fn a_forked_membership_is_refused() {
    let (epoch, expected, found) = (Epoch::new(1), hello().config_hash, 11);
    let forked = changed(|hello| hello.config_hash = found);
    let refusal = HelloRefusal::Config {
        epoch,
        expected,
        found,
    };
    assert_eq!(doorman(1).admit(&forked), Err(refusal));
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
fn a_membership_with_other_members_has_another_hash() {
    let hash = config(7, 1, &[1, 2, 3]).hash();
    assert_eq!(
        hash,
        config(7, 2, &[3, 2, 1]).hash(),
        "the same for all members"
    );
    assert_ne!(hash, config(7, 1, &[1, 2, 4]).hash());
    assert_ne!(hash, config(7, 1, &[1, 2]).hash());
    assert_ne!(hash, config(8, 1, &[1, 2, 3]).hash());
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
