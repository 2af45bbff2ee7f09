//! Whether a grant holds, for third parties.

use super::world::{World, test};
use axum::http::Method as M;

const VERIFY: &str = "/v1/locks/files/7:verify";

#[test]
fn a_store_learns_whether_a_grant_holds() {
    test(async {
        let world = World::real().await;
        let grant = world.post("/v1/locks/files/7?holder=ann").await;
        let (token, fence) = (grant.str("token"), &grant.json()["fence"]);
        let by_token = format!("Lock-Token: {token}");
        for (query, headers) in [
            (format!("?fence={fence}"), vec![]),
            (String::new(), vec![by_token.as_str()]),
            (format!("?fence={fence}"), vec![by_token.as_str()]),
        ] {
            let got = world
                .ask(M::POST, &format!("{VERIFY}{query}"), &headers, "")
                .await;
            assert_eq!(got.status, 200, "{}", got.text);
            let body = got.json();
            assert_eq!(
                (&body["held"], &body["holder"], &body["mode"]),
                (&true.into(), &"ann".into(), &"exclusive".into())
            );
            assert_eq!((&body["fence"], &body["highest_fence"]), (fence, fence));
            assert!(body["remaining_ms"].as_u64().expect("it is leased") > 0);
        }
        let before = fence.as_u64().expect("a number") - 1;
        let got = world.post(&format!("{VERIFY}?fence={before}")).await;
        let expected = format!(
            "{{\"lock\":\"files/7\",\"fence\":{before},\"held\":false,\"highest_fence\":{fence}}}\n"
        );
        assert_eq!(
            (got.status.as_u16(), got.text.as_str()),
            (200, expected.as_str())
        );
        world
            .ask(M::DELETE, "/v1/locks/files/7", &[&by_token], "")
            .await;
        let got = world.ask(M::POST, VERIFY, &[&by_token], "").await.json();
        assert_eq!(
            (&got["held"], &got["highest_fence"]),
            (&false.into(), &serde_json::Value::Null)
        );
    });
}

#[test]
fn a_store_is_told_what_is_wrong_with_its_question() {
    test(async {
        let world = World::real().await;
        let grant = world.post("/v1/locks/files/7?holder=ann").await;
        let (token, fence) = (grant.str("token"), &grant.json()["fence"]);
        let right = format!("Lock-Token: {token}");
        let wrong = format!("Lock-Token: {fence}.{}", "0".repeat(64));
        let ask = async |query: &str, headers: &[&str]| {
            world
                .ask(M::POST, &format!("{VERIFY}{query}"), headers, "")
                .await
        };
        ask("", &[&wrong]).await.is_problem(403, "bad-proof", None);
        ask("?fence=1", &[&right])
            .await
            .is_problem(412, "fence-mismatch", Some("fence"));
        ask("", &[&right, "If-Match: \"1\""]).await.is_problem(
            412,
            "fence-mismatch",
            Some("If-Match"),
        );
        ask("", &[]).await.is_problem(400, "missing", Some("fence"));
        ask("?fence=x", &[])
            .await
            .is_problem(400, "bad-value", Some("fence"));
        ask("?fence=1&ttl=5s", &[])
            .await
            .is_problem(400, "unknown-field", Some("ttl"));
    });
}
