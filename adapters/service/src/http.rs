//! A cluster, over HTTP.

use crate::claim::{Claim, millis};
use crate::error::Error;
use crate::poll;
use crate::service::LockService;
use crate::views::{Held, Lock, Verdict};
use documents::{fence_of, holder_of, holders_of, lock_of};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tenure_core::machine::command::{Life, Mode};
use tenure_core::machine::key::Key;
use tenure_core::node::input::{Proof, Verify};
use tenure_core::wire::codes;
use tenure_core::wire::codes::Outcome;
use tenure_core::wire::token::TokenText;
use tenure_http::ask::{Ask, ask_at, escaped};
use tenure_rt::clock;

mod documents;

/// How long a call is tried; a claim's wait is added.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before the next server is asked when all were.
const PAUSE: Duration = Duration::from_millis(100);

/// A cluster, over HTTP: one connection a call. Any server answers anything, so when one does not, the next
/// is asked; every claim has an `Idempotency-Key`, so that none is granted twice by that.
#[derive(Clone, Debug)]
pub struct Http {
    servers: Arc<[String]>,
    /// Which of them answered last.
    at: Arc<AtomicUsize>,
}

/// What is asked, of whichever server.
struct Wanted<'a> {
    method: &'static str,
    path: String,
    form: Vec<(&'a str, &'a str)>,
    key: Option<String>,
    patience: Duration,
}

impl Http {
    /// By servers as `host:port`.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn new<E: Into<String>>(servers: impl IntoIterator<Item = E>) -> Result<Self, Error> {
        let servers: Arc<[String]> = servers.into_iter().map(Into::into).collect();
        if servers.is_empty() {
            return Err(Error::Invalid("no servers are given".to_owned()));
        }
        Ok(Self {
            servers,
            at: Arc::default(),
        })
    }

    /// Asks one server after the other, until one answers for good: all that is asked here may be
    /// repeated.
    async fn ask(&self, wanted: Wanted<'_>) -> Result<Value, Error> {
        let until = clock::now().plus(wanted.patience);
        let mut last = unavailable(Outcome::Unknown, "no server answered in time");
        for attempt in 1.. {
            let at = self.at.load(Ordering::Relaxed) % self.servers.len();
            let left = until.since(clock::now());
            if left.is_zero() {
                break;
            }
            let ask = Ask {
                key: wanted.key.as_deref(),
                method: wanted.method,
                form: &wanted.form,
                ..Ask::get(&wanted.path)
            };
            let answer = clock::timeout(left, ask_at(&self.servers[at], &ask)).await;
            match answer {
                Some(Ok((200, document))) => return Ok(document),
                // The wait goes on, at whichever server the same request is asked.
                Some(Ok((202, _))) => continue,
                Some(Ok((_, problem))) => match error_of(&problem) {
                    error @ Error::Unavailable { .. } => last = error,
                    error => return Err(error),
                },
                Some(Err(error)) => last = unavailable(Outcome::Unknown, &error.to_string()),
                None => break,
            }
            self.at.store(at + 1, Ordering::Relaxed);
            if attempt % self.servers.len() == 0 {
                clock::sleep_until(clock::now().plus(PAUSE).min(until)).await;
            }
        }
        Err(last)
    }
}

impl LockService for Http {
    async fn acquire(&self, claim: Claim) -> Result<Held, Error> {
        let ttl = match claim.life {
            Life::Lease { ttl_ms } => ttl_ms.to_string(),
            Life::Static => "none".to_owned(),
            Life::Session => return Err(Error::Invalid("a session's lock has no ttl".into())),
        };
        let wait = millis(claim.wait).to_string();
        let mut form = vec![("ttl", ttl.as_str()), ("wait", &wait)];
        if !claim.holder.is_empty() {
            form.push(("holder", &claim.holder));
        }
        let numbers;
        if let Mode::Permits { n, capacity } = claim.mode {
            numbers = (n.to_string(), capacity.to_string());
            form.extend([("permits", &*numbers.0), ("capacity", &*numbers.1)]);
        } else {
            form.push(("mode", claim.mode.name()));
        }
        let document = self.ask(Wanted {
            method: "POST",
            path: path_of(&claim.key),
            form,
            key: Some(request_key()?),
            patience: PATIENCE.saturating_add(claim.wait),
        });
        let document = document.await?;
        let token = document["token"].as_str().and_then(TokenText::parse);
        let TokenText { fence, token } = token.ok_or_else(confused)?;
        let proof = Proof {
            key: claim.key,
            fence,
            session: None,
            token,
        };
        let ttl = document["ttl_ms"].as_u64().map(Duration::from_millis);
        Ok(Held { proof, ttl })
    }

    async fn release(&self, held: &Held) -> Result<bool, Error> {
        let token = held.token().to_string();
        let document = self.ask(Wanted {
            method: "DELETE",
            path: path_of(held.key()),
            form: vec![("token", &token)],
            key: None,
            patience: PATIENCE,
        });
        let already = document.await?["already"].as_bool();
        already.ok_or_else(confused)
    }

    async fn renew(&self, held: &Held, ttl: Option<Duration>) -> Result<Duration, Error> {
        let token = held.token().to_string();
        let ttl = ttl.map(|ttl| millis(ttl).to_string());
        let mut form = vec![("token", token.as_str())];
        form.extend(ttl.as_deref().map(|ttl| ("ttl", ttl)));
        let document = self.ask(Wanted {
            method: "PATCH",
            path: path_of(held.key()),
            form,
            key: None,
            patience: PATIENCE,
        });
        let ttl_ms = document.await?["ttl_ms"].as_u64();
        ttl_ms.map(Duration::from_millis).ok_or_else(confused)
    }

    async fn query(&self, key: &Key) -> Result<Lock, Error> {
        let document = self.ask(Wanted {
            method: "GET",
            path: path_of(key),
            form: Vec::new(),
            key: None,
            patience: PATIENCE,
        });
        lock_of(&document.await?).ok_or_else(confused)
    }

    async fn verify(&self, grant: Verify) -> Result<Verdict, Error> {
        let (fence, token) = (grant.fence, grant.token);
        let token = token.map(|token| TokenText { fence, token }.to_string());
        let fence = fence.to_string();
        let mut form = vec![("fence", fence.as_str())];
        form.extend(token.as_deref().map(|token| ("token", token)));
        let document = self.ask(Wanted {
            method: "POST",
            path: format!("{}:verify", path_of(&grant.key)),
            form,
            key: None,
            patience: PATIENCE,
        });
        let document = document.await?;
        let is_held = document["held"].as_bool().ok_or_else(confused)?;
        let held = is_held.then(|| holder_of(&document).ok_or_else(confused));
        Ok(Verdict {
            held: held.transpose()?,
            highest: fence_of(&document["highest_fence"]),
        })
    }

    async fn watch(&self, key: &Key, seen: &Lock) -> Result<Lock, Error> {
        poll::until_other(self, key, seen).await
    }
}

fn path_of(key: &Key) -> String {
    format!("/v1/locks/{}", escaped(&key.to_string()))
}

/// A name for a request that no other has.
fn request_key() -> Result<String, Error> {
    let half = || {
        let drawn = getrandom::u64();
        drawn.map_err(|error| unavailable(Outcome::NotApplied, &error.to_string()))
    };
    Ok(format!("{:016x}{:016x}", half()?, half()?))
}

fn error_of(problem: &Value) -> Error {
    let name = problem["code"].as_str().unwrap_or("no-problem-document");
    let code = codes::ALL.iter().find(|code| code.name == name).copied();
    let text = problem["detail"].as_str().unwrap_or_default().to_owned();
    let by = holders_of(&problem["holders"]).unwrap_or_default();
    Error::of_code(code, name, text, by)
}

fn unavailable(outcome: Outcome, text: &str) -> Error {
    let text = text.to_owned();
    Error::Unavailable { outcome, text }
}

fn confused() -> Error {
    unavailable(Outcome::Unknown, "the server answered something else")
}
