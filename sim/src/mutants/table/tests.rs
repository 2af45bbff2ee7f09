use super::*;

fn verdict() -> Verdict {
    Verdict {
        name: "07-expiry-by-local-clock".to_owned(),
        patch: 0x22,
        killed_by: Some("equal logs give equal digests".to_owned()),
        seed: "0x84".to_owned(),
        cpu_s: "0.130".to_owned(),
        scenario: "swarm".to_owned(),
        group: "F".to_owned(),
        commit: "abc".to_owned(),
    }
}

#[test]
fn a_line_is_read_as_it_was_written() {
    let lives = Verdict {
        killed_by: None,
        ..verdict()
    };
    for verdict in [verdict(), lives] {
        assert_eq!(Verdict::parse(&verdict.line()), Some(verdict));
    }
    let old = Verdict::parse("08-x\t0000000000000001\ta law\t0x1\t0.1");
    assert_eq!(old.map(|old| old.commit), Some(String::new()));
}

#[test]
fn the_page_keeps_what_is_around_the_table() {
    let page = format!("before\n{BEGIN}old\n{END}after\n");
    let said = in_words(&page, &[verdict()]).expect("the page has a place");
    assert!(said.starts_with("before\n") && said.ends_with("after\n"));
    assert!(said.contains("| 7 | F | expiry by local clock | equal logs"));
    assert!(!said.contains("old"));
    assert_eq!(in_words(&said, &[verdict()]), Ok(said));
    assert!(in_words("no place", &[]).is_err());
}
