//! Every crate keeps every ban of the workspace: clippy reads one file, and does not merge two.

use crate::source;

#[test]
fn every_clippy_file_repeats_the_bans_of_the_workspace() {
    let shared = source::read(".clippy.toml");
    for (folder, _) in source::manifests() {
        let path = format!("{folder}/.clippy.toml");
        if !source::root().join(&path).exists() {
            continue;
        }
        let own = source::read(&path);
        for line in shared.lines().map(str::trim) {
            let is_rule = line.contains('=') && !line.starts_with('#') && !line.ends_with('[');
            assert!(!is_rule || own.contains(line), "{path} lacks: {line}");
        }
    }
}

#[test]
fn every_crate_has_the_lints_of_the_workspace() {
    for (folder, manifest) in source::manifests() {
        if manifest.contains_key("workspace") {
            continue;
        }
        let inherits = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"))
            .and_then(toml::Value::as_bool);
        assert_eq!(inherits, Some(true), "{folder}: [lints] workspace = true");
    }
}
