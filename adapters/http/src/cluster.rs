//! How the servers are.

use crate::answers::{self, JSON};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use tenure_core::config::Config;
use tenure_core::ids::Slot;
use tenure_core::node::output::Reply;

#[derive(Serialize)]
struct ClusterBody<'a> {
    cluster: String,
    /// Who says so.
    server: u64,
    leader: Option<u64>,
    applied: u64,
    /// None where no locks are kept.
    digest: Option<String>,
    servers: Vec<ServerBody<'a>>,
}

#[derive(Serialize)]
struct ServerBody<'a> {
    id: u64,
    http: &'a str,
    client: &'a str,
    location: &'a str,
    leader: bool,
}

/// The servers of the cluster; none if `reply` does not tell them.
pub(crate) fn servers(config: &Config, reply: &Reply) -> Option<Response> {
    let Reply::Servers {
        nodes,
        leader,
        applied,
        digest,
    } = reply
    else {
        return None;
    };
    let members = config.members().iter();
    let servers = members
        .filter(|member| nodes.contains(&member.node))
        .map(|member| ServerBody {
            id: member.node.get(),
            http: &member.http,
            client: &member.client,
            location: &member.location,
            leader: *leader == Some(member.node),
        });
    let body = ClusterBody {
        cluster: config.cluster().to_string(),
        server: config.me().get(),
        leader: leader.map(|leader| leader.get()),
        applied: applied.get(),
        digest: config.takes_clients().then(|| format!("{digest:016x}")),
        servers: servers.collect(),
    };
    Some(answers::document(
        StatusCode::OK,
        JSON,
        Some(*applied),
        &body,
    ))
}

#[derive(Serialize)]
struct HealthBody {
    status: &'static str,
}

/// The process lives.
pub(crate) fn healthy() -> Response {
    let body = HealthBody { status: "ok" };
    answers::document(StatusCode::OK, JSON, None, &body)
}

/// This server serves.
pub(crate) fn ready(slot: Slot) -> Response {
    let body = HealthBody { status: "ready" };
    answers::document(StatusCode::OK, JSON, Some(slot), &body)
}
