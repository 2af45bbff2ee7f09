//! What became of each mutant: a file of tabs for the runner, and the same in words for readers.

use super::root;
use std::fs;
use std::path::Path;

/// Where the words stand in `docs/SIMULATION.md`.
const BEGIN: &str = "<!-- the table of mutants: `cargo mutants-table` writes it -->\n";
const END: &str = "<!-- end of the table -->\n";

/// What became of a mutant.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Verdict {
    /// Its name, which is its file's.
    pub name: String,
    /// The hash of what its patch meant when it was hunted.
    pub patch: u64,
    /// The law that it broke, or the test; none if it lives.
    pub killed_by: Option<String>,
    /// The seed that killed it, if it was not a test.
    pub seed: String,
    /// CPU seconds that the hunt took, or seconds of the test.
    pub cpu_s: String,
    /// The scenario of that seed.
    pub scenario: String,
    /// The list of deliberate bugs that it is in.
    pub group: String,
    /// The source that was changed.
    pub commit: String,
}

impl Verdict {
    /// Its line in the file.
    pub fn line(&self) -> String {
        let killed_by = self.killed_by.as_deref().unwrap_or("LIVES");
        let patch = format!("{:016x}", self.patch);
        [
            &self.name,
            &patch,
            killed_by,
            &self.seed,
            &self.cpu_s,
            &self.scenario,
            &self.group,
            &self.commit,
        ]
        .join("\t")
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t').map(str::to_owned);
        let (name, patch) = (fields.next()?, fields.next()?);
        let killed_by = fields.next()?;
        let mut field = || fields.next().unwrap_or_default();
        Some(Self {
            name,
            patch: u64::from_str_radix(&patch, 16).ok()?,
            killed_by: (killed_by != "LIVES").then_some(killed_by),
            seed: field(),
            cpu_s: field(),
            scenario: field(),
            group: field(),
            commit: field(),
        })
    }

    /// The number at the head of its name.
    fn number(&self) -> u64 {
        let digits = self.name.split('-').next().unwrap_or_default();
        digits.parse().unwrap_or(u64::MAX)
    }

    fn row(&self) -> String {
        let number = self.number();
        let name = self.name.split_once('-').map_or("", |(_, name)| name);
        let (name, killed_by) = (
            name.replace('-', " "),
            self.killed_by.as_deref().unwrap_or("**lives**"),
        );
        let Self {
            group,
            seed,
            scenario,
            cpu_s,
            commit,
            ..
        } = self;
        format!(
            "| {number} | {group} | {name} | {killed_by} | {seed} | {scenario} | {cpu_s} | {commit} |\n"
        )
    }
}

/// What a file says; nothing if there is none.
pub fn read_table(path: &Path) -> Vec<Verdict> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(Verdict::parse).collect()
}

/// Writes it, by the mutants' numbers.
pub fn write_table(path: &Path, verdicts: &mut [Verdict]) -> Result<(), String> {
    verdicts.sort_by_key(Verdict::number);
    let lines = verdicts.iter().map(|verdict| verdict.line() + "\n");
    fs::write(path, lines.collect::<String>()).map_err(|error| error.to_string())
}

/// The page of the documentation, with `verdicts` in their place.
pub fn in_words(page: &str, verdicts: &[Verdict]) -> Result<String, String> {
    let marks = page.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = marks.ok_or("the page has no place for the table")?;
    let dead = verdicts
        .iter()
        .filter(|verdict| verdict.killed_by.is_some());
    let (dead, all) = (dead.count(), verdicts.len());
    let rows: String = verdicts.iter().map(Verdict::row).collect();
    let head = "| | group | the bug | killed by | seed | scenario | CPU s, of a test seconds | at commit |\n|---|---|---|---|---|---|---|---|\n";
    Ok(format!(
        "{before}{BEGIN}{dead} of {all} die.\n\n{head}{rows}{END}{after}"
    ))
}

/// Tells readers what the file says.
pub(super) fn tell(verdicts: &[Verdict]) -> Result<(), String> {
    let path = root().join("docs/SIMULATION.md");
    let page = fs::read_to_string(&path).map_err(|error| error.to_string())?;
    let page = in_words(&page, verdicts)?;
    fs::write(path, page).map_err(|error| error.to_string())?;
    println!("docs/SIMULATION.md shows it.");
    Ok(())
}

#[cfg(test)]
mod tests;
