//! A server that is asked to stop.

use rustix::process::Signal;
use std::time::{Duration, Instant};
use tenure_core::ids::RequestId;
use tenure_core::machine::answer::Answer;
use tenure_core::machine::command::{Client, Life, Mode};
use tenure_core::node::input::Ask;
use tenure_core::wire::client::Word;
use tenure_tests::members::{Members, PATIENCE};
use tenure_tests::native::{Native, acquire};

/// What a follower has forwarded is answered before it goes, also if the leader answers only later.
#[test]
fn a_server_that_is_asked_to_stop_answers_first() {
    let mut members = Members::new(3);
    members.start_all();
    let leader = members.leader(PATIENCE);
    let asked = 1 + leader % 3;
    let mut native = Native::connect(members.client(asked), PATIENCE).expect("it listens");
    // The leader sleeps; what is forwarded to it waits.
    members.signal(leader, Signal::STOP);
    let (id, then) = (RequestId::new(7), RequestId::new(8));
    let claim = acquire("stop", Mode::Exclusive, Life::Static, Duration::ZERO, "");
    native
        .say(id, &Client::Key(id), &claim)
        .expect("it is connected");
    native
        .say(then, &Client::None, &Ask::Servers)
        .expect("it is connected");
    let until = Instant::now() + PATIENCE;
    let word = native.hear(until).expect("it answers");
    assert_eq!(
        word.id, then,
        "it took the claim before, and owes the answer"
    );
    members.signal(asked, Signal::TERM);
    members.signal(leader, Signal::CONT);
    let heard = native.hear(until).expect("it answers before it goes");
    let is_granted = |answer: &Answer| matches!(answer, Answer::Granted(_));
    assert!(
        matches!(&heard.word, Word::Decided { answer, .. } if is_granted(answer)),
        "{heard:?}"
    );
    let status = members.process(asked).end(PATIENCE);
    assert!(status.success(), "{status}");
}
