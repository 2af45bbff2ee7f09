//! `member`: the servers of the cluster, those that come and those that go.

use crate::args::{Member, MemberVerb, One, Output, Service};
use crate::config::{ask, change, member_line, pairs, print_change, text};
use crate::exit::{Code, Exit};
use crate::print;
use crate::web::{self, Ask};
use serde_json::Value;
use std::time::Duration;
use tenure_rt::clock;
use tenure_server::ask::ask_at;

/// How long a member may take to say that it is there.
const HEALTH_PATIENCE: Duration = Duration::from_secs(1);
/// How long a transfer may take: a leader gives one up after 0.3 s, an election takes less than 1 s.
const TRANSFER_PATIENCE: Duration = Duration::from_millis(1_500);
/// How long a leader that drains may look for a fit one: it tries every few seconds.
const DRAIN_PATIENCE: Duration = Duration::from_secs(15);
/// How often it is looked who leads meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) async fn member(member: &Member) -> Result<(), Exit> {
    match &member.verb {
        MemberVerb::Ls { service, print } => {
            let members = web::ask(service, &Ask::get("/v1/members")).await?;
            match print.output {
                Output::Json => print::line(&members.to_string()),
                Output::Table => ls(service, &members).await,
            }
        }
        MemberVerb::Transfer { id, service } => transfer(*id, service).await,
        MemberVerb::Set { id, edit } => change("PATCH", &format!("/v1/members/{id}"), edit).await,
        MemberVerb::Add(edit) => {
            let form = pairs(&edit.settings)?;
            let added = ask("POST", "/v1/members", form, edit.expect, &edit.service).await?;
            print_new(&added)
        }
        MemberVerb::Replace { id, edit } => {
            let path = format!("/v1/members/{id}:replace");
            let form = pairs(&edit.settings)?;
            let added = ask("POST", &path, form, edit.expect, &edit.service).await?;
            print_new(&added)
        }
        MemberVerb::Remove(one) => on_one("DELETE", one, "", Vec::new()).await,
        MemberVerb::Promote { one, quorum_only } => {
            let role = if *quorum_only { "quorum-only" } else { "voter" };
            on_one("POST", one, ":role", vec![("role", role)]).await
        }
        MemberVerb::Demote(one) => on_one("POST", one, ":role", vec![("role", "observer")]).await,
        MemberVerb::Approve(one) => on_one("POST", one, ":approve", Vec::new()).await,
        MemberVerb::Drain { one, wait } => {
            on_one("POST", one, ":drain", Vec::new()).await?;
            if *wait {
                led_by_another(one).await
            } else {
                Ok(())
            }
        }
        MemberVerb::Undrain(one) => on_one("POST", one, ":undrain", Vec::new()).await,
        MemberVerb::Invite { settings, service } => {
            let form = pairs(settings)?;
            let invited = ask("POST", "/v1/members:invite", form, None, service).await?;
            print::line(text(&invited["secret"]))
        }
        MemberVerb::Uninvite { hash, service } => {
            let form = vec![("secret_hash", hash.as_str())];
            let changed = ask("POST", "/v1/members:uninvite", form, None, service).await?;
            print_change(&changed)
        }
    }
}

async fn on_one(
    method: &'static str,
    one: &One,
    verb: &str,
    form: Vec<(&str, &str)>,
) -> Result<(), Exit> {
    let path = format!("/v1/members/{}{verb}", one.id);
    let changed = ask(method, &path, form, one.expect, &one.service).await?;
    print_change(&changed)
}

async fn transfer(id: Option<u64>, service: &Service) -> Result<(), Exit> {
    let to = id;
    let id = to.map(|id| id.to_string());
    let form: Vec<_> = id.iter().map(|id| ("to", id.as_str())).collect();
    let ask = Ask {
        method: "POST",
        path: "/v1/cluster:transfer-leader",
        form: &form,
        expect: None,
        key: None,
    };
    let asked = web::ask(service, &ask).await?;
    let before = leader(&asked);
    let mut now = before;
    let deadline = clock::now().plus(TRANSFER_PATIENCE);
    while !is_done(to, before, now) {
        if clock::now() >= deadline {
            return Err(Exit::new(Code::Refused, stays(to, now)));
        }
        clock::sleep(LOOK_EVERY).await;
        now = leader(&web::ask(service, &Ask::get("/v1/cluster")).await?);
    }
    print::line(&format!("Server {} leads.", now.unwrap_or_default()))
}

/// Waits until another server leads than this one, which drains.
async fn led_by_another(one: &One) -> Result<(), Exit> {
    let deadline = clock::now().plus(DRAIN_PATIENCE);
    loop {
        let now = leader(&web::ask(&one.service, &Ask::get("/v1/cluster")).await?);
        if let Some(now) = now.filter(|now| *now != one.id) {
            return print::line(&format!("Server {now} leads."));
        }
        if clock::now() >= deadline {
            return Err(Exit::new(Code::Refused, stays(None, now)));
        }
        clock::sleep(LOOK_EVERY).await;
    }
}

fn leader(cluster: &Value) -> Option<u64> {
    cluster["leader"].as_u64()
}

/// Whether the one that was asked for leads, or, if any will do, another one than before.
fn is_done(to: Option<u64>, before: Option<u64>, now: Option<u64>) -> bool {
    match to {
        Some(_) => now == to,
        None => now.is_some() && before.is_some() && now != before,
    }
}

/// What came of a transfer that came to nothing.
fn stays(to: Option<u64>, now: Option<u64>) -> String {
    match (now, to) {
        (None, _) => "no server leads: ask again once one does".to_owned(),
        (Some(now), None) => format!("server {now} leads on: no other one is fit to"),
        (Some(now), Some(to)) => {
            format!("server {now} leads: server {to} is not fit to, or did not answer in time")
        }
    }
}

fn print_new(added: &Value) -> Result<(), Exit> {
    print_change(added)?;
    let id = &added["id"];
    print::line(&format!(
        "Server {id} is expected: start it with `id = {id}` under [join] in its file."
    ))
}

/// Each member, whether it answers, and who leads.
async fn ls(service: &Service, members: &Value) -> Result<(), Exit> {
    let cluster = web::ask(service, &Ask::get("/v1/cluster")).await?;
    let leader = &cluster["leader"];
    for member in members["members"].as_array().into_iter().flatten() {
        let health = Ask::get("/healthz");
        let asked = ask_at(text(&member["http"]), &health);
        let answer = clock::timeout(HEALTH_PATIENCE, asked).await;
        let is_up = matches!(answer, Some(Ok((200, _))));
        let state = match (is_up, &member["id"] == leader) {
            (_, true) => "leads",
            (true, false) => "up",
            (false, false) => "down",
        };
        print::line(&format!("{state:<5} {}", member_line(member)))?;
    }
    for member in members["leaving"].as_array().into_iter().flatten() {
        print::line(&format!("leaves {}", member_line(member)))?;
    }
    for invitation in members["invitations"].as_array().into_iter().flatten() {
        print::line(&invitation_line(invitation))?;
    }
    Ok(())
}

fn invitation_line(invitation: &Value) -> String {
    let hash: String = text(&invitation["secret_hash"]).chars().take(8).collect();
    let seconds = invitation["remaining_ms"].as_u64().unwrap_or_default() / 1000;
    let approve = if invitation["approve"] == true {
        ", to be approved"
    } else {
        ""
    };
    let role = text(&invitation["role"]);
    format!("invitation {hash} for a {role}{approve}, for {seconds} s more")
}
