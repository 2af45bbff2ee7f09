//! One server, or one that ended by itself.

use std::process::{Command, ExitStatus};
use std::time::Duration;
use tenure_core::ids::RequestId;
use tenure_core::machine::command::{Client, Life, Mode};
use tenure_core::wire::client::Word;
use tenure_core::wire::codes::Code;
use tenure_tests::members::{Members, PATIENCE, State};
use tenure_tests::native::{Native, acquire};
use tenure_tests::process::Process;

/// A running server, alone or one of three, with a lock that was taken before anything else.
pub(crate) struct Service {
    pub(crate) members: Members,
    pub(crate) leader: usize,
}

impl Service {
    pub(crate) fn of(servers: usize) -> Self {
        let mut members = Members::new(servers);
        members.start_all();
        let leader = members.leader(PATIENCE);
        let service = Self { members, leader };
        let life = Life::Static;
        let ask = acquire("before", Mode::Exclusive, life, Duration::ZERO, "before");
        let mut native = service.native();
        let granted = native.ask(RequestId::new(7), &Client::None, &ask, PATIENCE);
        let word = granted.expect("the server answers").word;
        assert!(matches!(word, Word::Decided { .. }), "{word:?}");
        service
    }

    pub(crate) fn native(&self) -> Native {
        let native = Native::connect(self.members.client(self.leader), PATIENCE);
        native.expect("the server listens")
    }

    pub(crate) fn state(&self) -> State {
        let state = self.members.state(self.leader, PATIENCE);
        state.expect("the server answers")
    }

    /// Does something to a server, which must be there afterwards with the same state.
    pub(crate) fn unchanged<T>(&mut self, what: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.state();
        let done = what(self);
        assert!(!self.members.process(self.leader).is_over(), "it runs");
        let after = self.state();
        assert_eq!(before, after, "the state changed");
        done
    }
}

/// The code and the text of a refusal.
pub(crate) fn refused(word: &Word, code: Code) -> &str {
    match word {
        Word::Rejected(rejection) => {
            assert_eq!(rejection.code, code.number, "{rejection:?}");
            assert!(!rejection.text.is_empty(), "it says why");
            &rejection.text
        }
        word => panic!("not refused: {word:?}"),
    }
}

/// Runs a command that ends by itself, and gives what it said.
pub(crate) fn ended(command: &mut Command) -> (ExitStatus, String) {
    let mut process = Process::start(command);
    let status = process.end(PATIENCE);
    (status, process.output())
}

/// The command ends with this status, and says all of these words in its last line.
pub(crate) fn says(command: &mut Command, code: i32, words: &[&str]) {
    let (status, output) = ended(command);
    assert_eq!(status.code(), Some(code), "{output}");
    let last = output.lines().last().unwrap_or_default();
    for word in words {
        assert!(last.contains(word), "`{word}` is not in: {output}");
    }
}
