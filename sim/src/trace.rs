//! One line for each thing that happens to a server, in fixed columns, and a hash over all of it.

use crate::Nanos;
use std::fmt::Write as _;
use tenure_core::hash::hash64_after;

/// Whether lines are printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Print {
    /// Only the hash is made.
    #[default]
    No,
    /// Each line goes to standard output.
    Yes,
}

/// What one line shows of a server. `docs/SIMULATION.md` explains the columns.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// The server, from 1.
    pub server: usize,
    /// What it is: down, opens, follows, campaigns, leads.
    pub role: &'static str,
    /// The ballot that it follows or owns.
    pub ballot: String,
    /// The last slot that it accepted, decided, applied.
    pub slots: [u64; 3],
    /// Bytes, or none, of what waits for its disk.
    pub storing: bool,
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

    /// Whether lines are printed: making their text is not for free.
    pub fn is_printed(&self) -> bool {
        self.print == Print::Yes
    }

    /// Adds numbers that tell one event from another.
    pub fn add(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.hash = hash64_after(self.hash, &number.to_le_bytes());
        }
    }

    /// Prints a line.
    pub fn line(&self, now: Nanos, columns: &Columns, event: &str) {
        let (seconds, micros) = (now / 1_000_000_000, now % 1_000_000_000 / 1_000);
        let [accepted, decided, applied] = columns.slots;
        let mut line = String::new();
        let slots = format!("{accepted}/{decided}/{applied}");
        let disk = if columns.storing { "sync" } else { "-" };
        let written = write!(
            line,
            "{seconds:>4}.{micros:06}  {:>2}  {:<9} {:<10} {slots:<18} {disk:<4}  {event}",
            columns.server, columns.role, columns.ballot
        );
        if written.is_ok() {
            println!("{line}");
        }
    }

    /// The hash of everything so far.
    pub const fn hash(&self) -> u64 {
        self.hash
    }
}
