//! What is encoded is decoded; what was not encoded by us is refused.

use super::*;
use proptest::prelude::*;

fn entry() -> Entry {
    let commands = [
        Bytes::from_static(b"one"),
        Bytes::new(),
        Bytes::from_static(b"three"),
    ];
    Entry::new(EntryKind::Batch, Stamp::from_nanos(7), &commands)
}

#[test]
fn the_bytes_are_the_golden_ones() {
    let golden: &[u8] = &[
        1, 2, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, // header
        3, 0, 0, 0, b'o', b'n', b'e', 0, 0, 0, 0, 5, 0, 0, 0, b't', b'h', b'r', b'e', b'e',
    ];
    assert_eq!(entry().bytes().as_ref(), golden);
}

fn ballot() -> Ballot {
    Ballot {
        epoch: Epoch::new(1),
        round: Round::new(300),
        node: NodeId::new(2),
    }
}

/// Whoever proposes it again, and under whatever ballot: it says whose start it was.
#[test]
fn a_leaders_start_names_its_ballot() {
    let start = Entry::leader_start(ballot(), Stamp::from_nanos(7), &Bytes::from_static(b"n"));
    let golden: &[u8] = &[
        1, 1, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, // header
        24, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 44, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0,
        0, // ballot
        1, 0, 0, 0, b'n',
    ];
    assert_eq!(start.bytes().as_ref(), golden);
    let back = Entry::parse(start.bytes().clone()).unwrap();
    let (ballot, slot) = (ballot(), Slot::new(9));
    assert_eq!(back.start_at(slot), Some(Start { ballot, slot }));
    assert_eq!(start_in(start.bytes(), slot), back.start_at(slot));
    assert_eq!(entry().start_at(slot), None);
}

#[test]
fn a_start_that_names_no_ballot_is_refused() {
    let short = Bytes::from_static(&[0; BALLOT_BYTES - 1]);
    for commands in [&[][..], &[short]] {
        let entry = Entry::new(EntryKind::LeaderStart, Stamp::ZERO, commands);
        let count = commands.len();
        assert_eq!(
            Entry::parse(entry.bytes().clone()),
            Err(EntryError::Start { count })
        );
    }
}

#[test]
fn an_entry_reads_back() {
    let back = Entry::parse(entry().bytes().clone()).unwrap();
    assert_eq!(back, entry());
    let commands: std::vec::Vec<_> = back.commands().collect();
    assert_eq!(commands, [b"one".as_slice(), b"", b"three"]);
}

#[test]
fn every_cut_is_refused() {
    let whole = entry().bytes().clone();
    for len in 0..whole.len() {
        assert!(Entry::parse(whole.slice(..len)).is_err(), "cut at {len}");
    }
}

#[test]
fn a_full_entry_takes_no_more() {
    let mut builder = EntryBuilder::default();
    let command = [0; COMMAND_BYTES_MAX];
    while builder.push(&command) {}
    let entry = builder.finish(EntryKind::Batch, Stamp::ZERO);
    assert!(entry.bytes().len() <= ENTRY_BYTES_MAX);
    assert!(Entry::parse(entry.bytes().clone()).is_ok());
}

proptest! {
    #[test]
    fn what_is_accepted_is_canonical(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(entry) = Entry::parse(Bytes::from(bytes.clone())) {
            let commands: std::vec::Vec<_> = entry.commands().map(Bytes::copy_from_slice).collect();
            let again = Entry::new(entry.kind(), entry.stamp(), &commands);
            prop_assert_eq!(again.bytes().as_ref(), &bytes[..]);
        }
    }
}
