//! Being asked to stop.

use std::io;

/// Waits for Ctrl-C or `SIGTERM`.
///
/// # Errors
///
/// The system does not let this process hear of signals.
#[cfg(not(madsim))]
pub async fn asked_to_stop() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! { biased;
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

/// Waits for the simulated Ctrl-C.
///
/// # Errors
///
/// The simulator's own.
#[cfg(madsim)]
pub async fn asked_to_stop() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}
