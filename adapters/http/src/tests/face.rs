//! What the four verbs do.

use super::world::{World, test};
use axum::http::Method;
use axum::http::Method as M;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tenure_rt::{clock, spawn, yield_now};

const LOCK: &str = "/v1/locks/deploy/prod";
const ALICE: &str = "/v1/locks/deploy/prod?holder=alice&ttl=60s";

#[test]
fn a_plain_grant_is_five_fields_and_no_more() {
    test(async {
        let world = World::real().await;
        let got = world.post(ALICE).await;
        assert_eq!(got.status, 200);
        assert_eq!(got.header("content-type"), "application/json");
        assert!(got.header("lock-index").parse::<u64>().expect("a slot") > 0);
        let (token, fence) = (got.str("token"), got.json()["fence"].clone());
        let expected = format!(
            "{{\"lock\":\"deploy/prod\",\"token\":\"{token}\",\"fence\":{fence},\"ttl_ms\":60000,\
             \"holder\":\"alice\"}}\n"
        );
        assert_eq!(got.text, expected);
        let (said, secret) = token.split_once('.').expect("fence and secret");
        assert_eq!((said, secret.len()), (fence.to_string().as_str(), 64));
    });
}

#[test]
fn query_form_and_json_say_the_same() {
    const JSON: &str = "content-type: application/json; charset=utf-8";
    const FORM: &str = "content-type: application/x-www-form-urlencoded";
    let ways: [(&str, &[&str], &str); 6] = [
        ("?holder=a+b%21&ttl=60s&mode=shared", &[], ""),
        ("", &[FORM], "holder=a+b%21&ttl=60s&mode=shared"),
        (
            "",
            &[JSON],
            r#"{"holder":"a b!","ttl":"60s","mode":"shared"}"#,
        ),
        (
            "",
            &[JSON],
            r#"{"holder":"a b!","ttl":60000,"mode":"shared"}"#,
        ),
        (
            "?ttl=60000",
            &[JSON],
            r#"{"holder":"a\u0020b!","mode":"shared"}"#,
        ),
        // What `curl -d '{…}'` sends.
        (
            "",
            &[FORM],
            r#" {"holder":"a b!","ttl":"60s","mode":"shared"}"#,
        ),
    ];
    test(async {
        let world = World::real().await;
        for (query, headers, body) in ways {
            let address = format!("/v1/locks/shared{query}");
            let got = world.ask(M::POST, &address, headers, body).await;
            assert_eq!(got.status, 200, "{query} {body}: {}", got.text);
            assert_eq!(
                (got.str("holder").as_str(), &got.json()["ttl_ms"]),
                ("a b!", &60_000.into())
            );
        }
        let shared = world.get("/v1/locks/shared").await.json();
        let holders = shared["holders"].as_array().expect("holders are listed");
        assert_eq!(holders.len(), ways.len());
        assert!(holders.iter().all(|holder| holder["mode"] == "shared"));
    });
}

#[test]
fn a_held_lock_is_423_and_says_who_has_it() {
    test(async {
        let world = World::real().await;
        let grant = world.post(ALICE).await;
        let got = world.post("/v1/locks/deploy/prod?holder=bob").await;
        got.is_problem(423, "held", None);
        let json = got.json();
        assert_eq!(json["retryable"], true);
        assert_eq!(json["outcome"], "not_applied");
        assert_eq!(json["holders"][0]["holder"], "alice");
        assert_eq!(json["holders"][0]["fence"], grant.json()["fence"]);
        assert!(got.headers.contains_key("lock-index"));
    });
}

#[test]
fn a_lock_without_a_ttl_is_static_only_if_that_is_said() {
    test(async {
        let world = World::real().await;
        let got = world.post("/v1/locks/a").await;
        assert_eq!(got.json()["ttl_ms"], 30_000);
        let got = world.post("/v1/locks/b?ttl=none").await;
        assert_eq!(got.json()["ttl_ms"], serde_json::Value::Null);
        let view = world.get("/v1/locks/b").await.json();
        assert_eq!(view["holders"][0]["remaining_ms"], serde_json::Value::Null);
    });
}

#[test]
fn a_token_renews_and_releases_in_a_header_a_query_or_a_body() {
    test(async {
        let world = World::real().await;
        let grant = world.post(ALICE).await;
        let token = grant.str("token");
        let header = format!("lock-token: {token}");
        let got = world
            .ask(M::PATCH, &format!("{LOCK}?ttl=2m"), &[&header], "")
            .await;
        assert_eq!(
            (got.status.as_u16(), &got.json()["ttl_ms"]),
            (200, &120_000.into())
        );
        assert_eq!(got.json()["fence"], grant.json()["fence"]);
        let got = world
            .ask(M::PATCH, &format!("{LOCK}?token={token}"), &[], "")
            .await;
        assert_eq!(got.json()["ttl_ms"], 120_000, "its own, if none is said");
        let body = format!(r#"{{"token":"{token}"}}"#);
        let got = world.ask(M::DELETE, LOCK, &[], &body).await;
        assert_eq!(
            (got.status.as_u16(), &got.json()["already"]),
            (200, &false.into())
        );
        let got = world.ask(M::DELETE, LOCK, &[&header], "").await;
        assert_eq!(
            (got.status.as_u16(), &got.json()["already"]),
            (200, &true.into())
        );
        let got = world.ask(M::PATCH, LOCK, &[&header], "").await;
        got.is_problem(409, "not-held", None);
        assert_eq!(world.get(LOCK).await.json()["state"], "free");
    });
}

#[test]
fn a_wrong_proof_changes_nothing() {
    test(async {
        let world = World::real().await;
        let token = world.post(ALICE).await.str("token");
        let wrong = format!("{}0", &token[..token.len() - 1]);
        let wrong = if wrong == token {
            token.replace('0', "1")
        } else {
            wrong
        };
        for method in [M::PATCH, M::DELETE] {
            let header = format!("lock-token: {wrong}");
            let got = world.ask(method.clone(), LOCK, &[&header], "").await;
            got.is_problem(403, "bad-proof", None);
            assert!(!got.text.contains(&wrong), "a token stays out of documents");
            let header = format!("lock-token: {token}");
            let other = "/v1/locks/deploy/test";
            let got = world.ask(method.clone(), other, &[&header], "").await;
            got.is_problem(403, "bad-proof", None);
            let got = world
                .ask(method.clone(), LOCK, &["lock-token: secret"], "")
                .await;
            got.is_problem(400, "bad-value", Some("Lock-Token"));
            let got = world.ask(method, LOCK, &[], "").await;
            got.is_problem(400, "missing", Some("Lock-Token"));
        }
        assert_eq!(
            world.get(LOCK).await.json()["holders"][0]["holder"],
            "alice"
        );
    });
}

#[test]
fn a_condition_on_another_fence_is_412() {
    test(async {
        let world = World::real().await;
        let grant = world.post(ALICE).await;
        let (token, fence) = (
            grant.str("token"),
            grant.json()["fence"].as_u64().expect("a number"),
        );
        let header = format!("lock-token: {token}");
        let condition = format!("if-match: \"{}\"", fence + 1);
        let got = world.ask(M::DELETE, LOCK, &[&header, &condition], "").await;
        got.is_problem(412, "fence-mismatch", Some("If-Match"));
        let got = world
            .ask(M::DELETE, LOCK, &[&header, "if-match: new"], "")
            .await;
        got.is_problem(400, "bad-value", Some("If-Match"));
        let condition = format!("if-match: \"{fence}\"");
        let got = world.ask(M::DELETE, LOCK, &[&header, &condition], "").await;
        assert_eq!(got.status, 200);
    });
}

#[test]
fn who_waits_gets_the_lock_when_it_is_released() {
    test(async {
        let world = Arc::new(World::real().await);
        let grant = world.post(ALICE).await;
        let bob = spawn({
            let world = Arc::clone(&world);
            async move {
                world
                    .post("/v1/locks/deploy/prod?holder=bob&wait=20s")
                    .await
            }
        });
        world.wait_for_line(LOCK, 1).await;
        let view = world.get(LOCK).await.json();
        assert_eq!(view["waiters"][0]["holder"], "bob");
        let header = format!("lock-token: {}", grant.str("token"));
        world.ask(M::DELETE, LOCK, &[&header], "").await;
        let got = bob.await.expect("it runs");
        assert_eq!(
            (got.status.as_u16(), got.str("holder").as_str()),
            (200, "bob")
        );
        assert!(got.json()["fence"].as_u64() > grant.json()["fence"].as_u64());
    });
}

#[test]
fn a_wait_that_ends_in_vain_is_423_and_never_408() {
    test(async {
        let world = World::real().await;
        world.post(ALICE).await;
        let got = world
            .post("/v1/locks/deploy/prod?holder=bob&wait=30ms")
            .await;
        got.is_problem(423, "wait-timeout", None);
        assert_eq!(got.json()["position"], 1);
        assert_eq!(got.json()["holders"][0]["holder"], "alice");
        assert_eq!(world.get(LOCK).await.json()["waiting"], 0);
    });
}

#[test]
fn who_goes_away_leaves_nothing_in_the_line() {
    test(async {
        let world = Arc::new(World::real().await);
        world.post(ALICE).await;
        let bob = spawn({
            let world = Arc::clone(&world);
            async move {
                world
                    .post("/v1/locks/deploy/prod?holder=bob&wait=20s")
                    .await
            }
        });
        world.wait_for_line(LOCK, 1).await;
        bob.abort();
        world.wait_for_line(LOCK, 0).await;
        assert_eq!(world.gateway.waiting(), 0);
    });
}

#[test]
fn a_grant_that_nobody_heard_of_is_given_back() {
    test(async {
        let world = World::real().await;
        world.get("/readyz").await;
        // Each time the caller goes away a little later: before the node heard it, before it
        // answered, and with the answer under way.
        for turns in 0..40 {
            let mut request = std::pin::pin!(world.post("/v1/locks/a?ttl=none"));
            for _ in 0..turns {
                let polled = poll_fn(|context| Poll::Ready(request.as_mut().poll(context)));
                if let Poll::Ready(got) = polled.await {
                    let header = format!("lock-token: {}", got.str("token"));
                    world.ask(M::DELETE, "/v1/locks/a", &[&header], "").await;
                    break;
                }
                yield_now().await;
            }
            // Dropped here.
            request.set(world.post("/v1/locks/never-sent"));
            let freed = clock::timeout(Duration::from_secs(20), async {
                while world.get("/v1/locks/a").await.json()["state"] != "free" {}
            });
            assert!(
                freed.await.is_some(),
                "gone after {turns} turns, and it is held"
            );
        }
    });
}

#[test]
fn a_retry_with_the_same_key_gets_the_same_grant() {
    test(async {
        let world = World::real().await;
        let key = ["idempotency-key: order 66"];
        let first = world.ask(M::POST, ALICE, &key, "").await;
        let again = world.ask(M::POST, ALICE, &key, "").await;
        assert_eq!(again.status, 200);
        assert_eq!(again.str("token"), first.str("token"));
        assert_eq!(again.header("idempotent-replayed"), "true");
        assert_eq!(again.json()["replayed"], true);
        let left = again.json()["remaining_ms"].as_u64().expect("time is left");
        assert!((1..=60_000).contains(&left));
        let other = "/v1/locks/deploy/prod?holder=alice&ttl=61s";
        let got = world.ask(M::POST, other, &key, "").await;
        got.is_problem(409, "request-id-reused", None);
        let got = world
            .ask(M::POST, ALICE, &["idempotency-key: order 67"], "")
            .await;
        got.is_problem(423, "held", None);
    });
}

#[test]
fn a_ticket_is_asked_for_again_with_its_key() {
    const BOB: &str = "/v1/locks/deploy/prod?holder=bob&wait=20s";
    let later = format!("{BOB}&async=true");
    test(async move {
        let world = World::real().await;
        let grant = world.post(ALICE).await;
        world
            .post(&later)
            .await
            .is_problem(400, "missing", Some("Idempotency-Key"));
        let key = ["idempotency-key: bob's"];
        let got = world.ask(M::POST, &later, &key, "").await;
        assert_eq!(got.status, 202, "{}", got.text);
        assert_eq!(
            (&got.json()["position"], &got.json()["kept"]),
            (&1.into(), &true.into())
        );
        let ticket = got.str("ticket");
        let got = world.ask(M::POST, &later, &key, "").await;
        assert_eq!((got.status.as_u16(), got.str("ticket")), (202, ticket));
        // It stands in the line although nobody is connected for it.
        world.wait_for_line(LOCK, 1).await;
        let header = format!("lock-token: {}", grant.str("token"));
        world.ask(M::DELETE, LOCK, &[&header], "").await;
        let got = world.ask(M::POST, BOB, &key, "").await;
        assert_eq!(
            (got.status.as_u16(), got.str("holder").as_str()),
            (200, "bob")
        );
    });
}

#[test]
fn pairs_lock_what_their_text_names() {
    const PAIRS: &str = r#"{"key_values":{"env":{"type":"string","value":"prod"},
        "shard":{"type":"u8","value":5}},"holder":"alice"}"#;
    test(async {
        let world = World::real().await;
        let got = world.ask(M::POST, "/v1/locks", &[], PAIRS).await;
        assert_eq!(got.status, 200, "{}", got.text);
        assert_eq!(got.str("lock"), r#"{env="prod", shard=5u8}"#);
        let address = "/v1/locks/%7Benv=%22prod%22,%20shard=5u8%7D";
        assert_eq!(world.get(address).await.json()["state"], "held");
        let header = format!("lock-token: {}", got.str("token"));
        let got = world.ask(M::DELETE, address, &[&header], "").await;
        assert_eq!(got.status, 200);
        let got = world.ask(M::POST, "/v1/locks", &[], "{}").await;
        got.is_problem(400, "missing", Some("key_values"));
    });
}

#[test]
fn many_locks_are_taken_all_or_none() {
    const BOTH: &str = r#"{"all":[{"lock":"b"},{"lock":"a","mode":"shared"}],"holder":"alice"}"#;
    test(async {
        let world = World::real().await;
        let got = world.ask(M::POST, "/v1/locks", &[], BOTH).await;
        assert_eq!(got.status, 200, "{}", got.text);
        assert_eq!(got.str("lock"), "a", "the first by order names the claim");
        let all = serde_json::json!([
            {"lock": "a", "mode": "shared"},
            {"lock": "b", "mode": "exclusive"},
        ]);
        assert_eq!(got.json()["all"], all);
        let held = world.ask(M::POST, "/v1/locks", &[], BOTH).await;
        held.is_problem(423, "held", None);
        assert_eq!(world.get("/v1/locks/b").await.json()["state"], "held");
        let header = format!("lock-token: {}", got.str("token"));
        let got = world.ask(M::DELETE, "/v1/locks/a", &[&header], "").await;
        assert_eq!(got.status, 200);
        assert_eq!(world.get("/v1/locks/b").await.json()["state"], "free");
        let got = world
            .ask(M::POST, "/v1/locks", &[], r#"{"all":[{"mode":"shared"}]}"#)
            .await;
        got.is_problem(400, "missing", Some("all.lock"));
    });
}

#[test]
fn permits_are_shared_and_resized() {
    test(async {
        let world = World::real().await;
        let two = "/v1/locks/pool?permits=2&capacity=3&holder=alice";
        let got = world.post(two).await;
        assert_eq!(got.status, 200, "{}", got.text);
        let lock = world.get("/v1/locks/pool").await;
        let holder = &lock.json()["holders"][0];
        assert_eq!(
            (&holder["mode"], &holder["permits"], &holder["capacity"]),
            (&"permits".into(), &2.into(), &3.into())
        );
        world.post(two).await.is_problem(423, "held", None);
        let other = world.post("/v1/locks/pool?permits=1&capacity=4").await;
        other.is_problem(409, "has-capacity", None);
        assert_eq!(other.json()["capacity"], 3);
        world
            .post("/v1/locks/pool")
            .await
            .is_problem(409, "has-capacity", None);
        let got = world.post("/v1/locks/pool:resize?capacity=4").await;
        assert_eq!(got.status, 200, "{}", got.text);
        assert_eq!(got.json()["capacity"], 4);
        let two = world.post("/v1/locks/pool?permits=2&capacity=4").await;
        assert_eq!(two.status, 200, "{}", two.text);
        world.post("/v1/locks/a").await;
        let refused = world.post("/v1/locks/a:resize?capacity=4").await;
        refused.is_problem(409, "no-permits", None);
        for (said, code, field) in [
            ("permits=3&capacity=2", "bad-value", "permits"),
            ("permits=1", "missing", "capacity"),
            ("capacity=1", "missing", "permits"),
            ("permits=1&capacity=2&mode=shared", "bad-value", "mode"),
        ] {
            let got = world.post(&format!("/v1/locks/b?{said}")).await;
            got.is_problem(400, code, Some(field));
        }
        let missing = world.post("/v1/locks/pool:resize").await;
        missing.is_problem(400, "missing", Some("capacity"));
    });
}

#[test]
fn the_classical_modes_meet_as_they_do() {
    test(async {
        let world = World::real().await;
        for mode in ["pw", "cr", "nl"] {
            let got = world.post(&format!("/v1/locks/a?mode={mode}")).await;
            assert_eq!(got.status, 200, "{mode}: {}", got.text);
        }
        for mode in ["ex", "pr", "cw", "exclusive"] {
            let got = world.post(&format!("/v1/locks/a?mode={mode}")).await;
            got.is_problem(423, "held", None);
        }
        let lock = world.get("/v1/locks/a").await.json();
        let modes = lock["holders"].as_array().expect("holders").iter();
        let modes: Vec<_> = modes.map(|holder| holder["mode"].clone()).collect();
        assert_eq!(modes, ["pw", "cr", "nl"]);
    });
}

#[test]
fn a_stale_answer_needs_no_majority_and_has_a_label() {
    test(async {
        let world = World::real().await;
        world.post("/v1/locks/a").await;
        let fresh = world.get("/v1/locks/a").await;
        let stale = world.get("/v1/locks/a?stale=true").await;
        assert_eq!(stale.json()["state"], fresh.json()["state"]);
        assert!(stale.headers.contains_key("tenure-stale"));
        assert!(stale.headers.contains_key("lock-index"));
        assert!(!fresh.headers.contains_key("tenure-stale"));
        let alone = World::of_servers(3).await;
        let list = alone.get("/v1/locks?stale=true").await;
        assert_eq!(
            (list.status.as_u16(), list.text.trim_end()),
            (200, r#"{"locks":[]}"#)
        );
    });
}

#[test]
fn a_list_has_pages_that_skip_nothing() {
    test(async {
        let world = World::real().await;
        for number in 0..7 {
            let address = format!("/v1/locks/jobs/{number}");
            assert_eq!(world.post(&address).await.status, 200);
        }
        world.post("/v1/locks/other").await;
        let mut found = Vec::new();
        let mut next = "/v1/locks?prefix=jobs/&limit=3".to_owned();
        loop {
            let page = world.get(&next).await;
            assert_eq!(page.status, 200, "{}", page.text);
            let json = page.json();
            let locks = json["locks"].as_array().expect("a list");
            assert!(locks.len() <= 3);
            found.extend(locks.iter().map(|lock| lock["lock"].clone()));
            let Some(cursor) = json["cursor"].as_str() else {
                break;
            };
            next = format!("/v1/locks?prefix=jobs/&limit=3&cursor={cursor}");
        }
        let expected: Vec<String> = (0..7).map(|number| format!("jobs/{number}")).collect();
        assert_eq!(found, expected);
        let all = world.get("/v1/locks").await.json();
        assert_eq!(all["locks"].as_array().map(Vec::len), Some(8));
    });
}

#[test]
fn names_are_any_text_and_verbs_are_kept_for_later() {
    test(async {
        let world = World::real().await;
        for (address, name) in [
            ("/v1/locks/a%2Fb", "a/b"),
            ("/v1/locks/a/b/", "a/b/"),
            ("/v1/locks/%C3%A4+b%20c", "ä+b c"),
            ("/v1/locks/db%3Ausers", "db:users"),
            ("/v1/locks/a:b/c", "a:b/c"),
        ] {
            let got = world.post(address).await;
            assert_eq!((got.status.as_u16(), got.str("lock").as_str()), (200, name));
        }
        for method in [M::GET, M::POST, M::PATCH, M::DELETE] {
            let got = world
                .ask(method, "/v1/locks/deploy/prod:watch", &[], "")
                .await;
            got.is_problem(404, "not-found", None);
        }
    });
}

#[test]
fn the_cluster_tells_its_servers() {
    test(async {
        let world = World::real().await;
        world.post(ALICE).await;
        let got = world.get("/v1/cluster").await;
        let json = got.json();
        assert_eq!((&json["server"], &json["leader"]), (&1.into(), &1.into()));
        assert_eq!(json["servers"][0]["http"], "127.0.0.1:7610");
        assert_eq!(json["servers"][0]["leader"], true);
        assert_eq!(json["applied"].to_string(), got.header("lock-index"));
        assert_eq!(got.str("digest").len(), 16);
        assert_eq!(got.str("cluster"), "07".repeat(16));
    });
}

#[test]
fn only_a_server_that_serves_is_ready() {
    test(async {
        let world = World::real().await;
        assert_eq!(world.get("/healthz").await.status, 200);
        let got = world.get("/readyz").await;
        assert_eq!(
            (got.status.as_u16(), got.str("status").as_str()),
            (200, "ready")
        );
        let alone = World::of_servers(3).await;
        assert_eq!(alone.get("/healthz").await.status, 200);
        let got = alone.get("/readyz").await;
        got.is_problem(503, "no-quorum", None);
        assert_eq!(got.header("retry-after"), "1");
        assert_eq!(
            alone.ask(Method::HEAD, "/readyz", &[], "").await.status,
            503
        );
    });
}
