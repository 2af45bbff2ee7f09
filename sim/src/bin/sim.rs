//! `cargo sim`: runs seeds, reproduces one, hunts mutants.

use std::process::ExitCode;
use std::time::{Duration, Instant};
use tenure_core::hash::hash64_after;
use tenure_sim::mutants;
use tenure_sim::replay::Case;
use tenure_sim::report::{Failure, Totals, commit, cpu_time, keep_panics};
use tenure_sim::scenario::Scenario;
use tenure_sim::search::{self, Bounds, Lie};
use tenure_sim::shrink::shrink;
use tenure_sim::trace::Print;

const USAGE: &str = "\
cargo sim [SEED]... [--scenario NAME] [--trace | --transcript] [--json]
cargo sim [--for 45s | --cpu 45s] [--seeds N] [--from SEED] [--scenario NAME] [--keep-going] [--all-marks] [--json]
cargo sim SEED --shrink [--scenario NAME] [--for 120s]
cargo sim --replay FILE [--trace | --transcript | --shrink] [--json]
cargo sim search [--ballots 2] [--commands 0] [--signs 0] [--crashes 1] [--lie reports|bases|signs] [--for 20s] [--whole] [--remember] [--json]
cargo sim mutants [--only NAME] [--rotation COMMIT] [--cpu SECONDS] [--again] [--table]

Without a seed: fresh ones for 60 s. Scenarios: ";

#[derive(Debug, Default)]
struct Options {
    seeds: Vec<u64>,
    count: Option<u64>,
    time: Option<Duration>,
    cpu: Option<Duration>,
    from: Option<u64>,
    scenario: Option<Scenario>,
    print: Print,
    json: bool,
    keep_going: bool,
    all_marks: bool,
    shrink: bool,
    replay: Option<String>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|first| first == "mutants") {
        arguments.next();
        return mutants::main(arguments);
    }
    if arguments.peek().is_some_and(|first| first == "search") {
        arguments.next();
        return searched(arguments).unwrap_or_else(|problem| {
            eprintln!("{problem}\n\n{USAGE}");
            ExitCode::from(2)
        });
    }
    match parse(arguments).and_then(|options| run(&options)) {
        Ok(code) => code,
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
            "--cpu" => options.cpu = Some(seconds(&value()?)?),
            "--seeds" => options.count = Some(number(&value()?)?),
            "--from" => options.from = Some(number(&value()?)?),
            "--trace" => options.print = Print::All,
            "--transcript" => options.print = Print::Words,
            "--json" => options.json = true,
            "--all-marks" => options.all_marks = true,
            "--shrink" => options.shrink = true,
            "--replay" => options.replay = Some(value()?),
            "--keep-going" => options.keep_going = true,
            other => options.seeds.push(number(other)?),
        }
    }
    Ok(options)
}

/// `cargo sim search`.
fn searched(mut arguments: impl Iterator<Item = String>) -> Result<ExitCode, String> {
    keep_panics();
    let (mut bounds, mut json, mut whole) = (Bounds::default(), false, false);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match argument.as_str() {
            "--ballots" => bounds.ballots = number(&value()?)?,
            "--commands" => bounds.commands = number(&value()?)?,
            "--signs" => bounds.signs = number(&value()?)?,
            "--crashes" => bounds.crashes = number(&value()?)?,
            "--for" => bounds.time = seconds(&value()?)?,
            "--lie" => {
                let name = value()?;
                bounds.lie = Some(Lie::named(&name).ok_or(format!("{name} is no lie"))?);
            }
            "--json" => json = true,
            "--whole" => whole = true,
            "--remember" => bounds.remembers = true,
            other => return Err(format!("search does not know {other}")),
        }
    }
    let found = search::search(&bounds);
    search::report(&found, cpu_time(), json);
    let is_short = whole && !found.is_whole;
    Ok(ExitCode::from(u8::from(found.broken.is_some() || is_short)))
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

/// The scenarios of a hunt: every other seed the swarm, the others in turn.
fn scenario_of(index: u64) -> Scenario {
    let mut others = Scenario::ALL
        .iter()
        .map(|(_, scenario)| *scenario)
        .filter(|scenario| *scenario != Scenario::Swarm);
    let turn = (index / 2) as usize % (Scenario::ALL.len() - 1);
    let other = others.nth(turn).unwrap_or(Scenario::Swarm);
    if index.is_multiple_of(2) {
        Scenario::Swarm
    } else {
        other
    }
}

fn run(options: &Options) -> Result<ExitCode, String> {
    keep_panics();
    if options.shrink {
        return shrink_one(options);
    }
    let began = Instant::now();
    let mut totals = Totals::default();
    let commit = commit();
    let print = options.print;
    for seed in &options.seeds {
        let scenario = options.scenario.unwrap_or(Scenario::Swarm);
        if let Some(failure) = totals.run(scenario, *seed, print) {
            tell(failure, &commit);
        }
    }
    if let Some(path) = &options.replay {
        let ran = read_case(path)?.run(print);
        if let Some(broken) = totals.add(ran) {
            eprintln!("{}", broken.text);
            return Ok(ExitCode::from(1));
        }
    } else if options.seeds.is_empty() {
        hunt(options, &mut totals, &commit, began);
    }
    Ok(finish(options, &totals))
}

fn read_case(path: &str) -> Result<Case, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    Case::from_toml(&text).map_err(|problem| format!("{path}: {problem}"))
}

/// Prints the smallest run that breaks the same law, as a file for `--replay`.
fn shrink_one(options: &Options) -> Result<ExitCode, String> {
    let case = match (&options.replay, options.seeds.first()) {
        (Some(path), _) => read_case(path)?,
        (None, Some(seed)) => Case::draw(options.scenario.unwrap_or(Scenario::Swarm), *seed),
        (None, None) => return Err("--shrink wants a seed or a file".to_owned()),
    };
    let time = options.time.unwrap_or(Duration::from_secs(120));
    let Some(small) = shrink(case, time) else {
        println!("# breaks no law");
        return Ok(ExitCode::SUCCESS);
    };
    eprintln!("after {} runs: {}", small.runs, small.broken.text);
    print!("{}", small.case.to_toml(&commit()));
    Ok(ExitCode::from(1))
}

fn hunt(options: &Options, totals: &mut Totals, commit: &str, began: Instant) {
    let base = options.from.unwrap_or_else(fresh);
    let time = match (
        options.time,
        options.cpu.is_some() || options.count.is_some(),
    ) {
        (Some(time), _) => time,
        (None, true) => Duration::MAX,
        (None, false) => Duration::from_secs(60),
    };
    let cpu = options.cpu.unwrap_or(Duration::MAX);
    let count = options.count.unwrap_or(u64::MAX);
    for index in 0..count {
        if began.elapsed() >= time || cpu_time() >= cpu {
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
    } else if options.print == Print::No {
        println!(
            "{} seeds, {} requests answered, {} elections, {:.1} simulated s, {:.1} CPU s, trace {:016x}",
            totals.seeds,
            totals.acked,
            totals.elections,
            totals.sim as f64 / 1e9,
            cpu.as_secs_f64(),
            totals.trace_hash,
        );
        println!("{}", totals.marks_report());
    }
    let never = totals.never();
    if options.all_marks && !never.is_empty() {
        eprintln!("marks that these seeds never hit: {}", never.join(" "));
        return ExitCode::from(1);
    }
    if totals.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}
