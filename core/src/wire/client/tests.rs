//! The stream of commands, from both ends.

use super::*;
use crate::config::{Config, Member};
use crate::ids::{ClusterId, Fence, NodeId, RequestId, RequestSeq, SessionId, TicketId, ZoneId};
use crate::machine::command::{Acquire, Client, Life, Mode};
use crate::machine::key::Key;
use crate::machine::parts::{Part, Parts};
use crate::node::input::{Ask, Convert, Proof, Question, Request, Token, Verify};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};
use core::fmt::Write;

mod answers;
mod bytes_of_strangers;
mod laws;
mod requests;

fn config() -> Config {
    let member = |node: u64| Member {
        node: NodeId::new(node),
        peer: format!("127.0.0.{node}:7602"),
        client: format!("127.0.0.{node}:7601"),
        http: format!("127.0.0.{node}:7600"),
        location: "au.perth.dh4".into(),
        ..Member::default()
    };
    let members = vec![member(1), member(2)];
    Config::new(ClusterId([7; 16]), NodeId::new(1), members).unwrap()
}

/// A connection after its hello.
fn edge() -> Edge {
    Edge::new(Bytes::new(), &config(), &mut BytesMut::new())
}

/// What the edge asks the node, and what it answers itself.
fn read(edge: &mut Edge, bytes: &[u8]) -> (Vec<Asked>, BytesMut) {
    let (mut asked, mut out) = (Vec::new(), BytesMut::new());
    let mut buffer = BytesMut::from(bytes);
    edge.read(&config(), &mut buffer, &mut asked, &mut out)
        .unwrap();
    (asked, out)
}

fn words(bytes: &mut BytesMut) -> Vec<Heard> {
    let (mut caller, mut heard) = (Caller::default(), Vec::new());
    while let Some(word) = caller.read(bytes).unwrap() {
        heard.push(word);
    }
    heard
}

fn path(name: &str) -> Key {
    Key::from_path(name).unwrap()
}

const SESSION: SessionId = SessionId::new(0x55);
const ID: RequestId = RequestId::new(9);

/// Proves the session 0x55 to the connection, on a stream of its own: stream 0 stays as it was.
fn prove(edge: &mut Edge) {
    let mut out = BytesMut::new();
    put_int(&mut out, numbers::STREAM_ID, 63);
    let ask = Ask::Resume {
        session: SESSION,
        secret: Token([3; 32]),
    };
    Caller::default().ask(ID, &Client::None, &ask, &mut out);
    put_int(&mut out, numbers::STREAM_ID, 0);
    let (asked, _) = read(edge, &out);
    let resumed = crate::node::output::Reply::Resumed;
    assert!(edge.reply(&config(), asked[0].number, &resumed, &mut out));
}

fn in_session(seq: u64) -> Client {
    Client::Session {
        id: SESSION,
        seq: RequestSeq::new(seq),
        done_through: RequestSeq::new(seq - 1),
    }
}

fn acquire(name: &str, wait_ms: u64) -> Acquire {
    Acquire {
        parts: Parts::one(path(name), Mode::Exclusive),
        life: Life::Lease { ttl_ms: 10_000 },
        wait_ms,
        holder: Bytes::from_static(b"alice"),
        reentrant: false,
    }
}

const PERMITS: Mode = Mode::Permits {
    n: 2,
    capacity: 300,
};

/// Two keys, in two modes.
fn many() -> Parts {
    let part = |name, mode| Part {
        key: path(name),
        mode,
    };
    Parts::new(alloc::vec![
        part("deploy/prod", Mode::Exclusive),
        part("deploy/test", Mode::Shared),
    ])
    .unwrap()
}

/// Compares with the lines of a golden file.
fn assert_golden(golden: &str, samples: impl Iterator<Item = (&'static str, Bytes)>) {
    let mut found = String::new();
    for (name, bytes) in samples {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let _ = writeln!(found, "{name} {hex}");
    }
    let golden: String = golden
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert!(found == golden, "frozen bytes changed; now:\n{found}");
}
