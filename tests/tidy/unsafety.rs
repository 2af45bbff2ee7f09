//! `unsafe` lives in one file, with its proof beside it.

use crate::source;

/// The one file that may: it maps segments of the log.
const ALLOWED: &str = "adapters/disk/src/mapping.rs";

#[test]
fn unsafe_is_only_where_the_log_is_mapped() {
    let mut offences = Vec::new();
    for file in source::all() {
        if file.path == ALLOWED {
            continue;
        }
        for (index, line) in file.text.lines().enumerate() {
            let words = |c: char| !c.is_alphanumeric() && c != '_';
            let code = source::code(line);
            if code.split(words).any(|word| word == "unsafe") || code.contains("(unsafe_code") {
                offences.push(format!("{}:{}: {}", file.path, index + 1, line.trim()));
            }
        }
    }
    assert!(
        offences.is_empty(),
        "only {ALLOWED} may be unsafe:\n{}",
        offences.join("\n")
    );
}
