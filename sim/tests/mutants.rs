//! Each mutant is a patch against today's source: it must still apply, and change something.

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
