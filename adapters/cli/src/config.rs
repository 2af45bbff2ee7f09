//! `config`, `member`, `zone`: the configuration that all servers share.

use crate::args::{Config, ConfigVerb, Edit, Member, MemberVerb, Output, ZoneSet};
use crate::exit::{Code, Exit};
use crate::print;
use crate::verbs::who;
use crate::web::{self, Ask, escaped};
use serde_json::Value;

pub(crate) async fn config(config: &Config) -> Result<(), Exit> {
    match &config.verb {
        ConfigVerb::Show { service, print } => {
            let config = web::ask(service, &Ask::get("/v1/config")).await?;
            match print.output {
                Output::Json => print::line(&config.to_string()),
                Output::Table => show(&config),
            }
        }
        ConfigVerb::History { service, print } => {
            let history = web::ask(service, &Ask::get("/v1/config/history")).await?;
            match print.output {
                Output::Json => print::line(&history.to_string()),
                Output::Table => show_history(&history),
            }
        }
        ConfigVerb::Set(edit) => change("PATCH", "/v1/config", edit).await,
    }
}

pub(crate) async fn member(member: &Member) -> Result<(), Exit> {
    match &member.verb {
        MemberVerb::Ls { service, print } => {
            let members = web::ask(service, &Ask::get("/v1/members")).await?;
            match print.output {
                Output::Json => print::line(&members.to_string()),
                Output::Table => show_members(&members),
            }
        }
        MemberVerb::Transfer { id, service } => {
            let id = id.map(|id| id.to_string());
            let form: Vec<_> = id.iter().map(|id| ("to", id.as_str())).collect();
            let ask = Ask {
                method: "POST",
                path: "/v1/cluster:transfer-leader",
                form: &form,
                expect: None,
            };
            web::ask(service, &ask).await?;
            print::line("Asked.")
        }
        MemberVerb::Set { id, edit } => change("PATCH", &format!("/v1/members/{id}"), edit).await,
    }
}

pub(crate) async fn zone(zone: &ZoneSet) -> Result<(), Exit> {
    let path = format!("/v1/zones/{}", escaped(&zone.name));
    change("PUT", &path, &zone.edit).await
}

/// Makes a change, and says what it is called.
async fn change(method: &'static str, path: &str, edit: &Edit) -> Result<(), Exit> {
    let mut form = Vec::new();
    for setting in &edit.settings {
        let Some((name, value)) = setting.split_once('=') else {
            let message = format!("{setting}: write NAME=VALUE");
            return Err(Exit::new(Code::Usage, message));
        };
        form.push((name, value));
    }
    let by = who();
    form.push(("by", &by));
    let ask = Ask {
        method,
        path,
        form: &form,
        expect: edit.expect,
    };
    let changed = web::ask(&edit.service, &ask).await?;
    print::line(&format!(
        "Change {} {}",
        changed["change"],
        text(&changed["hash"])
    ))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn show(config: &Value) -> Result<(), Exit> {
    let (change, epoch) = (&config["change"], &config["epoch"]);
    let (cluster, hash) = (text(&config["cluster"]), text(&config["hash"]));
    print::line(&format!(
        "cluster {cluster}   change {change} {hash}   epoch {epoch}"
    ))?;
    print::line(&format!("  members_min       {}", config["members_min"]))?;
    print::line(&format!(
        "  leader_location   {}",
        text(&config["leader_location"])
    ))?;
    show_members(config)?;
    for zone in config["zones"].as_array().into_iter().flatten() {
        let bound = |name: &str| match zone[name].as_u64() {
            Some(bound) => format!("{name} {bound}"),
            None => format!("{name} none"),
        };
        let bounds = ["locks", "tickets", "sessions"].map(bound).join("   ");
        print::line(&format!("  zone {:<10} {bounds}", text(&zone["name"])))?;
    }
    Ok(())
}

fn show_members(config: &Value) -> Result<(), Exit> {
    for member in config["members"].as_array().into_iter().flatten() {
        let at = |name: &str| text(&member[name]).to_owned();
        let line = format!(
            "  member {:<4} peer {}   client {}   http {}   {}",
            member["id"],
            at("peer"),
            at("client"),
            at("http"),
            at("location")
        );
        print::line(line.trim_end())?;
    }
    Ok(())
}

fn show_history(history: &Value) -> Result<(), Exit> {
    for past in history["changes"].as_array().into_iter().flatten() {
        let age = past["age_ms"].as_u64().unwrap_or_default() / 1000;
        let (change, by, what) = (&past["change"], text(&past["by"]), &past["what"]);
        print::line(&format!("{change:<8} {age} s ago   {by}   {what}"))?;
    }
    Ok(())
}
