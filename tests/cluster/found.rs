//! A list of members becomes a cluster once, and only when all of them are there (rule 36).

use std::fs;
use std::time::{Duration, Instant};
use tenure_tests::http::{Http, Response};
use tenure_tests::members::{Members, PATIENCE};

fn ask(members: &Members, member: usize, method: &str, path: &str) -> Option<Response> {
    let mut http = Http::connect(members.http(member), PATIENCE).ok()?;
    http.ask(method, path, &[], PATIENCE).ok()
}

/// Waits until a member says that it waits, and for whom.
fn waits_for(members: &Members, member: usize, words: &[&str]) {
    let until = Instant::now() + PATIENCE;
    loop {
        let ready = ask(members, member, "GET", "/readyz");
        let says = |response: &Response| {
            let text = response.json()["detail"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            response.status == 503 && words.iter().all(|word| text.contains(word))
        };
        if ready.as_ref().is_some_and(says) {
            return;
        }
        assert!(Instant::now() < until, "{ready:?}\n{}", members.output());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

pub(crate) fn takes_a_lock(members: &Members, member: usize, lock: &str) {
    let until = Instant::now() + PATIENCE;
    let path = format!("/v1/locks/{lock}?ttl=60s");
    loop {
        let answer = ask(members, member, "POST", &path);
        if answer.as_ref().is_some_and(|answer| answer.status == 200) {
            return;
        }
        assert!(Instant::now() < until, "{answer:?}\n{}", members.output());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn two_of_three_wait_for_the_third_say_so_and_serve_nobody() {
    let mut members = Members::new(3);
    members.start(1);
    members.start(2);
    let third = members.peer(3).to_string();
    for member in [1, 2] {
        let expected = ["waiting for server 3 at", &third, "it does not answer"];
        waits_for(&members, member, &expected);
        let alive = ask(&members, member, "GET", "/healthz").expect("it listens");
        assert_eq!(alive.status, 200);
        let refused = ask(&members, member, "POST", "/v1/locks/a?ttl=60s").expect("it listens");
        let code = refused.json()["code"].clone();
        assert_eq!((refused.status, code), (503, "not-ready".into()));
        let native = members.state(member, Duration::from_secs(2));
        assert!(native.is_none(), "no native client is served");
    }
    let said = members.output();
    assert!(said.contains("all its members are there"), "{said}");
    assert_eq!(said.matches("waiting for server 3").count(), 2, "{said}");
    members.start(3);
    let began = Instant::now();
    members.leader(PATIENCE);
    eprintln!(
        "a leader {} ms after the third came",
        began.elapsed().as_millis()
    );
    takes_a_lock(&members, 1, "a");
    for member in 1..=3 {
        assert!(
            !members.data(member).join("founding").exists(),
            "it is over"
        );
    }
}

/// The schedule F16: a majority of empty directories never begins a second history.
#[test]
fn who_lost_its_data_finds_no_majority_for_another_history() {
    let mut members = Members::new(3);
    members.start_all();
    takes_a_lock(&members, 1, "x");
    for member in 1..=3 {
        members.kill(member);
    }
    // 1 is away, and 2 comes back without its data; 3 is not there yet.
    fs::remove_dir_all(members.data(2)).expect("it is there");
    members.start(2);
    waits_for(&members, 2, &["server 1", "server 3"]);
    members.start(3);
    let (code, output) = members.ended(2);
    assert_eq!(code, Some(70), "{output}");
    assert!(output.contains("tenure member replace 2"), "{output}");
    assert_eq!(
        members.state(3, PATIENCE).and_then(|state| state.leader),
        None,
        "3 alone does not lead"
    );
    // Where 1 is, is the history.
    members.start(1);
    members.leader(PATIENCE);
    let until = Instant::now() + PATIENCE;
    loop {
        let held = ask(&members, 3, "POST", "/v1/locks/x?ttl=60s").expect("it listens");
        if held.status == 423 {
            break;
        }
        assert!(held.status == 503 && Instant::now() < until, "{held:?}");
    }
}

#[test]
fn one_that_was_cut_off_before_it_was_formatted_goes_on_where_it_was() {
    let mut members = Members::new(3);
    // There will be no room for its log.
    fs::create_dir(members.data(3)).expect("it is not there");
    let in_the_way = members.data(3).join("wal");
    fs::write(&in_the_way, "").expect("there is room");
    members.start(1);
    members.start(2);
    members.start(3);
    let (_, output) = members.ended(3);
    assert!(output.contains("wal"), "{output}");
    let record = members.data(3).join("founding");
    assert!(record.exists(), "it knows that it agreed");
    members.leader(PATIENCE);
    takes_a_lock(&members, 1, "x");
    fs::remove_file(&in_the_way).expect("it is there");
    // With another incarnation it would be none of those that founded the cluster.
    let kept = fs::read(&record).expect("it is there");
    fs::remove_file(&record).expect("it is there");
    members.start(3);
    let (code, output) = members.ended(3);
    assert_eq!(code, Some(70), "{output}");
    assert!(output.contains("tenure member replace 3"), "{output}");
    fs::write(&record, kept).expect("there is room");
    members.start(3);
    takes_a_lock(&members, 3, "y");
    assert!(!record.exists(), "it is over");
}

#[test]
fn lists_that_differ_are_named_on_both_sides_and_found_nothing() {
    let mut members = Members::new(2);
    let right = members.config("kill", 2);
    let other = right.replace(
        &members.client(1).to_string(),
        &members.client(9).to_string(),
    );
    fs::write(members.config_file(2), other).expect("the file can be written");
    members.start(1);
    members.start(2);
    waits_for(&members, 1, &["server 2", "another list of `[members]`"]);
    waits_for(&members, 2, &["server 1", "another list of `[members]`"]);
    members.kill(2);
    fs::write(members.config_file(2), members.config("others", 2)).expect("it can be written");
    members.start(2);
    waits_for(&members, 1, &["server 2", "another `cluster`"]);
    members.kill(2);
    fs::write(members.config_file(2), right).expect("the file can be written");
    members.start(2);
    members.leader(PATIENCE);
    takes_a_lock(&members, 2, "a");
}
