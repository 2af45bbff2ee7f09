//! `tenure serve`: one server, in this process.

use crate::args::Serve;
use crate::exit::{Code, Exit};
use crate::several;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tenure_core::node::output::Halt;
use tenure_core::wire::peer::HelloRefusal;
use tenure_rt::signal::StopSignals;
use tenure_rt::sync::{Notify, watch};
use tenure_rt::{block_on, clock, select, spawn};
use tenure_server::{
    Counting, FoundingError, HostError, Join, JoinError, Origin, Proof, Server, Settings,
    StartError, Status, TokenKey, key,
};

pub(crate) fn run(serve: &Serve) -> Result<(), Exit> {
    log_to_stderr(if serve.dev { "warn" } else { "info" });
    if serve.dev && serve.member.is_none() && serve.servers > 1 {
        return several::run(serve);
    }
    let (mut settings, mut banner) = settings(serve)?;
    let parent = serve.attached.then(Parent::attend);
    let mut patience = Duration::ZERO;
    loop {
        // Each on a runtime of its own: what the one before had open is closed with its runtime.
        let served = block_on(one(&settings, banner.take(), parent.as_ref(), patience));
        match served.map_err(|error| Exit::new(Code::System, error))?? {
            Ended::Asked => return Ok(()),
            Ended::Role => {}
        }
        settings = settings.again();
        patience = AGAIN_PATIENCE;
    }
}

/// How long a server that is opened again waits for its own addresses.
const AGAIN_PATIENCE: Duration = Duration::from_secs(5);
const AGAIN_PAUSE: Duration = Duration::from_millis(20);

/// Why a server ended that did nothing wrong.
enum Ended {
    /// It was asked to.
    Asked,
    /// It has another role now, and is opened again: an operator need not do it.
    Role,
}

/// What the words say, and what to print once it runs.
fn settings(serve: &Serve) -> Result<(Settings, Option<String>), Exit> {
    let config = |error: String| Exit::new(Code::Config, error);
    if let Some(listen) = serve.listen {
        let data = serve.data.clone().unwrap_or_default();
        let own = || TokenKey::Own(data.join("token.key"));
        let token_key = serve.token_key.clone();
        let token_key = token_key.map_or_else(own, TokenKey::Shared);
        let settings = Settings::at(listen, origin(serve), data, token_key);
        return Ok((settings.map_err(config)?, None));
    }
    if let Some(path) = &serve.config {
        let settings = Settings::load(path);
        let mut settings = settings.map_err(|error| config(error.to_string()))?;
        if serve.bootstrap {
            let founds = settings.bootstrap();
            founds.map_err(|error| config(format!("{}: {error}", path.display())))?;
        }
        return Ok((settings, None));
    }
    let Some(member) = serve.member else {
        let settings = Settings::dev(&dev_data(serve), serve.port);
        let banner = banner("one server for trying out", &settings);
        return Ok((settings, Some(banner)));
    };
    let settings = member_of_several(serve, member)?;
    let name = format!("server {member} of {} for trying out", serve.servers);
    let banner = banner(&name, &settings);
    Ok((settings, (!serve.attached).then_some(banner)))
}

fn origin(serve: &Serve) -> Origin {
    match &serve.token_file {
        Some(file) => Origin::Join(Join {
            addresses: serve.join.clone(),
            proof: Proof::TokenFile(file.clone()),
        }),
        None if serve.bootstrap => Origin::Bootstrap,
        None => Origin::Remembered,
    }
}

/// Where servers that are tried out keep their data.
pub(crate) fn dev_data(serve: &Serve) -> PathBuf {
    let default = || PathBuf::from("./tenure-dev");
    serve.data.clone().unwrap_or_else(default)
}

/// Runs one server until it ends. `patience`: its addresses may be in use that long.
async fn one(
    settings: &Settings,
    banner: Option<String>,
    parent: Option<&Parent>,
    patience: Duration,
) -> Result<Ended, Exit> {
    let mut stop = StopSignals::listen().map_err(|error| Exit::new(Code::System, error))?;
    let mut asked = std::pin::pin!(async {
        select! { biased;
            () = stop.asked() => {}
            () = Parent::is_gone(parent) => {}
        }
    });
    let server = select! { biased;
        started = start(settings, patience) => started.map_err(not_started)?,
        () = &mut asked => return Ok(Ended::Asked),
    };
    if let Some(banner) = banner {
        print(&banner);
    }
    let door = server.door();
    if let Some(parent) = parent {
        drop(spawn(report(server.status())));
        parent.count(server.counting());
    }
    let mut run = std::pin::pin!(server.run());
    let (ended, was_asked) = select! { biased;
        ended = &mut run => (ended, false),
        () = &mut asked => {
            door.stop().await;
            (run.await, true)
        }
    };
    match ended {
        Ok(()) => Ok(Ended::Asked),
        Err(HostError::Halt(Halt::Role { .. })) if was_asked => Ok(Ended::Asked),
        Err(HostError::Halt(Halt::Role { epoch })) => {
            tracing::info!(%epoch, "this server has another role, and opens itself again");
            Ok(Ended::Role)
        }
        Err(error) => Err(stopped(error)),
    }
}

async fn start(settings: &Settings, patience: Duration) -> Result<Server, StartError> {
    let until = clock::now().plus(patience);
    loop {
        match Server::start(settings).await {
            Err(StartError::Listen { .. }) if clock::now() < until => {
                clock::sleep(AGAIN_PAUSE).await;
            }
            started => return started,
        }
    }
}

/// The process that started this one, at the other end of its standard input.
struct Parent {
    /// What the disk does, once it does anything.
    counting: Arc<Mutex<Option<Counting>>>,
    gone: Arc<Notify>,
}

impl Parent {
    /// Listens to it from now on.
    fn attend() -> Self {
        let (counting, gone) = (
            Arc::<Mutex<Option<Counting>>>::default(),
            Arc::new(Notify::new()),
        );
        let parent = Self {
            counting: Arc::clone(&counting),
            gone: Arc::clone(&gone),
        };
        std::thread::spawn(move || {
            // Ends with the process that started this one, however that ends.
            for line in std::io::stdin().lines().map_while(Result::ok) {
                let counting = counting.lock().ok().and_then(|counting| counting.clone());
                if let Some(counting) = counting.filter(|_| line == "counters") {
                    print(&counters(&counting));
                }
            }
            gone.notify_one();
        });
        parent
    }

    /// From now on it is told of this server's disk.
    fn count(&self, counting: Counting) {
        if let Ok(mut known) = self.counting.lock() {
            *known = Some(counting);
        }
    }

    /// Waits until it is; for ever if nobody is attended to.
    async fn is_gone(parent: Option<&Self>) {
        match parent {
            Some(parent) => parent.gone.notified().await,
            None => std::future::pending().await,
        }
    }
}

fn stopped(error: HostError) -> Exit {
    let code = match &error {
        HostError::Removed(_) | HostError::Halt(Halt::Removed { .. }) => Code::NotAMember,
        HostError::Halt(_) | HostError::Failed(_) | HostError::Disk { .. } => Code::Stopped,
    };
    Exit::new(code, error)
}

fn not_started(error: StartError) -> Exit {
    let code = match &error {
        StartError::Listen { .. } | StartError::DataInUse { .. } | StartError::System(_) => {
            Code::System
        }
        StartError::Key(_)
        | StartError::WrongData(_)
        | StartError::Config { .. }
        | StartError::NotEmpty { .. }
        | StartError::Empty { .. }
        | StartError::Founder(_)
        | StartError::OtherList(_)
        | StartError::Join(JoinError::Token { .. }) => Code::Config,
        StartError::Join(JoinError::Refused { .. }) => Code::NotAMember,
        StartError::Join(JoinError::NoAnswer { .. }) => Code::NoService,
        StartError::Founding(FoundingError::Refused { refusal, .. }) => refused(*refusal),
        StartError::Founding(FoundingError::Memory(_)) => Code::System,
        StartError::Disk(_) => Code::Stopped,
    };
    Exit::new(code, error)
}

/// How a server ends that a cluster refuses which it was to found.
const fn refused(refusal: HelloRefusal) -> Code {
    match refusal {
        HelloRefusal::Removed { .. } | HelloRefusal::NotApproved { .. } => Code::NotAMember,
        HelloRefusal::Incarnation { .. }
        | HelloRefusal::OldBoot { .. }
        | HelloRefusal::Stands { .. } => Code::Stopped,
        HelloRefusal::Version { .. }
        | HelloRefusal::Cluster { .. }
        | HelloRefusal::UnknownMember { .. }
        | HelloRefusal::NotMe { .. }
        | HelloRefusal::Forked { .. } => Code::Config,
    }
}

/// The settings of one of several servers for trying out. The first of them makes their token key.
fn member_of_several(serve: &Serve, member: u16) -> Result<Settings, Exit> {
    if member == 0 || member > serve.servers {
        let servers = serve.servers;
        let message = format!("--member {member}: there are the members 1 to {servers}");
        return Err(Exit::new(Code::Config, message));
    }
    let folder = dev_data(serve);
    let (data, key) = (member_data(&folder, member), key_file(&folder));
    let (port, servers) = (serve.port, serve.servers);
    Ok(Settings::dev_member(
        &data,
        port,
        member,
        servers,
        Some(&key),
    ))
}

/// Where a server of several keeps its data.
pub(crate) fn member_data(data: &Path, member: u16) -> PathBuf {
    data.join(format!("server-{member}"))
}

fn key_file(data: &Path) -> PathBuf {
    data.join("token.key")
}

/// Makes the key that several servers for trying out share, unless it is there.
pub(crate) fn make_shared_key(data: &Path) -> Result<(), Exit> {
    let system = |error| Exit::new(Code::System, format!("{}: {error}", data.display()));
    std::fs::create_dir_all(data).map_err(system)?;
    let path = key_file(data);
    if !path.exists() {
        key::make(&path).map_err(|error| Exit::new(Code::System, error))?;
    }
    Ok(())
}

/// Says on standard output who leads, for the process that started this one.
async fn report(mut status: watch::Receiver<Status>) {
    loop {
        let now = *status.borrow_and_update();
        let line = match (now.leading, now.leader) {
            (Some(_), _) => "leads".to_owned(),
            (None, Some(leader)) => format!("follows {leader}"),
            (None, None) => "looks".to_owned(),
        };
        print(&format!("{line}\n"));
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// What the disk did, for the process that started this one.
fn counters(counting: &Counting) -> String {
    let counters = counting.read();
    let (syncs, bytes) = (counters.syncs, counters.bytes);
    let micros = counters.sync_time.as_micros();
    format!("counters syncs {syncs} bytes {bytes} sync_us {micros}\n")
}

fn banner(name: &str, settings: &Settings) -> String {
    let (version, data) = (env!("CARGO_PKG_VERSION"), settings.data.display());
    let (native, http) = (&settings.member().client, &settings.member().http);
    format!(
        "Tenure {version}, {name}. Loopback only, no TLS. Data: {data}\n  \
         http   {http}     native {native}\n{}",
        curl(http)
    )
}

/// The line that anybody can try.
pub(crate) fn curl(http: &str) -> String {
    let address = format!("http://{http}/v1/locks/deploy/prod?holder=alice&ttl=60s");
    format!("Take a lock:  curl -X POST '{address}'\n")
}

/// Prints at once; a reader that went away is no reason to stop serving.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if out
        .write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_err()
    {
        tracing::debug!("nobody reads standard output");
    }
}

fn log_to_stderr(default: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("TENURE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
