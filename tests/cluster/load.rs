//! What the clients do: take locks of all kinds, write to the store that the lock guards, retry,
//! come too late, and note what they saw.

use crate::oracle::{Held, Oracle};
use crate::seats::{Again, Claim, Ended, Grant, HttpSeat, NativeSeat, Released, Servers, trusted};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tenure_core::ids::Seed;
use tenure_core::machine::command::{Life, Mode};
use tenure_core::rng::Rng;
use tenure_core::wire::codes;
use tenure_tests::members::Members;

const KEYS: u64 = 2_000;
const HOT_KEYS: u64 = 20;
const LEASE: Duration = Duration::from_secs(60);
/// The ttl of a holder that goes away without a word.
const SHORT_LEASE: Duration = Duration::from_millis(700);
/// How long a late writer waits for somebody to be late against.
const LATE_PATIENCE: Duration = Duration::from_millis(1500);

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) servers: Servers,
    pub(crate) oracle: Oracle,
    pub(crate) stop: AtomicBool,
    pub(crate) seed: u64,
    pub(crate) begin: Instant,
}

#[derive(Debug)]
enum Seat {
    Native(Box<NativeSeat>),
    Http(HttpSeat),
}

/// A request that was answered, as its kind of client says it again.
#[derive(Debug)]
enum Retry {
    Native(Box<Again>),
    Http((String, String)),
}

/// Begins with `clients` of them.
pub(crate) fn begin(servers: Servers, seed: u64, clients: u64) -> (Arc<Load>, Vec<JoinHandle<()>>) {
    let load = Arc::new(Load {
        servers,
        oracle: Oracle::default(),
        stop: AtomicBool::new(false),
        seed,
        begin: Instant::now(),
    });
    let start = |number| {
        let load = Arc::clone(&load);
        let builder = thread::Builder::new().stack_size(256 << 10);
        let client = builder.spawn(move || run(&load, number));
        client.expect("a thread starts")
    };
    let clients = (0..clients).map(start).collect();
    (load, clients)
}

impl Load {
    /// Waits for the end of what the clients do.
    pub(crate) fn end(&self, clients: Vec<JoinHandle<()>>) {
        self.stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().expect("a client does not panic");
        }
    }

    /// Nothing that was promised was broken.
    pub(crate) fn verdict(&self, members: &Members) {
        let tally = self.oracle.tally();
        eprintln!("{:.1} s: {tally}", self.begin.elapsed().as_secs_f64());
        let wrong = self.oracle.verdict();
        assert!(
            wrong.is_empty(),
            "seed {}:\n{}\n{}",
            self.seed,
            wrong.join("\n"),
            members.output()
        );
    }
}

/// One client, until it is told to stop.
pub(crate) fn run(load: &Arc<Load>, number: u64) {
    let seed = load.seed ^ (number << 32);
    let name = format!("c{number}");
    let mut client = Client {
        load: Arc::clone(load),
        rng: Rng::new(Seed::new(seed)),
        seat: match number % 2 {
            0 => Seat::Http(HttpSeat::new(&load.servers, seed, name.clone())),
            _ => Seat::Native(Box::new(NativeSeat::new(&load.servers, seed, name.clone()))),
        },
        name,
    };
    // Half of the native clients have a session.
    if let Seat::Native(seat) = &mut client.seat
        && number % 4 == 1
        && let Err(why) = seat.open_session(&client.name)
    {
        load.oracle.wrong(why);
        return;
    }
    while !load.stop.load(Ordering::Relaxed) {
        client.cycle();
    }
}

struct Client {
    load: Arc<Load>,
    rng: Rng,
    seat: Seat,
    name: String,
}

impl Client {
    fn oracle(&self) -> &Oracle {
        &self.load.oracle
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.rng.below(of) == 0
    }

    fn has_session(&self) -> bool {
        match &self.seat {
            Seat::Native(seat) => seat.session().is_some(),
            Seat::Http(_) => false,
        }
    }

    fn cycle(&mut self) {
        let is_hot = self.one_in(2);
        let key = self.rng.below(if is_hot { HOT_KEYS } else { KEYS });
        let goes_away = is_hot && !self.has_session() && self.one_in(12);
        let claim = Claim {
            key: format!("k/{key}"),
            mode: if self.one_in(3) && !goes_away {
                Mode::Shared
            } else {
                Mode::Exclusive
            },
            life: match (self.has_session(), goes_away) {
                (true, _) => Life::Session,
                (false, true) => lease(SHORT_LEASE),
                (false, false) => lease(LEASE),
            },
            wait: if self.one_in(4) {
                Duration::ZERO
            } else {
                Duration::from_secs(3)
            },
        };
        let ticket_first = self.one_in(2) && !claim.wait.is_zero();
        let (ended, retry) = match &mut self.seat {
            Seat::Native(seat) => {
                let (ended, again) = seat.acquire(&claim);
                (ended, Retry::Native(Box::new(again)))
            }
            Seat::Http(seat) => {
                let (ended, again) = seat.acquire(&claim, ticket_first);
                (ended, Retry::Http(again))
            }
        };
        match ended {
            Ended::Granted(grant) => self.hold(&claim, &grant, &retry, goes_away),
            Ended::Refused(code) => self.refused(&claim, code),
            Ended::NoAnswer(why) => self.oracle().wrong(why),
        }
        if self.one_in(8)
            && let Seat::Native(seat) = &mut self.seat
            && let Err(why) = seat.keep_alive()
        {
            self.oracle().wrong(why);
        }
    }

    fn refused(&self, claim: &Claim, code: u16) {
        // A short lease that was asked for again after it ended is no more.
        let ended = matches!(claim.life, Life::Lease { ttl_ms } if u128::from(ttl_ms) < 1000)
            && code == codes::NOT_HELD.number;
        let expected = [codes::HELD, codes::WAIT_TIMEOUT, codes::CANCELLED];
        if ended || expected.iter().any(|known| known.number == code) {
            self.oracle().count("refused");
        } else {
            self.oracle()
                .wrong(format!("{}: refused with {code}: {claim:?}", self.name));
        }
    }

    fn hold(&mut self, claim: &Claim, grant: &Grant, retry: &Retry, goes_away: bool) {
        let from = Instant::now();
        let mut until = match claim.life {
            Life::Lease { ttl_ms } => grant.sent + trusted(Duration::from_millis(ttl_ms)),
            Life::Session | Life::Static => self.session_until(),
        };
        if goes_away
            && let Seat::Native(seat) = &mut self.seat
            && let Ok(Some(renewed)) = seat.renew(grant)
        {
            until = renewed + trusted(SHORT_LEASE);
            self.oracle().count("renewed");
        }
        if from >= until {
            // The grant came when its time was over for whoever counts as he must.
            self.oracle().count("believed in nothing");
            drop(self.release(grant, false));
            return;
        }
        self.oracle().count("granted");
        self.work(claim, grant, until);
        if goes_away {
            self.note(claim, grant, from, until);
            self.come_too_late(grant, until);
            return;
        }
        if self.one_in(8) {
            self.ask_again(claim, grant, retry, until);
        }
        self.work(claim, grant, until);
        let to = Instant::now().min(until);
        let is_believed = to < until;
        self.note(claim, grant, from, to);
        let twice = self.one_in(8);
        match self.release(grant, twice) {
            Ok(released) if is_believed && released.already => {
                let name = &self.name;
                self.oracle()
                    .wrong(format!("{name}: an acknowledged lock was lost: {grant:?}"));
            }
            Ok(_) => self.oracle().count("released"),
            Err(why) => self.oracle().wrong(format!("{}: {why}", self.name)),
        }
        if claim.mode == Mode::Exclusive && self.one_in(10) {
            self.come_too_late(grant, Instant::now());
        }
    }

    fn session_until(&self) -> Instant {
        match &self.seat {
            Seat::Native(seat) => seat.session_until().expect("it has a session"),
            Seat::Http(_) => unreachable!("HTTP clients have no sessions yet"),
        }
    }

    /// Writes to the store: whoever believes that he holds the lock must be let through.
    fn work(&self, claim: &Claim, grant: &Grant, until: Instant) {
        let highest = self.oracle().highest(&grant.key);
        let is_through = match claim.mode {
            Mode::Exclusive => self.oracle().write(&grant.key, grant.fence),
            // Shared holders only read; no later exclusive holder can have written yet.
            Mode::Shared => highest <= grant.fence,
            mode => unreachable!("{mode:?} is not drawn"),
        };
        if !is_through && Instant::now() < until {
            let name = &self.name;
            self.oracle().wrong(format!(
                "{name}: a holder was refused by the store, which has seen {highest}: {grant:?}"
            ));
        }
    }

    fn note(&self, claim: &Claim, grant: &Grant, from: Instant, to: Instant) {
        let held = Held {
            fence: grant.fence,
            mode: claim.mode,
            from,
            to: to.max(from),
            entered: grant.entered,
            who: self.name.clone(),
        };
        self.oracle().held(&grant.key, held);
    }

    fn release(&mut self, grant: &Grant, twice: bool) -> Result<Released, String> {
        match &mut self.seat {
            Seat::Native(seat) => seat.release(grant, twice),
            Seat::Http(seat) => seat.release(grant, twice),
        }
    }

    /// The answer to a retry equals the first, and says that it is a retry's.
    fn ask_again(&mut self, claim: &Claim, grant: &Grant, retry: &Retry, until: Instant) {
        let ended = match (&mut self.seat, retry) {
            (Seat::Native(seat), Retry::Native(again)) => seat.again(claim, again),
            (Seat::Http(seat), Retry::Http(again)) => seat.again(claim, again),
            (Seat::Native(_), Retry::Http(_)) | (Seat::Http(_), Retry::Native(_)) => {
                unreachable!("a client retries its own requests")
            }
        };
        let is_same = match &ended {
            None => return,
            Some(Ended::Granted(second)) => {
                second.fence == grant.fence && second.token == grant.token && second.is_replayed
            }
            Some(Ended::Refused(_) | Ended::NoAnswer(_)) => false,
        };
        if is_same {
            self.oracle().count("retried");
        } else if Instant::now() < until {
            self.oracle().wrong(format!(
                "{}: {grant:?} was retried, and became {ended:?}",
                self.name
            ));
        }
    }

    /// Waits until another holder has written, and then tries to write with the old fence.
    fn come_too_late(&self, grant: &Grant, over: Instant) {
        let until = over + LATE_PATIENCE;
        while self.oracle().highest(&grant.key) <= grant.fence {
            if Instant::now() > until || self.load.stop.load(Ordering::Relaxed) {
                return;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        if self.oracle().write(&grant.key, grant.fence) {
            self.oracle().wrong(format!(
                "{}: a late write got through: {grant:?}",
                self.name
            ));
        }
        self.oracle().count("refused late");
    }
}

fn lease(ttl: Duration) -> Life {
    Life::Lease {
        ttl_ms: u64::try_from(ttl.as_millis()).expect("it is short"),
    }
}
