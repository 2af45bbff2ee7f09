//! Full disks: what callers hear, who goes on, and how all of it ends by itself.

use crate::common::refused;
use std::time::{Duration, Instant};
use tenure_core::ids::RequestId;
use tenure_core::machine::answer::{Answer, Grant};
use tenure_core::machine::command::{Client, Life, Mode};
use tenure_core::machine::key::Key;
use tenure_core::node::input::{Ask, Proof, Token};
use tenure_core::wire::client::Word;
use tenure_core::wire::codes;
use tenure_tests::members::{Members, PATIENCE};
use tenure_tests::native::{Native, acquire};
use tenure_tests::small_disk::{SmallDisk, with_small_disks};

/// Room for the first three segments, and not for the fourth.
const SMALL: &str = "12m";
const LARGE: &str = "96m";

/// Who asks one server, with what it got.
struct Caller {
    native: Native,
    granted: Vec<(Grant, Token)>,
    asked: u64,
}

impl Caller {
    fn of(members: &Members, member: usize) -> Self {
        Self {
            native: Native::connect(members.client(member), PATIENCE).expect("it listens"),
            granted: Vec::new(),
            asked: 0,
        }
    }

    /// Asks for one more lock. A long name: the disk is full sooner.
    fn take(&mut self, life: Life) -> Word {
        self.asked += 1;
        let name = format!("{:01000}", self.asked);
        let ask = acquire(&name, Mode::Exclusive, life, Duration::ZERO, "");
        let id = RequestId::new(u128::from(self.asked));
        let answered = self.native.ask(id, &Client::None, &ask, PATIENCE);
        let word = answered.expect("the server answers").word;
        if let Word::Decided {
            answer: Answer::Granted(grant),
            token: Some(token),
            ..
        } = &word
        {
            self.granted.push((grant.clone(), *token));
        }
        word
    }

    /// Asks for locks until the word is another one.
    fn take_until_refused(&mut self) -> Word {
        loop {
            let before = self.granted.len();
            let word = self.take(Life::Static);
            if self.granted.len() == before {
                return word;
            }
            assert!(before < 20_000, "the disk is never full");
        }
    }

    /// Asks for a lock again and again, until there is room.
    fn take_when_there_is_room(&mut self) {
        let until = Instant::now() + PATIENCE;
        let before = self.granted.len();
        while self.granted.len() == before {
            let word = self.take(Life::Static);
            let granted = self.granted.len() > before;
            assert!(granted || Instant::now() < until, "no room yet? {word:?}");
        }
    }
}

#[test]
fn a_low_disk_refuses_new_work_and_loses_none() {
    let name = "disk::a_low_disk_refuses_new_work_and_loses_none";
    with_small_disks(name, || {
        let mut members = Members::new(1);
        let disk = SmallDisk::mount(&members.data(1), SMALL);
        members.start_all();
        let mut caller = Caller::of(&members, 1);
        refused(&caller.take_until_refused(), codes::DISK_FULL);
        assert!(caller.granted.len() > 100, "{} locks", caller.granted.len());

        // It answers, and is as it was.
        let full = members.state(1, PATIENCE);
        assert!(full.is_some(), "it answers no more: {}", members.output());
        refused(&caller.take(Life::Static), codes::DISK_FULL);
        assert_eq!(members.state(1, PATIENCE), full, "the state changed");

        // What was begun ends: there is a segment left for it.
        let (grant, token) = caller.granted.pop().expect("locks were granted");
        is_released(&release(&mut caller.native, 1, &grant, token));

        // With room again it takes new work by itself.
        disk.resize(LARGE);
        caller.take_when_there_is_room();

        // After a restart, what was acknowledged is there: the last, and some of all others.
        members.kill(1);
        members.start_all();
        let mut native = Native::connect(members.client(1), PATIENCE).expect("it listens");
        for (number, (grant, token)) in caller.granted.iter().enumerate().rev().step_by(16) {
            let id = number as u128 + 1;
            is_released(&release(&mut native, id, grant, *token));
        }
    });
}

/// The emergency segment is used up too, by work that was begun: nothing exits, and nothing is lost.
#[test]
fn a_full_server_waits_for_room() {
    let name = "disk::a_full_server_waits_for_room";
    with_small_disks(name, || {
        let mut members = Members::new(1);
        let disk = SmallDisk::mount(&members.data(1), SMALL);
        members.start_all();
        let mut caller = Caller::of(&members, 1);
        caller.take(Life::Lease { ttl_ms: 3_600_000 });
        let (leased, its) = caller.granted.pop().expect("it was granted");
        refused(&caller.take_until_refused(), codes::DISK_FULL);
        let renew = Ask::Renew {
            proof: proof(&leased, its),
            ttl_ms: None,
        };
        let patience = Duration::from_millis(700);
        for id in 100_000.. {
            let id = RequestId::new(id);
            let answered = caller.native.ask(id, &Client::None, &renew, patience);
            match answered.map(|answered| answered.word) {
                // What waits for room is not answered.
                Err(_) => break,
                Ok(Word::Decided { .. }) => {}
                Ok(word) => {
                    refused(&word, codes::DISK_FULL);
                    break;
                }
            }
        }
        is_full(&mut members, 1);
        let mut other = Caller::of(&members, 1);
        refused(&other.take(Life::Static), codes::DISK_FULL);
        let (grant, token) = caller.granted.pop().expect("locks were granted");
        let word = release(&mut other.native, 7, &grant, token);
        refused(&word, codes::DISK_FULL);
        assert!(!members.process(1).is_over(), "{}", members.output());
        // A restart changes nothing, and needs no room.
        members.kill(1);
        members.start(1);
        is_full(&mut members, 1);

        disk.resize(LARGE);
        members.leader(PATIENCE);
        let mut other = Caller::of(&members, 1);
        other.asked = 50_000;
        other.take_when_there_is_room();
        is_released(&release(&mut other.native, 8, &grant, token));
        let word = other
            .native
            .ask(RequestId::new(9), &Client::None, &renew, PATIENCE);
        let word = word.expect("the server answers").word;
        let is_renewed = |answer: &Answer| matches!(answer, Answer::Renewed { .. });
        assert!(
            matches!(&word, Word::Decided { answer, .. } if is_renewed(answer)),
            "{word:?}"
        );
    });
}

/// One of three is full: it stays, the others go on, and it has everything soon after there is room.
#[test]
fn two_servers_go_on_without_a_full_one_that_catches_up_later() {
    let name = "disk::two_servers_go_on_without_a_full_one_that_catches_up_later";
    with_small_disks(name, || {
        let mut members = Members::new(3);
        let disk = SmallDisk::mount(&members.data(1), SMALL);
        members.start_all();
        let mut caller = Caller::of(&members, 2);
        // The leader hands over if it is the one that is low; what it refuses until then is asked again.
        while !members.process(1).output().contains(FULL) {
            caller.take(Life::Static);
            assert!(caller.granted.len() < 20_000, "it is never full");
        }
        for _ in 0..50 {
            caller.take_when_there_is_room();
        }
        let leader = members.leader_but(1, PATIENCE);
        refused(
            &Caller::of(&members, 1).take(Life::Static),
            codes::DISK_FULL,
        );
        let state =
            |members: &Members, member| members.state(member, PATIENCE).expect("it answers");
        let behind = state(&members, 1).applied;
        assert!(
            behind < state(&members, leader).applied,
            "it learns nothing"
        );

        disk.resize(LARGE);
        let until = Instant::now() + PATIENCE;
        while state(&members, 1).applied < state(&members, leader).applied {
            assert!(Instant::now() < until, "it never catches up");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        // Its vote counts: without the third one it is needed.
        let third = 5 - leader;
        members.kill(third);
        let mut caller = Caller::of(&members, 1);
        caller.asked = 50_000;
        caller.take_when_there_is_room();
    });
}

/// What a server says when nothing more fits.
const FULL: &str = "the emergency segment is full too";

fn is_full(members: &mut Members, member: usize) {
    let found = |line: &str| line.contains(FULL).then_some(());
    members.process(member).line(PATIENCE, FULL, found);
}

fn proof(grant: &Grant, token: Token) -> Proof {
    Proof {
        key: Key::parse(grant.key().bytes().clone()).expect("it is a key"),
        fence: grant.fence,
        session: None,
        token,
    }
}

fn release(native: &mut Native, id: u128, grant: &Grant, token: Token) -> Word {
    let release = Ask::release(proof(grant, token));
    let id = RequestId::new((1 << 64) + id);
    let answered = native.ask(id, &Client::None, &release, PATIENCE);
    answered.expect("the server answers").word
}

fn is_released(word: &Word) {
    let is_there = matches!(
        word,
        Word::Decided {
            answer: Answer::Released { already: false, .. },
            ..
        }
    );
    assert!(is_there, "a lock is lost: {word:?}");
}
