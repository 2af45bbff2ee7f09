//! A network that can be cut: each server in a network namespace of its own, plugged into one switch.
//!
//! A cut server is unplugged: packets are dropped, and no connection hears of it. Nothing of this
//! reaches the machine's own network: the test runs in a namespace too. The addresses are local ones, which a
//! kernel carries over a wire only if it is told to (`route_localnet`), since servers without TLS take
//! no others.

use crate::process::Process;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Says that this process is in a network of its own already.
const INSIDE: &str = "TENURE_INSIDE_NETWORK";
const LOCALNET: &str = "/proc/sys/net/ipv4/conf/all/route_localnet";
const SWITCH: &str = "switch";
const PATIENCE: Duration = Duration::from_secs(60);

/// The switch, and a process in the namespace of each server.
#[derive(Debug)]
pub struct Network {
    seats: Vec<Process>,
}

/// Runs the test with this name again, in a namespace in which `body` may make networks. Where no such
/// namespaces can be had, that is printed, and the test is left out.
///
/// # Panics
///
/// The test fails there.
pub fn in_own_network(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let own = ["--user", "--map-root-user", "--net"];
    let try_out =
        format!("ip link add {SWITCH} type bridge && unshare --net true && test -w {LOCALNET}");
    let can = Command::new("unshare")
        .args(own)
        .args(["sh", "-c", &try_out])
        .output();
    if !can.as_ref().is_ok_and(|output| output.status.success()) {
        return println!("no network namespaces with a bridge here, {name} is not tested: {can:?}");
    }
    let test = std::env::current_exe().expect("a process knows its program");
    let mut command = Command::new("unshare");
    command
        .args(own)
        .arg(test)
        .args(["--exact", name, "--nocapture"]);
    let mut again = Process::start(command.env(INSIDE, "yes"));
    let passed = again.end(PATIENCE * 5).success();
    let said = again.output();
    println!("{said}");
    assert!(
        passed && said.contains("1 passed"),
        "in its own network: {said}"
    );
}

impl Network {
    /// A switch with so many servers' places; only within [`in_own_network`].
    ///
    /// # Panics
    ///
    /// It can't be made.
    pub fn new(count: usize) -> Self {
        run(&format!(
            "ip link set lo up && ip addr flush dev lo && echo 1 > {LOCALNET} && \
             ip link add {SWITCH} type bridge && ip addr add 127.77.0.254/24 dev {SWITCH} && \
             ip link set {SWITCH} up"
        ));
        let seats = (1..=count).map(seat).collect();
        Self { seats }
    }

    /// Where a server is.
    pub fn address(member: usize) -> IpAddr {
        let last = u8::try_from(member).expect("it is a small number");
        IpAddr::V4(Ipv4Addr::new(127, 77, 0, last))
    }

    /// A command that runs `program` at a server's place, in its own process.
    pub fn command(&self, member: usize, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        let seat = self.seats[member - 1].id().to_string();
        command.args(["--net", "--target", &seat]).arg(program);
        command
    }

    /// Unplugs a server.
    ///
    /// # Panics
    ///
    /// It can't be done.
    pub fn cut(&self, member: usize) {
        run(&format!("ip link set {} nomaster", port(member)));
    }

    /// Plugs it in again.
    ///
    /// # Panics
    ///
    /// It can't be done.
    pub fn heal(&self, member: usize) {
        run(&format!("ip link set {} master {SWITCH}", port(member)));
    }
}

/// The end of a server's wire at the switch.
fn port(member: usize) -> String {
    format!("port{member}")
}

/// A namespace with a wire to the switch, which lasts as long as the process.
fn seat(member: usize) -> Process {
    let seat = Process::start(Command::new("unshare").args([
        "--net",
        "sh",
        "-c",
        "echo there; exec sleep infinity",
    ]));
    seat.line(PATIENCE, "a namespace", |line| {
        (line == "there").then_some(())
    });
    let (id, port, address) = (seat.id(), port(member), Network::address(member));
    run(&format!(
        "ip link add {port} type veth peer name eth0 netns {id} && ip link set {port} master {SWITCH} up"
    ));
    run(&format!(
        "nsenter --net --target {id} sh -c 'ip link set lo up && ip addr flush dev lo && \
         echo 1 > {LOCALNET} && ip addr add {address}/24 dev eth0 && ip link set eth0 up'"
    ));
    seat
}

fn run(script: &str) {
    let output = Command::new("sh").args(["-c", script]).output();
    let output = output.expect("there is a shell");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
}
