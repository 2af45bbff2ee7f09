//! Conversion of a grant.

use super::world::{Got, World, test};
use axum::http::Method as M;
use std::sync::Arc;
use tenure_rt::spawn;

/// Asks for another share of what this grant holds.
async fn convert(world: &World, said: &str, token: &str, headers: &[&str]) -> Got {
    let token = format!("lock-token: {token}");
    let headers = [&[&*token], headers].concat();
    let address = format!("/v1/locks/a?{said}");
    world.ask(M::PATCH, &address, &headers, "").await
}

#[test]
fn a_grant_is_converted() {
    test(async {
        let world = World::real().await;
        let got = world.post("/v1/locks/a?mode=shared&ttl=60s").await;
        let (fence, token) = (got.json()["fence"].clone(), got.str("token"));
        let less = convert(&world, "mode=cr", &token, &[]).await;
        assert_eq!(less.status, 200, "{}", less.text);
        assert_eq!(less.json()["fence"], fence);
        assert_eq!(less.str("mode"), "cr");

        let named = ["idempotency-key: up"];
        let up = "mode=exclusive&wait=1s";
        let more = convert(&world, up, &token, &named).await;
        assert_eq!(more.status, 200, "{}", more.text);
        assert!(more.json()["fence"].as_u64() > fence.as_u64());
        assert!(more.json()["remaining_ms"].as_u64() <= Some(60_000));
        let again = convert(&world, up, &token, &named).await;
        assert_eq!(again.str("token"), more.str("token"));
        assert_eq!(again.json()["replayed"], true);
        let old = convert(&world, "ttl=60s", &token, &[]).await;
        old.is_problem(409, "not-held", None);

        let token = more.str("token");
        for (said, field) in [
            ("mode=shared&ttl=5s", "ttl"),
            ("wait=5s", "wait"),
            ("permits=2&capacity=1", "permits"),
        ] {
            let got = convert(&world, said, &token, &[]).await;
            got.is_problem(400, "bad-value", Some(field));
        }
    });
}

#[test]
fn the_second_of_two_who_would_wait_for_each_other_is_told() {
    test(async {
        let world = Arc::new(World::real().await);
        let alice = world.post("/v1/locks/a?mode=shared&holder=alice").await;
        let bob = world.post("/v1/locks/a?mode=shared&holder=bob").await;
        let held = convert(&world, "mode=exclusive", &alice.str("token"), &[]).await;
        held.is_problem(423, "held", None);
        assert_eq!(held.json()["holders"][0]["holder"], "bob");
        let waits = spawn({
            let (world, token) = (Arc::clone(&world), alice.str("token"));
            async move { convert(&world, "mode=exclusive&wait=20s", &token, &[]).await }
        });
        world.wait_for_line("/v1/locks/a", 1).await;
        let token = bob.str("token");
        let stuck = convert(&world, "mode=exclusive&wait=20s", &token, &[]).await;
        stuck.is_problem(409, "upgrade-deadlock", None);
        assert_eq!(stuck.json()["holders"][0]["holder"], "alice");
        let header = format!("lock-token: {token}");
        world.ask(M::DELETE, "/v1/locks/a", &[&header], "").await;
        let got = waits.await.expect("it runs");
        assert_eq!((got.status.as_u16(), &*got.str("holder")), (200, "alice"));
        assert!(got.json()["fence"].as_u64() > bob.json()["fence"].as_u64());
    });
}
