//! A file is read in one sitting, a function on one screen. Clippy keeps the length of functions
//! (`too_many_lines`); these numbers only ever get smaller.

use crate::source;

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 90;

#[test]
fn files_can_be_read_in_one_sitting() {
    let offences: Vec<String> = source::all()
        .iter()
        .map(|file| (file.text.lines().count(), &file.path))
        .filter(|(lines, _)| *lines > FILE_LINES_MAX)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    assert!(
        offences.is_empty(),
        "over {FILE_LINES_MAX} lines:\n{}",
        offences.join("\n")
    );
}

#[test]
fn functions_fit_on_a_screen() {
    let mut offences = Vec::new();
    for file in source::all() {
        for (start, lines) in functions(&file.text) {
            if lines > FUNCTION_LINES_MAX {
                offences.push(format!("{}:{start}: {lines} lines", file.path));
            }
        }
    }
    assert!(
        offences.is_empty(),
        "over {FUNCTION_LINES_MAX} lines:\n{}",
        offences.join("\n")
    );
}

#[test]
fn the_measure_of_a_function_is_right() {
    let text = "struct A;\n    pub fn long(\n    ) {\n        x\n    }\n\nfn one() {}\n";
    assert_eq!(functions(text), [(2, 4), (7, 1)]);
}

/// Where each function begins, and its lines with comments: rustfmt puts the closing brace below
/// the first letter of the signature.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let rest = line.trim_start();
        let begins = ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn "]
            .into_iter()
            .chain(["async fn ", "pub async fn ", "pub(crate) async fn "])
            .chain(["const fn ", "pub const fn ", "pub(crate) const fn "])
            .any(|word| rest.starts_with(word));
        if !begins {
            continue;
        }
        if rest.ends_with('}') || rest.ends_with(';') {
            found.push((index + 1, 1));
            continue;
        }
        let indent = &line[..line.len() - rest.len()];
        let close = format!("{indent}}}");
        // A declaration in a trait ends without a brace, with `) -> T;`.
        let declared = format!("{indent})");
        let end = lines[index..].iter().position(|line| {
            **line == close || (line.starts_with(&declared) && line.ends_with(';'))
        });
        if let Some(end) = end {
            found.push((index + 1, end + 1));
        }
    }
    found
}
