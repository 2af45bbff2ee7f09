//! The words of the command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tenure_client::{Order, Selector};
use tenure_core::limits::{TTL_MS_MAX, TTL_MS_MIN};
use tenure_core::wire::token::TokenText;

/// A lock service: three servers agree on who holds a lock.
#[derive(Debug, Parser)]
#[command(name = "tenure", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a server.
    Serve(Serve),
    /// Run a command under a lock. The command is ended before anybody else may get the lock.
    Lock(Lock),
    /// Take a lock, and print the token that gives it back.
    Acquire(Acquire),
    /// Give a lock back.
    Release(Release),
    /// Take a lock from its holder, who is gone or stuck: what `show` says of it, and a reason.
    #[command(hide = true)]
    Unlock(Unlock),
    /// Show who has a lock, and who waits for it.
    Show(Show),
    /// List the locks that are held or waited for.
    Ls(Ls),
    /// The configuration that all servers share.
    #[command(hide = true)]
    Config(Config),
    /// The servers of the cluster.
    #[command(hide = true)]
    Member(Member),
    /// Give a zone its quota, and make it if there is none of this name: locks, tickets, sessions.
    #[command(hide = true)]
    Zone(ZoneSet),
    /// Measure locks a second, on servers of its own or on yours.
    #[command(hide = true)]
    Bench(Bench),
    /// Make the token key that the servers of a cluster share.
    #[command(hide = true)]
    TokenKey {
        /// The new file. Copy it to every server; whoever reads it can forge tokens.
        file: PathBuf,
    },
}

/// Where the service is.
#[derive(Debug, Args)]
pub(crate) struct Service {
    /// Servers, of which one at least must be there; any of them answers anything.
    #[arg(
        long,
        env = "TENURE_ENDPOINTS",
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        default_value = "127.0.0.1:7601,127.0.0.1:7611,127.0.0.1:7621"
    )]
    pub(crate) endpoints: Vec<String>,
    /// How long to look for a server that answers.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) patience: Duration,
}

/// What `lock` and `acquire` take.
#[derive(Debug, Args)]
pub(crate) struct Claim {
    /// The lock: a path such as deploy/prod.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// How long the lock outlives its last renewal: 30s, 5m, 250ms.
    #[arg(long, short = 't', value_name = "TIME", default_value = "30s", value_parser = ttl)]
    pub(crate) ttl: Ttl,
    /// Others may share it who ask for the same.
    #[arg(long)]
    pub(crate) shared: bool,
    /// The holder's name, for people; user, host, process and command unless said.
    #[arg(long, value_name = "TEXT")]
    pub(crate) holder: Option<String>,
}

/// What `lock` takes.
#[derive(Debug, Args)]
pub(crate) struct Lock {
    #[command(flatten)]
    pub(crate) claim: Claim,
    /// How long to wait for the lock; as long as it takes, unless said.
    #[arg(long, short, value_name = "TIME", value_parser = duration, conflicts_with = "try_once")]
    pub(crate) wait: Option<Duration>,
    /// Do not wait.
    #[arg(long = "try")]
    pub(crate) try_once: bool,
    #[command(flatten)]
    pub(crate) service: Service,
    /// The command and its words.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// What `acquire` takes.
#[derive(Debug, Args)]
pub(crate) struct Acquire {
    #[command(flatten)]
    pub(crate) claim: Claim,
    /// How long to wait for the lock; not at all, unless said.
    #[arg(long, short, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub(crate) wait: Duration,
    #[command(flatten)]
    pub(crate) service: Service,
    #[command(flatten)]
    pub(crate) print: Print,
}

/// What `release` takes.
#[derive(Debug, Args)]
pub(crate) struct Release {
    /// The lock.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What `acquire` printed.
    #[arg(long, env = "TENURE_TOKEN", hide_env_values = true, value_parser = token)]
    pub(crate) token: TokenText,
    #[command(flatten)]
    pub(crate) service: Service,
}

/// What `unlock` takes.
#[derive(Debug, Args)]
pub(crate) struct Unlock {
    /// The lock.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// It is not yours, and its holder may still believe in it: only the fence protects then.
    #[arg(long, required = true)]
    pub(crate) force: bool,
    /// The fence that `show` says. If the lock has another one by now, nothing is done.
    #[arg(long, value_name = "N")]
    pub(crate) fence: u64,
    #[command(flatten)]
    pub(crate) cause: Cause,
    #[command(flatten)]
    pub(crate) service: Service,
    #[command(flatten)]
    pub(crate) print: Print,
}

/// Why something is taken from its holder.
#[derive(Debug, Args)]
pub(crate) struct Cause {
    /// Why: servers write it down.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// Who wants it; user, host and process unless said.
    #[arg(long, value_name = "TEXT")]
    pub(crate) by: Option<String>,
}

/// What `show` takes.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The lock.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) service: Service,
    #[command(flatten)]
    pub(crate) print: Print,
}

/// What `ls` takes.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Only locks whose path begins with this.
    #[arg(value_name = "PREFIX")]
    pub(crate) prefix: Option<String>,
    /// Only locks on pairs that this means, as 'env="prod" and shard>=5u8'.
    #[arg(long, value_name = "CONDITION", value_parser = Selector::parse)]
    pub(crate) selector: Option<Selector>,
    /// By these pairs instead of the whole key, as 'shard,-env'; or 'random(7)'.
    #[arg(long, value_name = "NAMES", value_parser = Order::parse)]
    pub(crate) sort: Option<Order>,
    #[command(flatten)]
    pub(crate) service: Service,
    #[command(flatten)]
    pub(crate) print: Print,
}

/// What `config` does.
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    pub(crate) verb: ConfigVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Show it.
    Show {
        #[command(flatten)]
        service: Service,
        #[command(flatten)]
        print: Print,
    },
    /// Change how the cluster serves: members_min, leader_location.
    Set(Edit),
    /// Show who changed what, the newest first.
    History {
        #[command(flatten)]
        service: Service,
        #[command(flatten)]
        print: Print,
    },
}

/// What `member` does.
#[derive(Debug, Args)]
pub(crate) struct Member {
    #[command(subcommand)]
    pub(crate) verb: MemberVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemberVerb {
    /// List them.
    Ls {
        #[command(flatten)]
        service: Service,
        #[command(flatten)]
        print: Print,
    },
    /// Let another server lead: this one, or the fittest.
    Transfer {
        /// Its number.
        #[arg(value_name = "ID")]
        id: Option<u64>,
        #[command(flatten)]
        service: Service,
    },
    /// Change what is told of one: peer, client, http, location.
    Set {
        /// Its number.
        #[arg(value_name = "ID")]
        id: u64,
        #[command(flatten)]
        edit: Edit,
    },
    /// Add one: peer, client, http, location, role. It is started then, with the number that is printed.
    Add(Edit),
    /// Let a new one take another's place: peer, client, http, location.
    Replace {
        /// The number of the one that goes.
        #[arg(value_name = "ID")]
        id: u64,
        #[command(flatten)]
        edit: Edit,
    },
    /// Take one away, for good.
    Remove(One),
    /// Let one vote: as a full voter, or only for the quorum.
    Promote {
        #[command(flatten)]
        one: One,
        /// It keeps the log and votes, and takes no clients.
        #[arg(long)]
        quorum_only: bool,
    },
    /// Let one keep the locks and take clients, without a vote.
    Demote(One),
    /// Let in one that asked.
    Approve(One),
    /// Let one take no clients and not lead, before it is taken down for a while.
    Drain {
        #[command(flatten)]
        one: One,
        /// Come back only when another one leads.
        #[arg(long)]
        wait: bool,
    },
    /// Let it serve and lead again.
    Undrain(One),
    /// Make an invitation, and print its secret: role, ttl, approve=true.
    Invite {
        /// What is to be different: role=observer, ttl=10m, approve=true.
        #[arg(value_name = "NAME=VALUE")]
        settings: Vec<String>,
        #[command(flatten)]
        service: Service,
    },
    /// Take an invitation back.
    Uninvite {
        /// The first digits of its hash, as `member ls` shows it.
        #[arg(value_name = "HASH")]
        hash: String,
        #[command(flatten)]
        service: Service,
    },
}

/// One member.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// Its number.
    #[arg(value_name = "ID")]
    pub(crate) id: u64,
    /// Only if this is still the last change: what `config show` said.
    #[arg(long, value_name = "CHANGE")]
    pub(crate) expect: Option<u64>,
    #[command(flatten)]
    pub(crate) service: Service,
}

/// What `zone` takes.
#[derive(Debug, Args)]
pub(crate) struct ZoneSet {
    /// The zone.
    #[arg(value_name = "ZONE")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) edit: Edit,
}

/// A change of the shared configuration.
#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// What is to be different; what is not said stays.
    #[arg(value_name = "NAME=VALUE", required = true)]
    pub(crate) settings: Vec<String>,
    /// Only if this is still the last change: what `config show` said.
    #[arg(long, value_name = "CHANGE")]
    pub(crate) expect: Option<u64>,
    #[command(flatten)]
    pub(crate) service: Service,
}

/// How to print.
#[derive(Debug, Args)]
pub(crate) struct Print {
    /// For people, or one JSON value a line.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// How to print.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
}

/// How long a lock lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ttl {
    /// So long after each renewal.
    Lease(Duration),
    /// Until it is released.
    None,
}

/// Reads `30s`, `250ms`, `5m`, `2h`, or milliseconds without a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let scale = match unit {
        "" | "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("write a time like 30s, 250ms, 5m or 2h".to_owned()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "write a time like 30s, 250ms, 5m or 2h".to_owned())?;
    let millis = number.checked_mul(scale);
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| "that is too long".to_owned())
}

fn ttl(text: &str) -> Result<Ttl, String> {
    let (min, max) = (TTL_MS_MIN, TTL_MS_MAX);
    match text {
        "none" => Ok(Ttl::None),
        _ => match duration(text)? {
            ttl if (min.into()..=max.into()).contains(&ttl.as_millis()) => Ok(Ttl::Lease(ttl)),
            _ => Err(format!(
                "it is between {min}ms and {}h, or none",
                max / 3_600_000
            )),
        },
    }
}

fn token(text: &str) -> Result<TokenText, String> {
    TokenText::parse(text).ok_or_else(|| "that is no token".to_owned())
}

/// What `serve` takes.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// A member of a cluster, as its configuration file says.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["dev", "listen"])]
    pub(crate) config: Option<PathBuf>,
    /// For trying out: on loopback, without a configuration.
    #[arg(long, conflicts_with = "config")]
    pub(crate) dev: bool,
    /// Found a new cluster, of this server alone. Others may join it.
    #[arg(long, conflicts_with_all = ["dev", "join"])]
    pub(crate) bootstrap: bool,
    /// Without a file: where HTTP clients reach this server. Native clients are one port above, its
    /// peers two.
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["config", "dev"], requires = "data")]
    pub(crate) listen: Option<SocketAddr>,
    /// Join the cluster that has members here, or behind this balancer: where HTTP clients reach them.
    #[arg(
        long,
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        requires = "listen",
        requires = "token_file",
        requires = "token_key"
    )]
    pub(crate) join: Vec<String>,
    /// The file with the secret that `tenure member invite` printed.
    #[arg(long, value_name = "FILE", requires = "join")]
    pub(crate) token_file: Option<PathBuf>,
    /// The file with the key of all tokens, the same on every server; unless said, the first server
    /// makes it in its data directory.
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub(crate) token_key: Option<PathBuf>,
    /// How many servers to try out, each a process of its own.
    #[arg(long, value_name = "N", requires = "dev", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=9))]
    pub(crate) servers: u16,
    /// Where the data is; of servers that are tried out in ./tenure-dev, unless said.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub(crate) data: Option<PathBuf>,
    /// The first of their ports: HTTP, native clients and peers are at this and the next two, and
    /// each further server's ten above.
    #[arg(long, requires = "dev", default_value_t = tenure_server::settings::DEV_PORT,
          value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub(crate) port: u16,
    /// Only this one of the servers that are tried out: to bring back one that was killed.
    #[arg(long, value_name = "ID", requires = "dev")]
    pub(crate) member: Option<u16>,
    /// Stop when standard input ends, and say on standard output who leads.
    #[arg(long, requires = "member", hide = true)]
    pub(crate) attached: bool,
}

/// What `bench` takes.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// How many servers to start, each a process of its own on loopback.
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u16).range(1..=9))]
    pub(crate) servers: u16,
    /// Start none, and use these: addresses of native clients, or with --http of HTTP clients.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', conflicts_with_all = ["servers", "data"])]
    pub(crate) endpoints: Vec<String>,
    /// How many clients, each with a connection and one request at a time.
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) clients: u32,
    /// How long to count.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// How long to run before that.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub(crate) warm_up: f64,
    /// All clients take one lock in turn; otherwise each has its own.
    #[arg(long)]
    pub(crate) contend: bool,
    /// Clients speak the native protocol, each in a session. This is the default.
    #[arg(long, conflicts_with = "http")]
    pub(crate) native: bool,
    /// Clients speak HTTP.
    #[arg(long)]
    pub(crate) http: bool,
    /// Clients speak through TLS.
    #[arg(long)]
    pub(crate) tls: bool,
    /// Instead of cycles: kill the leader so many times, and stop it as often, and tell how long it takes
    /// until another server's client has its next lock.
    #[arg(long, value_name = "TIMES", conflicts_with_all = ["endpoints", "contend", "http"],
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) failover: Option<u16>,
    /// Instead of cycles alone: hold 300,000 locks, kill a follower until it needs a snapshot, start it again, and
    /// tell how long the clients' acquires take before, meanwhile and afterwards.
    #[arg(long, conflicts_with_all = ["endpoints", "contend", "http", "failover"])]
    pub(crate) catch_up: bool,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Where to put the servers' files, in a folder that is removed afterwards: on the disk that
    /// is to be measured.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) data: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::{Cli, Ttl, duration, ttl};
    use clap::{CommandFactory as _, Parser as _};
    use std::time::Duration;

    #[test]
    fn times_have_units() {
        let seconds = |number| Ok(Duration::from_secs(number));
        assert_eq!(duration("30s"), seconds(30));
        assert_eq!(duration("2m"), seconds(120));
        assert_eq!(duration("1h"), seconds(3600));
        assert_eq!(duration("1500"), Ok(Duration::from_millis(1500)));
        for wrong in [
            "banana",
            "",
            "s",
            "-1s",
            "1 s",
            "1d",
            "99999999999999999999s",
            "9999999999999999h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(ttl("none"), Ok(Ttl::None));
        assert!(ttl("499ms").is_err() && ttl("25h").is_err());
    }

    #[test]
    fn the_words_are_consistent() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["tenure", "lock", "a", "--", "sh", "-c", "true"]);
        assert!(cli.is_ok());
        assert!(Cli::try_parse_from(["tenure", "lock", "a"]).is_err());
    }

    #[test]
    fn help_fits_a_screen() {
        let lines = Cli::command().render_help().to_string().lines().count();
        assert!(lines <= 24, "{lines} lines");
    }
}
