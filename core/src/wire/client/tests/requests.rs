//! What a client asks, the node is asked.

use super::*;
use crate::limits::PAGE_MAX;
use crate::machine::command::{Cause, Force};
use crate::query::{Listing, Order, Selector};
use crate::wire::codes;
use proptest::prelude::*;
use proptest::strategy::Union;

fn proof(session: Option<SessionId>) -> Proof {
    Proof {
        key: path("deploy/prod"),
        fence: Fence::new(17),
        session,
        token: Token([5; 32]),
    }
}

fn convert(session: Option<SessionId>, parts: Parts, wait_ms: u64) -> Ask {
    Ask::Convert(Convert {
        parts,
        fence: Fence::new(17),
        session,
        token: Token([5; 32]),
        wait_ms,
    })
}

fn taken(by: &str) -> Force {
    Force {
        key: path("deploy/prod"),
        fence: Fence::new(17),
        cause: Cause {
            by: by.into(),
            reason: "the host is gone".into(),
        },
    }
}

/// One of each, under the name that the golden file has for it.
#[rustfmt::skip]
pub(super) fn samples() -> Vec<(&'static str, Client, Ask)> {
    let none = Client::None;
    let session = SESSION;
    let by_id = Client::Key(ID);
    let shared = Acquire { parts: Parts::one(path("deploy/prod"), Mode::Shared), life: Life::Static, holder: Bytes::new(), ..acquire("deploy/prod", 0) };
    let many = Acquire { parts: many(), ..acquire("deploy/prod", 0) };
    let mode = Acquire { parts: Parts::one(path("a"), Mode::ProtectedWrite), ..acquire("a", 0) };
    let permits = Acquire { parts: Parts::one(path("jobs"), PERMITS), ..acquire("jobs", 0) };
    let page = Listing { prefix: Bytes::from_static(b"_path"), after: Some(path("a")), limit: 10, ..Listing::default() };
    let chosen = Listing { selector: Selector::parse("shard>=5u8 and env=any").ok(), order: Order::parse("shard,-env").unwrap(), limit: 10, ..Listing::default() };
    let again = Acquire { life: Life::Session, reentrant: true, ..acquire("deploy/prod", 0) };
    let lives = Acquire { life: Life::Session, ..acquire("deploy/prod", 30_000) };
    vec![
        ("set_lock", by_id, Ask::Acquire(acquire("deploy/prod", 0))),
        ("set_lock_unremembered", none, Ask::Acquire(acquire("deploy/prod", 0))),
        ("set_lock_shared_static", none, Ask::Acquire(shared)),
        ("set_lock_many", by_id, Ask::Acquire(many)),
        ("set_lock_mode", by_id, Ask::Acquire(mode)),
        ("set_lock_permits", by_id, Ask::Acquire(permits)),
        ("resize", by_id, Ask::Resize { key: path("jobs"), capacity: 300 }),
        ("force_unlock", by_id, Ask::Force(taken("olga"))),
        ("force_unlock_nameless", none, Ask::Force(taken(""))),
        ("set_lock_wait", by_id, Ask::Acquire(acquire("deploy/prod", 30_000))),
        ("set_lock_wait_session", in_session(4), Ask::Acquire(lives)),
        ("set_lock_reentrant", in_session(6), Ask::Acquire(again)),
        ("unlock_all", in_session(7), Ask::Release { proof: proof(Some(session)), all: true }),
        ("unlock", none, Ask::release(proof(None))),
        ("unlock_session", in_session(5), Ask::release(proof(Some(session)))),
        ("renew", none, Ask::Renew { proof: proof(None), ttl_ms: None }),
        ("renew_ttl", none, Ask::Renew { proof: proof(None), ttl_ms: Some(60_000) }),
        ("convert", none, convert(None, Parts::one(path("deploy/prod"), Mode::Shared), 0)),
        ("convert_many", in_session(8), convert(Some(session), super::many(), 30_000)),
        ("cancel", none, Ask::Cancel { ticket: TicketId::new(12) }),
        ("open_session", by_id, Ask::OpenSession { ttl_ms: 10_000, identifier: Bytes::new(), threads: false }),
        ("open_session_named", by_id, Ask::OpenSession { ttl_ms: 10_000, identifier: Bytes::from_static(b"host-7"), threads: false }),
        ("open_session_threads", by_id, Ask::OpenSession { ttl_ms: 10_000, identifier: Bytes::new(), threads: true }),
        ("resume_session", none, Ask::Resume { session, secret: Token([3; 32]) }),
        ("keep_alive", none, Ask::KeepAlive { session }),
        ("close_session", none, Ask::CloseSession { session }),
        ("query", none, Ask::Inspect { key: path("deploy/prod") }),
        ("list", none, Ask::List(Listing { limit: PAGE_MAX, ..Listing::default() })),
        ("list_after", none, Ask::List(page.clone())),
        ("list_chosen", none, Ask::List(chosen)),
        ("servers", none, Ask::Servers),
        ("query_stale", none, Ask::Stale(Question::Inspect { key: path("deploy/prod") })),
        ("list_stale", none, Ask::Stale(Question::List(page))),
        ("verify", none, Ask::Verify(Verify::fence(path("deploy/prod"), Fence::new(17)))),
        ("verify_proof", none, Ask::Verify(Verify::from(proof(None)))),
        ("verify_session", none, Ask::Verify(Verify::from(proof(Some(session))))),
        ("verify_stale", none, Ask::Stale(Question::Verify(Verify::from(proof(Some(session)))))),
    ]
}

pub(super) fn bytes_of(client: &Client, ask: &Ask) -> Bytes {
    let mut out = BytesMut::new();
    Caller::default().ask(ID, client, ask, &mut out);
    out.freeze()
}

#[test]
fn the_bytes_are_the_golden_ones() {
    let golden = include_str!("../../../../../tests/vectors/client_requests.txt");
    let samples = samples().into_iter();
    assert_golden(
        golden,
        samples.map(|(name, client, ask)| (name, bytes_of(&client, &ask))),
    );
}

#[test]
fn every_request_is_heard_as_it_was_said() {
    let (mut edge, mut caller) = (edge(), Caller::default());
    prove(&mut edge);
    for (name, client, ask) in samples() {
        let mut said = BytesMut::new();
        caller.ask(ID, &client, &ask, &mut said);
        let (asked, out) = read(&mut edge, &said);
        assert!(out.is_empty(), "{name}");
        let request = Request {
            zone: ZoneId::new(0),
            principal: Bytes::new(),
            client,
            ask,
        };
        assert_eq!(asked.len(), 1, "{name}");
        assert_eq!(asked[0].request, request, "{name}");
    }
}

#[test]
fn requests_come_out_of_a_stream_however_it_is_cut() {
    let (mut stream, mut caller) = (BytesMut::new(), Caller::default());
    for (_, client, ask) in samples() {
        caller.ask(ID, &client, &ask, &mut stream);
    }
    for piece in [1, 3, 50] {
        let mut edge = edge();
        prove(&mut edge);
        let (mut buffer, mut asked, mut out) = (BytesMut::new(), Vec::new(), BytesMut::new());
        for bytes in stream.chunks(piece) {
            buffer.extend_from_slice(bytes);
            edge.read(&config(), &mut buffer, &mut asked, &mut out)
                .unwrap();
        }
        let heard: Vec<_> = asked.into_iter().map(|one| one.request.ask).collect();
        let said: Vec<_> = samples().into_iter().map(|(_, _, ask)| ask).collect();
        assert_eq!(heard, said, "in pieces of {piece}");
        assert!(out.is_empty() && buffer.is_empty());
    }
}

#[test]
fn what_is_not_said_has_a_default() {
    let bytes = b"\x90\x05\0\x03a/b\x70\0";
    let (asked, _) = read(&mut edge(), bytes);
    let expected = Acquire {
        life: Life::Lease { ttl_ms: 30_000 },
        holder: Bytes::new(),
        ..acquire("a/b", 0)
    };
    assert_eq!(asked[0].request.ask, Ask::Acquire(expected));
    assert_eq!(asked[0].request.client, Client::None);

    // 5 s, by the command of the first protocol; a wait without end.
    let bytes = b"\x90\x05\0\x03a/b\x20\0\0\0\0\x05\x70\x01";
    let (asked, _) = read(&mut edge(), bytes);
    let Ask::Acquire(acquire) = &asked[0].request.ask else {
        panic!("a claim was made");
    };
    assert_eq!(acquire.life, Life::Lease { ttl_ms: 5_000 });
    assert_eq!(acquire.wait_ms, crate::limits::WAIT_MS_MAX);
}

/// Whoever takes a lock from its holder says that he knows what that means.
#[test]
fn what_is_not_said_to_be_hard_is_not_taken() {
    let mut said = bytes_of(&Client::None, &Ask::Force(taken("olga"))).to_vec();
    let hard = said.windows(3).position(|bytes| bytes == [0, 0x0e, 1]);
    said[hard.unwrap() + 2] = 0;
    let (asked, mut out) = read(&mut edge(), &said);
    assert!(asked.is_empty());
    let heard = words(&mut out);
    let Word::Rejected(rejection) = &heard[0].word else {
        panic!("it is refused");
    };
    assert_eq!(rejection.code, codes::BAD_VALUE.number);
}

fn any_key() -> impl Strategy<Value = Key> {
    let path = "\\PC{1,40}|a\0b".prop_map(|path| Key::from_path(&path).unwrap());
    let pair = ("[a-z]{1,8}", any::<u16>());
    let pairs = prop::collection::btree_map(pair.0, pair.1, 1..5).prop_map(|pairs| {
        let value = crate::machine::key::Value::U16;
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, v)| (name.as_str(), value(*v)))
            .collect();
        Key::from_pairs(&pairs).unwrap()
    });
    Union::new([path.boxed(), pairs.boxed()])
}

fn any_client() -> impl Strategy<Value = Client> {
    Union::new([
        Just(Client::None).boxed(),
        Just(Client::Key(ID)).boxed(),
        (1..u64::MAX).prop_map(in_session).boxed(),
    ])
}

fn any_mode() -> impl Strategy<Value = Mode> {
    let permits = any::<(u32, u32)>().prop_map(|(n, capacity)| Mode::Permits { n, capacity });
    let classical = [
        Mode::Exclusive,
        Mode::Shared,
        Mode::Null,
        Mode::ConcurrentRead,
        Mode::ConcurrentWrite,
        Mode::ProtectedWrite,
    ];
    let classical = prop::sample::select(classical.to_vec());
    Union::new([permits.boxed(), classical.boxed()])
}

fn any_life() -> impl Strategy<Value = Life> {
    let lease = any::<u64>().prop_map(|ttl_ms| Life::Lease { ttl_ms });
    Union::new([lease.boxed(), Just(Life::Static).boxed()])
}

proptest! {
    #[test]
    fn any_claim_reads_back(
        client in any_client(),
        keys in prop::collection::btree_map(any_key(), any_mode(), 1..5),
        life in any_life(),
        wait_ms in any::<u64>(),
        reentrant in any::<bool>(),
        holder in prop::collection::vec(any::<u8>(), 0..128),
    ) {
        let part = |(key, mode)| Part { key, mode };
        let parts = Parts::new(keys.into_iter().map(part).collect()).unwrap();
        let holder = Bytes::from(holder);
        let ask = Ask::Acquire(Acquire { parts, life, wait_ms, holder, reentrant });
        let mut edge = edge();
        prove(&mut edge);
        let (asked, _) = read(&mut edge, &bytes_of(&client, &ask));
        prop_assert_eq!(&asked[0].request.ask, &ask);
        prop_assert_eq!(asked[0].request.client, client);
    }

    #[test]
    fn any_proof_reads_back(
        key in any_key(),
        fence in any::<u64>(),
        session in any::<Option<u128>>(),
        token in any::<[u8; 32]>(),
        ttl_ms in any::<Option<u64>>(),
        all in any::<bool>(),
    ) {
        let session = session.filter(|id| *id != 0).map(SessionId::new);
        let proof = Proof { key, fence: Fence::new(fence), session, token: Token(token) };
        for ask in [Ask::Release { proof: proof.clone(), all }, Ask::Renew { proof, ttl_ms }] {
            let (asked, _) = read(&mut edge(), &bytes_of(&Client::None, &ask));
            prop_assert_eq!(&asked[0].request.ask, &ask);
        }
    }
}
