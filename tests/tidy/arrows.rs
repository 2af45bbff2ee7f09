//! Which crate may name which (`docs/decisions/0041-arrows.md`), and who knows the simulator.

use crate::source;

/// A folder of the workspace, and the crates of ours that it may name.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("adapters/rt", &["core"]),
    ("adapters/disk", &["core"]),
    ("adapters/host", &["core", "rt"]),
    ("adapters/tcp", &["core", "rt", "host"]),
    ("adapters/http", &["core", "rt", "host"]),
    ("adapters/client", &["core", "rt"]),
    ("adapters/service", &["core", "rt", "client", "http"]),
    (
        "adapters/server",
        &["core", "rt", "host", "disk", "tcp", "http"],
    ),
    ("adapters/cli", &["core", "rt", "server", "client"]),
    ("sim", &["core", "rt", "host", "tcp", "http", "client"]),
    ("fuzz", &["core"]),
    ("fuzz/libfuzzer", &["fuzz"]),
    (
        "tests",
        &["core", "rt", "server", "client", "service", "cli", "fuzz"],
    ),
];

/// The crates that may know whether they run under the simulator.
const SIMULATED: &[&str] = &["adapters/rt", "sim"];

#[test]
fn crates_name_only_what_the_arrows_allow() {
    let mut offences = Vec::new();
    for (folder, manifest) in source::manifests() {
        let entry = ARROWS.iter().find(|(known, _)| *known == folder);
        let Some((_, allowed)) = entry else {
            offences.push(format!("{folder} is new: say in ARROWS what it may name"));
            continue;
        };
        for name in dependencies(&manifest) {
            let Some(ours) = name.strip_prefix("tenure-") else {
                continue;
            };
            if !allowed.contains(&ours) {
                offences.push(format!("{folder} -> {ours}"));
            }
        }
    }
    assert!(
        offences.is_empty(),
        "against the arrows:\n{}",
        offences.join("\n")
    );
}

#[test]
fn only_rt_and_sim_know_the_simulator() {
    let mut offences = Vec::new();
    for (folder, manifest) in source::manifests() {
        if SIMULATED.contains(&folder.as_str()) {
            continue;
        }
        for name in dependencies(&manifest) {
            if name == "tokio" || name.contains("madsim") {
                offences.push(format!("{folder} depends on {name}: go through rt"));
            }
        }
    }
    for file in source::all() {
        let known = SIMULATED.iter().any(|folder| file.path.starts_with(folder));
        for (index, line) in file.text.lines().enumerate() {
            let code = source::code(line);
            if !known && (code.contains("madsim") || code.contains("tokio::")) {
                offences.push(format!("{}:{}: {}", file.path, index + 1, line.trim()));
            }
        }
    }
    assert!(
        offences.is_empty(),
        "only rt and sim know what runs below:\n{}",
        offences.join("\n")
    );
}

/// The names in all dependency tables of a manifest, those for one target too.
fn dependencies(manifest: &toml::Table) -> Vec<&str> {
    let mut found = Vec::new();
    for (key, value) in manifest {
        let Some(table) = value.as_table() else {
            continue;
        };
        if key.ends_with("dependencies") {
            found.extend(table.keys().map(String::as_str));
        } else if key == "target" {
            let targets = table.values().filter_map(toml::Value::as_table);
            found.extend(targets.flat_map(dependencies));
        }
    }
    found
}
