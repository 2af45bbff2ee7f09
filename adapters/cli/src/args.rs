//! The words of the command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

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
    /// Make the token key that the servers of a cluster share.
    #[command(hide = true)]
    TokenKey {
        /// The new file. Copy it to every server; whoever reads it can forge tokens.
        file: PathBuf,
    },
}

/// What `serve` takes.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// A member of a cluster, as its configuration file says.
    #[arg(long, value_name = "FILE", required_unless_present = "dev")]
    pub(crate) config: Option<PathBuf>,
    /// For trying out: on loopback, without a configuration.
    #[arg(long, conflicts_with = "config")]
    pub(crate) dev: bool,
    /// How many servers to try out, each a process of its own.
    #[arg(long, value_name = "N", requires = "dev", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=9))]
    pub(crate) servers: u16,
    /// Where the servers that are tried out keep their data.
    #[arg(
        long,
        value_name = "DIR",
        requires = "dev",
        default_value = "./tenure-dev"
    )]
    pub(crate) data: PathBuf,
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
