//! Runs seeds, and says what they showed: one line to copy for each failure, one line of JSON.

use crate::marks::{Kind, Mark, Marks};
use crate::scenario::Scenario;
use crate::trace::{Print, Trace};
use crate::world::World;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::process::Command;
use std::time::Duration;
use tenure_core::hash::hash64_after;

/// A seed that broke a law.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The scenario.
    pub scenario: Scenario,
    /// Which law, in the words that never change.
    pub law: String,
    /// What happened.
    pub text: String,
}

impl Failure {
    /// The line that shows it again.
    pub fn command(&self, commit: &str) -> String {
        let (seed, scenario) = (self.seed, self.scenario.name());
        format!("cargo sim {seed:#x} --scenario {scenario} --trace   # at commit {commit}")
    }
}

/// What many runs showed together.
#[derive(Debug, Default)]
pub struct Totals {
    /// How many seeds.
    pub seeds: u64,
    /// Requests that got their last word.
    pub acked: u64,
    /// Simulated nanoseconds.
    pub sim: u128,
    /// Leaders that began.
    pub elections: u64,
    /// Events.
    pub events: u64,
    /// What happened how often.
    pub marks: Marks,
    /// Over the hashes of all runs.
    pub trace_hash: u64,
    /// The seeds that broke a law.
    pub failures: Vec<Failure>,
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of a run are kept, not printed: they are what a run found.
pub fn keep_panics() {
    set_hook(Box::new(|info| {
        let place = info
            .location()
            .map_or_else(String::new, |at| format!(" at {at}"));
        let text = info.payload_as_str().unwrap_or("a panic without words");
        PANIC.with_borrow_mut(|panic| *panic = Some(format!("{text}{place}")));
    }));
}

impl Totals {
    /// Runs one seed.
    pub fn run(&mut self, scenario: Scenario, seed: u64, print: Print) -> Option<&Failure> {
        self.seeds += 1;
        let run = || World::new(scenario, seed, Trace::new(print)).run();
        let found = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(outcome) => {
                self.acked += outcome.acked;
                self.sim += u128::from(outcome.sim);
                self.elections += outcome.elections;
                self.events += outcome.events;
                self.marks.add(&outcome.marks);
                self.hash(outcome.trace_hash);
                outcome
                    .violation
                    .map(|found| (found.law.to_owned(), found.to_string()))
            }
            Err(_) => {
                let text = PANIC.with_borrow_mut(Option::take).unwrap_or_default();
                self.hash(hash64_after(seed, text.as_bytes()));
                Some(("assertion".to_owned(), text))
            }
        };
        let (law, text) = found?;
        self.failures.push(Failure {
            seed,
            scenario,
            law,
            text,
        });
        self.failures.last()
    }

    fn hash(&mut self, of_run: u64) {
        self.trace_hash = hash64_after(self.trace_hash, &of_run.to_le_bytes());
    }

    /// The marks that were never hit.
    pub fn never(&self) -> String {
        let names: Vec<&str> = self.marks.never().map(Mark::name).collect();
        names.join(" ")
    }

    /// All of it, on one line (`design/simulation.md`, 8).
    pub fn json(&self, cpu: Duration) -> String {
        let mut json = format!(
            "{{\"seeds\":{},\"ops_acked\":{},\"cpu_s\":{:.3},\"sim_s\":{:.3},\"events\":{},\"faults\":{{",
            self.seeds,
            self.acked,
            cpu.as_secs_f64(),
            self.sim as f64 / 1e9,
            self.events,
        );
        let faults = Mark::ALL.iter().filter(|mark| mark.kind() == Kind::Fault);
        for (index, mark) in faults.enumerate() {
            let comma = if index == 0 { "" } else { "," };
            push(
                &mut json,
                format_args!("{comma}\"{}\":{}", mark.name(), self.marks.count(*mark)),
            );
        }
        push(
            &mut json,
            format_args!("}},\"elections\":{}", self.elections),
        );
        push(
            &mut json,
            format_args!(
                ",\"trace_hash\":\"{:016x}\",\"failures\":[",
                self.trace_hash
            ),
        );
        for (index, failure) in self.failures.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let (seed, scenario) = (failure.seed, failure.scenario.name());
            push(
                &mut json,
                format_args!(
                    "{comma}{{\"seed\":\"{seed:#x}\",\"scenario\":\"{scenario}\",\"law\":\"{}\"}}",
                    escaped(&failure.law)
                ),
            );
        }
        json.push_str("]}");
        json
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let written = text.write_fmt(arguments);
    assert!(written.is_ok(), "a string takes all text");
}

fn escaped(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '"' || c == '\\' || c.is_control() {
                ' '
            } else {
                c
            }
        })
        .collect()
}

/// The commit that runs.
pub fn commit() -> String {
    let output = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output();
    let text = output
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok());
    text.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// The CPU time of this process so far.
pub fn cpu_time() -> Duration {
    // Fields 14 and 15 of /proc/self/stat, in hundredths of a second, counted after the name.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let mut fields = after_name.split_whitespace().skip(11);
    let mut next = || {
        fields
            .next()
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0)
    };
    Duration::from_millis((next() + next()) * 10)
}
