use super::*;
use alloc::string::ToString;
use alloc::vec;
use core::cmp::Ordering;
use proptest::prelude::*;

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| std::format!("{byte:02x}"))
        .collect()
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<u16>().prop_map(Value::U16),
        any::<u32>().prop_map(Value::U32),
        any::<u64>().prop_map(Value::U64),
        any::<i8>().prop_map(Value::I8),
        any::<i16>().prop_map(Value::I16),
        any::<i32>().prop_map(Value::I32),
        any::<i64>().prop_map(Value::I64),
        any::<f32>()
            .prop_filter("a number", |x| !x.is_nan())
            .prop_map(|x| Value::F32(x + 0.0)),
        any::<f64>()
            .prop_filter("a number", |x| !x.is_nan())
            .prop_map(|x| Value::F64(x + 0.0)),
        "[a\0b\u{ff}]{0,3}".prop_map(Value::String),
        prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(254), Just(255)], 0..4)
            .prop_map(Value::Bytes),
    ]
}

type Pairs = Vec<(String, Value)>;

fn pairs() -> impl Strategy<Value = Pairs> {
    prop::collection::btree_map("[a-b\0é]{1,3}", value(), 1..4)
        .prop_map(|map| map.into_iter().collect())
}

fn key_of(pairs: &Pairs) -> Key {
    let borrowed: Vec<(&str, Value)> = pairs
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    Key::from_pairs(&borrowed).unwrap()
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::U8(_) => 1,
        Value::U16(_) => 2,
        Value::U32(_) => 3,
        Value::U64(_) => 4,
        Value::I8(_) => 5,
        Value::I16(_) => 6,
        Value::I32(_) => 7,
        Value::I64(_) => 8,
        Value::F32(_) => 9,
        Value::F64(_) => 10,
        Value::String(_) => 11,
        Value::Bytes(_) => 12,
    }
}

fn compare_values(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::U8(a), Value::U8(b)) => a.cmp(b),
        (Value::U16(a), Value::U16(b)) => a.cmp(b),
        (Value::U32(a), Value::U32(b)) => a.cmp(b),
        (Value::U64(a), Value::U64(b)) => a.cmp(b),
        (Value::I8(a), Value::I8(b)) => a.cmp(b),
        (Value::I16(a), Value::I16(b)) => a.cmp(b),
        (Value::I32(a), Value::I32(b)) => a.cmp(b),
        (Value::I64(a), Value::I64(b)) => a.cmp(b),
        (Value::F32(a), Value::F32(b)) => a.partial_cmp(b).unwrap(),
        (Value::F64(a), Value::F64(b)) => a.partial_cmp(b).unwrap(),
        (Value::String(a), Value::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)),
    }
}

fn compare(a: &Pairs, b: &Pairs) -> Ordering {
    let mut both = a.iter().zip(b);
    both.find_map(|(a, b)| {
        let order =
            a.0.as_bytes()
                .cmp(b.0.as_bytes())
                .then_with(|| compare_values(&a.1, &b.1));
        (order != Ordering::Equal).then_some(order)
    })
    .unwrap_or_else(|| a.len().cmp(&b.len()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_key_gives_its_pairs_back(pairs in pairs()) {
        let key = key_of(&pairs);
        prop_assert_eq!(key.pairs(), pairs);
        prop_assert_eq!(Key::parse(key.bytes().clone()).unwrap(), key.clone());
        prop_assert_eq!(Key::from_text(&key.to_string()).unwrap(), key);
    }

    #[test]
    fn bytes_sort_as_keys_do(a in pairs(), b in pairs()) {
        prop_assert_eq!(key_of(&a).cmp(&key_of(&b)), compare(&a, &b));
    }

    #[test]
    fn the_order_of_the_pairs_given_is_of_no_matter(pairs in pairs()) {
        let mut backwards: Pairs = pairs.clone();
        backwards.reverse();
        prop_assert_eq!(key_of(&backwards), key_of(&pairs));
    }

    /// Whatever passes is the bytes that the builder makes: there is one form.
    #[test]
    fn only_the_canonical_form_passes(pairs in pairs(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = key_of(&pairs).as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(key) = Key::parse(bytes.clone().into()) {
            let again = match key.path() {
                Some(path) => Key::from_path(&path).unwrap(),
                None => key_of(&key.pairs()),
            };
            prop_assert_eq!(again.as_bytes(), &bytes[..]);
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(key) = Key::parse(bytes.into()) {
            prop_assert!(!key.pairs().is_empty());
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[{}\"\\\\a=,0-9uif x]{0,20}") {
        if let Ok(key) = Key::from_text(&text) {
            prop_assert_eq!(Key::from_text(&key.to_string()).unwrap(), key);
        }
    }

    #[test]
    fn a_path_is_shown_as_it_is_or_in_quotes(path in "\\PC{1,20}|[{\"\n\\\\]{1,4}") {
        let key = Key::from_path(&path).unwrap();
        prop_assert_eq!(key.path().unwrap(), path.clone());
        prop_assert_eq!(Key::from_text(&key.to_string()).unwrap(), key.clone());
        prop_assert_eq!(Key::parse(key.bytes().clone()).unwrap(), key);
    }
}

#[test]
fn golden_bytes() {
    let path = Key::from_path("deploy/prod").unwrap();
    assert_eq!(
        hex(path.as_bytes()),
        "5f70617468000b6465706c6f792f70726f6400"
    );
    let pairs = Key::from_pairs(&[
        ("shard", Value::U16(513)),
        ("at", Value::I32(-2)),
        ("load", Value::F64(-1.5)),
        ("half", Value::F32(0.5)),
        ("env", Value::String("a\0b".into())),
        ("raw", Value::Bytes(vec![0, 255])),
    ])
    .unwrap();
    assert_eq!(
        hex(pairs.as_bytes()),
        "617400077ffffffe656e76000b6100ff620068616c660009bf0000006c6f6164000a4007ffffffffffff\
         726177000c00ffff00736861726400020201"
    );
    assert_eq!(
        pairs.to_string(),
        "{at=-2i32, env=\"a\\u{0}b\", half=0.5f32, load=-1.5f64, raw=0x00ff, shard=513u16}"
    );
    assert_eq!(
        hex(&lock_id(ZoneId::new(0), &path).0),
        "f7954294547fe6f5718e4111c0fd908a"
    );
    assert_eq!(
        hex(&lock_id(ZoneId::new(1), &path).0),
        "86ceef2654ea089b7af02ee3f8615452"
    );
}

#[test]
fn what_is_no_key_is_refused_by_name() {
    let one = |name: &'static str, value| Key::from_pairs(&[(name, value)]).unwrap_err();
    assert_eq!(Key::from_pairs(&[]).unwrap_err(), KeyError::Empty);
    assert_eq!(Key::from_path("").unwrap_err(), KeyError::Empty);
    assert_eq!(one("", Value::U8(1)), KeyError::NameEmpty);
    assert_eq!(one("_path", Value::String("x".into())), KeyError::Reserved);
    assert_eq!(one("x", Value::F32(f32::NAN)), KeyError::NotANumber);
    assert_eq!(one("x", Value::F64(-f64::NAN)), KeyError::NotANumber);
    assert_eq!(
        Key::from_pairs(&[("x", Value::U8(1)), ("x", Value::U8(2))]).unwrap_err(),
        KeyError::Duplicate
    );
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    assert_eq!(
        Key::from_path(&long).unwrap_err(),
        KeyError::NameTooLong { len: 1025 }
    );
    assert_eq!(
        Key::from_pairs(&[(&long, Value::U8(1))]).unwrap_err(),
        KeyError::NameTooLong { len: 1025 }
    );
    let value = Value::Bytes(vec![0; VALUE_BYTES_MAX + 1]);
    assert_eq!(one("x", value), KeyError::ValueTooLong { len: 4097 });
    let names: Vec<String> = (0..65).map(|n| n.to_string()).collect();
    let many: Vec<(&str, Value)> = names.iter().map(|n| (n.as_str(), Value::U8(0))).collect();
    assert_eq!(
        Key::from_pairs(&many).unwrap_err(),
        KeyError::TooManyPairs { count: 65 }
    );
    let big: Vec<(&str, Value)> = many
        .iter()
        .take(5)
        .map(|(name, _)| (*name, Value::Bytes(vec![1; 4000])))
        .collect();
    assert!(matches!(
        Key::from_pairs(&big).unwrap_err(),
        KeyError::TooLong { .. }
    ));
}

#[test]
fn zero_has_one_form() {
    let of = |value| Key::from_pairs(&[("x", value)]).unwrap();
    assert_eq!(of(Value::F64(-0.0)), of(Value::F64(0.0)));
    assert_eq!(of(Value::F32(-0.0)), of(Value::F32(0.0)));
    let parse = |tail: &[u8]| Key::parse([b"x\0".as_slice(), tail].concat().into());
    assert!(parse(&[10, 0x80, 0, 0, 0, 0, 0, 0, 0]).is_ok(), "+0");
    assert!(
        parse(&[10, 0x7f, 255, 255, 255, 255, 255, 255, 255]).is_err(),
        "-0"
    );
    assert!(
        parse(&[10, 255, 255, 255, 255, 255, 255, 255, 255]).is_err(),
        "NaN"
    );
    assert!(parse(&[9, 0x7f, 255, 255, 255]).is_err(), "-0");
    assert!(parse(&[9, 0, 0, 0, 0]).is_err(), "NaN");
}

#[test]
fn what_is_not_canonical_says_where() {
    let wrong = |bytes: &[u8]| Key::parse(Bytes::copy_from_slice(bytes)).unwrap_err();
    assert_eq!(wrong(b""), KeyError::Empty);
    let at = |offset, expected| KeyError::NotCanonical { offset, expected };
    assert_eq!(wrong(b"a"), at(1, "the zero that ends it"));
    assert_eq!(wrong(b"\0\x01\x01"), at(0, "a name"));
    assert_eq!(wrong(b"a\0\x0d\x01"), at(2, "the tag of a type"));
    assert_eq!(wrong(b"a\0\x02\x01"), at(4, "the rest of a pair"));
    assert_eq!(
        wrong(b"b\0\x01\x01a\0\x01\x01"),
        at(4, "a name after the one before")
    );
    assert_eq!(
        wrong(b"a\0\x01\x01a\0\x01\x02"),
        at(4, "a name after the one before")
    );
    assert_eq!(wrong(b"\xc3\0\x01\x01"), at(0, "UTF-8"));
    assert_eq!(wrong(b"_path\0\x0b\0"), KeyError::Empty);
    assert_eq!(wrong(b"_path\0\x01\x01"), KeyError::Reserved);
    assert_eq!(wrong(b"_other\0\x0bx\0"), KeyError::Reserved);
    assert_eq!(wrong(b"_path\0\x0bx\0a\0\x01\x01"), KeyError::Reserved);
}

#[test]
fn a_prefix_of_paths_is_a_prefix_of_bytes() {
    let key = Key::from_path("deploy/prod").unwrap();
    assert!(key.as_bytes().starts_with(&path_prefix("deploy/")));
    assert!(key.as_bytes().starts_with(&path_prefix("")));
    assert!(!key.as_bytes().starts_with(&path_prefix("deploy/x")));
}
