//! Bytes that no client and no server of this cluster sends.

use crate::common::{Service, refused};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;
use tenure_core::ids::{ClusterId, RequestId};
use tenure_core::wire::client::{Word, numbers};
use tenure_core::wire::codes;
use tenure_tests::http::Http;
use tenure_tests::members::PATIENCE;

/// Sends bytes, and waits until the server closes the connection.
fn closed_after(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let timeout = stream.set_read_timeout(Some(PATIENCE));
    timeout.expect("a timeout can be set");
    stream.write_all(bytes).expect("the server reads");
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => {}
        // Bytes that the server did not read any more.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the server does not close the connection: {error}"),
    }
    said
}

/// Bytes without any sense, the same each time.
fn garbage() -> Vec<u8> {
    let mut rng = tenure_core::rng::Rng::new(tenure_core::ids::Seed::new(5));
    (0..4096)
        .map(|_| u8::try_from(rng.below(256)).expect("it is below 256"))
        .collect()
}

#[test]
fn a_client_of_another_cluster_is_told_so() {
    Service::of(1).unchanged(|service| {
        let mut native = service.native();
        let other = ClusterId([0x5a; 16]);
        assert_ne!(native.cluster(), other);
        let word = native.hello(other, PATIENCE).expect("the server answers");
        refused(&word, codes::WRONG_CLUSTER);
        let own = native.cluster();
        let word = native.hello(own, PATIENCE).expect("the server answers");
        assert!(matches!(word, Word::Hello { .. }), "{word:?}");
    });
}

#[test]
fn garbage_ends_a_connection_and_nothing_else() {
    Service::of(1).unchanged(|service| {
        let members = &service.members;
        closed_after(members.peer(1), &garbage());
        // The first bytes of a stream of commands that lead to an error, whatever follows.
        let said = closed_after(members.client(1), &[&[0xbf; 64][..], &garbage()].concat());
        assert!(!said.is_empty(), "it says what is wrong");
        let said = closed_after(members.http(1), &garbage());
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.is_empty() || said.contains("400"), "{said}");
    });
}

#[test]
fn a_declared_length_of_4_gib_is_refused_before_it_is_believed() {
    Service::of(1).unchanged(|service| {
        let before = memory(service);
        let mut native = service.native();
        let number = numbers::KEY_VALUES.to_be_bytes();
        let bytes = [&number[..], &u32::MAX.to_be_bytes(), &[0; 64]].concat();
        native.send(&bytes).expect("the server reads");
        let until = Instant::now() + PATIENCE;
        let heard = native.hear(until).expect("the server answers");
        let text = refused(&heard.word, codes::TOO_LONG);
        assert!(text.contains("4294967295"), "{text}");
        let over = native.hear(until).expect_err("the connection is closed");
        assert_ne!(over.kind(), std::io::ErrorKind::TimedOut, "{over}");

        closed_after(service.members.peer(1), &[0xff; 64]);

        let mut http = Http::connect(service.members.http(1), PATIENCE).expect("it listens");
        let head = "POST /v1/locks/a HTTP/1.1\r\nHost: a\r\nContent-Length: 4294967296\r\n\
                    Content-Type: application/json\r\n\r\n{";
        http.send(head.as_bytes()).expect("the server reads");
        let response = http.hear(until).expect("the server answers");
        assert_eq!(response.status, 413, "{response:?}");
        assert_eq!(response.json()["code"], "too-long");
        let after = memory(service);
        assert!(after < before + (32 << 20), "{before} bytes, then {after}");
    });
}

/// The most memory that the server ever had.
fn memory(service: &mut Service) -> u64 {
    let id = service.members.process(1).id();
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next());
    let kib: u64 = kib.and_then(|word| word.parse().ok()).expect("it has some");
    kib * 1024
}

#[test]
fn an_unknown_command_is_refused_and_the_next_one_served() {
    Service::of(1).unchanged(|service| {
        let mut native = service.native();
        native.send(&0x7abc_u16.to_be_bytes()).expect("it reads");
        let until = Instant::now() + PATIENCE;
        let heard = native.hear(until).expect("the server answers");
        let text = refused(&heard.word, codes::INVALID_COMMAND);
        assert!(text.contains("0x7abc"), "{text}");
        native.send(&numbers::PING.to_be_bytes()).expect("it reads");
        let heard = native.hear(until).expect("the server answers");
        assert_eq!(heard.word, Word::Pong);

        let mut http = Http::connect(service.members.http(1), PATIENCE).expect("it listens");
        for (method, target, status) in [
            ("POST", "/v1/nothing", 404),
            ("PUT", "/v1/locks/a", 405),
            ("POST", "/v1/locks/a?banana=1", 400),
        ] {
            let response = http.ask(method, target, &[], PATIENCE).expect("it answers");
            assert_eq!(response.status, status, "{response:?}");
            assert!(response.json()["detail"].is_string(), "{response:?}");
        }
    });
}

#[test]
fn half_a_request_does_nothing() {
    Service::of(1).unchanged(|service| {
        // A lock's name and half of the command that takes it.
        let mut native = service.native();
        let id = RequestId::new(1);
        let ask = tenure_tests::native::acquire(
            "half",
            tenure_core::machine::command::Mode::Exclusive,
            tenure_core::machine::command::Life::Static,
            std::time::Duration::ZERO,
            "",
        );
        let mut whole = bytes::BytesMut::new();
        let client = tenure_core::machine::command::Client::None;
        tenure_core::wire::client::Caller::default().ask(id, &client, &ask, &mut whole);
        native.send(&whole[..whole.len() - 1]).expect("it reads");
        native.finish().expect("the connection stands");
        let over = native.hear(Instant::now() + PATIENCE);
        assert!(over.is_err(), "{over:?}");

        let address = service.members.http(1);
        let json = "Content-Type: application/json\r\n";
        for (length, body) in [(100, "{\"ttl\":\"60s\""), (12, "{\"ttl\":\"60s\"")] {
            let mut http = Http::connect(address, PATIENCE).expect("it listens");
            let text = format!(
                "POST /v1/locks/half HTTP/1.1\r\nHost: a\r\n{json}Content-Length: {length}\r\n\r\n{body}"
            );
            http.send(text.as_bytes()).expect("it reads");
            http.finish().expect("the connection stands");
            if let Ok(response) = http.hear(Instant::now() + PATIENCE) {
                assert_eq!(response.status, 400, "{response:?}");
            }
        }
    });
}
