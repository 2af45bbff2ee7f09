//! A connection with two ends in this process: a task that reads, and anybody who has something to
//! say and says it at once, without waiting for that task to run.
//!
//! A leader's accepts must be on their way before it waits for its own disk, on the same thread. So
//! who speaks writes to the socket itself; only what the kernel did not take is left to the task.

use crate::net::{Exchange, Stream};
use bytes::BytesMut;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

/// What both ends share.
struct Shared {
    stream: Stream,
    output: BytesMut,
    limits: Limits,
    /// The task that reads, to be woken when it must write too, or end.
    task: Waker,
    /// The connection is of no use any more: why.
    broken: Option<io::ErrorKind>,
}

/// The end that speaks. Cloned for each speaker.
#[derive(Clone)]
pub struct Speaker {
    shared: Arc<Mutex<Shared>>,
}

/// The end that listens; dropping it ends the connection for the speakers too.
pub struct Hearer {
    shared: Arc<Mutex<Shared>>,
}

/// How much may be said that the kernel has not taken.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Beyond so many bytes nothing more may be said.
    pub output_bytes_max: usize,
    /// Beyond so many bytes nothing more is read: who does not listen is not listened to. Between
    /// two sides that both say more than they are asked, there must be no such limit: they would
    /// wait for each other for ever.
    pub deaf_above_bytes: Option<usize>,
}

/// Splits a connection.
pub fn split(stream: Stream, limits: Limits) -> (Speaker, Hearer) {
    let shared = Arc::new(Mutex::new(Shared {
        stream,
        output: BytesMut::new(),
        limits,
        task: Waker::noop().clone(),
        broken: None,
    }));
    let speaker = Speaker {
        shared: Arc::clone(&shared),
    };
    (speaker, Hearer { shared })
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Both ends leave the buffers whole at every step, so a panic of one harms nothing here.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Speaker {
    /// Lets `write` add bytes to what will be said; false, and nothing was added, if the connection
    /// is broken or has too much to say already.
    pub fn say(&self, write: impl FnOnce(&mut BytesMut)) -> bool {
        let mut shared = lock(&self.shared);
        if shared.broken.is_some() || shared.output.len() > shared.limits.output_bytes_max {
            return false;
        }
        write(&mut shared.output);
        true
    }

    /// Hands to the kernel what was said, all of it in one write if it takes that much.
    pub fn flush(&self) {
        let mut shared = lock(&self.shared);
        if shared.output.is_empty() || shared.broken.is_some() {
            return;
        }
        let mut context = Context::from_waker(Waker::noop());
        let written = shared.poll_write(&mut context);
        if !matches!(written, Poll::Ready(Ok(()))) {
            // The task asks again with its own waker, or sees that the connection broke.
            shared.task.wake_by_ref();
        }
    }

    /// Ends the connection as soon as the listening task runs.
    pub fn hang_up(&self) {
        let mut shared = lock(&self.shared);
        shared
            .broken
            .get_or_insert(io::ErrorKind::ConnectionAborted);
        shared.task.wake_by_ref();
    }
}

impl Hearer {
    /// Reads whatever comes to the end of `input`, and writes meanwhile what the speakers left; 0
    /// is the end. May be dropped at any moment and called again.
    ///
    /// # Errors
    ///
    /// The connection broke, or a speaker hung up.
    pub async fn read(&mut self, input: &mut BytesMut) -> io::Result<usize> {
        poll_fn(|context| lock(&self.shared).poll_read(context, input)).await
    }
}

impl Drop for Hearer {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.broken.get_or_insert(io::ErrorKind::NotConnected);
        shared.output = BytesMut::new();
    }
}

impl Shared {
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = self.stream.poll_write_all(context, &mut self.output);
        if let Poll::Ready(Err(error)) = &written {
            self.broken.get_or_insert(error.kind());
        }
        written
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        input: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        self.task.clone_from(context.waker());
        if let Some(kind) = self.broken {
            // The last words, if they go out at once: often why the connection ends.
            drop(self.stream.poll_write_all(context, &mut self.output));
            return Poll::Ready(Err(kind.into()));
        }
        let deaf_above = self.limits.deaf_above_bytes.unwrap_or(usize::MAX);
        if self.output.len() > deaf_above {
            ready!(self.poll_write(context))?;
        }
        let mut output = std::mem::take(&mut self.output);
        let polled = loop {
            match self.stream.poll_exchange(context, input, &mut output) {
                Poll::Ready(Ok(Exchange::Written)) => {}
                Poll::Ready(Ok(Exchange::Read(count))) => break Poll::Ready(Ok(count)),
                Poll::Ready(Ok(Exchange::Ended)) => break Poll::Ready(Ok(0)),
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.output = output;
        polled
    }
}
