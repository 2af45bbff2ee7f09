//! `tenure serve --dev --servers 3`: several servers on loopback, each a process of its own, so
//! that one of them can be killed. This process only starts them, and tells what it sees.

use crate::args::Serve;
use crate::exit::{Code, Exit};
use crate::serve::{curl, dev_data, make_shared_key, print};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;
use tenure_core::time::Timestamp;
use tenure_rt::signal::StopSignals;
use tenure_rt::sync::mpsc;
use tenure_rt::{block_on, clock, select};
use tenure_server::Settings;

/// How long the servers may take to stop after they were asked.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// What a server said, or that it is gone.
enum News {
    Leads(u16),
    /// It follows somebody, or looks for a leader.
    Other,
    Gone(u16, Option<i32>),
}

/// What this process knows of a server it started.
struct Started {
    pid: u32,
    /// Open as long as the server is to run.
    stdin: Option<ChildStdin>,
    alive: bool,
}

pub(crate) fn run(serve: &Serve) -> Result<(), Exit> {
    make_shared_key(&dev_data(serve))?;
    let (tell, news) = mpsc::channel(64);
    let mut servers = Vec::new();
    for member in 1..=serve.servers {
        let started = start(serve, member, &tell);
        servers.push(started.map_err(|error| Exit::new(Code::System, error))?);
    }
    drop(tell);
    print(&banner(serve, &servers));
    let watched = block_on(watch(serve, &mut servers, news));
    watched.map_err(|error| Exit::new(Code::System, error))?
}

fn start(serve: &Serve, member: u16, tell: &mpsc::Sender<News>) -> std::io::Result<Started> {
    let mut child = Command::new("/proc/self/exe")
        .arg0("tenure")
        .args(["serve", "--dev", "--attached"])
        .args(["--servers", &serve.servers.to_string()])
        .args(["--port", &serve.port.to_string()])
        .args(["--member", &member.to_string()])
        .arg("--data")
        .arg(dev_data(serve))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (pid, stdin) = (child.id(), child.stdin.take());
    let tell = tell.clone();
    std::thread::spawn(move || listen(member, child, &tell));
    Ok(Started {
        pid,
        stdin,
        alive: true,
    })
}

/// Passes on what a server says, until it is gone.
fn listen(member: u16, mut child: Child, tell: &mpsc::Sender<News>) {
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let news = match line.as_str() {
                "leads" => News::Leads(member),
                _ => News::Other,
            };
            if tell.blocking_send(news).is_err() {
                break;
            }
        }
    }
    let code = child.wait().ok().and_then(|status| status.code());
    // When nobody listens any more, this process is ending.
    drop(tell.blocking_send(News::Gone(member, code)));
}

async fn watch(
    serve: &Serve,
    servers: &mut [Started],
    mut news: mpsc::Receiver<News>,
) -> Result<(), Exit> {
    let (mut leader, mut lost_at) = (None, None);
    let mut stop = StopSignals::listen().map_err(|error| Exit::new(Code::System, error))?;
    loop {
        let told = select! { biased;
            told = news.recv() => told,
            () = stop.asked() => {
                stop_all(servers, &mut news).await;
                return Ok(());
            }
        };
        match told {
            Some(News::Leads(member)) if leader != Some(member) => {
                print(&leads(member, servers, lost_at.take()));
                leader = Some(member);
            }
            Some(News::Leads(_) | News::Other) => {}
            Some(News::Gone(member, code)) => {
                let server = &mut servers[usize::from(member) - 1];
                server.alive = false;
                if leader.is_none() && code.is_some_and(|code| code != 0) {
                    // It never began, and has said why.
                    stop_all(servers, &mut news).await;
                    let message = format!("server {member} did not start");
                    return Err(Exit::new(Code::System, message));
                }
                if leader == Some(member) {
                    lost_at = Some(clock::now());
                }
                print(&gone(serve, member, server.pid));
            }
            None => return Ok(()),
        }
    }
}

/// Asks all servers to stop, and waits for them a while.
async fn stop_all(servers: &mut [Started], news: &mut mpsc::Receiver<News>) {
    for server in &mut *servers {
        server.stdin = None;
    }
    let all = async {
        while servers.iter().any(|server| server.alive) {
            match news.recv().await {
                Some(News::Gone(member, _)) => servers[usize::from(member) - 1].alive = false,
                Some(News::Leads(_) | News::Other) => {}
                None => return,
            }
        }
    };
    if clock::timeout(STOP_PATIENCE, all).await.is_none() {
        tracing::warn!("not all servers stopped in time");
    }
}

fn banner(serve: &Serve, servers: &[Started]) -> String {
    let folder = dev_data(serve);
    let (version, data) = (env!("CARGO_PKG_VERSION"), folder.display());
    let count = serve.servers;
    let mut text = format!(
        "Tenure {version}, {count} servers for trying out. Loopback only, no TLS. Data: {data}\n"
    );
    let settings = |member| Settings::dev_member(&folder, serve.port, member, count, None);
    for (member, server) in (1..).zip(servers) {
        let (pid, settings) = (server.pid, settings(member));
        let (http, native) = (&settings.member().http, &settings.member().client);
        writeln!(
            text,
            "  server {member}   pid {pid}   http {http}   native {native}"
        )
        .expect("writing to a string does not fail");
    }
    text + &curl(&settings(1).member().http)
}

fn leads(member: u16, servers: &[Started], lost_at: Option<Timestamp>) -> String {
    let pid = servers[usize::from(member) - 1].pid;
    lost_at.map_or_else(
        || format!("Server {member} (pid {pid}) leads. Kill it and watch:  kill -9 {pid}\n"),
        |lost_at| {
            let after = clock::now().since(lost_at).as_secs_f64();
            format!("Server {member} (pid {pid}) leads, {after:.2} s after the last one went.\n")
        },
    )
}

fn gone(serve: &Serve, member: u16, pid: u32) -> String {
    let folder = dev_data(serve);
    let (servers, port, data) = (serve.servers, serve.port, folder.display());
    format!(
        "Server {member} (pid {pid}) is gone. Bring it back:  tenure serve --dev \
         --servers {servers} --port {port} --data {data} --member {member}\n"
    )
}
