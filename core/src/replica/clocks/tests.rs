use super::*;

const MS: Duration = Duration::from_millis(1);
const ME: NodeId = NodeId::new(1);

fn at(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * 1_000_000)
}

/// Ten seconds of rounds; `own` says when each begins by the own clock, and `others` what a clock shows
/// then, in ms of true time.
fn watched(own: impl Fn(u64) -> u64, others: &[&dyn Fn(u64) -> u64]) -> Vec<(u64, i64)> {
    let mut watch = ClockWatch::new(at(0));
    let mut found = Vec::new();
    for round in 0..=600_u64 {
        let now = at(own(round * 40));
        found = watch.judge(ME, now);
        if now >= at(10_000) {
            break;
        }
        for (node, clock) in (2..).zip(others) {
            let clock_ns = 77_000_000_000 + clock(round * 40) * 1_000_000;
            watch.hear(NodeId::new(node), clock_ns, (round, now), now);
        }
    }
    found
        .into_iter()
        .map(|(node, ms)| (node.get(), ms))
        .collect()
}

const fn right(ms: u64) -> u64 {
    ms
}

#[test]
fn clocks_that_keep_their_specification_raise_no_alarm() {
    let slow = |ms| ms - ms / 2000;
    let fast = |ms| ms + ms / 2000;
    assert_eq!(watched(right, &[&slow, &fast]), []);
}

#[test]
fn a_followers_wrong_clock_is_named() {
    let found = |wrong: &dyn Fn(u64) -> u64| watched(right, &[&right, wrong]);
    assert_eq!(found(&|ms| ms * 12 / 10), [(3, 1_992)]);
    assert_eq!(found(&|ms| ms * 10), [(3, 89_640)]);
    assert_eq!(found(&|_| 0), [(3, -9_960)], "it stands still");
    let jumps = |ms| if ms > 5000 { ms + 3_600_000 } else { ms };
    assert_eq!(found(&jumps), [(3, 3_600_000)]);
}

#[test]
fn the_leaders_own_wrong_clock_is_named() {
    assert_eq!(watched(|ms| ms * 2, &[&right, &right]), [(1, 4_960)]);
}

#[test]
fn of_two_clocks_nobody_can_tell_which_is_wrong() {
    assert_eq!(watched(right, &[&|ms| ms * 3]), []);
}

/// Rounds as they come: who answers which, and what its clock shows.
fn rounds(heard: &[(u64, &[(u64, u64)])]) -> Vec<(NodeId, i64)> {
    let mut watch = ClockWatch::new(at(0));
    for (number, (own, shown)) in (1..).zip(heard) {
        for (node, clock_ms) in *shown {
            let clock_ns = clock_ms * 1_000_000;
            watch.hear(NodeId::new(*node), clock_ns, (number, at(*own)), at(*own));
        }
    }
    watch.judge(ME, at(10_000))
}

#[test]
fn a_clock_that_was_heard_only_lately_is_no_witness() {
    let heard: [(u64, &[(u64, u64)]); 2] = [(0, &[(2, 0)]), (9_900, &[(2, 5_000), (3, 0)])];
    assert_eq!(rounds(&heard), []);
}

/// The own clock is wrong while 3 is heard and 2 is not: that must not be laid at the door of either.
#[test]
fn clocks_are_compared_over_the_same_time() {
    let heard: [(u64, &[(u64, u64)]); 3] = [
        (0, &[(3, 0)]),
        (1_000, &[(2, 300), (3, 300)]),
        (9_900, &[(2, 9_200), (3, 9_200)]),
    ];
    assert_eq!(rounds(&heard), []);
    // It stands still for seven seconds, and 3 is heard only when six of them are over.
    let heard: [(u64, &[(u64, u64)]); 3] = [
        (0, &[(2, 0)]),
        (0, &[(2, 6_000), (3, 6_000)]),
        (9_900, &[(2, 16_900), (3, 16_900)]),
    ];
    assert_eq!(rounds(&heard), [(ME, -1_000)]);
}

/// Answers of a slow network overtake each other's rounds; a round that lacks some does not count for more
/// than a full one.
#[test]
fn answers_belong_to_their_rounds() {
    let mut watch = ClockWatch::new(at(0));
    for number in 0..249_u64 {
        let hear = |watch: &mut ClockWatch, node, number: u64, late| {
            let asked = at(number * 40);
            let clock_ns = number * 40_000_000 + u64::from(node == 3) * number * 4_000_000;
            let now = asked.plus(MS * late);
            watch.hear(NodeId::new(node), clock_ns, (number, asked), now);
        };
        if let Some(earlier) = number.checked_sub(2) {
            hear(&mut watch, 3, earlier, 85);
        }
        hear(&mut watch, 2, number, 10);
    }
    let found = watch.judge(ME, at(10_000));
    assert_eq!(found, [(NodeId::new(3), 984)]);
}

#[test]
fn a_server_that_restarted_is_no_witness() {
    let mut watch = ClockWatch::new(at(0));
    for (number, own) in [(1, 0), (2, 9_900)] {
        for (node, clock_ms) in [(2, own), (3, own + own / 2)] {
            let clock_ns = clock_ms * 1_000_000;
            watch.hear(NodeId::new(node), clock_ns, (number, at(own)), at(own));
        }
        watch.forget(NodeId::new(3));
    }
    assert_eq!(watch.judge(ME, at(10_000)), []);
}

#[test]
fn an_answer_that_came_late_says_nothing() {
    let mut watch = ClockWatch::new(at(0));
    watch.hear(NodeId::new(2), 5, (1, at(10)), at(111));
    assert!(watch.open.is_empty());
}
