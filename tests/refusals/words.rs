//! Words that make no sense, in each protocol and on the command line.

use crate::common::{Service, refused, says};
use std::process::Command;
use std::time::Instant;
use tenure_core::wire::client::numbers;
use tenure_core::wire::codes;
use tenure_tests::binary::tenure;
use tenure_tests::http::Http;
use tenure_tests::members::PATIENCE;

fn acquire(service: &Service, words: &[&str]) -> Command {
    let mut command = Command::new(tenure());
    let endpoint = service.members.client(1).to_string();
    command
        .arg("acquire")
        .args(words)
        .args(["--endpoints", &endpoint]);
    command
}

#[test]
fn a_ttl_of_banana_is_refused() {
    Service::of(1).unchanged(|service| {
        let mut http = Http::connect(service.members.http(1), PATIENCE).expect("it listens");
        let response = http.ask("POST", "/v1/locks/a?ttl=banana", &[], PATIENCE);
        let response = response.expect("the server answers");
        assert_eq!(response.status, 400, "{response:?}");
        let problem = response.json();
        assert_eq!(problem["code"], "bad-value");
        assert_eq!(problem["field"], "ttl");
        assert_eq!(problem["outcome"], "not_applied");
        let (status, output) =
            crate::common::ended(&mut acquire(service, &["a", "--ttl", "banana"]));
        assert_eq!(status.code(), Some(2), "{output}");
        assert!(
            output.contains("banana") && output.contains("--ttl"),
            "{output}"
        );
    });
}

#[test]
fn a_name_of_2_kib_is_refused() {
    let name = "n".repeat(2048);
    Service::of(1).unchanged(|service| {
        let mut http = Http::connect(service.members.http(1), PATIENCE).expect("it listens");
        let response = http.ask("POST", &format!("/v1/locks/{name}"), &[], PATIENCE);
        let response = response.expect("the server answers");
        assert_eq!(response.status, 400, "{response:?}");
        let detail = response.json()["detail"].to_string();
        assert!(
            detail.contains("2048") && detail.contains("1024"),
            "{detail}"
        );

        let mut native = service.native();
        let mut bytes = numbers::LOCK_NAME.to_be_bytes().to_vec();
        bytes.extend_from_slice(&2048_u16.to_be_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&numbers::SET_LOCK.to_be_bytes());
        native.send(&bytes).expect("the server reads");
        let heard = native.hear(Instant::now() + PATIENCE);
        let heard = heard.expect("the server answers");
        let text = refused(&heard.word, codes::TOO_LONG);
        assert!(text.contains("2048") && text.contains("1024"), "{text}");

        let (status, output) = crate::common::ended(&mut acquire(service, &[&name]));
        assert!(!status.success(), "{output}");
        assert!(output.contains("1024"), "{output}");
    });
}

#[test]
fn a_configuration_with_a_typo_is_named_with_its_line() {
    let members = tenure_tests::members::Members::new(1);
    let text = members.config("kill", 1).replace("data =", "dta =");
    std::fs::write(members.config_file(1), text).expect("the file can be written");
    let words = ["1.toml:3", "unknown field `dta`"];
    says(&mut members.command(1), 78, &words);
    assert!(!members.data(1).exists(), "nothing was touched");
}
