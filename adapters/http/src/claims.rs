//! Claims over many keys, in JSON.

use crate::fields::{Given, Members, string};
use crate::keys;
use crate::params::{mode_of, permits_of, share_of};
use crate::problem::Problem;
use serde_json::value::RawValue;
use tenure_core::machine::key::Key;
use tenure_core::machine::parts::{Part, Parts};

/// What each lock of a claim may say.
const PART: &[&str] = &["lock", "key_values", "mode", "permits", "capacity"];

/// The claim of `[{"lock": "deploy/prod", "mode": "shared"}, {"key_values": {…}}, …]`.
pub(crate) fn of_all(json: &RawValue) -> Result<Parts, Problem> {
    let Ok(all) = serde_json::from_str::<Vec<&RawValue>>(json.get()) else {
        let shape = r#"expected [{"lock": "deploy/prod", "mode": "shared"}, …]"#;
        return Err(Problem::bad_value("all", shape));
    };
    let parts: Result<Vec<Part>, Problem> = all.into_iter().map(of_one).collect();
    Parts::new(parts?).map_err(|why| Problem::bad_value("all", why.to_string()))
}

fn of_one(json: &RawValue) -> Result<Part, Problem> {
    let Ok(Members(members)) = serde_json::from_str(json.get()) else {
        let shape = r#"expected {"lock": "deploy/prod"}, or {"key_values": {…}}"#;
        return Err(Problem::bad_value("all", shape));
    };
    let (mut key, mut mode) = (None, None);
    let (mut permits, mut capacity) = (None, None);
    for (name, value) in members {
        let is_twice = match &*name {
            "lock" => key.replace(of_name(value)?).is_some(),
            "key_values" => key.replace(keys::of_pairs(value)?).is_some(),
            "mode" => mode
                .replace(mode_of("all.mode", Given::Json(value))?)
                .is_some(),
            "permits" => permits
                .replace(permits_of("all.permits", Given::Json(value))?)
                .is_some(),
            "capacity" => capacity
                .replace(permits_of("all.capacity", Given::Json(value))?)
                .is_some(),
            _ => return Err(Problem::unknown_field(&name, PART)),
        };
        if is_twice {
            let detail = "each has one lock, and one mode";
            return Err(Problem::bad_value("all", detail));
        }
    }
    let key = key.ok_or_else(|| Problem::missing("all.lock", "which lock?"))?;
    Ok(Part {
        key,
        mode: share_of(mode, permits, capacity)?,
    })
}

fn of_name(json: &RawValue) -> Result<Key, Problem> {
    let name = string(json);
    let name = name.ok_or_else(|| Problem::bad_value("all.lock", "expected a string"))?;
    Key::from_text(&name).map_err(|error| Problem::bad_value("all.lock", error.to_string()))
}
