//! A server votes only, and keeps the locks again: under load, and nobody starts it again.

use crate::faults::{progress, say};
use crate::grow::{CHANGE_PATIENCE, is_reached, join, listed};
use crate::kill::{same_digests, seed, servers};
use crate::load::{self, Load};
use std::time::{Duration, Instant};
use tenure_tests::http::Http;
use tenure_tests::members::{Members, PATIENCE};

const CLIENTS: u64 = 30;

#[test]
fn a_server_votes_only_and_keeps_the_locks_again() {
    let seed = seed();
    eprintln!("again with: TENURE_SEED={seed} cargo test -p tenure-tests --test cluster votes");
    let mut members = Members::found(3);
    let (load, clients) = load::begin(servers(&members, 3), seed, CLIENTS);
    join(&mut members, &load, 2);
    join(&mut members, &load, 3);
    for _ in 0..2 {
        let leader = members.leader(PATIENCE);
        let changed = 1 + leader % 3;
        votes_only(&members, &load, changed);
        keeps_locks(&members, &load, changed);
        members.operate(&["transfer", &changed.to_string()], &[]);
        progress(&load, "after one led that had voted only");
    }
    // The leader itself: another one leads.
    let leader = members.leader(PATIENCE);
    votes_only(&members, &load, leader);
    assert_ne!(members.leader(PATIENCE), leader);
    keeps_locks(&members, &load, leader);
    load.end(clients);
    load.verdict(&members);
    same_digests(&members, &[1, 2, 3]);
}

fn votes_only(members: &Members, load: &Load, member: usize) {
    say(load, &format!("{member} is to vote only"));
    members.operate(&["promote", &member.to_string(), "--quorum-only"], &[]);
    until(members, &format!("{member} only votes"), || {
        is_role(members, member, "quorum-only") && !is_reached(members, member)
    });
    until(members, &format!("{member} is ready"), || {
        ask(members, member, "GET", "/readyz") == Some(200)
    });
    assert_eq!(ask(members, member, "GET", "/healthz"), Some(200));
    let refused = ask(members, member, "POST", "/v1/locks/a?ttl=60s");
    assert_eq!(refused, Some(503));
    progress(load, "while one votes only");
}

fn keeps_locks(members: &Members, load: &Load, member: usize) {
    say(load, &format!("{member} is to keep the locks"));
    members.operate(&["promote", &member.to_string()], &[]);
    until(members, &format!("{member} serves"), || {
        is_role(members, member, "voter") && is_reached(members, member)
    });
    until(members, &format!("{member} is ready"), || {
        ask(members, member, "GET", "/readyz") == Some(200)
    });
    progress(load, "after one keeps the locks again");
}

/// Whether a member says so of itself.
fn is_role(members: &Members, member: usize, role: &str) -> bool {
    listed(members, member).is_some_and(|listed| {
        let me = &listed["members"][member - 1];
        me["role"] == role && me["next"].is_null()
    })
}

fn ask(members: &Members, member: usize, method: &str, path: &str) -> Option<u16> {
    let mut http = Http::connect(members.http(member), Duration::from_secs(1)).ok()?;
    let answer = http.ask(method, path, &[], Duration::from_secs(5));
    answer.ok().map(|answer| answer.status)
}

fn until(members: &Members, what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + CHANGE_PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "not {what}:\n{}", members.output());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
