//! `cargo sim`: runs seeds, reproduces one, hunts mutants.

use std::process::ExitCode;
use std::time::{Duration, Instant};
use tenure_core::hash::hash64_after;
use tenure_sim::mutants;
use tenure_sim::report::{Failure, Totals, commit, cpu_time, keep_panics};
use tenure_sim::scenario::Scenario;
use tenure_sim::trace::Print;

const USAGE: &str = "\
cargo sim [SEED]... [--scenario NAME] [--trace] [--json]
cargo sim [--for 45s] [--seeds N] [--from SEED] [--scenario NAME] [--keep-going] [--json]
cargo sim mutants [--only NAME] [--for SECONDS] [--again]

Without a seed: fresh ones for 60 s. Scenarios: ";

#[derive(Debug, Default)]
struct Options {
    seeds: Vec<u64>,
    count: Option<u64>,
    time: Option<Duration>,
    from: Option<u64>,
    scenario: Option<Scenario>,
    trace: bool,
    json: bool,
    keep_going: bool,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|first| first == "mutants") {
        arguments.next();
        return mutants::main(arguments);
    }
    match parse(arguments) {
        Ok(options) => run(&options),
        Err(problem) => {
            let names: Vec<&str> = Scenario::ALL.iter().map(|(name, _)| *name).collect();
            eprintln!("{problem}\n\n{USAGE}{}", names.join(" "));
            ExitCode::from(2)
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match argument.as_str() {
            "--scenario" => {
                let name = value()?;
                let found = Scenario::named(&name);
                options.scenario = Some(found.ok_or(format!("no scenario is called {name}"))?);
            }
            "--for" => options.time = Some(seconds(&value()?)?),
            "--seeds" => options.count = Some(number(&value()?)?),
            "--from" => options.from = Some(number(&value()?)?),
            "--trace" => options.trace = true,
            "--json" => options.json = true,
            "--keep-going" => options.keep_going = true,
            other => options.seeds.push(number(other)?),
        }
    }
    Ok(options)
}

fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("{text} is no number"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    number(text.strip_suffix('s').unwrap_or(text)).map(Duration::from_secs)
}

/// The scenarios of a hunt: mostly the swarm, now and then one of the others.
fn scenario_of(index: u64) -> Scenario {
    match index % 16 {
        1 => Scenario::Lite,
        2 => Scenario::Echoes,
        3 => Scenario::PowerCuts,
        5 => Scenario::LaggingCandidate,
        7 => Scenario::StaleLeader,
        9 => Scenario::Duels,
        11 => Scenario::Pauses,
        13 => Scenario::IdleFailover,
        14 => Scenario::BlackHoles,
        15 => Scenario::Calm,
        _ => Scenario::Swarm,
    }
}

fn run(options: &Options) -> ExitCode {
    keep_panics();
    let began = Instant::now();
    let mut totals = Totals::default();
    let commit = commit();
    let print = if options.trace { Print::Yes } else { Print::No };
    for seed in &options.seeds {
        let scenario = options.scenario.unwrap_or(Scenario::Swarm);
        if let Some(failure) = totals.run(scenario, *seed, print) {
            tell(failure, &commit);
        }
    }
    if options.seeds.is_empty() {
        hunt(options, &mut totals, &commit, began);
    }
    finish(options, &totals)
}

fn hunt(options: &Options, totals: &mut Totals, commit: &str, began: Instant) {
    let base = options.from.unwrap_or_else(fresh);
    let time = match (options.time, options.count) {
        (Some(time), _) => time,
        (None, Some(_)) => Duration::MAX,
        (None, None) => Duration::from_secs(60),
    };
    let count = options.count.unwrap_or(u64::MAX);
    for index in 0..count {
        if began.elapsed() >= time {
            break;
        }
        let seed = hash64_after(base, &index.to_le_bytes());
        let scenario = options.scenario.unwrap_or_else(|| scenario_of(index));
        if let Some(failure) = totals.run(scenario, seed, Print::No) {
            tell(failure, commit);
            if !options.keep_going {
                break;
            }
        }
    }
}

/// A number that was never used before. Only where a hunt begins: each of its seeds is printed.
fn fresh() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.as_nanos());
    hash64_after(u64::from(std::process::id()), &nanos.to_le_bytes())
}

fn tell(failure: &Failure, commit: &str) {
    eprintln!("{}", failure.text);
    println!("{}", failure.command(commit));
}

fn finish(options: &Options, totals: &Totals) -> ExitCode {
    let cpu = cpu_time();
    if options.json {
        println!("{}", totals.json(cpu));
    } else if !options.trace {
        println!(
            "{} seeds, {} requests answered, {} elections, {:.1} simulated s, {:.1} CPU s, trace {:016x}",
            totals.seeds,
            totals.acked,
            totals.elections,
            totals.sim as f64 / 1e9,
            cpu.as_secs_f64(),
            totals.trace_hash,
        );
        println!("never: {}", totals.never());
    }
    if totals.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}
