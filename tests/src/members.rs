//! Servers as an operator runs them: a configuration file each, a token key, a data directory.

use crate::binary::tenure;
use crate::loopback::own_address;
use crate::native::Native;
use crate::network::Network;
use crate::process::Process;
use rustix::process::Signal;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tenure_core::ids::{NodeId, RequestId, Slot};
use tenure_core::machine::command::Client;
use tenure_core::node::input::Ask;
use tenure_core::wire::client::Word;

/// How long a server may take to say anything. Far more than it takes: machines that run tests are busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The servers of one cluster, and their files.
#[derive(Debug)]
pub struct Members {
    folder: tempfile::TempDir,
    /// Of each.
    addresses: Vec<IpAddr>,
    /// Where each runs, if not here.
    network: Option<Network>,
    running: Vec<Option<Process>>,
}

/// What a server says about itself and the others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct State {
    /// The one that leads, as far as this one knows.
    pub leader: Option<NodeId>,
    /// What it has applied.
    pub applied: Slot,
    /// The digest of its state there.
    pub digest: u64,
}

impl Members {
    /// Writes the files of `count` servers, and starts none.
    ///
    /// # Panics
    ///
    /// The files can't be written.
    pub fn new(count: usize) -> Self {
        Self::at_addresses(vec![own_address(); count], None)
    }

    /// Of servers in a network that can be cut.
    ///
    /// # Panics
    ///
    /// The files can't be written.
    pub fn in_network(count: usize) -> Self {
        let addresses = (1..=count).map(Network::address).collect();
        Self::at_addresses(addresses, Some(Network::new(count)))
    }

    fn at_addresses(addresses: Vec<IpAddr>, network: Option<Network>) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let count = addresses.len();
        let members = Self {
            folder,
            addresses,
            network,
            running: (0..count).map(|_| None).collect(),
        };
        let key = Command::new(tenure())
            .arg("token-key")
            .arg(members.path().join("token.key"))
            .status();
        assert!(key.expect("it runs").success(), "there is a token key");
        for member in 1..=count {
            let text = members.config("kill", member);
            fs::write(members.config_file(member), text).expect("the file can be written");
        }
        members
    }

    /// Writes the files of a cluster that begins with one server, and of those that may join it, in all
    /// `count`; starts the first.
    ///
    /// # Panics
    ///
    /// The files can't be written, or it does not lead.
    pub fn found(count: usize) -> Self {
        let mut members = Self::new(count);
        for member in 1..=count {
            let mut text = members.listening(member);
            if member > 1 {
                let addresses: Vec<String> = (1..=count)
                    .filter(|other| *other != member)
                    .map(|other| members.http(other).to_string())
                    .collect();
                writeln!(
                    text,
                    "[join]\naddresses = {addresses:?}\ntoken_file = \"{member}.token\""
                )
                .expect("writing to a string does not fail");
            }
            fs::write(members.config_file(member), text).expect("the file can be written");
        }
        let mut first = members.command(1);
        members.start_by(1, first.arg("--bootstrap"));
        members.leader(PATIENCE);
        members
    }

    /// The text of a configuration that says where a member is, and not which.
    pub fn listening(&self, member: usize) -> String {
        let (peer, client, http) = (self.peer(member), self.client(member), self.http(member));
        format!(
            "data = \"data-{member}\"\ntoken_key = \"token.key\"\n[listen]\npeer = \"{peer}\"\n\
             client = \"{client}\"\nhttp = \"{http}\"\n"
        )
    }

    /// Where the secret of a member's invitation is.
    pub fn token_file(&self, member: usize) -> PathBuf {
        self.path().join(format!("{member}.token"))
    }

    /// Invites a member: `how` as `tenure member invite` takes it.
    ///
    /// # Panics
    ///
    /// Nobody does.
    pub fn invite(&self, member: usize, how: &[&str]) {
        let secret = self.operate(&["invite"], how);
        fs::write(self.token_file(member), secret).expect("the file can be written");
    }

    /// Runs `tenure member …`, and gives what it prints.
    ///
    /// # Panics
    ///
    /// It fails.
    pub fn operate(&self, verb: &[&str], words: &[&str]) -> String {
        let running = (1..).zip(&self.running);
        let running = running.filter(|(_, process)| process.is_some());
        let endpoints: Vec<String> = running
            .map(|(member, _)| self.client(member).to_string())
            .collect();
        let output = Command::new(tenure())
            .arg("member")
            .args(verb)
            .args(["--endpoints", &endpoints.join(",")])
            .args(words)
            .output()
            .expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{verb:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The folder with all their files.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The text of a member's configuration, in a cluster of this name.
    pub fn config(&self, cluster: &str, member: usize) -> String {
        let mut text = format!(
            "cluster = \"{cluster}\"\nid = {member}\ndata = \"data-{member}\"\n\
             token_key = \"token.key\"\n[members]\n"
        );
        for other in 1..=self.running.len() {
            let (peer, client) = (self.at(other, 2), self.at(other, 1));
            let http = self.at(other, 0);
            writeln!(
                text,
                "{other} = {{ peer = \"{peer}\", client = \"{client}\", http = \"{http}\" }}"
            )
            .expect("writing to a string does not fail");
        }
        text
    }

    /// Where a member's configuration is.
    pub fn config_file(&self, member: usize) -> PathBuf {
        self.path().join(format!("{member}.toml"))
    }

    /// Where a member's data is.
    pub fn data(&self, member: usize) -> PathBuf {
        self.path().join(format!("data-{member}"))
    }

    /// Where HTTP clients reach a member.
    pub fn http(&self, member: usize) -> SocketAddr {
        self.at(member, 0)
    }

    /// Where native clients reach a member.
    pub fn client(&self, member: usize) -> SocketAddr {
        self.at(member, 1)
    }

    /// Where its peers reach a member.
    pub fn peer(&self, member: usize) -> SocketAddr {
        self.at(member, 2)
    }

    /// The network that they are in.
    ///
    /// # Panics
    ///
    /// They are in none of their own.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("they were put in a network")
    }

    fn at(&self, member: usize, kind: u16) -> SocketAddr {
        // Lists also name servers that are not among them.
        let own = self.addresses.get(member - 1);
        let address = *own.unwrap_or(&self.addresses[0]);
        let member = u16::try_from(member).expect("it is a small number");
        SocketAddr::new(address, 7600 + 10 * (member - 1) + kind)
    }

    /// The command that runs a member.
    pub fn command(&self, member: usize) -> Command {
        let network = self.network.as_ref();
        let mut command = network.map_or_else(
            || Command::new(tenure()),
            |network| network.command(member, tenure()),
        );
        command
            .args(["serve", "--config"])
            .arg(self.config_file(member));
        command
    }

    /// Starts a member.
    ///
    /// # Panics
    ///
    /// It runs already.
    pub fn start(&mut self, member: usize) {
        let mut command = self.command(member);
        self.start_by(member, &mut command);
    }

    /// Starts a member by a command that ends up as [`Members::command`].
    ///
    /// # Panics
    ///
    /// It runs already.
    pub fn start_by(&mut self, member: usize, command: &mut Command) {
        let process = Process::start(command);
        let old = self.running[member - 1].replace(process);
        assert!(old.is_none(), "member {member} runs already");
    }

    /// Starts all members, and waits for a leader.
    pub fn start_all(&mut self) {
        for member in 1..=self.running.len() {
            self.start(member);
        }
        self.leader(PATIENCE);
    }

    /// The process of a member.
    ///
    /// # Panics
    ///
    /// It does not run.
    pub fn process(&mut self, member: usize) -> &mut Process {
        let process = self.running[member - 1].as_mut();
        process.expect("the member runs")
    }

    /// Waits until a member ends by itself, and gives its exit code and what it said.
    ///
    /// # Panics
    ///
    /// It does not.
    pub fn ended(&mut self, member: usize) -> (Option<i32>, String) {
        let process = self.process(member);
        let code = process.end(PATIENCE).code();
        let output = process.output();
        self.running[member - 1] = None;
        (code, output)
    }

    /// `kill -9`.
    pub fn kill(&mut self, member: usize) {
        self.process(member).kill();
        self.running[member - 1] = None;
    }

    /// Stops a member's process, or lets it go on.
    pub fn signal(&mut self, member: usize, signal: Signal) {
        self.process(member).signal(signal);
    }

    /// What a member says, if it says anything in time.
    pub fn state(&self, member: usize, patience: Duration) -> Option<State> {
        let mut native = Native::connect(self.client(member), patience).ok()?;
        let id = RequestId::new(1);
        let answered = native.ask(id, &Client::None, &Ask::Servers, patience);
        let Ok(Word::Servers {
            servers,
            applied,
            digest,
            ..
        }) = answered.map(|answered| answered.word)
        else {
            return None;
        };
        let leader = servers.iter().find(|row| row.leader);
        Some(State {
            leader: leader.map(|row| row.node),
            applied,
            digest,
        })
    }

    /// Waits until a running member says of itself that it leads.
    ///
    /// # Panics
    ///
    /// None does in time.
    pub fn leader(&mut self, patience: Duration) -> usize {
        self.leader_but(0, patience)
    }

    /// As [`Members::leader`], but one other than `not`, whom nobody asks.
    ///
    /// # Panics
    ///
    /// None does in time, or a server ended by itself.
    pub fn leader_but(&mut self, not: usize, patience: Duration) -> usize {
        let until = Instant::now() + patience;
        loop {
            for member in 1..=self.running.len() {
                let Some(process) = self.running[member - 1].as_mut() else {
                    continue;
                };
                let said = process.is_over().then(|| process.output());
                assert!(said.is_none(), "member {member} ended: {said:?}");
                let patience = Duration::from_millis(500);
                if member == not {
                    continue;
                }
                let leader = self.state(member, patience).and_then(|state| state.leader);
                if leader.is_some_and(|leader| leader == NodeId::new(member as u64)) {
                    return member;
                }
            }
            assert!(Instant::now() < until, "no leader within {patience:?}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Everything that all running members said.
    pub fn output(&self) -> String {
        let mut text = String::new();
        for (index, process) in self.running.iter().enumerate() {
            if let Some(process) = process {
                let member = index + 1;
                let _ = writeln!(text, "--- member {member}\n{}", process.output());
            }
        }
        text
    }
}
