//! Answers, as commands.

use super::numbers as n;
use super::registers::Bad;
use super::request::{put_key, put_life, put_mode, put_parts};
use super::{StreamError, cut, put_execute, put_fixed, put_flag, put_int, put_text};
use crate::config::Config;
use crate::config::Shared;
use crate::ids::{Fence, NodeId, RequestId, SessionId, TicketId};
use crate::machine::answer::{Answer, Blocker, Grant, Refusal};
use crate::node::input::Token;
use crate::node::output::Reply;
use crate::query::{HolderView, LockView, Verdict, WaiterView};
use crate::wire::codes;
use crate::wire::codes::Code;
use alloc::string::ToString;
use alloc::vec::Vec;
use bytes::BytesMut;

/// Whose answer it is: every answer begins with this.
#[derive(Clone, Copy, Debug)]
pub(super) struct To {
    pub(super) stream: u32,
    pub(super) id: RequestId,
}

impl To {
    pub(super) fn begin(self, out: &mut BytesMut) {
        put_int(out, n::STREAM_ID, self.stream.into());
        put_fixed(out, n::REQUEST_ID, &self.id.get().to_be_bytes());
    }
}

/// The server's first word, and its answer to `HELLO`.
pub(super) fn put_hello(out: &mut BytesMut, to: To, config: &Config) {
    to.begin(out);
    put_fixed(out, n::CLUSTER_ID, &config.cluster().0);
    put_int(out, n::SERVER_ID, config.me().get());
    put_int(out, n::VERSION, super::VERSION.into());
    for capability in [n::SET_LOCK_WAIT, n::OPEN_SESSION, n::QUERY, n::LIST] {
        put_int(out, n::CAPABILITY, capability.into());
    }
    put_mark(out, config.shared());
    put_execute(out, n::HELLO);
}

/// The server is there.
pub(super) fn put_pong(out: &mut BytesMut, to: To, config: &Config) {
    to.begin(out);
    put_mark(out, config.shared());
    put_execute(out, n::PONG);
}

/// An answer that has nothing to say but its command.
pub(super) fn put_plain(out: &mut BytesMut, to: To, execute: u16) {
    to.begin(out);
    put_execute(out, execute);
}

/// A refusal by the protocol itself.
pub(super) fn put_bad(out: &mut BytesMut, to: To, execute: u16, bad: Bad) {
    to.begin(out);
    if bad.code == codes::INVALID_COMMAND {
        put_int(out, n::INVALID_COMMAND, bad.number.into());
    }
    let text = alloc::format!("{} {:#06x}: {}", name(bad.number), bad.number, bad.what);
    put_code(out, bad.code, text.trim_start());
    put_execute(out, failed(execute));
}

/// Why the stream is not read on.
pub(super) fn put_stream_error(out: &mut BytesMut, to: To, error: StreamError) {
    to.begin(out);
    let (code, number) = match error {
        StreamError::TooLong { command, .. } => (codes::TOO_LONG, command),
        StreamError::BadStream { .. } => (codes::BAD_STREAM, n::STREAM_ID),
    };
    let text = alloc::format!("{}: {error}", name(number));
    put_code(out, code, text.trim_start_matches(": "));
    put_execute(out, n::REJECTED);
}

/// What the command with this number is called; nothing if nobody knows it.
fn name(number: u16) -> &'static str {
    let found = n::ALL.iter().find(|(known, ..)| *known == number);
    found.map_or("", |(_, name, _)| name)
}

/// The answer to the request that `execute` made.
pub(super) fn put_reply(
    out: &mut BytesMut,
    to: To,
    execute: u16,
    (session, is_stale): (Option<SessionId>, bool),
    config: &Config,
    reply: &Reply,
) {
    to.begin(out);
    let end = match reply {
        Reply::Decided {
            answer,
            token,
            slot,
        } => {
            let end = put_answer(out, execute, answer, *token);
            if matches!(answer, Answer::KeptAlive { .. }) {
                put_mark(out, config.shared());
            }
            put_int(out, n::LOG_INDEX, slot.get());
            end
        }
        Reply::Resumed => {
            put_session(out, session);
            n::RESUME_SESSION
        }
        Reply::Lock { view, slot, stamp } => {
            put_lock(out, view);
            put_flag(out, n::STALE, is_stale);
            put_int(out, n::LOG_INDEX, slot.get());
            put_int(out, n::AGREED_TIME_NS, stamp.as_nanos());
            n::QUERY
        }
        Reply::Verdict {
            verdict,
            slot,
            stamp,
        } => {
            put_verdict(out, verdict);
            put_flag(out, n::STALE, is_stale);
            put_int(out, n::LOG_INDEX, slot.get());
            put_int(out, n::AGREED_TIME_NS, stamp.as_nanos());
            n::VERIFY
        }
        Reply::Locks { page, slot, stamp } => {
            page.locks.iter().for_each(|lock| put_lock(out, lock));
            put_flag(out, n::MORE, page.more);
            put_flag(out, n::STALE, is_stale);
            put_int(out, n::LOG_INDEX, slot.get());
            put_int(out, n::AGREED_TIME_NS, stamp.as_nanos());
            n::LIST
        }
        Reply::Servers {
            nodes,
            leader,
            applied,
            digest,
        } => {
            put_servers(out, config, nodes, *leader);
            put_int(out, n::SERVER_ID, config.me().get());
            put_int(out, n::LOG_INDEX, applied.get());
            put_int(out, n::DIGEST, *digest);
            put_mark(out, config.shared());
            n::SERVERS
        }
        // Only HTTP asks for it.
        Reply::Config { shared, slot, .. } => {
            put_mark(out, shared);
            put_int(out, n::LOG_INDEX, slot.get());
            n::CONFIGURE
        }
        Reply::Failed(failure) => {
            put_code(out, codes::of_failure(failure), &failure.to_string());
            failed(execute)
        }
    };
    put_execute(out, end);
}

/// Whether a reply is the last one for its request.
pub(super) const fn is_last(reply: &Reply) -> bool {
    match reply {
        Reply::Decided { answer, .. } => match answer {
            Answer::Queued { .. } | Answer::Offered { .. } => false,
            Answer::Granted(_)
            | Answer::Released { .. }
            | Answer::Renewed { .. }
            | Answer::Converted { .. }
            | Answer::Cancelled { .. }
            | Answer::SessionOpened { .. }
            | Answer::KeptAlive { .. }
            | Answer::SessionClosed { .. }
            | Answer::Resized { .. }
            | Answer::Forced { .. }
            | Answer::Configured { .. }
            | Answer::Refused(_) => true,
        },
        Reply::Resumed
        | Reply::Config { .. }
        | Reply::Lock { .. }
        | Reply::Verdict { .. }
        | Reply::Locks { .. }
        | Reply::Servers { .. }
        | Reply::Failed(_) => true,
    }
}

/// The state of the shared configuration that the server knows: a client that knows an earlier one asks
/// for the servers.
pub(super) fn put_mark(out: &mut BytesMut, shared: &Shared) {
    let mark = shared.mark();
    put_int(out, n::CONFIG_ID, mark.change.get());
    put_int(out, n::CONFIG_HASH, mark.hash);
}

const fn failed(execute: u16) -> u16 {
    match execute {
        n::SET_LOCK | n::SET_LOCK_WAIT => n::LOCK_FAILED,
        _ => n::REJECTED,
    }
}

fn put_session(out: &mut BytesMut, session: Option<SessionId>) {
    if let Some(session) = session {
        put_fixed(out, n::SESSION_ID, &session.get().to_be_bytes());
    }
}

fn put_token(out: &mut BytesMut, number: u16, token: Option<Token>) {
    if let Some(token) = token {
        put_fixed(out, number, &token.0);
    }
}

fn put_answer(out: &mut BytesMut, execute: u16, answer: &Answer, token: Option<Token>) -> u16 {
    match answer {
        Answer::Granted(grant) => {
            put_grant(out, grant, token);
            n::LOCKED
        }
        Answer::Queued { ticket, position } => put_place(out, *ticket, *position),
        Answer::Offered { ticket } => {
            put_int(out, n::TICKET, ticket.get());
            n::ACCEPTED
        }
        Answer::Released {
            fence,
            already,
            entered,
        } => {
            put_released(out, *fence, *already, *entered);
            n::UNLOCK
        }
        Answer::Renewed { fence, ttl_ms } => put_renewed(out, *fence, *ttl_ms),
        Answer::Converted { fence } => {
            put_int(out, n::FENCE, fence.get());
            n::CONVERT
        }
        Answer::Cancelled { ticket } => {
            put_int(out, n::TICKET, ticket.get());
            n::CANCEL
        }
        Answer::SessionOpened { session, ttl_ms } => put_opened(out, *session, *ttl_ms, token),
        Answer::KeptAlive {
            session,
            ttl_ms,
            taken,
        } => {
            put_kept_alive(out, *session, *ttl_ms, taken);
            n::KEEP_ALIVE
        }
        Answer::SessionClosed { session } => {
            put_session(out, Some(*session));
            n::CLOSE_SESSION
        }
        Answer::Resized { capacity } => {
            put_int(out, n::CAPACITY, (*capacity).into());
            n::RESIZE
        }
        Answer::Forced {
            fence,
            holder,
            remaining_ms,
        } => {
            put_forced(out, *fence, holder, *remaining_ms);
            n::FORCE_UNLOCK
        }
        // Only HTTP asks for it.
        Answer::Configured { mark } => {
            put_int(out, n::CONFIG_ID, mark.change.get());
            n::CONFIGURE
        }
        Answer::Refused(refusal) => {
            put_refusal(out, refusal);
            failed(execute)
        }
    }
}

fn put_grant(out: &mut BytesMut, grant: &Grant, token: Option<Token>) {
    put_parts(out, &grant.parts);
    put_int(out, n::FENCE, grant.fence.get());
    put_life(out, grant.life);
    put_session(out, grant.session);
    if !grant.holder.is_empty() {
        put_text(out, n::HOLDER, cut(n::HOLDER, &grant.holder));
    }
    if let Some(remaining_ms) = grant.remaining_ms {
        put_int(out, n::REMAINING_MS, remaining_ms);
    }
    put_flag(out, n::REPLAYED, grant.replayed);
    put_entered(out, grant.entered);
    put_token(out, n::UNLOCK_TOKEN, token);
}

fn put_released(out: &mut BytesMut, fence: Fence, already: bool, entered: u32) {
    put_int(out, n::FENCE, fence.get());
    put_flag(out, n::ALREADY, already);
    put_entered(out, entered);
}

fn put_forced(out: &mut BytesMut, fence: Fence, holder: &[u8], remaining_ms: Option<u64>) {
    put_int(out, n::FENCE, fence.get());
    put_flag(out, n::HARD, true);
    put_text(out, n::HOLDER, cut(n::HOLDER, holder));
    if let Some(remaining_ms) = remaining_ms {
        put_int(out, n::REMAINING_MS, remaining_ms);
    }
}

fn put_renewed(out: &mut BytesMut, fence: Fence, ttl_ms: u64) -> u16 {
    put_int(out, n::FENCE, fence.get());
    put_int(out, n::TTL_MS, ttl_ms);
    n::RENEW
}

fn put_place(out: &mut BytesMut, ticket: TicketId, position: u64) -> u16 {
    put_int(out, n::TICKET, ticket.get());
    put_int(out, n::POSITION, position);
    n::ACCEPTED
}

fn put_opened(out: &mut BytesMut, session: SessionId, ttl_ms: u64, secret: Option<Token>) -> u16 {
    put_session(out, Some(session));
    put_int(out, n::TTL_MS, ttl_ms);
    put_token(out, n::SESSION_SECRET, secret);
    n::OPEN_SESSION
}

/// What operators took from the session is nothing, mostly.
fn put_kept_alive(out: &mut BytesMut, session: SessionId, ttl_ms: u64, taken: &[Fence]) {
    put_session(out, Some(session));
    put_int(out, n::TTL_MS, ttl_ms);
    if !taken.is_empty() {
        let bytes = taken.iter().flat_map(|fence| fence.get().to_be_bytes());
        let bytes: Vec<u8> = bytes.collect();
        put_text(out, n::TAKEN, &bytes);
    }
}

/// Nothing for a grant that is not re-entrant.
fn put_entered(out: &mut BytesMut, entered: u32) {
    if entered > 0 {
        put_int(out, n::ENTERED, entered.into());
    }
}

fn put_refusal(out: &mut BytesMut, refusal: &Refusal) {
    match refusal {
        Refusal::Held { by }
        | Refusal::WaitTimeout { by }
        | Refusal::NotCovered { by }
        | Refusal::UpgradeDeadlock { by }
        | Refusal::FenceChanged { by }
        | Refusal::Deadlock { by } => {
            by.iter().for_each(|blocker| put_blocker(out, blocker));
        }
        Refusal::HasCapacity { capacity } => put_int(out, n::CAPACITY, (*capacity).into()),
        Refusal::Entered { entered } => put_entered(out, *entered),
        Refusal::Cancelled
        | Refusal::NotHeld
        | Refusal::Converting
        | Refusal::NotLeased
        | Refusal::NoSuchTicket
        | Refusal::SessionGone
        | Refusal::IdentifierInUse
        | Refusal::SessionBusy
        | Refusal::Forgotten
        | Refusal::RequestIdReused
        | Refusal::Quota { .. }
        | Refusal::NoPermits
        | Refusal::SearchLimit
        | Refusal::ConfigMoved { .. }
        | Refusal::ConfigUnfit { .. }
        | Refusal::Invalid { .. } => {}
    }
    put_code(out, codes::of_refusal(refusal), &refusal.to_string());
}

fn put_code(out: &mut BytesMut, code: Code, text: &str) {
    put_int(out, n::ERROR_CODE, code.number.into());
    put_int(out, n::RETRYABLE, code.retryable.into());
    put_int(out, n::OUTCOME, code.outcome.number().into());
    put_text(out, n::ERROR_TEXT, cut(n::ERROR_TEXT, text.as_bytes()));
}

fn put_blocker(out: &mut BytesMut, blocker: &Blocker) {
    put_text(out, n::HOLDER, cut(n::HOLDER, &blocker.holder));
    put_mode(out, blocker.mode);
    put_int(out, n::FENCE, blocker.fence.get());
    put_execute(out, n::HOLDER_ROW);
}

fn put_lock(out: &mut BytesMut, lock: &LockView) {
    for holder in &lock.holders {
        put_holder(out, holder);
    }
    for waiter in &lock.waiters {
        put_waiter(out, waiter);
    }
    put_key(out, &lock.key);
    put_int(out, n::WAITERS, lock.waiting);
    put_execute(out, n::LOCK_ROW);
}

/// The grant as a row, if it holds; then which it is, and the highest that does.
fn put_verdict(out: &mut BytesMut, verdict: &Verdict) {
    if let Some(held) = &verdict.held {
        put_holder(out, held);
    }
    put_key(out, &verdict.key);
    put_int(out, n::FENCE, verdict.fence.get());
    if let Some(highest) = verdict.highest {
        put_int(out, n::HIGHEST_FENCE, highest.get());
    }
}

fn put_holder(out: &mut BytesMut, view: &HolderView) {
    put_text(out, n::HOLDER, cut(n::HOLDER, &view.holder));
    put_mode(out, view.mode);
    put_int(out, n::FENCE, view.fence.get());
    put_session(out, view.session);
    put_int(out, n::HELD_MS, view.held_ms);
    if let Some(remaining_ms) = view.remaining_ms {
        put_int(out, n::REMAINING_MS, remaining_ms);
    }
    put_entered(out, view.entered);
    put_execute(out, n::HOLDER_ROW);
}

fn put_waiter(out: &mut BytesMut, view: &WaiterView) {
    put_text(out, n::HOLDER, cut(n::HOLDER, &view.holder));
    put_mode(out, view.mode);
    put_int(out, n::TICKET, view.ticket.get());
    put_int(out, n::WAITING_MS, view.waiting_ms);
    put_execute(out, n::WAITER_ROW);
}

fn put_servers(out: &mut BytesMut, config: &Config, nodes: &[NodeId], leader: Option<NodeId>) {
    for node in nodes {
        let member = config.members().iter().find(|member| member.node == *node);
        put_int(out, n::SERVER_ID, node.get());
        if let Some(member) = member {
            let text = [
                (n::CLIENT_ADDRESS, &member.client),
                (n::HTTP_ADDRESS, &member.http),
                (n::LOCATION_DOMAIN, &member.location),
            ];
            for (number, text) in text {
                put_text(out, number, cut(number, text.as_bytes()));
            }
        }
        put_flag(out, n::LEADER, leader == Some(*node));
        put_execute(out, n::SERVER_ROW);
    }
}
