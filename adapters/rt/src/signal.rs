//! Being asked to stop.

use std::io;

/// Hears Ctrl-C and `SIGTERM`, from when it is made on: until then they end the process.
#[cfg(not(madsim))]
pub struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(not(madsim))]
impl StopSignals {
    /// Begins to hear.
    ///
    /// # Errors
    ///
    /// The system does not let this process hear of signals.
    pub fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits until one of them comes.
    pub async fn asked(&mut self) {
        tokio::select! { biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Hears the simulated Ctrl-C.
#[cfg(madsim)]
pub struct StopSignals;

#[cfg(madsim)]
impl StopSignals {
    /// Begins to hear.
    ///
    /// # Errors
    ///
    /// Never.
    pub fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    /// Waits until it comes; for ever if the simulator can't say.
    pub async fn asked(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
