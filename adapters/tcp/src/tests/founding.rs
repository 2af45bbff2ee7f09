//! Servers that found a cluster of their list, and who else answers at their addresses.

use super::{listen, test};
use crate::founding::{FoundingError, found};
use crate::link::{self, First};
use bytes::BytesMut;
use std::time::Duration;
use tenure_core::config::{Config, Member};
use tenure_core::founding::{Founders, Founding, Record, Stage, Word};
use tenure_core::ids::{ClusterId, Incarnation, NodeId};
use tenure_core::wire::peer::{self, Body, HelloRefusal};
use tenure_rt::net::Listener;
use tenure_rt::sync::watch;
use tenure_rt::{JoinHandle, clock, spawn};

const PATIENCE: Duration = Duration::from_secs(20);
const ONE: NodeId = NodeId::new(1);
const TWO: NodeId = NodeId::new(2);
const CLUSTER: ClusterId = ClusterId([1; 16]);

/// What server 1 of two comes to, and what it says meanwhile.
struct Seeker {
    end: JoinHandle<Result<Founders, FoundingError>>,
    waits: watch::Receiver<String>,
}

impl Seeker {
    async fn waits_for(&mut self, words: &str) {
        let says = self.waits.wait_for(|text| text.contains(words));
        let said = clock::timeout(PATIENCE, says)
            .await
            .map(|said| said.is_ok());
        assert_eq!(said, Some(true), "{words:?}: {:?}", *self.waits.borrow());
    }

    async fn end(self) -> Result<Founders, FoundingError> {
        let end = clock::timeout(PATIENCE, self.end).await;
        end.expect("it goes on").expect("it does not panic")
    }
}

/// Server 1 of two; the second one listens at the other end.
async fn seeker() -> (Seeker, Listener) {
    let ((own, one), (other, two)) = (listen().await, listen().await);
    let member = |(node, peer)| Member {
        node,
        peer,
        ..Member::default()
    };
    let members = [(ONE, one), (TWO, two)].map(member).to_vec();
    let config = Config::new(CLUSTER, ONE, members).expect("it is right");
    let founding = Founding::begin(config, None, Incarnation::new(10)).expect("it kept nothing");
    let (says, waits) = watch::channel(String::new());
    let end = spawn(async move { found(&own, founding, |_: &Record| Ok(()), &says).await });
    (Seeker { end, waits }, other)
}

/// Answers the next question with what `answer` makes of it.
async fn answer(listener: &Listener, answer: impl Fn(&Word) -> Body) {
    let (mut stream, _) = listener.accept().await;
    let mut input = BytesMut::new();
    let heard = link::hear_first(&mut stream, &mut input).await;
    let First::Founding(question) = heard.expect("it asks") else {
        panic!("it has no cluster yet");
    };
    let header = peer::founding_header(&question);
    let said = link::say(&mut stream, &header, &answer(&question)).await;
    said.expect("it hears the answer");
}

/// What server 2 says, which agrees to whatever it is asked.
fn agrees(question: &Word) -> Body {
    let stage = match &question.stage {
        Stage::Agreed(founders) => Stage::Agreed(founders.clone()),
        Stage::Alone | Stage::Founded(_) => Stage::Alone,
    };
    Body::Founding(Word {
        node: question.to,
        to: question.node,
        incarnation: Incarnation::new(20),
        stage,
        ..question.clone()
    })
}

/// One stranger at a member's address, or a file that is mended later, must not end a founding.
#[test]
fn who_is_refused_by_a_stranger_says_so_and_asks_again() {
    test(async {
        let (mut seeker, other) = seeker().await;
        let (expected, found) = (7, 1);
        let elsewhere = ClusterId([9; 16]);
        let strangers = [
            HelloRefusal::Version { expected, found },
            HelloRefusal::Cluster {
                expected: elsewhere,
                found: CLUSTER,
            },
            HelloRefusal::UnknownMember { node: ONE },
            HelloRefusal::NotApproved { node: ONE },
            HelloRefusal::NotMe {
                expected: NodeId::new(3),
                found: TWO,
            },
        ];
        for refusal in strangers {
            let words = format!("who answers there refuses this server: {refusal}");
            refuse_until(&mut seeker, &words, &other, refusal).await;
        }
        let serves = async {
            loop {
                answer(&other, agrees).await;
            }
        };
        let founders = tenure_rt::select! { biased;
            end = seeker.end() => end,
            never = serves => never,
        };
        let pairs = [(ONE, Incarnation::new(10)), (TWO, Incarnation::new(20))];
        let all = Founders::try_from(pairs.to_vec()).expect("they are in order");
        assert_eq!(founders.expect("all are there now"), all);
    });
}

/// Refuses every question until the seeker says so.
async fn refuse_until(seeker: &mut Seeker, words: &str, other: &Listener, refusal: HelloRefusal) {
    let refuses = async {
        loop {
            answer(other, |_| Body::Refused(refusal)).await;
        }
    };
    tenure_rt::select! { biased;
        () = seeker.waits_for(words) => {}
        () = refuses => {}
    }
}

#[test]
fn who_is_refused_by_the_cluster_itself_ends() {
    test(async {
        let (node, found) = (ONE, Incarnation::new(10));
        let expected = Incarnation::new(11);
        let last_words = [
            HelloRefusal::Stands { node },
            HelloRefusal::Removed { node },
            HelloRefusal::Incarnation {
                node,
                expected,
                found,
            },
        ];
        for last in last_words {
            let (seeker, other) = seeker().await;
            answer(&other, |_| Body::Refused(last)).await;
            let Err(FoundingError::Refused { me, refusal, .. }) = seeker.end().await else {
                panic!("it goes on after {last}");
            };
            assert_eq!((me, refusal), (ONE, last));
        }
    });
}
