use super::{DEV_PORT, Join, Origin, Proof, Settings, TokenKey};
use std::path::Path;
use tenure_core::config::Config;
use tenure_core::ids::NodeId;

const THREE: &str = r#"cluster = "shop"
id = 2
data = "data"
token_key = "token.key"
[members]
1 = { peer = "127.0.0.1:7602", client = "127.0.0.1:7601", http = "127.0.0.1:7600" }
2 = { peer = "127.0.0.1:7612", client = "127.0.0.1:7611", http = "127.0.0.1:7610" }
3 = { peer = "127.0.0.1:7622", client = "127.0.0.1:7621", http = "127.0.0.1:7620" }
"#;

fn listed(settings: &Settings) -> &Config {
    let Origin::Listed(config) = &settings.origin else {
        panic!("the members are listed: {settings:?}");
    };
    config
}

fn error(text: &str) -> String {
    let parsed = Settings::parse(text, Path::new("/etc/t.toml"));
    let message = parsed.expect_err("it is wrong").to_string();
    assert!(!message.contains('\n'), "one line: {message}");
    message
}

#[test]
fn eight_lines_make_a_member_of_three() {
    assert_eq!(THREE.lines().count(), 8);
    let settings = Settings::parse(THREE, Path::new("/etc/t.toml")).expect("it is right");
    assert_eq!(listed(&settings).members().len(), 3);
    assert_eq!(settings.member().client, "127.0.0.1:7611");
    assert_eq!(settings.data, Path::new("/etc/data"));
    let key = TokenKey::Shared("/etc/token.key".into());
    assert_eq!(settings.token_key, key);
}

#[test]
fn a_typo_is_named_with_its_line() {
    let message = error(&THREE.replace("data =", "dat ="));
    assert!(
        message.starts_with("/etc/t.toml:3: unknown field `dat`"),
        "{message}"
    );
    let message = error(&THREE.replace("client = \"127.0.0.1:7611\"", "clinet = \"x\""));
    assert!(
        message.starts_with("/etc/t.toml:7: unknown field `clinet`"),
        "{message}"
    );
    let message = error(&THREE.replace("id = 2", "id = \"two\""));
    assert!(
        message.starts_with("/etc/t.toml:2: invalid type"),
        "{message}"
    );
    let message = error("cluster = shop\n");
    assert!(message.starts_with("/etc/t.toml:1: "), "{message}");
}

#[test]
fn what_makes_no_sense_is_named() {
    let cases = [
        (
            "id = 2",
            "id = 4",
            "this server is member 4, which is not in",
        ),
        ("1 = {", "one = {", "member `one`: its name is its id"),
        ("127.0.0.1:7612", "127.0.0.1", "is no address like"),
        ("127.0.0.1:7612", "10.1.2.3:7612", "on loopback only"),
        ("\"shop\"", "\"\"", "`cluster` is empty"),
        ("token_key = \"token.key\"", "", "need one `token_key` file"),
    ];
    for (from, to, wanted) in cases {
        let message = error(&THREE.replace(from, to));
        assert!(message.contains(wanted), "{message}");
    }
}

#[test]
fn the_same_name_is_the_same_cluster() {
    let cluster = |text: &str| {
        let settings = Settings::parse(text, Path::new("t.toml")).expect("it is right");
        listed(&settings).cluster()
    };
    assert_eq!(cluster(THREE), cluster(&THREE.replace("id = 2", "id = 1")));
    assert_ne!(cluster(THREE), cluster(&THREE.replace("shop", "shops")));
}

#[test]
fn trying_out_needs_no_file() {
    let settings = Settings::dev(Path::new("tenure-dev"), DEV_PORT);
    assert_eq!(settings.member().http, "127.0.0.1:7600");
    assert_eq!(
        settings.token_key,
        TokenKey::Own("tenure-dev/token.key".into())
    );
    let key = Path::new("k");
    let third = Settings::dev_member(Path::new("d"), 7600, 3, 3, Some(key));
    assert_eq!(third.member().peer, "127.0.0.1:7622");
    assert_eq!(listed(&third).quorum(), 2);
}

const NEWCOMER: &str = r#"data = "data"
token_key = "token.key"
[listen]
peer = "127.0.0.1:7632"
client = "127.0.0.1:7631"
http = "127.0.0.1:7630"
[join]
addresses = ["127.0.0.1:7600"]
token_file = "join.token"
"#;

#[test]
fn a_newcomer_says_where_it_is_and_whom_it_asks() {
    let parse = |text: &str| Settings::parse(text, Path::new("/etc/t.toml")).expect("it is right");
    let settings = parse(NEWCOMER);
    let join = Join {
        addresses: vec!["127.0.0.1:7600".to_owned()],
        proof: Proof::TokenFile("/etc/join.token".into()),
    };
    assert_eq!(settings.origin, Origin::Join(join));
    assert_eq!(settings.member().client, "127.0.0.1:7631");
    let added = parse(&NEWCOMER.replace("token_file = \"join.token\"", "id = 4"));
    let Origin::Join(join) = added.origin else {
        panic!("it joins");
    };
    assert_eq!(join.proof, Proof::Id(NodeId::new(4)));
    let (founder, _) = NEWCOMER.split_once("[join]").expect("it joins");
    let mut founder = parse(&founder.replace("token_key = \"token.key\"", ""));
    assert_eq!(founder.origin, Origin::Remembered);
    assert_eq!(founder.bootstrap(), Ok(()));
    assert_eq!(founder.origin, Origin::Bootstrap);
    assert_eq!(
        founder.token_key,
        TokenKey::Own("/etc/data/token.key".into())
    );
    assert!(parse(NEWCOMER).bootstrap().is_err());
    assert!(parse(THREE).bootstrap().is_err());
}

#[test]
fn a_newcomer_that_says_too_little_or_too_much_is_told_what() {
    let cases = [
        (
            "token_key = \"token.key\"",
            "",
            "needs the cluster's `token_key`",
        ),
        ("token_file = \"join.token\"", "", "say `token_file`"),
        ("\"127.0.0.1:7600\"", "", "`addresses` is empty"),
        ("127.0.0.1:7632", "10.1.2.3:7632", "listen: without TLS"),
        ("token_key", "id = 4\ntoken_key", "go with `[members]`"),
        ("[listen]", "[members]\n[listen]", "founds a cluster"),
    ];
    for (from, to, wanted) in cases {
        let message = error(&NEWCOMER.replace(from, to));
        assert!(message.contains(wanted), "{message}");
    }
    assert!(error("data = \"d\"\n").contains("say `[members]`"));
    assert!(error(&THREE.replace("id = 2\n", "")).contains("`id` is missing"));
}
