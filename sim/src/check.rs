//! The judges. Each one watches what the world shows it and says at once when a law is broken.
//!
//! None of them asks a server for its opinion where the world knows better: what is chosen is
//! computed from the votes on the disks' images, what the log means from a machine of their own.

pub mod belief;
pub mod calls;
pub mod history;
pub mod lateness;
pub mod locks;
pub mod once;
pub mod order;
pub mod places;
pub mod promises;
pub mod reads;
pub mod snapshots;
pub mod usage;
pub mod votes;
pub mod wgl;

use crate::Nanos;

/// A law was broken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Which law, in a few words that never change: mutants are told apart by them.
    pub law: &'static str,
    /// What happened.
    pub detail: String,
    /// When.
    pub at: Nanos,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, micros) = (self.at / 1_000_000_000, self.at % 1_000_000_000 / 1_000);
        write!(
            f,
            "{} at {seconds}.{micros:06} s: {}",
            self.law, self.detail
        )
    }
}

/// The laws that were broken so far; the first one ends the run.
#[derive(Debug, Default)]
pub struct Docket {
    found: Vec<Violation>,
    /// The true time, for whoever reports.
    pub now: Nanos,
    /// How far agreed time may be ahead of true time: zero while all clocks keep their
    /// specification; what one wrong clock can do before it is outvoted, if there is one.
    pub clock_slack: Nanos,
}

impl Docket {
    /// A law was broken.
    pub fn broken(&mut self, law: &'static str, detail: String) {
        let at = self.now;
        self.found.push(Violation { law, detail, at });
    }

    /// Says so if `holds` is false. `detail` is made only then.
    pub fn check(&mut self, holds: bool, law: &'static str, detail: impl FnOnce() -> String) {
        if !holds {
            self.broken(law, detail());
        }
    }

    /// The first.
    pub fn first(&self) -> Option<&Violation> {
        self.found.first()
    }
}
