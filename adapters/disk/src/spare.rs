//! The segments after the present one, made ahead on a thread of their own: two spare ones, and one
//! for the emergency that there is no room for more. That one is for work that was begun: while it is
//! the only one left and no other can be made, the disk is low, and new work is refused.
//!
//! While there is no room, nothing is written in vain: what is freed must be found by the snapshot that
//! lets the log go, and not be filled with zeros that are thrown away again.

use crate::disk::Shared;
use crate::error::DiskError;
use crate::segments::Segments;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use tenure_core::ids::SegmentNo;
use tenure_core::wal::Sizes;

/// Segments that are kept ahead, the emergency one among them.
pub(crate) const AHEAD: usize = 3;
/// How long after a failure the next one is tried, and how long at most when that fails again.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(16);

type Made = Result<File, (DiskError, Cost)>;

/// What a segment that could not be made took from others for a while.
#[derive(Clone, Copy, Debug)]
enum Cost {
    Nothing,
    Zeros,
}

/// The next segments.
pub(crate) struct Spares {
    segments: Segments,
    sizes: Sizes,
    /// The number after those that are ready.
    next: SegmentNo,
    ready: VecDeque<(SegmentNo, File)>,
    making: Option<Receiver<Made>>,
    /// Why the last one could not be made.
    failed: Option<Failed>,
    shared: Arc<Shared>,
}

struct Failed {
    error: DiskError,
    at: Instant,
    /// How long after that another one is tried.
    wait: Duration,
}

impl Spares {
    /// Those that were found, one after another; the first one has the number `first`.
    pub(crate) fn new(
        segments: Segments,
        sizes: Sizes,
        first: SegmentNo,
        found: Vec<(SegmentNo, File)>,
        shared: Arc<Shared>,
    ) -> Self {
        let next = found.last().map_or(first, |(number, _)| number.next());
        let mut spares = Self {
            segments,
            sizes,
            next,
            ready: found.into(),
            making: None,
            failed: None,
            shared,
        };
        spares.top_up();
        spares
    }

    /// Notes what became of the one that is being made.
    ///
    /// # Errors
    ///
    /// A sync failed: it is not tried again, although there may be segments left.
    pub(crate) fn check(&mut self) -> Result<(), DiskError> {
        self.poll();
        let broken = |failed: &mut Failed| failed.error.is_failed_sync();
        self.failed
            .take_if(broken)
            .map_or(Ok(()), |failed| Err(failed.error))
    }

    /// Whether no more than the emergency segment is left, and no other can be made. Tries again now
    /// and then.
    pub(crate) fn are_low(&mut self) -> bool {
        self.try_again();
        self.ready.len() < AHEAD - 1 && self.failed.is_some()
    }

    /// Waits until there is a next segment; not if the last one could not be made.
    pub(crate) fn need(&mut self) -> Result<(), DiskError> {
        self.poll();
        if self.ready.is_empty() && self.failed.is_none() {
            self.wait();
        }
        if !self.ready.is_empty() {
            return Ok(());
        }
        self.try_again();
        let Some(failed) = &mut self.failed else {
            panic!("one that is not there was made, or could not be");
        };
        if failed.error.is_full() {
            let (path, bytes) = (self.segments.path(self.next), self.sizes.of(self.next));
            return Err(no_room(path, bytes));
        }
        Err(std::mem::replace(&mut failed.error, DiskError::Failed))
    }

    fn try_again(&mut self) {
        let due = |failed: &Failed| failed.at.elapsed() >= failed.wait;
        let is_due = self.making.is_none() && self.failed.as_ref().is_some_and(due);
        if is_due && !self.shared.is_keeping() {
            self.begin();
        }
    }

    /// Takes the next segment, and makes one more.
    pub(crate) fn take(&mut self) -> Result<(SegmentNo, File), DiskError> {
        self.need()?;
        let Some(taken) = self.ready.pop_front() else {
            panic!("the next segment was waited for");
        };
        self.top_up();
        Ok(taken)
    }

    /// Waits for the one that is being made.
    pub(crate) fn wait(&mut self) {
        if let Some(making) = self.making.take() {
            let made = making.recv().unwrap_or_else(|_| Err(gone()));
            self.made(made);
        }
    }

    /// Takes note of what became of the one that is being made, without waiting.
    fn poll(&mut self) {
        if let Some(making) = &self.making {
            match making.try_recv() {
                Ok(made) => self.made(made),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.made(Err(gone())),
            }
            self.top_up();
        }
    }

    fn made(&mut self, made: Made) {
        self.making = None;
        match made {
            Ok(file) => {
                self.ready.push_back((self.next, file));
                self.next = self.next.next();
                self.failed = None;
            }
            Err((error, cost)) => self.failed = Some(self.failure(error, cost)),
        }
    }

    /// What was written in vain was taken from others, and more and more time passes before the next.
    fn failure(&self, error: DiskError, cost: Cost) -> Failed {
        let before = self.failed.as_ref().map_or(AGAIN, |failed| failed.wait);
        let wait = match cost {
            Cost::Nothing => AGAIN,
            Cost::Zeros => (before * 2).min(AGAIN_MAX),
        };
        let at = Instant::now();
        Failed { error, at, wait }
    }

    fn top_up(&mut self) {
        if self.ready.len() < AHEAD && self.making.is_none() && self.failed.is_none() {
            self.begin();
        }
    }

    /// Begins to make the next one. What failed before stays said until one is made.
    fn begin(&mut self) {
        assert!(self.making.is_none(), "one segment is made at a time");
        let (tell, made) = sync_channel(1);
        let worker = Worker {
            segments: self.segments.clone(),
            number: self.next,
            bytes: self.sizes.of(self.next),
            tell,
        };
        let path = self.segments.path(self.next);
        let begun = thread::Builder::new()
            .name("log-spare".to_owned())
            .spawn(move || worker.work());
        match begun {
            Ok(_detached) => self.making = Some(made),
            Err(error) => {
                let error = DiskError::io("started for", &path)(error);
                self.made(Err((error, Cost::Nothing)));
            }
        }
    }
}

fn gone() -> (DiskError, Cost) {
    let error = io::Error::other("the thread that makes segments is gone");
    let error = DiskError::io("made", std::path::Path::new("the next segment"))(error);
    (error, Cost::Nothing)
}

fn no_room(path: PathBuf, bytes: u64) -> DiskError {
    let error = io::ErrorKind::StorageFull.into();
    DiskError::Full { path, bytes, error }
}

struct Worker {
    segments: Segments,
    number: SegmentNo,
    bytes: u64,
    tell: SyncSender<Made>,
}

impl Worker {
    fn work(self) {
        let made = if self.segments.may_hold(self.bytes) {
            let made = self.segments.make(self.number, self.bytes);
            made.map_err(|error| (error, Cost::Zeros))
        } else {
            let error = no_room(self.segments.path(self.number), self.bytes);
            Err((error, Cost::Nothing))
        };
        // Nobody listens any more when the server stops.
        drop(self.tell.send(made));
    }
}
