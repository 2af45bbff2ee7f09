//! The shared configuration over HTTP.

use super::world::{World, test};
use axum::http::Method;

async fn patch(world: &World, address: &str, headers: &[&str]) -> (u16, String) {
    let got = world.ask(Method::PATCH, address, headers, "").await;
    (got.status.as_u16(), got.text)
}

#[test]
fn who_looked_before_another_change_is_refused() {
    test(async {
        let world = World::real().await;
        let if_match = ["If-Match: \"0\""];
        let (status, body) = patch(&world, "/v1/config?members_min=1", &if_match).await;
        assert_eq!(status, 200, "{body}");
        let (status, body) = patch(&world, "/v1/config?members_min=0", &if_match).await;
        assert_eq!(status, 409, "{body}");
        assert!(body.contains("config-moved"), "{body}");
        let (status, body) = patch(&world, "/v1/config?members_min=0", &[]).await;
        assert_eq!(status, 200, "{body}");
    });
}

#[test]
fn what_is_not_said_stays() {
    test(async {
        let world = World::real().await;
        patch(&world, "/v1/members/1?location=au.sydney", &[]).await;
        let got = world.get("/v1/members").await;
        assert!(
            got.text.contains(r#""peer":"127.0.0.1:7612""#),
            "{}",
            got.text
        );
        assert!(got.text.contains("au.sydney"), "{}", got.text);
        // Clients are told at once.
        let got = world.get("/v1/cluster").await;
        assert!(got.text.contains("au.sydney"), "{}", got.text);
    });
}

#[test]
fn a_server_that_hears_too_few_says_so() {
    test(async {
        let world = World::real().await;
        let (status, body) = patch(&world, "/v1/config?members_min=2", &[]).await;
        assert_eq!(status, 409, "{body}");
        assert!(body.contains("config-unfit"), "{body}");
        let (status, _) = patch(&world, "/v1/members/2?location=x", &[]).await;
        assert_eq!(status, 404);
        let (status, body) = patch(&world, "/v1/config?quorum=2", &[]).await;
        assert_eq!(status, 400, "{body}");
        let (status, body) = patch(&world, "/v1/config?members_min=300", &[]).await;
        assert_eq!(status, 400, "{body}");
    });
}

#[test]
fn who_shall_lead_is_a_member() {
    test(async {
        let world = World::real().await;
        let got = world.post("/v1/cluster:transfer-leader?to=1").await;
        assert_eq!(got.status.as_u16(), 200, "{}", got.text);
        assert!(got.text.contains(r#""leader":1"#), "{}", got.text);
        let got = world.post("/v1/cluster:transfer-leader?to=9").await;
        assert_eq!(got.status.as_u16(), 400, "{}", got.text);
        let got = world.get("/v1/cluster:transfer-leader").await;
        assert_eq!(got.status.as_u16(), 405, "{}", got.text);
    });
}

#[test]
fn a_zone_is_made_and_bounded() {
    test(async {
        let world = World::real().await;
        let put = |address: &'static str| world.ask(Method::PUT, address, &[], "");
        assert_eq!(put("/v1/zones/prod?locks=5").await.status.as_u16(), 200);
        assert_eq!(
            put("/v1/zones/prod?locks=none&tickets=2")
                .await
                .status
                .as_u16(),
            200
        );
        let got = world.get("/v1/config").await;
        let zone = r#"{"id":1,"name":"prod","locks":null,"tickets":2,"sessions":null}"#;
        assert!(got.text.contains(zone), "{}", got.text);
        assert_eq!(put("/v1/zones/a%20b").await.status.as_u16(), 400);
    });
}
