use super::*;
use crate::ids::{Epoch, Round};

/// A server in the preferred place.
const THERE: NodeId = NodeId::new(3);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

/// The leader at `second` is `node`, under a ballot of its own.
fn leads(reigns: &mut Reigns, node: u64, second: u64) {
    let ballot = Ballot {
        epoch: Epoch::new(1),
        round: Round::new(second + 1),
        node: NodeId::new(node),
    };
    let yields = |before, after| before != THERE && after == THERE;
    reigns.watch(ballot, true, yields, at(second));
}

/// Server 3 leads at `second`, and leads no more two seconds later.
fn fails(reigns: &mut Reigns, second: u64) {
    leads(reigns, 3, second);
    leads(reigns, 3, second + 1);
    assert!(!reigns.failed_lately(THERE, at(second + 1)), "it leads");
    leads(reigns, 1, second + 2);
    assert!(reigns.failed_lately(THERE, at(second + 2)));
}

#[test]
fn who_led_badly_is_left_alone_for_a_while_and_longer_each_time() {
    let mut reigns = Reigns::default();
    let mut second = 0;
    let mut wait = BACKOFF.as_secs();
    for _ in 0..8 {
        fails(&mut reigns, second);
        let until = second + 2 + wait;
        assert!(reigns.failed_lately(THERE, at(until - 1)));
        assert!(!reigns.failed_lately(THERE, at(until)));
        second = until;
        wait = (wait * 2).min(REIGN_BACKOFF_MAX.as_secs());
    }
    assert_eq!(wait, REIGN_BACKOFF_MAX.as_secs(), "bounded");
}

#[test]
fn a_failure_is_forgotten_when_nothing_happened_for_as_long_again() {
    let mut reigns = Reigns::default();
    fails(&mut reigns, 0);
    let late = 2 + 2 * BACKOFF.as_secs();
    fails(&mut reigns, late);
    assert!(!reigns.failed_lately(THERE, at(late + 2 + BACKOFF.as_secs())));
}

#[test]
fn a_failure_is_forgotten_when_its_server_leads_well() {
    let mut reigns = Reigns::default();
    fails(&mut reigns, 0);
    let again = 2 + BACKOFF.as_secs();
    leads(&mut reigns, 3, again);
    leads(&mut reigns, 3, again + GOOD.as_secs());
    leads(&mut reigns, 1, again + GOOD.as_secs() + 1);
    assert!(reigns.failures.is_empty());
}

#[test]
fn an_heir_that_is_not_elected_failed() {
    let mut reigns = Reigns::default();
    leads(&mut reigns, 1, 0);
    let ballot = reigns.last.unwrap().ballot;
    reigns.hand_over(THERE, ballot);
    leads(&mut reigns, 1, 0);
    assert!(!reigns.failed_lately(THERE, at(0)));
    leads(&mut reigns, 1, 2);
    assert!(reigns.failed_lately(THERE, at(2)));
}

#[test]
fn who_makes_room_for_the_preferred_place_did_not_fail() {
    let mut reigns = Reigns::default();
    leads(&mut reigns, 1, 0);
    leads(&mut reigns, 3, 5);
    assert!(!reigns.failed_lately(NodeId::new(1), at(5)));
    leads(&mut reigns, 2, 7);
    assert!(reigns.failed_lately(THERE, at(7)));
}
