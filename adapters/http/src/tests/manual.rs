//! Every example of `docs/HTTP.md` and `docs/SHOULD-YOU-LOCK.md` is run, in its order, against one server.

use super::world::{Got, World, test};
use axum::http::Method;
use std::str::FromStr;

const MANUAL: &str = include_str!("../../../../docs/HTTP.md");
const ADVICE: &str = include_str!("../../../../docs/SHOULD-YOU-LOCK.md");

/// A line of curl, as far as the manual uses it.
#[derive(Debug, Default)]
struct Curl {
    method: Option<String>,
    address: String,
    headers: Vec<String>,
    body: String,
}

/// Splits like a shell: words, and `'…'`.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            _ => words.last_mut().expect("there is one").push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn encoded(value: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let bytes = value.bytes().map(|byte| match is_plain(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    bytes.collect()
}

impl FromStr for Curl {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut curl = Self::default();
        let mut words = words(line).into_iter();
        let (mut is_get, mut fields) = (false, Vec::new());
        while let Some(word) = words.next() {
            let mut next = || words.next().ok_or(format!("nothing after {word}"));
            match word.as_str() {
                "curl" | "-s" => {}
                "-X" => curl.method = Some(next()?),
                "-H" => curl.headers.push(next()?),
                "-G" => is_get = true,
                "--data-urlencode" => {
                    let field = next()?;
                    let (name, value) = field.split_once('=').ok_or("no field")?;
                    fields.push(format!("{name}={}", encoded(value)));
                }
                "-d" if is_get => fields.push(next()?),
                "-d" => {
                    curl.body = next()?;
                    let kind = "Content-Type: application/x-www-form-urlencoded";
                    curl.headers.push(kind.to_owned());
                }
                _ => {
                    let path = word.strip_prefix("http://127.0.0.1:7600");
                    let path = path.ok_or(format!("{word}: not what this test knows"))?;
                    path.clone_into(&mut curl.address);
                }
            }
        }
        if is_get {
            curl.address = format!("{}?{}", curl.address, fields.join("&"));
        }
        Ok(curl)
    }
}

async fn run(world: &World, line: &str) -> Got {
    let curl: Curl = line
        .parse()
        .unwrap_or_else(|error| panic!("{line}: {error}"));
    let default = if curl.body.is_empty() { "GET" } else { "POST" };
    let method = curl.method.as_deref().unwrap_or(default);
    let method = Method::from_str(method).expect("it is a method");
    let headers: Vec<&str> = curl.headers.iter().map(String::as_str).collect();
    world.ask(method, &curl.address, &headers, &curl.body).await
}

/// Whether `text` is `pattern`, in which each `…` stands for anything.
fn is_like(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    rest.is_empty() || last == Some("")
}

#[test]
fn the_examples_of_the_manual_do_what_they_say() {
    assert!(run_all(MANUAL) >= 12, "the manual has examples");
}

#[test]
fn the_examples_of_the_advice_do_what_they_say() {
    assert_eq!(run_all(ADVICE), 6, "examples");
}

/// Runs the examples of a page, and says how many there are.
fn run_all(page: &str) -> usize {
    let mut ran = 0;
    test(async {
        let world = World::real().await;
        let (mut token, mut fence, mut secret) = (String::new(), String::new(), String::new());
        let mut lines = page.lines();
        while let Some(line) = lines.next() {
            let Some(command) = line.strip_prefix("$ curl ") else {
                continue;
            };
            // As a shell does it: what stands in double quotes is filled in.
            let quoted = format!("'Lock-Token: {token}'");
            let mut command = command.replace("\"Lock-Token: $TOKEN\"", &quoted);
            if command.contains("$FENCE") {
                command = command.replace("$FENCE", &fence).replace('"', "'");
            }
            if command.contains("$SECRET") {
                command = command.replace("$SECRET", &secret).replace('"', "'");
            }
            let got = run(&world, &command).await;
            if let Some(fresh) = got.json()["token"].as_str() {
                fresh.clone_into(&mut token);
                fence = got.json()["fence"].to_string();
            }
            if let Some(fresh) = got.json()["secret"].as_str() {
                fresh.clone_into(&mut secret);
            }
            let expected = lines.next().expect("an answer follows");
            let text = got.text.trim_end();
            assert!(
                is_like(text, expected),
                "{line}\n{expected}\nbut it is\n{text}"
            );
            ran += 1;
        }
    });
    ran
}

#[test]
fn every_route_has_its_example() {
    for route in [
        "POST /v1/locks/{path}",
        "PATCH /v1/locks/{path}",
        "DELETE /v1/locks/{path}",
        "GET /v1/locks/{path}",
        "POST /v1/locks/{name}:resize",
        "POST /v1/locks/{name}:verify",
        "POST /v1/locks/{name}:force-unlock",
        "GET /v1/locks",
        "POST /v1/locks",
        "GET /v1/cluster",
        "GET /v1/config",
        "PATCH /v1/config",
        "GET /v1/config/history",
        "PUT /v1/zones/{zone}",
        "GET /v1/members",
        "POST /v1/members",
        "PATCH /v1/members/{id}",
        "DELETE /v1/members/{id}",
        "POST /v1/members/{id}:role",
        "POST /v1/members/{id}:replace",
        "POST /v1/members/{id}:approve",
        "POST /v1/members/{id}:drain",
        "POST /v1/members/{id}:undrain",
        "POST /v1/members:invite",
        "POST /v1/members:uninvite",
        "POST /v1/members:join",
        "POST /v1/cluster:transfer-leader",
        "GET /healthz",
        "GET /readyz",
    ] {
        let heading = format!("### {route}\n");
        let (_, section) = MANUAL
            .split_once(&heading)
            .unwrap_or_else(|| panic!("no {heading}"));
        let section = section.split("\n#").next().unwrap_or_default();
        assert!(section.contains("$ curl "), "{route} has no example");
    }
}
