//! Where the cases run: in memory, and against one real server of the binary, which all of them share.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tenure_rt::{block_on, clock};
use tenure_service::{Claim, Http, LockService, Memory, Native};
use tenure_tests::members::{Members, PATIENCE};

/// Names that no other case uses.
static NAMES: AtomicU64 = AtomicU64::new(0);

/// An implementation, and how time passes for it.
pub(crate) trait World {
    type Service: LockService + Clone;

    /// Who is asked.
    fn locks(&self) -> &Self::Service;

    /// So much agreed time may pass from now: at once in memory; elsewhere it passes by itself, while the
    /// case awaits what comes of it.
    fn pass(&self, time: Duration);

    /// A lock of this case alone.
    fn name(&self) -> String {
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        format!("conformance/{number}")
    }

    /// A claim of such a lock.
    fn claim(&self) -> Claim {
        Claim::new(&self.name()).expect("the name is short")
    }
}

/// Runs a case, which must not take for ever.
fn run(case: impl Future<Output = ()>) {
    let done = block_on(clock::timeout(PATIENCE, case)).expect("the runtime starts");
    assert!(done.is_some(), "the case hangs");
}

/// The lock machine in memory.
pub(crate) struct Simulated {
    locks: Memory,
}

impl Simulated {
    pub(crate) fn run<F: Future<Output = ()>>(case: impl FnOnce(Self) -> F) {
        let locks = Memory::new();
        run(case(Self { locks }));
    }
}

impl World for Simulated {
    type Service = Memory;

    fn locks(&self) -> &Memory {
        &self.locks
    }

    fn pass(&self, time: Duration) {
        self.locks.advance(time);
    }
}

/// A real server.
pub(crate) struct Cluster<S> {
    locks: S,
}

/// The server of all cases. It ends with this process, whose child it is.
fn server() -> &'static Members {
    static SERVER: OnceLock<Members> = OnceLock::new();
    SERVER.get_or_init(|| {
        let mut members = Members::new(1);
        members.start_all();
        members.leader(PATIENCE);
        members
    })
}

impl Cluster<Native> {
    pub(crate) fn run_native<F: Future<Output = ()>>(case: impl FnOnce(Self) -> F) {
        let address = server().client(1).to_string();
        run(async {
            let locks = Native::connect([address]).expect("the options are good");
            case(Self { locks }).await;
        });
    }
}

impl Cluster<Http> {
    pub(crate) fn run_http<F: Future<Output = ()>>(case: impl FnOnce(Self) -> F) {
        let address = server().http(1).to_string();
        let locks = Http::new([address]).expect("there is a server");
        run(case(Self { locks }));
    }
}

impl<S: LockService + Clone> World for Cluster<S> {
    type Service = S;

    fn locks(&self) -> &S {
        &self.locks
    }

    fn pass(&self, _time: Duration) {}
}
