//! Each mutant is a patch against today's source: it must still apply, and change something.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
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
        assert!(text.contains(&format!("fn {test}()")), "{name}: no {test}");
    }
}

#[test]
fn the_documentation_says_what_the_table_says() {
    let page = fs::read_to_string(root().join("docs/SIMULATION.md")).expect("the page is there");
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
