//! Every limit and every slip is an answer that names the place.

use super::world::{World, test};
use axum::http::Method as M;
use std::sync::Arc;
use tenure_core::ids::{Slot, TicketId};
use tenure_core::machine::answer::Answer;
use tenure_core::node::output::{Failure, Reply};
use tenure_rt::{spawn, yield_now};

const JSON: &str = "content-type: application/json";
const FORM: &str = "content-type: application/x-www-form-urlencoded";

#[test]
fn a_field_that_can_not_be_used_is_named() {
    let long = "x".repeat(129);
    let long_holder = format!("/v1/locks/a?holder={long}");
    let cases: &[(&str, &str, &str)] = &[
        ("/v1/locks/a?ttl=banana", "bad-value", "ttl"),
        ("/v1/locks/a?ttl=", "bad-value", "ttl"),
        ("/v1/locks/a?ttl=499ms", "bad-value", "ttl"),
        ("/v1/locks/a?ttl=25h", "bad-value", "ttl"),
        ("/v1/locks/a?wait=soon", "bad-value", "wait"),
        ("/v1/locks/a?wait=25h", "bad-value", "wait"),
        ("/v1/locks/a?wait=none", "bad-value", "wait"),
        ("/v1/locks/a?mode=open", "bad-value", "mode"),
        ("/v1/locks/a?async=1", "bad-value", "async"),
        ("/v1/locks/a?ttl=1m&ttl=2m", "bad-value", "ttl"),
        (&long_holder, "bad-value", "holder"),
        ("/v1/locks/a?holder=%ff", "bad-value", "query"),
        ("/v1/locks/a?hodler=alice", "unknown-field", "hodler"),
        ("/v1/locks/a?token=1.ab", "unknown-field", "token"),
        ("/v1/locks/%ff", "bad-value", "path"),
        ("/v1/locks/%7Ba=5%7D", "bad-value", "path"),
        ("/v1/locks/", "bad-value", "path"),
        ("/v1/locks?key_values=a", "bad-value", "key_values"),
    ];
    test(async move {
        let world = World::real().await;
        for (address, code, field) in cases {
            let got = world.post(address).await;
            got.is_problem(400, code, Some(field));
        }
        let free = world.get("/v1/locks/a").await.json();
        assert_eq!(free["state"], "free", "nothing changed");
    });
}

#[test]
fn a_list_knows_its_bounds() {
    test(async {
        let world = World::real().await;
        for (address, field) in [
            ("/v1/locks?limit=0", "limit"),
            ("/v1/locks?limit=1001", "limit"),
            ("/v1/locks?limit=all", "limit"),
            ("/v1/locks?cursor=xyz", "cursor"),
            ("/v1/locks?cursor=ab", "cursor"),
        ] {
            world
                .get(address)
                .await
                .is_problem(400, "bad-value", Some(field));
        }
        let got = world.get("/v1/locks?after=a").await;
        got.is_problem(400, "unknown-field", Some("after"));
        let got = world.get("/v1/locks/a?wait=1s").await;
        got.is_problem(400, "unknown-field", Some("wait"));
    });
}

#[test]
fn a_name_of_two_kilobytes_is_refused() {
    test(async {
        let world = World::real().await;
        let address = format!("/v1/locks/{}", "n".repeat(2048));
        for method in [M::GET, M::POST, M::PATCH, M::DELETE] {
            let got = world.ask(method, &address, &[], "").await;
            got.is_problem(400, "bad-value", Some("path"));
            assert!(
                got.text.contains("2048 bytes; at most 1024"),
                "{}",
                got.text
            );
        }
        let longest = format!("/v1/locks/{}", "n".repeat(1024));
        assert_eq!(world.post(&longest).await.status, 200);
    });
}

/// The type of a body, the body, and the field that is wrong in it.
const SLIPS: &[(&str, &str, &str)] = &[
    (JSON, r#"{"holder":"a","holder":"b"}"#, "holder"),
    (JSON, r#"{"ttl":null}"#, "ttl"),
    (JSON, r#"{"ttl":1.5}"#, "ttl"),
    (JSON, r#"{"ttl":{"s":5}}"#, "ttl"),
    (JSON, r#"{"holder":"#, "body"),
    (JSON, "[]", "body"),
    (JSON, r#"{"holder":"a"} x"#, "body"),
    (FORM, "holder=%ff", "body"),
    (JSON, r#"{"key_values":[]}"#, "key_values"),
    (JSON, r#"{"key_values":{}}"#, "key_values"),
    (JSON, r#"{"all":[]}"#, "all"),
    (JSON, r#"{"all":{"lock":"a"}}"#, "all"),
    (JSON, r#"{"all":["a"]}"#, "all"),
    (
        JSON,
        r#"{"all":[{"lock":"a"},{"lock":"a","mode":"shared"}]}"#,
        "all",
    ),
    (JSON, r#"{"all":[{"lock":"a","lock":"b"}]}"#, "all"),
    (JSON, r#"{"all":[{"lock":""}]}"#, "all.lock"),
    (JSON, r#"{"all":[{"lock":5}]}"#, "all.lock"),
    (JSON, r#"{"all":[{"lock":"a","mode":"some"}]}"#, "all.mode"),
    (JSON, r#"{"all":[{"lock":"a"}],"mode":"shared"}"#, "mode"),
    (
        JSON,
        r#"{"all":[{"lock":"a","permits":0,"capacity":1}]}"#,
        "all.permits",
    ),
    (JSON, r#"{"all":[{"lock":"a"}],"permits":1}"#, "mode"),
    (FORM, "mode=xx", "mode"),
    (FORM, "permits=0&capacity=1", "permits"),
    (FORM, "permits=1&capacity=1073741825", "capacity"),
    (FORM, "all=a", "all"),
    (
        JSON,
        r#"{"all":[{"lock":"a"}],"key_values":{"a":{"type":"u8","value":1}}}"#,
        "key_values",
    ),
    (
        JSON,
        r#"{"key_values":{"_path":{"type":"string","value":"x"}}}"#,
        "key_values",
    ),
    (
        JSON,
        r#"{"key_values":{"a":{"type":"u8","value":1},"a":{"type":"u8","value":1}}}"#,
        "key_values",
    ),
];

/// What is no typed value of a pair.
const NO_VALUES: &[&str] = &[
    "5",
    r#"{"type":"u8","value":256}"#,
    r#"{"type":"u8","value":-1}"#,
    r#"{"type":"text","value":"x"}"#,
    r#"{"type":"bytes","value":"xyz"}"#,
    r#"{"type":"string","value":5}"#,
    r#"{"type":"string"}"#,
    r#"{"type":"string","value":"x","x":1}"#,
];

#[test]
fn a_slip_in_a_body_is_named() {
    test(async move {
        let world = World::real().await;
        for (kind, body, field) in SLIPS {
            let got = world.ask(M::POST, "/v1/locks", &[kind], body).await;
            got.is_problem(400, "bad-value", Some(field));
        }
        for value in NO_VALUES {
            let body = format!(r#"{{"key_values":{{"a":{value}}}}}"#);
            let got = world.ask(M::POST, "/v1/locks", &[JSON], &body).await;
            got.is_problem(400, "bad-value", Some("key_values.a"));
        }
        for (kind, body) in [(JSON, r#"{"hodler":"a"}"#), (FORM, "hodler=a")] {
            let got = world.ask(M::POST, "/v1/locks/a", &[kind], body).await;
            got.is_problem(400, "unknown-field", Some("hodler"));
        }
        let text = "content-type: text/plain";
        let got = world.ask(M::POST, "/v1/locks/a", &[text], "holder=a").await;
        got.is_problem(415, "unsupported-media-type", None);
    });
}

#[test]
fn every_type_of_pair_is_read() {
    let types = [
        ("u8", "255", "255u8"),
        ("u16", "65535", "65535u16"),
        ("u32", "4294967295", "4294967295u32"),
        ("u64", "18446744073709551615", "18446744073709551615u64"),
        ("u64", "\"18446744073709551615\"", "18446744073709551615u64"),
        ("i8", "-128", "-128i8"),
        ("i16", "-32768", "-32768i16"),
        ("i32", "-2147483648", "-2147483648i32"),
        ("i64", "-9223372036854775808", "-9223372036854775808i64"),
        ("f32", "0.1", "0.1f32"),
        ("f64", "-1.5", "-1.5f64"),
        ("string", "\"x\\ny\"", "\"x\\u{a}y\""),
        ("bytes", "\"00ff\"", "0x00ff"),
    ];
    test(async move {
        let world = World::real().await;
        for (kind, value, text) in types {
            let body = format!(
                r#"{{"mode":"shared","key_values":{{"a":{{"type":"{kind}","value":{value}}}}}}}"#
            );
            let got = world.ask(M::POST, "/v1/locks", &[JSON], &body).await;
            assert_eq!(got.status, 200, "{}", got.text);
            assert_eq!(got.str("lock"), format!("{{a={text}}}"));
        }
    });
}

#[test]
fn bodies_and_heads_have_bounds() {
    test(async {
        let world = World::real().await;
        let body = "x".repeat((64 << 10) + 1);
        let got = world.ask(M::POST, "/v1/locks/a", &[FORM], &body).await;
        got.is_problem(413, "too-long", None);
        let header = format!("x-filler: {}", "x".repeat(16 << 10));
        let got = world.ask(M::POST, "/v1/locks/a", &[&header], "").await;
        got.is_problem(431, "too-long", None);
        let address = format!("/v1/locks/a?holder={}", "x".repeat(16 << 10));
        world.post(&address).await.is_problem(414, "too-long", None);
    });
}

#[test]
fn a_key_of_a_caller_has_bounds() {
    test(async {
        let world = World::real().await;
        let bad = format!("idempotency-key: {}", "k".repeat(256));
        let empty = "idempotency-key: ";
        for header in [bad.as_str(), empty] {
            for method in [M::POST, M::DELETE, M::PATCH] {
                let token = format!("lock-token: 1.{}", "ab".repeat(32));
                let headers = [header, token.as_str()];
                let got = world.ask(method, "/v1/locks/a", &headers, "").await;
                got.is_problem(400, "bad-value", Some("Idempotency-Key"));
            }
        }
        let twice = ["idempotency-key: a", "idempotency-key: b"];
        let got = world.ask(M::POST, "/v1/locks/a", &twice, "").await;
        got.is_problem(400, "bad-value", Some("Idempotency-Key"));
        let longest = format!("idempotency-key: {}", "k".repeat(255));
        let got = world.ask(M::POST, "/v1/locks/a", &[&longest], "").await;
        assert_eq!(got.status, 200);
    });
}

#[test]
fn methods_and_addresses_that_are_not_there_are_said_so() {
    test(async {
        let world = World::real().await;
        for (method, address, allow) in [
            (M::PUT, "/v1/locks/a", "GET, POST, PATCH, DELETE"),
            (M::DELETE, "/v1/locks", "GET, POST"),
            (M::POST, "/v1/cluster", "GET"),
            (M::POST, "/healthz", "GET"),
            (M::POST, "/readyz", "GET"),
        ] {
            let got = world.ask(method, address, &[], "").await;
            got.is_problem(405, "method-not-allowed", None);
            assert_eq!(got.header("allow"), allow);
        }
        for address in ["/", "/v1", "/v1/lock/a", "/v2/locks/a"] {
            world.get(address).await.is_problem(404, "not-found", None);
        }
    });
}

#[test]
fn where_the_log_says_nothing_the_outcome_is_told_as_it_is() {
    test(async {
        let failures = [
            (Failure::Busy, 429, "busy", "not_applied", true),
            (Failure::DiskFull, 503, "disk-full", "not_applied", true),
            (Failure::NoQuorum, 503, "no-quorum", "not_applied", true),
            (Failure::Unknown, 500, "outcome-unknown", "unknown", false),
        ];
        for (failure, status, code, outcome, says_when) in failures {
            let world = World::scripted(vec![vec![Reply::Failed(failure)]]).await;
            let got = world.post("/v1/locks/a").await;
            got.is_problem(status, code, None);
            assert_eq!(got.json()["outcome"], outcome);
            assert_eq!(got.headers.contains_key("retry-after"), says_when);
            assert_eq!(got.json()["retry_after_ms"].is_number(), says_when);
        }
    });
}

#[test]
fn the_timer_of_the_edge_tells_the_place_and_never_refuses() {
    let queued = || Reply::Decided {
        answer: Answer::Queued {
            ticket: TicketId::new(77),
            position: 3,
        },
        token: None,
        slot: Slot::new(9),
    };
    test(async move {
        let world = World::scripted(vec![vec![queued()], vec![queued()]]).await;
        let got = world.post("/v1/locks/a?wait=20ms").await;
        let told = "{\"ticket\":\"77\",\"position\":3,\"kept\":false}\n";
        assert_eq!((got.status.as_u16(), got.text.as_str()), (202, told));
        assert_eq!(got.header("lock-index"), "9");
        let key = ["idempotency-key: k"];
        let got = world.ask(M::POST, "/v1/locks/a?wait=20ms", &key, "").await;
        assert_eq!(
            (got.status.as_u16(), &got.json()["kept"]),
            (202, &true.into())
        );
        assert_eq!(world.gateway.waiting(), 0);
    });
}

#[test]
fn a_server_that_stops_leaves_nobody_waiting() {
    test(async {
        let world = World::scripted(vec![Vec::new(), Vec::new()]).await;
        let world = Arc::new(world);
        let ask = |method| {
            let world = Arc::clone(&world);
            spawn(async move { world.ask(method, "/v1/locks/a", &[], "").await })
        };
        let (change, question) = (ask(M::POST), ask(M::GET));
        while world.gateway.waiting() < 2 {
            yield_now().await;
        }
        world.door.stop().await;
        let change = change.await.expect("it runs");
        change.is_problem(500, "outcome-unknown", None);
        let question = question.await.expect("it runs");
        question.is_problem(503, "no-quorum", None);
        world
            .get("/healthz")
            .await
            .is_problem(503, "no-quorum", None);
    });
}
