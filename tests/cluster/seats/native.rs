//! A native client, with a session or with request ids.

use super::{
    Claim, Ended, Grant, PATIENCE, Released, SESSION_TTL, Servers, TRY, ids, is_passing, trusted,
};
use crate::oracle::Entered;
use std::io;
use std::time::{Duration, Instant};
use tenure_core::ids::{Fence, RequestId, RequestSeq, SessionId, Slot};
use tenure_core::machine::answer::Answer;
use tenure_core::machine::command::Client;
use tenure_core::machine::key::Key;
use tenure_core::node::input::{Ask, Proof, Token};
use tenure_core::query::LockView;
use tenure_core::rng::Rng;
use tenure_core::wire::client::{Rejection, Word};
use tenure_tests::native::{Answered, Native, acquire};

/// How a native client is known.
#[derive(Clone, Copy, Debug)]
enum Known {
    ByKeys,
    BySession {
        id: SessionId,
        secret: Token,
        seq: u64,
        /// When the last keep-alive that was answered was sent.
        alive: Instant,
    },
}

/// A native client.
#[derive(Debug)]
pub(crate) struct NativeSeat {
    servers: Servers,
    at: usize,
    conn: Option<Native>,
    ids: Rng,
    known: Known,
    name: String,
}

impl NativeSeat {
    pub(crate) fn new(servers: &Servers, seed: u64, name: String) -> Self {
        let mut ids = ids(seed, &name);
        Self {
            servers: servers.clone(),
            at: usize::try_from(ids.below(64)).expect("it is small"),
            conn: None,
            ids,
            known: Known::ByKeys,
            name,
        }
    }

    fn id(&mut self) -> RequestId {
        RequestId::new(u128::from(self.ids.next()) << 64 | u128::from(self.ids.next()))
    }

    pub(crate) const fn session(&self) -> Option<(SessionId, Token)> {
        match self.known {
            Known::ByKeys => None,
            Known::BySession { id, secret, .. } => Some((id, secret)),
        }
    }

    /// Until when what the session holds may be believed in.
    pub(crate) fn session_until(&self) -> Option<Instant> {
        match self.known {
            Known::ByKeys => None,
            Known::BySession { alive, .. } => Some(alive + trusted(SESSION_TTL)),
        }
    }

    fn connected(&mut self, until: Instant) -> io::Result<&mut Native> {
        if self.conn.is_none() {
            let address = self.servers.native[self.at % self.servers.native.len()];
            let left = until.saturating_duration_since(Instant::now());
            let mut conn = Native::connect(address, TRY.min(left))?;
            if let Known::BySession { id, secret, .. } = self.known {
                let resume = Ask::Resume {
                    session: id,
                    secret,
                };
                let word = conn.ask(RequestId::new(1), &Client::None, &resume, TRY)?;
                if !matches!(word.word, Word::Resumed { .. }) {
                    return Err(io::Error::other(format!("not resumed: {word:?}")));
                }
            }
            self.conn = Some(conn);
        }
        Ok(self.conn.as_mut().expect("it is connected"))
    }

    /// Asks until there is an answer; says whether the first try got it.
    fn persist(
        &mut self,
        id: RequestId,
        client: &Client,
        ask: &Ask,
    ) -> Result<(Answered, bool), String> {
        let until = Instant::now() + PATIENCE;
        let mut is_first = true;
        loop {
            let asked = self
                .connected(until)
                .and_then(|conn| conn.ask(id, client, ask, TRY));
            let why = match asked {
                Ok(answered) => match &answered.word {
                    Word::Rejected(Rejection { code, .. }) if is_passing(*code) => {
                        format!("{:?}", answered.word)
                    }
                    _ => return Ok((answered, is_first)),
                },
                Err(error) => error.to_string(),
            };
            is_first = false;
            self.conn = None;
            self.at += 1;
            if Instant::now() > until {
                return Err(format!("{}: {ask:?}: {why}", self.name));
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// How the next request is known.
    fn next(&mut self) -> (RequestId, Client) {
        let id = self.id();
        match &mut self.known {
            Known::ByKeys => (id, Client::Key(id)),
            Known::BySession {
                id: session, seq, ..
            } => {
                *seq += 1;
                let client = Client::Session {
                    id: *session,
                    seq: RequestSeq::new(*seq),
                    done_through: RequestSeq::new(*seq - 1),
                };
                (id, client)
            }
        }
    }

    /// Opens a session, in which everything is done from now on.
    pub(crate) fn open_session(&mut self, identifier: &str) -> Result<(), String> {
        let (id, client) = self.next();
        let sent = Instant::now();
        let ask = Ask::OpenSession {
            ttl_ms: u64::try_from(SESSION_TTL.as_millis()).expect("it is short"),
            identifier: bytes::Bytes::copy_from_slice(identifier.as_bytes()),
            threads: false,
        };
        match self.persist(id, &client, &ask)?.0.word {
            Word::Decided {
                answer: Answer::SessionOpened { session, .. },
                token: Some(secret),
                ..
            } => {
                self.known = Known::BySession {
                    id: session,
                    secret,
                    seq: 0,
                    alive: sent,
                };
                // The next connection proves it; this one may not be the one that opened it.
                self.conn = None;
                Ok(())
            }
            word => Err(format!("no session: {word:?}")),
        }
    }

    /// Lets the session live on.
    pub(crate) fn keep_alive(&mut self) -> Result<(), String> {
        let Known::BySession { id: session, .. } = self.known else {
            return Ok(());
        };
        let id = self.id();
        let sent = Instant::now();
        let ask = Ask::KeepAlive { session };
        match self.persist(id, &Client::None, &ask)?.0.word {
            Word::Decided {
                answer: Answer::KeptAlive { .. },
                ..
            } => {
                if let Known::BySession { alive, .. } = &mut self.known {
                    *alive = sent;
                }
                Ok(())
            }
            word => Err(format!("{}: not kept alive: {word:?}", self.name)),
        }
    }

    /// Takes a lock; gives also the request, so that it can be asked again.
    pub(crate) fn acquire(&mut self, claim: &Claim) -> (Ended, Again) {
        let (id, client) = self.next();
        let ask = acquire(&claim.key, claim.mode, claim.life, claim.wait, &self.name);
        let sent = Instant::now();
        let again = Again {
            id,
            client,
            ask: ask.clone(),
        };
        let ended = match self.persist(id, &client, &ask) {
            Ok((answered, is_first)) => ended(&claim.key, answered, is_first, sent),
            Err(why) => Ended::NoAnswer(why),
        };
        (ended, again)
    }

    /// Says the same request again on a new connection to another server. Nothing if that server
    /// gives no answer now.
    pub(crate) fn again(&mut self, claim: &Claim, again: &Again) -> Option<Ended> {
        self.conn = None;
        self.at += 1;
        let sent = Instant::now();
        let conn = self.connected(sent + TRY).ok()?;
        let answered = conn.ask(again.id, &again.client, &again.ask, TRY);
        let Ok(answered) = answered else {
            self.conn = None;
            return None;
        };
        match answered.word {
            Word::Rejected(Rejection { code, .. }) if is_passing(code) => None,
            _ => Some(ended(&claim.key, answered, false, sent)),
        }
    }

    /// Gives a lock back; then, if asked for, says the same again to another server, whose answer
    /// must be the same.
    pub(crate) fn release(&mut self, grant: &Grant, twice: bool) -> Result<Released, String> {
        let (id, client) = self.next();
        let ask = Ask::release(proof(grant));
        let first = released(&self.persist(id, &client, &ask)?.0.word)?;
        if twice {
            self.conn = None;
            self.at += 1;
            let second = released(&self.persist(id, &client, &ask)?.0.word)?;
            if first != second {
                return Err(format!("a retried release: {first:?}, then {second:?}"));
            }
        }
        Ok(first)
    }

    /// Takes a place in the line, and goes away; gives the ticket.
    pub(crate) fn queue(&mut self, claim: &Claim) -> Result<(u64, Again), String> {
        let (id, client) = self.next();
        let ask = acquire(&claim.key, claim.mode, claim.life, claim.wait, &self.name);
        let until = Instant::now() + PATIENCE;
        loop {
            let asked = self.connected(until).and_then(|conn| {
                conn.say(id, &client, &ask)?;
                conn.hear(Instant::now() + TRY)
            });
            self.conn = None;
            self.at += 1;
            match asked.map(|heard| heard.word) {
                Ok(Word::Decided {
                    answer: Answer::Queued { ticket, .. },
                    ..
                }) => return Ok((ticket.get(), Again { id, client, ask })),
                Ok(word) if Instant::now() > until => return Err(format!("no ticket: {word:?}")),
                Err(error) if Instant::now() > until => return Err(format!("no ticket: {error}")),
                Ok(_) | Err(_) => std::thread::park_timeout(Duration::from_millis(10)),
            }
        }
    }

    /// Says a request again until it is answered.
    pub(crate) fn come_back(&mut self, claim: &Claim, again: &Again) -> Ended {
        let sent = Instant::now();
        match self.persist(again.id, &again.client, &again.ask) {
            Ok((answered, _)) => ended(&claim.key, answered, false, sent),
            Err(why) => Ended::NoAnswer(why),
        }
    }

    /// How a lock is.
    pub(crate) fn inspect(&mut self, key: &str) -> Result<LockView, String> {
        let id = self.id();
        let ask = Ask::Inspect {
            key: Key::from_path(key).expect("it is a path"),
        };
        match self.persist(id, &Client::None, &ask)?.0.word {
            Word::Lock { view, .. } => Ok(view),
            word => Err(format!("not inspected: {word:?}")),
        }
    }

    /// Gives a lease its time anew; says from when that counts.
    pub(crate) fn renew(&mut self, grant: &Grant) -> Result<Option<Instant>, String> {
        let id = self.id();
        let ask = Ask::Renew {
            proof: proof(grant),
            ttl_ms: None,
        };
        let sent = Instant::now();
        let word = self.persist(id, &Client::None, &ask)?.0.word;
        Ok(match word {
            Word::Decided {
                answer: Answer::Renewed { .. },
                ..
            } => Some(sent),
            _ => None,
        })
    }
}

/// A request, so that it can be asked again.
#[derive(Clone, Debug)]
pub(crate) struct Again {
    id: RequestId,
    client: Client,
    ask: Ask,
}

fn proof(grant: &Grant) -> Proof {
    Proof {
        key: Key::from_path(&grant.key).expect("it is a path"),
        fence: Fence::new(grant.fence),
        session: grant.session,
        token: grant.token,
    }
}

fn released(word: &Word) -> Result<Released, String> {
    match word {
        Word::Decided {
            answer: Answer::Released { fence, already, .. },
            ..
        } => Ok(Released {
            fence: fence.get(),
            already: *already,
        }),
        word => Err(format!("not released: {word:?}")),
    }
}

fn ended(key: &str, answered: Answered, is_first: bool, sent: Instant) -> Ended {
    let queued = match answered.queued {
        Some(Word::Decided {
            answer: Answer::Queued { ticket, .. },
            slot,
            ..
        }) => Some((ticket.get(), slot)),
        _ => None,
    };
    match answered.word {
        Word::Decided {
            answer: Answer::Granted(grant),
            token: Some(token),
            slot,
        } => Ended::Granted(Grant {
            key: key.to_owned(),
            fence: grant.fence.get(),
            token,
            session: grant.session,
            sent,
            // A later try tells its own slot, not the one at which the claim came.
            entered: is_first.then(|| entered(queued, slot)),
            is_replayed: grant.replayed,
        }),
        Word::Rejected(rejection) => Ended::Refused(rejection.code),
        word => Ended::NoAnswer(format!("no answer to an acquire: {word:?}")),
    }
}

fn entered(queued: Option<(u64, Slot)>, granted: Slot) -> Entered {
    match queued {
        Some((ticket, slot)) => Entered::Queued {
            slot: slot.get(),
            ticket,
        },
        None => Entered::Granted {
            slot: granted.get(),
        },
    }
}
