//! The documents: their bytes, and which status each way to say no has.

use super::world::token;
use crate::answers;
use crate::cluster;
use crate::problem::{Problem, status_of};
use axum::body::to_bytes;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use std::fmt::Write;
use tenure_core::ids::{Fence, NodeId, SessionId, Slot, TicketId, ZoneId};
use tenure_core::machine::answer::{Blocker, Grant, Refusal, Table};
use tenure_core::machine::command::{Life, Mode};
use tenure_core::machine::key::{Key, Value};
use tenure_core::machine::parts::Parts;
use tenure_core::node::output::{Failure, NotReady, Reply};
use tenure_core::query::{HolderView, LockView, Page, WaiterView};
use tenure_core::wire::codes;
use tenure_rt::block_on;

const GOLDEN: &str = include_str!("../../../../tests/vectors/http.txt");
const MANUAL: &str = include_str!("../../../../docs/HTTP.md");
const SLOT: Slot = Slot::new(42);

fn grant() -> Grant {
    Grant {
        zone: ZoneId::new(0),
        parts: Parts::one(
            Key::from_path("deploy/prod").expect("it is a path"),
            Mode::Exclusive,
        ),
        fence: Fence::new(1_843_000_000_000_017),
        life: Life::Lease { ttl_ms: 60_000 },
        session: None,
        holder: Bytes::from_static(b"alice"),
        remaining_ms: Some(60_000),
        replayed: false,
        entered: 0,
    }
}

fn blocker() -> Blocker {
    Blocker {
        holder: Bytes::from_static(b"alice \"\xff\""),
        fence: Fence::new(17),
        mode: Mode::Shared,
    }
}

fn view() -> LockView {
    let pairs = [
        ("env", Value::String("prod".into())),
        ("shard", Value::U8(5)),
    ];
    LockView {
        key: Key::from_pairs(&pairs).expect("they are pairs"),
        holders: vec![HolderView {
            holder: Bytes::from_static(b"alice"),
            mode: Mode::Exclusive,
            fence: Fence::new(17),
            session: Some(SessionId::new(0xabc)),
            held_ms: 20_000,
            remaining_ms: None,
            entered: 0,
        }],
        waiters: vec![WaiterView {
            holder: Bytes::from_static(b"bob"),
            mode: Mode::Shared,
            ticket: TicketId::new(u64::MAX),
            waiting_ms: 6_000,
        }],
        waiting: 1,
    }
}

fn successes() -> Vec<(&'static str, Response)> {
    let key = grant().key().clone();
    let fixed = Grant {
        life: Life::Static,
        remaining_ms: None,
        ..grant()
    };
    let replayed = Grant {
        replayed: true,
        remaining_ms: Some(41_000),
        ..grant()
    };
    let servers = Reply::Servers {
        nodes: vec![NodeId::new(1), NodeId::new(2)],
        leader: Some(NodeId::new(2)),
        applied: SLOT,
        digest: 0xab,
    };
    let page = |more| Page {
        locks: vec![view()],
        more,
    };
    let config = super::world::config(2);
    let told = cluster::servers(&config, &servers).expect("they are servers");
    vec![
        ("granted", answers::granted(&grant(), token(0xab), SLOT)),
        (
            "granted, static",
            answers::granted(&fixed, token(0xab), SLOT),
        ),
        (
            "granted, replayed",
            answers::granted(&replayed, token(0xab), SLOT),
        ),
        (
            "accepted",
            answers::accepted(TicketId::new(7), Some(3), true, SLOT),
        ),
        (
            "accepted, offered",
            answers::accepted(TicketId::new(7), None, false, SLOT),
        ),
        (
            "renewed",
            answers::renewed(&key, Fence::new(17), 60_000, SLOT),
        ),
        (
            "released",
            answers::released(&key, Fence::new(17), false, SLOT),
        ),
        ("lock", answers::lock(&view(), SLOT)),
        ("locks", answers::locks(&page(false), SLOT)),
        ("locks, more", answers::locks(&page(true), SLOT)),
        ("cluster", told),
        ("healthy", cluster::healthy()),
        ("ready", cluster::ready(SLOT)),
    ]
}

fn problems() -> Vec<(&'static str, Problem)> {
    let by = vec![blocker()];
    let held = Refusal::Held { by: by.clone() };
    let ended = Refusal::WaitTimeout { by };
    let known = ["holder", "ttl"];
    vec![
        ("held", Problem::refused(held, None, SLOT)),
        ("wait timed out", Problem::refused(ended, Some(2), SLOT)),
        ("busy", Problem::failed(Failure::Busy)),
        ("unknown", Problem::failed(Failure::Unknown)),
        ("bad value", Problem::bad_value("ttl", "no duration")),
        ("unknown field", Problem::unknown_field("hodler", &known)),
    ]
}

#[test]
fn documents_are_for_ever() {
    let written = block_on(async {
        let mut written = String::new();
        let problems = problems().into_iter();
        let problems = problems.map(|(name, problem)| (name, problem.into_response()));
        for (name, response) in successes().into_iter().chain(problems) {
            let (head, body) = response.into_parts();
            let bytes = to_bytes(body, 1 << 20).await.expect("it is in memory");
            let text = String::from_utf8(bytes.to_vec()).expect("documents are UTF-8");
            writeln!(written, "# {name}\n{}", head.status.as_u16()).expect("it is a string");
            for (name, value) in &head.headers {
                let value = value.to_str().expect("headers are text");
                writeln!(written, "{name}: {value}").expect("it is a string");
            }
            writeln!(written, "{text}").expect("it is a string");
        }
        written
    });
    let written = written.expect("the runtime starts");
    assert_eq!(
        written.trim_end(),
        GOLDEN.trim_end(),
        "documents changed:\n{written}"
    );
}

/// The table of the manual: `| status | codes | …`.
fn documented(code: &str) -> Option<u16> {
    let quoted = format!("`{code}`");
    let mut rows = MANUAL.lines().filter(|line| line.starts_with("| "));
    let row = rows.find(|line| {
        line.split('|')
            .nth(2)
            .is_some_and(|cell| cell.contains(&quoted))
    })?;
    row.split('|').nth(1)?.trim().parse().ok()
}

#[test]
fn every_refusal_and_failure_has_the_status_that_the_manual_says() {
    let refusals = [
        Refusal::Held { by: Vec::new() },
        Refusal::WaitTimeout { by: Vec::new() },
        Refusal::Cancelled,
        Refusal::NotHeld,
        Refusal::NotLeased,
        Refusal::NoSuchTicket,
        Refusal::SessionGone,
        Refusal::IdentifierInUse,
        Refusal::SessionBusy,
        Refusal::Forgotten,
        Refusal::RequestIdReused,
        Refusal::Quota { what: Table::Locks },
        Refusal::Invalid { what: "" },
    ];
    for refusal in refusals {
        let code = codes::of_refusal(&refusal);
        let response = Problem::refused(refusal, None, SLOT).into_response();
        let status = response.status().as_u16();
        assert_eq!(documented(code.name), Some(status), "{}", code.name);
        assert_eq!(response.headers()["lock-index"], "42");
        assert_ne!(status, 408, "proxies try it again");
    }
    let failures = [
        Failure::Busy,
        Failure::DiskFull,
        Failure::NoQuorum,
        Failure::NotReady(NotReady::Draining),
        Failure::Unknown,
        Failure::BadProof,
        Failure::Invalid(""),
    ];
    for failure in failures {
        let code = codes::of_failure(&failure);
        let status = Problem::failed(failure).into_response().status().as_u16();
        assert_eq!(documented(code.name), Some(status), "{}", code.name);
    }
}

#[test]
fn every_code_that_http_says_is_in_the_manual() {
    for code in codes::ALL {
        let Some(documented) = documented(code.name) else {
            let native_only = code.number > 300;
            assert!(native_only, "{} is not in docs/HTTP.md", code.name);
            continue;
        };
        // The one code with several statuses: which part was too long.
        if *code != codes::TOO_LONG {
            assert_eq!(status_of(*code).as_u16(), documented, "{}", code.name);
        }
    }
}
