//! Runs seeds, and says what they showed: one line to copy for each failure, one line of JSON.

use crate::Nanos;
use crate::marks::{Kind, Mark, Marks};
use crate::scenario::{Plan, Scenario};
use crate::trace::{Print, Trace};
use crate::world::{Outcome, World};
use rustix::time::{ClockId, clock_gettime};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::process::Command;
use std::time::Duration;
use tenure_core::hash::hash64_after;

/// Marks on one line of the report.
const MARKS_A_LINE: usize = 3;

/// One seed of so many runs twice, and must run the same way (K36).
const REPEAT_EVERY: u64 = 100;

/// What two runs of one seed have to differ in.
fn differs(one: &Ran, other: &Ran) -> Option<Broken> {
    let (one, other) = (one.trace_hash, other.trace_hash);
    (one != other).then(|| Broken {
        law: "a seed runs the same way twice".to_owned(),
        text: format!("a seed runs the same way twice: {one:016x} and {other:016x}"),
        at: None,
    })
}

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

/// What the last panic of this thread said.
pub fn take_panic() -> Option<String> {
    PANIC.with_borrow_mut(Option::take)
}

/// A law that was broken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Broken {
    /// Which law, in the words that never change.
    pub law: String,
    /// What happened.
    pub text: String,
    /// When, unless the run ended in a panic.
    pub at: Option<Nanos>,
}

/// The law of whoever panics.
const ASSERTION: &str = "assertion";

impl Broken {
    /// Whether both are one bug, as far as words can tell: of panics the place must be the same.
    pub fn is_like(&self, other: &Self) -> bool {
        let place = |broken: &Self| broken.text.rsplit(" at ").next().map(str::to_owned);
        self.law == other.law && (self.law != ASSERTION || place(self) == place(other))
    }
}

/// What one run came to.
#[derive(Debug)]
pub struct Ran {
    /// What it showed; nothing if it ended in a panic.
    pub outcome: Option<Outcome>,
    /// The first law that it broke.
    pub broken: Option<Broken>,
    /// A hash of all that happened.
    pub trace_hash: u64,
}

/// Runs one plan. A panic is a law that was broken.
pub fn run_plan(plan: Plan, seed: u64, print: Print) -> Ran {
    let run = || World::new(plan, seed, Trace::new(print)).run();
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(outcome) => {
            let broken = outcome.violation.as_ref().map(|found| Broken {
                law: found.law.to_owned(),
                text: found.to_string(),
                at: Some(found.at),
            });
            Ran {
                broken,
                trace_hash: outcome.trace_hash,
                outcome: Some(outcome),
            }
        }
        Err(_) => {
            let text = take_panic().unwrap_or_default();
            Ran {
                outcome: None,
                trace_hash: hash64_after(seed, text.as_bytes()),
                broken: Some(Broken {
                    law: ASSERTION.to_owned(),
                    text,
                    at: None,
                }),
            }
        }
    }
}

impl Totals {
    /// Runs one seed.
    pub fn run(&mut self, scenario: Scenario, seed: u64, print: Print) -> Option<&Failure> {
        let mut ran = run_plan(Plan::draw(scenario, seed), seed, print);
        if seed.is_multiple_of(REPEAT_EVERY) && ran.broken.is_none() {
            let again = run_plan(Plan::draw(scenario, seed), seed, Print::No);
            ran.broken = differs(&ran, &again);
        }
        let Broken { law, text, .. } = self.add(ran)?;
        self.failures.push(Failure {
            seed,
            scenario,
            law,
            text,
        });
        self.failures.last()
    }

    /// Counts one run; gives the law that it broke.
    pub fn add(&mut self, ran: Ran) -> Option<Broken> {
        self.seeds += 1;
        if let Some(outcome) = ran.outcome {
            self.acked += outcome.acked;
            self.sim += u128::from(outcome.sim);
            self.elections += outcome.elections;
            self.events += outcome.events;
            self.marks.add(&outcome.marks);
        }
        self.hash(ran.trace_hash);
        ran.broken
    }

    fn hash(&mut self, of_run: u64) {
        self.trace_hash = hash64_after(self.trace_hash, &of_run.to_le_bytes());
    }

    /// The marks that were never hit.
    pub fn never(&self) -> Vec<&'static str> {
        self.marks.never().map(Mark::name).collect()
    }

    /// How often each mark was hit, a few on a line.
    pub fn marks_report(&self) -> String {
        let mut report = String::new();
        for kind in [Kind::Fault, Kind::Case] {
            push(&mut report, format_args!("{}\n", kind.title()));
            let hit = |mark: &&Mark| mark.kind() == kind && self.marks.count(**mark) > 0;
            let hit: Vec<&Mark> = Mark::ALL.iter().filter(hit).collect();
            for line in hit.chunks(MARKS_A_LINE) {
                for mark in line {
                    let (count, name) = (self.marks.count(**mark), mark.name());
                    push(&mut report, format_args!("{count:>9}  {name:<36}"));
                }
                report.truncate(report.trim_end().len());
                report.push('\n');
            }
        }
        let never = self.never();
        let never = if never.is_empty() {
            "none".to_owned()
        } else {
            never.join(" ")
        };
        push(&mut report, format_args!("never hit: {never}"));
        report
    }

    fn json_of(&self, kind: Kind) -> String {
        let marks = Mark::ALL.iter().filter(|mark| mark.kind() == kind);
        let field = |mark: &Mark| format!("\"{}\":{}", mark.name(), self.marks.count(*mark));
        marks.map(field).collect::<Vec<_>>().join(",")
    }

    /// All of it, on one line (SIMULATION.md, "Speed").
    pub fn json(&self, cpu: Duration) -> String {
        let never: Vec<String> = self.never().iter().map(|n| format!("\"{n}\"")).collect();
        let mut json = format!(
            "{{\"seeds\":{},\"ops_acked\":{},\"cpu_s\":{:.3},\"sim_s\":{:.3},\"events\":{},\"faults\":{{{}}},\"cases\":{{{}}},\"never\":[{}],\"elections\":{},\"trace_hash\":\"{:016x}\",\"failures\":[",
            self.seeds,
            self.acked,
            cpu.as_secs_f64(),
            self.sim as f64 / 1e9,
            self.events,
            self.json_of(Kind::Fault),
            self.json_of(Kind::Case),
            never.join(","),
            self.elections,
            self.trace_hash,
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
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(spent.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(spent.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}
