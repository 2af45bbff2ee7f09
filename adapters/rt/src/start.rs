//! The beginning of everything asynchronous.

use std::io;

/// Runs `main` and what it spawns on this thread, until `main` ends.
///
/// One thread, because the node is one: a server's peers and its native clients share its thread,
/// so that a request meets no other thread on its way.
///
/// # Errors
///
/// The system gave no epoll instance.
#[cfg(not(madsim))]
pub fn block_on<F: Future>(main: F) -> io::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(main))
}

/// Under the simulator the harness starts everything; there is nothing to start here.
///
/// # Errors
///
/// Always.
#[cfg(madsim)]
pub fn block_on<F: Future>(_main: F) -> io::Result<F::Output> {
    Err(io::ErrorKind::Unsupported.into())
}
