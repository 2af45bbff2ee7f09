//! What is sent is heard, without a copy; what nobody sent is refused, and says where.

use super::*;
use crate::config::Mark;
use crate::entry::Start;
use crate::entry::{Entry, EntryKind};
use crate::ids::{Ballot, ChangeId, NodeId, Round, Slot, SnapshotId};
use crate::limits::PROPOSALS_MAX;
use crate::replica::fitness::Fitness;
use crate::replica::fitness::Space;
use crate::replica::message::Beat;
use crate::replica::message::Proposal;
use crate::replica::message::Refused;
use crate::replica::message::Report;
use crate::replica::message::TimeHeard;
use crate::time::Stamp;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use core::fmt::Write;
use proptest::prelude::*;

mod hello;

fn header() -> Header {
    Header {
        group: GroupId::new(0),
        cluster: cluster_hash(ClusterId([7; 16])),
        epoch: Epoch::new(1),
        from: NodeId::new(2),
        incarnation: Incarnation::new(0x1122_3344_5566_7788),
        boot: Boot::new(3),
    }
}

fn ballot(round: u64) -> Ballot {
    Ballot {
        epoch: Epoch::new(1),
        round: Round::new(round),
        node: NodeId::new(2),
    }
}

fn beat() -> Beat {
    Beat {
        ballot: ballot(5),
        beat: 300,
        stamp: Stamp::from_nanos(1 << 40),
    }
}

fn snapshot() -> SnapshotId {
    SnapshotId {
        slot: Slot::new(300),
        hash: 0x0123_4567_89ab_cdef,
    }
}

const fn fitness() -> Fitness {
    Fitness {
        hears_quorum: true,
        space: Space::Low,
        stops: false,
        disk_us: 300,
    }
}

fn entry(text: &'static [u8]) -> Entry {
    let commands = [Bytes::from_static(text)];
    Entry::new(EntryKind::Batch, Stamp::from_nanos(9), &commands)
}

/// One of each, under the name that the golden file has for it.
#[rustfmt::skip]
fn samples() -> Vec<(&'static str, Message)> {
    let slot = Slot::new;
    let reports = vec![
        Report { slot: slot(8), ballot: ballot(4), entry: entry(b"old") },
        Report { slot: slot(9), ballot: ballot(5), entry: Entry::new(EntryKind::Noop, Stamp::ZERO, &[]) },
    ];
    let proposals = vec![
        Proposal { number: 1, command: Bytes::from_static(b"take") },
        Proposal { number: 2, command: Bytes::new() },
    ];
    let stamp = Stamp::from_nanos(77);
    let heard = TimeHeard { ballot: ballot(5), stamp };
    let started = Start { ballot: ballot(4), slot: slot(4) };
    let mark = Mark { change: ChangeId::new(5), hash: 300 };
    vec![
        ("ping", Message::Ping { round: 1, beat: beat(), decided: slot(7), mark }),
        ("pong", Message::Pong { round: 1, promised: ballot(6), beat: beat(), decided: slot(7), clock_ns: 12_345, fitness: fitness() }),
        ("pre_vote", Message::PreVote { ballot: ballot(6), decided: slot(7) }),
        ("pre_vote_reply", Message::PreVoteReply { ballot: ballot(6), granted: false, promised: ballot(7) }),
        ("prepare", Message::Prepare { ballot: ballot(6), from: Some(slot(8)), goes_on: true }),
        ("promise", Message::Promise { ballot: ballot(6), first: slot(8), next: Some(slot(9)), decided: slot(7), heard, started, reports }),
        ("accept", Message::Accept { ballot: ballot(6), base: slot(7), first: slot(8), entries: vec![entry(b"one"), entry(b"two")], commit: slot(7) }),
        ("accept_empty", Message::Accept { ballot: ballot(6), base: slot(7), first: slot(10), entries: vec![], commit: slot(9) }),
        ("accepted", Message::Accepted { ballot: ballot(6), upto: slot(9) }),
        ("nack", Message::Nack { ballot: ballot(5), promised: ballot(6), want: slot(8) }),
        ("catch_up", Message::CatchUp { from: slot(3) }),
        ("decided", Message::Decided { first: slot(3), entries: vec![entry(b"three")], decided: slot(9) }),
        ("read_index", Message::ReadIndex { nonce: 1 << 33 }),
        ("read_at", Message::ReadAt { nonce: 1 << 33, slot: slot(9), stamp }),
        ("forward", Message::Forward { proposals }),
        ("refuse", Message::Refuse { numbers: vec![1, 2], reason: Refused::Busy }),
        ("snapshot_offer", Message::SnapshotOffer { id: snapshot(), chunks: 3 }),
        ("snapshot_get", Message::SnapshotGet { id: snapshot(), index: 2 }),
        ("snapshot_chunk", Message::SnapshotChunk { id: snapshot(), index: 2, bytes: Bytes::from_static(b"locks") }),
        ("refuse_not_leader", Message::Refuse { numbers: vec![3], reason: Refused::NotLeader }),
        ("hand_over", Message::HandOver { to: Some(NodeId::new(3)) }),
        ("hand_over_to_any", Message::HandOver { to: None }),
        ("refuse_disk_full", Message::Refuse { numbers: vec![4], reason: Refused::DiskFull }),
        ("pong_full", Message::Pong { round: 1, promised: ballot(6), beat: beat(), decided: slot(7), clock_ns: 12_345, fitness: Fitness { space: Space::Full, ..fitness() } }),
        ("take_over", Message::TakeOver { ballot: ballot(6) }),
        ("outranked", Message::Outranked { ballot: ballot(6), promised: ballot(7) }),
        ("snapshot_wish", Message::SnapshotWish { from: Slot::new(90) }),
    ]
}

fn bodies() -> Vec<(&'static str, Body)> {
    let messages = samples().into_iter();
    let mut bodies: Vec<_> = messages
        .map(|(name, message)| (name, Body::Message(message)))
        .collect();
    bodies.extend(hello::samples());
    bodies
}

fn bytes_of(body: &Body) -> Bytes {
    encode(&header(), body).to_bytes()
}

/// Makes the CRC right again, so that what is behind it is tested too.
fn mend(frame: &mut [u8]) {
    let crc = crc32fast::hash(&frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn the_bytes_are_the_golden_ones() {
    let golden = include_str!("../../../../tests/vectors/peer.txt");
    let mut found = String::new();
    for (name, body) in bodies() {
        let hex: String = bytes_of(&body).iter().map(|b| format!("{b:02x}")).collect();
        let _ = writeln!(found, "{name} {hex}");
    }
    let golden: String = golden
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert!(found == golden, "frozen bytes changed; now:\n{found}");
}

#[test]
fn every_frame_reads_back() {
    for (name, body) in bodies() {
        let frame = parse(&bytes_of(&body)).unwrap();
        assert_eq!(frame.header, header(), "{name}");
        assert_eq!(frame.body, body, "{name}");
    }
}

#[test]
fn an_entry_is_never_copied() {
    let one = entry(b"one");
    let message = Message::Decided {
        first: Slot::new(1),
        entries: vec![one.clone()],
        decided: Slot::new(1),
    };
    let encoded = encode_message(&header(), &message);
    assert_eq!(encoded.parts[0].as_ptr(), one.bytes().as_ptr(), "written");

    let frame = encoded.to_bytes();
    let Body::Message(Message::Decided { entries, .. }) = parse(&frame).unwrap().body else {
        panic!("a decided frame was written");
    };
    let inside = frame.as_ptr_range();
    assert!(inside.contains(&entries[0].bytes().as_ptr()), "read");
}

#[test]
fn frames_come_out_of_a_stream_however_it_is_cut() {
    let mut stream = Vec::new();
    for (_, body) in bodies() {
        stream.extend_from_slice(&bytes_of(&body));
    }
    for piece in [1, 7, 64, 1000] {
        let (mut buffer, mut heard) = (BytesMut::new(), Vec::new());
        for bytes in stream.chunks(piece) {
            buffer.put_slice(bytes);
            while let Some(frame) = decode(&mut buffer).unwrap() {
                heard.push(frame.body);
            }
        }
        let said: Vec<_> = bodies().into_iter().map(|(_, body)| body).collect();
        assert_eq!(heard, said, "in pieces of {piece}");
        assert!(buffer.is_empty());
    }
}

#[test]
fn a_length_of_four_gigabytes_is_refused_at_its_fourth_byte() {
    let (min, max) = (48, FRAME_BYTES_MAX - 8);
    for found in [u32::MAX, u32::try_from(max).unwrap() + 1, 47, 0] {
        let mut buffer = BytesMut::from(&found.to_le_bytes()[..]);
        let refused = FrameError::Length { found, min, max };
        assert_eq!(decode(&mut buffer), Err(refused));
    }
    assert_eq!(decode(&mut BytesMut::from(&[1, 2, 3][..])), Ok(None));
}

#[test]
fn every_flipped_bit_is_found() {
    for (name, body) in bodies() {
        let whole = bytes_of(&body);
        for bit in 32..whole.len() * 8 {
            let mut frame = whole.to_vec();
            frame[bit / 8] ^= 1 << (bit % 8);
            let found = parse(&Bytes::from(frame));
            assert!(
                matches!(found, Err(FrameError::Crc { .. })),
                "{name}, bit {bit}"
            );
        }
    }
}

#[test]
fn every_cut_is_refused() {
    for (name, body) in bodies() {
        let whole = bytes_of(&body);
        for len in 0..whole.len() {
            assert!(parse(&whole.slice(..len)).is_err(), "{name} cut at {len}");
            // And when the sender's own length agrees with the cut.
            if len >= HEADER_BYTES {
                let mut frame = whole[..len].to_vec();
                frame[..4].copy_from_slice(&u32::try_from(len - 8).unwrap().to_le_bytes());
                mend(&mut frame);
                assert!(parse(&Bytes::from(frame)).is_err(), "{name} cut at {len}");
            }
        }
    }
}

#[test]
fn bytes_after_the_last_part_are_refused() {
    for (name, body) in bodies() {
        let mut frame = bytes_of(&body).to_vec();
        frame.push(0);
        let len = frame.len();
        frame[..4].copy_from_slice(&u32::try_from(len - 8).unwrap().to_le_bytes());
        mend(&mut frame);
        let refused = FrameError::Parts {
            expected: len - 1,
            found: len,
        };
        assert_eq!(parse(&Bytes::from(frame)), Err(refused), "{name}");
    }
}

#[test]
fn a_number_with_needless_bytes_is_refused() {
    let message = Message::ReadIndex { nonce: 1 };
    let mut frame = bytes_of(&Body::Message(message)).to_vec();
    assert_eq!(frame.pop(), Some(1));
    frame.extend_from_slice(&[0x81, 0]); // one, in two bytes
    let len = u32::try_from(frame.len() - 8).unwrap();
    frame[..4].copy_from_slice(&len.to_le_bytes());
    mend(&mut frame);
    let refused = FrameError::NotCanonical { offset: 58 };
    assert_eq!(parse(&Bytes::from(frame)), Err(refused));
}

#[test]
fn a_list_longer_than_any_stops_being_read() {
    let head = [14, 0, 0x81, 0x80, 1]; // Refuse, NotLeader, 16385 numbers
    assert_eq!(PROPOSALS_MAX, 16_384);
    let mut frame = encode(&header(), &Body::Message(Message::ReadIndex { nonce: 0 }))
        .head
        .to_vec();
    frame.truncate(HEADER_BYTES);
    frame.extend_from_slice(&head);
    frame.resize(frame.len() + PROPOSALS_MAX + 1, 0);
    let len = u32::try_from(frame.len() - 8).unwrap();
    frame[..4].copy_from_slice(&len.to_le_bytes());
    mend(&mut frame);
    assert_eq!(parse(&Bytes::from(frame)), Err(FrameError::Head));
}

#[test]
fn another_version_kind_or_reserved_byte_is_named() {
    let whole = bytes_of(&Body::Message(Message::ReadIndex { nonce: 0 }));
    let refusals = [
        (8, FrameError::Version { found: 9 }),
        (9, FrameError::Kind { found: 9 }),
        (10, FrameError::NotCanonical { offset: 10 }),
    ];
    for (at, refusal) in refusals {
        let mut frame = whole.to_vec();
        frame[at] = 9;
        mend(&mut frame);
        assert_eq!(parse(&Bytes::from(frame)), Err(refusal));
    }
}

#[test]
fn a_full_batch_fits_a_frame() {
    let command = Bytes::from(vec![1; 20 << 10]);
    let batch: Vec<_> = core::iter::repeat_n(command, 51).collect();
    let large = Entry::new(EntryKind::Batch, Stamp::ZERO, &batch);
    let mut entries = vec![entry(b"small"); 2000];
    entries.push(large);
    let message = Message::Accept {
        ballot: ballot(1),
        base: Slot::new(0),
        first: Slot::new(1),
        entries,
        commit: Slot::new(0),
    };
    let frame = bytes_of(&Body::Message(message.clone()));
    assert_eq!(parse(&frame).unwrap().body, Body::Message(message));
}

proptest! {
    /// Behind a right CRC anything may stand. Whatever is accepted is what this server would have
    /// written for it, byte for byte.
    #[test]
    fn what_is_accepted_is_canonical(
        which in 0..64_usize,
        changes in prop::collection::vec((8..200_usize, any::<u8>()), 1..4),
    ) {
        let bodies = bodies();
        let mut frame = bytes_of(&bodies[which % bodies.len()].1).to_vec();
        for (at, byte) in changes {
            let at = 8 + at % (frame.len() - 8);
            frame[at] = byte;
        }
        mend(&mut frame);
        let frame = Bytes::from(frame);
        if let Ok(read) = parse(&frame) {
            prop_assert_eq!(encode(&read.header, &read.body).to_bytes(), frame);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&mut BytesMut::from(&bytes[..]));
        let mut frame = vec![0; 8];
        frame.extend_from_slice(&[VERSION, KIND_MESSAGE, 0, 0]);
        frame.extend_from_slice(&bytes);
        frame.resize(frame.len().max(HEADER_BYTES), 0);
        let len = u32::try_from(frame.len() - 8).unwrap();
        frame[..4].copy_from_slice(&len.to_le_bytes());
        mend(&mut frame);
        let frame = Bytes::from(frame);
        if let Ok(read) = parse(&frame) {
            prop_assert_eq!(encode(&read.header, &read.body).to_bytes(), frame);
        }
    }

    #[test]
    fn accepts_and_forwards_of_any_content_read_back(
        round in any::<u64>(),
        first in any::<u64>(),
        texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
    ) {
        let commands: Vec<_> = texts.into_iter().map(Bytes::from).collect();
        let stamp = Stamp::from_nanos(first);
        let one = |command: &Bytes| Entry::new(EntryKind::Batch, stamp, core::slice::from_ref(command));
        let accept = Message::Accept {
            ballot: ballot(round),
            base: Slot::new(round),
            first: Slot::new(first),
            entries: commands.iter().map(one).collect(),
            commit: Slot::new(first),
        };
        let proposal = |command: &Bytes| Proposal { number: first, command: command.clone() };
        let proposals = commands.iter().map(proposal).collect();
        for message in [accept, Message::Forward { proposals }] {
            let frame = bytes_of(&Body::Message(message.clone()));
            prop_assert_eq!(parse(&frame).unwrap().body, Body::Message(message));
        }
    }
}
