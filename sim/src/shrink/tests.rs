use super::*;
use crate::scenario::{SECOND, Scenario, Trouble};

#[test]
fn ddmin_leaves_only_what_is_needed() {
    let mut runs = 0;
    let left = ddmin((0..200).collect(), |items| {
        runs += 1;
        items.contains(&17) && items.contains(&150)
    });
    assert_eq!(left, [17, 150]);
    assert!(runs < 100, "{runs} runs");
    assert!(ddmin(vec![1, 2, 3], |_| true).is_empty());
}

/// A short world whose leases must end in true time, although its leaders die all the time: a law
/// that is too strict, so that there is something to shrink.
fn a_case_that_fails() -> Case {
    let case = (1..).map(|seed| {
        let mut case = Case::draw(Scenario::Lite, seed);
        let plan = &mut case.plan;
        plan.lateness = true;
        plan.safety = 4 * SECOND;
        plan.liveness = 4 * SECOND;
        plan.load.clients = 3;
        plan.wishes.truncate(3);
        for wishes in &mut plan.wishes {
            wishes.0.retain(|at| *at < 5 * SECOND);
        }
        case
    });
    let mut failing = case.filter(|case| {
        let broken = case.run(Print::No).broken;
        broken.is_some_and(|broken| broken.law == "leases end in true time")
    });
    failing.next().expect("some seed fails")
}

#[test]
fn a_run_that_fails_gets_smaller_and_fails_again_from_its_file() {
    let case = a_case_that_fails();
    let before = (case.plan.faults.len(), case.wishes());
    let small = shrink(case, Duration::from_secs(5)).expect("it fails");
    let after = (small.case.plan.faults.len(), small.case.wishes());
    // How far it gets in that time depends on the machine.
    let is_smaller = after.0 + after.1 < before.0 + before.1;
    assert!(is_smaller, "{before:?} to {after:?}");
    let text = small.case.to_toml("test");
    let again = Case::from_toml(&text).expect("the file can be read");
    let broken = again.run(Print::No).broken.expect("it fails again");
    assert_eq!(Some(broken.law), again.law);
    assert_eq!(broken.at, small.broken.at);
}

#[test]
fn an_item_more_or_less_moves_no_draw_of_the_others() {
    let (calm, mut mended) = (Case::draw(Scenario::Calm, 3), Case::draw(Scenario::Calm, 3));
    let (at, trouble) = (SECOND, Trouble::Mend);
    mended.plan.faults.push(Fault { at, trouble });
    let [calm, mended] = [calm, mended].map(|case| case.run(Print::No).outcome);
    let (calm, mended) = (calm.expect("no panic"), mended.expect("no panic"));
    assert_eq!((calm.acked, calm.events + 1), (mended.acked, mended.events));
    assert_eq!(calm.marks, mended.marks);
}
