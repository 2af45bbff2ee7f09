//! A leader whose wire is cut, while its connections still seem to stand.

use crate::kill::same_digests;
use std::thread;
use std::time::{Duration, Instant};
use tenure_core::ids::{NodeId, RequestId};
use tenure_core::machine::answer::Answer;
use tenure_core::machine::command::{Client, Life, Mode};
use tenure_core::wire::client::Word;
use tenure_tests::members::{Members, PATIENCE, State};
use tenure_tests::native::{Native, acquire};
use tenure_tests::network::in_own_network;

/// How often. More is a measurement: `TENURE_CUTS=20`.
const CUTS: u64 = 4;

/// Its peers hear nothing and are told nothing: no reset, no end. They elect another one, and grant; the one
/// that was cut off is found again once it can be, and follows. What is printed is how long each took.
#[test]
fn a_leader_that_is_cut_off_is_replaced_and_found_again() {
    let name = "cut::a_leader_that_is_cut_off_is_replaced_and_found_again";
    in_own_network(name, || {
        let given = std::env::var("TENURE_CUTS").ok();
        let cuts = given.map_or(CUTS, |text| text.parse().expect("TENURE_CUTS is a number"));
        let mut members = Members::in_network(3);
        for member in 1..=3 {
            let mut command = members.command(member);
            members.start_by(member, command.env("TENURE_LOG", "info,tenure_tcp=debug"));
        }
        let (mut grants, mut returns) = (Vec::new(), [Vec::new(), Vec::new()]);
        for cut in 1..=cuts {
            // Every other time all connections to it are given up before it is back.
            let is_long = cut % 2 == 0;
            let (grant, back) = cut_and_heal(&mut members, cut, is_long);
            grants.push(grant);
            returns[usize::from(is_long)].push(back);
        }
        let [short, long] = returns;
        told("cut, to the next grant", grants);
        told("healed at once, to following", short);
        told("healed when its links were given up, to following", long);
        same_digests(&members, &[1, 2, 3]);
    });
}

/// Cuts the leader off until another one grants. Gives how long that took, and how long the old one was
/// not back after its wire was healed.
fn cut_and_heal(members: &mut Members, cut: u64, is_long: bool) -> (Duration, Duration) {
    let old = members.leader(PATIENCE);
    same_digests(members, &[1, 2, 3]);
    links_are_up(members, old);
    let other = 1 + old % 3;
    let mut native = Native::connect(members.client(other), PATIENCE).expect("it listens");
    let said = [1, 2, 3].map(|member| members.process(member).lines());
    members.network().cut(old);
    let begun = Instant::now();
    let mut tries = 0;
    loop {
        tries += 1;
        assert!(
            begun.elapsed() < PATIENCE,
            "nobody grants: {}",
            members.output()
        );
        if is_granted(&mut native, cut << 32 | tries) {
            break;
        }
        thread::park_timeout(Duration::from_millis(5));
    }
    let grant = begun.elapsed();
    let leader = members.leader_but(old, PATIENCE);
    assert_ne!(leader, old);
    if is_long {
        links_are_given_up(members, old, said);
    }
    members.network().heal(old);
    let healed = Instant::now();
    loop {
        // Its word that it follows, and what it has applied is what was granted without it.
        let state = members.state(old, Duration::from_secs(1));
        let is_back = |state: &State| {
            state
                .leader
                .is_some_and(|now| now != NodeId::new(old as u64))
        };
        let wanted = members.state(leader, PATIENCE).map(|state| state.applied);
        if state.is_some_and(|state| is_back(&state) && Some(state.applied) >= wanted) {
            return (grant, healed.elapsed());
        }
        assert!(
            healed.elapsed() < PATIENCE,
            "it is not back: {}",
            members.output()
        );
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Waits until a member has a connection to each other one: after a cut they are made again one by one, and
/// what is not there can't be given up.
fn links_are_up(members: &mut Members, member: usize) {
    let begun = Instant::now();
    let is_up = |said: &str, peer: usize| {
        // Both ends may dial at once: the connection that is one too many is aborted.
        let said = said.lines().filter(|line| !line.contains("aborted"));
        let (made, gone) = (
            format!("connected peer={peer}"),
            format!("server {peer} at"),
        );
        let mut last = said.filter(|line| line.contains(&made) || line.contains(&gone));
        last.next_back().is_some_and(|line| line.contains(&made))
    };
    while !(1..=3)
        .filter(|peer| *peer != member)
        .all(|peer| is_up(&members.process(member).output(), peer))
    {
        assert!(
            begun.elapsed() < PATIENCE,
            "not all are connected: {}",
            members.output()
        );
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Waits until each end of each connection to a member has said that the other is silent.
fn links_are_given_up(members: &mut Members, cut: usize, said: [usize; 3]) {
    for (member, said) in (1..=3).zip(said) {
        let peers = (1..=3).filter(|peer| member != *peer && (member == cut || *peer == cut));
        for peer in peers {
            let gone = format!("server {peer} at");
            let is_gone = |line: &str| {
                let silent = line.contains(&gone) && line.contains("the peer is silent");
                silent.then_some(())
            };
            let process = members.process(member);
            process.line_after(said, PATIENCE, "a link to be given up", is_gone);
        }
    }
}

fn is_granted(native: &mut Native, number: u64) -> bool {
    let life = Life::Lease { ttl_ms: 600_000 };
    let ask = acquire(
        &format!("cut/{number}"),
        Mode::Exclusive,
        life,
        Duration::ZERO,
        "cut",
    );
    let id = RequestId::new(u128::from(number));
    let answered = native.ask(id, &Client::None, &ask, PATIENCE);
    let word = answered.expect("its own wire is whole").word;
    matches!(
        word,
        Word::Decided {
            answer: Answer::Granted(_),
            ..
        }
    )
}

/// For `docs/PERFORMANCE.md`.
fn told(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let (middle, worst) = (took[took.len() / 2], took[took.len() - 1]);
    println!(
        "{what}: {} times, middle {middle:.0?}, worst {worst:.0?}",
        took.len()
    );
}
