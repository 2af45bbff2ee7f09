//! The segments after the present one, made ahead on a thread of their own: two spare ones, and one
//! for the emergency that there is no room for more. That one is for work that was begun: while it is
//! the only one left and no other can be made, the disk is low, and new work is refused.

use crate::error::DiskError;
use crate::segments::Segments;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use tenure_core::ids::SegmentNo;
use tenure_core::wal::Sizes;

/// Segments that are kept ahead, the emergency one among them.
pub(crate) const AHEAD: usize = 3;
/// How long after a failure the next one is tried.
const AGAIN: Duration = Duration::from_secs(1);

type Made = Result<File, DiskError>;

/// The next segments.
pub(crate) struct Spares {
    segments: Segments,
    sizes: Sizes,
    /// The number after those that are ready.
    next: SegmentNo,
    ready: VecDeque<(SegmentNo, File)>,
    making: Option<Receiver<Made>>,
    /// Why the last one could not be made, and when that was.
    failed: Option<(DiskError, Instant)>,
}

impl Spares {
    /// Those that were found, one after another; the first one has the number `first`.
    pub(crate) fn new(
        segments: Segments,
        sizes: Sizes,
        first: SegmentNo,
        found: Vec<(SegmentNo, File)>,
    ) -> Self {
        let next = found.last().map_or(first, |(number, _)| number.next());
        let mut spares = Self {
            segments,
            sizes,
            next,
            ready: found.into(),
            making: None,
            failed: None,
        };
        spares.top_up();
        spares
    }

    /// Whether no more than the emergency segment is left, and no other can be made. Tries again once
    /// a second.
    pub(crate) fn are_low(&mut self) -> bool {
        self.poll();
        let due = |(_, tried): &(_, Instant)| tried.elapsed() >= AGAIN;
        if self.making.is_none() && self.failed.as_ref().is_some_and(due) {
            self.begin();
        }
        self.ready.len() < AHEAD - 1 && self.failed.is_some()
    }

    /// Waits until there is a next segment. If it could not be made, tries once more.
    pub(crate) fn need(&mut self) -> Result<(), DiskError> {
        self.poll();
        if !self.ready.is_empty() {
            return Ok(());
        }
        if self.making.is_none() {
            self.begin();
        }
        self.wait();
        match self.failed.take() {
            None => Ok(()),
            Some((error, tried)) => {
                self.failed = Some((DiskError::Failed, tried));
                Err(error)
            }
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
            Err(error) => self.failed = Some((error, Instant::now())),
        }
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
            Err(error) => self.made(Err(DiskError::io("started for", &path)(error))),
        }
    }
}

fn gone() -> DiskError {
    let error = io::Error::other("the thread that makes segments is gone");
    DiskError::io("made", std::path::Path::new("the next segment"))(error)
}

struct Worker {
    segments: Segments,
    number: SegmentNo,
    bytes: u64,
    tell: SyncSender<Made>,
}

impl Worker {
    fn work(self) {
        let made = self.segments.make(self.number, self.bytes);
        // Nobody listens any more when the server stops.
        drop(self.tell.send(made));
    }
}
