//! Each mutant is a patch against today's source: it must still apply, and change something.

use std::fs;
use std::path::Path;
use std::process::Command;
use tenure_sim::mutants::{patches, root};

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
    let mut core = String::new();
    sources(&root().join("core/src"), &mut core);
    for (name, path) in patches().expect("the mutants are there") {
        let patch = fs::read_to_string(path).expect("a patch is text");
        let head = patch.lines().next().expect("a patch is not empty");
        if let Some(test) = head.strip_prefix("test: ") {
            assert!(core.contains(&format!("fn {test}()")), "{name}: no {test}");
        }
    }
}
