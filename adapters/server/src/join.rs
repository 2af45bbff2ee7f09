//! Asking a cluster to be let in.

use crate::settings::{Join, Proof};
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tenure_core::config::{Member, Shared, Standing};
use tenure_core::ids::NodeId;
use tenure_http::ask::{Ask, ask_there};
use tenure_rt::clock;
use tenure_rt::net::resolve_all;

/// How long to look for a member that answers.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one of them may take: the change goes through the log.
const ANSWER_PATIENCE: Duration = Duration::from_secs(12);
/// The wait after all were asked once, doubled up to the last.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Why a server did not join. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The secret can't be read.
    #[error("the token file {path}: {error}")]
    Token {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The cluster says no.
    #[error("{address} does not let this server join: {detail} ({code})")]
    Refused {
        /// Who says so.
        address: SocketAddr,
        /// Of the problem.
        code: String,
        /// In words.
        detail: String,
    },
    /// Nobody answered in time.
    #[error("no member of the cluster answers, the last one asked: {last}")]
    NoAnswer {
        /// What was wrong last.
        last: String,
    },
}

/// What a cluster tells a server that joins.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) node: NodeId,
    /// What the cluster began with.
    pub(crate) genesis: Shared,
    /// What it is now.
    pub(crate) config: Shared,
}

/// Asks one member after another, until one answers. To ask twice is harmless: the cluster knows the
/// secret that it gave a number for.
pub(crate) async fn join(how: &Join, member: &Member) -> Result<Joined, JoinError> {
    let proof = proof(&how.proof)?;
    let form = [
        (proof.0, proof.1.as_str()),
        ("peer", &member.peer),
        ("client", &member.client),
        ("http", &member.http),
        ("location", &member.location),
    ];
    let ask = Ask {
        method: "POST",
        path: "/v1/members:join",
        form: &form,
        expect: None,
        key: None,
    };
    let until = clock::now().plus(PATIENCE);
    let mut backoff = BACKOFF_MIN;
    loop {
        let last = match ask_all(how, &ask).await {
            Ok(joined) => return Ok(joined),
            Err(JoinError::NoAnswer { last }) => last,
            Err(error @ (JoinError::Token { .. } | JoinError::Refused { .. })) => {
                return Err(error);
            }
        };
        if clock::now() >= until {
            return Err(JoinError::NoAnswer { last });
        }
        tracing::warn!("no member lets this server join yet: {last}");
        clock::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

fn proof(proof: &Proof) -> Result<(&'static str, String), JoinError> {
    match proof {
        Proof::Id(id) => Ok(("id", id.to_string())),
        Proof::TokenFile(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| JoinError::Token {
                path: path.clone(),
                error,
            })?;
            Ok(("secret", text.trim().to_owned()))
        }
    }
}

/// Asks each address once, of those that each name stands for.
async fn ask_all(how: &Join, ask: &Ask<'_>) -> Result<Joined, JoinError> {
    let mut last = String::new();
    for name in &how.addresses {
        let addresses = match resolve_all(name).await {
            Ok(addresses) => addresses,
            Err(error) => {
                last = format!("{name}: {error}");
                continue;
            }
        };
        for address in addresses {
            let answer = clock::timeout(ANSWER_PATIENCE, ask_there(address, name, ask));
            last = match answer.await {
                Some(Ok((200, body))) => match read(&body) {
                    Some(joined) => return Ok(joined),
                    None => format!("{address}: its answer makes no sense"),
                },
                Some(Ok((status, problem))) => refused(address, status, &problem)?,
                Some(Err(error)) => format!("{address}: {error}"),
                None => format!("{address}: no answer in time"),
            };
        }
    }
    Err(JoinError::NoAnswer { last })
}

/// The words of a refusal that another member may not repeat, or that time may end.
fn refused(address: SocketAddr, status: u16, problem: &Value) -> Result<String, JoinError> {
    let said = |field: &str| problem[field].as_str().unwrap_or_default().to_owned();
    let (code, detail) = (said("code"), said("detail"));
    if matches!(status, 429 | 500..) {
        return Ok(format!("{address}: {detail} ({code})"));
    }
    Err(JoinError::Refused {
        address,
        code,
        detail,
    })
}

/// What the cluster tells, if it can be.
fn read(body: &Value) -> Option<Joined> {
    let shared = |field: &str| Shared::parse(&bytes(body[field].as_str()?)?).ok();
    let (genesis, config) = (shared("genesis")?, shared("config")?);
    let node = NodeId::new(body["id"].as_u64()?);
    let is_later = config.judge(genesis.mark()) == Standing::Behind;
    let is_one = config.cluster() == genesis.cluster() && config.member(node).is_some();
    (is_later && is_one).then_some(Joined {
        node,
        genesis,
        config,
    })
}

/// What two digits for each byte stand for.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok();
    digits.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::{JoinError, bytes, read, refused};
    use serde_json::json;
    use tenure_core::config::{Change, Member, Role, Shared};
    use tenure_core::ids::{ClusterId, NodeId, Slot};
    use tenure_core::time::Stamp;

    fn member(node: u64) -> Member {
        Member {
            node: NodeId::new(node),
            role: Role::Voter,
            ..Member::default()
        }
    }

    fn hex(shared: &Shared) -> String {
        let bytes = shared.encode();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn an_answer_is_believed_only_if_it_can_be() {
        let genesis = |cluster| {
            let shared = Shared::genesis(ClusterId([cluster; 16]), vec![member(1)]);
            shared.expect("it is right")
        };
        let begun = genesis(1);
        let add = Change::Add(member(2));
        let at = begun.mark().change;
        let now = begun.apply(Slot::new(7), Stamp::ZERO, "", at, &add);
        let now = hex(&now.expect("it fits"));
        let answer = |id: u64, genesis: &Shared, now: &str| {
            let body = json!({"id": id, "genesis": hex(genesis), "config": now});
            read(&body).map(|joined| joined.node)
        };
        assert_eq!(answer(2, &begun, &now), Some(NodeId::new(2)));
        assert_eq!(answer(3, &begun, &now), None, "not the number of a member");
        assert_eq!(answer(2, &genesis(2), &now), None, "two clusters");
        assert_eq!(answer(2, &begun, &now[1..]), None);
        assert_eq!(answer(1, &begun, &hex(&begun)), None, "nobody joined");
    }

    #[test]
    fn only_a_refusal_for_good_ends_the_asking() {
        let address = "127.0.0.1:7600".parse().expect("it is an address");
        let problem = json!({"code": "no-quorum", "detail": "no quorum serves"});
        let said = refused(address, 503, &problem).expect("another one may");
        assert_eq!(said, "127.0.0.1:7600: no quorum serves (no-quorum)");
        assert!(refused(address, 429, &problem).is_ok() && refused(address, 500, &problem).is_ok());
        let problem = json!({"code": "not-invited", "detail": "nobody was"});
        let error = refused(address, 403, &problem).expect_err("it is final");
        assert!(matches!(error, JoinError::Refused { .. }), "{error}");
    }

    #[test]
    fn digits_stand_for_bytes() {
        assert_eq!(bytes("00ff7f"), Some(vec![0, 255, 127]));
        assert_eq!(bytes("0g"), None);
        assert_eq!(bytes("é"), None);
    }
}
