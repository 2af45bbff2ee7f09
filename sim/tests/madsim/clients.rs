//! Programs that take locks, each through the client that users have.

use crate::cluster::endpoints;
use crate::witness::Witness;
use madsim::rand::{Rng as _, thread_rng};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tenure_client::{Client, Error, Failed, Guard, News, Options, SessionOptions, codes};
use tenure_core::time::Timestamp;
use tenure_rt::sync::watch;
use tenure_rt::{clock, select};

/// Keys that all contend for.
pub(crate) const KEYS: usize = 3;
/// How long a call is tried.
const PATIENCE: Duration = Duration::from_secs(8);
/// No call may take longer than it said: patience, the longest wait, and something for the way.
pub(crate) const STUCK: Duration = Duration::from_secs(30);

/// What all clients share.
#[derive(Clone)]
pub(crate) struct Shared {
    witness: Arc<Mutex<Witness>>,
    stop: watch::Receiver<bool>,
    /// How many locks were acknowledged that stay.
    kept: Arc<watch::Sender<u64>>,
}

impl Shared {
    pub(crate) fn new(stop: watch::Receiver<bool>) -> Self {
        Self {
            witness: Arc::default(),
            stop,
            kept: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Ends when the next lock that stays was acknowledged, in the same instant.
    pub(crate) async fn next_kept(&self) {
        let mut kept = self.kept.subscribe();
        kept.changed().await.expect("it is kept here");
    }

    pub(crate) fn witness(&self) -> MutexGuard<'_, Witness> {
        self.witness.lock().expect("no test panics in it")
    }

    pub(crate) fn stops(&self) -> bool {
        *self.stop.borrow()
    }
}

pub(crate) fn key(number: usize) -> String {
    format!("contended/{number}")
}

pub(crate) fn draw_ms(from: u64, to: u64) -> Duration {
    Duration::from_millis(thread_rng().gen_range(from..to))
}

/// A call, which must end.
async fn ends<T>(call: impl Future<Output = T>) -> T {
    let ended = clock::timeout(STUCK, call).await;
    ended.expect("no call is stuck")
}

/// Takes and releases locks until it is told to stop.
pub(crate) async fn contend(id: u64, shared: Shared, session: bool) {
    let mut options = Options::new(endpoints()).patience(PATIENCE);
    if session {
        options = options.session(SessionOptions {
            ttl: Duration::from_secs(3),
            identifier: format!("client {id}"),
            one_thread: false,
        });
    }
    let client = Client::connect(options).expect("its options are right");
    while !shared.stops() {
        let name = key(thread_rng().gen_range(0..KEYS));
        let reads = thread_rng().gen_bool(0.2);
        let mut request = client
            .lock(&name)
            .holder(&format!("client {id}"))
            .wait(draw_ms(0, 4000));
        if !session {
            request = request.ttl(draw_ms(1000, 4000));
        }
        if reads {
            request = request.shared();
        }
        match ends(request.acquire()).await {
            Ok(guard) => hold(id, &shared, &name, reads, guard).await,
            Err(error) => note(&shared, &error),
        }
        clock::sleep(draw_ms(1, 50)).await;
    }
}

fn until(guard: &Guard) -> Timestamp {
    guard.until().unwrap_or(Timestamp::MAX)
}

/// Holds a lock for a while, as long as it can be believed in.
async fn hold(id: u64, shared: &Shared, name: &str, reads: bool, mut guard: Guard) {
    let terms = (reads, guard.fence(), until(&guard));
    shared.witness().granted(clock::now(), name, id, terms);
    // Some hold on for longer than a lock lives without a renewal.
    let longest = if thread_rng().gen_bool(0.1) {
        8000
    } else {
        500
    };
    let end = clock::now().plus(draw_ms(1, longest));
    loop {
        let news = select! { biased;
            news = guard.changed() => news,
            () = clock::sleep_until(end) => break,
        };
        let until = until(&guard);
        shared.witness().believes(clock::now(), name, id, until);
        if let News::Lost(_) = news {
            shared.witness().ended(clock::now(), name, id);
            shared.witness().lost += 1;
            return;
        }
    }
    shared.witness().ended(clock::now(), name, id);
    if let Err(error) = ends(guard.release()).await {
        note(shared, &error);
    }
}

/// An error that trouble can cause; any other is a bug.
fn note(shared: &Shared, error: &Error) {
    let mut witness = shared.witness();
    match error {
        Error::Failed(Failed::Rejected(_)) if error.is_held() => witness.refused += 1,
        Error::Failed(Failed::Rejected(rejection)) => {
            let innocent = [codes::INVALID, codes::BAD_PROOF, codes::REQUEST_ID_REUSED];
            let wronged = innocent.iter().any(|code| code.number == rejection.code);
            assert!(!wronged, "a client of ours did no wrong: {rejection}");
            witness.unknown += 1;
        }
        Error::Failed(Failed::TimedOut { .. } | Failed::SessionLost | Failed::TooLate) => {
            witness.unknown += 1;
        }
        error => panic!("a client of ours can't get this: {error}"),
    }
}

/// Takes locks that stay, each under its own name.
pub(crate) async fn keep(shared: Shared) {
    let options = Options::new(endpoints()).patience(PATIENCE);
    let client = Client::connect(options).expect("its options are right");
    let mut number = 0;
    while !shared.stops() {
        number += 1;
        let name = format!("kept/{number}");
        match ends(client.lock(&name).forever().try_acquire()).await {
            Ok(guard) => {
                let proof = guard.leave();
                shared.witness().kept(clock::now(), &name, proof.fence);
                shared.kept.send_modify(|count| *count += 1);
            }
            Err(error) => note(&shared, &error),
        }
        clock::sleep(draw_ms(5, 150)).await;
    }
}
