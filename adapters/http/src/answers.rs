//! What the node replies, as documents.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use std::borrow::Cow;
use tenure_core::ids::{Fence, SessionId, Slot, TicketId};
use tenure_core::machine::answer::{Blocker, Grant};
use tenure_core::machine::command::{Life, Mode};
use tenure_core::machine::key::Key;
use tenure_core::machine::parts::{Part, Parts};
use tenure_core::node::input::Token;
use tenure_core::query::{HolderView, LockView, Page, Verdict, WaiterView};
use tenure_core::wire::token::TokenText;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
/// The position in the log at which the answer is true.
pub(crate) const LOCK_INDEX: HeaderName = HeaderName::from_static("lock-index");
/// The answer to a retry: it extends no deadline.
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A document of type `kind`, true at `slot`.
pub(crate) fn document(
    status: StatusCode,
    kind: HeaderValue,
    slot: Option<Slot>,
    body: &impl Serialize,
) -> Response {
    let mut bytes = Vec::with_capacity(256);
    serde_json::to_writer(&mut bytes, body).expect("a document of ours is always JSON");
    // A shell's prompt does not end up behind it.
    bytes.push(b'\n');
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    if let Some(slot) = slot {
        headers.insert(LOCK_INDEX, slot.get().into());
    }
    response
}

fn ok(slot: Slot, body: &impl Serialize) -> Response {
    document(StatusCode::OK, JSON, Some(slot), body)
}

#[derive(Serialize)]
struct GrantBody<'a> {
    lock: String,
    token: String,
    fence: u64,
    ttl_ms: Option<u64>,
    holder: Cow<'a, str>,
    /// All locks, of a claim over more than the one that names it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    all: Vec<PartBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_ms: Option<u64>,
    #[serde(skip_serializing_if = "is_false")]
    replayed: bool,
}

#[derive(Serialize)]
struct PartBody {
    lock: String,
    #[serde(flatten)]
    mode: ModeBody,
}

impl PartBody {
    /// None for one lock: the grant says that itself.
    fn all_of(parts: &Parts) -> Vec<Self> {
        let part = |part: &Part| Self {
            lock: part.key.to_string(),
            mode: ModeBody::of(part.mode),
        };
        let many = parts.count() > 1;
        parts.iter().filter(|_| many).map(part).collect()
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands in references"
)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// The lock is held by the caller.
pub(crate) fn granted(grant: &Grant, token: Token, slot: Slot) -> Response {
    let text = TokenText {
        fence: grant.fence,
        token,
    };
    let ttl_ms = match grant.life {
        Life::Lease { ttl_ms } => Some(ttl_ms),
        Life::Static | Life::Session => None,
    };
    let body = GrantBody {
        lock: grant.key().to_string(),
        token: text.to_string(),
        fence: grant.fence.get(),
        ttl_ms,
        holder: String::from_utf8_lossy(&grant.holder),
        all: PartBody::all_of(&grant.parts),
        // A first answer says with `ttl_ms` all that there is to say, but for what goes on with less.
        remaining_ms: grant
            .remaining_ms
            .filter(|left| grant.replayed || Some(*left) < ttl_ms),
        replayed: grant.replayed,
    };
    let mut response = ok(slot, &body);
    if grant.replayed {
        let headers = response.headers_mut();
        headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

#[derive(Serialize)]
struct TicketBody {
    ticket: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    kept: bool,
}

/// The claim waits on. Without a key of the caller nothing stands for the ticket once this answer
/// has left: it is not kept.
pub(crate) fn accepted(
    ticket: TicketId,
    position: Option<u64>,
    is_kept: bool,
    slot: Slot,
) -> Response {
    let body = TicketBody {
        ticket: ticket.to_string(),
        position,
        kept: is_kept,
    };
    document(StatusCode::ACCEPTED, JSON, Some(slot), &body)
}

#[derive(Serialize)]
struct RenewedBody {
    lock: String,
    fence: u64,
    ttl_ms: u64,
}

/// The grant lives on.
pub(crate) fn renewed(key: &Key, fence: Fence, ttl_ms: u64, slot: Slot) -> Response {
    let body = RenewedBody {
        lock: key.to_string(),
        fence: fence.get(),
        ttl_ms,
    };
    ok(slot, &body)
}

#[derive(Serialize)]
struct ConvertedBody {
    lock: String,
    fence: u64,
    #[serde(flatten)]
    mode: ModeBody,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    all: Vec<PartBody>,
}

/// The grant goes on, and shares its locks as was asked.
pub(crate) fn converted(parts: &Parts, fence: Fence, slot: Slot) -> Response {
    let first = parts.first();
    let body = ConvertedBody {
        lock: first.key.to_string(),
        fence: fence.get(),
        mode: ModeBody::of(first.mode),
        all: PartBody::all_of(parts),
    };
    ok(slot, &body)
}

#[derive(Serialize)]
struct ReleasedBody {
    lock: String,
    fence: u64,
    already: bool,
}

/// The grant is no more.
pub(crate) fn released(key: &Key, fence: Fence, already: bool, slot: Slot) -> Response {
    let body = ReleasedBody {
        lock: key.to_string(),
        fence: fence.get(),
        already,
    };
    ok(slot, &body)
}

/// Somebody who stands in the way.
#[derive(Serialize)]
pub(crate) struct BlockerBody<'a> {
    holder: Cow<'a, str>,
    #[serde(flatten)]
    mode: ModeBody,
    fence: u64,
}

impl<'a> BlockerBody<'a> {
    pub(crate) fn of(blocker: &'a Blocker) -> Self {
        Self {
            holder: String::from_utf8_lossy(&blocker.holder),
            mode: ModeBody::of(blocker.mode),
            fence: blocker.fence.get(),
        }
    }
}

#[derive(Serialize)]
struct LockBody<'a> {
    lock: String,
    state: &'static str,
    holders: Vec<HolderBody<'a>>,
    waiters: Vec<WaiterBody<'a>>,
    waiting: u64,
}

#[derive(Serialize)]
struct HolderBody<'a> {
    holder: Cow<'a, str>,
    #[serde(flatten)]
    mode: ModeBody,
    fence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    held_ms: u64,
    remaining_ms: Option<u64>,
    /// How often its session has entered a re-entrant grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    entered: Option<u32>,
}

#[derive(Serialize)]
struct WaiterBody<'a> {
    holder: Cow<'a, str>,
    #[serde(flatten)]
    mode: ModeBody,
    ticket: String,
    waiting_ms: u64,
}

impl<'a> LockBody<'a> {
    fn of(view: &'a LockView) -> Self {
        Self {
            lock: view.key.to_string(),
            state: if view.holders.is_empty() {
                "free"
            } else {
                "held"
            },
            holders: view.holders.iter().map(HolderBody::of).collect(),
            waiters: view.waiters.iter().map(WaiterBody::of).collect(),
            waiting: view.waiting,
        }
    }
}

impl<'a> HolderBody<'a> {
    fn of(view: &'a HolderView) -> Self {
        Self {
            holder: String::from_utf8_lossy(&view.holder),
            mode: ModeBody::of(view.mode),
            fence: view.fence.get(),
            session: view.session.map(session_text),
            held_ms: view.held_ms,
            remaining_ms: view.remaining_ms,
            entered: (view.entered > 0).then_some(view.entered),
        }
    }
}

impl<'a> WaiterBody<'a> {
    fn of(view: &'a WaiterView) -> Self {
        Self {
            holder: String::from_utf8_lossy(&view.holder),
            mode: ModeBody::of(view.mode),
            ticket: view.ticket.to_string(),
            waiting_ms: view.waiting_ms,
        }
    }
}

fn session_text(session: SessionId) -> String {
    format!("{:032x}", session.get())
}

/// How a lock is shared, within what is said of a holder, a waiter or a part of a claim.
#[derive(Serialize)]
struct ModeBody {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    permits: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<u32>,
}

impl ModeBody {
    const fn of(mode: Mode) -> Self {
        let (permits, capacity) = match mode {
            Mode::Permits { n, capacity } => (Some(n), Some(capacity)),
            Mode::Exclusive
            | Mode::Shared
            | Mode::Null
            | Mode::ConcurrentRead
            | Mode::ConcurrentWrite
            | Mode::ProtectedWrite => (None, None),
        };
        Self {
            mode: mode.name(),
            permits,
            capacity,
        }
    }
}

#[derive(Serialize)]
struct ResizedBody {
    lock: String,
    capacity: u32,
}

/// The lock has another capacity.
pub(crate) fn resized(key: &Key, capacity: u32, slot: Slot) -> Response {
    let lock = key.to_string();
    ok(slot, &ResizedBody { lock, capacity })
}

#[derive(Serialize)]
struct ForcedBody<'a> {
    lock: String,
    fence: u64,
    hard: bool,
    holder: Cow<'a, str>,
    remaining_ms: Option<u64>,
}

/// The grant was taken from its holder, at once.
pub(crate) fn forced(
    key: &Key,
    fence: Fence,
    holder: &[u8],
    remaining_ms: Option<u64>,
    slot: Slot,
) -> Response {
    let body = ForcedBody {
        lock: key.to_string(),
        fence: fence.get(),
        hard: true,
        holder: String::from_utf8_lossy(holder),
        remaining_ms,
    };
    ok(slot, &body)
}

#[derive(Serialize)]
struct VerifiedBody<'a> {
    lock: String,
    fence: u64,
    held: bool,
    #[serde(flatten)]
    by: Option<ByBody<'a>>,
    /// The highest that holds the lock.
    highest_fence: Option<u64>,
}

#[derive(Serialize)]
struct ByBody<'a> {
    holder: Cow<'a, str>,
    #[serde(flatten)]
    mode: ModeBody,
    remaining_ms: Option<u64>,
}

/// Whether a grant holds.
pub(crate) fn verified(verdict: &Verdict, slot: Slot) -> Response {
    let by = verdict.held.as_ref().map(|held| ByBody {
        holder: String::from_utf8_lossy(&held.holder),
        mode: ModeBody::of(held.mode),
        remaining_ms: held.remaining_ms,
    });
    let body = VerifiedBody {
        lock: verdict.key.to_string(),
        fence: verdict.fence.get(),
        held: by.is_some(),
        by,
        highest_fence: verdict.highest.map(Fence::get),
    };
    ok(slot, &body)
}

/// How one lock is.
pub(crate) fn lock(view: &LockView, slot: Slot) -> Response {
    ok(slot, &LockBody::of(view))
}

/// Says of a stale answer that it is one.
pub(crate) fn labelled(mut response: Response, is_stale: bool) -> Response {
    if is_stale {
        let label = HeaderValue::from_static("true");
        response.headers_mut().insert("tenure-stale", label);
    }
    response
}

#[derive(Serialize)]
struct PageBody<'a> {
    locks: Vec<LockBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// Some locks, and where to go on.
pub(crate) fn locks(page: &Page, slot: Slot) -> Response {
    let last = page.locks.last().filter(|_| page.more);
    let body = PageBody {
        locks: page.locks.iter().map(LockBody::of).collect(),
        cursor: last.map(|view| crate::keys::cursor(&view.key)),
    };
    ok(slot, &body)
}
