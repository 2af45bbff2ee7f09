//! A server whose past is not that of the others.

use std::fs;
use std::path::Path;
use std::time::Instant;
use tenure_tests::http::Http;
use tenure_tests::members::{Members, PATIENCE};

const SERVERS: usize = 3;

/// A directory as it is, with what is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder can be made");
    for entry in fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it can be read");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("it has one").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("there is room");
        }
    }
}

/// `from` becomes `to`, which is gone.
fn put_in_place(from: &Path, to: &Path) {
    fs::remove_dir_all(to).expect("it is there");
    fs::rename(from, to).expect("it is there");
}

/// Changes the configuration, and waits until every server has that change.
fn change(members: &mut Members, by: &str) {
    let leader = members.leader(PATIENCE);
    let mut http = Http::connect(members.http(leader), PATIENCE).expect("it listens");
    let path = format!("/v1/zones/default?locks=100000&by={}", by.replace(' ', "+"));
    let answer = http.ask("PUT", &path, &[], PATIENCE);
    assert_eq!(answer.expect("it answers").status, 200);
    let until = Instant::now() + PATIENCE;
    for member in 1..=SERVERS {
        let mut http = Http::connect(members.http(member), PATIENCE).expect("it listens");
        loop {
            let answer = http.ask("GET", "/v1/config/history", &[], PATIENCE);
            if answer.expect("it answers").json()["changes"][0]["by"] == by {
                break;
            }
            assert!(Instant::now() < until, "{}", members.output());
        }
    }
}

/// So many entries that a follower writes down how far they are decided (decision 0004).
fn work(members: &mut Members) {
    let leader = members.leader(PATIENCE);
    let mut http = Http::connect(members.http(leader), PATIENCE).expect("it listens");
    for number in 0..300 {
        let path = format!("/v1/locks/{number}?ttl=60s");
        let answer = http.ask("POST", &path, &[], PATIENCE);
        assert_eq!(answer.expect("it answers").status, 200);
    }
}

fn stop_all(members: &mut Members) {
    for member in 1..=SERVERS {
        members.kill(member);
    }
}

/// All data was copied, the cluster went on, and was put back; but one server was forgotten.
#[test]
fn a_server_that_was_not_put_back_with_the_others_is_refused() {
    let mut members = Members::new(SERVERS);
    members.start_all();
    members.leader(PATIENCE);
    stop_all(&mut members);
    let kept = |member: usize| members.path().join(format!("kept-{member}"));
    let kept: Vec<_> = (1..=SERVERS).map(kept).collect();
    for (member, kept) in (1..).zip(&kept) {
        copy(&members.data(member), kept);
    }
    members.start_all();
    change(&mut members, "before");
    work(&mut members);
    stop_all(&mut members);
    let forgotten = members.path().join("forgotten");
    copy(&members.data(3), &forgotten);
    for (member, kept) in (1..).zip(&kept) {
        put_in_place(kept, &members.data(member));
    }
    members.start_all();
    change(&mut members, "after");
    members.kill(3);
    put_in_place(&forgotten, &members.data(3));
    members.start(3);
    is_shut_out(&mut members, 3);
    members.leader(PATIENCE);
}

/// Most often the others know the odd one at its first word, and it stops. If it has not read its log so
/// far by then, it is let in, and knows them by theirs.
fn is_shut_out(members: &mut Members, odd: usize) {
    let until = Instant::now() + PATIENCE;
    while !members.process(odd).is_over() {
        assert!(Instant::now() < until, "{}", members.output());
        let http = Http::connect(members.http(odd), PATIENCE);
        let answer = http.and_then(|mut http| http.ask("GET", "/readyz", &[], PATIENCE));
        if answer.is_ok_and(|answer| answer.status == 503 && answer.body.contains("are forked")) {
            return;
        }
    }
    let (code, output) = members.ended(odd);
    assert_eq!(code, Some(70), "{output}");
    let last = output.lines().last().unwrap_or_default();
    let words = ["members refuse server 3", "the configurations are forked"];
    for word in words {
        assert!(last.contains(word), "`{word}` is not in: {output}");
    }
}
