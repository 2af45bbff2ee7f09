//! Each mutant is a patch against today's source: it must still apply, and change something.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use tenure_sim::marks::Mark;
use tenure_sim::mutants::{CORE, in_words, meaning, patches, read_table, root, table_path};

#[test]
fn every_mutant_applies() {
    for (name, path) in patches().expect("the mutants are there") {
        let path = path.canonicalize().expect("the patch has a path");
        let checked = Command::new("git")
            .args(["apply", "--check"])
            .arg(&path)
            .current_dir(root())
            .output()
            .expect("git runs");
        let why = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{name} no longer applies: {why}");
    }
}

fn sources(folder: &Path, text: &mut String) {
    if !folder.is_dir() {
        return;
    }
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            sources(&path, text);
        } else {
            text.push_str(&fs::read_to_string(&path).expect("sources are text"));
        }
    }
}

#[test]
fn a_test_that_kills_a_mutant_is_there() {
    let mut rooms = BTreeMap::new();
    for (name, path) in patches().expect("the mutants are there") {
        let patch = fs::read_to_string(path).expect("a patch is text");
        let heads = patch.lines().take_while(|line| !line.starts_with("diff "));
        let heads: BTreeMap<_, _> = heads.filter_map(|line| line.split_once(": ")).collect();
        let Some(test) = heads.get("test") else {
            continue;
        };
        let room = *heads.get("in").unwrap_or(&CORE);
        let text = rooms.entry(room.to_owned()).or_insert_with(|| {
            let mut text = String::new();
            for folder in ["src", "tests"] {
                sources(&root().join(room).join(folder), &mut text);
            }
            text
        });
        assert!(text.contains(&format!("fn {test}(")), "{name}: no {test}");
    }
}

#[test]
fn the_documentation_says_what_the_table_says() {
    let page = page();
    let said = in_words(&page, &read_table(&table_path())).expect("the page has a place");
    assert!(page == said, "`cargo mutants-table --only NONE` writes it");
}

/// A table of yesterday's bugs says nothing of today's: who changes what one does, or adds one, has it
/// hunted (`cargo mutants-table --only NAME`).
#[test]
fn each_mutant_as_it_is_has_died() {
    let mut rows: BTreeMap<_, _> = read_table(&table_path())
        .into_iter()
        .map(|verdict| (verdict.name.clone(), verdict))
        .collect();
    for (name, path) in patches().expect("the mutants are there") {
        let patch = fs::read_to_string(path).expect("a patch is text");
        let row = rows.remove(&name);
        let row = row.unwrap_or_else(|| panic!("{name} has no row"));
        assert_eq!(row.patch, meaning(&patch), "{name} was another bug then");
        assert!(row.killed_by.is_some(), "{name} lives");
    }
    let left: Vec<_> = rows.keys().collect();
    assert!(left.is_empty(), "{left:?} are no more");
}

fn page() -> String {
    fs::read_to_string(root().join("docs/SIMULATION.md")).expect("the page is there")
}

/// The cells of the rows of the table that begins with `head`.
fn rows(page: &str, head: &str) -> Vec<Vec<String>> {
    let lines = page.lines().skip_while(|line| !line.starts_with(head));
    let table = lines.take_while(|line| line.starts_with('|')).skip(2);
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    table.map(cells).collect()
}

#[test]
fn the_first_gate_names_mutants_that_are_there_or_says_why_none() {
    let there: Vec<u64> = patches()
        .expect("the mutants are there")
        .iter()
        .filter_map(|(name, _)| name.split('-').next()?.parse().ok())
        .collect();
    let gate = rows(&page(), "| list | the bug | mutants |");
    assert!(gate.len() > 80, "the list is whole: {}", gate.len());
    for row in gate {
        let [_, bug, mutants, why] = row.as_slice() else {
            panic!("{row:?} has four cells");
        };
        assert!(!(mutants.is_empty() && why.is_empty()), "{bug}: nothing");
        for number in mutants.split(", ").filter(|number| !number.is_empty()) {
            let number: u64 = number.parse().expect("mutants have numbers");
            assert!(there.contains(&number), "{bug}: no mutant {number}");
        }
    }
}

#[test]
fn each_fault_of_the_catalogue_names_marks_that_are_there() {
    let table = rows(&page(), "| the catalogue's code |");
    assert!(table.len() >= 10, "{table:?}");
    for row in table {
        let [codes, marks] = row.as_slice() else {
            panic!("{row:?} has two cells");
        };
        let named: Vec<&str> = marks.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{codes} has no mark");
        for name in named {
            let is_it = |mark: &Mark| {
                let begins = name.ends_with('_') && mark.name().starts_with(name);
                mark.name() == name || begins
            };
            assert!(Mark::ALL.iter().any(is_it), "{codes}: no mark {name}");
        }
    }
}
