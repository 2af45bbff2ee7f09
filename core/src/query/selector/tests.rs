use super::*;
use crate::machine::key::{Key, Value, tag_of};
use alloc::format;
use alloc::string::{String, ToString};
use proptest::prelude::*;

fn selector(text: &str) -> Selector {
    match Selector::parse(text) {
        Ok(selector) => selector,
        Err(error) => panic!("{text}: {error}"),
    }
}

fn key(text: &str) -> Key {
    Key::from_text(text).unwrap()
}

fn matches(condition: &str, text: &str) -> bool {
    selector(condition).matches(key(text).as_bytes())
}

#[test]
fn pairs_are_compared_within_their_type() {
    let shard = r#"{env="prod", shard=5u8}"#;
    for (condition, expected) in [
        ("shard = 5u8", true),
        ("shard=6u8", false),
        ("shard>=5u8", true),
        ("shard > 5u8", false),
        ("shard<=4u8", false),
        ("shard<6u8", true),
        ("shard!=6u8", true),
        ("shard!=5u8", false),
        // Another type is neither more nor less, and not equal.
        ("shard<6u16", false),
        ("shard>1u16", false),
        ("shard=5u16", false),
        ("shard!=5u16", true),
        // What is not there is nothing.
        ("zone!=5u8", false),
        ("zone=any", false),
        ("shard=any", true),
        (r#"env >= "p""#, true),
        (r#"env < "prod""#, false),
        (r#"env < "prod1""#, true),
        ("shard:u8", true),
        ("shard:u16..u64", false),
        ("shard:u8..u64", true),
        ("env:u8..f64", false),
        ("env:string", true),
        ("_pairs=2", true),
        ("_pairs>=3", false),
        ("_path=any", false),
    ] {
        assert_eq!(matches(condition, shard), expected, "{condition}");
    }
}

#[test]
fn numbers_below_zero_are_less() {
    assert!(matches("n < 0i8", "{n=-1i8}"));
    assert!(matches("n < -1.5f64", "{n=-2.0f64}"));
    assert!(matches("n > -1.5f64", "{n=0.5f64}"));
}

#[test]
fn a_path_is_a_pair_that_does_not_count() {
    assert!(matches(r#"_path = "deploy/prod""#, "deploy/prod"));
    assert!(matches(
        r#"_path >= "deploy/" and _path < "deploy0""#,
        "deploy/prod"
    ));
    assert!(matches("_pairs = 0", "deploy/prod"));
    assert!(!matches("_pairs >= 1", "deploy/prod"));
}

#[test]
fn and_binds_more_tightly_than_or() {
    let is = |condition| matches(condition, "{a=1u8, b=2u8}");
    assert!(is("a=1u8 or a=9u8 and b=9u8"));
    assert!(!is("(a=1u8 or a=9u8) and b=9u8"));
    assert!(is("a=9u8 and b=9u8 or b=2u8"));
    assert!(is("a=9u8 or\n\ta=1u8\nand b=2u8"), "any white space");
    assert!(is("((a=1u8)) and (b=2u8 or c=any)"));
}

#[test]
fn names_may_be_words_and_may_be_quoted() {
    assert!(matches("and = 1u8 and or = 2u8", "{and=1u8, or=2u8}"));
    assert!(matches(r#""a:b c" = 1u8"#, r#"{"a:b c"=1u8}"#));
    assert!(matches("order = 1u8", "{order=1u8}"));
    assert!(matches("a = 1u8 and orange = 2u8", "{a=1u8, orange=2u8}"));
}

#[test]
fn what_is_no_selector_is_told_with_its_place() {
    for (text, expected) in [
        ("", "at byte 0: expected a name"),
        ("a", "at byte 1: expected = != < <= > >= or :"),
        (
            "a=",
            "at byte 2: expected \"text\", 0xHEX, or a number with its type, as 5u8 or -1.5f64",
        ),
        ("a=5u8 b=6u8", "at byte 6: expected and, or, or the end"),
        ("(a=5u8", "at byte 6: expected and, or, or )"),
        ("a=5u8)", "at byte 5: expected and, or, or the end"),
        ("a=5u8 and", "at byte 9: expected a name"),
        ("a:u7", "at byte 2: expected a type, such as u8 or string"),
        ("_pairs=x", "at byte 7: expected a number of pairs"),
        (
            "_own=1u8",
            "at byte 0: names that begin with _ are reserved",
        ),
        ("a=NaNf64", "at byte 2: a value is not a number"),
        (r#"""=1u8"#, "at byte 0: the name of a pair is not empty"),
    ] {
        let error = Selector::parse(text).map(|_| ());
        assert_eq!(
            error.map_err(|error| error.to_string()),
            Err(expected.into()),
            "{text}"
        );
    }
}

#[test]
fn limits_are_refusals() {
    let deep = |depth| format!("{}a=1u8{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Selector::parse(&deep(SELECTOR_DEPTH_MAX)).is_ok());
    let offset = SELECTOR_DEPTH_MAX;
    let too_deep = Err(SelectorError::TooDeep { offset });
    assert_eq!(Selector::parse(&deep(1_000)), too_deep);
    let terms = |count| ["a=1u8"].repeat(count).join(" or ");
    assert!(Selector::parse(&terms(SELECTOR_TERMS_MAX)).is_ok());
    let offset = terms(SELECTOR_TERMS_MAX).len() + " or ".len();
    let too_many = Err(SelectorError::TooManyTerms { offset });
    assert_eq!(Selector::parse(&terms(SELECTOR_TERMS_MAX + 1)), too_many);
    let len = SELECTOR_BYTES_MAX + 1;
    let too_long = Err(SelectorError::TooLong { len });
    assert_eq!(Selector::parse(&"x".repeat(len)), too_long);
}

/// A condition, its text, and what it says of pairs when one goes through them by hand.
#[derive(Clone, Debug)]
enum Naive {
    Compare(String, &'static str, Value),
    Types(String, &'static str, &'static str),
    Pairs(&'static str, usize),
    Any(Vec<Naive>),
    All(Vec<Naive>),
}

fn holds<T: PartialOrd>(sign: &str, a: &T, b: &T) -> bool {
    match sign {
        "=" => a == b,
        "!=" => a != b,
        "<" => a < b,
        "<=" => a <= b,
        ">" => a > b,
        _ => a >= b,
    }
}

fn same_type(sign: &str, a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::U8(a), Value::U8(b)) => holds(sign, a, b),
        (Value::I16(a), Value::I16(b)) => holds(sign, a, b),
        (Value::F64(a), Value::F64(b)) => holds(sign, a, b),
        (Value::String(a), Value::String(b)) => holds(sign, a, b),
        (Value::Bytes(a), Value::Bytes(b)) => holds(sign, a, b),
        _ => sign == "!=",
    }
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::U8(_) => "u8",
        Value::I16(_) => "i16",
        Value::F64(_) => "f64",
        Value::String(_) => "string",
        _ => "bytes",
    }
}

impl Naive {
    fn text(&self) -> String {
        let list = |nodes: &[Self], word| {
            let texts: Vec<String> = nodes.iter().map(Self::text).collect();
            format!("({})", texts.join(word))
        };
        match self {
            Self::Compare(name, sign, value) => {
                let pair = Key::from_pairs(&[(name, value.clone())])
                    .unwrap()
                    .to_string();
                let (_, value) = pair.split_once('=').unwrap();
                format!("{name} {sign} {}", value.strip_suffix('}').unwrap())
            }
            Self::Types(name, from, to) => format!("{name}:{from}..{to}"),
            Self::Pairs(sign, count) => format!("_pairs {sign} {count}"),
            Self::Any(nodes) => list(nodes, " or "),
            Self::All(nodes) => list(nodes, " and "),
        }
    }

    fn says(&self, pairs: &[(String, Value)]) -> bool {
        let named = |name: &str| pairs.iter().find(|(known, _)| known == name);
        match self {
            Self::Compare(name, sign, value) => {
                named(name).is_some_and(|(_, found)| same_type(sign, found, value))
            }
            Self::Types(name, from, to) => named(name).is_some_and(|(_, found)| {
                let tag = |name| tag_of(name).unwrap();
                (tag(from)..=tag(to)).contains(&tag(kind(found)))
            }),
            Self::Pairs(sign, count) => holds(sign, &pairs.len(), count),
            Self::Any(nodes) => nodes.iter().any(|node| node.says(pairs)),
            Self::All(nodes) => nodes.iter().all(|node| node.says(pairs)),
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0..3u8).prop_map(Value::U8),
        (-2..2i16).prop_map(Value::I16),
        (-2..2i8).prop_map(|number| Value::F64(f64::from(number) / 2.0)),
        "[a\u{0}b]{0,2}".prop_map(Value::String),
        prop::collection::vec(0..2u8, 0..3).prop_map(Value::Bytes),
    ]
}

fn sign() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["=", "!=", "<", "<=", ">", ">="][..])
}

fn condition() -> impl Strategy<Value = Naive> {
    let name = || "[abc]".prop_map(String::from);
    let kinds = || prop::sample::select(&["u8", "i16", "f64", "string", "bytes"][..]);
    let leaf = prop_oneof![
        4 => (name(), sign(), value()).prop_map(|(name, sign, value)| Naive::Compare(name, sign, value)),
        1 => (name(), kinds(), kinds()).prop_map(|(name, from, to)| Naive::Types(name, from, to)),
        1 => (sign(), 0..4usize).prop_map(|(sign, count)| Naive::Pairs(sign, count)),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let some = prop::collection::vec(inner, 1..4);
        prop_oneof![some.clone().prop_map(Naive::Any), some.prop_map(Naive::All)]
    })
}

proptest! {
    #[test]
    fn a_selector_says_what_one_reads_in_the_pairs(
        condition in condition(),
        pairs in prop::collection::btree_map("[abc]", value(), 1..4),
    ) {
        let borrowed: Vec<(&str, Value)> =
            pairs.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let key = Key::from_pairs(&borrowed).unwrap();
        let text = condition.text();
        let selector = selector(&text);
        prop_assert_eq!(selector.to_string(), text);
        prop_assert_eq!(selector.matches(key.as_bytes()), condition.says(&key.pairs()));
    }

    #[test]
    fn no_text_is_too_odd(text in "\\PC{0,40}", more in "[ab()=!<>:. \"orn_0-9u8]{0,40}") {
        drop(Selector::parse(&text));
        drop(Selector::parse(&more));
    }
}
