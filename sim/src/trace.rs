//! What a run prints while it happens, and a hash over all of it.

use crate::Nanos;
use crate::server::Server;
use crate::transcript::{line, words};
use tenure_core::hash::hash64_after;
use tenure_core::node::output::Output;

/// What is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Print {
    /// Nothing: only the hash is made.
    #[default]
    No,
    /// Everything that a server wants done, as the code writes it.
    All,
    /// What means something, in words that stay.
    Words,
}

/// The trace of a run.
#[derive(Debug, Default)]
pub struct Trace {
    print: Print,
    hash: u64,
}

impl Trace {
    /// A trace that is printed, or only hashed.
    pub const fn new(print: Print) -> Self {
        Self { print, hash: 0 }
    }

    /// What is printed.
    pub const fn print(&self) -> Print {
        self.print
    }

    /// Adds numbers that tell one event from another.
    pub fn add(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.hash = hash64_after(self.hash, &number.to_le_bytes());
        }
    }

    /// Something happened to a server.
    pub fn event(&self, now: Nanos, server: &Server, event: &str) {
        if self.print != Print::No {
            println!("{}", line(now, server, event));
        }
    }

    /// A server wants this done.
    pub fn output(&self, now: Nanos, server: &Server, output: &Output) {
        let text = match self.print {
            Print::No => None,
            Print::All => Some(format!("{output:?}")),
            Print::Words => words(output),
        };
        if let Some(text) = text {
            println!("{}", line(now, server, &text));
        }
    }

    /// The hash of everything so far.
    pub const fn hash(&self) -> u64 {
        self.hash
    }
}
