use super::Refusals;
use tenure_core::config::{Config, Member};
use tenure_core::ids::{ClusterId, NodeId};
use tenure_core::wire::peer::HelloRefusal;
use tenure_host::HostError;

/// Servers 1 to `voters` vote; `me` may be one of them, or not.
fn config(voters: u64, me: u64) -> Config {
    let member = |node| Member {
        node: NodeId::new(node),
        ..Member::default()
    };
    let members = (1..=voters).map(member).collect();
    let config = Config::new(ClusterId([1; 16]), NodeId::new(1), members).expect("it is right");
    let (shared, membership) = (config.shared().clone(), config.membership().clone());
    Config::seen_by(NodeId::new(me), shared, membership)
}

fn refused(at: &[u64], refusal: HelloRefusal) -> Refusals {
    let at = at.iter().map(|node| (NodeId::new(*node), refusal));
    Refusals {
        unwelcome_at: at.collect(),
        ..Refusals::default()
    }
}

fn removed(node: u64) -> HelloRefusal {
    HelloRefusal::Removed {
        node: NodeId::new(node),
    }
}

#[test]
fn one_voter_that_lies_removes_nobody_and_those_that_never_voted_even_less() {
    assert!(refused(&[1], removed(3)).verdict(&config(3, 3)).is_none());
    assert!(
        refused(&[1, 2], removed(5))
            .verdict(&config(5, 5))
            .is_none()
    );
    let strangers = refused(&[1, 7, 8, 9], removed(3));
    assert!(strangers.verdict(&config(3, 3)).is_none());
}

#[test]
fn a_server_that_no_quorum_would_have_knows_that_it_is_removed() {
    for (voters, me, at) in [
        (3, 3, &[1, 2][..]),
        (5, 5, &[1, 2, 4]),
        (2, 2, &[1]),
        (1, 4, &[1]),
    ] {
        let verdict = refused(at, removed(me)).verdict(&config(voters, me));
        assert!(
            matches!(verdict, Some(HostError::Removed(_))),
            "{verdict:?}"
        );
    }
}

#[test]
fn a_newcomer_waits_for_the_news_of_itself_and_for_its_approval() {
    let node = NodeId::new(4);
    let unknown = HelloRefusal::UnknownMember { node };
    let waits = HelloRefusal::NotApproved { node };
    for refusal in [unknown, waits] {
        let refusals = refused(&[1, 2, 3], refusal);
        assert!(refusals.verdict(&config(3, 4)).is_none(), "{refusal}");
    }
    // But one that is a member by its own configuration has another one than they.
    let verdict = refused(&[1, 2, 3], unknown).verdict(&config(4, 4));
    assert!(matches!(verdict, Some(HostError::Failed(_))), "{verdict:?}");
}

#[test]
fn what_strangers_make_it_log_is_bounded() {
    let mut refusals = Refusals::default();
    for node in 0..1000 {
        assert!(refusals.is_news(NodeId::new(node), removed(node)));
    }
    assert!(refusals.logged.len() <= super::LOGGED_MAX);
    assert!(!refusals.is_news(NodeId::new(999), removed(999)));
}
