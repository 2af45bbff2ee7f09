//! The verbs that talk to the service.

use crate::run::{Running, assert_fails, free_ports, output, signal, tenure};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A server, and where it is.
struct Service {
    server: Running,
    endpoint: String,
    folder: TempDir,
}

impl Service {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("there is room");
        let port = free_ports();
        let data = folder.path().join("data");
        let (data, base) = (data.to_str().expect("it is text"), port.to_string());
        let mut server = Running::start(&["serve", "--dev", "--data", data, "--port", &base]);
        server.line_with("one server for trying out");
        Self {
            server,
            endpoint: format!("127.0.0.1:{}", port + 1),
            folder,
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = tenure(words);
        command.env("TENURE_ENDPOINTS", &self.endpoint);
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("the binary runs")
    }

    /// What it printed; it must have gone well.
    fn good(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {errors}");
        String::from_utf8(output.stdout).expect("it is text")
    }

    fn file(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        path.to_str().expect("it is text").to_owned()
    }
}

fn token_of(printed: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(printed).expect("it is JSON");
    json["token"].as_str().expect("it has a token").to_owned()
}

/// Waits until `what` is so.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !state.is_empty() && !state.starts_with('Z')
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[test]
fn a_lock_is_taken_shown_listed_and_given_back() {
    let service = Service::start();
    let words = ["acquire", "deploy/prod", "--holder", "alice", "-o", "json"];
    let token = token_of(&service.good(&words));

    let shown = service.good(&["show", "deploy/prod"]);
    assert!(
        shown.starts_with("deploy/prod   exclusive   fence "),
        "{shown}"
    );
    assert!(shown.contains("held by   alice"), "{shown}");
    let listed = service.good(&["ls", "deploy"]);
    assert!(
        listed.contains("deploy/prod") && listed.contains("alice"),
        "{listed}"
    );
    assert_eq!(
        service.good(&["ls", "else"]).lines().count(),
        1,
        "the head alone"
    );

    let held = service.run(&["acquire", "deploy/prod", "--holder", "bob"]);
    assert_fails(&held, 73, &["the lock is held", "alice under fence"]);
    let waited = service.run(&["acquire", "deploy/prod", "--wait", "50ms"]);
    assert_fails(&waited, 124, &["the wait ended", "alice"]);

    let wrong = format!("1{token}");
    let forged = service.run(&["release", "deploy/prod", "--token", &wrong]);
    assert_fails(&forged, 1, &["the proof is wrong"]);
    let words = ["release", "deploy/prod", "--token", &token];
    assert_eq!(service.good(&words), "Released.\n");
    assert_eq!(service.good(&words), "It had ended before.\n");
    assert_eq!(
        service.good(&["show", "deploy/prod"]),
        "deploy/prod   free\n"
    );
    assert!(service.server.stop());
}

#[test]
fn words_that_make_no_sense_change_nothing() {
    let service = Service::start();
    let banana = service.run(&["acquire", "a", "--ttl", "banana"]);
    let error = String::from_utf8_lossy(&banana.stderr).into_owned();
    assert_eq!(banana.status.code(), Some(2));
    assert!(
        error.contains("invalid value 'banana' for '--ttl <TIME>'"),
        "{error}"
    );
    assert!(error.contains("write a time like 30s"), "{error}");
    let long = "x".repeat(2048);
    assert_fails(&service.run(&["acquire", &long]), 2, &["2048"]);
    let no_token = service.run(&["release", "a", "--token", "17"]);
    assert_eq!(no_token.status.code(), Some(2));
    assert_eq!(
        service.good(&["ls"]).lines().count(),
        1,
        "no lock was taken"
    );
}

#[test]
fn an_operator_reads_changes_and_reads_again() {
    let service = Service::start();
    let shown = service.good(&["config", "show"]);
    assert!(shown.contains("change 0 "), "{shown}");
    let members = service.good(&["member", "ls"]);
    assert!(members.contains("member 1 "), "{members}");

    let set = ["config", "set", "members_min=1", "--expect", "0"];
    assert!(service.good(&set).starts_with("Change "));
    assert_fails(&service.run(&set), 1, &["config-moved"]);
    let wrong = service.run(&["config", "set", "quorum=1"]);
    assert_fails(&wrong, 2, &["members_min", "unknown-field"]);
    let wrong = service.run(&["config", "set", "members_min"]);
    assert_fails(&wrong, 2, &["NAME=VALUE"]);

    service.good(&["member", "set", "1", "location=au.perth"]);
    service.good(&["zone", "prod", "locks=100"]);
    let history = service.good(&["config", "history"]);
    let lines: Vec<&str> = history.lines().collect();
    assert_eq!(lines.len(), 3, "{history}");
    assert!(
        lines[0].contains("prod") && lines[2].contains("members_min"),
        "{history}"
    );
    let user = std::env::var("USER").unwrap_or_else(|_| "somebody".to_owned());
    assert!(lines[0].contains(&format!("{user}@")), "{history}");
    let shown = service.good(&["config", "show", "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("it is JSON");
    assert_eq!(shown["members"][0]["location"], "au.perth");
    assert_eq!(shown["zones"][1]["locks"], 100);
    let alone = service.run(&["member", "transfer"]);
    assert_fails(&alone, 1, &["server 1 leads on", "no other one is fit"]);
    assert_eq!(
        service.good(&["member", "transfer", "1"]),
        "Server 1 leads.\n"
    );
    assert!(service.server.stop());
}

#[test]
fn a_transfer_says_who_leads() {
    let folder = tempfile::tempdir().expect("there is room");
    let data = folder.path().join("data");
    let (data, port) = (data.to_str().expect("it is text"), free_ports());
    let base = port.to_string();
    let words = [
        "serve",
        "--dev",
        "--servers",
        "3",
        "--data",
        data,
        "--port",
        &base,
    ];
    let mut server = Running::start(&words);
    server.line_with("leads");
    let service = Service {
        server,
        endpoint: format!("127.0.0.1:{}", port + 1),
        folder,
    };
    for to in ["2", "3", "1"] {
        let said = service.good(&["member", "transfer", to]);
        assert_eq!(said, format!("Server {to} leads.\n"));
    }
    let said = service.good(&["member", "transfer"]);
    assert!(
        ["Server 2 leads.\n", "Server 3 leads.\n"].contains(&&*said),
        "{said}"
    );
    let nobody = service.run(&["member", "transfer", "9"]);
    assert_fails(&nobody, 2, &["expected the id of a member"]);
    assert!(service.server.stop());
}

#[test]
fn without_a_service_it_says_so() {
    let endpoint = format!("127.0.0.1:{}", free_ports());
    let words = ["show", "a", "--endpoints", &endpoint, "--patience", "200ms"];
    assert_fails(&output(&words), 75, &["no server answered in time"]);
    let words = [
        "lock",
        "a",
        "--try",
        "--endpoints",
        &endpoint,
        "--patience",
        "200ms",
        "--",
        "true",
    ];
    assert_fails(&output(&words), 75, &["no server answered in time"]);
}

#[test]
fn a_command_runs_under_its_lock_and_its_status_passes_through() {
    let service = Service::start();
    let script = "echo $LOCK_NAME $LOCK_FENCE $LOCK_TOKEN; exit 7";
    let ran = service.run(&["lock", "job", "--", "sh", "-c", script]);
    assert_eq!(ran.status.code(), Some(7));
    let said = String::from_utf8(ran.stdout).expect("it is text");
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words.len(), 3, "{said}");
    assert_eq!(words[0], "job");
    assert!(words[2].starts_with(&format!("{}.", words[1])), "{said}");
    assert_eq!(service.good(&["show", "job"]), "job   free\n");
    let missing = service.run(&["lock", "job", "--", "/no/such/command"]);
    assert_fails(&missing, 127, &["/no/such/command"]);
    assert_eq!(service.good(&["show", "job"]), "job   free\n");
    let killed = service.run(&["lock", "job", "--", "sh", "-c", "kill -KILL $$"]);
    assert_eq!(killed.status.code(), Some(137));
}

fn start_locked(service: &Service, words: &[&str], script: &str) -> Child {
    let mut command = service.command(&[words, &["--", "sh", "-c", script]].concat());
    let started = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    started.expect("the binary runs")
}

#[test]
fn the_second_command_waits_for_the_first_and_a_third_does_not() {
    let service = Service::start();
    let (go, log) = (service.file("go"), service.file("log"));
    let script =
        format!("echo first >>{log}; while [ ! -e {go} ]; do sleep 0.01; done; echo done >>{log}");
    let mut first = start_locked(&service, &["lock", "job", "--holder", "first"], &script);
    wait_until("the first runs", || read(&log) == "first");
    let mut second = start_locked(&service, &["lock", "job"], &format!("echo second >>{log}"));
    wait_until("the second waits", || {
        service.good(&["show", "job"]).contains("1st")
    });
    let third = service.run(&["lock", "job", "--try", "--", "true"]);
    assert_fails(&third, 73, &["the lock is held", "first under fence"]);
    fs::write(&go, "").expect("there is room");
    assert!(first.wait().expect("it is a child").success());
    assert!(second.wait().expect("it is a child").success());
    assert_eq!(read(&log), "first\ndone\nsecond");
}

#[test]
fn a_command_and_all_it_started_end_before_the_lock_is_lost() {
    let service = Service::start();
    let pids = ["leader", "child", "strayed"].map(|name| service.file(name));
    let [leader, child, strayed] = &pids;
    // One child in the group, one that left it; none of them listens to SIGTERM.
    let script = format!(
        "trap '' TERM; echo $$ >{leader}; (echo $$ >/dev/null; sh -c 'echo $$ >{child}; sleep 60') & \
         setsid sh -c 'echo $$ >{strayed}; sleep 60' & wait; wait"
    );
    let mut locked = start_locked(&service, &["lock", "job", "--ttl", "2s"], &script);
    wait_until("all of them run", || {
        pids.iter().all(|file| !read(file).is_empty())
    });
    let began = Instant::now();
    // A server that stands still: nothing is refused, and nothing answered.
    signal("-STOP", service.server.child.id());
    let status = locked.wait().expect("it is a child");
    let took = began.elapsed();
    let alive: Vec<_> = pids.iter().filter(|file| is_alive(&read(file))).collect();
    signal("-CONT", service.server.child.id());
    assert_eq!(status.code(), Some(74));
    assert!(
        took < Duration::from_secs(2),
        "the lock may be another's by then: {took:?}"
    );
    assert!(alive.is_empty(), "{alive:?}");
}

#[test]
fn a_killed_wrapper_takes_its_command_along() {
    let service = Service::start();
    let pid = service.file("pid");
    let script = format!("echo $$ >{pid}; exec sleep 60");
    let mut locked = start_locked(&service, &["lock", "job"], &script);
    wait_until("the command runs", || !read(&pid).is_empty());
    assert!(is_alive(&read(&pid)));
    locked.kill().expect("it is a child");
    locked.wait().expect("it is a child");
    wait_until("the kernel killed the command", || !is_alive(&read(&pid)));
}

#[test]
fn a_wrapper_that_is_asked_to_stop_asks_its_command_and_gives_the_lock_back() {
    let service = Service::start();
    let said = service.file("said");
    let script = format!(
        "trap 'echo bye >>{said}; exit 3' TERM; echo hi >{said}; while :; do sleep 0.01; done"
    );
    let mut locked = start_locked(&service, &["lock", "job"], &script);
    wait_until("the command runs", || read(&said) == "hi");
    signal("-TERM", locked.id());
    assert_eq!(locked.wait().expect("it is a child").code(), Some(3));
    assert_eq!(read(&said), "hi\nbye");
    assert_eq!(service.good(&["show", "job"]), "job   free\n");
    assert!(Path::new(&said).exists());
}

#[test]
fn an_operator_takes_the_lock_that_he_looked_at() {
    let service = Service::start();
    let words = [
        "acquire",
        "backup/db",
        "--ttl",
        "none",
        "--holder",
        "cron",
        "-o",
        "json",
    ];
    let token = token_of(&service.good(&words));
    let fence = token.split('.').next().expect("it begins with the fence");
    let unlock = |fence: &str, more: &[&str]| {
        let words = [
            "unlock",
            "backup/db",
            "--fence",
            fence,
            "--reason",
            "host-7 burnt down",
        ];
        service.run(&[&words, more].concat())
    };
    assert_eq!(
        unlock(fence, &[]).status.code(),
        Some(2),
        "it is said aloud"
    );
    let changed = unlock("7", &["--force"]);
    assert_fails(
        &changed,
        1,
        &["not held under this fence", "cron under fence"],
    );
    let taken = unlock(fence, &["--force"]);
    let text = String::from_utf8_lossy(&taken.stdout);
    assert!(taken.status.success(), "{text}");
    let expected = format!("backup/db   taken from cron   fence {fence}\n");
    assert!(
        text.starts_with(&expected) && text.contains("for ever"),
        "{text}"
    );
    assert_eq!(service.good(&["show", "backup/db"]), "backup/db   free\n");
    let words = ["release", "backup/db", "--token", &token];
    assert_eq!(service.good(&words), "It had ended before.\n");
}
