//! HTTP of the running binary, with nothing but a socket.

use crate::run::{Running, assert_fails, free_ports, output};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// Sends a request, and gives all that comes until the connection ends.
fn exchange(address: &str, line: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let limit = Some(Duration::from_secs(30));
    stream.set_read_timeout(limit).expect("it is a socket");
    let request = format!("{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    // A server that was killed ends the connection the hard way.
    drop(stream.read_to_string(&mut answer));
    answer
}

/// The address and the path of the curl line that a server prints.
fn curl(line: &str) -> (String, String) {
    let url = line.split('\'').nth(1).expect("an address in quotes");
    let rest = url.strip_prefix("http://").expect("it is HTTP");
    let (address, path) = rest.split_once('/').expect("it has a path");
    (address.to_owned(), format!("/{path}"))
}

#[test]
fn the_line_that_the_server_prints_takes_a_lock() {
    let folder = tempfile::tempdir().expect("there is room");
    let data = folder.path().join("data");
    let data = data.to_str().expect("the folder's name is text");
    let port = free_ports().to_string();
    let mut server = Running::start(&["serve", "--dev", "--data", data, "--port", &port]);
    let (address, path) = curl(&server.line_with("Take a lock:  curl -X POST"));
    let answer = exchange(&address, &format!("POST {path}"));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let plain = r#"{"lock":"deploy/prod","token":""#;
    assert!(answer.contains(plain), "{answer}");
    assert!(answer.ends_with("\"ttl_ms\":60000,\"holder\":\"alice\"}\n"));
    let answer = exchange(&address, &format!("POST {path}"));
    assert!(answer.starts_with("HTTP/1.1 423 Locked\r\n"), "{answer}");
    let answer = exchange(&address, "GET /readyz");
    assert!(answer.ends_with("{\"status\":\"ready\"}\n"), "{answer}");

    // Who waits when the server stops hears that nobody knows.
    let waiting = std::thread::spawn({
        let (address, path) = (address.clone(), path.clone());
        move || exchange(&address, &format!("POST {path}&wait=1h"))
    });
    while !exchange(&address, "GET /v1/locks/deploy/prod").contains("\"waiting\":1}") {}
    assert!(server.stop(), "it ends well");
    let answer = waiting.join().expect("it does not panic");
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(answer.contains("\"outcome\":\"unknown\""), "{answer}");
}

#[test]
fn a_port_of_http_in_use_is_named_and_nothing_is_touched() {
    let folder = tempfile::tempdir().expect("there is room");
    let port = free_ports();
    let _taken = TcpListener::bind(("127.0.0.1", port)).expect("it was free");
    let data = folder.path().join("data");
    let name = data.to_str().expect("the folder's name is text");
    let words = port.to_string();
    let failed = output(&["serve", "--dev", "--data", name, "--port", &words]);
    assert_fails(
        &failed,
        71,
        &["HTTP", &format!("127.0.0.1:{port}"), "in use"],
    );
    assert!(!data.exists(), "nothing was touched");
}

#[test]
fn a_caller_that_waits_at_a_follower_gets_the_lock_after_the_leader_was_killed() {
    let folder = tempfile::tempdir().expect("there is room");
    let data = folder.path().to_str().expect("the folder's name is text");
    let port = free_ports();
    let words = port.to_string();
    let three = ["serve", "--dev", "--servers", "3", "--data", data];
    let mut servers = Running::start(&[&three[..], &["--port", &words]].concat());
    let line = servers.line_with("leads. Kill it and watch");
    let word = |after: &str| {
        let rest = line.split(after).nth(1).expect("the word is there");
        let digits = rest.chars().take_while(char::is_ascii_digit);
        digits.collect::<String>().parse::<u32>().expect("a number")
    };
    let (leader, pid) = (word("Server "), word("(pid "));
    let http = |member: u32| format!("127.0.0.1:{}", u32::from(port) + 10 * (member - 1));
    let follower = http(leader % 3 + 1);
    let lock = "/v1/locks/deploy/prod";
    let answer = exchange(&follower, &format!("POST {lock}?holder=alice&ttl=2s"));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let waiting = std::thread::spawn({
        let follower = follower.clone();
        move || exchange(&follower, &format!("POST {lock}?holder=bob&wait=60s"))
    });
    while !exchange(&follower, &format!("GET {lock}")).contains("\"waiting\":1}") {}
    crate::run::signal("-KILL", pid);
    servers.line_with("is gone. Bring it back");
    let answer = waiting.join().expect("it does not panic");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\"holder\":\"bob\"}\n"), "{answer}");
    assert!(servers.stop());
}
