//! Servers that a cluster does not let in, or not yet.

use crate::common::says;
use std::fs;
use std::process::Command;
use tenure_tests::binary::tenure;
use tenure_tests::http::Http;
use tenure_tests::members::{Members, PATIENCE};

/// What a server is told at its door, in the one line that ends it.
fn refused(members: &Members, member: usize, code: i32, words: &[&str]) {
    says(&mut members.command(member), code, words);
    let data = members.data(member).join("superblock");
    assert!(!data.exists(), "nothing was made");
}

fn members_listed(members: &Members) -> usize {
    let http = Http::connect(members.http(1), PATIENCE);
    let mut http = http.expect("it listens");
    let answer = http.ask("GET", "/v1/members", &[], PATIENCE);
    let listed = answer.expect("it answers").json();
    listed["members"].as_array().map_or(0, Vec::len)
}

#[test]
fn a_server_without_a_good_invitation_is_told_why() {
    let members = Members::found(3);
    fs::write(members.token_file(2), "guessed\n").expect("the file can be written");
    refused(&members, 2, 77, &["nobody was invited", "not-invited"]);
    members.invite(2, &["ttl=0"]);
    refused(&members, 2, 77, &["time is over", "invitation-over"]);
    fs::remove_file(members.token_file(2)).expect("it is there");
    refused(&members, 2, 78, &["2.token", "No such file"]);
    assert_eq!(members_listed(&members), 1, "nobody was let in");
}

#[test]
fn an_invitation_is_good_for_one_server() {
    let mut members = Members::found(3);
    members.invite(2, &["role=observer", "approve=true"]);
    fs::copy(members.token_file(2), members.token_file(3)).expect("there is room");
    members.start(2);
    let waits = |line: &str| line.contains("tenure member approve 2").then_some(());
    members.process(2).line(PATIENCE, "that it waits", waits);
    refused(&members, 3, 77, &["used by server 2", "invitation-used"]);
    // It comes back as who it is, and without another invitation.
    members.kill(2);
    members.start(2);
    members.process(2).line(PATIENCE, "that it waits", waits);
    assert_eq!(members_listed(&members), 2);
}

#[test]
fn a_server_that_waits_in_vain_ends_with_a_word() {
    let mut members = Members::found(2);
    members.invite(2, &["role=observer", "approve=true"]);
    members.start(2);
    let waits = |line: &str| line.contains("tenure member approve 2").then_some(());
    members.process(2).line(PATIENCE, "that it waits", waits);
    members.operate(&["remove", "2"], &[]);
    let (code, output) = members.ended(2);
    assert_eq!(code, Some(77), "{output}");
    let last = output.lines().last().unwrap_or_default();
    assert!(
        last.contains("no member of this cluster any more"),
        "{output}"
    );
    // And so does each later start.
    says(
        &mut members.command(2),
        77,
        &["no member of this cluster any more"],
    );
}

#[test]
fn an_empty_directory_does_not_come_back_with_a_number_that_votes() {
    let members = Members::found(2);
    let text = members.listening(2) + "[join]\naddresses = [\"HTTP\"]\nid = 1\n";
    let text = text.replace("HTTP", &members.http(1).to_string());
    fs::write(members.config_file(2), text).expect("the file can be written");
    let words = ["server 1 votes", "tenure member replace 1"];
    refused(&members, 2, 77, &words);
}

#[test]
fn an_empty_directory_must_be_told_how_to_begin() {
    let members = Members::new(1);
    let text = members.listening(1);
    fs::write(members.config_file(1), text).expect("the file can be written");
    refused(&members, 1, 78, &["is empty", "--bootstrap", "[join]"]);
}

#[test]
fn a_cluster_is_founded_once() {
    let mut members = Members::found(1);
    members.kill(1);
    let mut again = members.command(1);
    says(again.arg("--bootstrap"), 78, &["has a cluster already"]);
    members.start(1);
    assert_eq!(members.leader(PATIENCE), 1, "without the word it goes on");
}

#[test]
fn words_alone_found_a_cluster_and_join_it() {
    let mut members = Members::new(2);
    let serve = |member: usize| {
        let mut command = Command::new(tenure());
        let key = members.path().join("token.key");
        command
            .args([
                "serve",
                "--listen",
                &members.http(member).to_string(),
                "--data",
            ])
            .arg(members.data(member))
            .arg("--token-key")
            .arg(key);
        command
    };
    let (mut first, mut second) = (serve(1), serve(2));
    members.start_by(1, first.arg("--bootstrap"));
    members.leader(PATIENCE);
    members.invite(2, &["role=observer"]);
    // Nobody is at the first address.
    let addresses = format!("127.0.0.1:1,{}", members.http(1));
    second.args(["--join", &addresses, "--token-file"]);
    second.arg(members.token_file(2));
    members.start_by(2, &mut second);
    members.process(2).line(PATIENCE, "a leader", |line| {
        line.contains("follows").then_some(())
    });
    members.invite(2, &["approve=true", "ttl=10m"]);
    let listed = members.operate(&["ls"], &[]);
    let lines: Vec<&str> = listed.lines().collect();
    let [first, second, invitation] = lines[..] else {
        panic!("two members and an invitation: {listed}");
    };
    assert!(
        first.starts_with("leads") && first.contains("member 1    voter"),
        "{listed}"
    );
    assert!(
        second.starts_with("up") && second.contains("member 2    observer"),
        "{listed}"
    );
    assert!(
        invitation.contains("for a voter, to be approved"),
        "{listed}"
    );
    let hash = invitation.split(' ').nth(1).expect("it has a hash");
    members.operate(&["uninvite", hash], &[]);
    assert_eq!(members.operate(&["ls"], &[]).lines().count(), 2);
}
