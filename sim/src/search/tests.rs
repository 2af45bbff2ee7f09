use super::*;

#[test]
fn one_ballot_is_searched_to_its_end() {
    let bounds = Bounds {
        ballots: 1,
        crashes: 0,
        time: Duration::from_secs(120),
        ..Bounds::default()
    };
    let found = search(&bounds);
    assert!(found.broken.is_none(), "{:?}", found.broken);
    assert!(found.is_whole, "{} states", found.states);
    assert!(found.states > 100, "{} states", found.states);
}

/// Words that are dead hide nothing: without them there are fewer states, and as many situations.
#[test]
fn what_is_forgotten_changes_no_situation() {
    let bounds = Bounds {
        ballots: 1,
        crashes: 0,
        time: Duration::from_secs(120),
        ..Bounds::default()
    };
    let few = search(&bounds);
    let all = search(&Bounds {
        remembers: true,
        ..bounds
    });
    assert!(few.is_whole && all.is_whole, "{} states", all.states);
    assert!(few.states < all.states, "{} states", few.states);
    assert_eq!(few.situations, all.situations);
}

#[test]
fn a_lie_is_found_out_by_a_shortest_schedule() {
    for (lie, steps) in [(Lie::Reports, 7), (Lie::Bases, 8)] {
        let bounds = Bounds {
            crashes: 0,
            lie: Some(lie),
            time: Duration::from_secs(120),
            ..Bounds::default()
        };
        let (law, schedule) = search(&bounds).broken.expect("the lie is found out");
        assert!(
            law.starts_with("a later ballot proposes what is chosen"),
            "{law}"
        );
        assert_eq!(schedule.len(), steps + 1, "{schedule:#?}");
    }
}

/// An epoch ends where its stop-sign is chosen: a candidate that does not hear of the sign goes on above
/// it, or in its place.
#[test]
fn a_hidden_stop_sign_is_found_out() {
    let bounds = Bounds {
        crashes: 0,
        signs: 1,
        lie: Some(Lie::Signs),
        time: Duration::from_secs(120),
        ..Bounds::default()
    };
    let (law, schedule) = search(&bounds).broken.expect("the lie is found out");
    assert!(
        law.starts_with("a later ballot proposes what is chosen"),
        "{law}"
    );
    assert_eq!(schedule.len(), 11, "{schedule:#?}");
}

#[test]
fn a_schedule_is_told_in_its_order() {
    let bounds = Bounds::default();
    let stands = Step {
        what: What::Stand(1),
        crash_after: None,
    };
    let dies = Step {
        what: What::Nothing(0),
        crash_after: Some(0),
    };
    let words = told(&bounds, &[stands, dies]);
    let expected = [
        "2 stands",
        "1 does nothing; crashes after 0 of what it stores",
    ];
    assert_eq!(words, expected);
}
