use super::form::{LifeFormat, ModeFormat};
use super::*;
use crate::config::Policy;
use crate::ids::ChangeId;
use crate::limits::{HOLDER_BYTES_MAX, TTL_MS_MAX, TTL_MS_MIN, WAIT_MS_MAX};
use crate::machine::command::{Cause, Life, Mode};
use alloc::string::String;
use alloc::vec;
use proptest::prelude::*;

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| std::format!("{byte:02x}"))
        .collect()
}

fn path(text: &str) -> Key {
    Key::from_path(text).unwrap()
}

fn command(client: Client, operation: Operation) -> Command {
    Command {
        zone: ZoneId::new(3),
        principal: Bytes::from_static(b"ann"),
        client,
        via: Via {
            node: NodeId::new(2),
            boot: Boot::new(5),
            seq: 300,
        },
        operation,
    }
}

fn session_client() -> Client {
    Client::Session {
        id: SessionId::new(0x0102),
        seq: RequestSeq::new(7),
        done_through: RequestSeq::new(6),
    }
}

fn acquire() -> Operation {
    Operation::Acquire(Acquire {
        parts: Parts::one(path("a"), Mode::Shared),
        life: Life::Lease { ttl_ms: 30_000 },
        wait_ms: 1000,
        holder: Bytes::from_static(b"ann@box"),
        reentrant: false,
    })
}

/// One of each, with the golden bytes of its body.
fn all() -> Vec<(Operation, &'static str)> {
    let fence = Fence::new(9);
    let session = SessionId::new(1 << 40);
    vec![
        (
            Operation::Release {
                key: path("a"),
                fence,
                all: false,
            },
            "095f70617468000b610009",
        ),
        (
            Operation::Renew {
                key: path("a"),
                fence,
                ttl_ms: Some(500),
            },
            "095f70617468000b61000901f403",
        ),
        (
            Operation::Cancel {
                ticket: TicketId::new(4097),
            },
            "8120",
        ),
        (
            Operation::Confirm {
                ticket: TicketId::new(1),
            },
            "01",
        ),
        (
            Operation::OpenSession {
                ttl_ms: 500,
                identifier: Bytes::from_static(b"web-1"),
                threads: false,
            },
            "f403057765622d31",
        ),
        (Operation::KeepAlive { session }, "808080808020"),
        (Operation::CloseSession { session }, "808080808020"),
        (
            Operation::Configure(Configure {
                expect: ChangeId::new(300),
                by: String::from("bob"),
                change: Change::Policy(Policy {
                    members_min: 2,
                    leader_location: String::from("au"),
                }),
            }),
            "ac0203626f620202026175",
        ),
        (
            acquire(),
            "01095f70617468000b61000100b0ea0107616e6e40626f78e807",
        ),
        (
            Operation::Resize {
                key: path("a"),
                capacity: 300,
            },
            "095f70617468000b6100ac02",
        ),
    ]
}

#[test]
fn golden_headers() {
    let cancel = Operation::Cancel {
        ticket: TicketId::new(1),
    };
    let bytes = |client| hex(&encode(&command(client, cancel.clone())));
    assert_eq!(bytes(Client::None), "0303616e6e000205ac02040101");
    assert_eq!(
        bytes(Client::Key(RequestId::new(200))),
        "0303616e6e01c8010205ac02040101"
    );
    assert_eq!(
        bytes(session_client()),
        "0303616e6e02820207060205ac02040101"
    );
    assert_eq!(hex(&encode_start(Fence::new(300))), "ac02");
    assert_eq!(decode_start(&[0xac, 0x02]), Ok(Fence::new(300)));
}

#[test]
fn golden_bodies() {
    for (number, (operation, body)) in (2u8..).zip(all()) {
        let bytes = encode(&command(Client::None, operation.clone()));
        let len = body.len() / 2;
        let tail = std::format!("{number:02x}{len:02x}{body}");
        assert!(
            hex(&bytes).ends_with(&tail),
            "{operation:?}: {}",
            hex(&bytes)
        );
        assert_eq!(decode(&bytes), Ok(command(Client::None, operation)));
    }
}

#[test]
fn every_cut_and_every_addition_is_refused() {
    for (operation, _) in all() {
        let bytes = encode(&command(session_client(), operation));
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes.slice(..len)), Err(CodecError::Header));
        }
        let longer: Bytes = [&bytes[..], &[0]].concat().into();
        assert_eq!(decode(&longer), Err(CodecError::Trailing { extra: 1 }));
    }
    assert_eq!(
        decode_start(&[1, 1]),
        Err(CodecError::Trailing { extra: 1 })
    );
    assert_eq!(decode_start(&[]), Err(CodecError::Header));
}

fn with(number: u16, body: &[u8]) -> Bytes {
    bytes_of(&HeaderFormat {
        zone: 0,
        principal: b"",
        client: ClientFormat::None,
        via: (1, 2, 3),
        number,
        body,
    })
    .into()
}

/// A claim of these keys, whatever they are.
pub(in crate::machine) fn forged(keys: &[Key]) -> Bytes {
    let parts = keys.iter().map(|key| PartFormat {
        key: key.as_bytes(),
        mode: ModeFormat::Exclusive,
    });
    let body = AcquireFormat {
        parts: parts.collect(),
        life: LifeFormat::Static,
        holder: b"",
        wait_ms: 0,
    };
    with(ACQUIRE, &bytes_of(&body))
}

#[test]
fn a_claim_of_many_keys_has_golden_bytes() {
    let part = |text, mode| Part {
        key: path(text),
        mode,
    };
    let parts = vec![part("b", Mode::Exclusive), part("a", Mode::Shared)];
    let many = Operation::Acquire(Acquire {
        parts: Parts::new(parts).unwrap(),
        life: Life::Session,
        wait_ms: 0,
        holder: Bytes::new(),
        reentrant: false,
    });
    let bytes = encode(&command(session_client(), many.clone()));
    let body = "02095f70617468000b610001095f70617468000b620000020000";
    assert!(
        hex(&bytes).ends_with(&std::format!("0a1a{body}")),
        "{}",
        hex(&bytes)
    );
    assert_eq!(decode(&bytes), Ok(command(session_client(), many)));
}

#[test]
fn a_conversion_has_golden_bytes() {
    let convert = |parts| {
        Operation::Convert(Convert {
            fence: Fence::new(300),
            parts,
            wait_ms: 1000,
        })
    };
    let one = convert(Parts::one(path("a"), Mode::Shared));
    let (number, body) = encode_body(&one);
    assert_eq!(number, 14);
    assert_eq!(hex(&body), "ac0201095f70617468000b610001e807");
    let mut cut = body.clone();
    while cut.pop().is_some() {
        assert!(postcard::from_bytes::<ConvertFormat<'_>>(&cut).is_err());
    }
    let two = [("b", Mode::Null), ("a", Mode::Exclusive)];
    let two = two.map(|(name, mode)| Part {
        key: path(name),
        mode,
    });
    for operation in [one, convert(Parts::new(two.to_vec()).unwrap())] {
        let command = command(Client::None, operation);
        assert_eq!(decode(&encode(&command)), Ok(command));
    }
    let endless = Operation::Convert(Convert {
        fence: Fence::new(1),
        parts: Parts::one(path("a"), Mode::Shared),
        wait_ms: WAIT_MS_MAX + 1,
    });
    assert!(command(Client::None, endless).check().is_err());
}

/// Their numbers say it: the bodies are those of the commands that are not re-entrant.
#[test]
fn what_is_reentrant_has_golden_bytes() {
    let Operation::Acquire(mut claim) = acquire() else {
        panic!("a claim")
    };
    claim.life = Life::Session;
    let release = |all| Operation::Release {
        key: path("a"),
        fence: Fence::new(9),
        all,
    };
    let claims = [false, true].map(|reentrant| {
        Operation::Acquire(Acquire {
            reentrant,
            ..claim.clone()
        })
    });
    let [plain, again] = claims;
    for (plain, again, numbers) in [
        (plain, again, (0x0a, 0x0c)),
        (release(false), release(true), (0x02, 0x0d)),
    ] {
        let [one, other] = [&plain, &again].map(|operation| {
            let (number, body) = encode_body(operation);
            assert_eq!(
                decode(&encode(&command(session_client(), operation.clone()))),
                Ok(command(session_client(), operation.clone()))
            );
            (number, body)
        });
        assert_eq!(one.1, other.1, "one body");
        assert_eq!((one.0, other.0), numbers);
    }
}

#[test]
fn what_an_operator_takes_has_golden_bytes() {
    let operation = Operation::Force(Force {
        key: path("a"),
        fence: Fence::new(9),
        cause: Cause {
            by: String::from("bob"),
            reason: String::from("gone"),
        },
    });
    let (number, body) = encode_body(&operation);
    let golden = "095f70617468000b61000903626f6204676f6e65";
    assert_eq!((number, &*hex(&body)), (15, golden));
    let said = command(Client::None, operation);
    assert_eq!(decode(&encode(&said)), Ok(said));
}

#[test]
fn every_mode_has_golden_bytes() {
    let permits = Mode::Permits {
        n: 2,
        capacity: 300,
    };
    let all = [
        (Mode::Exclusive, "00"),
        (Mode::Shared, "01"),
        (Mode::Null, "02"),
        (Mode::ConcurrentRead, "03"),
        (Mode::ConcurrentWrite, "04"),
        (Mode::ProtectedWrite, "05"),
        (permits, "0602ac02"),
    ];
    for (mode, golden) in all {
        let operation = Operation::Acquire(Acquire {
            parts: Parts::one(path("a"), mode),
            life: Life::Static,
            wait_ms: 0,
            holder: Bytes::new(),
            reentrant: false,
        });
        let bytes = encode(&command(Client::None, operation.clone()));
        let tail = std::format!("01095f70617468000b6100{golden}010000");
        assert!(hex(&bytes).ends_with(&tail), "{}", hex(&bytes));
        assert_eq!(decode(&bytes), Ok(command(Client::None, operation)));
    }
}

/// What earlier versions wrote into logs.
#[test]
fn a_claim_of_the_first_form_is_read() {
    let body = b"\x09_path\0\x0ba\0\x01\0\xb0\xea\x01\x07ann@box\xe8\x07";
    let read = decode(&with(ACQUIRE_ONE, body)).unwrap();
    assert_eq!(read.operation, acquire());
}

#[test]
fn what_is_no_claim_is_an_error() {
    let error = |keys: &[Key]| decode(&forged(keys)).unwrap_err();
    assert_eq!(error(&[]), CodecError::Parts(PartsError::Empty));
    let twice = error(&[path("a"), path("b"), path("a")]);
    assert_eq!(twice, CodecError::Parts(PartsError::Twice));
    let many: Vec<Key> = (0..65).map(|n| path(&std::format!("{n}"))).collect();
    let too_many = PartsError::TooMany { count: 65 };
    assert_eq!(error(&many), CodecError::Parts(too_many));
}

#[test]
fn a_wrong_body_still_tells_whom_to_answer() {
    assert_eq!(
        decode(&with(99, &[])),
        Err(CodecError::Number { number: 99 })
    );
    assert_eq!(
        decode(&with(CANCEL, &[])),
        Err(CodecError::Body { number: CANCEL })
    );
    assert_eq!(
        decode(&with(CANCEL, &[1, 1])),
        Err(CodecError::Trailing { extra: 1 })
    );
    assert_eq!(
        decode(&with(RELEASE, &[1, 9, 1])),
        Err(CodecError::Key(KeyError::NotCanonical {
            offset: 1,
            expected: "the zero that ends it",
        }))
    );
    let via = Via {
        node: NodeId::new(1),
        boot: Boot::new(2),
        seq: 3,
    };
    assert_eq!(decode_header(&with(9, &[])).unwrap().via, via);
}

#[test]
fn every_limit_is_checked() {
    let check = |client, change: &dyn Fn(&mut Acquire)| {
        let Operation::Acquire(mut inner) = acquire() else {
            panic!("an acquire")
        };
        change(&mut inner);
        decode(&encode(&command(client, Operation::Acquire(inner)))).map(|_| ())
    };
    let ttl = |ttl_ms| check(Client::None, &|a| a.life = Life::Lease { ttl_ms });
    assert_eq!(ttl(TTL_MS_MIN), Ok(()));
    assert_eq!(ttl(TTL_MS_MAX), Ok(()));
    assert_eq!(
        ttl(TTL_MS_MIN - 1),
        Err(CodecError::Invalid("the ttl is too short"))
    );
    assert_eq!(
        ttl(TTL_MS_MAX + 1),
        Err(CodecError::Invalid("the ttl is too long"))
    );
    assert_eq!(check(Client::None, &|a| a.wait_ms = WAIT_MS_MAX), Ok(()));
    assert!(check(Client::None, &|a| a.wait_ms = WAIT_MS_MAX + 1).is_err());
    assert!(
        check(Client::None, &|a| a.holder =
            vec![0; HOLDER_BYTES_MAX + 1].into())
        .is_err()
    );
    assert!(check(Client::None, &|a| a.life = Life::Session).is_err());
    assert_eq!(check(session_client(), &|a| a.life = Life::Session), Ok(()));
    let mut long = command(Client::None, acquire());
    long.principal = vec![b'x'; 129].into();
    assert!(decode(&encode(&long)).is_err());
    let zero = Client::Session {
        id: SessionId::new(1),
        seq: RequestSeq::new(0),
        done_through: RequestSeq::new(0),
    };
    assert!(check(zero, &|_| ()).is_err());
    let open = |ttl_ms, len| Operation::OpenSession {
        ttl_ms,
        identifier: vec![b'x'; len].into(),
        threads: false,
    };
    let opened = |ttl_ms, len| decode(&encode(&command(Client::None, open(ttl_ms, len)))).is_ok();
    assert!(opened(TTL_MS_MIN, 1024));
    assert!(!opened(TTL_MS_MIN, 1025));
    assert!(!opened(TTL_MS_MIN - 1, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let bytes = Bytes::from(bytes);
        if let Ok(command) = decode(&bytes) {
            prop_assert_eq!(decode(&encode(&command)), Ok(command));
        }
    }

    #[test]
    fn a_flipped_byte_gives_a_command_or_an_error(which in 0usize..10, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encode(&command(session_client(), all()[which].0.clone())).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(command) = decode(&bytes.into()) {
            prop_assert_eq!(decode(&encode(&command)), Ok(command));
        }
    }
}
