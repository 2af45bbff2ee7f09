//! The servers that a bench starts: processes on loopback, with files in a folder of their own.

use super::native::Client;
use super::usage::Usage;
use crate::args::Bench;
use crate::exit::{Code, Exit};
use crate::serve::{make_shared_key, member_data};
use rustix::process::{Pid, Signal, kill_process};
use std::cell::Cell;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tenure_rt::clock;
use tenure_server::settings::Settings;

/// How long a server may take to say what it is asked.
const PATIENCE: Duration = Duration::from_secs(20);

/// Running servers. They end, and their files go, when this is dropped.
pub(super) struct Own {
    servers: Vec<Server>,
    folder: Folder,
    port: u16,
    /// From the start of the first process to the first lock.
    pub(super) cold_start: Duration,
}

struct Server {
    process: Process,
    said: mpsc::Receiver<String>,
    /// What it said last of itself.
    leads: Cell<bool>,
}

struct Process(Child);

struct Folder(PathBuf);

impl Own {
    pub(super) async fn start(bench: &Bench) -> Result<Self, Exit> {
        let folder = Folder(
            bench
                .data
                .join(format!("tenure-bench-{}", std::process::id())),
        );
        make_shared_key(&folder.0)?;
        let port = free_ports(bench.servers).ok_or_else(|| {
            let message = "no free ports on 127.0.0.1 between 20000 and 30000";
            Exit::new(Code::System, message)
        })?;
        let begin = clock::now();
        let mut own = Self {
            servers: Vec::new(),
            folder,
            port,
            cold_start: Duration::ZERO,
        };
        for member in 1..=bench.servers {
            let server = Server::start(&own.folder.0, bench.servers, member, port);
            own.servers.push(server.map_err(system)?);
        }
        for server in &own.servers {
            let knows = |line: &str| line == "leads" || line.starts_with("follows");
            server.hear(|line| knows(line).then_some(()))?;
        }
        let mut first = Client::connect(own.endpoints(false)[0], "bench/first")
            .await
            .map_err(no_service)?;
        let grant = first.acquire().await.map_err(no_service)?;
        own.cold_start = clock::now().since(begin);
        first.release(grant).await.map_err(no_service)?;
        Ok(own)
    }

    pub(super) const fn count(&self) -> usize {
        self.servers.len()
    }

    /// Where clients of a kind reach the servers.
    pub(super) fn endpoints(&self, is_http: bool) -> Vec<SocketAddr> {
        let count = u16::try_from(self.servers.len()).unwrap_or(u16::MAX);
        let members = (1..=count).map(|member| {
            let settings = Settings::dev_member(&self.folder.0, self.port, member, count, None);
            let listed = settings.member();
            if is_http {
                listed.http.clone()
            } else {
                listed.client.clone()
            }
        });
        members
            .map(|address| {
                address
                    .parse()
                    .expect("servers for trying out have numbers")
            })
            .collect()
    }

    /// Waits until one server says that it leads, and gives its place, from 0.
    pub(super) async fn leader(&self) -> Result<usize, Exit> {
        let until = clock::now().plus(PATIENCE);
        while clock::now() < until {
            if let Some(place) = self.servers.iter().position(Server::leads) {
                return Ok(place);
            }
            clock::sleep(Duration::from_millis(5)).await;
        }
        Err(system("no server says that it leads"))
    }

    /// `kill -9`; it is gone when this returns, or about to be.
    pub(super) fn kill(&mut self, place: usize) -> Result<(), Exit> {
        self.servers[place].process.0.kill().map_err(system)
    }

    /// Starts one again that was killed, and waits until it follows another: everything on this thread does.
    pub(super) fn start_again(&mut self, place: usize) -> Result<(), Exit> {
        self.start_one(place)?;
        self.servers[place].follows()
    }

    /// Starts one again that was killed.
    pub(super) fn start_one(&mut self, place: usize) -> Result<(), Exit> {
        let count = u16::try_from(self.servers.len()).map_err(system)?;
        let member = u16::try_from(place + 1).map_err(system)?;
        let server = Server::start(&self.folder.0, count, member, self.port);
        self.servers[place] = server.map_err(system)?;
        Ok(())
    }

    /// Stops a process, so that nothing of it runs while its connections stay.
    pub(super) fn stop(&self, place: usize) -> Result<(), Exit> {
        self.servers[place].signal(Signal::STOP)
    }

    /// Lets one go on that was stopped, and waits until it follows another.
    pub(super) fn go_on(&self, place: usize) -> Result<(), Exit> {
        self.servers[place].signal(Signal::CONT)?;
        self.servers[place].follows()
    }

    /// The slots of the snapshots that a server has.
    pub(super) fn snapshots(&self, place: usize) -> io::Result<Vec<u64>> {
        let member = u16::try_from(place + 1).map_err(io::Error::other)?;
        let folder = member_data(&self.folder.0, member).join("snap");
        let mut slots = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name();
            let slot = name.to_str().and_then(|name| name.split_once('-'));
            slots.extend(slot.and_then(|(slot, _)| slot.parse::<u64>().ok()));
        }
        Ok(slots)
    }

    /// What all servers have used so far.
    pub(super) fn usage(&self) -> Result<Usage, Exit> {
        let mut total = Usage::default();
        for server in &self.servers {
            total = total.plus(&server.usage()?);
        }
        Ok(total)
    }
}

impl Server {
    fn start(folder: &Path, servers: u16, member: u16, port: u16) -> io::Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .args(["serve", "--dev", "--attached"])
            .args(["--servers", &servers.to_string()])
            .args(["--member", &member.to_string()])
            .args(["--port", &port.to_string()])
            .arg("--data")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take();
        let (tell, said) = mpsc::sync_channel(1024);
        std::thread::spawn(move || {
            let lines = stdout.map(|stdout| BufReader::new(stdout).lines());
            for line in lines.into_iter().flatten().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            process: Process(child),
            said,
            leads: Cell::new(false),
        })
    }

    /// The first thing it says that `find` makes something of.
    fn hear<T>(&self, find: impl Fn(&str) -> Option<T>) -> Result<T, Exit> {
        loop {
            let line = self.said.recv_timeout(PATIENCE).map_err(|_| {
                Exit::new(Code::System, "a server that was started says nothing more")
            })?;
            self.note(&line);
            if let Some(found) = find(&line) {
                return Ok(found);
            }
        }
    }

    fn note(&self, line: &str) {
        if line == "leads" {
            self.leads.set(true);
        } else if line == "looks" || line.starts_with("follows") {
            self.leads.set(false);
        }
    }

    fn leads(&self) -> bool {
        self.said.try_iter().for_each(|line| self.note(&line));
        self.leads.get()
    }

    fn follows(&self) -> Result<(), Exit> {
        self.hear(|line| line.starts_with("follows").then_some(()))
    }

    fn signal(&self, signal: Signal) -> Result<(), Exit> {
        kill_process(Pid::from_child(&self.process.0), signal).map_err(system)
    }

    fn usage(&self) -> Result<Usage, Exit> {
        let mut stdin = self.process.0.stdin.as_ref();
        let asked = stdin.as_mut().map(|stdin| stdin.write_all(b"counters\n"));
        asked.transpose().map_err(system)?;
        let syncs = self.hear(|line| {
            let rest = line.strip_prefix("counters syncs ")?;
            rest.split(' ').next()?.parse().ok()
        })?;
        Usage::of(self.process.0.id(), syncs).map_err(system)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        if self.0.kill().is_ok() {
            drop(self.0.wait());
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "the servers' files stay");
        }
    }
}

/// The first of the ports that so many servers need, all of them free now.
fn free_ports(servers: u16) -> Option<u16> {
    let begin = 20_000 + (std::process::id() % 90) as u16 * 100;
    let mut firsts = (begin..30_000).chain(20_000..begin).step_by(100);
    firsts.find(|first| {
        (0..servers).all(|server| {
            (0..3).all(|kind| {
                let port = first + 10 * server + kind;
                TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            })
        })
    })
}

fn system(error: impl std::fmt::Display) -> Exit {
    Exit::new(Code::System, error)
}

fn no_service(error: impl std::fmt::Display) -> Exit {
    Exit::new(Code::NoService, error)
}
