//! Walks the source, in the same order on every machine.

use std::fs;
use std::path::{Path, PathBuf};

/// One Rust file.
pub(crate) struct File {
    /// From the root of the workspace, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of a file of the workspace.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file under `folder` of the workspace. A folder that is not there has none.
pub(crate) fn files(folder: &str) -> Vec<File> {
    let mut found = Vec::new();
    walk(folder, &mut |path| {
        if has_extension(path, "rs") {
            let text = read(path);
            let path = path.to_owned();
            found.push(File { path, text });
        }
    });
    found
}

/// Every Rust file of the workspace but the tidy tests, which quote what they forbid.
pub(crate) fn all() -> Vec<File> {
    let found: Vec<File> = ["core", "adapters", "sim", "fuzz", "tests"]
        .into_iter()
        .flat_map(files)
        .filter(|file| !file.path.starts_with("tests/tidy/"))
        .collect();
    assert!(
        found.len() > 20,
        "the source was moved: only {} files",
        found.len()
    );
    found
}

/// Every page that people read.
pub(crate) fn pages() -> Vec<File> {
    let mut paths = vec!["README.md".to_owned(), "CHANGELOG.md".to_owned()];
    walk("docs", &mut |path| {
        if has_extension(path, "md") {
            paths.push(path.to_owned());
        }
    });
    let page = |path: String| File {
        text: read(&path),
        path,
    };
    paths.into_iter().map(page).collect()
}

/// Every `Cargo.toml` of a crate of the workspace, by its folder.
pub(crate) fn manifests() -> Vec<(String, toml::Table)> {
    let mut found = Vec::new();
    for folder in ["core", "adapters", "sim", "fuzz", "tests"] {
        walk(folder, &mut |path| {
            if let Some(folder) = path.strip_suffix("/Cargo.toml") {
                let parsed = read(path).parse();
                let manifest = parsed.unwrap_or_else(|error| panic!("{path}: {error}"));
                found.push((folder.to_owned(), manifest));
            }
        });
    }
    assert!(found.len() >= 2, "the crates were moved");
    found
}

/// The line without its comment. Good enough: no string here has two slashes and code after them.
pub(crate) fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

fn has_extension(path: &str, wanted: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|extension| extension == wanted)
}

fn walk(folder: &str, see: &mut dyn FnMut(&str)) {
    let Ok(entries) = fs::read_dir(root().join(folder)) else {
        return;
    };
    let mut names: Vec<(bool, String)> = entries
        .map(|entry| {
            let entry = entry.expect("the entry can be read");
            let name = entry.file_name().into_string().expect("names are UTF-8");
            (entry.path().is_dir(), name)
        })
        .filter(|(_, name)| name != "target" && !name.starts_with('.'))
        .collect();
    names.sort();
    for (is_folder, name) in names {
        let path = format!("{folder}/{name}");
        if is_folder {
            walk(&path, see);
        } else {
            see(&path);
        }
    }
}
