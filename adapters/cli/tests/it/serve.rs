//! `tenure serve`: it starts, it says what is wrong, and three of them survive one.

use crate::run::{Running, assert_fails, free_ports, output, signal};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Instant;

fn text(path: &Path) -> &str {
    path.to_str().expect("the folder's name is text")
}

fn number_after<'a>(line: &'a str, word: &str) -> &'a str {
    let rest = line.split(word).nth(1).expect("the word is there");
    let end = rest.find(|c: char| !c.is_ascii_digit());
    &rest[..end.unwrap_or(rest.len())]
}

#[test]
fn one_server_starts_without_any_configuration_and_stops_when_asked() {
    let folder = tempfile::tempdir().expect("there is room");
    let (data, port) = (folder.path().join("data"), free_ports().to_string());
    let began = Instant::now();
    let words = ["serve", "--dev", "--data", text(&data), "--port", &port];
    let mut server = Running::start(&words);
    let line = server.line_with("one server for trying out");
    assert!(line.contains("Loopback only, no TLS"), "{line}");
    server.line_with("native 127.0.0.1:");
    assert!(began.elapsed().as_secs() < 10, "it starts at once");

    // Another one on the same directory, with other ports.
    let other = (free_ports()).to_string();
    let second = output(&["serve", "--dev", "--data", text(&data), "--port", &other]);
    assert_fails(&second, 71, &[text(&data), "in use by another server"]);
    assert!(server.stop(), "it ends well");
    let mut again = Running::start(&words);
    again.line_with("one server for trying out");
    assert!(again.stop());
}

#[test]
fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().expect("there is room");
    let port = free_ports();
    let _taken = TcpListener::bind(("127.0.0.1", port + 1)).expect("it was free");
    let data = folder.path().join("data");
    let port = port.to_string();
    let failed = output(&["serve", "--dev", "--data", text(&data), "--port", &port]);
    let address = format!("127.0.0.1:{}", port.parse::<u16>().expect("a port") + 1);
    assert_fails(&failed, 71, &["native clients", &address, "in use"]);
    assert!(!data.exists(), "nothing was touched");
}

#[test]
fn a_wrong_configuration_is_named() {
    let folder = tempfile::tempdir().expect("there is room");
    let file = folder.path().join("tenure.toml");
    let missing = output(&["serve", "--config", text(&file)]);
    assert_fails(&missing, 78, &[text(&file), "No such file"]);
    fs::write(&file, "cluster = \"shop\"\nidd = 1\n").expect("there is room");
    let typo = output(&["serve", "--config", text(&file)]);
    assert_fails(&typo, 78, &["tenure.toml:2", "unknown field `idd`"]);
    let several = output(&["serve", "--dev", "--servers", "3", "--member", "4"]);
    assert_fails(&several, 78, &["--member 4", "members 1 to 3"]);
}

#[test]
fn a_data_directory_of_another_server_is_refused() {
    let folder = tempfile::tempdir().expect("there is room");
    let (data, base) = (folder.path(), free_ports());
    fs::write(data.join("token.key"), "0".repeat(64)).expect("there is room");
    let file = data.join("tenure.toml");
    let write = |cluster: &str| {
        let [http, client, peer] =
            [base, base + 1, base + 2].map(|port| format!("127.0.0.1:{port}"));
        let config = format!(
            "cluster = {cluster:?}\nid = 1\ndata = \"data\"\n[members]\n\
             1 = {{ peer = {peer:?}, client = {client:?}, http = {http:?} }}\n"
        );
        fs::write(&file, config).expect("there is room");
    };
    write("shop");
    let mut server = Running::start(&["serve", "--config", text(&file)]);
    while !data.join("data/token.key").exists() {
        std::thread::yield_now();
        assert!(matches!(server.child.try_wait(), Ok(None)), "it runs");
    }
    drop(server);
    write("bank");
    let failed = output(&["serve", "--config", text(&file)]);
    assert_fails(&failed, 78, &["belongs to cluster"]);
}

#[test]
fn three_servers_survive_the_death_of_their_leader() {
    let folder = tempfile::tempdir().expect("there is room");
    let (data, port) = (text(folder.path()), free_ports().to_string());
    let words = [
        "serve",
        "--dev",
        "--servers",
        "3",
        "--data",
        data,
        "--port",
        &port,
    ];
    let mut servers = Running::start(&words);
    let first = servers.line_with("leads. Kill it and watch");
    let (member, pid) = (
        number_after(&first, "Server "),
        number_after(&first, "(pid "),
    );
    signal("-KILL", pid.parse().expect("it is a pid"));
    let gone = servers.line_with("is gone. Bring it back");
    assert!(
        gone.starts_with(&format!("Server {member} (pid {pid})")),
        "{gone}"
    );
    let next = servers.line_with("leads, ");
    assert!(next.contains("s after the last one went"), "{next}");
    assert!(!next.starts_with(&format!("Server {member} ")), "{next}");

    // It comes back under the new leader, and is no stranger there.
    let again = [&words[..], &["--member", member]].concat();
    let mut back = Running::start(&again);
    back.line_with(&format!("server {member} of 3"));
    assert!(back.stop(), "it ran until it was asked to stop");
    assert!(servers.stop());
}
