//! Measures the simulator: each deliberate bug of `sim/mutants` must be found.
//!
//! A patch is applied to a copy of the tree in `target/mutants`, which is built in one folder, and
//! the copy hunts with fresh seeds. What is known is kept in a table (`mutants/table`), written as it
//! grows, so that a run that was stopped goes on where it was.

mod table;

pub use table::{Verdict, in_words, read_table, write_table};

use crate::report::commit;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use tenure_core::hash::hash64;

/// Seconds that one hunt takes at most.
const SECONDS: u64 = 120;
/// Mutants that one commit hunts besides the canary.
const ON_TURN: usize = 5;

#[derive(Debug, Default)]
struct Options {
    only: Option<String>,
    rotation: Option<u64>,
    seconds: Option<u64>,
    again: bool,
    table: bool,
}

/// `cargo sim mutants`.
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    match parse(arguments).and_then(|options| hunt_all(&options)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(survivors) => {
            println!("{survivors} mutants live");
            ExitCode::from(1)
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match argument.as_str() {
            "--only" => options.only = Some(value()?),
            "--for" => {
                let text = value()?;
                let digits = text.strip_suffix('s').unwrap_or(&text);
                options.seconds = Some(digits.parse().map_err(|_| format!("{text} is no time"))?);
            }
            "--rotation" => {
                let text = value()?;
                let digits = text.strip_prefix("0x").unwrap_or(&text);
                let turn = u64::from_str_radix(digits, 16);
                options.rotation = Some(turn.map_err(|_| format!("{text} is no commit"))?);
            }
            "--again" => options.again = true,
            "--table" => options.table = true,
            other => return Err(format!("mutants does not know {other}")),
        }
    }
    Ok(options)
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All patches, by name.
pub fn patches() -> Result<Vec<(String, PathBuf)>, String> {
    let folder = root().join("sim/mutants");
    let entries =
        fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "patch")
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
        {
            found.push((name.to_owned(), path));
        }
    }
    found.sort();
    Ok(found)
}

/// Where the verdicts of the last whole run stand, which `docs/SIMULATION.md` shows.
pub fn table_path() -> PathBuf {
    root().join("sim/mutants/table.tsv")
}

fn hunt_all(options: &Options) -> Result<usize, String> {
    let home = root().join("target/mutants");
    fs::create_dir_all(&home).map_err(|error| error.to_string())?;
    let table = if options.table {
        table_path()
    } else {
        home.join("table.tsv")
    };
    let (mut known, commit) = (read_table(&table), commit());
    let mut survivors = 0;
    let patches = patches()?;
    let names: Vec<String> = patches.iter().map(|(name, _)| name.clone()).collect();
    known.retain(|verdict| names.contains(&verdict.name));
    let turn = options.rotation.map(|turn| on_turn(patches.len(), turn));
    for (index, (name, path)) in patches.into_iter().enumerate() {
        let only = options.only.as_ref();
        if only.is_some_and(|only| !name.contains(only.as_str()))
            || turn.as_ref().is_some_and(|turn| !turn.contains(&index))
        {
            continue;
        }
        let mutant = Mutant::read(name, &path)?;
        let is_known = |verdict: &&Verdict| {
            let is_new = !options.again || verdict.commit == commit;
            is_new && verdict.killed_by.is_some() && verdict.patch == mutant.patch
        };
        let before = known.iter().find(|verdict| verdict.name == mutant.name);
        let verdict = match before.filter(is_known) {
            Some(verdict) => verdict.clone(),
            None => match hunt(&home, &mutant, options.seconds.unwrap_or(SECONDS)) {
                Ok(verdict) => Verdict {
                    commit: commit.clone(),
                    ..verdict
                },
                Err(problem) => {
                    // The others are hunted all the same.
                    println!("{problem}");
                    survivors += 1;
                    continue;
                }
            },
        };
        println!("{}", verdict.line().replace('\t', "  "));
        survivors += usize::from(verdict.killed_by.is_none());
        known.retain(|other| other.name != verdict.name);
        known.push(verdict);
        write_table(&table, &mut known)?;
    }
    if options.table {
        table::tell(&known)?;
    }
    Ok(survivors)
}

/// A deliberate bug.
struct Mutant {
    name: String,
    path: PathBuf,
    text: String,
    /// The hash of its patch.
    patch: u64,
}

impl Mutant {
    fn read(name: String, path: &Path) -> Result<Self, String> {
        let path = path.canonicalize().map_err(|error| error.to_string())?;
        let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let patch = hash64(text.as_bytes());
        Ok(Self {
            name,
            path,
            text,
            patch,
        })
    }

    /// What stands before the patch under this word. `group`: in which list of deliberate bugs it is.
    /// `scenario`: the schedule that it needs, since the general hunt meets it too rarely for a short
    /// run. `test`: it needs one finer than chance makes, and this test of the core kills it.
    fn head(&self, word: &str) -> Option<&str> {
        let heads = self
            .text
            .lines()
            .take_while(|line| !line.starts_with("diff "));
        let mut named = heads.filter_map(|line| line.split_once(": "));
        named
            .find(|(key, _)| *key == word)
            .map(|(_, value)| value.trim())
    }

    fn verdict(&self) -> Verdict {
        Verdict {
            name: self.name.clone(),
            patch: self.patch,
            group: self.head("group").unwrap_or_default().to_owned(),
            ..Verdict::default()
        }
    }
}

/// Which of `patches` a commit hunts: the first, which is the canary, and five that change from one
/// commit to the next.
fn on_turn(patches: usize, commit: u64) -> BTreeSet<usize> {
    let others = patches.saturating_sub(1).max(1);
    let first = (hash64(&commit.to_le_bytes()) % others as u64) as usize;
    let turn = (0..ON_TURN).map(|nth| 1 + (first + nth * others / ON_TURN) % others);
    let canary = std::iter::once(0);
    canary
        .chain(turn)
        .filter(|index| *index < patches)
        .collect()
}

fn hunt(home: &Path, mutant: &Mutant, seconds: u64) -> Result<Verdict, String> {
    let (tree, name) = (home.join("tree"), &mutant.name);
    copy_tree(&tree)?;
    let applied = run(Command::new("git")
        .arg("apply")
        .arg(&mutant.path)
        .current_dir(&tree))?;
    if !applied.status.success() {
        let why = String::from_utf8_lossy(&applied.stderr).into_owned();
        return Err(format!("{name} no longer applies: {why}"));
    }
    if let Some(test) = mutant.head("test") {
        return try_test(home, &tree, mutant, test);
    }
    let built = run(Command::new("cargo")
        .args([
            "build",
            "--release",
            "-q",
            "-p",
            "tenure-sim",
            "--bin",
            "sim",
        ])
        .env("CARGO_TARGET_DIR", home.join("build"))
        // Most mutants die within seconds: a build that is done sooner finds them sooner.
        .env("CARGO_INCREMENTAL", "1")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .current_dir(&tree))?;
    if !built.status.success() {
        let why = String::from_utf8_lossy(&built.stderr).into_owned();
        return Err(format!("{name} does not compile: {why}"));
    }
    let sim = home.join("build/release/sim");
    let scenario = mutant.head("scenario").map(|name| ["--scenario", name]);
    let hunted = run(Command::new("timeout")
        .arg((seconds + 60).to_string())
        .arg(&sim)
        .args(["--json", "--for", &format!("{seconds}s")])
        .args(scenario.iter().flatten())
        .current_dir(&tree))?;
    Ok(verdict(mutant, &hunted))
}

/// A mutant that needs a schedule finer than chance makes is killed by a test of the core.
fn try_test(home: &Path, tree: &Path, mutant: &Mutant, test: &str) -> Result<Verdict, String> {
    let tested = run(Command::new("cargo")
        .args(["test", "-q", "-p", "tenure-core", "--lib", test])
        .env("CARGO_TARGET_DIR", home.join("build"))
        .current_dir(tree))?;
    let text = String::from_utf8_lossy(&tested.stdout);
    let failed = text.contains("test result: FAILED");
    Ok(Verdict {
        killed_by: failed.then(|| format!("test {test}")),
        ..mutant.verdict()
    })
}

fn verdict(mutant: &Mutant, hunted: &Output) -> Verdict {
    let text = String::from_utf8_lossy(&hunted.stdout);
    let json = text.lines().last().unwrap_or_default();
    let field = |key: &str| {
        let after = json.split(&format!("\"{key}\":")).nth(1)?;
        let end = after.trim_start_matches('"').find(['"', ',', '}'])?;
        Some(after.trim_start_matches('"')[..end].to_owned())
    };
    // A mutant that makes a run endless is found as well: nothing else does.
    let endless = hunted.status.code() == Some(124);
    let killed_by =
        field("law").or_else(|| endless.then(|| "the world comes to an end".to_owned()));
    Verdict {
        killed_by,
        seed: field("seed").unwrap_or_default(),
        scenario: field("scenario").unwrap_or_default(),
        cpu_s: field("cpu_s").unwrap_or_default(),
        ..mutant.verdict()
    }
}

/// The files that git knows, with what stands in them now. Only what changed is written, so that
/// only that is built again.
fn copy_tree(tree: &Path) -> Result<(), String> {
    let listed = run(Command::new("git")
        .args(["ls-files", "-co", "--exclude-standard"])
        .current_dir(root()))?;
    fs::create_dir_all(tree).map_err(|error| error.to_string())?;
    if !tree.join(".git").exists() {
        // So that `git apply` takes this folder for the root of a tree.
        run(Command::new("git").args(["init", "-q"]).current_dir(tree))?;
    }
    for name in String::from_utf8_lossy(&listed.stdout).lines() {
        let (from, to) = (root().join(name), tree.join(name));
        let Ok(bytes) = fs::read(&from) else {
            continue;
        };
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            continue;
        }
        let folder = to.parent().unwrap_or(tree);
        fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        fs::write(&to, bytes).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<Output, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .output()
        .map_err(|error| format!("{program}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_has_its_turn_and_the_canary_always() {
        let mut seen = BTreeSet::new();
        for commit in 0..200 {
            let turn = on_turn(73, commit);
            assert_eq!(turn.len(), 1 + ON_TURN);
            assert!(turn.contains(&0), "the canary must die each time");
            seen.extend(turn);
        }
        assert_eq!(seen, (0..73).collect());
        assert_eq!(on_turn(2, 5), BTreeSet::from([0, 1]));
    }
}
