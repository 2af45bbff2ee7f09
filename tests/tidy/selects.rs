//! `select!` picks its branches in their order: a random choice is neither fair by plan nor the
//! same in two runs of one seed.

use crate::source;

#[test]
fn every_select_is_biased() {
    let mut offences = Vec::new();
    for file in source::all() {
        for (at, _) in file.text.match_indices("select!") {
            let rest = file.text[at + "select!".len()..].trim_start();
            let body = rest.trim_start_matches(['{', '(']).trim_start();
            if rest.len() != body.len() && !body.starts_with("biased;") {
                let line = file.text[..at].lines().count();
                offences.push(format!("{}:{line}", file.path));
            }
        }
    }
    assert!(
        offences.is_empty(),
        "begin with `biased;`:\n{}",
        offences.join("\n")
    );
}
