//! Every way to say no, as a document (RFC 9457), with the codes of all protocols.

use crate::answers::{self, BlockerBody, PROBLEM};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::borrow::Cow;
use tenure_core::ids::Slot;
use tenure_core::machine::answer::{Blocker, Refusal};
use tenure_core::node::output::Failure;
use tenure_core::wire::codes::{self, Code};

/// When a caller may try again, where it is told to: seconds.
const RETRY_AFTER_S: u16 = 1;

/// A request that is refused or failed.
#[derive(Debug)]
pub(crate) struct Problem(Box<Document>);

#[derive(Debug)]
struct Document {
    code: Code,
    status: StatusCode,
    detail: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
    holders: Vec<Blocker>,
    position: Option<u64>,
    /// What the lock has, if the claim says otherwise.
    capacity: Option<u32>,
    slot: Option<Slot>,
    allow: Option<&'static str>,
}

/// The document's members, in their order.
#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: String,
    status: u16,
    detail: &'a str,
    code: &'static str,
    retryable: bool,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    holders: Vec<BlockerBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// The status of a code. Held is 423 and never 408, which proxies try again by themselves.
pub(crate) fn status_of(code: Code) -> StatusCode {
    match code {
        codes::HELD | codes::WAIT_TIMEOUT => StatusCode::LOCKED,
        codes::CANCELLED
        | codes::NOT_HELD
        | codes::NOT_LEASED
        | codes::IDENTIFIER_IN_USE
        | codes::FORGOTTEN
        | codes::REQUEST_ID_REUSED
        | codes::CONFIG_MOVED
        | codes::CONFIG_UNFIT
        | codes::HAS_CAPACITY
        | codes::NO_PERMITS
        | codes::NOT_COVERED
        | codes::ENTERED
        | codes::CONVERTING
        | codes::UPGRADE_DEADLOCK
        | codes::DEADLOCK
        | codes::INVITATION_USED
        | codes::WRONG_CLUSTER => StatusCode::CONFLICT,
        codes::NO_SUCH_TICKET | codes::UNKNOWN_ZONE | codes::NOT_FOUND => StatusCode::NOT_FOUND,
        codes::SESSION_GONE | codes::INVITATION_OVER => StatusCode::GONE,
        codes::SESSION_BUSY | codes::QUOTA | codes::BUSY | codes::SEARCH_LIMIT => {
            StatusCode::TOO_MANY_REQUESTS
        }
        codes::NO_QUORUM | codes::DISK_FULL | codes::NOT_READY => StatusCode::SERVICE_UNAVAILABLE,
        codes::BAD_PROOF | codes::UNPROVED_SESSION | codes::NOT_INVITED => StatusCode::FORBIDDEN,
        codes::FENCE_MISMATCH | codes::FENCE_CHANGED => StatusCode::PRECONDITION_FAILED,
        codes::METHOD_NOT_ALLOWED => StatusCode::METHOD_NOT_ALLOWED,
        codes::UNSUPPORTED_MEDIA_TYPE => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        codes::TOO_LONG => StatusCode::PAYLOAD_TOO_LARGE,
        codes::INVALID_COMMAND_BODY
        | codes::INVALID
        | codes::INVALID_COMMAND
        | codes::BAD_STREAM
        | codes::MISSING
        | codes::BAD_VALUE
        | codes::UNSUPPORTED
        | codes::UNKNOWN_FIELD => StatusCode::BAD_REQUEST,
        // `OUTCOME_UNKNOWN`, and whatever code comes without a line here: promise least.
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl Problem {
    fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Document {
            code,
            status: status_of(code),
            detail: detail.into(),
            field: None,
            holders: Vec::new(),
            position: None,
            capacity: None,
            slot: None,
            allow: None,
        }))
    }

    /// The log said no, at `slot`. `position` is the last place in the line that was heard of.
    pub(crate) fn refused(refusal: Refusal, position: Option<u64>, slot: Slot) -> Self {
        let code = codes::of_refusal(&refusal);
        let mut problem = Self::new(code, refusal.to_string());
        problem.0.slot = Some(slot);
        if let Refusal::HasCapacity { capacity } = refusal {
            problem.0.capacity = Some(capacity);
        }
        if let Refusal::Held { .. } | Refusal::WaitTimeout { .. } = refusal {
            problem.0.position = position;
        }
        if let Refusal::Held { by }
        | Refusal::WaitTimeout { by }
        | Refusal::UpgradeDeadlock { by }
        | Refusal::FenceChanged { by }
        | Refusal::Deadlock { by } = refusal
        {
            problem.0.holders = by;
        }
        problem
    }

    /// The log said nothing.
    pub(crate) fn failed(failure: Failure) -> Self {
        Self::new(codes::of_failure(&failure), failure.to_string())
    }

    /// A parameter, field or header holds what can't be used.
    pub(crate) fn bad_value(
        field: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::of_field(codes::BAD_VALUE, field, detail)
    }

    /// A parameter, field or header is not there.
    pub(crate) fn missing(field: &'static str, detail: &'static str) -> Self {
        Self::of_field(codes::MISSING, field, detail)
    }

    /// A parameter or field that the request does not have; `known` are those that it has.
    pub(crate) fn unknown_field(field: &str, known: &[&str]) -> Self {
        let detail = match known {
            [] => "this request takes no parameters".to_owned(),
            known => format!("this request takes {}", known.join(", ")),
        };
        Self::of_field(codes::UNKNOWN_FIELD, shortened(field), detail)
    }

    /// A parameter or field was given twice.
    pub(crate) fn twice(field: &'static str) -> Self {
        Self::of_field(codes::BAD_VALUE, field, "it was given twice")
    }

    fn of_field(
        code: Code,
        field: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let mut problem = Self::new(code, detail);
        problem.0.field = Some(field.into());
        problem
    }

    /// A part of the request is longer than it may be.
    pub(crate) fn too_long(status: StatusCode, detail: String) -> Self {
        let mut problem = Self::new(codes::TOO_LONG, detail);
        problem.0.status = status;
        problem
    }

    /// There is nothing at this address.
    pub(crate) fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(codes::NOT_FOUND, detail)
    }

    /// There is, and it knows only the methods in `allow`.
    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        let mut problem = Self::new(
            codes::METHOD_NOT_ALLOWED,
            format!("this resource knows {allow}"),
        );
        problem.0.allow = Some(allow);
        problem
    }

    /// The body is neither a form nor JSON.
    pub(crate) fn media_type() -> Self {
        let detail = "send application/json or application/x-www-form-urlencoded";
        Self::new(codes::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// The server does not serve yet.
    pub(crate) fn not_ready(why: String) -> Self {
        Self::new(codes::NOT_READY, why)
    }

    /// A server that only votes takes no clients.
    pub(crate) fn only_votes() -> Self {
        let detail = "this server only votes, and takes no clients: ask another one";
        Self::new(codes::NOT_READY, detail)
    }

    /// The secret proves no invitation.
    pub(crate) fn not_invited() -> Self {
        let detail = "nobody was invited with this secret, or it was long ago";
        Self::of_field(codes::NOT_INVITED, "secret", detail)
    }

    /// Its time is over.
    pub(crate) fn invitation_over() -> Self {
        let detail = "the invitation's time is over: ask for another one";
        Self::of_field(codes::INVITATION_OVER, "secret", detail)
    }

    /// Another server came by it, or this one, which has lost its data since.
    pub(crate) fn invitation_used(id: u64) -> Self {
        let detail = format!(
            "the invitation was used by server {id}: a new server needs another one, and if {id} lost \
             its data, a new server takes its place: `tenure member replace {id}`"
        );
        Self::of_field(codes::INVITATION_USED, "secret", detail)
    }

    /// The number of a server that is here already, or was.
    pub(crate) fn no_empty_start(id: u64) -> Self {
        let detail = format!(
            "server {id} votes: it must not start with an empty data directory. If it lost its data, a \
             new server takes its place: `tenure member replace {id}`"
        );
        Self::of_field(codes::CONFIG_UNFIT, "id", detail)
    }

    /// `field` names another fence than the token.
    pub(crate) fn fence_mismatch(field: &'static str) -> Self {
        let detail = format!("{field} names another fence than the token");
        Self::of_field(codes::FENCE_MISMATCH, field, detail)
    }
}

/// What a stranger sent, in an answer: not more of it than helps.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(document) = self;
        let code = document.code;
        let is_worth_a_wait = matches!(
            document.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        let body = Body {
            r#type: format!("urn:tenure:problem:{}", code.name),
            title: code.name.replace('-', " "),
            status: document.status.as_u16(),
            detail: &document.detail,
            code: code.name,
            retryable: code.retryable,
            outcome: code.outcome.name(),
            field: document.field.as_deref(),
            holders: document.holders.iter().map(BlockerBody::of).collect(),
            position: document.position,
            capacity: document.capacity,
            retry_after_ms: is_worth_a_wait.then_some(u64::from(RETRY_AFTER_S) * 1_000),
        };
        let mut response = answers::document(document.status, PROBLEM, document.slot, &body);
        let headers = response.headers_mut();
        if is_worth_a_wait {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_S.into());
        }
        if let Some(allow) = document.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}
