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
    /// How this server comes by its cluster at its first start.
    pub origin: Origin,
    /// Where this server is reached. Its number is zero where only the data directory, or the answer to
    /// its join, says it.
    pub member: Member,
    /// The directory that holds the log and the superblock.
    pub data: PathBuf,
    /// The file with the cluster's token key.
    pub token_key: TokenKey,
}

/// How a server comes by its cluster at its first start. Later the data directory says it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// A new cluster, whose members are listed; this server is one of them.
    Listed(Box<Config>),
    /// A new cluster, of this server alone.
    Bootstrap,
    /// A cluster that is there.
    Join(Join),
    /// Not at all: it has been started before.
    Remembered,
}

/// How a server joins a cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Join {
    /// Where HTTP clients reach its members, or a balancer in front of them: host and port. A name may
    /// stand for several.
    pub addresses: Vec<String>,
    /// Why it may.
    pub proof: Proof,
}

/// Why a server may join.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Proof {
    /// It was invited: a file with the secret.
    TokenFile(PathBuf),
    /// It was added, with this number.
    Id(NodeId),
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
    cluster: Option<String>,
    id: Option<u64>,
    data: PathBuf,
    token_key: Option<PathBuf>,
    members: Option<BTreeMap<String, Listed>>,
    listen: Option<Listed>,
    join: Option<JoinFile>,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinFile {
    addresses: Vec<String>,
    token_file: Option<PathBuf>,
    id: Option<u64>,
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
        let folder = path.parent().unwrap_or(Path::new("."));
        let (origin, member) = file.origin(path)?;
        let data = folder.join(&file.data);
        let token_key = match (&file.token_key, &origin) {
            (Some(file), _) => TokenKey::Shared(folder.join(file)),
            (None, Origin::Listed(config)) if config.members().len() > 1 => {
                let message = "several members need one `token_key` file, the same for all of \
                               them: make it with `tenure token-key FILE`";
                return Err(value_error(path, message));
            }
            (None, Origin::Join(_)) => {
                let message = "a server that joins needs the cluster's `token_key` file: copy it \
                               from another member";
                return Err(value_error(path, message));
            }
            (None, Origin::Listed(_) | Origin::Bootstrap | Origin::Remembered) => {
                TokenKey::Own(data.join("token.key"))
            }
        };
        Ok(Self {
            origin,
            member,
            data,
            token_key,
        })
    }

    /// This server shall found a cluster.
    ///
    /// # Errors
    ///
    /// It is to come by one in another way already; the text says which.
    pub fn bootstrap(&mut self) -> Result<(), &'static str> {
        match &self.origin {
            Origin::Listed(_) => Err(
                "--bootstrap is for one server: a list of `[members]` founds a cluster by itself",
            ),
            Origin::Join(_) => {
                Err("--bootstrap founds a cluster, and `[join]` is for one that is there")
            }
            Origin::Bootstrap | Origin::Remembered => {
                self.origin = Origin::Bootstrap;
                Ok(())
            }
        }
    }

    /// A server that is told all by its command line: `listen` is where it is reached by HTTP; native
    /// clients reach it one port above, its peers two above.
    ///
    /// # Errors
    ///
    /// That is no address for it; the text says why.
    pub fn at(
        listen: SocketAddr,
        origin: Origin,
        data: PathBuf,
        token_key: TokenKey,
    ) -> Result<Self, String> {
        if !listen.ip().is_loopback() {
            return Err(format!(
                "without TLS a server listens on loopback only, and {listen} is not"
            ));
        }
        let at = |offset: u16| {
            let port = listen.port().checked_add(offset);
            port.map(|port| SocketAddr::new(listen.ip(), port).to_string())
        };
        let (Some(http), Some(client), Some(peer)) = (at(0), at(1), at(2)) else {
            return Err(format!("{listen}: there are no two ports above it"));
        };
        let member = Member {
            peer,
            client,
            http,
            ..Member::default()
        };
        Ok(Self {
            origin,
            member,
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
                ..Member::default()
            }
        });
        let me = NodeId::new(id.into());
        let config = Config::new(cluster_id("dev"), me, members.collect());
        let own = || TokenKey::Own(data.join("token.key"));
        let shared = |path: &Path| TokenKey::Shared(path.to_owned());
        let config = config.expect("one to nine members, and this is one of them");
        Self {
            member: own_line(&config),
            origin: Origin::Listed(Box::new(config)),
            data: data.to_owned(),
            token_key: token_key.map_or_else(own, shared),
        }
    }

    /// Where this server is reached.
    pub const fn member(&self) -> &Member {
        &self.member
    }

    /// Of the next start of the same server, which has its data by now.
    #[must_use]
    pub fn again(self) -> Self {
        let origin = match self.origin {
            Origin::Listed(config) => Origin::Listed(config),
            Origin::Bootstrap | Origin::Join(_) | Origin::Remembered => Origin::Remembered,
        };
        Self { origin, ..self }
    }
}

/// This server's line in the list of members.
fn own_line(config: &Config) -> Member {
    let mut members = config.members().iter();
    let own = members.find(|member| member.node == config.me());
    own.expect("a configuration holds its own server").clone()
}

impl File {
    fn origin(&self, path: &Path) -> Result<(Origin, Member), SettingsError> {
        match (&self.members, &self.listen, &self.join) {
            (Some(members), None, None) => {
                let config = self.config(members, path)?;
                let member = own_line(&config);
                Ok((Origin::Listed(Box::new(config)), member))
            }
            (None, Some(listen), join) => {
                if self.cluster.is_some() || self.id.is_some() {
                    let message = "`cluster` and `id` go with `[members]`: else the data directory \
                                   knows them, or the answer to the join";
                    return Err(value_error(path, message));
                }
                let member = listen.member(NodeId::new(0), "listen", path)?;
                let join = join.as_ref().map(|join| join.check(path)).transpose()?;
                Ok((join.map_or(Origin::Remembered, Origin::Join), member))
            }
            (None, None, _) => Err(value_error(
                path,
                "say `[members]`, or where this server is reached, `[listen]`",
            )),
            (Some(_), _, _) => Err(value_error(
                path,
                "`[members]` founds a cluster, and goes with neither `[listen]` nor `[join]`",
            )),
        }
    }

    fn config(
        &self,
        listed: &BTreeMap<String, Listed>,
        path: &Path,
    ) -> Result<Config, SettingsError> {
        let missing = |word| value_error(path, format!("`{word}` is missing"));
        let cluster = self.cluster.as_deref().ok_or_else(|| missing("cluster"))?;
        let id = self.id.ok_or_else(|| missing("id"))?;
        if cluster.is_empty() {
            return Err(value_error(path, "`cluster` is empty: give it a name"));
        }
        let mut members = Vec::new();
        for (id, listed) in listed {
            let Ok(number) = id.parse() else {
                let message = format!("member `{id}`: its name is its id, a number from 1");
                return Err(value_error(path, message));
            };
            let place = format!("member {id}");
            members.push(listed.member(NodeId::new(number), &place, path)?);
        }
        let config = Config::new(cluster_id(cluster), NodeId::new(id), members);
        config.map_err(|error| SettingsError::Config {
            path: path.to_owned(),
            error,
        })
    }
}

impl JoinFile {
    fn check(&self, path: &Path) -> Result<Join, SettingsError> {
        if self.addresses.is_empty() {
            let message = "join: `addresses` is empty: name a member's HTTP address";
            return Err(value_error(path, message));
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        let proof = match (&self.token_file, self.id) {
            (Some(file), None) => Proof::TokenFile(folder.join(file)),
            (None, Some(id)) => Proof::Id(NodeId::new(id)),
            (None, None) | (Some(_), Some(_)) => {
                let message = "join: say `token_file`, with the secret of an invitation, or the `id` \
                               that `tenure member add` gave";
                return Err(value_error(path, message));
            }
        };
        Ok(Join {
            addresses: self.addresses.clone(),
            proof,
        })
    }
}

impl Listed {
    fn member(&self, node: NodeId, place: &str, path: &Path) -> Result<Member, SettingsError> {
        self.check(place, path)?;
        Ok(Member {
            node,
            peer: self.peer.clone(),
            client: self.client.clone(),
            http: self.http.clone(),
            location: self.location.clone(),
            ..Member::default()
        })
    }

    /// Every address is a host and a port, and without TLS the host is this machine.
    fn check(&self, place: &str, path: &Path) -> Result<(), SettingsError> {
        let addresses = [
            ("peer", &self.peer),
            ("client", &self.client),
            ("http", &self.http),
        ];
        for (name, address) in addresses {
            let Ok(found) = address.to_socket_addrs() else {
                let message = format!(
                    "{place}: `{name} = \"{address}\"` is no address like \"127.0.0.1:7600\""
                );
                return Err(value_error(path, message));
            };
            for address in found {
                if !address.ip().is_loopback() {
                    let message = format!(
                        "{place}: without TLS a server listens on loopback only, and \
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
