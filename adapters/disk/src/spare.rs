//! The segment after the present one, made ahead on a thread of its own.

use crate::error::DiskError;
use crate::segments::Segments;
use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use tenure_core::ids::SegmentNo;

type Made = Result<File, DiskError>;

/// The next segment.
pub(crate) enum Spare {
    /// It is being made.
    Making(SegmentNo, Receiver<Made>),
    /// It is there.
    Ready(SegmentNo, File),
    /// It could not be made.
    Failed(DiskError),
}

impl Spare {
    /// Begins to make segment `number`.
    pub(crate) fn begin(segments: &Segments, number: SegmentNo, bytes: u64) -> Self {
        let (tell, made) = sync_channel(1);
        let thread = Worker {
            segments: segments.clone(),
            number,
            bytes,
            tell,
        };
        let begun = thread::Builder::new()
            .name("log-spare".to_owned())
            .spawn(move || thread.work());
        match begun {
            Ok(_detached) => Self::Making(number, made),
            Err(error) => Self::Failed(DiskError::io("started for", &segments.path(number))(error)),
        }
    }

    /// Takes note of what became of it, without waiting.
    pub(crate) fn poll(&mut self) {
        if let Self::Making(number, made) = self {
            match made.try_recv() {
                Ok(made) => *self = Self::from_made(*number, made),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => *self = Self::from_made(*number, Err(gone())),
            }
        }
    }

    /// Waits until it is there, or can't be.
    pub(crate) fn wait(&mut self) {
        if let Self::Making(number, made) = self {
            let made = made.recv().unwrap_or_else(|_| Err(gone()));
            *self = Self::from_made(*number, made);
        }
    }

    fn from_made(number: SegmentNo, made: Made) -> Self {
        match made {
            Ok(file) => Self::Ready(number, file),
            Err(error) => Self::Failed(error),
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
