//! No file is half merged. In a page of the docs nothing else would notice.

use crate::source;

#[test]
fn no_page_holds_two_versions_of_itself() {
    let mut offences = Vec::new();
    for page in source::pages() {
        for (number, line) in page.text.lines().enumerate() {
            if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
                offences.push(format!("{}:{}", page.path, number + 1));
            }
        }
    }
    assert!(offences.is_empty(), "merge these:\n{}", offences.join("\n"));
}
