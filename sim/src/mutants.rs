//! Measures the simulator: each deliberate bug of `sim/mutants` must be found.
//!
//! Patches are applied to a copy of the tree in `target/mutants`, as many as can in one build
//! (`mutants/weave`), and what is built hunts with fresh seeds (`mutants/workshop`). What is known is
//! kept in a table (`mutants/table`), written as it grows, so that a run that was stopped goes on where
//! it was.

mod table;
mod weave;
mod workshop;

pub use table::{Verdict, in_words, read_table, write_table};

use crate::report::commit;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tenure_core::hash::hash64;
use workshop::Workshop;

/// CPU seconds that one hunt takes at most: a machine that is busy with other work finds as much.
const SECONDS: u64 = 120;
/// Whose tests kill those mutants that no seed finds, unless they name another package.
pub const CORE: &str = "core";
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
            "--cpu" => {
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
    let workshop = Workshop::new()?;
    let table = if options.table {
        table_path()
    } else {
        workshop.home.join("table.tsv")
    };
    let mut known = read_table(&table);
    let patches = patches()?;
    let names: Vec<String> = patches.iter().map(|(name, _)| name.clone()).collect();
    known.retain(|verdict| names.contains(&verdict.name));
    let commit = commit();
    let mut wanted = Vec::new();
    for mutant in chosen(options, patches)? {
        let is_known = known.iter().find(|verdict| {
            let is_new = !options.again || verdict.commit == commit;
            let is_dead = verdict.killed_by.is_some() && verdict.patch == mutant.patch;
            is_new && is_dead && verdict.name == mutant.name
        });
        match is_known {
            Some(verdict) => println!("{}", verdict.line().replace('\t', "  ")),
            None => wanted.push(mutant),
        }
    }
    let woven = workshop.weave(&wanted)?;
    // What is built already comes first.
    wanted.sort_by_key(|mutant| !woven.contains(&mutant.name));
    let mut survivors = 0;
    for mutant in &wanted {
        let seconds = options.seconds.unwrap_or(SECONDS);
        let verdict = match workshop.hunt(mutant, woven.contains(&mutant.name), seconds) {
            Ok(verdict) => verdict,
            Err(problem) => {
                // The others are hunted all the same.
                println!("{problem}");
                survivors += 1;
                continue;
            }
        };
        let commit = commit.clone();
        let verdict = Verdict { commit, ..verdict };
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

/// The mutants that are asked for.
fn chosen(options: &Options, patches: Vec<(String, PathBuf)>) -> Result<Vec<Mutant>, String> {
    let turn = options.rotation.map(|turn| on_turn(patches.len(), turn));
    let is_chosen = |(index, (name, _)): &(usize, (String, PathBuf))| {
        let only = options.only.as_ref();
        only.is_none_or(|only| name.contains(only.as_str()))
            && turn.as_ref().is_none_or(|turn| turn.contains(index))
    };
    let chosen = patches.into_iter().enumerate().filter(is_chosen);
    chosen
        .map(|(_, (name, path))| Mutant::read(name, &path))
        .collect()
}

/// A deliberate bug.
struct Mutant {
    name: String,
    path: PathBuf,
    text: String,
    /// The hash of what its patch means.
    patch: u64,
}

/// The hash of what a patch means: what it says of itself, and what it takes away and adds. Where that
/// stands in the source, and between what, may change while the bug stays the same one.
pub fn meaning(patch: &str) -> u64 {
    let is_head = |line: &&str| !line.starts_with("diff ");
    let (head, changes) = (patch.lines().take_while(is_head), patch.lines());
    let changes = changes.skip_while(is_head);
    let changes = changes.filter(|line| line.starts_with(['+', '-']));
    let meant: Vec<&str> = head.chain(changes).collect();
    hash64(meant.join("\n").as_bytes())
}

impl Mutant {
    fn read(name: String, path: &Path) -> Result<Self, String> {
        let path = path.canonicalize().map_err(|error| error.to_string())?;
        let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let patch = meaning(&text);
        Ok(Self {
            name,
            path,
            text,
            patch,
        })
    }

    /// What stands before the patch under this word. `group`: in which list of deliberate bugs it is.
    /// `scenario`: the schedule that it needs, since the general hunt meets it too rarely for a short
    /// run. `test`: it needs one finer than chance makes, or no simulation comes there, and this test
    /// kills it. `in`: of the package in this folder, if not of the core.
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

    /// Whether seeds look for it, and not a test.
    fn is_hunted(&self) -> bool {
        self.head("test").is_none()
    }

    /// The folder of the package whose test kills it.
    fn room(&self) -> &str {
        self.head("in").unwrap_or(CORE)
    }

    /// The number at the head of its name, which chooses it in a build of many.
    fn number(&self) -> u64 {
        let digits = self.name.split('-').next().unwrap_or_default();
        digits.parse().unwrap_or(0)
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
