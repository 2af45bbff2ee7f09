use super::*;
use crate::machine::key::Key;
use alloc::string::{String, ToString};

fn sorted(order: &str, keys: &[&str]) -> Vec<String> {
    let order = Order::parse(order).unwrap();
    let mut keys: Vec<Key> = keys
        .iter()
        .map(|key| Key::from_text(key).unwrap())
        .collect();
    keys.sort_by(|a, b| order.compare(a.as_bytes(), b.as_bytes()));
    keys.iter().map(ToString::to_string).collect()
}

const KEYS: [&str; 5] = [
    r#"{env="b", n=1u8}"#,
    r#"{env="a", n=2u8}"#,
    r#"{env="a"}"#,
    "{n=1u16}",
    r#"{env="b", n=3u8}"#,
];

fn at<const N: usize>(places: [usize; N]) -> Vec<String> {
    let key = |at: usize| Key::from_text(KEYS[at]).unwrap().to_string();
    places.map(key).into()
}

#[test]
fn sorted_by_pairs_and_then_by_key() {
    assert_eq!(sorted("", &KEYS), at([2, 1, 0, 4, 3]), "by key");
    assert_eq!(
        sorted("n", &KEYS),
        at([0, 1, 4, 3, 2]),
        "type first, missing last"
    );
    assert_eq!(
        sorted("-n", &KEYS),
        at([3, 4, 1, 0, 2]),
        "missing last, too"
    );
    assert_eq!(sorted("env,-n", &KEYS), at([1, 2, 4, 0, 3]));
    assert_eq!(sorted(" -env , n ", &KEYS), at([0, 4, 1, 2, 3]));
}

#[test]
fn a_shuffle_is_the_same_for_the_same_number() {
    let one = sorted("random(1)", &KEYS);
    assert_eq!(one, sorted("random(1)", &KEYS));
    let others = (2..20).map(|seed| sorted(&alloc::format!("random({seed})"), &KEYS));
    assert!(others.into_iter().any(|other| other != one));
}

#[test]
fn what_is_no_order_is_told_with_its_place() {
    for (text, expected) in [
        (",", "at byte 0: expected a name"),
        ("a,", "at byte 2: expected a name"),
        ("a b", "at byte 2: expected , or the end"),
        (
            "random(x)",
            "at byte 7: expected a number from 0 to 2^64 - 1, and )",
        ),
        ("a,b,c,d,e,f,g,h,i", "at byte 16: at most 8 names"),
    ] {
        let error = Order::parse(text).map(|_| ());
        assert_eq!(
            error.map_err(|error| error.to_string()),
            Err(expected.into()),
            "{text}"
        );
    }
}
