//! The routes, and what each asks of the node.

use crate::answers;
use crate::cluster;
use crate::config;
use crate::fields::read_body;
use crate::force;
use crate::gateway::{Call, Gateway, NoAnswer};
use crate::keys;
use crate::members;
use crate::params::{self, Params, check_if_match, client_of};
use crate::problem::Problem;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, get, patch, post, put};
use bytes::Bytes;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tenure_core::ids::{Slot, TicketId, ZoneId};
use tenure_core::limits::TTL_MS_DEFAULT;
use tenure_core::machine::answer::{Answer, Refusal};
use tenure_core::machine::command::{Acquire, Client, Life};
use tenure_core::machine::key::{Key, path_prefix};
use tenure_core::machine::parts;
use tenure_core::node::input::{
    Admin, Ask, Convert, Proof, Question, Request as Wanted, Token, Verify,
};
use tenure_core::node::output::{Failure, Reply};
use tenure_core::query::Listing;
use tenure_host::Published;
use tenure_rt::clock;
use tenure_rt::sync::watch;

const LOCKS: &str = "/v1/locks/";
/// Locks in one page, unless said.
const PAGE_DEFAULT: usize = 100;
/// How much longer than it asked to wait a caller waits for the log to say so. Only without a
/// quorum the log says nothing for so long.
pub(crate) const WAIT_MARGIN: Duration = Duration::from_secs(5);
/// How long a health check may take.
const READY_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of the head's fields.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Bytes of the address: the longest name, escaped, and a query.
const ADDRESS_BYTES_MAX: usize = 16 << 10;

/// What every request needs.
#[derive(Clone)]
pub(crate) struct Face {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) config: Published,
    /// What the cluster began with, for those that join it.
    pub(crate) genesis: Bytes,
    /// [`WAIT_MARGIN`], but in tests.
    pub(crate) wait_margin: Duration,
}

/// From where a request comes.
#[derive(Clone, Copy)]
pub(crate) struct From(pub(crate) IpAddr);

/// All routes.
pub(crate) fn router(face: Face) -> Router {
    let on_lock = get(inspect)
        .post(acquire)
        .patch(renew_or_convert)
        .delete(release);
    let on_locks = get(list).post(acquire_all);
    let locks = Router::new()
        .route(
            "/v1/locks/{*path}",
            on_lock.fallback(|| wrong_method("GET, POST, PATCH, DELETE")),
        )
        .route("/v1/locks", on_locks.fallback(|| wrong_method("GET, POST")))
        .route_layer(from_fn_with_state(face.clone(), if_it_takes_clients));
    Router::new()
        .merge(locks)
        .route("/v1/cluster", question(get(servers)))
        .route("/v1/cluster:transfer-leader", order(post(transfer_leader)))
        .route(
            "/v1/config",
            get(config::show)
                .patch(config::patch_policy)
                .fallback(|| wrong_method("GET, PATCH")),
        )
        .route("/v1/config/history", question(get(config::show_history)))
        .route(
            "/v1/members",
            get(config::show_members)
                .post(members::add)
                .fallback(|| wrong_method("GET, POST")),
        )
        .route("/v1/members:invite", order(post(members::invite)))
        .route("/v1/members:uninvite", order(post(members::uninvite)))
        .route("/v1/members:join", order(post(members::join)))
        .route(
            "/v1/members/{id}",
            patch(members::patch)
                .delete(members::remove)
                .post(members::on_one)
                .fallback(|| wrong_method("PATCH, DELETE")),
        )
        .route(
            "/v1/zones/{zone}",
            put(config::put_zone).fallback(|| wrong_method("PUT")),
        )
        .route("/healthz", question(get(healthz)))
        .route("/readyz", question(get(readyz)))
        .fallback(nowhere)
        .with_state(face)
}

/// The routes of a server that waits for something before it serves.
pub(crate) fn waiting(why: watch::Receiver<String>) -> Router {
    let not_ready = || async move { Problem::not_ready(why.borrow().clone()) };
    let healthz = get(|| async { cluster::healthy() });
    Router::new()
        .route("/healthz", healthz.fallback(|| wrong_method("GET")))
        .fallback(not_ready)
}

/// A server that only votes has nothing to say of locks.
async fn if_it_takes_clients(
    State(face): State<Face>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if face.config.now().takes_clients() {
        Ok(next.run(request).await)
    } else {
        Err(Problem::only_votes())
    }
}

fn question(on: MethodRouter<Face>) -> MethodRouter<Face> {
    on.fallback(|| wrong_method("GET"))
}

fn order(on: MethodRouter<Face>) -> MethodRouter<Face> {
    on.fallback(|| wrong_method("POST"))
}

pub(crate) async fn wrong_method(allow: &'static str) -> Problem {
    Problem::method_not_allowed(allow)
}

async fn nowhere(request: Request) -> Problem {
    if request.uri().path() == LOCKS {
        return Problem::bad_value("path", "the lock's name is empty");
    }
    Problem::not_found("there is nothing at this address")
}

async fn acquire(State(face): State<Face>, request: Request) -> Result<Response, Problem> {
    let (head, body) = parts(request)?;
    if let Some(lock) = before_verb(&head, ":resize") {
        let key = keys::of_path(lock)?;
        return resize(&face, &head, body, key).await;
    }
    if let Some(lock) = before_verb(&head, ":verify") {
        let key = keys::of_path(lock)?;
        return verify(&face, &head, body, key).await;
    }
    if let Some(lock) = before_verb(&head, ":force-unlock") {
        let key = keys::of_path(lock)?;
        return force::force_unlock(&face, &head, body, key).await;
    }
    let key = key_of(&head)?;
    let body = read_body(body).await?;
    let params = Params::read(&head, &body, params::ACQUIRE)?;
    let claim = parts::Parts::one(key, params.shared()?);
    face.acquire(&head, claim, params).await
}

/// The lock of an address that ends in this verb.
fn before_verb<'a>(head: &'a Parts, verb: &str) -> Option<&'a str> {
    let lock = head.uri.path().strip_prefix(LOCKS)?;
    lock.strip_suffix(verb)
}

async fn resize(face: &Face, head: &Parts, body: Body, key: Key) -> Result<Response, Problem> {
    let body = read_body(body).await?;
    let params = Params::read(head, &body, params::RESIZE)?;
    let capacity = params.capacity;
    let capacity = capacity.ok_or_else(|| Problem::missing("capacity", "how many?"))?;
    let client = client_of(&head.headers)?;
    let ask = Ask::Resize {
        key: key.clone(),
        capacity,
    };
    match face.decide(client, ask).await? {
        (Answer::Resized { capacity }, slot) => Ok(answers::resized(&key, capacity, slot)),
        (answer, slot) => Err(refused(answer, slot)),
    }
}

/// Whether a grant holds, for whoever is about to rely on it.
async fn verify(face: &Face, head: &Parts, body: Body, key: Key) -> Result<Response, Problem> {
    let body = read_body(body).await?;
    let params = Params::read(head, &body, params::VERIFY)?;
    let token = params.token;
    if let Some(token) = &token {
        check_if_match(&head.headers, token)?;
    }
    let fence = match (params.fence, &token) {
        (Some(fence), Some(token)) if fence != token.fence => {
            return Err(Problem::fence_mismatch("fence"));
        }
        (Some(fence), _) => fence,
        (None, Some(token)) => token.fence,
        (None, None) => return Err(Problem::missing("fence", "of which grant? Or its `token`")),
    };
    let ask = Ask::Verify(Verify {
        key,
        fence,
        token: token.map(|token| token.token),
        session: None,
    });
    match face.read(ask).await? {
        Reply::Verdict { verdict, slot, .. } => Ok(answers::verified(&verdict, slot)),
        reply => Err(unexpected(reply)),
    }
}

async fn acquire_all(State(face): State<Face>, request: Request) -> Result<Response, Problem> {
    let (head, body) = parts(request)?;
    let body = read_body(body).await?;
    let mut params = Params::read(&head, &body, params::ACQUIRE_ALL)?;
    let claim = params.claim()?;
    face.acquire(&head, claim, params).await
}

async fn renew_or_convert(State(face): State<Face>, request: Request) -> Result<Response, Problem> {
    let (head, body) = parts(request)?;
    let key = key_of(&head)?;
    let body = read_body(body).await?;
    let mut params = Params::read(&head, &body, params::PATCH)?;
    match params.conversion(&key)? {
        Some(parts) => face.convert(&head, parts, params).await,
        None => renew(&face, &head, key, params).await,
    }
}

async fn renew(face: &Face, head: &Parts, key: Key, params: Params) -> Result<Response, Problem> {
    // A renewal is never answered from memory (rule 15), so no key of its caller is passed on;
    // but a bad one is a bad request here too.
    client_of(&head.headers)?;
    let ask = Ask::Renew {
        proof: proof_of(head, &key, &params)?,
        ttl_ms: params.lease_ttl_ms()?,
    };
    let decided = face.decide(Client::None, ask).await?;
    match decided {
        (Answer::Renewed { fence, ttl_ms }, slot) => {
            Ok(answers::renewed(&key, fence, ttl_ms, slot))
        }
        (answer, slot) => Err(refused(answer, slot)),
    }
}

async fn release(State(face): State<Face>, request: Request) -> Result<Response, Problem> {
    let (head, body) = parts(request)?;
    let key = key_of(&head)?;
    let body = read_body(body).await?;
    let params = Params::read(&head, &body, params::RELEASE)?;
    let ask = Ask::release(proof_of(&head, &key, &params)?);
    let decided = face.decide(client_of(&head.headers)?, ask).await?;
    match decided {
        (Answer::Released { fence, already, .. }, slot) => {
            Ok(answers::released(&key, fence, already, slot))
        }
        (answer, slot) => Err(refused(answer, slot)),
    }
}

async fn inspect(State(face): State<Face>, request: Request) -> Result<Response, Problem> {
    let (head, _) = parts(request)?;
    let key = key_of(&head)?;
    let params = Params::read(&head, &[], params::INSPECT)?;
    let is_stale = params.is_stale.unwrap_or_default();
    let ask = Question::Inspect { key }.ask(is_stale);
    match face.read(ask).await? {
        Reply::Lock { view, slot, .. } => {
            Ok(answers::labelled(answers::lock(&view, slot), is_stale))
        }
        reply => Err(unexpected(reply)),
    }
}

async fn list(State(face): State<Face>, request: Request) -> Result<Response, Problem> {
    let (head, _) = parts(request)?;
    let params = Params::read(&head, &[], params::LIST)?;
    let prefix = params.prefix.as_deref();
    let is_stale = params.is_stale.unwrap_or_default();
    let question = Question::List(Listing {
        prefix: prefix.map_or_else(Bytes::new, path_prefix),
        selector: params.selector,
        order: params.order.unwrap_or_default(),
        after: params.cursor,
        limit: params.limit.unwrap_or(PAGE_DEFAULT),
    });
    let ask = question.ask(is_stale);
    match face.read(ask).await? {
        Reply::Locks { page, slot, .. } => {
            Ok(answers::labelled(answers::locks(&page, slot), is_stale))
        }
        reply => Err(unexpected(reply)),
    }
}

async fn servers(State(face): State<Face>, request: Request) -> Result<Response, Problem> {
    let (head, _) = parts(request)?;
    Params::read(&head, &[], params::NOTHING)?;
    let reply = face.read(Ask::Servers).await?;
    cluster::servers(&face.config.now(), &reply).ok_or_else(|| unexpected(reply))
}

/// Another server shall lead.
async fn transfer_leader(State(face): State<Face>, request: Request) -> Result<Response, Problem> {
    let (head, body) = parts(request)?;
    let body = read_body(body).await?;
    let to = config::heir(&head, &body, &face.config.now())?;
    let reply = face.read(Ask::Admin(Admin::HandOver { to })).await?;
    cluster::servers(&face.config.now(), &reply).ok_or_else(|| unexpected(reply))
}

/// The process lives, and its node too.
async fn healthz(State(face): State<Face>, request: Request) -> Result<Response, Problem> {
    drop(parts(request)?);
    if face.gateway.is_closed() {
        return Err(Problem::failed(Failure::NoQuorum));
    }
    Ok(cluster::healthy())
}

/// A leader is known, and this server has applied all that was decided when it asked: what a
/// linearizable read proves, and nothing less does.
async fn readyz(State(face): State<Face>, request: Request) -> Result<Response, Problem> {
    drop(parts(request)?);
    let key = Key::from_path("readyz").expect("a short path is a key");
    let ask = if face.config.now().takes_clients() {
        Ask::Inspect { key }
    } else {
        Ask::Admin(Admin::ReadConfig)
    };
    match clock::timeout(READY_PATIENCE, face.read(ask)).await {
        Some(Ok(Reply::Lock { slot, .. } | Reply::Config { slot, .. })) => Ok(cluster::ready(slot)),
        Some(Ok(reply)) => Err(unexpected(reply)),
        Some(Err(problem)) => Err(problem),
        None => Err(Problem::failed(Failure::NoQuorum)),
    }
}

impl Face {
    async fn acquire(
        &self,
        head: &Parts,
        claim: parts::Parts,
        params: Params,
    ) -> Result<Response, Problem> {
        let client = client_of(&head.headers)?;
        let is_async = params.is_async.unwrap_or_default();
        let wait_ms = params.wait_ms.unwrap_or_default();
        if is_async && client == Client::None {
            let detail = "an answer before the end needs a key that the end is asked for with";
            return Err(Problem::missing("Idempotency-Key", detail));
        }
        let acquire = Acquire {
            parts: claim,
            life: params.life.unwrap_or(Life::Lease {
                ttl_ms: TTL_MS_DEFAULT,
            }),
            wait_ms,
            holder: params.holder.unwrap_or_else(|| holder_of(head)),
            reentrant: false,
        };
        let mut call = self.call(client, Ask::Acquire(acquire))?;
        let first = decided(&mut call).await?;
        let is_kept = client != Client::None;
        self.wait_for(call, first, wait_ms, (is_kept, is_async))
            .await
    }

    /// Another share of what a grant holds: less is had at once, more is a grant that is waited for.
    async fn convert(
        &self,
        head: &Parts,
        parts: parts::Parts,
        params: Params,
    ) -> Result<Response, Problem> {
        let client = client_of(&head.headers)?;
        let proof = proof_of(head, &parts.first().key, &params)?;
        let wait_ms = params.wait_ms.unwrap_or_default();
        let ask = Ask::Convert(Convert {
            parts: parts.clone(),
            fence: proof.fence,
            session: proof.session,
            token: proof.token,
            wait_ms,
        });
        let mut call = self.call(client, ask)?;
        let is_kept = client != Client::None;
        match decided(&mut call).await? {
            (Answer::Converted { fence }, _, slot) => Ok(answers::converted(&parts, fence, slot)),
            first => self.wait_for(call, first, wait_ms, (is_kept, false)).await,
        }
    }

    /// Waits for the end of what may wait; if `is_async`, tells where it does. It is kept if a key of its caller stands
    /// for it.
    async fn wait_for(
        &self,
        mut call: Call<'_>,
        (answer, token, slot): Decided,
        wait_ms: u64,
        (is_kept, is_async): (bool, bool),
    ) -> Result<Response, Problem> {
        let (ticket, position) = match answer {
            Answer::Queued { ticket, position } => (ticket, Some(position)),
            Answer::Offered { ticket } => (ticket, None),
            answer => return end(answer, token, slot, None),
        };
        if is_async {
            return Ok(answers::accepted(ticket, position, is_kept, slot));
        }
        // The log ends the wait (rule 32). Where it says nothing, nor do we: the place is told.
        let patience = Duration::from_millis(wait_ms).saturating_add(self.wait_margin);
        match clock::timeout(patience, last(&mut call, ticket)).await {
            Some(ended) => {
                let (answer, token, slot) = ended?;
                end(answer, token, slot, position)
            }
            None => Ok(answers::accepted(ticket, position, is_kept, slot)),
        }
    }

    /// Asks for a change, and gives what the log decided.
    pub(crate) async fn decide(&self, client: Client, ask: Ask) -> Result<(Answer, Slot), Problem> {
        let mut call = self.call(client, ask)?;
        let (answer, _, slot) = decided(&mut call).await?;
        Ok((answer, slot))
    }

    /// Asks a question.
    pub(crate) async fn read(&self, ask: Ask) -> Result<Reply, Problem> {
        let mut call = self.call(Client::None, ask)?;
        match call.reply().await {
            Ok(Reply::Failed(failure)) => Err(Problem::failed(failure)),
            Ok(reply) => Ok(reply),
            // A question changes nothing: to ask elsewhere is safe.
            Err(NoAnswer) => Err(Problem::failed(Failure::NoQuorum)),
        }
    }

    fn call(&self, client: Client, ask: Ask) -> Result<Call<'_>, Problem> {
        let request = Wanted {
            zone: ZoneId::new(0),
            // Without TLS nobody is proved.
            principal: Bytes::new(),
            client,
            ask,
        };
        let call = self.gateway.call(request);
        call.map_err(|_| Problem::failed(Failure::Busy))
    }
}

type Decided = (Answer, Option<Token>, Slot);

/// The next answer of the log.
async fn decided(call: &mut Call<'_>) -> Result<Decided, Problem> {
    match call.reply().await {
        Ok(Reply::Decided {
            answer,
            token,
            slot,
        }) => Ok((answer, token, slot)),
        Ok(reply) => Err(unexpected(reply)),
        // It was handed in, and the node stopped.
        Err(NoAnswer) => Err(Problem::failed(Failure::Unknown)),
    }
}

/// The answer that ends the wait for `ticket`.
async fn last(call: &mut Call<'_>, ticket: TicketId) -> Result<Decided, Problem> {
    loop {
        match decided(call).await? {
            (Answer::Queued { ticket: same, .. } | Answer::Offered { ticket: same }, ..) => {
                assert!(same == ticket, "one request has one ticket");
            }
            decided => return Ok(decided),
        }
    }
}

fn end(
    answer: Answer,
    token: Option<Token>,
    slot: Slot,
    position: Option<u64>,
) -> Result<Response, Problem> {
    match (answer, token) {
        (Answer::Granted(grant), Some(token)) => Ok(answers::granted(&grant, token, slot)),
        (Answer::Refused(refusal), _) => Err(Problem::refused(refusal, position, slot)),
        (answer, _) => Err(refused(answer, slot)),
    }
}

/// An answer that is no success of what was asked.
pub(crate) fn refused(answer: Answer, slot: Slot) -> Problem {
    match answer {
        Answer::Refused(refusal) => Problem::refused(refusal, None, slot),
        // The ticket that a caller with a key waited for was cancelled by another request.
        Answer::Cancelled { .. } => Problem::refused(Refusal::Cancelled, None, slot),
        answer => {
            tracing::error!(?answer, "the node answered another question");
            Problem::failed(Failure::Unknown)
        }
    }
}

pub(crate) fn unexpected(reply: Reply) -> Problem {
    match reply {
        Reply::Failed(failure) => Problem::failed(failure),
        reply => {
            tracing::error!(?reply, "the node answered another question");
            Problem::failed(Failure::Unknown)
        }
    }
}

/// Splits a request whose head is not too long.
pub(crate) fn parts(request: Request) -> Result<(Parts, Body), Problem> {
    let (head, body) = request.into_parts();
    let address = head.uri.path_and_query();
    if address.map_or(0, |address| address.as_str().len()) > ADDRESS_BYTES_MAX {
        let detail = format!("an address has at most {ADDRESS_BYTES_MAX} bytes");
        return Err(Problem::too_long(StatusCode::URI_TOO_LONG, detail));
    }
    let fields = head.headers.iter();
    let bytes: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if bytes > HEAD_BYTES_MAX {
        let detail = format!("the fields of a head have at most {HEAD_BYTES_MAX} bytes together");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Problem::too_long(status, detail));
    }
    Ok((head, body))
}

fn key_of(head: &Parts) -> Result<Key, Problem> {
    let path = head.uri.path();
    keys::of_path(path.strip_prefix(LOCKS).unwrap_or(path))
}

fn proof_of(head: &Parts, key: &Key, params: &Params) -> Result<Proof, Problem> {
    let detail = "the `token` of the grant, in this header";
    let token = params.token;
    let token = token.ok_or_else(|| Problem::missing("Lock-Token", detail))?;
    check_if_match(&head.headers, &token)?;
    Ok(Proof {
        key: key.clone(),
        fence: token.fence,
        session: None,
        token: token.token,
    })
}

/// Who holds a lock that was asked for without a name: the address. (Not the port: a retry comes
/// from another one, and is the same request.)
pub(crate) fn holder_of(head: &Parts) -> Bytes {
    let from = head.extensions.get::<From>();
    from.map_or_else(Bytes::new, |From(address)| Bytes::from(address.to_string()))
}
