//! What the registers remember and forget, and what is refused.

use super::*;
use crate::config::{Change, Quota};
use crate::ids::Slot;
use crate::node::output::Reply;
use crate::time::Stamp;
use crate::wire::codes;
use crate::wire::codes::Code;

/// The one refusal that the edge wrote.
fn refusal(out: &mut BytesMut) -> Rejection {
    let mut heard = words(out);
    assert_eq!(heard.len(), 1);
    match heard.remove(0).word {
        Word::Rejected(rejection) => rejection,
        word => panic!("a refusal was expected, not {word:?}"),
    }
}

fn refused_as(bytes: &[u8], code: Code) -> Rejection {
    let (asked, mut out) = read(&mut edge(), bytes);
    assert_eq!(asked, [], "nothing is asked");
    let rejection = refusal(&mut out);
    assert_eq!(rejection.code, code.number, "{}", rejection.text);
    rejection
}

/// `LOCK_NAME x`.
const NAME: &[u8] = b"\x90\x05\0\x01x";

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn the_claim_is_forgotten_when_it_was_made() {
    let mut edge = edge();
    let (asked, mut out) = read(&mut edge, &join(&[NAME, b"\x70\0\x70\0"]));
    assert_eq!(asked.len(), 1, "the second has no name");
    assert_eq!(refusal(&mut out).code, codes::MISSING.number);
}

#[test]
fn the_session_stays_when_the_claim_was_made() {
    let mut edge = edge();
    prove(&mut edge);
    let mut out = BytesMut::new();
    let ask = Ask::Servers;
    let mut caller = Caller::default();
    caller.ask(ID, &in_session(1), &ask, &mut out);
    let first = out.len();
    caller.ask(ID, &in_session(2), &ask, &mut out);
    assert_eq!(out.len() - first, first - 18, "it is not said again");
    let (asked, _) = read(&mut edge, &out);
    let clients: Vec<_> = asked.iter().map(|one| one.request.client).collect();
    assert_eq!(clients, [in_session(1), in_session(2)]);
    // Until it is reset.
    let (asked, mut out) = read(&mut edge, b"\x70\x18\x30\x06\0\0\0\0\0\0\0\x03\x70\x15");
    assert_eq!(asked, []);
    let heard = words(&mut out);
    assert_eq!(heard[0].word, Word::Reset);
    assert!(matches!(&heard[1].word, Word::Rejected(no) if no.code == codes::MISSING.number));
}

#[test]
fn streams_do_not_see_each_others_registers() {
    let mut edge = edge();
    let stream = |number: u8| [0x20, 0x02, 0, 0, 0, number];
    // The name on stream 1, the command on stream 2: nothing to lock.
    let bytes = join(&[&stream(1), NAME, &stream(2), b"\x70\0"]);
    let (asked, mut out) = read(&mut edge, &bytes);
    assert_eq!(asked, []);
    assert_eq!(refusal(&mut out).code, codes::MISSING.number);
    // And now the command on stream 1.
    let (asked, _) = read(&mut edge, &join(&[&stream(1), b"\x70\0"]));
    assert_eq!(asked.len(), 1);
}

#[test]
fn an_unknown_register_is_skipped_and_counted() {
    let mut edge = edge();
    let strange = [0x0fff, 0x1fff, 0x2fff, 0x3fff, 0x4fff, 0x5fff, 0x6fff];
    let mut bytes = Vec::new();
    for number in strange {
        bytes.extend_from_slice(&u16::to_be_bytes(number));
        bytes.resize(bytes.len() + (1 << (number >> 12)), 0xab);
    }
    bytes.extend_from_slice(b"\x8f\xff\x02hi\x9f\xff\0\x02hi\xaf\xff\0\0\0\x02hi");
    bytes.extend_from_slice(b"\xbf\xff\0\0\0\0\0\0\0\x02hi");
    let (asked, out) = read(&mut edge, &join(&[&bytes, NAME, b"\x70\0"]));
    assert_eq!(asked.len(), 1);
    assert!(out.is_empty());
    assert_eq!(edge.skipped(), 11);
}

#[test]
fn an_unknown_command_is_answered() {
    for number in [b"\x7f\xff", b"\xcf\xff", b"\x70\x02", b"\xff\xff"] {
        let (asked, mut out) = read(&mut edge(), number);
        assert_eq!(asked, []);
        let wire = out.clone();
        assert_eq!(refusal(&mut out).code, codes::INVALID_COMMAND.number);
        let named = [&[0x10, 0x02], &number[..]].concat();
        let found = wire.windows(4).any(|four| four == named);
        assert!(found, "INVALID_COMMAND says which");
    }
}

#[test]
fn a_length_over_its_cap_ends_the_connection_before_its_bytes_come() {
    let cases: [(&[u8], u16, u64, usize); 5] = [
        (b"\x90\x05\x04\x01", 0x9005, 1025, 1024),
        (
            b"\xa0\x01\xff\xff\xff\xff",
            0xa001,
            u32::MAX.into(),
            16 << 10,
        ),
        (
            b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            0xbfff,
            u64::MAX,
            16 << 10,
        ),
        (b"\x80\0\x81", 0x8000, 129, 128),
        (b"\x9f\xff\xff\xff", 0x9fff, 0xffff, 1024),
    ];
    for (bytes, command, found, max) in cases {
        let (mut asked, mut out) = (Vec::new(), BytesMut::new());
        let mut buffer = BytesMut::from(bytes);
        let error = edge()
            .read(&config(), &mut buffer, &mut asked, &mut out)
            .unwrap_err();
        assert_eq!(
            error,
            StreamError::TooLong {
                command,
                found,
                max
            }
        );
        assert_eq!(refusal(&mut out).code, codes::TOO_LONG.number);
    }
}

#[test]
fn a_name_at_its_cap_is_taken() {
    let name = "n".repeat(1024);
    let mut bytes = BytesMut::new();
    let ask = Ask::Inspect { key: path(&name) };
    Caller::default().ask(ID, &Client::None, &ask, &mut bytes);
    assert_eq!(read(&mut edge(), &bytes).0[0].request.ask, ask);
}

#[test]
fn there_is_no_stream_64() {
    let (mut asked, mut out) = (Vec::new(), BytesMut::new());
    let mut buffer = BytesMut::from(&b"\x20\x02\0\0\0\x40"[..]);
    let read = edge().read(&config(), &mut buffer, &mut asked, &mut out);
    assert_eq!(read, Err(StreamError::BadStream { found: 64 }));
    assert_eq!(refusal(&mut out).code, codes::BAD_STREAM.number);
    let (asked, _) = super::read(
        &mut edge(),
        &join(&[b"\x20\x02\0\0\0\x3f", NAME, b"\x70\0"]),
    );
    assert_eq!(asked.len(), 1, "63 is the last");
}

#[test]
fn a_claim_with_something_unserved_in_it_is_never_granted_without_it() {
    // A public key: the grant must not be released by a token instead. The next claim is fine.
    let bytes = join(&[NAME, b"\x50\0", &[9; 32], SET_LOCK, NAME, SET_LOCK]);
    let (asked, mut out) = read(&mut edge(), &bytes);
    assert_eq!(asked.len(), 1);
    assert_eq!(refusal(&mut out).code, codes::UNSUPPORTED.number);
}

const SET_LOCK: &[u8] = b"\x70\0";
const ADD_KEY: &[u8] = b"\x70\x1d";

/// Two keys are one claim; a mode belongs to its key, and all else to the claim.
#[test]
fn keys_are_added_to_a_claim() {
    const OTHER: &[u8] = b"\x90\x05\0\x01y";
    const SHARED: &[u8] = b"\0\0\x01";
    let both = |ask: &Ask| {
        let Ask::Acquire(acquire) = ask else {
            panic!("a claim")
        };
        let parts = acquire.parts.iter();
        let named: Vec<_> = parts
            .map(|part| (part.key.path().unwrap(), part.mode))
            .collect();
        (named, acquire.life)
    };
    let expected = vec![("x".into(), Mode::Shared), ("y".into(), Mode::Exclusive)];
    for end in [&[OTHER, SET_LOCK][..], &[OTHER, ADD_KEY, SET_LOCK]] {
        let static_life = b"\0\x01\x01";
        let bytes = join(&[&[static_life, NAME, SHARED, ADD_KEY], end].concat());
        let (asked, _) = read(&mut edge(), &bytes);
        let found = both(&asked[0].request.ask);
        assert_eq!(found, (expected.clone(), Life::Static));
    }
}

#[test]
fn keys_that_are_no_claim_are_refused() {
    let code = codes::BAD_VALUE;
    refused_as(&join(&[NAME, ADD_KEY, NAME, SET_LOCK]), code);
    refused_as(&join(&[NAME, b"\0\0\x09", ADD_KEY, SET_LOCK]), code);
    refused_as(&join(&[ADD_KEY, NAME, SET_LOCK]), codes::MISSING);
    // Only a claim has many.
    refused_as(&join(&[NAME, ADD_KEY, NAME, b"\x70\x13"]), code);
    let names: Vec<u8> = (0..65_u8)
        .flat_map(|n| [b"\x90\x05\0\x01", &[n + 1][..], ADD_KEY].concat())
        .collect();
    let whole = names.len() / 65 * 64;
    let (asked, _) = read(&mut edge(), &join(&[&names[..whole], SET_LOCK]));
    assert_eq!(asked.len(), 1, "64 are a claim");
    refused_as(&join(&[&names, SET_LOCK]), code);
    let long = |n: u8| {
        let name = [n; 1024];
        [b"\x90\x05\x04\0", &name[..], ADD_KEY].concat()
    };
    let long: Vec<u8> = (1..20).flat_map(long).collect();
    refused_as(&join(&[&long, SET_LOCK]), code);
}

#[test]
fn a_zone_is_known_by_its_name_as_soon_as_the_configuration_has_it() {
    let bytes = join(&[b"\x90\x03\0\x04acme", NAME, b"\x70\0"]);
    let change = Change::Zone {
        name: "acme".into(),
        quota: Quota::default(),
    };
    let before = config();
    let (at, seen) = (Slot::new(5), before.shared().mark().change);
    let after = before.shared().apply(at, Stamp::ZERO, "", seen, &change);
    let after = Config::of(before.me(), after.unwrap()).unwrap();
    let mut edge = edge();
    let mut ask = |config: &Config| {
        let (mut asked, mut out) = (Vec::new(), BytesMut::new());
        let mut buffer = BytesMut::from(&bytes[..]);
        edge.read(config, &mut buffer, &mut asked, &mut out)
            .unwrap();
        asked.first().map(|asked| asked.request.zone)
    };
    assert_eq!(ask(&before), None);
    assert_eq!(ask(&after), Some(ZoneId::new(1)));
}

#[test]
fn bad_values_are_named_and_the_connection_lives() {
    refused_as(&join(&[NAME, b"\0\0\x07\x70\0"]), codes::BAD_VALUE); // LOCK_MODE 7
    refused_as(&join(&[NAME, b"\0\x01\x07\x70\0"]), codes::BAD_VALUE); // LIFE 7
    refused_as(&join(&[NAME, b"\0\x01\x02\x70\0"]), codes::MISSING); // a session lock without one
    refused_as(&join(&[NAME, b"\0\x02\x07\x70\0"]), codes::BAD_VALUE); // REMEMBER 7
    refused_as(b"\x90\x05\0\0\x70\0", codes::BAD_VALUE); // a name without a byte
    refused_as(b"\x90\x05\0\x02\xff\xff\x70\0", codes::BAD_VALUE); // not UTF-8
    refused_as(b"\xa0\x01\0\0\0\x01a\x70\0", codes::BAD_VALUE); // not canonical
    refused_as(
        &join(&[NAME, b"\x30\x04", &[0; 7], b"\x01\x70\0"]),
        codes::BAD_VALUE,
    ); // a try that waits
    refused_as(
        &join(&[b"\x90\x03\0\x04acme", NAME, b"\x70\0"]),
        codes::UNKNOWN_ZONE,
    );
    let (asked, _) = read(
        &mut edge(),
        &join(&[b"\x90\x03\0\x07default", NAME, b"\x70\0"]),
    );
    assert_eq!(asked.len(), 1);
}

#[test]
fn only_who_proved_a_session_speaks_in_it() {
    let asks = [
        (in_session(1), Ask::Acquire(acquire("x", 0))),
        (Client::None, Ask::KeepAlive { session: SESSION }),
        (Client::None, Ask::CloseSession { session: SESSION }),
    ];
    for (client, ask) in asks {
        let bytes = requests::bytes_of(&client, &ask);
        refused_as(&bytes, codes::UNPROVED_SESSION);
        let mut edge = edge();
        prove(&mut edge);
        assert_eq!(read(&mut edge, &bytes).0[0].request.ask, ask);
    }
}

#[test]
fn a_wrong_secret_proves_nothing() {
    let mut edge = edge();
    let ask = Ask::Resume {
        session: SESSION,
        secret: Token([0; 32]),
    };
    let (asked, mut out) = read(&mut edge, &requests::bytes_of(&Client::None, &ask));
    let failed = Reply::Failed(crate::node::output::Failure::BadProof);
    edge.reply(&config(), asked[0].number, &failed, &mut out);
    let keep_alive = Ask::KeepAlive { session: SESSION };
    let (asked, mut out) = read(&mut edge, &requests::bytes_of(&Client::None, &keep_alive));
    assert_eq!(asked, []);
    assert_eq!(refusal(&mut out).code, codes::UNPROVED_SESSION.number);
}

#[test]
fn one_request_too_many_is_busy_and_one_answer_makes_room() {
    let mut edge = edge();
    let request = join(&[NAME, b"\x70\x13"]);
    let (asked, out) = read(&mut edge, &request.repeat(REQUESTS_MAX));
    assert_eq!(asked.len(), REQUESTS_MAX);
    assert!(out.is_empty());
    let (more, mut out) = read(&mut edge, &request);
    assert_eq!(more, []);
    assert_eq!(refusal(&mut out).code, codes::BUSY.number);
    let failed = Reply::Failed(crate::node::output::Failure::NoQuorum);
    edge.reply(&config(), asked[7].number, &failed, &mut out);
    assert_eq!(read(&mut edge, &request).0.len(), 1);
}

#[test]
fn a_connection_has_at_most_64_sessions() {
    let mut edge = edge();
    let open = Ask::OpenSession {
        ttl_ms: 1000,
        identifier: Bytes::new(),
        threads: false,
    };
    let open = requests::bytes_of(&Client::None, &open);
    for number in 1..=64 {
        let (asked, mut out) = read(&mut edge, &open);
        let answer = crate::machine::answer::Answer::SessionOpened {
            session: SessionId::new(number),
            ttl_ms: 1000,
        };
        let reply = Reply::Decided {
            answer,
            token: None,
            slot: Slot::new(1),
        };
        edge.reply(&config(), asked[0].number, &reply, &mut out);
    }
    let (asked, mut out) = read(&mut edge, &open);
    assert_eq!(asked, []);
    assert_eq!(refusal(&mut out).code, codes::BUSY.number);
}

#[test]
fn a_client_of_another_cluster_is_told() {
    let mut out = BytesMut::new();
    let mut caller = Caller::default();
    caller.hello(ID, ClusterId([7; 16]), &mut out);
    caller.hello(ID, ClusterId([8; 16]), &mut out);
    caller.ping(ID, &mut out);
    let (_, mut out) = read(&mut edge(), &out);
    let heard = words(&mut out);
    assert!(matches!(heard[0].word, Word::Hello { .. }));
    assert!(matches!(&heard[1].word, Word::Rejected(no) if no.code == codes::WRONG_CLUSTER.number));
    assert_eq!(heard[2].word, Word::Pong);
    assert!(heard.iter().all(|one| one.id == ID));
}

#[test]
fn every_command_has_its_class_and_no_number_is_used_twice() {
    let numbers: alloc::collections::BTreeSet<u16> =
        numbers::ALL.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers.len(), numbers::ALL.len());
    for (number, name, kind) in numbers::ALL {
        let executes = number >> 12 == 7 || number >> 12 >= 12;
        match kind {
            numbers::Kind::Register => assert!(!executes, "{name}"),
            numbers::Kind::Execute | numbers::Kind::Answer | numbers::Kind::Row => {
                assert!(executes, "{name}");
            }
            numbers::Kind::Reserved => {}
        }
    }
}

#[test]
fn the_document_has_a_row_for_every_command_and_every_code() {
    let document = include_str!("../../../../../docs/WIRE.md");
    let row = |start: &str| document.lines().any(|line| line.starts_with(start));
    for (number, name, _) in numbers::ALL {
        let start = format!("| `{number:#06x}` | `{name}` |");
        assert!(row(&start), "docs/WIRE.md lacks {start}");
    }
    for code in codes::ALL {
        let retryable = if code.retryable { "yes" } else { "no" };
        let start = format!(
            "| {} | `{}` | {retryable} | {} |",
            code.number,
            code.name,
            code.outcome.name()
        );
        assert!(row(&start), "docs/WIRE.md lacks {start}");
    }
}
