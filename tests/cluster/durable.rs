//! What was acknowledged before all servers are killed, and must be there afterwards.

use crate::seats::{Again, Claim, Ended, Grant, NativeSeat, Servers};
use std::time::Duration;
use tenure_core::ids::{Fence, SessionId};
use tenure_core::machine::command::{Life, Mode};

const LOCKS: u64 = 16;
const WAIT: Duration = Duration::from_secs(3600);

/// Static locks; sessions, each with a lock of its own and a place in the line of a static lock;
/// and behind it a place that only a request id stands for.
pub(crate) struct Kept {
    /// Who took the static locks, and looks at them.
    owner: NativeSeat,
    stands: Vec<Stand>,
}

struct Stand {
    lock: Grant,
    session: NativeSeat,
    own: Grant,
    waiting: (u64, Claim, Again),
    keyed: NativeSeat,
    behind: (u64, Claim, Again),
}

fn claim(key: String, life: Life, wait: Duration) -> Claim {
    Claim {
        key,
        mode: Mode::Exclusive,
        life,
        wait,
    }
}

fn granted(ended: Ended) -> Grant {
    match ended {
        Ended::Granted(grant) => grant,
        Ended::Refused(code) => panic!("refused with {code}"),
        Ended::NoAnswer(why) => panic!("{why}"),
    }
}

impl Kept {
    pub(crate) fn prepare(servers: &Servers, seed: u64) -> Self {
        let mut owner = NativeSeat::new(servers, seed, "owner".to_owned());
        let stands = (0..LOCKS).map(|number| {
            let name = |kind: &str| format!("{kind}{number}");
            let lock = claim(format!("static/{number}"), Life::Static, Duration::ZERO);
            let lock = granted(owner.acquire(&lock).0);
            let mut session = NativeSeat::new(servers, seed, name("session"));
            session
                .open_session(&name("keeps"))
                .expect("a session opens");
            let own = claim(format!("own/{number}"), Life::Session, Duration::ZERO);
            let own = granted(session.acquire(&own).0);
            let waits = claim(lock.key.clone(), Life::Session, WAIT);
            let (ticket, again) = session.queue(&waits).expect("it waits");
            let mut keyed = NativeSeat::new(servers, seed, name("keyed"));
            let lease = Life::Lease { ttl_ms: 60_000 };
            let behind = claim(lock.key.clone(), lease, WAIT);
            let (second, retry) = keyed.queue(&behind).expect("it waits");
            assert!(ticket < second, "tickets rise");
            Stand {
                lock,
                session,
                own,
                waiting: (ticket, waits, again),
                keyed,
                behind: (second, behind, retry),
            }
        });
        let stands = stands.collect();
        Self { owner, stands }
    }

    /// Looks at everything.
    pub(crate) fn check(&mut self) {
        for stand in &mut self.stands {
            let view = self.owner.inspect(&stand.lock.key).expect("it is seen");
            let fences: Vec<Fence> = view.holders.iter().map(|held| held.fence).collect();
            assert_eq!(fences, [Fence::new(stand.lock.fence)], "{view:?}");
            let tickets: Vec<u64> = view.waiters.iter().map(|wait| wait.ticket.get()).collect();
            assert_eq!(tickets, [stand.waiting.0, stand.behind.0], "{view:?}");

            stand.session.keep_alive().expect("the session lives");
            let (id, _) = stand.session.session().expect("it is one");
            let view = self.owner.inspect(&stand.own.key).expect("it is seen");
            let held: Vec<(Fence, Option<SessionId>)> = view
                .holders
                .iter()
                .map(|held| (held.fence, held.session))
                .collect();
            assert_eq!(held, [(Fence::new(stand.own.fence), Some(id))], "{view:?}");
        }
    }

    /// Releases the static locks with the tokens of before, and lets those who wait have them in
    /// their order.
    pub(crate) fn finish(mut self) {
        for stand in &mut self.stands {
            let released = self.owner.release(&stand.lock, true).expect("it is ours");
            assert!(!released.already, "{:?}", stand.lock);
            let (_, claim, again) = &stand.waiting;
            let first = granted(stand.session.come_back(claim, again));
            assert!(first.fence > stand.lock.fence, "fences rise: {first:?}");
            let (_, claim, again) = &stand.behind;
            let early = stand.session.inspect(&stand.lock.key).expect("it is seen");
            assert_eq!(
                early.waiting, 1,
                "the second waits for the first: {early:?}"
            );
            let released = stand.session.release(&first, false).expect("it is ours");
            assert!(!released.already, "{first:?}");
            let second = granted(stand.keyed.come_back(claim, again));
            assert!(second.fence > first.fence, "fences rise: {second:?}");
            let released = stand.session.release(&stand.own, false);
            assert!(!released.expect("it is ours").already, "{:?}", stand.own);
        }
    }
}
