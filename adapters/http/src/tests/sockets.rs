//! Raw bytes over a socket, as curl sends them.

use super::world::{World, config, test};
use crate::{ServeError, check_address, serve};
use bytes::BytesMut;
use std::net::SocketAddr;
use std::time::Duration;
use tenure_host::publish;
use tenure_rt::net::{Listener, Stream};
use tenure_rt::{clock, spawn};

const LOCK: &str = "/v1/locks/deploy/prod";

async fn serve_at_free_port(world: &World) -> SocketAddr {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Listener::bind(any).await.expect("a port is free");
    let address = listener.local_addr().expect("it listens");
    drop(spawn(serve(
        listener,
        publish(config(1)).1,
        config(1).shared().encode(),
        world.door.clone(),
    )));
    address
}

async fn say(stream: &mut Stream, text: &str) {
    let mut bytes = BytesMut::from(text);
    stream.write_all(&mut bytes).await.expect("it is connected");
}

/// Reads until `done` is content.
async fn hear(stream: &mut Stream, done: impl Fn(&str) -> bool) -> String {
    let mut heard = BytesMut::new();
    let read = clock::timeout(Duration::from_secs(20), async {
        while !done(&String::from_utf8_lossy(&heard)) {
            if stream.read(&mut heard).await.expect("it is connected") == 0 {
                break;
            }
        }
    });
    let is_in_time = read.await.is_some();
    let text = String::from_utf8(heard.to_vec()).expect("answers are UTF-8");
    assert!(is_in_time, "only: {text}");
    text
}

async fn exchange(address: SocketAddr, text: &str) -> String {
    let mut stream = Stream::connect(address).await.expect("it listens");
    say(&mut stream, text).await;
    hear(&mut stream, |_| false).await
}

#[test]
fn the_line_of_curl_takes_a_lock() {
    test(async {
        let world = World::real().await;
        let address = serve_at_free_port(&world).await;
        let answer = exchange(
            address,
            "POST /v1/locks/deploy/prod?ttl=60s HTTP/1.1\r\nHost: 127.0.0.1:7600\r\n\
             User-Agent: curl/7.88.1\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains("\r\ncontent-type: application/json\r\n"),
            "{answer}"
        );
        assert!(answer.contains("\r\nlock-index: "), "{answer}");
        // Nobody said who: the address it came from.
        assert!(answer.contains("\"holder\":\"127.0.0.1\"}"), "{answer}");
    });
}

#[test]
fn one_connection_asks_many_times() {
    test(async {
        let world = World::real().await;
        let address = serve_at_free_port(&world).await;
        let mut stream = Stream::connect(address).await.expect("it listens");
        for number in 0..20 {
            let body = format!(r#"{{"holder":"h{number}"}}"#);
            let request = format!(
                "POST /v1/locks/{number} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            say(&mut stream, &request).await;
            let end = format!("\"holder\":\"h{number}\"}}\n");
            let answer = hear(&mut stream, |text| text.ends_with(&end)).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
    });
}

#[test]
fn a_caller_that_hangs_up_leaves_the_line() {
    test(async {
        let world = World::real().await;
        let address = serve_at_free_port(&world).await;
        assert_eq!(world.post(LOCK).await.status, 200);
        let mut stream = Stream::connect(address).await.expect("it listens");
        let request = "POST /v1/locks/deploy/prod?wait=60s HTTP/1.1\r\nHost: x\r\n\r\n";
        say(&mut stream, request).await;
        world.wait_for_line(LOCK, 1).await;
        drop(stream);
        world.wait_for_line(LOCK, 0).await;
    });
}

#[test]
fn garbage_and_giants_are_answered_and_closed() {
    test(async {
        let world = World::real().await;
        let address = serve_at_free_port(&world).await;
        let answer = exchange(address, "\x16\x03\x01 hello\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let giant = "POST /v1/locks/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                     Content-Length: 4294967296\r\n\r\n";
        let answer = exchange(address, giant).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("\"code\":\"too-long\""), "{answer}");
        let fields = format!("X: {}\r\n", "x".repeat(1000)).repeat(20);
        let wide = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n");
        let answer = exchange(address, &wide).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert!(answer.contains("\"code\":\"too-long\""), "{answer}");
        // More fields than hyper reads.
        let many = "X: y\r\n".repeat(150);
        let wide = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{many}\r\n");
        let answer = exchange(address, &wide).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert_eq!(world.get("/healthz").await.status, 200);
    });
}

#[test]
fn a_body_that_is_cut_off_changes_nothing() {
    test(async {
        let world = World::real().await;
        let address = serve_at_free_port(&world).await;
        let mut stream = Stream::connect(address).await.expect("it listens");
        let half = "POST /v1/locks/a HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n{\"holder\":";
        say(&mut stream, half).await;
        drop(stream);
        assert_eq!(world.get("/v1/locks/a").await.json()["state"], "free");
    });
}

#[test]
fn without_tls_only_loopback_is_served() {
    for address in ["127.0.0.1:7600", "127.8.8.8:1", "[::1]:7600"] {
        let address = address.parse().expect("an address");
        assert!(check_address(address).is_ok(), "{address}");
    }
    for address in ["0.0.0.0:7600", "10.0.0.1:7600", "[::]:7600"] {
        let address = address.parse().expect("an address");
        let refused = check_address(address);
        let Err(error @ ServeError::NotLoopback { .. }) = refused else {
            panic!("{address} was taken");
        };
        assert!(error.to_string().contains("loopback only"), "{error}");
    }
    test(async {
        let world = World::real().await;
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        let listener = Listener::bind(any).await.expect("a port is free");
        let genesis = config(1).shared().encode();
        let served = serve(listener, publish(config(1)).1, genesis, world.door.clone()).await;
        assert!(matches!(served, Err(ServeError::NotLoopback { .. })));
    });
}
