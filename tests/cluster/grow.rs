//! One server becomes three, and five; a dead one is replaced; three are left: under load.

use crate::durable::Kept;
use crate::faults::{progress, say};
use crate::kill::{same_digests, seed, servers};
use crate::load::{self, Load};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tenure_tests::http::Http;
use tenure_tests::members::{Members, PATIENCE};

const CLIENTS: u64 = 40;
/// How long a change of the members may take: a newcomer learns first, on a machine that is busy.
pub(crate) const CHANGE_PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_cluster_grows_replaces_its_dead_and_shrinks_under_load() {
    let seed = seed();
    eprintln!("again with: TENURE_SEED={seed} cargo test -p tenure-tests --test cluster grows");
    let mut members = Members::found(7);
    let servers = servers(&members, 7);
    let mut kept = Kept::prepare(&servers, seed);
    let (load, clients) = load::begin(servers, seed, CLIENTS);
    join(&mut members, &load, 2);
    join(&mut members, &load, 3);
    kept.check();
    grow_without_one(&mut members, &load);
    kept.check();
    replace_the_dead(&mut members, &load);
    kept.check();
    shrink(&mut members, &load);
    all_at_once(&mut members, &load);
    kept.check();
    // Of those whom the cluster began with nobody is left: a newcomer must be told who is there.
    join(&mut members, &load, 7);
    load.end(clients);
    // What was acknowledged by servers of which none is a member now.
    kept.check();
    kept.finish();
    load.verdict(&members);
    let left: Vec<usize> = voters(&members).into_iter().map(|(id, _)| id).collect();
    assert_eq!(left.len(), 4, "{left:?}");
    same_digests(&members, &left);
}

/// The vote of a third site that keeps no locks.
#[test]
fn a_server_that_only_votes_stands_in_for_one_that_is_lost_and_takes_no_clients() {
    let mut members = Members::found(3);
    members.invite(2, &[]);
    members.start(2);
    votes(&members, 2);
    members.invite(3, &["role=quorum-only"]);
    members.start(3);
    let only_votes = |listed: &Value| listed["members"][2]["role"] == "quorum-only";
    let until = Instant::now() + CHANGE_PATIENCE;
    // It opens itself again as what it is by then.
    let is_so = |member| listed(&members, member).is_some_and(|listed| only_votes(&listed));
    while !is_so(3) || is_reached(&members, 3) || !is_so(3) {
        assert!(Instant::now() < until, "{}", members.output());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let leader = members.leader(PATIENCE);
    assert_ne!(leader, 3, "it never leads");
    let ask = |member: usize, method, path| {
        let mut http = Http::connect(members.http(member), PATIENCE).expect("it listens");
        http.ask(method, path, &[], PATIENCE).expect("it answers")
    };
    let refused = ask(3, "POST", "/v1/locks/a?ttl=60s");
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (503, &"not-ready".into())
    );
    assert_eq!(ask(3, "GET", "/healthz").status, 200);
    assert!(
        members.state(3, Duration::from_secs(2)).is_none(),
        "no native client is served"
    );
    // With it, one of the two others may be lost.
    let left = 3 - leader;
    members.kill(leader);
    assert_eq!(members.leader(PATIENCE), left);
    let mut http = Http::connect(members.http(left), PATIENCE).expect("it listens");
    let granted = http.ask("POST", "/v1/locks/a?ttl=60s", &[], PATIENCE);
    assert_eq!(granted.expect("it answers").status, 200);
}

pub(crate) fn join(members: &mut Members, load: &Load, newcomer: usize) {
    say(load, &format!("{newcomer} joins"));
    members.invite(newcomer, &[]);
    members.start(newcomer);
    votes(members, newcomer);
    progress(load, "after one joined");
}

/// Two come while one is down, which finds a cluster that it does not know when it is back.
fn grow_without_one(members: &mut Members, load: &Load) {
    let leader = members.leader(PATIENCE);
    let away = 1 + leader % 3;
    say(load, &format!("{away} is away"));
    members.kill(away);
    join(members, load, 4);
    join(members, load, 5);
    members.start(away);
    has_caught_up(members, away);
}

/// All that are left come back. What they began with names one that is gone long since.
fn all_at_once(members: &mut Members, load: &Load) {
    let left: Vec<usize> = voters(members).into_iter().map(|(id, _)| id).collect();
    say(load, &format!("kill -9 of {left:?}"));
    for member in &left {
        members.signal(*member, Signal::KILL);
    }
    for member in &left {
        members.kill(*member);
    }
    for member in &left {
        members.start(*member);
    }
    progress(load, "after all were killed");
}

/// One that does not lead is killed for good, and 6 takes its place.
fn replace_the_dead(members: &mut Members, load: &Load) {
    let leader = members.leader(PATIENCE);
    let dead = 1 + leader % 5;
    say(load, &format!("{dead} is lost"));
    members.kill(dead);
    progress(load, "while one is lost");
    let places = [
        format!("peer={}", members.peer(6)),
        format!("client={}", members.client(6)),
        format!("http={}", members.http(6)),
    ];
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    let printed = members.operate(&["replace", &dead.to_string()], &places);
    assert!(printed.contains("Server 6 is expected"), "{printed}");
    let text = fs::read_to_string(members.config_file(6)).expect("it is there");
    let text = text.replace("token_file = \"6.token\"", "id = 6");
    fs::write(members.config_file(6), text).expect("the file can be written");
    members.start(6);
    votes(members, 6);
    is_gone(members, dead);
    progress(load, "after one was replaced");
    // What is left of the dead one comes back: nobody would have it.
    members.start(dead);
    let (code, output) = members.ended(dead);
    assert_eq!(code, Some(77), "{output}");
}

/// The leader leaves, and one that does not lead.
fn shrink(members: &mut Members, load: &Load) {
    for _ in 0..2 {
        let leader = members.leader(PATIENCE);
        say(load, &format!("{leader} leaves"));
        members.operate(&["remove", &leader.to_string()], &[]);
        let (code, output) = members.ended(leader);
        assert_eq!(code, Some(77), "{output}");
        is_gone(members, leader);
        progress(load, "after one left");
    }
}

/// The members that are listed, and whether each votes, with nothing else to come.
fn voters(members: &Members) -> Vec<(usize, bool)> {
    let listed = (1..=7).find_map(|member| listed(members, member));
    let listed = listed.unwrap_or_default();
    let all = listed["members"].as_array().cloned().unwrap_or_default();
    let voter = |member: &Value| {
        let id = member["id"].as_u64().expect("it has a number");
        let is_settled = member["next"].is_null() && member["role"] == "voter";
        (usize::try_from(id).expect("it is small"), is_settled)
    };
    all.iter().map(voter).collect()
}

pub(crate) fn listed(members: &Members, member: usize) -> Option<Value> {
    let mut http = Http::connect(members.http(member), Duration::from_secs(1)).ok()?;
    let answer = http.ask("GET", "/v1/members", &[], Duration::from_secs(5));
    answer
        .ok()
        .filter(|answer| answer.status == 200)
        .map(|answer| answer.json())
}

/// Whether anybody listens for native clients.
pub(crate) fn is_reached(members: &Members, member: usize) -> bool {
    TcpStream::connect_timeout(&members.client(member), Duration::from_secs(1)).is_ok()
}

pub(crate) fn votes(members: &Members, member: usize) {
    wait(members, &format!("{member} votes"), |voters| {
        voters.contains(&(member, true))
    });
}

/// It serves: by itself it answers no question before it has learned what the others have.
fn has_caught_up(members: &Members, member: usize) {
    let until = Instant::now() + CHANGE_PATIENCE;
    while listed(members, member)
        .is_none_or(|listed| listed["members"].as_array().map(Vec::len) != Some(5))
    {
        assert!(
            Instant::now() < until,
            "{member} is left behind:\n{}",
            members.output()
        );
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn is_gone(members: &Members, member: usize) {
    wait(members, &format!("{member} is gone"), |voters| {
        !voters.is_empty() && voters.iter().all(|(id, _)| *id != member)
    });
}

fn wait(members: &Members, what: &str, is_so: impl Fn(&[(usize, bool)]) -> bool) {
    let until = Instant::now() + CHANGE_PATIENCE;
    loop {
        let voters = voters(members);
        if is_so(&voters) {
            return;
        }
        let output = || members.output();
        assert!(
            Instant::now() < until,
            "not {what}: {voters:?}\n{}",
            output()
        );
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
