//! What a program calls.

use crate::driver;
use crate::driver::{CALLS_QUEUED_MAX, Command, Reply, Shown};
use crate::error::Error;
use crate::lock::LockRequest;
use crate::options::{Options, millis};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tenure_core::client::{CallId, Want};
use tenure_core::config::Mark;
use tenure_core::ids::{Fence, NodeId, Slot};
use tenure_core::machine::answer::Answer;
use tenure_core::machine::command::Force;
use tenure_core::machine::key::Key;
use tenure_core::node::input::{Ask, Proof, Question, Verify};
use tenure_core::query::{Listing, LockView, Page, Verdict};
use tenure_core::time::Stamp;
use tenure_core::wire::client::{ServerRow, Word};
use tenure_rt::sync::{mpsc, oneshot};

/// A client. Cloning gives another handle of the same connection; when the last one and all guards
/// are gone, its session is closed.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    commands: mpsc::Sender<Command>,
    next_call: AtomicU64,
    has_session: bool,
    shown: Shown,
}

/// Something that was read, and where in the log it was true.
#[derive(Clone, Debug)]
pub struct Seen<T> {
    /// What.
    pub value: T,
    /// The position in the log.
    pub slot: Slot,
    /// The cluster's agreed time.
    pub stamp: Stamp,
    /// One server said it by itself: it was true at `slot`, and may be over since.
    pub is_stale: bool,
}

/// The servers, as one of them knows them.
#[derive(Clone, Debug)]
pub struct Servers {
    /// All of them.
    pub servers: Vec<ServerRow>,
    /// Which of them says so.
    pub by: NodeId,
    /// What it has applied.
    pub applied: Slot,
    /// The rolling digest of its state there: servers that applied the same have the same.
    pub digest: u64,
}

/// What was taken from its holder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Forced {
    /// The grant.
    pub fence: Fence,
    /// Who had it.
    pub holder: Bytes,
    /// For how long he may still believe in it; for ever if none.
    pub remaining: Option<Duration>,
}

impl Client {
    /// Starts a client, on the runtime that this is called on. It connects by itself, and again
    /// whenever it must; calls wait for it, as long as [`Options::patience`] says.
    ///
    /// # Errors
    ///
    /// No endpoints, an identifier over 1 KiB, or no random numbers.
    pub fn connect(options: Options) -> Result<Self, Error> {
        let has_session = options.has_session();
        let (commands, inbox) = mpsc::channel(CALLS_QUEUED_MAX);
        let shown = driver::start(options, inbox)?;
        let shared = Shared {
            commands,
            next_call: AtomicU64::new(1),
            has_session,
            shown,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// A lock by its path: say how you want it, then `acquire`.
    pub fn lock(&self, path: &str) -> LockRequest {
        let key = Key::from_path(path);
        LockRequest::new(self.clone(), key, self.shared.has_session)
    }

    /// A lock by any key.
    pub fn lock_key(&self, key: Key) -> LockRequest {
        LockRequest::new(self.clone(), Ok(key), self.shared.has_session)
    }

    /// Gives back a grant by its proof, whoever took it. Says whether it had ended before.
    ///
    /// # Errors
    ///
    /// The proof is wrong, or nobody answered.
    pub async fn release(&self, proof: Proof) -> Result<bool, Error> {
        match self.decide(Want::ReleaseBy(proof)).await? {
            Answer::Released { already, .. } => Ok(already),
            _ => Err(Error::Confused),
        }
    }

    /// Lets a lease live for `ttl` from now, or for its own ttl; says for how long.
    ///
    /// # Errors
    ///
    /// The proof is wrong, the grant is not held or not a lease, or nobody answered.
    pub async fn renew(&self, proof: Proof, ttl: Option<Duration>) -> Result<Duration, Error> {
        let ttl_ms = ttl.map(millis);
        match self.decide(Want::RenewBy { proof, ttl_ms }).await? {
            Answer::Renewed { ttl_ms, .. } => Ok(Duration::from_millis(ttl_ms)),
            _ => Err(Error::Confused),
        }
    }

    /// Takes a grant from its holder, at once and whatever he believes: from then on only the fence protects what he
    /// may still write to. Whoever has the lock under another fence keeps it (`codes::FENCE_CHANGED`).
    ///
    /// # Errors
    ///
    /// The lock is not held under this fence, there is no reason, or nobody answered.
    pub async fn force_unlock(&self, force: Force) -> Result<Forced, Error> {
        match self.decide(Want::Force(force)).await? {
            Answer::Forced {
                fence,
                holder,
                remaining_ms,
            } => Ok(Forced {
                fence,
                holder,
                remaining: remaining_ms.map(Duration::from_millis),
            }),
            _ => Err(Error::Confused),
        }
    }

    /// How a lock is. Linearizable.
    ///
    /// # Errors
    ///
    /// Nobody answered.
    pub async fn inspect(&self, key: Key) -> Result<Seen<LockView>, Error> {
        self.look(Ask::Inspect { key }).await
    }

    /// How a lock was when the server that is asked last heard of it. It answers at once, also without a
    /// leader or a majority, and the answer may be over: never decide by it whether you hold a lock. A
    /// client with a session needs a majority all the same, to open it.
    ///
    /// # Errors
    ///
    /// Nobody answered.
    pub async fn inspect_stale(&self, key: Key) -> Result<Seen<LockView>, Error> {
        self.look(Ask::Stale(Question::Inspect { key })).await
    }

    async fn look(&self, ask: Ask) -> Result<Seen<LockView>, Error> {
        match self.call(Want::Query(ask)).await?.word {
            Word::Lock {
                view,
                slot,
                stamp,
                is_stale,
            } => Ok(Seen {
                value: view,
                slot,
                stamp,
                is_stale,
            }),
            _ => Err(Error::Confused),
        }
    }

    /// Whether a grant holds, asked by somebody else than its holder: by its fence ([`Verify::fence`]), or by its
    /// proof, which also shows that whoever gave it is the holder. Linearizable, and no entry in the log. True
    /// when it was answered: a store that checks fences is safe also after that.
    ///
    /// # Errors
    ///
    /// The token is wrong (`codes::BAD_PROOF`), or nobody answered.
    pub async fn verify(&self, grant: impl Into<Verify> + Send) -> Result<Seen<Verdict>, Error> {
        match self
            .call(Want::Query(Ask::Verify(grant.into())))
            .await?
            .word
        {
            Word::Verdict {
                verdict,
                slot,
                stamp,
                is_stale,
            } => Ok(Seen {
                value: verdict,
                slot,
                stamp,
                is_stale,
            }),
            _ => Err(Error::Confused),
        }
    }

    /// A page of the locks that are held or waited for. Linearizable.
    ///
    /// # Errors
    ///
    /// Nobody answered.
    pub async fn list(&self, listing: Listing) -> Result<Seen<Page>, Error> {
        self.look_at_some(Ask::List(listing)).await
    }

    /// The same of one server alone, as [`Self::inspect_stale`] is.
    ///
    /// # Errors
    ///
    /// Nobody answered.
    pub async fn list_stale(&self, listing: Listing) -> Result<Seen<Page>, Error> {
        self.look_at_some(Ask::Stale(Question::List(listing))).await
    }

    async fn look_at_some(&self, ask: Ask) -> Result<Seen<Page>, Error> {
        match self.call(Want::Query(ask)).await?.word {
            Word::Locks {
                page,
                slot,
                stamp,
                is_stale,
            } => Ok(Seen {
                value: page,
                slot,
                stamp,
                is_stale,
            }),
            _ => Err(Error::Confused),
        }
    }

    /// The newest state of the servers' shared configuration that any of them spoke of.
    pub fn config(&self) -> Option<Mark> {
        *self.shared.shown.config.borrow()
    }

    /// Waits until the servers speak of another state than `known`: a reason to ask for [`Self::servers`]
    /// again. A client with a session hears of one with its next keep-alive.
    ///
    /// # Errors
    ///
    /// The client has ended.
    pub async fn config_moved(&self, known: Option<Mark>) -> Result<Mark, Error> {
        let mut config = self.shared.shown.config.clone();
        let moved = config.wait_for(|mark| mark.is_some() && *mark != known);
        let mark = moved.await.map_err(|_| Error::Closed)?;
        mark.ok_or(Error::Closed)
    }

    /// Who the servers are.
    ///
    /// # Errors
    ///
    /// Nobody answered.
    pub async fn servers(&self) -> Result<Servers, Error> {
        match self.call(Want::Query(Ask::Servers)).await?.word {
            Word::Servers {
                servers,
                by,
                applied,
                digest,
            } => Ok(Servers {
                servers,
                by,
                applied,
                digest,
            }),
            _ => Err(Error::Confused),
        }
    }

    /// Ends the session, and releases all that it holds. The next call opens another.
    ///
    /// # Errors
    ///
    /// There is no session, or nobody answered.
    pub async fn close_session(&self) -> Result<(), Error> {
        self.decide(Want::CloseSession).await.map(drop)
    }

    /// Waits for the last words: what dropped guards and abandoned claims still have to say, and the
    /// end of the session. Half a second at most, once the other handles and all guards are gone.
    pub async fn finish(self) {
        let mut ended = self.shared.shown.ended.clone();
        drop(self);
        while ended.changed().await.is_ok() {}
    }

    pub(crate) async fn decide(&self, want: Want) -> Result<Answer, Error> {
        match self.call(want).await?.word {
            Word::Decided { answer, .. } => Ok(answer),
            _ => Err(Error::Confused),
        }
    }

    /// Makes a call and waits for its end. If the caller goes away meanwhile, a claim leaves its
    /// line.
    pub(crate) async fn call(&self, want: Want) -> Result<Reply, Error> {
        let number = self.shared.next_call.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let mut call = Waiting {
            client: self,
            call: CallId(number),
            asked: false,
        };
        let command = Command::Call {
            call: call.call,
            want,
            answer,
        };
        let sent = self.shared.commands.send(command).await;
        sent.map_err(|_| Error::Closed)?;
        call.asked = true;
        let reply = answered.await;
        call.asked = false;
        reply.map_err(|_| Error::Closed)?.map_err(Error::Failed)
    }

    /// Says something that needs no answer, unless too much is waiting to be said.
    pub(crate) fn mention(&self, command: Command) {
        // If the queue is full, the task finds out by itself that nobody listens any more.
        drop(self.shared.commands.try_send(command));
    }
}

/// A call whose caller waits; dropped with him.
struct Waiting<'a> {
    client: &'a Client,
    call: CallId,
    asked: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.asked {
            let call = self.call;
            self.client.mention(Command::Abandon { call });
        }
    }
}
