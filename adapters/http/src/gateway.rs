//! All connections as one caller of the host.
//!
//! The host's thread puts a round's replies into the mailbox and wakes one task, however many they
//! are; that task hands them to the calls, on the thread of HTTP. A call that is dropped before its
//! last reply is reported to the node as gone, and a grant that nobody heard of is given back.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tenure_core::ids::ZoneId;
use tenure_core::machine::answer::Answer;
use tenure_core::machine::command::Client;
use tenure_core::node::input::{Ask, Proof, Request};
use tenure_core::node::output::Reply;
use tenure_host::{Conn, Door, Full, Replies, Stopped};
use tenure_rt::sync::Notify;
use tenure_rt::{JoinHandle, spawn};

/// The way to the node, for all requests of this listener.
pub(crate) struct Gateway {
    conn: Conn,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    mailbox: Mutex<Mailbox>,
    news: Notify,
    calls: Mutex<Calls>,
}

/// What came in since the sorting task last looked. Bounded by the calls: a call has at most two
/// replies, and is gone once.
#[derive(Default)]
struct Mailbox {
    replies: Vec<(u64, Reply)>,
    gone: Vec<u64>,
    orphans: Vec<Proof>,
    is_closed: bool,
}

/// The calls that wait.
#[derive(Default)]
struct Calls {
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    is_closed: bool,
}

#[derive(Default)]
struct Waiting {
    /// The newest reply. "Queued" is worth nothing once the end is known.
    reply: Option<Reply>,
    waker: Option<Waker>,
}

/// Whether a retry may come for the answer to this call: the lowest bit of its number says so, for
/// it is asked when the call is gone.
const fn is_keyed(number: u64) -> bool {
    number & 1 == 1
}

/// What a reply that nobody took gave, if nobody can ask for it again: it is given back.
fn orphan(number: u64, reply: Option<Reply>) -> Option<Proof> {
    match reply {
        Some(Reply::Decided {
            answer: Answer::Granted(grant),
            token: Some(token),
            ..
        }) if !is_keyed(number) => Some(Proof {
            key: grant.key().clone(),
            fence: grant.fence,
            session: grant.session,
            token,
        }),
        Some(_) | None => None,
    }
}

impl Waiting {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The node stopped before it answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NoAnswer;

impl Gateway {
    /// A way to the node behind `door`, and a task that ends when the node stops.
    pub(crate) async fn open(door: &Door) -> Result<(Arc<Self>, JoinHandle<()>), Stopped> {
        let shared = Arc::<Shared>::default();
        let mail = Mail {
            shared: Arc::clone(&shared),
            batch: Vec::new(),
        };
        let conn = door.open(Box::new(mail)).await?;
        let gateway = Arc::new(Self { conn, shared });
        let sorting = spawn(sort_mail(Arc::clone(&gateway)));
        Ok((gateway, sorting))
    }

    /// Hands in a request.
    pub(crate) fn call(&self, request: Request) -> Result<Call<'_>, Full> {
        let number = {
            let mut calls = lock(&self.shared.calls);
            calls.next += 1;
            let keyed = u64::from(request.client != Client::None);
            let number = calls.next << 1 | keyed;
            calls.waiting.insert(number, Waiting::default());
            number
        };
        let call = Call {
            shared: &self.shared,
            number,
            is_over: false,
        };
        match self.conn.request(number, request) {
            Ok(()) => Ok(call),
            Err(full) => {
                // The host never heard of it.
                call.hang_up();
                Err(full)
            }
        }
    }

    /// Releases a grant whose caller went away before it heard of it. The node took it for answered.
    fn give_back(&self, proof: Proof) {
        let number = {
            let mut calls = lock(&self.shared.calls);
            calls.next += 1;
            calls.next << 1
        };
        let request = Request {
            zone: ZoneId::new(0),
            principal: Bytes::new(),
            client: Client::None,
            ask: Ask::Release { proof, all: true },
        };
        if self.conn.request(number, request).is_err() {
            tracing::warn!("a grant whose caller went away lives until its end: the node is busy");
        }
    }

    /// Whether the host stopped.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.shared.calls).is_closed
    }

    /// How many calls wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.shared.calls).waiting.len()
    }
}

/// One request, until its last reply. Dropped before it, the node is told that nobody waits.
pub(crate) struct Call<'a> {
    shared: &'a Shared,
    number: u64,
    is_over: bool,
}

impl Call<'_> {
    /// The next reply; after "queued" there is another.
    pub(crate) async fn reply(&mut self) -> Result<Reply, NoAnswer> {
        poll_fn(|context| self.poll_reply(context)).await
    }

    fn poll_reply(&mut self, context: &Context<'_>) -> Poll<Result<Reply, NoAnswer>> {
        assert!(!self.is_over, "nothing follows the last reply");
        let mut calls = lock(&self.shared.calls);
        let is_closed = calls.is_closed;
        let waiting = calls.waiting.get_mut(&self.number);
        let waiting = waiting.expect("a call is known until it is dropped");
        if let Some(reply) = waiting.reply.take() {
            self.is_over = is_last(&reply);
            return Poll::Ready(Ok(reply));
        }
        if is_closed {
            self.is_over = true;
            return Poll::Ready(Err(NoAnswer));
        }
        waiting.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Ends a call that the host knows nothing of.
    fn hang_up(mut self) {
        self.is_over = true;
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let waiting = lock(&self.shared.calls).waiting.remove(&self.number);
        if !self.is_over {
            let reply = waiting.and_then(|waiting| waiting.reply);
            let mut mailbox = lock(&self.shared.mailbox);
            mailbox.gone.push(self.number);
            mailbox.orphans.extend(orphan(self.number, reply));
            drop(mailbox);
            self.shared.news.notify_one();
        }
    }
}

/// Whether no other reply follows.
const fn is_last(reply: &Reply) -> bool {
    !matches!(
        reply,
        Reply::Decided {
            answer: Answer::Queued { .. } | Answer::Offered { .. },
            ..
        }
    )
}

/// The host's end of the mailbox.
struct Mail {
    shared: Arc<Shared>,
    batch: Vec<(u64, Reply)>,
}

impl Replies for Mail {
    fn deliver(&mut self, request: u64, reply: Reply) {
        self.batch.push((request, reply));
    }

    fn flush(&mut self) {
        lock(&self.shared.mailbox).replies.append(&mut self.batch);
        self.shared.news.notify_one();
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        lock(&self.shared.mailbox).is_closed = true;
        self.shared.news.notify_one();
    }
}

/// Hands out what the host delivers, and tells it who went away, until it stops.
async fn sort_mail(gateway: Arc<Gateway>) {
    let shared = &gateway.shared;
    let mut replies = Vec::new();
    let mut gone = Vec::new();
    let mut orphans = Vec::new();
    loop {
        shared.news.notified().await;
        let is_closed = {
            let mut mailbox = lock(&shared.mailbox);
            std::mem::swap(&mut mailbox.replies, &mut replies);
            std::mem::swap(&mut mailbox.gone, &mut gone);
            orphans.append(&mut mailbox.orphans);
            mailbox.is_closed
        };
        {
            let mut calls = lock(&shared.calls);
            hand_out(&mut calls, &mut replies, &mut orphans, is_closed);
        }
        if is_closed {
            return;
        }
        for number in gone.drain(..) {
            gateway.conn.gone(number).await;
        }
        for proof in orphans.drain(..) {
            gateway.give_back(proof);
        }
    }
}

fn hand_out(
    calls: &mut Calls,
    replies: &mut Vec<(u64, Reply)>,
    orphans: &mut Vec<Proof>,
    is_closed: bool,
) {
    for (number, reply) in replies.drain(..) {
        if let Some(waiting) = calls.waiting.get_mut(&number) {
            waiting.reply = Some(reply);
            waiting.wake();
        } else {
            orphans.extend(orphan(number, Some(reply)));
        }
    }
    if is_closed {
        calls.is_closed = true;
        for waiting in calls.waiting.values_mut() {
            waiting.wake();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these hold is whole at every step, so a panic of one holder harms nobody.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
