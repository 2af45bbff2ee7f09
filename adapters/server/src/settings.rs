//! What an operator writes: a file of at most eight lines for a member of three.
//!
//! ```toml
//! cluster = "shop"
//! id = 1
//! data = "/var/lib/tenure"
//! token_key = "/etc/tenure/token.key"
//! [members]
//! 1 = { peer = "10.0.0.1:7602", client = "10.0.0.1:7601", http = "10.0.0.1:7600" }
//! 2 = { peer = "10.0.0.2:7602", client = "10.0.0.2:7601", http = "10.0.0.2:7600" }
//! 3 = { peer = "10.0.0.3:7602", client = "10.0.0.3:7601", http = "10.0.0.3:7600" }
//! ```

use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use tenure_core::config::{Config, ConfigError, Member};
use tenure_core::hash::{hash64, hash64_after};
use tenure_core::ids::{ClusterId, NodeId};

/// Where a server for trying out listens for HTTP, unless it is told; for native clients one
/// above, for its peers two above.
pub const DEV_PORT: u16 = 7600;
/// From the ports of one server for trying out to those of the next.
const DEV_STRIDE: u16 = 10;

/// Why a configuration can't be used. The text fits one line and names the place.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file can't be read.
    #[error("{path}: {error}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A word that is not known, a value of the wrong type, or no TOML at all.
    #[error("{path}:{line}: {message}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// Something is missing or makes no sense.
    #[error("{path}: {message}")]
    Value {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The members make no cluster.
    #[error("{path}: {error}")]
    Config {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: ConfigError,
    },
}

/// A checked configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The cluster, and which of its members this server is.
    pub config: Config,
    /// The directory that holds the log and the superblock.
    pub data: PathBuf,
    /// The file with the cluster's token key.
    pub token_key: TokenKey,
}

/// Where the token key is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokenKey {
    /// In a file that all servers of the cluster have alike.
    Shared(PathBuf),
    /// In the data directory of the only server, made at its first start.
    Own(PathBuf),
}

/// What may stand in the file, and nothing else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cluster: String,
    id: u64,
    data: PathBuf,
    token_key: Option<PathBuf>,
    members: BTreeMap<String, Listed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    peer: String,
    client: String,
    http: String,
    #[serde(default)]
    location: String,
}

impl Settings {
    /// Reads a configuration file.
    ///
    /// # Errors
    ///
    /// It is not there, or something in it is wrong.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path).map_err(|error| SettingsError::Read {
            path: path.to_owned(),
            error,
        })?;
        Self::parse(&text, path)
    }

    /// Checks the text of a configuration file; `path` is for the messages. Relative paths in it
    /// start where the file is.
    ///
    /// # Errors
    ///
    /// Something in it is wrong.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        let file: File = toml::from_str(text).map_err(|error| parse_error(&error, text, path))?;
        let config = file.config(path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let data = folder.join(file.data);
        let token_key = match file.token_key {
            Some(file) => TokenKey::Shared(folder.join(file)),
            None if config.members().len() == 1 => TokenKey::Own(data.join("token.key")),
            None => {
                let message = "several members need one `token_key` file, the same for all of \
                               them: make it with `tenure token-key FILE`";
                return Err(value_error(path, message));
            }
        };
        Ok(Self {
            config,
            data,
            token_key,
        })
    }

    /// One server for trying out, on loopback.
    pub fn dev(data: &Path, port: u16) -> Self {
        Self::dev_member(data, port, 1, 1, None)
    }

    /// Member `id` of `servers` for trying out. The ports of each are ten above those of the one
    /// before.
    ///
    /// # Panics
    ///
    /// There can't be so many members or ports.
    pub fn dev_member(
        data: &Path,
        port: u16,
        id: u16,
        servers: u16,
        token_key: Option<&Path>,
    ) -> Self {
        let members = (0..servers).map(|before| {
            let at = |offset| {
                let port = port + DEV_STRIDE * before + offset;
                SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string()
            };
            Member {
                node: NodeId::new(u64::from(before) + 1),
                peer: at(2),
                client: at(1),
                http: at(0),
                location: String::new(),
                ..Member::default()
            }
        });
        let me = NodeId::new(id.into());
        let config = Config::new(cluster_id("dev"), me, members.collect());
        let own = || TokenKey::Own(data.join("token.key"));
        let shared = |path: &Path| TokenKey::Shared(path.to_owned());
        Self {
            config: config.expect("one to nine members, and this is one of them"),
            data: data.to_owned(),
            token_key: token_key.map_or_else(own, shared),
        }
    }

    /// This server's line in the list of members.
    pub fn member(&self) -> &Member {
        let me = self.config.me();
        let mut members = self.config.members().iter();
        members
            .find(|member| member.node == me)
            .expect("a configuration holds its own server")
    }
}

impl File {
    fn config(&self, path: &Path) -> Result<Config, SettingsError> {
        if self.cluster.is_empty() {
            return Err(value_error(path, "`cluster` is empty: give it a name"));
        }
        let mut members = Vec::new();
        for (id, listed) in &self.members {
            let Ok(number) = id.parse() else {
                let message = format!("member `{id}`: its name is its id, a number from 1");
                return Err(value_error(path, message));
            };
            listed.check(id, path)?;
            members.push(Member {
                node: NodeId::new(number),
                peer: listed.peer.clone(),
                client: listed.client.clone(),
                http: listed.http.clone(),
                location: listed.location.clone(),
                ..Member::default()
            });
        }
        let config = Config::new(cluster_id(&self.cluster), NodeId::new(self.id), members);
        config.map_err(|error| SettingsError::Config {
            path: path.to_owned(),
            error,
        })
    }
}

impl Listed {
    /// Every address is a host and a port, and without TLS the host is this machine.
    fn check(&self, id: &str, path: &Path) -> Result<(), SettingsError> {
        let addresses = [
            ("peer", &self.peer),
            ("client", &self.client),
            ("http", &self.http),
        ];
        for (name, address) in addresses {
            let Ok(found) = address.to_socket_addrs() else {
                let message = format!(
                    "member {id}: `{name} = \"{address}\"` is no address like \"127.0.0.1:7600\""
                );
                return Err(value_error(path, message));
            };
            for address in found {
                if !address.ip().is_loopback() {
                    let message = format!(
                        "member {id}: without TLS a server listens on loopback only, and \
                         `{name} = \"{address}\"` is not"
                    );
                    return Err(value_error(path, message));
                }
            }
        }
        Ok(())
    }
}

/// A cluster's id from its name: 32 digits of it would only be copied wrongly.
fn cluster_id(name: &str) -> ClusterId {
    let low = hash64(name.as_bytes());
    let high = hash64_after(low, name.as_bytes());
    let both = (u128::from(high) << 64) | u128::from(low);
    ClusterId(both.to_be_bytes())
}

fn value_error(path: &Path, message: impl Into<String>) -> SettingsError {
    SettingsError::Value {
        path: path.to_owned(),
        message: message.into(),
    }
}

fn parse_error(error: &toml::de::Error, text: &str, path: &Path) -> SettingsError {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    SettingsError::Parse {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        message: error.message().replace('\n', " "),
    }
}

#[cfg(test)]
mod tests;
