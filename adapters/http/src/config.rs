//! The shared configuration: what it is, who changed it, and changing it.

use crate::answers::{self, JSON};
use crate::fields::{Given, each, read_body};
use crate::params::{NOTHING, Params, client_of, config_expected};
use crate::problem::Problem;
use crate::router::{Face, holder_of, parts, refused, unexpected};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use std::time::Duration;
use tenure_core::config::{Change, Config, Invite, Mark, Member, Next, Past, Quota, Role, Shared};
use tenure_core::ids::{NodeId, Slot};
use tenure_core::machine::answer::Answer;
use tenure_core::machine::command::Configure;
use tenure_core::node::input::{Admin, Ask};
use tenure_core::node::output::Reply;
use tenure_core::time::Stamp;

const ZONES: &str = "/v1/zones/";

#[derive(Serialize)]
struct ConfigBody<'a> {
    cluster: String,
    change: u64,
    hash: String,
    epoch: u64,
    members: Vec<MemberBody<'a>>,
    zones: Vec<ZoneBody<'a>>,
    members_min: u8,
    leader_location: &'a str,
}

#[derive(Serialize)]
struct MemberBody<'a> {
    id: u64,
    peer: &'a str,
    client: &'a str,
    http: &'a str,
    location: &'a str,
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<NextBody>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    drains: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum NextBody {
    Become(&'static str),
    Leave {},
    MakeRoomFor(u64),
    Ask(&'static str),
}

#[derive(Serialize)]
struct ZoneBody<'a> {
    id: u32,
    name: &'a str,
    #[serde(flatten)]
    quota: QuotaBody,
}

#[derive(Serialize)]
struct QuotaBody {
    locks: Option<u64>,
    tickets: Option<u64>,
    sessions: Option<u64>,
}

#[derive(Serialize)]
struct MembersBody<'a> {
    epoch: u64,
    members: Vec<MemberBody<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    leaving: Vec<MemberBody<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    invitations: Vec<InviteBody>,
}

#[derive(Serialize)]
struct InviteBody {
    secret_hash: String,
    role: &'static str,
    approve: bool,
    remaining_ms: u64,
}

#[derive(Serialize)]
struct HistoryBody<'a> {
    changes: Vec<PastBody<'a>>,
}

#[derive(Serialize)]
struct PastBody<'a> {
    change: u64,
    hash: String,
    age_ms: u64,
    by: &'a str,
    what: ChangeBody<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ChangeBody<'a> {
    Member(MemberBody<'a>),
    Zone {
        name: &'a str,
        #[serde(flatten)]
        quota: QuotaBody,
    },
    Policy {
        members_min: u8,
        leader_location: &'a str,
    },
    Add(MemberBody<'a>),
    Role {
        id: u64,
        role: &'static str,
    },
    Remove {
        id: u64,
    },
    Replace {
        id: u64,
        by: MemberBody<'a>,
    },
    Invite {
        role: &'static str,
        approve: bool,
        ttl_ms: u64,
    },
    Uninvite {},
    Join(MemberBody<'a>),
    Approve {
        id: u64,
    },
    Epoch {
        epoch: u64,
        voters: Vec<u64>,
    },
    Drain {
        id: u64,
        drains: bool,
    },
}

#[derive(Serialize)]
struct MarkBody {
    change: u64,
    hash: String,
}

impl<'a> MemberBody<'a> {
    fn of(member: &'a Member) -> Self {
        Self {
            id: member.node.get(),
            peer: &member.peer,
            client: &member.client,
            http: &member.http,
            location: &member.location,
            role: role(member.role),
            next: member.next.map(NextBody::of),
            drains: false,
        }
    }

    fn all(shared: &'a Shared) -> Vec<Self> {
        let member = |member: &'a Member| Self {
            drains: shared.drains(member.node),
            ..Self::of(member)
        };
        shared.members().iter().map(member).collect()
    }
}

impl NextBody {
    const fn of(next: Next) -> Self {
        match next {
            Next::Become(wanted) => Self::Become(role(wanted)),
            Next::Leave => Self::Leave {},
            Next::MakeRoomFor(node) => Self::MakeRoomFor(node.get()),
            Next::Ask(wanted) => Self::Ask(role(wanted)),
        }
    }
}

/// What a role is called.
pub(crate) const fn role(role: Role) -> &'static str {
    match role {
        Role::Voter => "voter",
        Role::QuorumOnly => "quorum-only",
        Role::Observer => "observer",
    }
}

impl QuotaBody {
    const fn of(quota: Quota) -> Self {
        Self {
            locks: quota.locks,
            tickets: quota.tickets,
            sessions: quota.sessions,
        }
    }
}

impl<'a> PastBody<'a> {
    fn of(past: &'a Past, now: Stamp) -> Self {
        Self {
            change: past.mark.change.get(),
            hash: hash(past.mark),
            age_ms: millis(now.since(past.stamp)),
            by: &past.by,
            what: ChangeBody::of(&past.change),
        }
    }
}

impl<'a> ChangeBody<'a> {
    fn of(change: &'a Change) -> Self {
        match change {
            Change::Member(member) => Self::Member(MemberBody::of(member)),
            Change::Zone { name, quota } => Self::Zone {
                name,
                quota: QuotaBody::of(*quota),
            },
            Change::Policy(policy) => Self::Policy {
                members_min: policy.members_min,
                leader_location: &policy.leader_location,
            },
            Change::Add(member) => Self::Add(MemberBody::of(member)),
            Change::Role { node, role: wanted } => Self::Role {
                id: node.get(),
                role: role(*wanted),
            },
            Change::Remove { node } => Self::Remove { id: node.get() },
            Change::Replace { old, new } => Self::Replace {
                id: old.get(),
                by: MemberBody::of(new),
            },
            Change::Invite {
                secret_hash: _,
                role: wanted,
                approve,
                ttl_ms,
            } => Self::Invite {
                role: role(*wanted),
                approve: *approve,
                ttl_ms: *ttl_ms,
            },
            Change::Uninvite { secret_hash: _ } => Self::Uninvite {},
            Change::Join {
                secret_hash: _,
                member,
            } => Self::Join(MemberBody::of(member)),
            Change::Approve { node } => Self::Approve { id: node.get() },
            Change::Epoch(next) => Self::Epoch {
                epoch: next.epoch().get(),
                voters: next.seats().iter().map(|seat| seat.node.get()).collect(),
            },
            Change::Drain { node, drains } => Self::Drain {
                id: node.get(),
                drains: *drains,
            },
        }
    }
}

fn hash(mark: Mark) -> String {
    format!("{:016x}", mark.hash)
}

/// The configuration as a document.
pub(crate) fn config(shared: &Shared, slot: Slot) -> Response {
    let zones = shared.zones().iter().map(|(id, zone)| ZoneBody {
        id: id.get(),
        name: &zone.name,
        quota: QuotaBody::of(zone.quota),
    });
    let mark = shared.mark();
    let body = ConfigBody {
        cluster: shared.cluster().to_string(),
        change: mark.change.get(),
        hash: hash(mark),
        epoch: shared.epoch().get(),
        members: MemberBody::all(shared),
        zones: zones.collect(),
        members_min: shared.policy().members_min,
        leader_location: &shared.policy().leader_location,
    };
    marked(mark, slot, &body)
}

/// The members as a document, and who may become one.
pub(crate) fn members(shared: &Shared, now: Stamp, slot: Slot) -> Response {
    let invites = shared.invites().iter().filter(|it| it.until > now);
    let invite = |invite: &Invite| InviteBody {
        secret_hash: hex(&invite.secret_hash),
        role: role(invite.role),
        approve: invite.approve,
        remaining_ms: millis(invite.until.since(now)),
    };
    let body = MembersBody {
        epoch: shared.epoch().get(),
        members: MemberBody::all(shared),
        leaving: shared.leaving().iter().map(MemberBody::of).collect(),
        invitations: invites.map(invite).collect(),
    };
    marked(shared.mark(), slot, &body)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Two digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The last changes as a document, the newest first.
pub(crate) fn history(shared: &Shared, now: Stamp, slot: Slot) -> Response {
    let changes = shared.history().rev().map(|past| PastBody::of(past, now));
    let body = HistoryBody {
        changes: changes.collect(),
    };
    marked(shared.mark(), slot, &body)
}

/// A change that was made, as a document.
pub(crate) fn changed(mark: Mark, slot: Slot) -> Response {
    let body = MarkBody {
        change: mark.change.get(),
        hash: hash(mark),
    };
    marked(mark, slot, &body)
}

/// With the change as its tag: what `If-Match` of the next change names.
pub(crate) fn marked(mark: Mark, slot: Slot, body: &impl Serialize) -> Response {
    let mut response = answers::document(StatusCode::OK, JSON, Some(slot), body);
    let tag = HeaderValue::from_str(&format!("\"{}\"", mark.change));
    let tag = tag.expect("digits in quotes are a header");
    response.headers_mut().insert(header::ETAG, tag);
    response
}

pub(crate) async fn show(State(face): State<Face>, request: Request) -> Result<Response, Problem> {
    let (shared, slot, _) = face.shared(request).await?;
    Ok(config(&shared, slot))
}

pub(crate) async fn show_members(
    State(face): State<Face>,
    request: Request,
) -> Result<Response, Problem> {
    let (shared, slot, now) = face.shared(request).await?;
    Ok(members(&shared, now, slot))
}

pub(crate) async fn show_history(
    State(face): State<Face>,
    request: Request,
) -> Result<Response, Problem> {
    let (shared, slot, now) = face.shared(request).await?;
    Ok(history(&shared, now, slot))
}

/// `PATCH /v1/config`: how the cluster serves.
pub(crate) async fn patch_policy(
    State(face): State<Face>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = parts(request)?;
    let body = read_body(body).await?;
    face.configure(
        &head,
        &body,
        &["members_min", "leader_location"],
        |shared, fields| {
            let mut policy = shared.policy().clone();
            fields.number("members_min", &mut policy.members_min)?;
            fields.text("leader_location", &mut policy.leader_location);
            Ok(Change::Policy(policy))
        },
    )
    .await
}

/// `PUT /v1/zones/{zone}`: a tenant, and how much it may have.
pub(crate) async fn put_zone(
    State(face): State<Face>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = parts(request)?;
    let body = read_body(body).await?;
    let name = last_part(&head, ZONES)?;
    face.configure(
        &head,
        &body,
        &["locks", "tickets", "sessions"],
        |shared, fields| {
            let zone = shared.zone_named(&name);
            let mut quota = zone.map_or_else(Quota::default, |id| shared.quota(id));
            fields.bound("locks", &mut quota.locks)?;
            fields.bound("tickets", &mut quota.tickets)?;
            fields.bound("sessions", &mut quota.sessions)?;
            Ok(Change::Zone { name, quota })
        },
    )
    .await
}

/// Who shall lead: the member that `to` names, or whoever is fittest.
pub(crate) fn heir(head: &Parts, body: &[u8], config: &Config) -> Result<Option<NodeId>, Problem> {
    let fields = Fields::read(head, body, &["to"])?;
    let Some(to) = fields.given("to") else {
        return Ok(None);
    };
    let node = to.parse().ok().map(NodeId::new);
    let node = node.filter(|node| config.shared().member(*node).is_some());
    node.map(Some)
        .ok_or_else(|| Problem::bad_value("to", "expected the id of a member"))
}

/// What stands behind `before` in the address, and no more parts.
pub(crate) fn last_part(head: &Parts, before: &str) -> Result<String, Problem> {
    let path = head.uri.path();
    let part = path.strip_prefix(before).unwrap_or_default();
    let decoded = percent_encoding::percent_decode_str(part).decode_utf8();
    let decoded = decoded.map_err(|_| Problem::bad_value("path", "it is not UTF-8"))?;
    Ok(decoded.into_owned())
}

/// What a request for a change says: each field once.
pub(crate) struct Fields(Vec<(&'static str, String)>);

impl Fields {
    pub(crate) fn read(head: &Parts, body: &[u8], known: &[&'static str]) -> Result<Self, Problem> {
        let mut fields = Vec::new();
        each(head, body, |name, value: Given<'_>| {
            let field = known.iter().find(|field| **field == name);
            let Some(field) = field else {
                return Err(Problem::unknown_field(name, known));
            };
            if fields.iter().any(|(given, _)| given == field) {
                return Err(Problem::twice(field));
            }
            fields.push((*field, value.text(field)?.into_owned()));
            Ok(())
        })?;
        Ok(Self(fields))
    }

    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(field, _)| *field == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self, name: &str, into: &mut String) {
        if let Some(text) = self.given(name) {
            text.clone_into(into);
        }
    }

    fn number(&self, name: &'static str, into: &mut u8) -> Result<(), Problem> {
        if let Some(text) = self.given(name) {
            let number = text.parse().ok();
            *into = number.ok_or_else(|| Problem::bad_value(name, "expected a small number"))?;
        }
        Ok(())
    }

    fn bound(&self, name: &'static str, into: &mut Option<u64>) -> Result<(), Problem> {
        match self.given(name) {
            None => {}
            Some("none") => *into = None,
            Some(text) => {
                let number = text.parse().ok();
                let what = "expected a number, or \"none\"";
                *into = Some(number.ok_or_else(|| Problem::bad_value(name, what))?);
            }
        }
        Ok(())
    }
}

impl Face {
    /// The configuration, where in the log it is that, and agreed time there.
    async fn shared(&self, request: Request) -> Result<(Shared, Slot, Stamp), Problem> {
        let (head, _) = parts(request)?;
        Params::read(&head, &[], NOTHING)?;
        self.read_config().await
    }

    pub(crate) async fn read_config(&self) -> Result<(Shared, Slot, Stamp), Problem> {
        match self.read(Ask::Admin(Admin::ReadConfig)).await? {
            Reply::Config {
                shared,
                slot,
                stamp,
            } => Ok((shared, slot, stamp)),
            reply => Err(unexpected(reply)),
        }
    }

    /// Makes the change that `change` makes of the configuration as it is. If another comes in
    /// between, or if it is not the one that `If-Match` names, nothing changes.
    pub(crate) async fn configure(
        &self,
        head: &Parts,
        body: &[u8],
        known: &[&'static str],
        change: impl FnOnce(&Shared, &Fields) -> Result<Change, Problem>,
    ) -> Result<Response, Problem> {
        let (mark, slot) = self.change(head, body, known, change).await?;
        Ok(changed(mark, slot))
    }

    /// As [`Self::configure`], but the answer is not written yet.
    pub(crate) async fn change(
        &self,
        head: &Parts,
        body: &[u8],
        known: &[&'static str],
        change: impl FnOnce(&Shared, &Fields) -> Result<Change, Problem>,
    ) -> Result<(Mark, Slot), Problem> {
        let known = [known, &["by"]].concat();
        let fields = Fields::read(head, body, &known)?;
        let client = client_of(&head.headers)?;
        let expected = config_expected(&head.headers)?;
        let (shared, ..) = self.read_config().await?;
        let change = change(&shared, &fields)?;
        let from = holder_of(head);
        let by = fields.given("by").map(str::to_owned);
        let configure = Configure {
            expect: expected.unwrap_or(shared.mark().change),
            by: by.unwrap_or_else(|| String::from_utf8_lossy(&from).into_owned()),
            change,
        };
        let ask = Ask::Admin(Admin::Configure(configure));
        match self.decide(client, ask).await? {
            (Answer::Configured { mark }, slot) => Ok((mark, slot)),
            (answer, slot) => Err(refused(answer, slot)),
        }
    }
}
