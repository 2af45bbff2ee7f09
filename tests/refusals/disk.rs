//! A full disk.

use crate::common::refused;
use std::path::{Path, PathBuf};
use std::process::Command;
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

/// A small disk in memory, at the server's data directory.
struct Small(PathBuf);

impl Small {
    /// None if this user may not mount.
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).expect("a folder can be made");
        let words = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs"];
        run(&words, at).then(|| Self(at.to_owned()))
    }

    fn grow(&self) {
        assert!(run(&["mount", "-o", "remount,size=64m"], &self.0));
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: the server that has it open may be ending just now.
        run(&["umount", "-l"], &self.0);
    }
}

fn run(words: &[&str], at: &Path) -> bool {
    let status = Command::new(words[0]).args(&words[1..]).arg(at).status();
    status.is_ok_and(|status| status.success())
}

/// Starts the server with too little room. Where no disk can be mounted, no file may grow beyond
/// 4 MiB, which a server sees as a full disk.
fn start_with_little_room(members: &mut Members) -> Option<Small> {
    let small = if std::env::var_os("TENURE_NO_MOUNT").is_some() {
        None
    } else {
        Small::mount(&members.data(1))
    };
    if small.is_some() {
        members.start(1);
    } else {
        eprintln!("no small disk can be mounted (are you root?): files are limited instead");
        let serve = members.command(1);
        let mut command = Command::new("sh");
        // The shell counts blocks of 512 bytes; the signal would end the server.
        command
            .args(["-c", "trap '' XFSZ; ulimit -f 8192; exec \"$@\"", "sh"])
            .arg(serve.get_program())
            .args(serve.get_args());
        members.start_by(1, &mut command);
    }
    members.leader(PATIENCE);
    small
}

#[test]
fn a_full_disk_refuses_new_work_and_loses_none() {
    let mut members = Members::new(1);
    let disk = start_with_little_room(&mut members);
    let mut native = Native::connect(members.client(1), PATIENCE).expect("it listens");
    let mut ask = |number: u64| {
        // A long name: the disk is full sooner.
        let name = format!("{number:01000}");
        let ask = acquire(&name, Mode::Exclusive, Life::Static, Duration::ZERO, "");
        let id = RequestId::new(u128::from(number) + 1);
        let answered = native.ask(id, &Client::None, &ask, PATIENCE);
        answered.expect("the server answers").word
    };
    let mut granted = Vec::new();
    let word = loop {
        match ask(granted.len() as u64) {
            Word::Decided {
                answer: Answer::Granted(grant),
                token: Some(token),
                ..
            } => granted.push((grant, token)),
            word => break word,
        }
        assert!(granted.len() < 20_000, "the disk is never full");
    };
    refused(&word, codes::DISK_FULL);
    assert!(granted.len() > 100, "{} locks", granted.len());

    // It answers, and is as it was.
    let full = members.state(1, PATIENCE);
    assert!(full.is_some(), "it answers no more: {}", members.output());
    let word = ask(granted.len() as u64);
    refused(&word, codes::DISK_FULL);
    assert_eq!(members.state(1, PATIENCE), full, "the state changed");

    // What was begun ends: there is a segment left for it.
    let (grant, token) = granted.pop().expect("locks were granted");
    let mut other = Native::connect(members.client(1), PATIENCE).expect("it listens");
    let word = release(&mut other, granted.len() as u128 + 1, &grant, token);
    is_released(&word, granted.len());

    // With room again it takes new work by itself.
    if let Some(disk) = &disk {
        disk.grow();
        let asked = Instant::now();
        let word = loop {
            match ask(30_000) {
                Word::Rejected(no) if asked.elapsed() < PATIENCE => {
                    assert_eq!(no.code, codes::DISK_FULL.number, "{no:?}");
                }
                word => break word,
            }
        };
        let is_granted = matches!(
            word,
            Word::Decided {
                answer: Answer::Granted(_),
                ..
            }
        );
        assert!(is_granted, "there is room again: {word:?}");
    }

    // After a restart, what was acknowledged is there: the last, and some of all others.
    members.kill(1);
    members.start_all();
    let mut native = Native::connect(members.client(1), PATIENCE).expect("it listens");
    for (number, (grant, token)) in granted.iter().enumerate().rev().step_by(16) {
        let word = release(&mut native, number as u128 + 1, grant, *token);
        is_released(&word, number);
    }
}

fn release(native: &mut Native, id: u128, grant: &Grant, token: Token) -> Word {
    let release = Ask::Release(Proof {
        key: Key::parse(grant.key.bytes().clone()).expect("it is a key"),
        fence: grant.fence,
        session: None,
        token,
    });
    let answered = native.ask(RequestId::new(id), &Client::None, &release, PATIENCE);
    answered.expect("the server answers").word
}

fn is_released(word: &Word, number: usize) {
    let is_there = matches!(
        word,
        Word::Decided {
            answer: Answer::Released { already: false, .. },
            ..
        }
    );
    assert!(is_there, "lock {number} is lost: {word:?}");
}
