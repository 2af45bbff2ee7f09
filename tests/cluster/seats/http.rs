//! An HTTP client, with an `Idempotency-Key` for each request.

use super::{Claim, Ended, Grant, PATIENCE, Released, Servers, TRY, ids};
use crate::oracle::Entered;
use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};
use tenure_core::machine::command::{Life, Mode};
use tenure_core::node::input::Token;
use tenure_core::rng::Rng;
use tenure_core::wire::codes;
use tenure_tests::http::{Http, Response};

/// An HTTP client.
#[derive(Debug)]
pub(crate) struct HttpSeat {
    servers: Servers,
    at: usize,
    conn: Option<Http>,
    ids: Rng,
    name: String,
}

impl HttpSeat {
    pub(crate) fn new(servers: &Servers, seed: u64, name: String) -> Self {
        let mut ids = ids(seed, &name);
        Self {
            servers: servers.clone(),
            at: usize::try_from(ids.below(64)).expect("it is small"),
            conn: None,
            ids,
            name,
        }
    }

    fn once(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> io::Result<Response> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => Http::connect(self.servers.http[self.at % self.servers.http.len()], TRY)?,
        };
        let response = conn.ask(method, target, headers, TRY)?;
        self.conn = Some(conn);
        Ok(response)
    }

    fn persist(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<(Response, bool), String> {
        let until = Instant::now() + PATIENCE;
        let mut is_first = true;
        loop {
            let why = match self.once(method, target, headers) {
                Ok(response) if is_final(&response) => return Ok((response, is_first)),
                Ok(response) => format!("{response:?}"),
                Err(error) => error.to_string(),
            };
            is_first = false;
            self.conn = None;
            self.at += 1;
            if Instant::now() > until {
                return Err(format!("{}: {method} {target}: {why}", self.name));
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Takes a lock; gives also the request, so that it can be asked again. With `ticket_first` it
    /// asks for a place in the line, and comes back for the lock.
    pub(crate) fn acquire(
        &mut self,
        claim: &Claim,
        ticket_first: bool,
    ) -> (Ended, (String, String)) {
        let key = format!("{:016x}{:016x}", self.ids.next(), self.ids.next());
        let target = target(claim, &self.name);
        let sent = Instant::now();
        let headers = [("Idempotency-Key", &*key)];
        let mut ticket = None;
        let mut is_first = true;
        if ticket_first {
            match self.persist("POST", &format!("{target}&async=true"), &headers) {
                Ok((response, first)) if response.status == 202 => {
                    ticket = (slot(&response).filter(|_| first)).zip(ticket_of(&response));
                    is_first = false;
                }
                // It may have waited all the same: a server that is busy says only how it ended.
                Ok((response, _)) => {
                    let ended = http_ended(&claim.key, &response, None, false, sent);
                    return (ended, (target, key));
                }
                Err(why) => return (Ended::NoAnswer(why), (target, key)),
            }
        }
        let ended = match self.persist("POST", &target, &headers) {
            Ok((response, first)) => {
                // Without a ticket nobody knows whether it waited.
                let known = is_first && first && claim.wait.is_zero();
                http_ended(&claim.key, &response, ticket, known, sent)
            }
            Err(why) => Ended::NoAnswer(why),
        };
        (ended, (target, key))
    }

    /// Says the same request again to another server. Nothing if that one gives no answer now.
    pub(crate) fn again(
        &mut self,
        claim: &Claim,
        (target, key): &(String, String),
    ) -> Option<Ended> {
        self.conn = None;
        self.at += 1;
        let sent = Instant::now();
        let response = self
            .once("POST", target, &[("Idempotency-Key", key)])
            .ok()?;
        is_final(&response).then(|| http_ended(&claim.key, &response, None, false, sent))
    }

    /// Gives a lock back; then, if asked for, says the same again to another server, whose answer
    /// must be the same.
    pub(crate) fn release(&mut self, grant: &Grant, twice: bool) -> Result<Released, String> {
        let key = format!("{:016x}{:016x}", self.ids.next(), self.ids.next());
        let token = token_text(grant);
        let headers = [("Idempotency-Key", &*key), ("Lock-Token", &*token)];
        let target = format!("/v1/locks/{}", grant.key);
        let first = http_released(&self.persist("DELETE", &target, &headers)?.0)?;
        if twice {
            self.conn = None;
            self.at += 1;
            let second = http_released(&self.persist("DELETE", &target, &headers)?.0)?;
            if first != second {
                return Err(format!("a retried release: {first:?}, then {second:?}"));
            }
        }
        Ok(first)
    }
}

fn target(claim: &Claim, holder: &str) -> String {
    let ttl = match claim.life {
        Life::Lease { ttl_ms } => format!("{ttl_ms}ms"),
        Life::Static => "none".to_owned(),
        Life::Session => unreachable!("HTTP clients have no sessions yet"),
    };
    let mode = match claim.mode {
        Mode::Exclusive => "exclusive",
        Mode::Shared => "shared",
        mode => unreachable!("{mode:?} is not drawn"),
    };
    let wait = claim.wait.as_millis();
    let key = &claim.key;
    format!("/v1/locks/{key}?holder={holder}&ttl={ttl}&wait={wait}ms&mode={mode}")
}

/// Whether the request has its answer; if not, the same request is asked again.
fn is_final(response: &Response) -> bool {
    match response.status {
        // A wait that went on after the server stopped waiting: the ticket is kept.
        202 => response.head.contains("HTTP/1.1 202") && response.body.contains("\"ticket\""),
        429 | 500..=599 => false,
        _ => true,
    }
}

fn slot(response: &Response) -> Option<u64> {
    response.header("lock-index")?.parse().ok()
}

fn ticket_of(response: &Response) -> Option<u64> {
    response.json()["ticket"].as_str()?.parse().ok()
}

fn http_ended(
    key: &str,
    response: &Response,
    ticket: Option<(u64, u64)>,
    is_known: bool,
    sent: Instant,
) -> Ended {
    let body = response.json();
    if response.status == 202 {
        return Ended::Refused(codes::WAIT_TIMEOUT.number);
    }
    if response.status != 200 {
        let code = codes::ALL.iter().find(|code| body["code"] == code.name);
        return code.map_or_else(
            || Ended::NoAnswer(format!("{response:?}")),
            |code| Ended::Refused(code.number),
        );
    }
    let token = body["token"].as_str().and_then(parse_token);
    let (Some(token), Some(fence)) = (token, body["fence"].as_u64()) else {
        return Ended::NoAnswer(format!("a grant without token or fence: {response:?}"));
    };
    let queued = ticket.map(|(slot, ticket)| Entered::Queued { slot, ticket });
    let granted = slot(response).filter(|_| is_known);
    Ended::Granted(Grant {
        key: key.to_owned(),
        fence,
        token,
        session: None,
        sent,
        entered: queued.or(granted.map(|slot| Entered::Granted { slot })),
        is_replayed: body["replayed"] == true,
    })
}

fn http_released(response: &Response) -> Result<Released, String> {
    let body = response.json();
    match (
        response.status,
        body["fence"].as_u64(),
        body["already"].as_bool(),
    ) {
        (200, Some(fence), Some(already)) => Ok(Released { fence, already }),
        _ => Err(format!("not released: {response:?}")),
    }
}

/// A token as HTTP writes it.
fn token_text(grant: &Grant) -> String {
    let mut text = format!("{}.", grant.fence);
    for byte in grant.token.0 {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
    }
    text
}

fn parse_token(text: &str) -> Option<Token> {
    let (_, hex) = text.split_once('.')?;
    let mut token = [0; 32];
    for (index, byte) in token.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(Token(token))
}
