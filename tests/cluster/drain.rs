//! A server is taken down for maintenance, under load.

use crate::faults::{progress, say};
use crate::kill::{same_digests, seed, servers};
use crate::load;
use rustix::process::Signal;
use std::process::Command;
use std::time::{Duration, Instant};
use tenure_tests::binary::tenure;
use tenure_tests::http::{Http, Response};
use tenure_tests::members::{Members, PATIENCE};

const CLIENTS: u64 = 24;

fn ready(members: &Members, member: usize) -> Option<Response> {
    let mut http = Http::connect(members.http(member), PATIENCE).ok()?;
    http.ask("GET", "/readyz", &[], PATIENCE).ok()
}

/// Waits until `/readyz` of a member is as expected.
fn until_ready(members: &Members, member: usize, is_so: impl Fn(&Response) -> bool) {
    let until = Instant::now() + PATIENCE;
    loop {
        let ready = ready(members, member);
        if ready.as_ref().is_some_and(&is_so) {
            return;
        }
        assert!(Instant::now() < until, "{ready:?}\n{}", members.output());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn says_drains(ready: &Response) -> bool {
    ready.status == 503
        && ready.json()["detail"]
            .as_str()
            .is_some_and(|text| text.contains("it drains"))
}

#[test]
fn a_leader_is_drained_taken_down_and_brought_back_under_load() {
    let seed = seed();
    eprintln!("again with: TENURE_SEED={seed} cargo test -p tenure-tests --test cluster drained");
    let mut members = Members::new(3);
    members.start_all();
    let (load, clients) = load::begin(servers(&members, 3), seed, CLIENTS);
    progress(&load, "at first");
    let leader = members.leader(PATIENCE);
    let id = leader.to_string();
    say(&load, &format!("{leader} drains"));
    let printed = members.operate(&["drain", &id], &["--wait"]);
    assert!(printed.contains("leads."), "{printed}");
    let next = members.leader_but(leader, PATIENCE);
    assert_ne!(next, leader);
    until_ready(&members, leader, says_drains);
    let listed = members.operate(&["ls"], &[]);
    assert_eq!(listed.matches("drains").count(), 1, "{listed}");
    progress(&load, "while one drains");

    members.signal(leader, Signal::TERM);
    let (code, output) = members.ended(leader);
    assert_eq!(code, Some(0), "{output}");
    progress(&load, "while it is down");
    members.start(leader);
    // The mark is in the log: it does not come back by a restart.
    until_ready(&members, leader, says_drains);
    progress(&load, "when it is back");
    members.operate(&["undrain", &id], &[]);
    until_ready(&members, leader, |ready| ready.status == 200);
    progress(&load, "when it serves again");
    load.end(clients);
    load.verdict(&members);
    same_digests(&members, &[1, 2, 3]);
}

#[test]
fn somebody_who_may_lead_never_drains() {
    let mut members = Members::new(3);
    members.start_all();
    members.operate(&["drain", "1"], &[]);
    members.operate(&["drain", "2"], &[]);
    let refused = Command::new(tenure())
        .args(["member", "drain", "3", "--endpoints"])
        .arg(members.client(3).to_string())
        .output()
        .expect("it runs");
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{errors}");
    assert!(errors.contains("no full voter would be left"), "{errors}");
    let until = Instant::now() + PATIENCE;
    while members.leader(PATIENCE) != 3 {
        assert!(Instant::now() < until, "{}", members.output());
    }
}
