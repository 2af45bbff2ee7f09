//! Where mutants are built, and hunted.

use super::weave::{CHOICE, CHOOSE, Loom, MAIN};
use super::{CORE, Mutant, Verdict, root};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a process gets that has used up its CPU time.
const SIGXCPU: i32 = 24;
const SIGKILL: i32 = 9;

/// A copy of the tree, and what is built of it.
pub(super) struct Workshop {
    pub(super) home: PathBuf,
    tree: PathBuf,
}

fn say(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn run(command: &mut Command) -> Result<Output, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .output()
        .map_err(|error| format!("{program}: {error}"))
}

fn write(to: &Path, bytes: &[u8]) -> Result<(), String> {
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(()); // only what changed is built again
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(say)?;
    }
    fs::write(to, bytes).map_err(say)
}

/// Removes the files of earlier sources.
fn keep_only(folder: &Path, known: &BTreeSet<PathBuf>) -> Result<(), String> {
    for entry in fs::read_dir(folder).map_err(say)? {
        let path = entry.map_err(say)?.path();
        if path.ends_with(".git") {
            continue;
        }
        if path.is_dir() {
            keep_only(&path, known)?;
        } else if !known.contains(&path) {
            fs::remove_file(path).map_err(say)?;
        }
    }
    Ok(())
}

impl Workshop {
    pub(super) fn new() -> Result<Self, String> {
        let home = root().join("target/mutants");
        let tree = home.join("tree");
        fs::create_dir_all(&tree).map_err(say)?;
        if !tree.join(".git").exists() {
            // So that `git apply` takes this folder for the root of a tree.
            run(Command::new("git").args(["init", "-q"]).current_dir(&tree))?;
        }
        Ok(Self { home, tree })
    }

    /// The files that git knows, with what stands in them now, and no others.
    fn copy_tree(&self) -> Result<(), String> {
        let listed = run(Command::new("git")
            .args(["ls-files", "-co", "--exclude-standard"])
            .current_dir(root()))?;
        let mut known = BTreeSet::new();
        for name in String::from_utf8_lossy(&listed.stdout).lines() {
            if let Ok(bytes) = fs::read(root().join(name)) {
                write(&self.tree.join(name), &bytes)?;
                known.insert(self.tree.join(name));
            }
        }
        keep_only(&self.tree, &known)
    }

    fn apply(&self, mutant: &Mutant) -> Result<(), String> {
        let applied = run(Command::new("git")
            .arg("apply")
            .arg(&mutant.path)
            .current_dir(&self.tree))?;
        if applied.status.success() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&applied.stderr);
        Err(format!("{} no longer applies: {why}", mutant.name))
    }

    /// Builds in one what can be; gives the names of those that were.
    pub(super) fn weave(&self, mutants: &[Mutant]) -> Result<BTreeSet<String>, String> {
        let (mut loom, mut woven) = (Loom::default(), BTreeSet::new());
        self.copy_tree()?;
        // The tests of other packages find no choice in their environment.
        for mutant in mutants.iter().filter(|mutant| mutant.room() == CORE) {
            let files = mutant.text.lines();
            let files: Vec<&str> = files
                .filter_map(|line| line.strip_prefix("+++ b/"))
                .collect();
            if self.apply(mutant).is_err() {
                continue; // its hunt says so
            }
            let mut changed = Vec::new();
            for file in files {
                let old = fs::read_to_string(root().join(file)).map_err(say)?;
                let new = fs::read_to_string(self.tree.join(file)).map_err(say)?;
                write(&self.tree.join(file), old.as_bytes())?;
                changed.push((file.to_owned(), old, new));
            }
            if loom.take(mutant.number(), &changed) {
                woven.insert(mutant.name.clone());
            }
        }
        if woven.len() < 2 {
            return Ok(BTreeSet::new());
        }
        for name in loom.names() {
            let text = fs::read_to_string(root().join(name)).map_err(say)?;
            write(&self.tree.join(name), loom.weave(name, &text).as_bytes())?;
        }
        self.change("core/src/lib.rs", |text| text + CHOICE)?;
        let choose = format!("{MAIN}{CHOOSE}");
        self.change("sim/src/bin/sim.rs", |text| text.replace(MAIN, &choose))?;
        let is_hunted = |mutant: &Mutant| woven.contains(&mutant.name) && mutant.is_hunted();
        if mutants.iter().any(is_hunted) {
            self.build()?;
            fs::copy(self.built(), self.many()).map_err(say)?;
        }
        Ok(woven)
    }

    fn change(&self, name: &str, how: impl FnOnce(String) -> String) -> Result<(), String> {
        let path = self.tree.join(name);
        let text = fs::read_to_string(&path).map_err(say)?;
        fs::write(path, how(text)).map_err(say)
    }

    /// Where cargo puts what it builds.
    fn built(&self) -> PathBuf {
        self.home.join("build/release/sim")
    }

    /// The build of many.
    fn many(&self) -> PathBuf {
        self.home.join("many")
    }

    fn build(&self) -> Result<(), String> {
        let mut cargo = Command::new("cargo");
        cargo.args([
            "build",
            "--release",
            "-q",
            "-p",
            "tenure-sim",
            "--bin",
            "sim",
        ]);
        let built = run(cargo
            .env("CARGO_TARGET_DIR", self.home.join("build"))
            // Most mutants die within seconds: a build that is done sooner finds them sooner.
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .current_dir(&self.tree))?;
        if built.status.success() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&built.stderr);
        Err(format!("does not compile: {why}"))
    }

    /// Looks for a mutant. One that is not `woven` is built first; those that are come before it, as
    /// the tree holds them until then.
    pub(super) fn hunt(
        &self,
        mutant: &Mutant,
        woven: bool,
        seconds: u64,
    ) -> Result<Verdict, String> {
        if !woven {
            self.copy_tree()?;
            self.apply(mutant)?;
        }
        if let Some(test) = mutant.head("test") {
            return self.try_test(mutant, test);
        }
        let mut sim = self.many();
        if !woven {
            self.build()
                .map_err(|why| format!("{} {why}", mutant.name))?;
            sim = self.built();
        }
        let scenario = mutant.head("scenario").map(|name| ["--scenario", name]);
        // Who is not done by then is stopped.
        let limited = r#"ulimit -t "$0" && exec "$@""#;
        let hunted = run(Command::new("sh")
            .args(["-c", limited, &(seconds + 60).to_string()])
            .arg(sim)
            .args(["--json", "--cpu", &format!("{seconds}s")])
            .args(scenario.iter().flatten())
            .env("TENURE_MUTANT", mutant.number().to_string())
            .current_dir(&self.tree))?;
        Ok(verdict(mutant, &hunted))
    }

    /// A mutant that needs a schedule finer than chance makes, or that stands where no simulation comes,
    /// is killed by a test.
    fn try_test(&self, mutant: &Mutant, test: &str) -> Result<Verdict, String> {
        let package = format!("{}/Cargo.toml", mutant.room());
        let mut cargo = Command::new("cargo");
        cargo.args(["test", "-q", "--manifest-path", &package]);
        if mutant.room() == CORE {
            cargo.arg("--lib"); // it has no other tests
        }
        let tested = run(cargo
            .arg(test)
            .env("CARGO_TARGET_DIR", self.home.join("build"))
            .env("TENURE_MUTANT", mutant.number().to_string())
            .current_dir(&self.tree))?;
        let said = String::from_utf8_lossy(&tested.stdout);
        let why = String::from_utf8_lossy(&tested.stderr);
        // A store into a hole ends the process that tests.
        let by_signal = why.contains("(signal: ");
        if !said.contains("test result: ") && !by_signal {
            return Err(format!("{} does not compile: {why}", mutant.name));
        }
        let failed = by_signal || said.contains("test result: FAILED");
        Ok(Verdict {
            killed_by: failed.then(|| format!("test {test}")),
            cpu_s: seconds(&said),
            ..mutant.verdict()
        })
    }
}

/// How long the tests of a run took, as each of its programs says at its end.
fn seconds(said: &str) -> String {
    let ends = said.split("finished in ").skip(1);
    let took = ends.filter_map(|end| end.split('s').next()?.parse::<f64>().ok());
    format!("{:.2}", took.sum::<f64>())
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
    let endless = matches!(hunted.status.signal(), Some(SIGKILL | SIGXCPU));
    let killed_by =
        field("law").or_else(|| endless.then(|| "the world comes to an end".to_owned()));
    Verdict {
        killed_by,
        seed: field("seed").unwrap_or_default(),
        cpu_s: field("cpu_s").unwrap_or_default(),
        scenario: field("scenario").unwrap_or_default(),
        ..mutant.verdict()
    }
}
