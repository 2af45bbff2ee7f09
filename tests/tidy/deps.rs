//! `core` depends on nothing that could know the time, wait, or throw dice.

use crate::source;
use std::process::Command;

/// What `docs/decisions/0001-dependencies.md` allows, and what those need. All `no_std`.
const ALLOWED: &[&str] = &[
    "block-buffer",
    "bytes",
    "cfg-if",
    "cobs",
    "cpufeatures",
    "crc32fast",
    "crypto-common",
    "digest",
    "generic-array",
    "hashbrown",
    "hmac",
    "libc", // cpufeatures asks it, on some processors, whether they have the SHA instructions
    "postcard",
    "serde",
    "serde_core",
    "sha2",
    "subtle",
    "tenure-core",
    "thiserror",
    "typenum",
    "xxhash-rust",
];

#[test]
fn core_depends_on_the_allowed_crates_only() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", "tenure-core"])
        .args(["--prefix", "none", "--edges", "normal,no-proc-macro"])
        .current_dir(source::root())
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree failed:\n{errors}");
    let text = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(names.contains(&"tenure-core"), "cargo tree shows core");
    let unknown: Vec<_> = names
        .iter()
        .filter(|name| !ALLOWED.contains(name))
        .collect();
    assert!(
        unknown.is_empty(),
        "a new dependency of core needs a decision record: {unknown:?}"
    );
}

#[test]
fn every_dependency_is_pinned_in_one_place() {
    let mut offences = Vec::new();
    for (folder, manifest) in source::manifests() {
        // The fuzz targets for cargo-fuzz are a workspace of their own.
        if manifest.contains_key("workspace") {
            continue;
        }
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(kind).and_then(toml::Value::as_table) else {
                continue;
            };
            for (name, how) in table {
                let inherited = how.get("workspace").and_then(toml::Value::as_bool);
                if inherited != Some(true) {
                    offences.push(format!("{folder}: {name}"));
                }
            }
        }
    }
    assert!(
        offences.is_empty(),
        "move the version to the workspace:\n{}",
        offences.join("\n")
    );
}

#[test]
fn every_dependency_has_its_reason() {
    let workspace: toml::Table = source::read("Cargo.toml").parse().expect("it is TOML");
    let pinned = workspace["workspace"]["dependencies"]
        .as_table()
        .expect("the workspace pins dependencies");
    let mut records = String::new();
    let folder = source::root().join("docs/decisions");
    for entry in std::fs::read_dir(folder).expect("decisions are recorded") {
        let path = entry.expect("the entry can be read").path();
        records.push_str(&std::fs::read_to_string(path).expect("records are UTF-8"));
    }
    let missing: Vec<_> = pinned
        .keys()
        .filter(|name| !name.starts_with("tenure-") && !records.contains(&format!("`{name}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/decisions/ does not say why we need {missing:?}"
    );
}
