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
