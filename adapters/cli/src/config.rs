//! `config`, `zone`: the configuration that all servers share.

use crate::args::{Config, ConfigVerb, Edit, Output, Service, ZoneSet};
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

pub(crate) async fn zone(zone: &ZoneSet) -> Result<(), Exit> {
    let path = format!("/v1/zones/{}", escaped(&zone.name));
    change("PUT", &path, &zone.edit).await
}

/// Makes a change, and says what it is called.
pub(crate) async fn change(method: &'static str, path: &str, edit: &Edit) -> Result<(), Exit> {
    let form = pairs(&edit.settings)?;
    let changed = ask(method, path, form, edit.expect, &edit.service).await?;
    print_change(&changed)
}

/// The words `NAME=VALUE`.
pub(crate) fn pairs<'a>(settings: &'a [String]) -> Result<Vec<(&'a str, &'a str)>, Exit> {
    let pair = |setting: &'a String| {
        let message = || format!("{setting}: write NAME=VALUE");
        let words = setting.split_once('=');
        words.ok_or_else(|| Exit::new(Code::Usage, message()))
    };
    settings.iter().map(pair).collect()
}

/// Asks for a change, in the name of whoever runs this.
pub(crate) async fn ask(
    method: &'static str,
    path: &str,
    mut form: Vec<(&str, &str)>,
    expect: Option<u64>,
    service: &Service,
) -> Result<Value, Exit> {
    let by = who();
    form.push(("by", &by));
    let ask = Ask {
        method,
        path,
        form: &form,
        expect,
        key: None,
    };
    web::ask(service, &ask).await
}

pub(crate) fn print_change(changed: &Value) -> Result<(), Exit> {
    let hash = text(&changed["hash"]);
    print::line(&format!("Change {} {hash}", changed["change"]))
}

pub(crate) fn text(value: &Value) -> &str {
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
        print::line(&member_line(member))?;
    }
    Ok(())
}

/// One member: number, role, what it is to be, and where it is.
pub(crate) fn member_line(member: &Value) -> String {
    let at = |name: &str| text(&member[name]).to_owned();
    let line = format!(
        "  member {:<4} {:<12}{}{} peer {}   client {}   http {}   {}",
        member["id"].to_string(),
        at("role"),
        if member["drains"] == true {
            "drains  "
        } else {
            ""
        },
        next(&member["next"]),
        at("peer"),
        at("client"),
        at("http"),
        at("location")
    );
    line.trim_end().to_owned()
}

/// What a member is to be, in words.
fn next(next: &Value) -> String {
    let role = |name: &str| next[name].as_str();
    match (role("become"), role("ask"), next["make_room_for"].as_u64()) {
        (Some(role), ..) => format!("becomes {role}  "),
        (_, Some(role), _) => format!("asks to be {role}  "),
        (.., Some(newcomer)) => format!("makes room for {newcomer}  "),
        (None, None, None) if next["leave"].is_object() => "leaves  ".to_owned(),
        (None, None, None) => String::new(),
    }
}

fn show_history(history: &Value) -> Result<(), Exit> {
    for past in history["changes"].as_array().into_iter().flatten() {
        let age = past["age_ms"].as_u64().unwrap_or_default() / 1000;
        let (change, by, what) = (&past["change"], text(&past["by"]), &past["what"]);
        print::line(&format!("{change:<8} {age} s ago   {by}   {what}"))?;
    }
    Ok(())
}
