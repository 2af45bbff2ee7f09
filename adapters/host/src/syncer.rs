//! When and where the log is synced.
//!
//! A hop to another thread costs more than a fast disk's sync: 32 µs against 25 µs, and 14.5 µs of
//! CPU against 8.5. So the loop syncs by itself while the disk is fast, and hands over while it is
//! slow; then what is appended meanwhile becomes the next group, and the slower the disk, the
//! larger the groups.

use crate::log::Group;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tenure_core::ids::RecordNo;
use tenure_rt::clock;
use tenure_rt::sync::oneshot;

/// Where groups are synced.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SyncMode {
    /// On the node's thread while that is fast, on one of their own else.
    #[default]
    Adaptive,
    /// Always on the node's thread: under the simulator, which has no others.
    Inline,
    /// Always on a thread of their own.
    Thread,
}

/// A disk whose syncs take longer than this is not waited for.
const SLOW: Duration = Duration::from_micros(200);
/// A slow disk is fast again below this: the distance keeps it from changing sides all the time.
const FAST: Duration = Duration::from_micros(140);
/// How many syncs "recently" is.
const RECENT: usize = 128;

type Outcome = io::Result<Duration>;

/// What became of a group that was handed in.
pub(crate) enum Begun {
    /// It survives a crash.
    Done,
    /// [`Syncer::take_done`] will tell.
    InFlight,
}

/// Syncs one group at a time.
pub(crate) struct Syncer<G> {
    mode: SyncMode,
    recent: Recent,
    thread: Option<mpsc::SyncSender<(G, oneshot::Sender<Outcome>)>>,
    in_flight: Option<InFlight>,
    /// What became of it, until somebody takes it.
    done: Option<io::Result<Option<RecordNo>>>,
}

struct InFlight {
    through: Option<RecordNo>,
    outcome: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

impl<G: Group> Syncer<G> {
    pub(crate) fn new(mode: SyncMode) -> Self {
        Self {
            mode,
            recent: Recent::default(),
            thread: None,
            in_flight: None,
            done: None,
        }
    }

    pub(crate) const fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.done.is_none()
    }

    /// Begins to make `group` durable, whose last record is `through`.
    pub(crate) fn begin(&mut self, group: G, through: Option<RecordNo>) -> io::Result<Begun> {
        assert!(self.is_idle(), "one group is synced at a time");
        let outcome: Pin<Box<dyn Future<Output = Outcome> + Send>> =
            if let Some(pace) = group.pace() {
                Box::pin(async move {
                    clock::sleep(pace).await;
                    timed(group)
                })
            } else if self.mode == SyncMode::Inline
                || self.mode == SyncMode::Adaptive && !self.recent.is_slow()
            {
                self.recent.note(timed(group)?);
                return Ok(Begun::Done);
            } else {
                self.hand_over(group)?
            };
        self.in_flight = Some(InFlight { through, outcome });
        Ok(Begun::InFlight)
    }

    /// Waits until [`Syncer::take_done`] has something; for ever if nothing is in flight.
    pub(crate) async fn ended(&mut self) {
        poll_fn(|context| self.poll(context)).await;
    }

    /// The last record of the group that was in flight, if that ended since.
    pub(crate) fn take_done(&mut self) -> Option<io::Result<Option<RecordNo>>> {
        let mut context = Context::from_waker(Waker::noop());
        match self.poll(&mut context) {
            Poll::Ready(()) => self.done.take(),
            Poll::Pending => None,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.done.is_some() {
            return Poll::Ready(());
        }
        let Some(in_flight) = &mut self.in_flight else {
            return Poll::Pending;
        };
        let Poll::Ready(outcome) = in_flight.outcome.as_mut().poll(context) else {
            return Poll::Pending;
        };
        let through = in_flight.through;
        self.in_flight = None;
        self.done = Some(outcome.map(|took| {
            self.recent.note(took);
            through
        }));
        Poll::Ready(())
    }

    fn hand_over(&mut self, group: G) -> io::Result<Pin<Box<dyn Future<Output = Outcome> + Send>>> {
        let thread = match &self.thread {
            Some(thread) => thread,
            None => self.thread.insert(start_thread()?),
        };
        let (tell, told) = oneshot::channel();
        let gone = || io::Error::other("the thread that syncs the log is gone");
        thread.send((group, tell)).map_err(|_| gone())?;
        Ok(Box::pin(async move {
            told.await.unwrap_or_else(|_| Err(gone()))
        }))
    }
}

fn timed<G: Group>(group: G) -> Outcome {
    let begin = clock::now();
    group.sync()?;
    Ok(clock::now().since(begin))
}

type Job<G> = (G, oneshot::Sender<Outcome>);

fn start_thread<G: Group>() -> io::Result<mpsc::SyncSender<Job<G>>> {
    let (hand, jobs) = mpsc::sync_channel::<Job<G>>(1);
    std::thread::Builder::new()
        .name("log-sync".to_owned())
        .spawn(move || {
            for (group, tell) in jobs {
                // Nobody listens any more when the server stops.
                drop(tell.send(timed(group)));
            }
        })?;
    Ok(hand)
}

/// How long the last syncs took.
#[derive(Default)]
struct Recent {
    durations: Vec<Duration>,
    next: usize,
    slow: bool,
}

impl Recent {
    fn note(&mut self, duration: Duration) {
        if self.durations.len() < RECENT {
            self.durations.push(duration);
        } else {
            self.durations[self.next] = duration;
        }
        self.next = (self.next + 1) % RECENT;
        // The first few decide at once: a slow disk should not hold up a whole round of 128.
        let due = self.next.is_multiple_of(32) || self.durations.len() <= 4;
        if due {
            self.judge();
        }
    }

    /// The 99th of a hundred: two of 128 may be slow, which on a busy machine they are anyway.
    fn judge(&mut self) {
        let mut sorted = self.durations.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * 99).div_ceil(100).saturating_sub(1);
        let p99 = sorted.get(place).copied().unwrap_or_default();
        let limit = if self.slow { FAST } else { SLOW };
        self.slow = p99 > limit;
    }

    const fn is_slow(&self) -> bool {
        self.slow
    }
}

#[cfg(test)]
mod tests {
    use super::{RECENT, Recent};
    use std::time::Duration;

    #[test]
    fn a_disk_is_slow_when_its_syncs_are_and_fast_when_they_are_again() {
        let mut recent = Recent::default();
        for _ in 0..RECENT {
            recent.note(Duration::from_micros(30));
        }
        assert!(!recent.is_slow());
        for _ in 0..RECENT {
            recent.note(Duration::from_micros(900));
        }
        assert!(recent.is_slow());
        for _ in 0..RECENT {
            recent.note(Duration::from_micros(170));
        }
        assert!(recent.is_slow(), "between the limits nothing changes");
        for _ in 0..RECENT {
            recent.note(Duration::from_micros(100));
        }
        assert!(!recent.is_slow());
    }

    #[test]
    fn one_slow_sync_of_a_hundred_changes_nothing() {
        let mut recent = Recent::default();
        for turn in 0..10 * RECENT {
            let slow = turn % RECENT == 7;
            recent.note(Duration::from_micros(if slow { 5_000 } else { 30 }));
            assert!(turn < RECENT || !recent.is_slow());
        }
    }
}
