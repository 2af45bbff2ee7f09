//! Keys in addresses, in JSON, and as cursors.

use crate::fields::{Members, scalar, string};
use crate::problem::Problem;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::value::RawValue;
use std::fmt::Write;
use std::str::FromStr;
use tenure_core::limits::KEY_PAIRS_MAX;
use tenure_core::machine::key::{Key, Value};

/// The key that the rest of a path stands for, as it stands in the request line. A `:` in its last
/// part begins a verb, and is written `%3A` where it belongs to the name.
pub(crate) fn of_path(raw: &str) -> Result<Key, Problem> {
    let last = raw.rsplit('/').next().unwrap_or(raw);
    if let Some((_, verb)) = last.split_once(':') {
        let detail = format!(
            "locks have no verb `:{}`; a `:` that belongs to a name is written %3A",
            verb.chars().take(32).collect::<String>()
        );
        return Err(Problem::not_found(detail));
    }
    let bad = |detail: String| Problem::bad_value("path", detail);
    let text = percent_decode_str(raw).decode_utf8();
    let text = text.map_err(|_| bad("the lock's name is not UTF-8".to_owned()))?;
    Key::from_text(&text).map_err(|error| bad(error.to_string()))
}

/// The key of `{"name": {"type": "string", "value": "x"}, …}`.
pub(crate) fn of_pairs(json: &RawValue) -> Result<Key, Problem> {
    let bad = |detail: String| Problem::bad_value("key_values", detail);
    let Ok(Members(pairs)) = serde_json::from_str(json.get()) else {
        let shape = r#"expected {"name": {"type": "string", "value": "x"}, …}"#;
        return Err(bad(shape.to_owned()));
    };
    let mut typed = Vec::with_capacity(pairs.len().min(KEY_PAIRS_MAX));
    for (name, pair) in &pairs {
        let value = of_pair(pair).map_err(|what| {
            let field = format!("key_values.{}", name.chars().take(64).collect::<String>());
            Problem::bad_value(field, what)
        })?;
        typed.push((&**name, value));
    }
    Key::from_pairs(&typed).map_err(|error| bad(error.to_string()))
}

fn of_pair(pair: &RawValue) -> Result<Value, String> {
    let members = serde_json::from_str(pair.get()).ok();
    let members = members.map(|Members(members)| members).unwrap_or_default();
    let member = |wanted: &str| {
        let mut members = members.iter();
        members
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| *value)
    };
    match (member("type").and_then(string), member("value")) {
        (Some(kind), Some(value)) if members.len() == 2 => typed(&kind, value),
        _ => Err(r#"expected {"type": "string", "value": "x"}"#.to_owned()),
    }
}

fn typed(kind: &str, value: &RawValue) -> Result<Value, String> {
    Ok(match kind {
        "u8" => Value::U8(number(kind, value)?),
        "u16" => Value::U16(number(kind, value)?),
        "u32" => Value::U32(number(kind, value)?),
        "u64" => Value::U64(number(kind, value)?),
        "i8" => Value::I8(number(kind, value)?),
        "i16" => Value::I16(number(kind, value)?),
        "i32" => Value::I32(number(kind, value)?),
        "i64" => Value::I64(number(kind, value)?),
        "f32" => Value::F32(number(kind, value)?),
        "f64" => Value::F64(number(kind, value)?),
        "string" => Value::String(string(value).ok_or("expected a string")?),
        "bytes" => {
            let hex = string(value).and_then(|hex| from_hex(&hex));
            Value::Bytes(hex.ok_or("expected a string of hex digits")?)
        }
        _ => {
            let types = "u8 u16 u32 u64 i8 i16 i32 i64 f32 f64 string bytes";
            return Err(format!("its type is not one of {types}"));
        }
    })
}

/// A number, or its digits as a string: 64 bits do not fit the numbers of every JSON library.
fn number<T: FromStr>(kind: &str, value: &RawValue) -> Result<T, String> {
    let parsed = scalar(value).and_then(|digits| digits.parse().ok());
    parsed.ok_or_else(|| format!("expected a number that fits {kind}"))
}

/// Where a list goes on after `key`, as one opaque word.
pub(crate) fn cursor(key: &Key) -> String {
    let bytes = key.as_bytes();
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes everything");
    }
    text
}

/// The key that a cursor names.
pub(crate) fn of_cursor(text: &str) -> Result<Key, Problem> {
    let bad = || Problem::bad_value("cursor", "it is not one that this service gave");
    let bytes = from_hex(text).ok_or_else(bad)?;
    Key::parse(Bytes::from(bytes)).map_err(|_| bad())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || !text.len().is_multiple_of(2) {
        return None;
    }
    let byte = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}
