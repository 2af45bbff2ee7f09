use super::*;

const MS: Duration = Duration::from_millis(1);

/// Ten seconds of rounds by the own clock; `others` say what a clock shows after so many ms.
fn watched(others: &[&dyn Fn(u64) -> u64]) -> Vec<(u64, i64)> {
    let mut watch = ClockWatch::new(Timestamp::ZERO);
    let mut now = Timestamp::ZERO;
    for round in 0..=251_u64 {
        now = Timestamp::ZERO.plus(MS * 40 * u32::try_from(round).unwrap());
        for (node, clock) in (2..).zip(others) {
            let clock_ns = 77_000_000_000 + clock(round * 40) * 1_000_000;
            watch.hear(NodeId::new(node), clock_ns, now, now);
        }
    }
    let off = watch.judge(NodeId::new(1), now);
    off.into_iter().map(|(node, ms)| (node.get(), ms)).collect()
}

#[test]
fn clocks_that_keep_their_specification_raise_no_alarm() {
    let slow = |ms| ms - ms / 2000;
    let fast = |ms| ms + ms / 2000;
    assert_eq!(watched(&[&slow, &fast]), []);
}

#[test]
fn a_followers_wrong_clock_is_named() {
    let right = |ms| ms;
    let found = |wrong: &dyn Fn(u64) -> u64| watched(&[&right, wrong]);
    assert_eq!(found(&|ms| ms * 12 / 10), [(3, 2008)]);
    assert_eq!(found(&|ms| ms * 10), [(3, 90_360)]);
    assert_eq!(found(&|_| 0), [(3, -10_040)], "it stands still");
    let jumps = |ms| if ms > 5000 { ms + 3_600_000 } else { ms };
    assert_eq!(found(&jumps), [(3, 3_600_000)]);
}

#[test]
fn the_leaders_own_wrong_clock_is_named() {
    // Its own runs twice too fast: the others seem to lose half of the time.
    let half = |ms| ms / 2;
    assert_eq!(watched(&[&half, &half]), [(1, 5020)]);
}

#[test]
fn of_two_clocks_nobody_can_tell_which_is_wrong() {
    assert_eq!(watched(&[&|ms| ms * 3]), []);
}

#[test]
fn a_clock_that_was_heard_only_lately_is_no_witness() {
    let mut watch = ClockWatch::new(Timestamp::ZERO);
    let end = Timestamp::ZERO.plus(MS * 10_000);
    let mut hear = |node, clock_ms: u64, at| {
        watch.hear(NodeId::new(node), clock_ms * 1_000_000, at, at);
    };
    hear(2, 0, Timestamp::ZERO);
    hear(2, 5_000, end);
    hear(3, 0, end);
    assert_eq!(watch.judge(NodeId::new(1), end), []);
}

#[test]
fn nobody_else_is_named_while_the_own_clock_is_wrong() {
    let mut watch = ClockWatch::new(Timestamp::ZERO);
    let end = Timestamp::ZERO.plus(MS * 10_000);
    let mut hear = |node, clock_ms: u64, at| {
        watch.hear(NodeId::new(node), clock_ms * 1_000_000, at, at);
    };
    // The own one stands still for seven seconds; 3 is heard only when six of them are over.
    hear(2, 0, Timestamp::ZERO);
    hear(3, 6_000, Timestamp::ZERO);
    hear(2, 17_000, end);
    hear(3, 17_000, end);
    let me = NodeId::new(1);
    assert_eq!(watch.judge(me, end), [(me, -1_000)]);
}

#[test]
fn a_server_that_restarted_is_no_witness() {
    let mut watch = ClockWatch::new(Timestamp::ZERO);
    let (start, end) = (Timestamp::ZERO, Timestamp::ZERO.plus(MS * 10_000));
    // The own one stands still for seven seconds, in which 3 restarts.
    for (node, clock_ms) in [(2, 0), (3, 0)] {
        watch.hear(NodeId::new(node), clock_ms * 1_000_000, start, start);
    }
    watch.forget(NodeId::new(3));
    for (at, clock_ms) in [(start, 7_000), (end, 17_000)] {
        for node in [2, 3] {
            watch.hear(NodeId::new(node), clock_ms * 1_000_000, at, at);
        }
    }
    assert_eq!(watch.judge(NodeId::new(1), end), []);
}

#[test]
fn an_answer_that_came_late_says_nothing() {
    let mut watch = ClockWatch::new(Timestamp::ZERO);
    let asked = Timestamp::ZERO.plus(MS * 10);
    watch.hear(NodeId::new(2), 5, asked, asked.plus(MS * 101));
    assert!(watch.seen.is_empty());
}
