//! `serve --dev --servers 3` as its banner tells people to try it, and the wrapper.

use rustix::process::Signal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};
use tenure_tests::binary::tenure;
use tenure_tests::http::{Http, Response};
use tenure_tests::members::{Members, PATIENCE};
use tenure_tests::process::{Process, is_alive, signal_process};

/// Three servers for trying out, and the process that started them.
struct Tried {
    servers: Process,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Tried {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let port = free_ports();
        let mut command = Command::new(tenure());
        command
            .args(["serve", "--dev", "--servers", "3", "--port"])
            .arg(port.to_string())
            .arg("--data")
            .arg(folder.path().join("data"));
        Self {
            servers: Process::start(&mut command),
            port,
            _folder: folder,
        }
    }

    /// The number and the process of the server that leads, from the line that says so.
    fn leader(&self, skip: usize) -> (u16, u32) {
        self.servers.line_after(skip, PATIENCE, "a leader", |line| {
            let rest = line.strip_prefix("Server ")?;
            let (member, rest) = rest.split_once(" (pid ")?;
            let (pid, rest) = rest.split_once(')')?;
            let leads = rest.starts_with(" leads");
            leads.then(|| Some((member.parse().ok()?, pid.parse().ok()?)))?
        })
    }

    fn http(&self, member: u16) -> Http {
        let port = self.port + 10 * (member - 1);
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Http::connect(address, PATIENCE).expect("it listens")
    }
}

impl Drop for Tried {
    fn drop(&mut self) {
        // Asked to stop, it stops the servers that it started; killed, they end with its pipe.
        if !self.servers.is_over() {
            self.servers.signal(Signal::TERM);
            self.servers.end(PATIENCE);
        }
    }
}

fn free_ports() -> u16 {
    let begin = 10_000 + u16::try_from(std::process::id() % 90).expect("it is small") * 100;
    let mut firsts = (begin..20_000).chain(10_000..begin).step_by(50);
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let found = firsts
        .find(|first| (0..3).all(|server| (0..3).all(|kind| is_free(first + 10 * server + kind))));
    found.expect("there are free ports")
}

const HELD: &str = "/v1/locks/deploy/prod?holder=first&ttl=60s";
const WAITS: &str = "/v1/locks/deploy/prod?ttl=60s&wait=30s";

fn granted(response: &Response) -> (u64, String) {
    assert_eq!(response.status, 200, "{response:?}");
    let body = response.json();
    let token = body["token"].as_str().expect("a grant has a token");
    (
        body["fence"].as_u64().expect("a grant has a fence"),
        token.to_owned(),
    )
}

/// Asks until a server gives an answer that is not about the election.
fn persist(
    tried: &Tried,
    member: u16,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Response {
    let until = Instant::now() + PATIENCE;
    loop {
        let response = tried.http(member).ask(method, target, headers, PATIENCE);
        match response {
            Ok(response) if response.status < 500 => return response,
            other => assert!(Instant::now() < until, "{other:?}"),
        }
    }
}

#[test]
fn a_waiting_request_gets_its_lock_although_the_leader_is_killed() {
    let tried = Tried::start();
    let (leader, pid) = tried.leader(0);
    let follower = 1 + leader % 3;
    let other = 1 + follower % 3;
    let (first, token) = granted(&persist(&tried, leader, "POST", HELD, &[]));

    // One waits at a follower, as curl does; one at the leader, with a key to come back with.
    let mut at_follower = tried.http(follower);
    let target = format!("{WAITS}&holder=follower");
    at_follower.say("POST", &target, &[], "").expect("it reads");
    waiting(&tried, other, 1);
    let key = [("Idempotency-Key", "come-back")];
    let mut at_leader = tried.http(leader);
    let keyed = format!("{WAITS}&holder=leader");
    at_leader.say("POST", &keyed, &key, "").expect("it reads");
    waiting(&tried, other, 2);

    let lines = tried.servers.lines();
    let killed = Instant::now();
    signal_process(pid, Signal::KILL).expect("it runs");
    let (next, _) = tried.leader(lines);
    assert_ne!(next, leader, "another one leads");
    let lost = at_leader.hear(Instant::now() + PATIENCE);
    assert!(
        lost.is_err(),
        "the connection went with its server: {lost:?}"
    );

    // The holder gives it back, at a server that it never spoke to.
    let headers = [("Lock-Token", &*token)];
    let released = persist(&tried, other, "DELETE", "/v1/locks/deploy/prod", &headers);
    assert_eq!(released.json()["already"], false, "{released:?}");
    let response = at_follower.hear(Instant::now() + PATIENCE);
    let (second, token) = granted(&response.expect("the one at the follower hears"));
    eprintln!("granted {} ms after the kill", killed.elapsed().as_millis());
    assert!(second > first, "fences rise");

    // The one at the leader comes back, and has kept its place.
    let mut back = tried.http(other);
    back.say("POST", &keyed, &key, "").expect("it reads");
    let headers = [("Lock-Token", &*token)];
    let released = persist(&tried, next, "DELETE", "/v1/locks/deploy/prod", &headers);
    assert_eq!(released.json()["already"], false, "{released:?}");
    let response = back.hear(Instant::now() + PATIENCE);
    let (third, token) = granted(&response.expect("the one that came back hears"));
    assert!(third > second, "fences rise");
    let again = granted(&persist(&tried, next, "POST", &keyed, &key));
    assert_eq!(again, (third, token), "a retry's answer is the first one's");
}

/// Waits until so many wait for the lock.
fn waiting(tried: &Tried, member: u16, count: u64) {
    let until = Instant::now() + PATIENCE;
    loop {
        let response = persist(tried, member, "GET", "/v1/locks/deploy/prod", &[]);
        if response.json()["waiting"] == count {
            return;
        }
        assert!(Instant::now() < until, "{response:?}");
    }
}

/// A wrapper that is cut off from the service must end its command before another one is granted
/// the lock: its server is stopped, and the other two let the lock expire.
#[test]
fn the_command_is_dead_before_another_gets_its_lock() {
    let mut members = Members::new(3);
    members.start_all();
    let leader = members.leader(PATIENCE);
    let (follower, other) = (1 + leader % 3, 1 + (leader + 1) % 3);
    let endpoint = members.client(follower).to_string();
    let script = "sleep 1000 & echo child $!; echo group $$; wait";
    let mut command = Command::new(tenure());
    command.args(["lock", "wrapped", "--ttl", "2s", "--endpoints", &endpoint]);
    command.args(["--", "sh", "-c", script]);
    let mut wrapper = Process::start(&mut command);
    let number = |word: &str| {
        wrapper.line(PATIENCE, word, |line| {
            line.strip_prefix(word)?.trim().parse().ok()
        })
    };
    let (child, group): (u32, u32) = (number("child "), number("group "));
    assert!(is_alive(child) && is_alive(group), "the command runs");

    let mut waits = Http::connect(members.http(other), PATIENCE).expect("it listens");
    waits
        .say("POST", "/v1/locks/wrapped?wait=60s&ttl=60s", &[], "")
        .expect("it reads");
    members.signal(follower, Signal::STOP);
    let response = waits.hear(Instant::now() + Duration::from_secs(60));
    let is_dead = !is_alive(child) && !is_alive(group);
    granted(&response.expect("the next one gets the lock"));
    assert!(is_dead, "the command ran on: {}", wrapper.output());
    let status = wrapper.end(PATIENCE);
    assert_eq!(status.code(), Some(74), "{}", wrapper.output());
    members.signal(follower, Signal::CONT);
}
