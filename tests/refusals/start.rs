//! Servers that must not start, or must not be listened to.

use crate::common::{Service, says};
use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};
use tenure_core::ids::{NodeId, Slot};
use tenure_tests::loopback::own_address;
use tenure_tests::members::{Members, PATIENCE, State};

#[test]
fn a_port_in_use_is_named() {
    for address in [Members::peer, Members::client, Members::http] {
        // Each its own: what another test starts in this moment may hold a port that was let go.
        let members = Members::new(1);
        let address = address(&members, 1);
        let taken = TcpListener::bind(address).expect("it is free");
        let words = [&address.to_string(), "in use"];
        says(&mut members.command(1), 71, &words);
        assert!(!members.data(1).exists(), "nothing was touched");
        drop(taken);
    }
}

#[test]
fn a_data_directory_in_use_is_named() {
    Service::of(1).unchanged(|service| {
        let members = &service.members;
        // The same server with other addresses.
        let old = members.client(1).ip().to_string();
        let text = members.config("kill", 1);
        let text = text.replace(&old, &own_address().to_string());
        let file = members.path().join("second.toml");
        fs::write(&file, text).expect("the file can be written");
        let mut command = std::process::Command::new(tenure_tests::binary::tenure());
        command.args(["serve", "--config"]).arg(&file);
        says(&mut command, 71, &["data-1", "in use by another server"]);
    });
}

#[test]
fn a_second_server_with_the_same_id_is_refused_by_the_others() {
    let mut service = Service::of(3);
    let victim = 1 + service.leader % 3;
    service.unchanged(|service| {
        let members = &mut service.members;
        // Another directory and another address, and the number of a server that runs.
        let text = members.config("kill", victim);
        let lines = text.lines().map(|line| {
            if line.starts_with(&format!("{victim} = ")) {
                let old = members.client(victim).ip().to_string();
                line.replace(&old, &own_address().to_string())
            } else {
                line.replace(&format!("data-{victim}"), "data-impostor")
            }
        });
        let text: Vec<String> = lines.collect();
        let file = members.path().join("impostor.toml");
        fs::write(&file, text.join("\n")).expect("the file can be written");
        let mut command = std::process::Command::new(tenure_tests::binary::tenure());
        command.args(["serve", "--config"]).arg(&file);
        let words = [
            &format!("server {victim} is known with data directory"),
            "lost its data",
        ];
        says(&mut command, 70, &words);
        assert_eq!(members.leader(PATIENCE), service.leader, "the leader leads");
    });
}

/// Its number has votes that its empty disk knows nothing of: even those that started since know that.
#[test]
fn a_server_that_lost_its_data_does_not_come_back_under_its_number() {
    let mut members = Members::new(3);
    members.start_all();
    // The two others have met it.
    let two_peers = 8 + 2 * 16;
    let began = Instant::now();
    for member in [1, 3] {
        let file = members.data(member).join("peers");
        while fs::metadata(&file).map_or(0, |found| found.len()) < two_peers {
            assert!(began.elapsed() < PATIENCE, "{}", members.output());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
    for member in 1..=3 {
        members.kill(member);
    }
    fs::remove_dir_all(members.data(2)).expect("it is there");
    members.start(1);
    members.start(3);
    members.leader(PATIENCE);
    members.start(2);
    let (code, output) = members.ended(2);
    assert_eq!(code, Some(70), "{output}");
    let last = output.lines().last().unwrap_or_default();
    let says = |word| assert!(last.contains(word), "{output}");
    says("server 2 is known with data directory");
    says("tenure member replace 2");
    members.leader(PATIENCE);
}

/// How the leader is once its own first entry is applied: an idle cluster writes no other.
fn settled(members: &Members, leader: usize) -> State {
    let began = Instant::now();
    loop {
        let state = members.state(leader, PATIENCE).expect("it answers");
        if state.applied > Slot::new(0) {
            return state;
        }
        assert!(began.elapsed() < PATIENCE, "the leader's start is applied");
    }
}

#[test]
fn a_new_server_of_another_cluster_waits_and_says_who_refuses_it() {
    let mut members = Members::new(3);
    members.start_all();
    members.kill(3);
    let leader = members.leader(PATIENCE);
    let before = settled(&members, leader);
    let text = members.config("other", 3);
    fs::write(members.config_file(3), text).expect("the file can be written");
    fs::remove_dir_all(members.data(3)).expect("it is there");
    members.start(3);
    let refused = |line: &str| {
        let words = [
            "waiting for server",
            "refuses this server: the peer is of cluster",
        ];
        words.iter().all(|word| line.contains(word)).then_some(())
    };
    members
        .process(3)
        .line(PATIENCE, "it to say who refuses it", refused);
    let after = members.state(leader, PATIENCE).expect("it answers");
    assert_eq!(before, after, "the state changed");
    assert_eq!(after.leader, Some(NodeId::new(leader as u64)));
}
