//! The stream of commands between a client and a server, from both ends.

use crate::draw::Draw;
use crate::memory;
use bytes::{Bytes, BytesMut};
use tenure_core::config::{Config, Member};
use tenure_core::ids::{ClusterId, NodeId, RequestId, SessionId};
use tenure_core::machine::command::Client;
use tenure_core::node::input::{Ask, Token};
use tenure_core::node::output::{Failure, Reply};
use tenure_core::wire::client::{
    AnswerError, Asked, Caller, Edge, Heard, REQUESTS_MAX, StreamError, Word,
};

/// What a stream may cost: the largest is an answer to two bytes, the refusal of a command.
const TIMES: u64 = 128;

/// How many requests or words of one input are said again: the search wants many short inputs.
const RESAID_MAX: usize = 8;
/// Bytes of the longest string that a command may have: a set of pairs.
const LONGEST_STRING: u64 = 16 << 10;
const SESSION: SessionId = SessionId::new(0x55);
const ID: RequestId = RequestId::new(9);

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
    Config::new(ClusterId([7; 16]), NodeId::new(1), members).expect("it is right")
}

/// A connection on which the session 0x55 was proved. Its stream 0 is untouched.
fn edge(config: &Config) -> Edge {
    let mut out = BytesMut::new();
    let mut edge = Edge::new(Bytes::new(), config, &mut out);
    let mut said = BytesMut::from(&b"\x20\x02\0\0\0\x3f"[..]);
    let ask = Ask::Resume {
        session: SESSION,
        secret: Token([3; 32]),
    };
    Caller::default().ask(ID, &Client::None, &ask, &mut said);
    said.extend_from_slice(b"\x20\x02\0\0\0\0");
    let mut asked = Vec::new();
    let read = edge.read(config, &mut said, &mut asked, &mut out);
    assert_eq!((read, asked.len()), (Ok(()), 1), "one request was made");
    assert!(edge.reply(config, asked[0].number, &Reply::Resumed, &mut out));
    edge
}

/// What a server makes of a connection's bytes.
#[derive(Debug, PartialEq)]
struct Understood {
    asked: Vec<Asked>,
    answered: BytesMut,
    end: Result<(), StreamError>,
}

fn understand(config: &Config, edge: &mut Edge, pieces: &[&[u8]]) -> Understood {
    let (mut asked, mut answered) = (Vec::new(), BytesMut::new());
    let (mut buffer, mut end) = (BytesMut::new(), Ok(()));
    for piece in pieces {
        buffer.extend_from_slice(piece);
        end = edge.read(config, &mut buffer, &mut asked, &mut answered);
        if end.is_err() {
            break;
        }
    }
    if end.is_ok() {
        waits_for_little(&buffer);
    }
    Understood {
        asked,
        answered,
        end,
    }
}

/// What is waited for is never a string that no command may have.
fn waits_for_little(rest: &[u8]) {
    let Some((number, rest)) = rest.split_first_chunk::<2>() else {
        return;
    };
    let class = number[0] >> 4;
    let digits = 1_usize << (class & 3);
    if let 8..=11 = class
        && let Some(digits) = rest.get(..digits)
    {
        let len = digits
            .iter()
            .fold(0_u64, |len, digit| len << 8 | u64::from(*digit));
        assert!(
            len <= LONGEST_STRING,
            "a string of {len} bytes is waited for"
        );
    }
}

/// Reads `bytes` as what a client sends: the first byte says in which pieces it comes.
pub fn requests(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let piece = 1 + draw.below(64);
    let stream = draw.rest();
    let config = config();
    let mut edge_whole = edge(&config);
    let whole = memory::within(stream.len(), TIMES, || {
        understand(&config, &mut edge_whole, &[stream])
    });
    let pieces: Vec<&[u8]> = stream.chunks(piece).collect();
    let in_pieces = understand(&config, &mut edge(&config), &pieces);
    assert_eq!(whole, in_pieces, "a stream means the same however it comes");

    let few = whole.asked.iter().take(RESAID_MAX);
    few.for_each(|one| say_again(&config, one));
    let mut out = whole.answered;
    assert!(
        edge_whole
            .open()
            .eq(whole.asked.iter().map(|one| one.number)),
        "every request is open, and nothing else"
    );
    assert!(whole.asked.len() <= REQUESTS_MAX, "open requests are few");
    for one in &whole.asked {
        let reply = Reply::Failed(Failure::NoQuorum);
        assert!(edge_whole.reply(&config, one.number, &reply, &mut out));
        let again = edge_whole.reply(&config, one.number, &reply, &mut out);
        assert!(!again, "a request is answered once");
    }
    // Whatever the server said, a client understands.
    let mut caller = Caller::default();
    while let Some(heard) = caller.read(&mut out).expect("our own answers are right") {
        let known = matches!(
            heard.word,
            Word::Hello { .. } | Word::Pong | Word::Reset | Word::Rejected(_)
        );
        assert!(known, "nothing was decided: {heard:?}");
    }
    assert!(out.is_empty(), "no answer is cut off");
}

/// Whatever was asked, a client of ours could have asked.
fn say_again(config: &Config, one: &Asked) {
    let client = &one.request.client;
    let id = if let Client::Key(key) = client {
        *key
    } else {
        ID
    };
    let mut said = BytesMut::new();
    Caller::default().ask(id, client, &one.request.ask, &mut said);
    let again = understand(config, &mut edge(config), &[&said]);
    assert_eq!(again.asked.len(), 1, "one request is one request");
    assert_eq!(again.asked[0].request, one.request, "said again");
    assert!(again.answered.is_empty(), "and it is right");
}

/// What a client makes of a connection's bytes.
#[derive(Debug, PartialEq)]
struct Listened {
    heard: Vec<Heard>,
    end: Result<(), AnswerError>,
}

fn listen(pieces: &[&[u8]]) -> Listened {
    let (mut caller, mut buffer) = (Caller::default(), BytesMut::new());
    let mut heard = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match caller.read(&mut buffer) {
                Ok(Some(word)) => heard.push(word),
                Ok(None) => break,
                Err(error) => {
                    let end = Err(error);
                    return Listened { heard, end };
                }
            }
        }
    }
    let end = Ok(());
    Listened { heard, end }
}

/// Reads `bytes` as what a server sends: the first byte says in which pieces it comes.
pub fn answers(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let piece = 1 + draw.below(64);
    let stream = draw.rest();
    let whole = memory::within(stream.len(), TIMES, || listen(&[stream]));
    let pieces: Vec<&[u8]> = stream.chunks(piece).collect();
    assert_eq!(
        whole,
        listen(&pieces),
        "a stream means the same however it comes"
    );
    for heard in whole.heard.into_iter().take(RESAID_MAX) {
        // What a strange server says in its own way is said in ours, and then stays as it is.
        if let Some(once) = resay(&heard.word) {
            let twice = resay(&once).expect("what was said can be said again");
            assert_eq!(once, twice, "written and read back");
        }
    }
}

/// The word, after our own server said it; none if it is not one that the node has said.
fn resay(word: &Word) -> Option<Word> {
    let reply = match word.clone() {
        Word::Decided {
            answer,
            token,
            slot,
        } => Reply::Decided {
            answer,
            token,
            slot,
        },
        Word::Lock {
            view, slot, stamp, ..
        } => Reply::Lock { view, slot, stamp },
        Word::Verdict {
            verdict,
            slot,
            stamp,
            ..
        } => Reply::Verdict {
            verdict,
            slot,
            stamp,
        },
        Word::Locks {
            page, slot, stamp, ..
        } => Reply::Locks { page, slot, stamp },
        Word::Hello { .. }
        | Word::Pong
        | Word::Reset
        | Word::Resumed { .. }
        | Word::Servers { .. }
        | Word::Rejected(_) => return None,
    };
    let config = config();
    let mut edge = edge(&config);
    let mut said = BytesMut::new();
    Caller::default().ask(ID, &Client::None, &Ask::Servers, &mut said);
    let asked = understand(&config, &mut edge, &[&said]).asked;
    let mut out = BytesMut::new();
    assert!(edge.reply(&config, asked[0].number, &reply, &mut out));
    let mut heard = listen(&[&out]);
    assert_eq!(heard.end, Ok(()), "our own answers are right");
    let one = heard.heard.pop().expect("one answer was given");
    assert_eq!((one.id, heard.heard.len()), (ID, 0), "to one request");
    Some(one.word)
}
