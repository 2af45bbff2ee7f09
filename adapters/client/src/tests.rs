//! The client against a real node over real sockets, on a disk that always works at once.

use crate::codes;
use crate::{
    Cause, Client, Error, Fence, Force, Key, Life, Listing, Loss, Mode, News, Options, Order,
    Selector, SessionOptions, Token, Verify,
};
use server::Server;
use std::future::Future;
use std::time::Duration;
use tenure_core::config::{Change, Config, Policy};
use tenure_core::machine::key::path_prefix;
use tenure_core::time::Stamp;
use tenure_rt::{block_on, clock, spawn};

mod server;

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test, which must not take for ever.
fn test<F: Future<Output = ()>>(body: F) {
    let body = clock_bound(body);
    block_on(body).expect("the runtime starts");
}

async fn clock_bound<F: Future<Output = ()>>(body: F) {
    let done = clock::timeout(PATIENCE, body).await;
    assert!(done.is_some(), "the test hangs");
}

fn client(server: &Server) -> Client {
    Client::connect(Options::new([server.address()])).expect("the options are good")
}

fn in_session(server: &Server, ttl_ms: u64) -> Client {
    let session = SessionOptions {
        ttl: Duration::from_millis(ttl_ms),
        identifier: String::new(),
        one_thread: false,
    };
    let options = Options::new([server.address()]).session(session);
    Client::connect(options).expect("the options are good")
}

fn path(name: &str) -> Key {
    Key::from_path(name).expect("a good path")
}

#[test]
fn a_lock_is_taken_seen_and_given_back() {
    test(async {
        let server = Server::start().await;
        let client = client(&server);
        let guard = client.lock("a/b").holder("alice").acquire().await;
        let guard = guard.expect("it is free");
        assert_eq!(guard.grant().life, Life::Lease { ttl_ms: 30_000 });
        assert!(matches!(guard.news(), News::Until(Some(until)) if until > clock::now()));

        let seen = client
            .inspect(path("a/b"))
            .await
            .expect("the server answers");
        assert_eq!(seen.value.holders.len(), 1);
        assert_eq!(seen.value.holders[0].holder, "alice");
        assert_eq!(seen.value.holders[0].fence, guard.fence());

        let again = client.lock("a/b").try_acquire().await;
        let refused = again.expect_err("it is held");
        assert!(refused.is_held(), "{refused}");
        let no = refused.rejection().expect("by the service");
        assert_eq!(no.by[0].holder, "alice");

        let fence = guard.fence();
        assert!(!guard.release().await.expect("the server answers"));
        let guard = client.lock("a/b").shared().acquire().await.expect("free");
        assert!(guard.fence() > fence);
        assert_eq!(guard.grant().parts.first().mode, Mode::Shared);
    });
}

fn page(prefix: &str, after: Option<Key>, limit: usize) -> Listing {
    Listing {
        prefix: path_prefix(prefix),
        after,
        limit,
        ..Listing::default()
    }
}

#[test]
fn the_locks_are_listed_and_the_servers_named() {
    test(async {
        let server = Server::start().await;
        let client = client(&server);
        let mut guards = Vec::new();
        for name in ["a/1", "a/2", "a/3", "b/1"] {
            guards.push(client.lock(name).acquire().await.expect("it is free"));
        }
        let first = client.list(page("a/", None, 2)).await;
        let first = first.expect("the server answers").value;
        assert!(first.more);
        let last = first.locks.last().expect("two of them").key.clone();
        assert_eq!(last, path("a/2"));
        let rest = client.list(page("a/", Some(last), 2)).await;
        let rest = rest.expect("the server answers").value;
        assert!(!rest.more);
        assert_eq!(rest.locks.len(), 1);
        let chosen = Listing {
            selector: Some(Selector::parse(r#"_path > "a/1""#).expect("it is one")),
            order: Order::parse("-_path").expect("it is one"),
            limit: 2,
            ..Listing::default()
        };
        let chosen = client.list(chosen).await.expect("the server answers").value;
        let names = chosen.locks.iter().filter_map(|lock| lock.key.path());
        assert_eq!(names.collect::<Vec<_>>(), ["b/1", "a/3"]);
        assert!(chosen.more);

        let servers = client.servers().await.expect("the server answers");
        assert_eq!(servers.servers.len(), 1);
        assert!(servers.servers[0].leader);
        assert_eq!(servers.servers[0].client, server.address());
    });
}

#[test]
fn a_waiter_gets_the_lock_when_its_holder_drops_it() {
    test(async {
        let server = Server::start().await;
        let (alice, bob) = (client(&server), client(&server));
        let guard = alice.lock("x").acquire().await.expect("it is free");
        let fence = guard.fence();
        let waits = bob.lock("x").wait(PATIENCE);
        let waits = spawn(async move { waits.acquire().await });
        until(&alice, "x", |view| view.waiting == 1).await;
        drop(guard);
        let guard = waits.await.expect("the task lives").expect("it is granted");
        assert!(guard.fence() > fence);
    });
}

/// Asks until the lock is as expected.
async fn until(client: &Client, name: &str, good: impl Fn(&crate::LockView) -> bool) {
    loop {
        let seen = client
            .inspect(path(name))
            .await
            .expect("the server answers");
        if good(&seen.value) {
            return;
        }
        clock::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_claim_whose_future_is_dropped_leaves_its_line() {
    test(async {
        let server = Server::start().await;
        let (alice, bob) = (client(&server), client(&server));
        let _guard = alice.lock("x").acquire().await.expect("it is free");
        let waits = bob.lock("x").wait(PATIENCE);
        let waits = spawn(async move { waits.acquire().await });
        until(&alice, "x", |view| view.waiting == 1).await;
        waits.abort();
        until(&alice, "x", |view| view.waiting == 0).await;
        // Bob's connection still works.
        assert!(bob.lock("y").acquire().await.is_ok());
    });
}

#[test]
fn a_client_that_finishes_leaves_nothing_behind() {
    test(async {
        let server = Server::start().await;
        let (alice, bob) = (client(&server), client(&server));
        let _guard = alice.lock("x").acquire().await.expect("it is free");
        let waits = bob.lock("x").wait(PATIENCE);
        let waits = spawn(async move { waits.acquire().await });
        until(&alice, "x", |view| view.waiting == 1).await;
        let other = bob.lock("y").acquire().await.expect("it is free");
        waits.abort();
        drop(other);
        bob.finish().await;
        let x = alice.inspect(path("x")).await.expect("the server answers");
        assert_eq!(x.value.waiting, 0);
        let y = alice.inspect(path("y")).await.expect("the server answers");
        assert!(y.value.holders.is_empty());
    });
}

#[test]
fn a_wait_that_ends_is_a_refusal_that_names_the_holder() {
    test(async {
        let server = Server::start().await;
        let client = client(&server);
        let _guard = client.lock("x").holder("alice").acquire().await;
        let wait = Duration::from_millis(20);
        let refused = client.lock("x").wait(wait).acquire().await;
        let refused = refused.expect_err("it is held");
        assert!(refused.is(codes::WAIT_TIMEOUT), "{refused}");
        let no = refused.rejection().expect("by the service");
        assert_eq!(no.by[0].holder, "alice");
    });
}

#[test]
fn a_lease_is_renewed_as_long_as_its_guard_lives() {
    test(async {
        let server = Server::start().await;
        let client = client(&server);
        let ttl = Duration::from_millis(500);
        let mut guard = client.lock("x").ttl(ttl).acquire().await.expect("free");
        let first = guard.until();
        for _ in 0..3 {
            let News::Until(_) = guard.changed().await else {
                panic!("a renewal is answered");
            };
        }
        assert!(guard.until() > first);
    });
}

#[test]
fn a_session_keeps_its_locks_and_takes_them_along_at_its_end() {
    test(async {
        let server = Server::start().await;
        let other = client(&server);
        let client = in_session(&server, 500);
        let mut guard = client.lock("x").acquire().await.expect("it is free");
        assert_eq!(guard.grant().life, Life::Session);
        for _ in 0..3 {
            assert!(matches!(guard.changed().await, News::Until(Some(_))));
        }
        client.close_session().await.expect("the server answers");
        assert_eq!(guard.lost().await, Loss::Session);
        assert!(other.lock("x").try_acquire().await.is_ok());
    });
}

#[test]
fn the_last_handle_closes_the_session() {
    test(async {
        let server = Server::start().await;
        let other = client(&server);
        let client = in_session(&server, 60_000);
        let guard = client.lock("x").acquire().await.expect("it is free");
        guard.leave();
        drop(client);
        until(&other, "x", |view| view.holders.is_empty()).await;
    });
}

#[test]
fn a_guard_is_lost_when_its_time_is_over_and_nobody_answers() {
    test(async {
        let server = Server::start().await;
        let client = client(&server);
        let ttl = Duration::from_millis(500);
        let begin = clock::now();
        let mut guard = client.lock("x").ttl(ttl).acquire().await.expect("free");
        server.stop();
        assert_eq!(guard.lost().await, Loss::Time);
        let end = clock::now();
        // Renewed once or twice before the stop, at the most.
        assert!(end.since(begin) < ttl * 2, "{:?}", end.since(begin));
    });
}

#[test]
fn a_broken_connection_is_made_again_and_nothing_is_lost() {
    test(async {
        let server = Server::start().await;
        let client = in_session(&server, 10_000);
        let guard = client.lock("x").acquire().await.expect("it is free");
        let call = {
            let client = client.clone();
            spawn(async move { client.lock("x").wait(PATIENCE).acquire().await })
        };
        until(&client, "x", |view| view.waiting == 1).await;
        server.cut_all();
        let seen = client
            .inspect(path("x"))
            .await
            .expect("it is connected again");
        assert_eq!(seen.value.holders[0].fence, guard.fence());
        assert_eq!(seen.value.waiting, 1, "the claim kept its place, once");
        assert!(matches!(guard.news(), News::Until(Some(_))));
        guard.release().await.expect("the server answers");
        let next = call.await.expect("the task lives");
        assert!(next.is_ok());
    });
}

#[test]
fn a_server_that_is_not_there_does_no_harm_beside_one_that_is() {
    test(async {
        let server = Server::start().await;
        for _ in 0..4 {
            // Whichever it begins with.
            let options = Options::new(["127.0.0.1:1".to_owned(), server.address()]);
            let client = Client::connect(options).expect("the options are good");
            assert!(client.servers().await.is_ok());
        }
    });
}

#[test]
fn without_a_server_a_call_ends_when_its_patience_does() {
    test(async {
        let options = Options::new(["127.0.0.1:1"]).patience(Duration::from_millis(100));
        let client = Client::connect(options).expect("the options are good");
        let failed = client.lock("x").acquire().await.expect_err("no service");
        assert!(failed.is_no_service(), "{failed}");
    });
}

#[test]
fn a_thousand_calls_at_once_go_through_one_connection() {
    test(async {
        let server = Server::start().await;
        let client = in_session(&server, 60_000);
        let mut tasks = Vec::new();
        for number in 0..1_000 {
            let client = client.clone();
            tasks.push(spawn(async move {
                let guard = client.lock(&format!("k/{number}")).acquire().await?;
                guard.release().await
            }));
        }
        for task in tasks {
            let already = task.await.expect("the task lives").expect("it works");
            assert!(!already);
        }
        assert_eq!(server.connections(), 1);
    });
}

#[test]
fn what_can_not_work_is_said_before_anything_is_sent() {
    test(async {
        let nobody: [&str; 0] = [];
        assert!(matches!(
            Client::connect(Options::new(nobody)),
            Err(Error::Options(_))
        ));
        let session = SessionOptions {
            ttl: Duration::from_secs(10),
            identifier: "x".repeat(1025),
            one_thread: false,
        };
        let options = Options::new(["127.0.0.1:1"]).session(session);
        assert!(matches!(Client::connect(options), Err(Error::Options(_))));
        let client = Client::connect(Options::new(["127.0.0.1:1"])).expect("good");
        let long = client.lock(&"n".repeat(2048)).acquire().await;
        assert!(matches!(long, Err(Error::Key(_))));
        let holder = "h".repeat(129);
        let long = client.lock("x").holder(&holder).acquire().await;
        assert!(matches!(
            long,
            Err(Error::Failed(crate::Failed::Invalid(_)))
        ));
    });
}

#[test]
fn what_one_server_says_by_itself_has_a_label() {
    test(async {
        let server = Server::start().await;
        let client = client(&server);
        let guard = client.lock("a/b").holder("alice").acquire().await;
        let guard = guard.expect("it is free");
        let fresh = client.inspect(path("a/b")).await.expect("it answers");
        let stale = client.inspect_stale(path("a/b")).await;
        let stale = stale.expect("it answers");
        assert_eq!((fresh.is_stale, stale.is_stale), (false, true));
        assert_eq!(stale.value.holders[0].fence, guard.fence());
        let all = client.list_stale(page("", None, 10)).await;
        let all = all.expect("it answers");
        assert!(all.is_stale && all.slot >= fresh.slot);
        assert_eq!(all.value.locks.len(), 1);
        let fresh = client.list(page("", None, 10)).await;
        assert!(!fresh.expect("it answers").is_stale);
    });
}

#[test]
fn another_configuration_is_noticed_with_the_next_keep_alive() {
    test(async {
        let server = Server::start().await;
        let client = in_session(&server, 1_000);
        let known = client.config_moved(None).await;
        let known = known.expect("a server says hello");
        assert_eq!(known, server.config().shared().mark());
        let (before, change) = (server.config(), Change::Policy(Policy::default()));
        let at = tenure_core::ids::Slot::new(5);
        let shared = before.shared();
        let shared = shared.apply(at, Stamp::ZERO, "ann", known.change, &change);
        let shared = shared.expect("nobody else changes anything");
        let after = shared.mark();
        server.learns(Config::of(before.me(), shared).expect("it is a member"));
        let moved = client.config_moved(Some(known)).await;
        assert_eq!(moved.expect("the client lives"), after);
        assert_eq!(client.config(), Some(after));
    });
}

#[test]
fn a_third_party_learns_whether_a_grant_holds() {
    test(async {
        let server = Server::start().await;
        let (holder, store) = (in_session(&server, 10_000), in_session(&server, 10_000));
        let guard = holder.lock("files/7").holder("ann").acquire().await;
        let guard = guard.expect("it is free");
        let (fence, proof) = (guard.fence(), guard.proof());
        let by_fence = Verify::fence(path("files/7"), fence);
        for verify in [by_fence.clone(), proof.clone().into()] {
            let seen = store.verify(verify).await.expect("the server answers");
            let held = seen.value.held.expect("it holds");
            assert_eq!(
                (&held.holder[..], held.fence, seen.value.highest),
                (&b"ann"[..], fence, Some(fence))
            );
        }
        let wrong = Verify {
            token: Some(Token([0; 32])),
            ..by_fence.clone()
        };
        let refused = store.verify(wrong).await.expect_err("the token is wrong");
        assert!(refused.is(codes::BAD_PROOF), "{refused}");
        guard.release().await.expect("the server answers");
        for verify in [by_fence, proof.into()] {
            let seen = store.verify(verify).await.expect("the server answers");
            assert_eq!((seen.value.held, seen.value.highest), (None, None));
        }
    });
}

#[test]
fn whose_lock_is_taken_hears_of_it() {
    test(async {
        let server = Server::start().await;
        let (holder, operator) = (in_session(&server, 1_000), client(&server));
        let guard = holder.lock("backup/db").holder("cron").acquire().await;
        let mut guard = guard.expect("it is free");
        let force = |fence| Force {
            key: path("backup/db"),
            fence,
            cause: Cause {
                by: "olga".to_owned(),
                reason: "host-7 burnt down".to_owned(),
            },
        };
        let later = Fence::new(guard.fence().get() + 1);
        let refused = operator.force_unlock(force(later)).await;
        let refused = refused.expect_err("it is another one");
        assert!(refused.is(codes::FENCE_CHANGED), "{refused}");
        let no = refused.rejection().expect("by the service");
        assert_eq!(no.by[0].fence, guard.fence());

        let forced = operator.force_unlock(force(guard.fence())).await;
        let forced = forced.expect("it is this one");
        assert_eq!(&forced.holder[..], b"cron");
        assert!(forced.remaining <= Some(Duration::from_secs(1)));
        assert_eq!(guard.lost().await, Loss::Taken);
        // Another one of the same session is there to be had.
        let again = holder.lock("backup/db").acquire().await;
        again
            .expect("it is free")
            .release()
            .await
            .expect("it is held");
    });
}
