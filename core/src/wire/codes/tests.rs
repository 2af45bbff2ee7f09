//! Codes are for ever.

use super::*;

#[test]
fn no_number_and_no_name_stands_for_two_things() {
    for (at, code) in ALL.iter().enumerate() {
        let others = ALL.iter().skip(at + 1);
        for other in others {
            assert_ne!(code.number, other.number, "{}", code.name);
            assert_ne!(code.name, other.name, "{}", code.number);
        }
        assert_eq!(by_number(code.number), Some(*code));
    }
}

#[test]
fn names_are_kebab_case() {
    for code in ALL {
        let kebab = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        assert!(code.name.bytes().all(kebab), "{}", code.name);
    }
}

#[test]
fn what_may_have_happened_never_says_that_nothing_changed() {
    assert_eq!(of_failure(&Failure::Unknown).outcome, Outcome::Unknown);
    assert_eq!(of_refusal(&Refusal::Forgotten).outcome, Outcome::Applied);
    let surely_not = [Failure::Busy, Failure::NoQuorum, Failure::BadProof];
    for failure in surely_not {
        assert_eq!(of_failure(&failure).outcome, Outcome::NotApplied);
    }
}

#[test]
fn an_outcome_reads_back_and_a_new_one_promises_least() {
    for outcome in [Outcome::NotApplied, Outcome::Unknown, Outcome::Applied] {
        assert_eq!(Outcome::from_number(outcome.number().into()), outcome);
    }
    assert_eq!(Outcome::from_number(9), Outcome::Unknown);
}
