//! The book of Multi-Paxos says what the code does, and no page of it breaks a law.

use tenure_sim::book::{BUGS, PAGES, Page, Verdict, compare};

fn all() -> impl Iterator<Item = &'static Page> {
    PAGES.iter().chain(BUGS)
}

#[test]
fn every_page_is_played_as_it_stands() {
    for page in all() {
        let verdict = compare(page).expect("the page has its file");
        assert_eq!(verdict, Verdict::Same, "{}", page.name);
    }
}

#[test]
fn no_page_breaks_a_law() {
    for page in all() {
        let played = page.play();
        assert!(!played.contains("BROKEN"), "{}:\n{played}", page.name);
        assert!(played.lines().count() > 10, "{} tells something", page.name);
    }
}

#[test]
fn every_file_has_its_page() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/transcripts");
    for entry in std::fs::read_dir(folder).expect("the book is there") {
        let name = entry.expect("it can be read").file_name();
        let name = name.to_string_lossy();
        let known = all().any(|page| *name == format!("{}.txt", page.name));
        assert!(known, "{name} has no script");
    }
}
