//! Servers that come and go, over HTTP.

use super::world::{Got, World, test};
use axum::http::Method;
use tenure_core::config::{Config, Membership, Role, Seat, Shared};
use tenure_core::ids::{Epoch, NodeId, Slot};

const NEW: &str = "peer=127.0.0.1:7622&client=127.0.0.1:7621&http=127.0.0.1:7620";

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |two: &[u8]| {
        let two = std::str::from_utf8(two).expect("digits are text");
        u8::from_str_radix(two, 16).expect("they are digits")
    };
    digits.map(byte).collect()
}

async fn join(world: &World, proof: &str) -> Got {
    world.post(&format!("/v1/members:join?{proof}&{NEW}")).await
}

async fn invite(world: &World, how: &str) -> String {
    let got = world.post(&format!("/v1/members:invite?{how}")).await;
    assert_eq!(got.status, 200, "{}", got.text);
    got.str("secret")
}

#[test]
fn a_server_with_a_secret_joins_once_and_may_ask_twice() {
    test(async {
        let world = World::real().await;
        let secret = invite(&world, "role=observer").await;
        let proof = format!("secret={secret}");
        let got = join(&world, &proof).await;
        let json = got.json();
        assert_eq!(
            (json["id"].as_u64(), json["waits"].as_bool()),
            (Some(2), Some(false))
        );
        // What it needs to begin: what the cluster began with, and who is there.
        let genesis = Shared::parse(&bytes(&got.str("genesis"))).expect("it is one");
        assert_eq!(genesis.members().len(), 1);
        let shared = Shared::parse(&bytes(&got.str("config"))).expect("it is one");
        let config = Config::of(NodeId::new(2), shared).expect("it is a member");
        assert_eq!(config.cluster().to_string(), got.str("cluster"));
        // Its answer was lost.
        let again = join(&world, &proof).await;
        assert_eq!(again.json()["id"], 2, "{}", again.text);
        // Another server with the same secret.
        let other = format!("/v1/members:join?{proof}&peer=127.0.0.1:7632");
        let got = world.post(&other).await;
        got.is_problem(409, "invitation-used", Some("secret"));
        assert!(got.text.contains("tenure member replace 2"), "{}", got.text);
    });
}

#[test]
fn who_may_not_join_hears_why() {
    test(async {
        let world = World::real().await;
        let got = join(&world, "secret=guessed").await;
        got.is_problem(403, "not-invited", Some("secret"));
        let secret = invite(&world, "ttl=0").await;
        let got = join(&world, &format!("secret={secret}")).await;
        got.is_problem(410, "invitation-over", Some("secret"));
        let got = world.post("/v1/members:join?secret=guessed").await;
        got.is_problem(400, "missing", Some("peer"));
        join(&world, "x=1")
            .await
            .is_problem(400, "unknown-field", Some("x"));
        let got = world.post(&format!("/v1/members:join?{NEW}")).await;
        got.is_problem(400, "missing", Some("secret"));
        let got = world.post("/v1/members:invite?ttl=8000h").await;
        assert_eq!(got.status, 400, "{}", got.text);
        let got = world.get("/v1/members:join").await;
        assert_eq!((got.status.as_u16(), got.header("allow")), (405, "POST"));
    });
}

#[test]
fn an_invitation_can_be_taken_back_and_ask_for_approval() {
    test(async {
        let world = World::real().await;
        let secret = invite(&world, "role=observer&approve=true").await;
        let taken_back = invite(&world, "").await;
        let listed = world.get("/v1/members").await.json();
        let hash = listed["invitations"][1]["secret_hash"].as_str();
        let hash = hash.expect("both are listed").to_owned();
        let got = world.post("/v1/members:uninvite?secret_hash=").await;
        assert_eq!(got.status, 400, "two begin so: {}", got.text);
        let got = world
            .post(&format!("/v1/members:uninvite?secret_hash={}", &hash[..9]))
            .await;
        assert_eq!(got.status, 200, "{}", got.text);
        let got = join(&world, &format!("secret={taken_back}")).await;
        got.is_problem(410, "invitation-over", Some("secret"));

        let got = join(&world, &format!("secret={secret}")).await;
        assert_eq!(got.json()["waits"], true, "{}", got.text);
        let members = world.get("/v1/members").await.json();
        assert_eq!(
            members["members"][1]["next"]["ask"], "observer",
            "{members}"
        );
        let got = world.post("/v1/members/2:approve").await;
        assert_eq!(got.status, 200, "{}", got.text);
        let members = world.get("/v1/members").await.json();
        assert!(members["members"][1]["next"].is_null(), "{members}");
        let got = world.post("/v1/members/2:approve").await;
        got.is_problem(409, "config-unfit", None);
    });
}

#[test]
fn an_operator_adds_changes_and_removes_members() {
    test(async {
        let world = World::real().await;
        let got = world
            .post(&format!("/v1/members?{NEW}&role=observer"))
            .await;
        assert_eq!(got.json()["id"], 2, "{}", got.text);
        // The server asks with its number what it needs to start; one at another address does not.
        assert_eq!(join(&world, "id=2").await.json()["id"], 2);
        let got = world.post("/v1/members:join?id=2&peer=127.0.0.1:1").await;
        got.is_problem(400, "bad-value", Some("peer"));
        // One that votes has something to lose.
        let got = join(&world, "id=1").await;
        got.is_problem(409, "config-unfit", Some("id"));
        assert!(got.text.contains("tenure member replace 1"), "{}", got.text);

        let got = world.post("/v1/members/2:role?role=boss").await;
        got.is_problem(400, "bad-value", Some("role"));
        let got = world.post("/v1/members/2:dance").await;
        got.is_problem(404, "not-found", None);
        let got = world.post("/v1/members/1:role?role=observer").await;
        got.is_problem(409, "config-unfit", None);
        let removed = world
            .ask(Method::DELETE, "/v1/members/2?by=ann", &[], "")
            .await;
        assert_eq!(removed.status, 200, "{}", removed.text);
        let members = world.get("/v1/members").await.json();
        assert_eq!(
            members["members"].as_array().map(Vec::len),
            Some(1),
            "{members}"
        );
        join(&world, "id=2")
            .await
            .is_problem(404, "not-found", None);
        // Its number is not used again.
        let got = world
            .post(&format!("/v1/members?{NEW}&role=observer"))
            .await;
        assert_eq!(got.json()["id"], 3, "{}", got.text);
    });
}

#[test]
fn a_server_that_only_votes_takes_no_clients() {
    test(async {
        let seat = |node, role| Seat {
            node: NodeId::new(node),
            role,
        };
        let seats = vec![
            seat(1, Role::QuorumOnly),
            seat(2, Role::Voter),
            seat(3, Role::Voter),
        ];
        let votes = Membership::new(Epoch::new(2), Slot::new(9), seats).expect("two may lead");
        let shared = super::world::config(3).shared().clone();
        let config = Config::seen_by(NodeId::new(1), shared, votes);
        let world = World::with_config(config).await;
        let lock = "/v1/locks/a";
        world.post(lock).await.is_problem(503, "not-ready", None);
        let got = world.get("/v1/locks").await;
        got.is_problem(503, "not-ready", None);
        assert_eq!(world.get("/healthz").await.status, 200);
    });
}
