//! Frames between servers.

use crate::memory;
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use tenure_core::config::{Config, Member};
use tenure_core::entry::Entry;
use tenure_core::founding::{Founding, Step, Word};
use tenure_core::ids::{Boot, ClusterId, Incarnation, NodeId};
use tenure_core::limits::FRAME_BYTES_MAX;
use tenure_core::replica::message::{Message, Report};
use tenure_core::wire::peer::{
    Body, Doorman, Frame, HEADER_BYTES, Hello, decode, encode, frame_bytes, parse,
};

/// What a frame may cost: the largest is a report of an empty entry, 24 bytes on the wire.
const TIMES: u64 = 32;

/// Reads `bytes` as a connection's, and then as one frame whose length and checksum are right.
pub fn peer(bytes: &[u8]) {
    stream(bytes);
    if (HEADER_BYTES..=FRAME_BYTES_MAX).contains(&bytes.len()) {
        let frame = mend(bytes);
        if let Ok(read) = memory::within(frame.len(), TIMES, || parse(&frame)) {
            check(&read, &frame);
        }
    }
}

fn stream(bytes: &[u8]) {
    let mut buffer = BytesMut::from(bytes);
    let mut at = 0;
    loop {
        let length = frame_bytes(&buffer);
        let read = memory::within(buffer.len(), TIMES, || decode(&mut buffer));
        match read {
            Ok(Some(frame)) => {
                let end = bytes.len() - buffer.len();
                assert_eq!(length, Ok(Some(end - at)), "the length was known before");
                check(&frame, &bytes[at..end]);
                at = end;
            }
            Ok(None) => {
                let length = length.expect("a frame that is waited for has a good length");
                let short = length.is_none_or(|length| buffer.len() < length);
                assert!(short, "a whole frame is read at once");
                return;
            }
            Err(_) => return,
        }
    }
}

/// Makes length and checksum right, so that what is behind them is reached.
fn mend(bytes: &[u8]) -> Bytes {
    let mut frame = bytes.to_vec();
    let length = u32::try_from(frame.len() - 8).expect("frames are below 4 GiB");
    frame[..4].copy_from_slice(&length.to_le_bytes());
    let crc = crc32fast::hash(&frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    frame.into()
}

fn check(frame: &Frame, bytes: &[u8]) {
    let again = encode(&frame.header, &frame.body).to_bytes();
    assert_eq!(again, bytes, "one frame has one form");
    let read = parse(&again).expect("what was written can be read");
    assert_eq!(read, *frame, "what was written is read back");
    match &frame.body {
        Body::Hello(hello) => greet(hello),
        Body::Refused(refusal) => assert!(!refusal.to_string().is_empty()),
        Body::Message(message) => entries(message).for_each(walk),
        Body::Founding(word) => found(word),
    }
}

/// Nobody is made a founder by a stranger's word, and a cluster that stands says so to nobody new.
fn found(word: &Word) {
    let founding = Founding::begin(config(), None, Incarnation::new(1)).expect("it begins");
    let step = founding.judge(&BTreeMap::from([(word.node, word.clone())]));
    assert!(matches!(step, Step::Wait(_)), "one of two others is silent");
    let doorman = Doorman::new(config(), Incarnation::new(1), Boot::new(1));
    let answer = doorman.answer_founder(word);
    assert!(answer.is_err(), "the cluster knows none of them");
}

fn config() -> Config {
    let member = |node| Member {
        node: NodeId::new(node),
        ..Member::default()
    };
    let members = (1..=3).map(member).collect();
    Config::new(ClusterId([7; 16]), NodeId::new(1), members).expect("it is right")
}

/// Whoever is let in is a member, and once more when he comes again.
fn greet(hello: &Hello) {
    let mut doorman = Doorman::new(config(), Incarnation::new(1), Boot::new(1));
    if doorman.admit(hello).is_ok() {
        assert!([2, 3].contains(&hello.node.get()), "only members come in");
        assert_eq!(doorman.admit(hello), Ok(()), "and may come again");
    }
}

fn entries(message: &Message) -> impl Iterator<Item = &Entry> {
    let entries: &[Entry] =
        if let Message::Accept { entries, .. } | Message::Decided { entries, .. } = message {
            entries
        } else {
            &[]
        };
    let reports: &[Report] = if let Message::Promise { reports, .. } = message {
        reports
    } else {
        &[]
    };
    entries.iter().chain(reports.iter().map(|one| &one.entry))
}

fn walk(entry: &Entry) {
    let again = Entry::parse(entry.bytes().clone());
    assert_eq!(again.as_ref(), Ok(entry), "an entry stays one");
    let bytes: usize = entry.commands().map(|command| command.len() + 4).sum();
    assert_eq!(bytes + 16, entry.bytes().len(), "commands fill an entry");
}
