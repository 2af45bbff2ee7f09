//! What operators take from holders.

use crate::answers;
use crate::fields::read_body;
use crate::params::{self, Params, client_of, fence_expected};
use crate::problem::Problem;
use crate::router::{Face, holder_of, refused};
use axum::body::Body;
use axum::http::request::Parts;
use axum::response::Response;
use tenure_core::machine::answer::Answer;
use tenure_core::machine::command::{Cause, Force};
use tenure_core::machine::key::Key;
use tenure_core::node::input::Ask;

/// Ends a grant that is another's, at once, if it is still the one that was looked at.
pub(crate) async fn force_unlock(
    face: &Face,
    head: &Parts,
    body: Body,
    key: Key,
) -> Result<Response, Problem> {
    let body = read_body(body).await?;
    let params = Params::read(head, &body, params::FORCE)?;
    if !params.is_hard.unwrap_or_default() {
        let detail = "say hard=true: it does not wait for what the holder believes";
        return Err(Problem::missing("hard", detail));
    }
    let fence = match (params.fence, fence_expected(&head.headers)?) {
        (Some(one), Some(other)) if one != other => {
            return Err(Problem::bad_value("If-Match", "it names another `fence`"));
        }
        (one, other) => one.or(other),
    };
    let fence =
        fence.ok_or_else(|| Problem::missing("fence", "of the grant that you looked at"))?;
    let ask = Ask::Force(Force {
        key: key.clone(),
        fence,
        cause: cause_of(head, params)?,
    });
    match face.decide(client_of(&head.headers)?, ask).await? {
        (
            Answer::Forced {
                fence,
                holder,
                remaining_ms,
            },
            slot,
        ) => Ok(answers::forced(&key, fence, &holder, remaining_ms, slot)),
        (answer, slot) => Err(refused(answer, slot)),
    }
}

/// Who wants it, the caller's address unless said, and why.
fn cause_of(head: &Parts, params: Params) -> Result<Cause, Problem> {
    let reason = params.reason.filter(|reason| !reason.is_empty());
    let reason = reason.ok_or_else(|| Problem::missing("reason", "why? It is written down"))?;
    let address = || String::from_utf8_lossy(&holder_of(head)).into_owned();
    let by = params.by.unwrap_or_else(address);
    Ok(Cause { by, reason })
}
