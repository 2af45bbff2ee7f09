//! What the node replies, the client hears.

use super::*;
use crate::ids::Slot;
use crate::machine::answer::{Answer, Blocker, Grant, Refusal, Table};
use crate::node::output::{Failure, Reply};
use crate::query::{HolderView, LockView, Page, Verdict, WaiterView};
use crate::time::Stamp;
use crate::wire::codes;
use proptest::prelude::*;

fn grant() -> Grant {
    Grant {
        zone: ZoneId::new(0),
        parts: Parts::one(path("deploy/prod"), Mode::Exclusive),
        fence: Fence::new(17),
        life: Life::Lease { ttl_ms: 10_000 },
        session: None,
        holder: Bytes::from_static(b"alice"),
        remaining_ms: Some(10_000),
        replayed: false,
        entered: 0,
    }
}

fn by() -> Vec<Blocker> {
    let blocker = |holder, fence| Blocker {
        holder: Bytes::from_static(holder),
        fence: Fence::new(fence),
        mode: Mode::Shared,
    };
    vec![blocker(b"bob", 3), blocker(b"", 4)]
}

fn lock() -> LockView {
    LockView {
        key: path("deploy/prod"),
        holders: vec![HolderView {
            holder: Bytes::from_static(b"alice"),
            mode: Mode::Exclusive,
            fence: Fence::new(17),
            session: Some(SESSION),
            held_ms: 20_000,
            remaining_ms: Some(40_000),
            entered: 0,
        }],
        waiters: vec![WaiterView {
            holder: Bytes::from_static(b"bob"),
            mode: Mode::Shared,
            ticket: TicketId::new(12),
            waiting_ms: 6_000,
        }],
        waiting: 1,
    }
}

fn held() -> Verdict {
    Verdict {
        key: path("deploy/prod"),
        fence: Fence::new(17),
        held: lock().holders.pop(),
        highest: Some(Fence::new(18)),
    }
}

/// Its session has entered it three times.
fn entered() -> LockView {
    let mut view = lock();
    view.holders[0].entered = 3;
    view
}

fn free() -> LockView {
    LockView {
        key: path("a"),
        holders: vec![],
        waiters: vec![],
        waiting: 0,
    }
}

fn decided(answer: Answer, token: Option<Token>) -> Reply {
    let slot = Slot::new(99);
    Reply::Decided {
        answer,
        token,
        slot,
    }
}

/// One of each that is no refusal, with the request that it answers.
#[rustfmt::skip]
fn samples() -> Vec<(&'static str, &'static str, Reply)> {
    let (slot, stamp) = (Slot::new(99), Stamp::from_nanos(1 << 40));
    let (ticket, fence, session) = (TicketId::new(12), Fence::new(17), SESSION);
    let token = Some(Token([5; 32]));
    let late = Grant { life: Life::Session, session: Some(session), remaining_ms: None, replayed: true, parts: Parts::one(path("deploy/prod"), Mode::Shared), ..grant() };
    let again = Grant { life: Life::Session, session: Some(session), remaining_ms: None, entered: 2, ..grant() };
    let several = Grant { parts: many(), ..grant() };
    let permits = Grant { parts: Parts::one(path("jobs"), PERMITS), ..grant() };
    let forever = Grant { life: Life::Static, holder: Bytes::new(), remaining_ms: None, ..grant() };
    let nodes = vec![NodeId::new(1), NodeId::new(2)];
    vec![
        ("granted", "set_lock", decided(Answer::Granted(grant()), token)),
        ("granted_many", "set_lock_many", decided(Answer::Granted(several), token)),
        ("granted_again", "set_lock_reentrant", decided(Answer::Granted(again), token)),
        ("released_once", "unlock_session", decided(Answer::Released { fence, already: false, entered: 1 }, None)),
        ("granted_permits", "set_lock_permits", decided(Answer::Granted(permits), token)),
        ("resized", "resize", decided(Answer::Resized { capacity: 300 }, None)),
        ("granted_replayed", "set_lock_wait", decided(Answer::Granted(late), token)),
        ("granted_static", "set_lock", decided(Answer::Granted(forever), token)),
        ("queued", "set_lock_wait", decided(Answer::Queued { ticket, position: 3 }, None)),
        ("offered", "set_lock_wait", decided(Answer::Offered { ticket }, None)),
        ("released", "unlock", decided(Answer::Released { fence, already: false, entered: 0 }, None)),
        ("released_before", "unlock", decided(Answer::Released { fence, already: true, entered: 0 }, None)),
        ("renewed", "renew", decided(Answer::Renewed { fence, ttl_ms: 10_000 }, None)),
        ("converted", "convert", decided(Answer::Converted { fence }, None)),
        ("cancelled", "cancel", decided(Answer::Cancelled { ticket }, None)),
        ("session_opened", "open_session", decided(Answer::SessionOpened { session, ttl_ms: 10_000 }, Some(Token([3; 32])))),
        ("resumed", "resume_session", Reply::Resumed),
        ("kept_alive", "keep_alive", decided(Answer::KeptAlive { session, ttl_ms: 10_000, taken: vec![] }, None)),
        ("kept_alive_less", "keep_alive", decided(Answer::KeptAlive { session, ttl_ms: 10_000, taken: vec![fence, fence.next()] }, None)),
        ("forced", "force_unlock", decided(Answer::Forced { fence, holder: Bytes::from_static(b"alice"), remaining_ms: Some(8_000) }, None)),
        ("forced_static", "force_unlock", decided(Answer::Forced { fence, holder: Bytes::new(), remaining_ms: None }, None)),
        ("session_closed", "close_session", decided(Answer::SessionClosed { session }, None)),
        ("lock", "query", Reply::Lock { view: lock(), slot, stamp }),
        ("lock_entered", "query", Reply::Lock { view: entered(), slot, stamp }),
        ("locks", "list", Reply::Locks { page: Page { locks: vec![free(), lock()], more: true }, slot, stamp }),
        ("no_locks", "list", Reply::Locks { page: Page { locks: vec![], more: false }, slot, stamp }),
        ("servers", "servers", Reply::Servers { nodes, leader: Some(NodeId::new(2)), applied: slot, digest: 0xfeed }),
        ("lock_stale", "query_stale", Reply::Lock { view: lock(), slot, stamp }),
        ("locks_stale", "list_stale", Reply::Locks { page: Page { locks: vec![lock()], more: true }, slot, stamp }),
        ("verified", "verify_proof", Reply::Verdict { verdict: held(), slot, stamp }),
        ("verified_other", "verify", Reply::Verdict { verdict: Verdict { held: None, ..held() }, slot, stamp }),
        ("verified_none", "verify", Reply::Verdict { verdict: Verdict { held: None, highest: None, ..held() }, slot, stamp }),
        ("verified_stale", "verify_stale", Reply::Verdict { verdict: held(), slot, stamp }),
    ]
}

fn no(refusal: Refusal) -> Reply {
    decided(Answer::Refused(refusal), None)
}

#[rustfmt::skip]
fn refusals() -> Vec<(&'static str, &'static str, Reply)> {
    vec![
        ("held", "set_lock", no(Refusal::Held { by: by() })),
        ("wait_timeout", "set_lock_wait", no(Refusal::WaitTimeout { by: by() })),
        ("wait_cancelled", "set_lock_wait", no(Refusal::Cancelled)),
        ("not_held", "renew", no(Refusal::NotHeld)),
        ("not_leased", "renew", no(Refusal::NotLeased)),
        ("no_such_ticket", "cancel", no(Refusal::NoSuchTicket)),
        ("session_gone", "keep_alive", no(Refusal::SessionGone)),
        ("identifier_in_use", "open_session", no(Refusal::IdentifierInUse)),
        ("session_busy", "unlock", no(Refusal::SessionBusy)),
        ("forgotten", "unlock", no(Refusal::Forgotten)),
        ("request_id_reused", "unlock", no(Refusal::RequestIdReused)),
        ("quota", "open_session", no(Refusal::Quota { what: Table::Sessions })),
        ("has_capacity", "set_lock_permits", no(Refusal::HasCapacity { capacity: 5 })),
        ("not_covered", "set_lock_reentrant", no(Refusal::NotCovered { by: by() })),
        ("no_permits", "resize", no(Refusal::NoPermits)),
        ("entered", "convert", no(Refusal::Entered { entered: 2 })),
        ("converting", "convert", no(Refusal::Converting)),
        ("upgrade_deadlock", "convert_many", no(Refusal::UpgradeDeadlock { by: by() })),
        ("fence_changed", "force_unlock", no(Refusal::FenceChanged { by: by() })),
        ("deadlock", "set_lock_wait", no(Refusal::Deadlock { by: by() })),
        ("search_limit", "set_lock_wait", no(Refusal::SearchLimit)),
        ("invalid_in_log", "renew", no(Refusal::Invalid { what: "the ttl is too short" })),
        ("busy", "query", Reply::Failed(Failure::Busy)),
        ("disk_full", "set_lock", Reply::Failed(Failure::DiskFull)),
        ("no_quorum", "set_lock", Reply::Failed(Failure::NoQuorum)),
        ("unknown", "set_lock", Reply::Failed(Failure::Unknown)),
        ("bad_proof", "unlock", Reply::Failed(Failure::BadProof)),
        ("invalid", "unlock", Reply::Failed(Failure::Invalid("no"))),
    ]
}

/// The bytes of the reply to the request of this name.
fn answer_bytes(request: &str, reply: &Reply) -> BytesMut {
    let mut edge = edge();
    prove(&mut edge);
    let asks = requests::samples();
    let found = asks.iter().find(|(name, ..)| *name == request);
    let (_, client, ask) = found.unwrap();
    let (asked, _) = read(&mut edge, &requests::bytes_of(client, ask));
    let mut out = BytesMut::new();
    assert!(edge.reply(&config(), asked[0].number, reply, &mut out));
    out
}

fn all() -> impl Iterator<Item = (&'static str, &'static str, Reply)> {
    samples().into_iter().chain(refusals())
}

#[test]
fn the_bytes_are_the_golden_ones() {
    let golden = include_str!("../../../../../tests/vectors/client_answers.txt");
    let samples =
        all().map(|(name, request, reply)| (name, answer_bytes(request, &reply).freeze()));
    let mut hello = BytesMut::new();
    let _ = Edge::new(Bytes::new(), &config(), &mut hello);
    let samples = samples.chain([("hello", hello.freeze())]);
    assert_golden(golden, samples);
}

#[test]
fn every_answer_begins_with_its_stream_and_request() {
    for (name, request, reply) in all() {
        let bytes = answer_bytes(request, &reply);
        let mut head = vec![0x20, 0x02, 0, 0, 0, 0, 0x40, 0x01];
        head.extend_from_slice(&ID.get().to_be_bytes());
        assert!(bytes.starts_with(&head), "{name}");
    }
}

fn heard_as(reply: Reply, is_stale: bool) -> Word {
    match reply {
        Reply::Decided {
            answer,
            token,
            slot,
        } => Word::Decided {
            answer,
            token,
            slot,
        },
        Reply::Resumed => Word::Resumed { session: SESSION },
        Reply::Config { .. } => panic!("nobody asks for it here"),
        Reply::Lock { view, slot, stamp } => Word::Lock {
            view,
            slot,
            stamp,
            is_stale,
        },
        Reply::Verdict {
            verdict,
            slot,
            stamp,
        } => Word::Verdict {
            verdict,
            slot,
            stamp,
            is_stale,
        },
        Reply::Locks { page, slot, stamp } => Word::Locks {
            page,
            slot,
            stamp,
            is_stale,
        },
        Reply::Servers {
            nodes,
            leader,
            applied,
            digest,
        } => {
            let row = |node: &NodeId| ServerRow {
                node: *node,
                client: format!("127.0.0.{node}:7601"),
                http: format!("127.0.0.{node}:7600"),
                location: "au.perth.dh4".into(),
                leader: leader == Some(*node),
            };
            Word::Servers {
                servers: nodes.iter().map(row).collect(),
                by: NodeId::new(1),
                applied,
                digest,
            }
        }
        Reply::Failed(_) => panic!("a failure is a refusal"),
    }
}

#[test]
fn every_answer_is_heard_as_it_was_said() {
    for (name, request, reply) in samples() {
        let heard = words(&mut answer_bytes(request, &reply));
        let word = heard_as(reply, request.ends_with("_stale"));
        assert_eq!(heard, [Heard { id: ID, word }], "{name}");
    }
}

#[test]
fn every_refusal_is_heard_with_its_code_and_its_reason() {
    for (name, request, reply) in refusals() {
        let (code, text, slot) = match &reply {
            Reply::Decided {
                answer: Answer::Refused(refusal),
                slot,
                ..
            } => (
                codes::of_refusal(refusal),
                format!("{refusal}"),
                Some(*slot),
            ),
            Reply::Failed(failure) => (codes::of_failure(failure), format!("{failure}"), None),
            _ => panic!("a refusal"),
        };
        let heard = words(&mut answer_bytes(request, &reply));
        let Word::Rejected(rejection) = &heard[0].word else {
            panic!("{name} is a refusal");
        };
        assert_eq!(rejection.code, code.number, "{name}");
        assert_eq!(rejection.outcome, code.outcome, "{name}");
        assert_eq!(rejection.retryable, code.retryable, "{name}");
        assert_eq!(rejection.text, text, "{name}");
        assert_eq!(rejection.slot, slot, "{name}");
        let blocked = matches!(
            name,
            "held"
                | "wait_timeout"
                | "not_covered"
                | "upgrade_deadlock"
                | "deadlock"
                | "fence_changed"
        );
        assert_eq!(rejection.by, if blocked { by() } else { vec![] }, "{name}");
    }
}

#[test]
fn a_waiting_claim_is_answered_twice_under_one_id() {
    let mut edge = edge();
    let claim = requests::bytes_of(&Client::None, &Ask::Acquire(acquire("a", 1000)));
    let (asked, mut out) = read(&mut edge, &claim);
    let number = asked[0].number;
    let queued = Answer::Queued {
        ticket: TicketId::new(1),
        position: 1,
    };
    for answer in [queued, Answer::Granted(grant())] {
        assert!(edge.open().eq([number]), "still open");
        assert!(edge.reply(&config(), number, &decided(answer, None), &mut out));
    }
    assert_eq!(edge.open().count(), 0);
    let again = decided(Answer::Granted(grant()), None);
    assert!(
        !edge.reply(&config(), number, &again, &mut out),
        "said once"
    );
    let heard = words(&mut out);
    assert_eq!(heard.len(), 2);
    assert!(heard.iter().all(|one| one.id == ID));
}

#[test]
fn an_answer_of_a_later_version_is_stepped_over() {
    let mut bytes = BytesMut::new();
    put_int(&mut bytes, numbers::STREAM_ID, 0);
    put_fixed(&mut bytes, numbers::REQUEST_ID, &[1; 16]);
    put_int(&mut bytes, 0x3fff, 7);
    put_execute(&mut bytes, 0x7fff);
    put_execute(&mut bytes, numbers::PONG);
    let mut caller = Caller::default();
    let heard = caller.read(&mut bytes).unwrap().unwrap();
    assert_eq!(
        heard,
        Heard {
            id: RequestId::new(0),
            word: Word::Pong
        }
    );
    assert_eq!(caller.skipped(), 2);
}

#[test]
fn an_answer_that_lacks_something_is_an_error_that_names_it() {
    let mut bytes = BytesMut::new();
    put_execute(&mut bytes, numbers::UNLOCK);
    let error = Caller::default().read(&mut bytes).unwrap_err();
    let expected = AnswerError::Answer {
        answer: numbers::UNLOCK,
        number: numbers::FENCE,
        what: "a register was not set",
    };
    assert_eq!(error, expected);
}

#[test]
fn an_answer_without_end_is_given_up() {
    let mut caller = Caller::default();
    let mut read = Ok(None);
    let mut bytes = BytesMut::new();
    for _ in 0..=(ANSWER_BYTES_MAX >> 14) {
        put_text(&mut bytes, numbers::KEY_VALUES, &vec![0; 16 << 10]);
        read = caller.read(&mut bytes);
        if read.is_err() {
            break;
        }
    }
    assert_eq!(read, Err(AnswerError::TooLong));
}

proptest! {
    #[test]
    fn any_grant_reads_back(
        fence in any::<u64>(),
        session in any::<Option<u128>>(),
        ttl_ms in any::<Option<u64>>(),
        holder in prop::collection::vec(any::<u8>(), 0..128),
        remaining_ms in any::<Option<u64>>(),
        replayed in any::<bool>(),
        token in any::<[u8; 32]>(),
    ) {
        let session = session.filter(|id| *id != 0).map(SessionId::new);
        let life = ttl_ms.map_or(Life::Static, |ttl_ms| Life::Lease { ttl_ms });
        let (holder, fence) = (Bytes::from(holder), Fence::new(fence));
        let grant = Grant { fence, session, life, holder, remaining_ms, replayed, ..grant() };
        let reply = decided(Answer::Granted(grant), Some(Token(token)));
        let heard = words(&mut answer_bytes("set_lock", &reply));
        prop_assert_eq!(&heard[0].word, &heard_as(reply, false));
    }
}

/// What they said before a word was added is still understood.
#[test]
fn what_servers_said_before_is_still_heard() {
    let before = include_str!("../../../../../tests/vectors/client_answers_before.txt");
    let mut heard = 0;
    for line in before.lines().filter(|line| !line.starts_with('#')) {
        let (name, hex) = line.split_once(' ').unwrap();
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let mut bytes: BytesMut = (0..hex.len()).step_by(2).map(digit).collect();
        let mut caller = Caller::default();
        let word = caller.read(&mut bytes).unwrap().unwrap().word;
        assert!(!matches!(word, Word::Rejected(_)), "{name}: {word:?}");
        assert_eq!(caller.mark(), None, "{name} has no hash");
        heard += 1;
    }
    assert_eq!(heard, 3);
}

#[test]
fn a_keep_alive_names_the_configuration() {
    let answer = Answer::KeptAlive {
        session: SESSION,
        ttl_ms: 10_000,
        taken: vec![],
    };
    let mut bytes = answer_bytes("keep_alive", &decided(answer, None));
    let mut caller = Caller::default();
    caller.read(&mut bytes).unwrap().unwrap();
    assert_eq!(caller.mark(), Some(config().shared().mark()));
}
