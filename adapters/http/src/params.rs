//! The fields of all requests, each with its name, its form and its bounds.

use crate::claims;
use crate::duration::parse_ms;
use crate::fields::{Given, each};
use crate::keys;
use crate::problem::Problem;
use axum::http::HeaderMap;
use axum::http::header::{HeaderName, IF_MATCH};
use axum::http::request::Parts;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::fmt::Display;
use tenure_core::ids::{ChangeId, Fence, RequestId};
use tenure_core::limits::{
    HOLDER_BYTES_MAX, PAGE_MAX, PERMITS_MAX, REASON_BYTES_MAX, TTL_MS_MAX, TTL_MS_MIN, WAIT_MS_MAX,
};
use tenure_core::machine::command::{Client, Life, Mode};
use tenure_core::machine::key::Key;
use tenure_core::machine::parts;
use tenure_core::query::{Order, Selector, SelectorError};
use tenure_core::wire::token::TokenText;

/// Bytes of one `Idempotency-Key`.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// The header that names a request, so that a retry is known as one.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header that carries a token: a query ends up in the logs of proxies.
const LOCK_TOKEN: HeaderName = HeaderName::from_static("lock-token");

/// What an acquire on a lock's own path may say.
pub(crate) const ACQUIRE: &[&str] = &[
    "holder", "ttl", "wait", "mode", "permits", "capacity", "async",
];
/// What an acquire of pairs, or of many locks, may say.
pub(crate) const ACQUIRE_ALL: &[&str] = &[
    "key_values",
    "all",
    "holder",
    "ttl",
    "wait",
    "mode",
    "permits",
    "capacity",
    "async",
];
/// What a change of the capacity may say.
pub(crate) const RESIZE: &[&str] = &["capacity"];
/// What a question whether a grant holds may say.
pub(crate) const VERIFY: &[&str] = &["token", "fence"];
/// What one who takes a lock from its holder may say.
pub(crate) const FORCE: &[&str] = &["fence", "reason", "by", "hard"];
/// What a renewal or a conversion may say.
pub(crate) const PATCH: &[&str] = &["token", "ttl", "mode", "permits", "capacity", "all", "wait"];
/// What a release may say.
pub(crate) const RELEASE: &[&str] = &["token"];
/// What a list may say.
pub(crate) const LIST: &[&str] = &["prefix", "selector", "sort", "limit", "cursor", "stale"];
/// What a question about one lock may say.
pub(crate) const INSPECT: &[&str] = &["stale"];
/// What a question without parameters may say.
pub(crate) const NOTHING: &[&str] = &[];

/// The fields of a request; none where one was not given.
#[derive(Default)]
pub(crate) struct Params {
    pub(crate) key: Option<Key>,
    pub(crate) all: Option<parts::Parts>,
    pub(crate) holder: Option<Bytes>,
    pub(crate) life: Option<Life>,
    pub(crate) wait_ms: Option<u64>,
    pub(crate) mode: Option<Mode>,
    pub(crate) permits: Option<u32>,
    pub(crate) capacity: Option<u32>,
    pub(crate) is_async: Option<bool>,
    pub(crate) token: Option<TokenText>,
    pub(crate) fence: Option<Fence>,
    pub(crate) reason: Option<String>,
    pub(crate) by: Option<String>,
    pub(crate) is_hard: Option<bool>,
    pub(crate) prefix: Option<String>,
    pub(crate) selector: Option<Selector>,
    pub(crate) order: Option<Order>,
    pub(crate) limit: Option<usize>,
    pub(crate) cursor: Option<Key>,
    pub(crate) is_stale: Option<bool>,
}

impl Params {
    /// Reads the fields of a request that may say what is in `known`, and nothing else.
    pub(crate) fn read(head: &Parts, body: &[u8], known: &[&'static str]) -> Result<Self, Problem> {
        let mut params = Self::default();
        if known.contains(&"token")
            && let Some(token) = single(&head.headers, &LOCK_TOKEN, "Lock-Token")?
        {
            params.token = Some(token_of(token, "Lock-Token")?);
        }
        each(head, body, |name, value| {
            let field = known.iter().find(|field| **field == name);
            let Some(field) = field else {
                return Err(Problem::unknown_field(name, known));
            };
            params.set(field, value)
        })?;
        Ok(params)
    }

    fn set(&mut self, field: &'static str, value: Given<'_>) -> Result<(), Problem> {
        match field {
            "key_values" => {
                let Given::Json(raw) = value else {
                    let detail = "pairs have types: send them as JSON";
                    return Err(Problem::bad_value(field, detail));
                };
                once(field, &mut self.key, keys::of_pairs(raw)?)
            }
            "all" => {
                let Given::Json(raw) = value else {
                    let detail = "many locks are a list: send them as JSON";
                    return Err(Problem::bad_value(field, detail));
                };
                once(field, &mut self.all, claims::of_all(raw)?)
            }
            "holder" => once(field, &mut self.holder, holder_of(field, value)?),
            "ttl" => once(field, &mut self.life, life_of(field, value)?),
            "wait" => once(field, &mut self.wait_ms, wait_of(field, value)?),
            "mode" => once(field, &mut self.mode, mode_of(field, value)?),
            "permits" => once(field, &mut self.permits, permits_of(field, value)?),
            "capacity" => once(field, &mut self.capacity, permits_of(field, value)?),
            "async" => once(field, &mut self.is_async, flag_of(field, value)?),
            "token" => once(
                field,
                &mut self.token,
                token_of(&value.text(field)?, field)?,
            ),
            "fence" => once(field, &mut self.fence, fence_of(field, value)?),
            "reason" => {
                let reason = text_of(field, value, REASON_BYTES_MAX)?;
                once(field, &mut self.reason, reason)
            }
            "by" => once(
                field,
                &mut self.by,
                text_of(field, value, HOLDER_BYTES_MAX)?,
            ),
            "hard" => once(field, &mut self.is_hard, flag_of(field, value)?),
            "stale" => once(field, &mut self.is_stale, flag_of(field, value)?),
            "prefix" => once(field, &mut self.prefix, value.text(field)?.into_owned()),
            "selector" => {
                let selector = Selector::parse(&value.text(field)?);
                once(field, &mut self.selector, of_query(field, selector)?)
            }
            "sort" => {
                let order = Order::parse(&value.text(field)?);
                once(field, &mut self.order, of_query(field, order)?)
            }
            "limit" => once(field, &mut self.limit, limit_of(field, value)?),
            "cursor" => once(
                field,
                &mut self.cursor,
                keys::of_cursor(&value.text(field)?)?,
            ),
            _ => unreachable!("every name in the lists above has an arm"),
        }
    }

    /// How one lock is shared: exclusive unless said.
    pub(crate) fn shared(&self) -> Result<Mode, Problem> {
        share_of(self.mode, self.permits, self.capacity)
    }

    /// What a claim on no path is about: pairs, or many locks.
    pub(crate) fn claim(&mut self) -> Result<parts::Parts, Problem> {
        let has_mode = (self.mode, self.permits, self.capacity) != (None, None, None);
        match (self.key.take(), self.all.take()) {
            (Some(key), None) => Ok(parts::Parts::one(key, self.shared()?)),
            (None, Some(_)) if has_mode => {
                let detail = "each of many locks has its own mode";
                Err(Problem::bad_value("mode", detail))
            }
            (None, Some(all)) => Ok(all),
            (Some(_), Some(_)) => {
                let detail = "pairs stand within `all`, or without it";
                Err(Problem::bad_value("key_values", detail))
            }
            (None, None) => Err(Problem::missing("key_values", "which lock?")),
        }
    }

    /// What a grant is to be converted to: its first lock, or some of its locks. None: it is to be renewed.
    pub(crate) fn conversion(&mut self, key: &Key) -> Result<Option<parts::Parts>, Problem> {
        let has_mode = (self.mode, self.permits, self.capacity) != (None, None, None);
        if !has_mode && self.all.is_none() {
            let detail = "a renewal does not wait";
            let is_renewal = self.wait_ms.is_none();
            return is_renewal
                .then_some(None)
                .ok_or_else(|| Problem::bad_value("wait", detail));
        }
        if self.life.is_some() {
            let detail =
                "a request renews or converts: what is converted keeps what is left of its life";
            return Err(Problem::bad_value("ttl", detail));
        }
        self.key = self.all.is_none().then(|| key.clone());
        let parts = self.claim()?;
        if parts.first().key != *key {
            let detail = "the first lock by the order of keys is the one of the address";
            return Err(Problem::bad_value("all", detail));
        }
        Ok(Some(parts))
    }

    /// The time to live of a renewal: a lease's, or the grant's own.
    pub(crate) fn lease_ttl_ms(&self) -> Result<Option<u64>, Problem> {
        match self.life {
            None => Ok(None),
            Some(Life::Lease { ttl_ms }) => Ok(Some(ttl_ms)),
            Some(Life::Static | Life::Session) => {
                let detail = "a renewal gives a lease more time; it can't make it static";
                Err(Problem::bad_value("ttl", detail))
            }
        }
    }
}

fn once<T>(field: &'static str, slot: &mut Option<T>, value: T) -> Result<(), Problem> {
    if slot.is_some() {
        return Err(Problem::twice(field));
    }
    *slot = Some(value);
    Ok(())
}

fn holder_of(field: &'static str, value: Given<'_>) -> Result<Bytes, Problem> {
    text_of(field, value, HOLDER_BYTES_MAX).map(Bytes::from)
}

fn text_of(field: &'static str, value: Given<'_>, bytes_max: usize) -> Result<String, Problem> {
    let text = value.text(field)?;
    if text.len() > bytes_max {
        let detail = format!("{} bytes; at most {bytes_max}", text.len());
        return Err(Problem::bad_value(field, detail));
    }
    Ok(text.into_owned())
}

fn life_of(field: &'static str, value: Given<'_>) -> Result<Life, Problem> {
    let text = value.text(field)?;
    if text == "none" {
        return Ok(Life::Static);
    }
    let Some(ttl_ms) = parse_ms(&text) else {
        let detail = r#"no duration: write "60s", "250ms", milliseconds as a number, or "none""#;
        return Err(Problem::bad_value(field, detail));
    };
    within(field, ttl_ms, TTL_MS_MIN, TTL_MS_MAX)?;
    Ok(Life::Lease { ttl_ms })
}

fn wait_of(field: &'static str, value: Given<'_>) -> Result<u64, Problem> {
    let Some(wait_ms) = parse_ms(&value.text(field)?) else {
        let detail = r#"no duration: write "30s", "250ms", or milliseconds as a number"#;
        return Err(Problem::bad_value(field, detail));
    };
    within(field, wait_ms, 0, WAIT_MS_MAX)?;
    Ok(wait_ms)
}

fn within(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), Problem> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let detail = format!("{value} ms; from {min} to {max}");
    Err(Problem::bad_value(field, detail))
}

pub(crate) fn mode_of(field: &'static str, value: Given<'_>) -> Result<Mode, Problem> {
    let detail = r#"expected "exclusive" or "shared" (or nl, cr, cw, pr, pw, ex)"#;
    let mode = Mode::named(&value.text(field)?);
    mode.ok_or_else(|| Problem::bad_value(field, detail))
}

/// A mode, or so many permits of a capacity; exclusive if nothing is said.
pub(crate) fn share_of(
    mode: Option<Mode>,
    permits: Option<u32>,
    capacity: Option<u32>,
) -> Result<Mode, Problem> {
    match (mode, permits, capacity) {
        (mode, None, None) => Ok(mode.unwrap_or(Mode::Exclusive)),
        (None, Some(n), Some(capacity)) if n <= capacity => Ok(Mode::Permits { n, capacity }),
        (None, Some(n), Some(capacity)) => {
            let detail = format!("{n} of a capacity of {capacity}");
            Err(Problem::bad_value("permits", detail))
        }
        (None, None, Some(_)) => Err(Problem::missing("permits", "how many of the capacity?")),
        (None, Some(_), None) => Err(Problem::missing("capacity", "of how many?")),
        (Some(_), _, _) => {
            let detail = "a lock is shared in a mode or by permits, not both";
            Err(Problem::bad_value("mode", detail))
        }
    }
}

pub(crate) fn permits_of(field: &'static str, value: Given<'_>) -> Result<u32, Problem> {
    let permits = value.text(field)?.parse().ok();
    let permits = permits.filter(|permits| (1..=PERMITS_MAX).contains(permits));
    let detail = || format!("expected a number from 1 to {PERMITS_MAX}");
    permits.ok_or_else(|| Problem::bad_value(field, detail()))
}

fn flag_of(field: &'static str, value: Given<'_>) -> Result<bool, Problem> {
    match &*value.text(field)? {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Problem::bad_value(field, "expected true or false")),
    }
}

fn of_query<T>(field: &'static str, read: Result<T, SelectorError>) -> Result<T, Problem> {
    read.map_err(|error| Problem::bad_value(field, error.to_string()))
}

fn limit_of(field: &'static str, value: Given<'_>) -> Result<usize, Problem> {
    let limit = value.text(field)?.parse().ok();
    let limit = limit.filter(|limit| (1..=PAGE_MAX).contains(limit));
    limit
        .ok_or_else(|| Problem::bad_value(field, format!("expected a number from 1 to {PAGE_MAX}")))
}

fn fence_of(field: &'static str, value: Given<'_>) -> Result<Fence, Problem> {
    let fence = value.text(field)?.parse().ok().map(Fence::new);
    fence.ok_or_else(|| Problem::bad_value(field, "expected the `fence` of a grant"))
}

/// What it is stays out of the answer: it may be a right token with a slip.
fn token_of(text: &str, field: &'static str) -> Result<TokenText, Problem> {
    TokenText::parse(text).ok_or_else(|| {
        Problem::bad_value(
            field,
            "expected the `token` of a grant: <fence>.<64 hex digits>",
        )
    })
}

/// How a retry of this request is known as one.
pub(crate) fn client_of(headers: &HeaderMap) -> Result<Client, Problem> {
    const NAME: &str = "Idempotency-Key";
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(Client::None);
    };
    if values.next().is_some() {
        return Err(Problem::twice(NAME));
    }
    let len = value.len();
    if len == 0 || len > IDEMPOTENCY_KEY_BYTES_MAX {
        let detail = bytes_wanted(len, IDEMPOTENCY_KEY_BYTES_MAX);
        return Err(Problem::bad_value(NAME, detail));
    }
    Ok(Client::Key(request_id(value.as_bytes())))
}

fn bytes_wanted(len: usize, max: impl Display) -> String {
    format!("{len} bytes; from 1 to {max}")
}

/// The id of the request that its caller named `key`: a name of any length in 128 bits, which no
/// stranger finds a second key for.
fn request_id(key: &[u8]) -> RequestId {
    let hash = Sha256::new()
        .chain_update(b"tenure idempotency key 1\0")
        .chain_update(key)
        .finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    RequestId::new(u128::from_be_bytes(id))
}

/// `If-Match`, if it is there, names the grant that `token` is of.
pub(crate) fn check_if_match(headers: &HeaderMap, token: &TokenText) -> Result<(), Problem> {
    match fence_expected(headers)? {
        Some(fence) if fence != token.fence => Err(Problem::fence_mismatch("If-Match")),
        Some(_) | None => Ok(()),
    }
}

/// The fence that `If-Match` names, if it is there.
pub(crate) fn fence_expected(headers: &HeaderMap) -> Result<Option<Fence>, Problem> {
    let Some(condition) = single(headers, &IF_MATCH, "If-Match")? else {
        return Ok(None);
    };
    let quoted = condition.strip_prefix('"');
    let fence = quoted
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(condition);
    let fence = fence.parse().ok().map(Fence::new);
    let what = "expected a fence, as \"17\"";
    fence
        .map(Some)
        .ok_or_else(|| Problem::bad_value("If-Match", what))
}

/// The last change of the shared configuration that the caller has seen, if it says so.
pub(crate) fn config_expected(headers: &HeaderMap) -> Result<Option<ChangeId>, Problem> {
    let Some(condition) = single(headers, &IF_MATCH, "If-Match")? else {
        return Ok(None);
    };
    let quoted = condition.strip_prefix('"');
    let change = quoted
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(condition);
    let what = "expected the number of a change, as \"17\"";
    let change = change.parse().ok().map(ChangeId::new);
    change
        .map(Some)
        .ok_or_else(|| Problem::bad_value("If-Match", what))
}

fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    field: &'static str,
) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::twice(field));
    }
    let text = value.to_str();
    text.map(Some)
        .map_err(|_| Problem::bad_value(field, "it is not plain text"))
}
