//! The committed corpus, and what is near it, in the time of a test.

use std::fs;
use std::path::Path;
use tenure_fuzz::TARGETS;
use tenure_fuzz::Target;

/// How many bytes of a file are changed, and at how many it is cut: what a debug build does in seconds.
const NEIGHBOURS: usize = 12;

/// The files of a target, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{target}: {error}"));
    let mut found: Vec<_> = files
        .map(|file| {
            let path = file.expect("the folder can be read").path();
            let bytes = fs::read(&path).expect("the file can be read");
            (path.display().to_string(), bytes)
        })
        .collect();
    found.sort();
    found
}

/// Runs an input, and says which it was if something does not hold.
fn run(target: Target, name: &str, input: &[u8]) {
    struct Name<'a>(&'a str);
    impl Drop for Name<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("the input was {}", self.0);
            }
        }
    }
    let _named = Name(name);
    (target.run)(input);
}

#[test]
fn every_file_of_the_corpus_holds() {
    for target in TARGETS {
        let files = corpus(target.name);
        assert!(files.len() >= 12, "{} has a corpus", target.name);
        for (name, input) in files {
            run(target, &name, &input);
        }
    }
}

#[test]
fn every_cut_of_the_corpus_holds() {
    for target in TARGETS {
        for (name, input) in corpus(target.name) {
            let step = 1 + input.len() / NEIGHBOURS;
            for len in (0..input.len()).step_by(step) {
                run(target, &format!("{name}, cut at {len}"), &input[..len]);
            }
        }
    }
}

#[test]
fn every_changed_byte_of_the_corpus_holds() {
    for target in TARGETS {
        for (name, input) in corpus(target.name) {
            let step = 1 + input.len() / NEIGHBOURS;
            for at in (0..input.len()).step_by(step) {
                for change in [0x01, 0x80] {
                    let mut input = input.clone();
                    input[at] ^= change;
                    run(target, &format!("{name}, byte {at} ^ {change}"), &input);
                }
            }
        }
    }
}

#[test]
fn every_target_can_be_searched() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer/Cargo.toml");
    let text = fs::read_to_string(manifest).expect("the search has a manifest");
    let listed = text.lines().filter_map(|line| line.strip_prefix("name = "));
    let listed: Vec<_> = listed.map(|name| name.trim_matches('"')).skip(1).collect();
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(listed, names, "a libFuzzer target for each of ours");
}
