//! What is done to the servers, in which order, and what must go on meanwhile.

use crate::load::Load;
use rustix::process::Signal;
use std::time::{Duration, Instant};
use tenure_core::ids::Slot;
use tenure_tests::members::{Members, PATIENCE};

/// How many grants must follow a fault before the next one.
const PROGRESS: u64 = 60;
/// How long a server is stopped.
const STOP: Duration = Duration::from_secs(3);

pub(crate) fn say(load: &Load, what: &str) {
    let seconds = load.begin.elapsed().as_secs_f64();
    eprintln!("{seconds:5.1} s  {what}; {}", load.oracle.tally());
}

/// Kills and stops the leader and a follower in turn, and brings each back.
pub(crate) fn in_turn(members: &mut Members, load: &Load) {
    for round in 0..2 {
        let leader = members.leader(PATIENCE);
        kill(members, load, leader);
        let follower = follower(members, round);
        kill(members, load, follower);
        let leader = members.leader(PATIENCE);
        stop(members, load, leader);
        let follower = self::follower(members, round + 1);
        stop(members, load, follower);
    }
}

/// Kills all three at once, and starts them again.
pub(crate) fn all_at_once(members: &mut Members, load: &Load) {
    say(load, "kill -9 of all");
    for member in 1..=3 {
        // All are dead before the first is waited for.
        members.signal(member, Signal::KILL);
    }
    for member in 1..=3 {
        members.kill(member);
    }
    members.start_all();
    progress(load, "after all were killed");
}

fn follower(members: &mut Members, which: usize) -> usize {
    let leader = members.leader(PATIENCE);
    1 + (leader + which % 2) % 3
}

fn kill(members: &mut Members, load: &Load, member: usize) {
    say(load, &format!("kill -9 of {member}"));
    members.kill(member);
    members.leader(PATIENCE);
    progress(load, "while one is down");
    members.start(member);
    caught_up(members, member);
}

fn stop(members: &mut Members, load: &Load, member: usize) {
    say(load, &format!("SIGSTOP of {member}"));
    let stopped = Instant::now();
    members.signal(member, Signal::STOP);
    members.leader_but(member, PATIENCE);
    progress(load, "while one is stopped");
    // The fault itself: it lasts so long.
    std::thread::sleep(STOP.saturating_sub(stopped.elapsed()));
    members.signal(member, Signal::CONT);
    caught_up(members, member);
}

/// Waits until a server has applied what the leader had when it was asked.
fn caught_up(members: &mut Members, member: usize) {
    let leader = members.leader(PATIENCE);
    let state = members.state(leader, PATIENCE);
    let wanted = state.map_or(Slot::new(0), |state| state.applied);
    let until = Instant::now() + PATIENCE;
    loop {
        let state = members.state(member, Duration::from_secs(1));
        if state.is_some_and(|state| state.applied >= wanted) {
            return;
        }
        let output = members.output();
        assert!(
            Instant::now() < until,
            "{member} is at {state:?} and not at {wanted}:\n{output}"
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

pub(crate) fn progress(load: &Load, when: &str) {
    let wanted = load.oracle.counted("granted") + PROGRESS;
    let until = Instant::now() + PATIENCE;
    while load.oracle.counted("granted") < wanted {
        assert!(Instant::now() < until, "no progress {when}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
