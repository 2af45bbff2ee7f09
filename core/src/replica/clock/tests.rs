//! Agreed time never runs faster than real time, whoever's clock is wrong and whatever pauses.

use super::*;
use crate::limits::PING_INTERVAL;
use proptest::prelude::*;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * 1_000_000)
}

fn elapsed_ms(clock: &mut AgreedClock, ms: u64) -> u128 {
    clock.read(at(ms)).since(Stamp::from_nanos(7)).as_millis()
}

fn clock() -> AgreedClock {
    AgreedClock::new(Stamp::from_nanos(7), at(0), at(0))
}

/// All voters, the second server and those after it, answer a ping that was sent at the first of
/// these moments; at the other one the answers are here.
fn confirm(clock: &mut AgreedClock, (sent, now): (u64, u64), voters: &[u64]) {
    for (node, ms) in (2..).zip(voters) {
        clock.hear(NodeId::new(node), ms * 1_000_000, at(sent), at(now));
    }
    clock.confirm(at(sent), at(now));
}

#[test]
fn it_starts_where_the_quorum_heard_it_last() {
    assert_eq!(clock().read(at(0)), Stamp::from_nanos(7));
}

#[test]
fn without_a_confirmed_round_it_stands_still_after_t_e() {
    let mut clock = clock();
    assert_eq!(elapsed_ms(&mut clock, 10_000), ELECTION_TIMEOUT.as_millis());
}

#[test]
fn a_pause_of_the_leader_is_lost_and_not_made_up_for() {
    let mut clock = clock();
    for round in 1..=10 {
        confirm(
            &mut clock,
            (round * 40, round * 40 + 1),
            &[1000 + round * 40],
        );
    }
    let before = elapsed_ms(&mut clock, 401);
    assert!(before <= 401);
    // Ten seconds of SIGSTOP; the next round is confirmed after it.
    confirm(&mut clock, (10_400, 10_401), &[11_400]);
    let after = elapsed_ms(&mut clock, 10_401);
    assert!(
        after - before <= ELECTION_TIMEOUT.as_millis() + 1,
        "{before} -> {after}"
    );
}

#[test]
fn one_fast_clock_is_outvoted() {
    let mut clock = clock();
    // The leader's own clock runs at twice real time: at its 80 ms, 40 ms have passed.
    for round in 1..=100 {
        let real = round * 40;
        confirm(&mut clock, (2 * real, 2 * real), &[real, real]);
    }
    let agreed = elapsed_ms(&mut clock, 8000);
    assert!(
        (3800..=4100).contains(&agreed),
        "4 s have passed, it says {agreed} ms"
    );
}

#[test]
fn a_clock_that_was_slow_cannot_make_up_for_it_by_being_fast() {
    let mut clock = clock();
    // The leader's own clock stands still for ten seconds, and then runs at twice real time.
    for round in 1..=250 {
        let real = round * 40;
        confirm(&mut clock, (0, 0), &[real, real]);
    }
    let before = elapsed_ms(&mut clock, 0);
    for round in 1..=25 {
        let real = round * 40;
        let voters = [10_000 + real, 10_000 + real];
        confirm(&mut clock, (2 * real, 2 * real), &voters);
    }
    let after = elapsed_ms(&mut clock, 2_000);
    assert!(
        after - before <= 1_000 + 2 * ELECTION_TIMEOUT.as_millis(),
        "one second has passed, it says {} ms",
        after - before
    );
}

#[test]
fn a_leader_that_was_slow_is_no_licence_to_be_fast() {
    let mut clock = clock();
    // Its own clock runs at half of real time for 8 s, then at one and a half; one voter answers.
    for round in 1..=200 {
        let real = round * 40;
        confirm(&mut clock, (real / 2, real / 2), &[real]);
    }
    let before = elapsed_ms(&mut clock, 4_000);
    for round in 1..=50 {
        let (own, real) = (4_000 + round * 60, 8_000 + round * 40);
        confirm(&mut clock, (own, own), &[real]);
    }
    let after = elapsed_ms(&mut clock, 7_000);
    assert!(
        after - before <= 2_000 + 2 * ELECTION_TIMEOUT.as_millis(),
        "two seconds have passed, it says {} ms",
        after - before
    );
}

#[test]
fn one_voter_that_jumps_ahead_is_outvoted() {
    let mut clock = clock();
    for round in 1..=100 {
        let real = round * 40;
        confirm(&mut clock, (real, real), &[real, real + 3_600_000]);
    }
    let agreed = elapsed_ms(&mut clock, 4000);
    assert!((3800..=4000).contains(&agreed), "{agreed}");
}

/// The quick one is the only voter in time for each round; the other one answers before the next.
#[test]
fn one_slow_clock_is_outvoted_though_its_server_answers_first() {
    let mut clock = clock();
    for round in 1..=500 {
        let real = round * 40;
        confirm(&mut clock, (real, real), &[1_000 + real / 2]);
        clock.hear(NodeId::new(3), real * 1_000_000, at(real), at(real + 20));
    }
    let agreed = elapsed_ms(&mut clock, 20_020);
    assert!((19_900..=20_020).contains(&agreed), "{agreed}");
}

#[test]
fn two_slow_clocks_of_five_are_outvoted_and_two_fast_ones() {
    for factor in [1, 4] {
        let mut clock = clock();
        for round in 1..=500 {
            let real = round * 40;
            let odd = real * factor / 2;
            confirm(&mut clock, (real, real), &[odd, real, odd, real]);
        }
        let agreed = elapsed_ms(&mut clock, 20_000);
        assert!((19_900..=20_000).contains(&agreed), "{agreed}");
    }
}

/// Else time would stand still until the slow one comes to where the others left it.
#[test]
fn a_slow_voter_that_is_left_alone_begins_anew() {
    let mut clock = clock();
    for round in 1..=500 {
        let real = round * 40;
        confirm(&mut clock, (real, real), &[real / 2, real]);
    }
    for round in 501..=1_000 {
        let real = round * 40;
        confirm(&mut clock, (real, real), &[real / 2]);
    }
    let agreed = elapsed_ms(&mut clock, 40_000);
    let expected = 20_000 + 10_000 - BEHIND.as_millis();
    assert!((expected - 100..=31_000).contains(&agreed), "{agreed}");
}

/// A voter that answers every third round speaks by the leader's clock in between, and corrects it.
#[test]
fn a_leaders_clock_that_jumps_is_ahead_by_t_e_at_most() {
    let mut clock = clock();
    let mut own = 0;
    for round in 1..=300 {
        let real = round * 40;
        own += if round % 5 == 0 { 160 } else { 40 };
        let voters = [real, real];
        let answered = if round % 3 == 0 { 2 } else { 1 };
        confirm(&mut clock, (own, own), &voters[..answered]);
        let agreed = elapsed_ms(&mut clock, own);
        let ahead = agreed.saturating_sub(u128::from(real));
        assert!(ahead <= ELECTION_TIMEOUT.as_millis(), "{ahead} ms ahead");
    }
}

#[test]
fn it_goes_on_from_what_the_log_has() {
    let mut clock = clock();
    clock.raise(Stamp::from_nanos(7).plus(Duration::from_secs(7200)));
    assert!(
        elapsed_ms(&mut clock, 100) >= 7_200_000,
        "and not two hours later"
    );
    confirm(&mut clock, (100, 101), &[100]);
    assert!(elapsed_ms(&mut clock, 140) > 7_200_000);
}

proptest! {
    /// The law that makes leases safe: between any two moments it advances by no more than the
    /// leader's clock does, however rounds are confirmed, late, twice, or with odd clocks.
    #[test]
    fn it_never_runs_faster_than_the_leaders_clock(
        steps in prop::collection::vec((0..400_u64, 0..400_u64, 0..100_000_u64, any::<bool>()), 1..60)
    ) {
        let mut clock = clock();
        let mut now = 0;
        let mut seen: Vec<(u64, u128)> = Vec::new();
        for (wait, lag, voter, confirms) in steps {
            now += wait;
            if confirms {
                confirm(&mut clock, (now.saturating_sub(lag), now), &[voter]);
            }
            let value = elapsed_ms(&mut clock, now);
            for (then, before) in &seen {
                prop_assert!(value - before <= u128::from(now - then) + 1);
            }
            seen.push((now, value));
        }
    }

    #[test]
    fn confirmed_rounds_keep_it_near_real_time(delays in prop::collection::vec(0..30_u64, 50)) {
        let mut clock = clock();
        let mut now = 0;
        for delay in delays {
            now += u64::try_from(PING_INTERVAL.as_millis()).unwrap();
            confirm(&mut clock, (now, now + delay), &[5000 + now + delay / 2, 9000 + now]);
        }
        let behind = u128::from(now) - elapsed_ms(&mut clock, now).min(u128::from(now));
        prop_assert!(behind <= 60, "{behind} ms behind");
    }
}
