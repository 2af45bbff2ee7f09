//! What runs below the adapters: tokio on real machines, and the madsim simulator under
//! `--cfg madsim`. This is the only crate that knows which of the two it is; the others say
//! `tenure_rt::spawn`, `tenure_rt::net`, `tenure_rt::clock`, and run unchanged on both.
//!
//! The simulator differs from a kernel in a few ways, and what is offered here hides them:
//!
//! - bytes leave on a flush only, and a flush without bytes sends an empty packet: [`net::Stream`]
//!   flushes what it wrote, and nothing else;
//! - a stream has no half-close and can't be split: [`net::Stream::exchange`] reads and writes in
//!   one task;
//! - `SystemTime` and `Instant` are simulated, a raw system call is not: [`clock::now`].

pub mod clock;
pub mod http;
pub mod line;
pub mod net;
pub mod signal;
mod start;

pub use start::block_on;
pub use tokio::select;
pub use tokio::sync;
pub use tokio::task::{JoinHandle, yield_now};

/// Runs `task` beside the others, on the thread of the runtime.
pub fn spawn<F>(task: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(task)
}

#[cfg(all(test, not(madsim)))]
mod tests;
