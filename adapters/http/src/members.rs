//! Servers come and go: adding, inviting, joining, replacing, removing.
//!
//! None of it changes who votes at once. A newcomer is noted, learns what the others have, and counts
//! from the next epoch on (`docs/CONSENSUS.md`).

use crate::answers::{self, JSON};
use crate::config::{Fields, hex, last_part, marked};
use crate::duration::parse_ms;
use crate::fields::read_body;
use crate::problem::Problem;
use crate::router::{Face, parts, refused, wrong_method};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::io;
use tenure_core::config::{Change, Member, Next, Role, Shared};
use tenure_core::ids::{NodeId, Slot};
use tenure_core::machine::answer::{Answer, Refusal};
use tenure_core::machine::command::{Client, Configure};
use tenure_core::node::input::{Admin, Ask};
use tenure_core::node::output::Failure;
use tenure_core::time::Stamp;

const MEMBERS: &str = "/v1/members/";
/// What a newcomer says of itself.
const PLACES: [&str; 4] = ["peer", "client", "http", "location"];
/// How long an invitation stands, unless said.
const INVITE_MS: u64 = 3_600_000;
/// How often a server that joins is let try again because other changes came first.
const JOIN_TRIES: usize = 16;

#[derive(Serialize)]
struct NewBody {
    change: u64,
    hash: String,
    id: u64,
}

#[derive(Serialize)]
struct InvitedBody {
    change: u64,
    hash: String,
    secret: String,
}

#[derive(Serialize)]
struct JoinedBody {
    id: u64,
    cluster: String,
    /// Whether it is to wait for an operator.
    waits: bool,
    /// What the cluster began with.
    genesis: String,
    /// What it is now.
    config: String,
}

/// `POST /v1/members`: a new member, which an operator starts then.
pub(crate) async fn add(State(face): State<Face>, request: Request) -> Result<Response, Problem> {
    face.put_new(request, |_, new| Ok(Change::Add(new))).await
}

/// `DELETE /v1/members/{id}`
pub(crate) async fn remove(
    State(face): State<Face>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = parts(request)?;
    let body = read_body(body).await?;
    let id = last_part(&head, MEMBERS)?;
    let remove = |shared: &Shared, _: &Fields| {
        let node = known(shared, &id)?.node;
        Ok(Change::Remove { node })
    };
    face.configure(&head, &body, &[], remove).await
}

/// `POST /v1/members/{id}:verb`
pub(crate) async fn on_one(
    State(face): State<Face>,
    request: Request,
) -> Result<Response, Problem> {
    let part = request
        .uri()
        .path()
        .strip_prefix(MEMBERS)
        .unwrap_or_default();
    let Some((id, verb)) = part.rsplit_once(':') else {
        return Err(wrong_method("PATCH, DELETE").await);
    };
    let (id, verb) = (id.to_owned(), verb.to_owned());
    match verb.as_str() {
        "replace" => {
            let old = |shared: &Shared| known(shared, &id).map(|member| member.node);
            let replace = |shared: &Shared, new| {
                Ok(Change::Replace {
                    old: old(shared)?,
                    new,
                })
            };
            face.put_new(request, replace).await
        }
        "role" => {
            let change = |node, fields: &Fields| {
                let role = role_of(fields)?;
                let role = role.ok_or_else(|| Problem::missing("role", ROLES))?;
                Ok(Change::Role { node, role })
            };
            face.change_one(request, &id, &["role"], change).await
        }
        "approve" => {
            let change = |node, _: &Fields| Ok(Change::Approve { node });
            face.change_one(request, &id, &[], change).await
        }
        "drain" | "undrain" => {
            let drains = verb == "drain";
            let change = |node, _: &Fields| Ok(Change::Drain { node, drains });
            face.change_one(request, &id, &[], change).await
        }
        _ => Err(Problem::not_found(
            "a member knows :replace, :role, :approve, :drain, :undrain",
        )),
    }
}

/// `PATCH /v1/members/{id}`: where a member is reached, and where it stands.
pub(crate) async fn patch(State(face): State<Face>, request: Request) -> Result<Response, Problem> {
    let (head, body) = parts(request)?;
    let body = read_body(body).await?;
    let id = last_part(&head, MEMBERS)?;
    let change = |shared: &Shared, fields: &Fields| {
        let mut member = known(shared, &id)?.clone();
        put_places(&mut member, fields);
        Ok(Change::Member(member))
    };
    face.configure(&head, &body, &PLACES, change).await
}

/// `POST /v1/members:invite`: whoever has the secret may join, once.
pub(crate) async fn invite(
    State(face): State<Face>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = parts(request)?;
    let body = read_body(body).await?;
    let secret = draw_secret().map_err(|error| {
        tracing::error!(%error, "no secret can be drawn");
        Problem::failed(Failure::Busy)
    })?;
    let known = ["role", "approve", "ttl"];
    let change = |_: &Shared, fields: &Fields| {
        Ok(Change::Invite {
            secret_hash: hash_of(&secret),
            role: role_of(fields)?.unwrap_or_default(),
            approve: flag(fields, "approve")?,
            ttl_ms: ttl_ms(fields)?,
        })
    };
    let (mark, slot) = face.change(&head, &body, &known, change).await?;
    let body = InvitedBody {
        change: mark.change.get(),
        hash: format!("{:016x}", mark.hash),
        secret,
    };
    Ok(marked(mark, slot, &body))
}

/// `POST /v1/members:uninvite`: nobody may join with this secret any more.
pub(crate) async fn uninvite(
    State(face): State<Face>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = parts(request)?;
    let body = read_body(body).await?;
    let change = |shared: &Shared, fields: &Fields| {
        let by_secret = fields.given("secret").map(|secret| hex(&hash_of(secret)));
        let begins = by_secret.as_deref().or_else(|| fields.given("secret_hash"));
        let begins = begins.ok_or_else(|| Problem::missing("secret", "which invitation?"))?;
        let invites = shared.invites().iter().map(|invite| invite.secret_hash);
        let mut found = invites.filter(|hash| hex(hash).starts_with(begins));
        match (found.next(), found.next()) {
            (Some(secret_hash), None) => Ok(Change::Uninvite { secret_hash }),
            (None, _) => Err(Problem::not_found("there is no such invitation")),
            (Some(_), Some(_)) => Err(Problem::bad_value(
                "secret_hash",
                "two invitations begin so: give more of its digits",
            )),
        }
    };
    let known = ["secret", "secret_hash"];
    face.configure(&head, &body, &known, change).await
}

/// `POST /v1/members:join`: a server that has a secret, or that an operator added, asks what it needs
/// for its first start.
pub(crate) async fn join(State(face): State<Face>, request: Request) -> Result<Response, Problem> {
    let (head, body) = parts(request)?;
    let body = read_body(body).await?;
    let fields = Fields::read(
        &head,
        &body,
        &["secret", "id", "peer", "client", "http", "location"],
    )?;
    let mut member = Member::default();
    put_places(&mut member, &fields);
    if member.peer.is_empty() {
        return Err(Problem::missing("peer", "where do its peers reach it?"));
    }
    let (shared, node, slot) = match (fields.given("secret"), fields.given("id")) {
        (Some(secret), None) => face.join(hash_of(secret), member).await?,
        (None, Some(id)) => face.join_as(id, &member).await?,
        (None, None) | (Some(_), Some(_)) => {
            let detail = "the secret of an invitation, or the `id` of a member that was added";
            return Err(Problem::missing("secret", detail));
        }
    };
    let next = shared.member(node).and_then(|member| member.next);
    let body = JoinedBody {
        id: node.get(),
        cluster: shared.cluster().to_string(),
        waits: matches!(next, Some(Next::Ask(_))),
        genesis: hex(&face.genesis),
        config: hex(&shared.encode()),
    };
    Ok(answers::document(StatusCode::OK, JSON, Some(slot), &body))
}

/// The member with this number.
fn known<'a>(shared: &'a Shared, id: &str) -> Result<&'a Member, Problem> {
    let node = id.parse().ok().map(NodeId::new);
    let found = node.and_then(|node| shared.member(node));
    found.ok_or_else(|| Problem::not_found("there is no such member"))
}

/// A number that no member ever had.
fn next_node(shared: &Shared) -> NodeId {
    NodeId::new(shared.node_last().get() + 1)
}

fn put_places(member: &mut Member, fields: &Fields) {
    fields.text("peer", &mut member.peer);
    fields.text("client", &mut member.client);
    fields.text("http", &mut member.http);
    fields.text("location", &mut member.location);
}

const ROLES: &str = "expected voter, quorum-only or observer";

fn role_of(fields: &Fields) -> Result<Option<Role>, Problem> {
    match fields.given("role") {
        None => Ok(None),
        Some("voter") => Ok(Some(Role::Voter)),
        Some("quorum-only") => Ok(Some(Role::QuorumOnly)),
        Some("observer") => Ok(Some(Role::Observer)),
        Some(_) => Err(Problem::bad_value("role", ROLES)),
    }
}

fn flag(fields: &Fields, name: &'static str) -> Result<bool, Problem> {
    match fields.given(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Problem::bad_value(name, "expected true or false")),
    }
}

fn ttl_ms(fields: &Fields) -> Result<u64, Problem> {
    let text = fields.given("ttl");
    let ttl = text.map_or(Some(INVITE_MS), parse_ms);
    ttl.ok_or_else(|| Problem::bad_value("ttl", "expected a duration like 1h"))
}

fn hash_of(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn draw_secret() -> io::Result<String> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(io::Error::other)?;
    Ok(hex(&secret))
}

/// The server that came by this invitation, if one did and the log still has it.
fn came_by(shared: &Shared, hash: &[u8; 32]) -> Option<(NodeId, String)> {
    shared.history().rev().find_map(|past| match &past.change {
        Change::Join {
            secret_hash,
            member,
        } if secret_hash == hash => Some((member.node, member.peer.clone())),
        Change::Join { .. }
        | Change::Member(_)
        | Change::Zone { .. }
        | Change::Policy(_)
        | Change::Add(_)
        | Change::Role { .. }
        | Change::Remove { .. }
        | Change::Replace { .. }
        | Change::Invite { .. }
        | Change::Uninvite { .. }
        | Change::Approve { .. }
        | Change::Epoch(_)
        | Change::Drain { .. } => None,
    })
}

/// Whether an invitation with this secret stands; if not, why.
fn check_invited(shared: &Shared, hash: &[u8; 32], now: Stamp) -> Result<(), Problem> {
    let mut invites = shared.invites().iter();
    if let Some(invite) = invites.find(|invite| invite.secret_hash == *hash) {
        let is_over = invite.until <= now;
        return if is_over {
            Err(Problem::invitation_over())
        } else {
            Ok(())
        };
    }
    let was_there = shared.history().any(
        |past| matches!(&past.change, Change::Invite { secret_hash, .. } if secret_hash == hash),
    );
    Err(if was_there {
        Problem::invitation_over()
    } else {
        Problem::not_invited()
    })
}

impl Face {
    /// Makes the change that `change` makes of the member `id`.
    async fn change_one(
        &self,
        request: Request,
        id: &str,
        fields: &[&'static str],
        change: impl FnOnce(NodeId, &Fields) -> Result<Change, Problem>,
    ) -> Result<Response, Problem> {
        let (head, body) = parts(request)?;
        let body = read_body(body).await?;
        let change = |shared: &Shared, fields: &Fields| change(known(shared, id)?.node, fields);
        self.configure(&head, &body, fields, change).await
    }

    /// Makes the change that `change` makes of a new member, and tells its number.
    async fn put_new(
        &self,
        request: Request,
        change: impl FnOnce(&Shared, Member) -> Result<Change, Problem>,
    ) -> Result<Response, Problem> {
        let (head, body) = parts(request)?;
        let body = read_body(body).await?;
        let mut node = NodeId::default();
        let new = |shared: &Shared, fields: &Fields| {
            let mut member = Member::default();
            put_places(&mut member, fields);
            if member.peer.is_empty() {
                return Err(Problem::missing("peer", "where do its peers reach it?"));
            }
            member.role = role_of(fields)?.unwrap_or_default();
            node = next_node(shared);
            member.node = node;
            change(shared, member)
        };
        let known = [&PLACES[..], &["role"]].concat();
        let (mark, slot) = self.change(&head, &body, &known, new).await?;
        let body = NewBody {
            change: mark.change.get(),
            hash: format!("{:016x}", mark.hash),
            id: node.get(),
        };
        Ok(marked(mark, slot, &body))
    }

    /// Lets a server in by its secret. Asked again before it counts, it gets the same number again: it
    /// may not have heard the first answer.
    async fn join(
        &self,
        hash: [u8; 32],
        mut member: Member,
    ) -> Result<(Shared, NodeId, Slot), Problem> {
        for _ in 0..JOIN_TRIES {
            let (shared, slot, now) = self.read_config().await?;
            if let Some((node, peer)) = came_by(&shared, &hash) {
                let known = shared.member(node);
                let waits = known.is_some_and(|known| known.role == Role::Observer);
                return if waits && peer == member.peer {
                    Ok((shared, node, slot))
                } else {
                    Err(Problem::invitation_used(node.get()))
                };
            }
            check_invited(&shared, &hash, now)?;
            member.node = next_node(&shared);
            let configure = Configure {
                expect: shared.mark().change,
                by: format!("server {}", member.node),
                change: Change::Join {
                    secret_hash: hash,
                    member: member.clone(),
                },
            };
            let ask = Ask::Admin(Admin::Configure(configure));
            match self.decide(Client::None, ask).await? {
                // Read once more: what is answered is what the log says.
                (Answer::Configured { .. } | Answer::Refused(Refusal::ConfigMoved { .. }), _) => {}
                (answer, slot) => return Err(refused(answer, slot)),
            }
        }
        Err(Problem::failed(Failure::Busy))
    }

    /// Lets a server start that an operator added. One that votes has something to lose: it never
    /// starts empty.
    async fn join_as(&self, id: &str, member: &Member) -> Result<(Shared, NodeId, Slot), Problem> {
        let (shared, slot, _) = self.read_config().await?;
        let found = known(&shared, id)?;
        if found.role != Role::Observer {
            return Err(Problem::no_empty_start(found.node.get()));
        }
        if found.peer != member.peer {
            let detail = format!("server {id} is expected at {}", found.peer);
            return Err(Problem::bad_value("peer", detail));
        }
        let node = found.node;
        Ok((shared, node, slot))
    }
}
