//! What a request says beside its address: a query, a form or a JSON object, read alike.

use crate::problem::Problem;
use axum::body::{Body, HttpBody, to_bytes};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use bytes::Bytes;
use http_body_util::LengthLimitError;
use percent_encoding::percent_decode;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;
use tenure_rt::clock;

/// Bytes of one body: the largest set of pairs, written as hex digits in JSON.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 10;
/// How long a caller may take to send its body.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// The value of one field.
pub(crate) enum Given<'a> {
    /// From a query, a form or a header.
    Text(Cow<'a, str>),
    /// From JSON, as it stands there.
    Json(&'a RawValue),
}

impl<'a> Given<'a> {
    /// A string; from JSON also a number or a boolean, as its text.
    pub(crate) fn text(self, field: &'static str) -> Result<Cow<'a, str>, Problem> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Json(raw) => {
                scalar(raw).ok_or_else(|| Problem::bad_value(field, "expected a string"))
            }
        }
    }
}

/// The text of a JSON string, number or boolean.
pub(crate) fn scalar(raw: &RawValue) -> Option<Cow<'_, str>> {
    match raw.get().as_bytes().first()? {
        b'"' => string(raw).map(Cow::Owned),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(raw.get())),
    }
}

/// The text of a JSON string.
pub(crate) fn string(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// The members of a JSON object in their order, doubles too: a map would drop all but the last.
pub(crate) struct Members<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members_;
        impl<'de> Visitor<'de> for Members_ {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &RawValue>()? {
                    members.push((Cow::Owned(member.0), member.1));
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Members_)
    }
}

/// Reads the body, if there is one.
pub(crate) async fn read_body(body: Body) -> Result<Bytes, Problem> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let too_long = || {
        let detail = format!("a body has at most {BODY_BYTES_MAX} bytes");
        Problem::too_long(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > BODY_BYTES_MAX {
        return Err(too_long());
    }
    match clock::timeout(BODY_PATIENCE, to_bytes(body, BODY_BYTES_MAX)).await {
        Some(Ok(bytes)) => Ok(bytes),
        Some(Err(error)) if is_over_limit(&error) => Err(too_long()),
        Some(Err(_)) | None => Err(Problem::bad_value("body", "it did not come as announced")),
    }
}

fn is_over_limit(error: &axum::Error) -> bool {
    let source = std::error::Error::source(error);
    source.is_some_and(|source| source.is::<LengthLimitError>())
}

/// Calls `set` with each field of the query, and of the body.
pub(crate) fn each(
    head: &Parts,
    body: &[u8],
    mut set: impl FnMut(&str, Given<'_>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    if let Some(query) = head.uri.query() {
        each_pair(query.as_bytes(), "query", &mut set)?;
    }
    match body.trim_ascii_start().first() {
        None => Ok(()),
        // No form begins like this, so JSON needs no header: `curl -d '{…}'` says it is a form.
        Some(b'{') => each_member(body, &mut set),
        Some(_) => match media_type(head) {
            "application/json" => each_member(body, &mut set),
            "application/x-www-form-urlencoded" => each_pair(body, "body", &mut set),
            _ => Err(Problem::media_type()),
        },
    }
}

fn media_type(head: &Parts) -> &str {
    let kind = head.headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim()
}

fn each_member(
    body: &[u8],
    set: &mut impl FnMut(&str, Given<'_>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let Members(members) = serde_json::from_slice(body)
        .map_err(|error| Problem::bad_value("body", format!("no JSON object: {error}")))?;
    for (name, value) in members {
        set(&name, Given::Json(value))?;
    }
    Ok(())
}

fn each_pair(
    text: &[u8],
    place: &'static str,
    set: &mut impl FnMut(&str, Given<'_>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    for pair in text.trim_ascii_end().split(|byte| *byte == b'&') {
        if pair.is_empty() {
            continue;
        }
        let equals = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = pair.split_at(equals.unwrap_or(pair.len()));
        let value = value.strip_prefix(b"=").unwrap_or_default();
        let plain = |part| {
            unescape(part).ok_or_else(|| Problem::bad_value(place, "a part of it is not UTF-8"))
        };
        let (name, value) = (plain(name)?, plain(value)?);
        set(&name, Given::Text(value))?;
    }
    Ok(())
}

/// Undoes the escapes of a form; none if what comes out is not UTF-8.
fn unescape(part: &[u8]) -> Option<Cow<'_, str>> {
    if !part.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return std::str::from_utf8(part).ok().map(Cow::Borrowed);
    }
    let spaced: Vec<u8> = part
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    let bytes: Vec<u8> = percent_decode(&spaced).collect();
    String::from_utf8(bytes).ok().map(Cow::Owned)
}
