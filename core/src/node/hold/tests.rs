//! A disk that hangs makes nobody wait for ever more words.

use super::*;
use crate::ids::{NodeId, Round, Slot};
use crate::replica::message::Message;

const BALLOT: Ballot = Ballot {
    round: Round::new(1),
    ..Ballot::ZERO
};

fn accepted(to: u64, upto: u64) -> Output {
    Output::Send {
        to: NodeId::new(to),
        message: Message::Accepted {
            ballot: BALLOT,
            upto: Slot::new(upto),
        },
    }
}

#[test]
fn words_that_wait_are_bounded() {
    let mut hold = Hold::new(Ballot::ZERO);
    let mut out = Vec::new();
    let most = u64::try_from(HELD_WORDS_MAX).unwrap();
    for slot in 1..=most + 9 {
        let until = Until::Record(RecordNo::new(slot));
        hold.until(until, accepted(2, slot), &mut out);
    }
    let promise = Until::Promise(BALLOT);
    hold.until(promise, accepted(3, 1), &mut out);
    assert_eq!((hold.words(), out.len()), (HELD_WORDS_MAX, 0));
    // What need not wait is said at once.
    hold.until(Until::Now, accepted(4, 1), &mut out);
    assert_eq!(out.len(), 1);
    hold.durable(RecordNo::new(2), &mut out);
    assert_eq!((hold.words(), out.len()), (HELD_WORDS_MAX - 2, 3));
    hold.until(promise, accepted(3, 1), &mut out);
    hold.promised(BALLOT, &mut out);
    assert_eq!(out.last(), Some(&accepted(3, 1)), "there is room again");
    hold.durable(RecordNo::new(most + 9), &mut out);
    assert_eq!((hold.words(), out.len()), (0, HELD_WORDS_MAX + 2));
}

#[test]
fn a_word_that_waits_is_not_said_twice() {
    let mut hold = Hold::new(Ballot::ZERO);
    let (mut out, record) = (Vec::new(), RecordNo::new(1));
    let words = [accepted(2, 7), accepted(2, 8), accepted(3, 7)];
    for _ in 0..1000 {
        for word in [accepted(2, 7), accepted(2, 8), accepted(3, 7)] {
            hold.until(Until::Record(record), word, &mut out);
        }
        for word in [accepted(2, 7), accepted(2, 8), accepted(3, 7)] {
            hold.until(Until::Promise(BALLOT), word, &mut out);
        }
    }
    assert_eq!(out, []);
    hold.durable(record, &mut out);
    assert_eq!(out, words, "in their order");
    out.clear();
    hold.promised(BALLOT, &mut out);
    assert_eq!(out, words);
    // Once it was said, it can be said again.
    out.clear();
    hold.until(Until::Record(record), accepted(2, 7), &mut out);
    assert_eq!(out, [accepted(2, 7)]);
}
