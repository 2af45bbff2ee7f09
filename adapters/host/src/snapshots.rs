//! Snapshots and truncation, on a thread of their own: nothing of them may hold up the loop.

use crate::log::{Keeper, Kept};
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use tenure_core::ids::{Slot, SnapshotId};
use tenure_core::limits::{MEMBERS_MAX, SNAPSHOT_CHUNKS_OPEN};
use tenure_core::node::output::{Received, Retired};
use tenure_rt::sync::mpsc::{self, error::TryRecvError};

/// Chunks that peers want, at most; one more hears that there is none, and is asked for again.
const LOADS_MAX: usize = 8 * MEMBERS_MAX;
/// What waits for the thread: chunks, the end of their snapshot, a truncation and what it leaves to do,
/// a machine that is dropped, and loads.
const JOBS_MAX: usize = SNAPSHOT_CHUNKS_OPEN + 4 + LOADS_MAX;

/// What the thread is asked for.
pub(crate) enum Job<T> {
    Chunk(Slot, u32, Bytes, Option<Received>),
    Done(SnapshotId, u32, Vec<SnapshotId>),
    Load(SnapshotId, u32),
    Truncate(T),
    Tidy,
    Retire(Retired),
}

/// What became of it.
pub(crate) enum Event<T> {
    Stored(Slot, u32),
    Kept(SnapshotId, Kept),
    Loaded(SnapshotId, u32, io::Result<Option<Bytes>>),
    Truncated(T),
    Tidied,
    Retired,
    Failed(&'static str, io::Error),
}

/// The thread, from outside.
pub(crate) struct Snapshots<T> {
    jobs: Option<SyncSender<Job<T>>>,
    events: mpsc::Receiver<Event<T>>,
    open: Open,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What is on its way, by kind: each has its own bound, so that none of them fills the queue.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    chunks: usize,
    ends: usize,
    loads: usize,
    truncations: usize,
    tidying: usize,
    retired: usize,
}

impl Open {
    const fn of<T>(&mut self, job: &Job<T>) -> (&mut usize, usize) {
        match job {
            Job::Chunk(..) => (&mut self.chunks, SNAPSHOT_CHUNKS_OPEN),
            Job::Done(..) => (&mut self.ends, 1),
            Job::Load(..) => (&mut self.loads, LOADS_MAX),
            Job::Truncate(_) => (&mut self.truncations, 1),
            Job::Tidy => (&mut self.tidying, 1),
            Job::Retire(_) => (&mut self.retired, 1),
        }
    }

    const fn ended<T>(&mut self, event: &Event<T>) {
        match event {
            Event::Stored(..) => self.chunks -= 1,
            Event::Kept(..) => self.ends -= 1,
            Event::Loaded(..) => self.loads -= 1,
            Event::Truncated(_) => self.truncations -= 1,
            Event::Tidied => self.tidying -= 1,
            Event::Retired => self.retired -= 1,
            Event::Failed(..) => {}
        }
    }

    const fn is_nothing(self) -> bool {
        let files = self.chunks + self.ends + self.loads + self.truncations + self.tidying;
        files + self.retired == 0
    }
}

impl<T: Send + 'static> Snapshots<T> {
    /// Nothing keeps snapshots, yet.
    pub(crate) fn none() -> Self {
        Self {
            jobs: None,
            events: mpsc::channel(JOBS_MAX).1,
            open: Open::default(),
            stopping: Arc::default(),
            thread: None,
        }
    }

    /// Starts the thread, if there is anything that keeps snapshots.
    pub(crate) fn start<K: Keeper<Truncation = T>>(&mut self, keeper: Option<K>) -> io::Result<()> {
        let Some(mut keeper) = keeper else {
            return Ok(());
        };
        let (hand, jobs) = sync_channel(JOBS_MAX);
        let (tell, events) = mpsc::channel(JOBS_MAX);
        let stop = Arc::clone(&self.stopping);
        let work = move || {
            for job in jobs {
                let event = run(&mut keeper, job);
                let failed = matches!(event, Event::Failed(..));
                // Nobody listens any more when the server stops.
                if tell.blocking_send(event).is_err() || failed || stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("snapshots".to_owned());
        self.thread = Some(thread.spawn(work)?);
        self.jobs = Some(hand);
        self.events = events;
        Ok(())
    }

    /// Whether the next job begins at once.
    pub(crate) const fn is_idle(&self) -> bool {
        self.open.is_nothing()
    }

    /// Hands in a job; false if nobody keeps snapshots, or too much of its kind waits already.
    pub(crate) fn begin(&mut self, job: Job<T>) -> bool {
        let Some(jobs) = &self.jobs else {
            return false;
        };
        let (open, max) = self.open.of(&job);
        if *open >= max {
            return false;
        }
        *open += 1;
        // It has room for all that may be open; so it fails only when the thread is gone.
        jobs.try_send(job).is_ok()
    }

    /// What became of a job, if any ended since.
    pub(crate) fn take_event(&mut self) -> Option<Event<T>> {
        match self.events.try_recv() {
            Ok(event) => Some(self.note(event)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => self.jobs.is_some().then(gone),
        }
    }

    /// Waits until a job ends; for ever if nobody keeps snapshots.
    pub(crate) async fn ended(&mut self) -> Event<T> {
        match self.events.recv().await {
            Some(event) => self.note(event),
            None if self.jobs.is_some() => gone(),
            None => std::future::pending().await,
        }
    }

    fn note(&mut self, event: Event<T>) -> Event<T> {
        self.open.ended(&event);
        event
    }
}

fn gone<T>() -> Event<T> {
    let error = io::Error::other("the thread that keeps snapshots is gone");
    Event::Failed("kept", error)
}

impl<T> Drop for Snapshots<T> {
    fn drop(&mut self) {
        // It ends what it does now, and the data directory is free only then.
        self.stopping.store(true, Ordering::Relaxed);
        self.jobs = None;
        self.events.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps snapshots panicked");
        }
    }
}

fn run<K: Keeper>(keeper: &mut K, job: Job<K::Truncation>) -> Event<K::Truncation> {
    let failed = |doing| move |error| Event::Failed(doing, error);
    match job {
        Job::Chunk(slot, index, bytes, received) => {
            if let Some(received) = received {
                keeper.receive(received);
            }
            keeper
                .chunk(slot, index, &bytes)
                .map_or_else(failed("written"), |()| Event::Stored(slot, index))
        }
        Job::Done(id, chunks, keep) => keeper
            .done(id, chunks, &keep)
            .map_or_else(failed("made durable"), |kept| Event::Kept(id, kept)),
        Job::Load(id, index) => Event::Loaded(id, index, keeper.load(id, index)),
        Job::Truncate(mut truncation) => match keeper.truncate(&mut truncation) {
            Ok(()) => Event::Truncated(truncation),
            Err(error) => Event::Failed("truncated", error),
        },
        Job::Tidy => keeper
            .tidy()
            .map_or_else(failed("truncated"), |()| Event::Tidied),
        Job::Retire(machine) => {
            drop(machine);
            Event::Retired
        }
    }
}
