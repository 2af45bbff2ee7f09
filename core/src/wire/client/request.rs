//! Requests: from registers, and back into commands.

use super::numbers as n;
use super::registers::{Registers, bad_value, missing};
use super::{put_execute, put_fixed, put_flag, put_int, put_text};
use crate::config::Shared;
use crate::ids::{RequestId, RequestSeq, SessionId, ZoneId};
use crate::limits::{PAGE_MAX, TTL_MS_DEFAULT, WAIT_MS_MAX};
use crate::machine::command::{Acquire, Cause, Client, Force, Life, Mode};
use crate::machine::key::Key;
use crate::machine::parts::Parts;
use crate::node::input::{Ask, Convert, Proof, Question, Request, Verify};
use crate::query::{Listing, Order, Selector, SelectorError};
use crate::wire::codes;
use alloc::string::{String, ToString};
use bytes::{BufMut, Bytes};

pub use super::registers::Bad;

/// The canonical bytes of every path begin with this, and end with a zero byte.
const PATH_BEFORE: &[u8] = b"_path\0\x0b";

/// What the registers ask for, when `execute` comes.
pub(super) fn read(registers: &Registers, shared: &Shared, execute: u16) -> Result<Request, Bad> {
    if let Some(bad) = registers.spoiled() {
        return Err(bad);
    }
    let zone = zone(registers, shared)?;
    if registers.has_parts() && !matches!(execute, n::SET_LOCK | n::SET_LOCK_WAIT | n::CONVERT) {
        return Err(bad_value(n::ADD_KEY, "only a claim has many keys"));
    }
    let ask = match execute {
        n::SET_LOCK | n::SET_LOCK_WAIT => Ask::Acquire(acquire(registers, execute)?),
        n::UNLOCK => Ask::Release {
            proof: proof(registers)?,
            all: registers.flag(n::ALL_ENTRIES)?,
        },
        n::RENEW => Ask::Renew {
            proof: proof(registers)?,
            ttl_ms: ttl_ms(registers),
        },
        n::CONVERT => Ask::Convert(convert(registers)?),
        n::CANCEL => Ask::Cancel {
            ticket: registers.ticket()?,
        },
        n::OPEN_SESSION => Ask::OpenSession {
            ttl_ms: ttl_ms(registers).unwrap_or(TTL_MS_DEFAULT),
            identifier: registers.text(n::IDENTIFIER).unwrap_or_default(),
            threads: registers.flag(n::THREADS)?,
        },
        n::RESUME_SESSION => Ask::Resume {
            session: registers.need_session()?,
            secret: registers.need_token(n::SESSION_SECRET)?,
        },
        n::KEEP_ALIVE => Ask::KeepAlive {
            session: registers.need_session()?,
        },
        n::CLOSE_SESSION => Ask::CloseSession {
            session: registers.need_session()?,
        },
        n::RESIZE => Ask::Resize {
            key: registers.key()?,
            capacity: registers.capacity()?,
        },
        n::FORCE_UNLOCK => Ask::Force(force(registers)?),
        n::QUERY => query(registers)?,
        n::VERIFY => verify(registers)?,
        n::LIST => list(registers)?,
        n::SERVERS => Ask::Servers,
        number => {
            return Err(Bad {
                code: codes::INVALID_COMMAND,
                number,
                what: "this server does not know the command",
            });
        }
    };
    Ok(Request {
        zone,
        principal: Bytes::new(),
        client: client(registers)?,
        ask,
    })
}

/// The tenant of this name, as the server knows it: a new one is known everywhere in a moment.
fn zone(registers: &Registers, shared: &Shared) -> Result<ZoneId, Bad> {
    let Some(name) = registers.text(n::ZONE) else {
        return Ok(ZoneId::new(0));
    };
    let name = core::str::from_utf8(&name).ok();
    let zone = name.and_then(|name| shared.zone_named(name));
    zone.ok_or(Bad {
        code: codes::UNKNOWN_ZONE,
        number: n::ZONE,
        what: "there is no such zone",
    })
}

/// How a retry is known as one: by its number in the session, else by its id.
fn client(registers: &Registers) -> Result<Client, Bad> {
    let seq = registers.int(n::REQUEST_SEQ).map(RequestSeq::new);
    let (session, id) = (registers.session(), registers.request_id());
    let remember = match registers.int(n::REMEMBER) {
        None | Some(1) => id != RequestId::default(),
        Some(0) => false,
        Some(_) => return Err(bad_value(n::REMEMBER, "0 or 1 was expected")),
    };
    match (session, seq) {
        (Some(_), Some(seq)) if seq.get() == 0 => {
            Err(bad_value(n::REQUEST_SEQ, "the first request is number 1"))
        }
        (Some(id), Some(seq)) => Ok(Client::Session {
            id,
            seq,
            done_through: RequestSeq::new(registers.int(n::DONE_THROUGH).unwrap_or(0)),
        }),
        (None, Some(_)) => Err(missing(n::SESSION_ID)),
        (_, None) if remember => Ok(Client::Key(id)),
        (_, None) => Ok(Client::None),
    }
}

fn ttl_ms(registers: &Registers) -> Option<u64> {
    let seconds = registers.int(n::EXPIRE_SECONDS);
    let milliseconds = registers.int(n::TTL_MS);
    milliseconds.or(seconds.map(|seconds| seconds.saturating_mul(1000)))
}

fn acquire(registers: &Registers, execute: u16) -> Result<Acquire, Bad> {
    let session = registers.session();
    if session.is_some() && registers.int(n::REQUEST_SEQ).is_none() {
        return Err(missing(n::REQUEST_SEQ));
    }
    let ttl_ms = ttl_ms(registers);
    let lease = Life::Lease {
        ttl_ms: ttl_ms.unwrap_or(TTL_MS_DEFAULT),
    };
    let life = match registers.int(n::LIFE) {
        Some(0) => lease,
        None if session.is_none() || ttl_ms.is_some() => lease,
        Some(1) => Life::Static,
        None | Some(2) if session.is_some() => Life::Session,
        None | Some(2) => return Err(missing(n::SESSION_ID)),
        Some(_) => return Err(bad_value(n::LIFE, "no such life")),
    };
    let wait_ms = registers.int(n::LOCK_WAIT_TIMEOUT_MS);
    let wait_ms = match execute {
        n::SET_LOCK_WAIT => wait_ms.unwrap_or(WAIT_MS_MAX),
        _ if wait_ms.is_some_and(|wait_ms| wait_ms > 0) => {
            let what = "SET_LOCK does not wait; SET_LOCK_WAIT does";
            return Err(bad_value(n::LOCK_WAIT_TIMEOUT_MS, what));
        }
        _ => 0,
    };
    Ok(Acquire {
        parts: registers.parts()?,
        life,
        wait_ms,
        holder: registers.text(n::HOLDER).unwrap_or_default(),
        reentrant: registers.flag(n::REENTRANT)?,
    })
}

fn proof(registers: &Registers) -> Result<Proof, Bad> {
    Ok(Proof {
        key: registers.key()?,
        fence: registers.fence()?,
        session: registers.session(),
        token: registers.need_token(n::UNLOCK_TOKEN)?,
    })
}

/// The first of the keys is the one that the token is of.
fn convert(registers: &Registers) -> Result<Convert, Bad> {
    Ok(Convert {
        parts: registers.parts()?,
        fence: registers.fence()?,
        session: registers.session(),
        token: registers.need_token(n::UNLOCK_TOKEN)?,
        wait_ms: registers.int(n::LOCK_WAIT_TIMEOUT_MS).unwrap_or(0),
    })
}

/// What an operator takes. He says that it is hard: another way is not served.
fn force(registers: &Registers) -> Result<Force, Bad> {
    if !registers.flag(n::HARD)? {
        let what = "only a hard one is served: it does not wait for what the holder believes";
        return Err(bad_value(n::HARD, what));
    }
    Ok(Force {
        key: registers.key()?,
        fence: registers.fence()?,
        cause: Cause {
            by: utf8(registers, n::TAKEN_BY)?,
            reason: utf8(registers, n::REASON)?,
        },
    })
}

fn utf8(registers: &Registers, number: u16) -> Result<String, Bad> {
    let text = registers.text(number).unwrap_or_default();
    let text = core::str::from_utf8(&text).map_err(|_| bad_value(number, "it is no text"))?;
    Ok(text.to_string())
}

/// How a lock is: for the cluster, or as far as this server knows.
fn query(registers: &Registers) -> Result<Ask, Bad> {
    let key = registers.key()?;
    let is_stale = registers.flag(n::STALE)?;
    Ok(Question::Inspect { key }.ask(is_stale))
}

/// Whether a grant holds, by its fence, and by its token if there is one.
fn verify(registers: &Registers) -> Result<Ask, Bad> {
    let verify = Verify {
        key: registers.key()?,
        fence: registers.fence()?,
        token: registers.token(n::UNLOCK_TOKEN),
        session: registers.session(),
    };
    let is_stale = registers.flag(n::STALE)?;
    Ok(Question::Verify(verify).ask(is_stale))
}

fn list(registers: &Registers) -> Result<Ask, Bad> {
    let after = match registers.text(n::KEY_AFTER) {
        Some(after) => {
            let what = "the canonical bytes of a key were expected";
            Some(Key::parse(after).map_err(|_| bad_value(n::KEY_AFTER, what))?)
        }
        None => None,
    };
    let limit = registers.int(n::LIMIT).map(usize::try_from);
    let limit = limit.map_or(PAGE_MAX, |limit| limit.unwrap_or(PAGE_MAX));
    let order = read_text(registers, n::ORDER, Order::parse)?;
    let is_stale = registers.flag(n::STALE)?;
    let question = Question::List(Listing {
        prefix: registers.text(n::KEY_PREFIX).unwrap_or_default(),
        selector: read_text(registers, n::SELECTOR, Selector::parse)?,
        order: order.unwrap_or_default(),
        after,
        limit: limit.min(PAGE_MAX),
    });
    Ok(question.ask(is_stale))
}

fn read_text<T>(
    registers: &Registers,
    number: u16,
    parse: fn(&str) -> Result<T, SelectorError>,
) -> Result<Option<T>, Bad> {
    let Some(text) = registers.text(number) else {
        return Ok(None);
    };
    let text = core::str::from_utf8(&text).map_err(|_| bad_value(number, "it is no text"))?;
    let parsed = parse(text).map_err(|_| bad_value(number, "it can't be read"))?;
    Ok(Some(parsed))
}

/// Writes one request. `stays` is the session that the server has in its registers, and changes
/// with what is written.
///
/// Panics if a request in a session proves a grant of another one: the registers can't say that.
pub(super) fn write<B: BufMut>(
    out: &mut B,
    stays: &mut Option<SessionId>,
    id: RequestId,
    client: &Client,
    ask: &Ask,
) {
    let session = session_of(client, ask);
    if session != *stays {
        let raw = session.map_or(0, SessionId::get);
        put_fixed(out, n::SESSION_ID, &raw.to_be_bytes());
        *stays = session;
    }
    put_fixed(out, n::REQUEST_ID, &id.get().to_be_bytes());
    match client {
        Client::None => put_int(out, n::REMEMBER, 0),
        Client::Key(key) => assert!(*key == id, "the key is the request's id"),
        Client::Session {
            id,
            seq,
            done_through,
        } => {
            assert!(session == Some(*id), "one session in one request");
            put_int(out, n::REQUEST_SEQ, seq.get());
            put_int(out, n::DONE_THROUGH, done_through.get());
        }
    }
    let execute = put_ask(out, ask);
    put_execute(out, execute);
}

/// The session that the request needs in its register.
const fn session_of(client: &Client, ask: &Ask) -> Option<SessionId> {
    match ask {
        Ask::Release { proof, .. } | Ask::Renew { proof, .. } => proof.session,
        Ask::Convert(convert) => convert.session,
        Ask::Verify(verify) | Ask::Stale(Question::Verify(verify)) => verify.session,
        Ask::Resume { session, .. }
        | Ask::KeepAlive { session }
        | Ask::CloseSession { session } => Some(*session),
        Ask::Acquire(_)
        | Ask::Cancel { .. }
        | Ask::OpenSession { .. }
        | Ask::Resize { .. }
        | Ask::Force(_)
        | Ask::Admin(_)
        | Ask::Inspect { .. }
        | Ask::List(_)
        | Ask::Stale(Question::Config | Question::Inspect { .. } | Question::List(_))
        | Ask::Servers => match client {
            Client::Session { id, .. } => Some(*id),
            Client::None | Client::Key(_) => None,
        },
    }
}

/// Writes the registers of `ask`, and says which command executes it.
fn put_ask<B: BufMut>(out: &mut B, ask: &Ask) -> u16 {
    match ask {
        Ask::Acquire(acquire) => put_acquire(out, acquire),
        Ask::Release { proof, all } => {
            put_proof(out, proof);
            put_flag(out, n::ALL_ENTRIES, *all);
            n::UNLOCK
        }
        Ask::Renew { proof, ttl_ms } => {
            put_proof(out, proof);
            if let Some(ttl_ms) = ttl_ms {
                put_int(out, n::TTL_MS, *ttl_ms);
            }
            n::RENEW
        }
        Ask::Convert(convert) => put_convert(out, convert),
        Ask::Cancel { ticket } => {
            put_int(out, n::TICKET, ticket.get());
            n::CANCEL
        }
        Ask::OpenSession {
            ttl_ms,
            identifier,
            threads,
        } => {
            put_int(out, n::TTL_MS, *ttl_ms);
            if !identifier.is_empty() {
                put_text(out, n::IDENTIFIER, identifier);
            }
            put_flag(out, n::THREADS, *threads);
            n::OPEN_SESSION
        }
        Ask::Resume { secret, .. } => {
            put_fixed(out, n::SESSION_SECRET, &secret.0);
            n::RESUME_SESSION
        }
        Ask::KeepAlive { .. } => n::KEEP_ALIVE,
        Ask::CloseSession { .. } => n::CLOSE_SESSION,
        Ask::Resize { key, capacity } => {
            put_key(out, key);
            put_int(out, n::CAPACITY, (*capacity).into());
            n::RESIZE
        }
        Ask::Force(force) => {
            put_key(out, &force.key);
            put_int(out, n::FENCE, force.fence.get());
            put_flag(out, n::HARD, true);
            put_cause(out, &force.cause);
            n::FORCE_UNLOCK
        }
        Ask::Inspect { key } => {
            put_key(out, key);
            n::QUERY
        }
        Ask::Verify(verify) => {
            put_verify(out, verify);
            n::VERIFY
        }
        Ask::List(listing) => {
            put_list(out, listing);
            n::LIST
        }
        Ask::Stale(question) => put_stale(out, question),
        Ask::Servers => n::SERVERS,
        // It has its number, and servers refuse it: operators ask over HTTP.
        Ask::Admin(_) => n::CONFIGURE,
    }
}

fn put_cause<B: BufMut>(out: &mut B, cause: &Cause) {
    for (number, text) in [(n::TAKEN_BY, &cause.by), (n::REASON, &cause.reason)] {
        if !text.is_empty() {
            put_text(out, number, text.as_bytes());
        }
    }
}

fn put_stale<B: BufMut>(out: &mut B, question: &Question) -> u16 {
    put_int(out, n::STALE, 1);
    match question {
        Question::Inspect { key } => {
            put_key(out, key);
            n::QUERY
        }
        Question::Verify(verify) => {
            put_verify(out, verify);
            n::VERIFY
        }
        Question::List(listing) => {
            put_list(out, listing);
            n::LIST
        }
        Question::Config => n::CONFIGURE,
    }
}

fn put_verify<B: BufMut>(out: &mut B, verify: &Verify) {
    put_key(out, &verify.key);
    put_int(out, n::FENCE, verify.fence.get());
    if let Some(token) = &verify.token {
        put_fixed(out, n::UNLOCK_TOKEN, &token.0);
    }
}

fn put_list<B: BufMut>(out: &mut B, listing: &Listing) {
    if !listing.prefix.is_empty() {
        put_text(out, n::KEY_PREFIX, &listing.prefix);
    }
    if let Some(selector) = &listing.selector {
        put_text(out, n::SELECTOR, selector.to_string().as_bytes());
    }
    if !listing.order.is_of_keys() {
        put_text(out, n::ORDER, listing.order.to_string().as_bytes());
    }
    if let Some(after) = &listing.after {
        put_text(out, n::KEY_AFTER, after.as_bytes());
    }
    let limit = u64::try_from(listing.limit).unwrap_or(u64::MAX);
    put_int(out, n::LIMIT, limit.min(u32::MAX.into()));
}

fn put_acquire<B: BufMut>(out: &mut B, acquire: &Acquire) -> u16 {
    put_parts(out, &acquire.parts);
    put_life(out, acquire.life);
    if !acquire.holder.is_empty() {
        put_text(out, n::HOLDER, &acquire.holder);
    }
    put_flag(out, n::REENTRANT, acquire.reentrant);
    if acquire.wait_ms == 0 {
        return n::SET_LOCK;
    }
    put_int(out, n::LOCK_WAIT_TIMEOUT_MS, acquire.wait_ms);
    n::SET_LOCK_WAIT
}

fn put_convert<B: BufMut>(out: &mut B, convert: &Convert) -> u16 {
    put_parts(out, &convert.parts);
    put_int(out, n::FENCE, convert.fence.get());
    put_fixed(out, n::UNLOCK_TOKEN, &convert.token.0);
    if convert.wait_ms > 0 {
        put_int(out, n::LOCK_WAIT_TIMEOUT_MS, convert.wait_ms);
    }
    n::CONVERT
}

fn put_proof<B: BufMut>(out: &mut B, proof: &Proof) {
    put_key(out, &proof.key);
    put_int(out, n::FENCE, proof.fence.get());
    put_fixed(out, n::UNLOCK_TOKEN, &proof.token.0);
}

/// The first key of a claim comes last: with one key there is nothing else.
pub(super) fn put_parts<B: BufMut>(out: &mut B, parts: &Parts) {
    for part in parts.iter().skip(1) {
        put_key(out, &part.key);
        put_mode(out, part.mode);
        put_execute(out, n::ADD_KEY);
    }
    put_key(out, &parts.first().key);
    put_mode(out, parts.first().mode);
}

/// Nothing for exclusive, which it is unless said.
pub(super) fn put_mode<B: BufMut>(out: &mut B, mode: Mode) {
    match mode {
        Mode::Exclusive => {}
        Mode::Shared => put_int(out, n::LOCK_MODE, 1),
        Mode::Null => put_int(out, n::LOCK_MODE, 2),
        Mode::ConcurrentRead => put_int(out, n::LOCK_MODE, 3),
        Mode::ConcurrentWrite => put_int(out, n::LOCK_MODE, 4),
        Mode::ProtectedWrite => put_int(out, n::LOCK_MODE, 5),
        Mode::Permits {
            n: permits,
            capacity,
        } => {
            put_int(out, n::PERMITS, permits.into());
            put_int(out, n::CAPACITY, capacity.into());
        }
    }
}

pub(super) fn put_life<B: BufMut>(out: &mut B, life: Life) {
    match life {
        Life::Lease { ttl_ms } => {
            put_int(out, n::LIFE, 0);
            put_int(out, n::TTL_MS, ttl_ms);
        }
        Life::Static => put_int(out, n::LIFE, 1),
        Life::Session => put_int(out, n::LIFE, 2),
    }
}

/// A path as `LOCK_NAME`, pairs as `KEY_VALUES`.
pub(super) fn put_key<B: BufMut>(out: &mut B, key: &Key) {
    let bytes = key.as_bytes();
    let path = bytes.strip_prefix(PATH_BEFORE);
    match path.and_then(|path| path.strip_suffix(&[0])) {
        // A path with a zero byte has it escaped, and goes as it stands.
        Some(path) if !path.contains(&0) => put_text(out, n::LOCK_NAME, path),
        Some(_) | None => put_text(out, n::KEY_VALUES, bytes),
    }
}
