//! The listener, and what one connection may take.

use crate::gateway::Gateway;
use crate::router::{Face, From, WAIT_MARGIN, router, waiting};
use axum::Router;
use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tenure_host::{Door, Published, Stopped};
use tenure_rt::http::Timer;
use tenure_rt::net::{Listener, Stream, is_local};
use tenure_rt::sync::{Semaphore, watch};
use tenure_rt::{clock, select, spawn};

/// Connections at once. Each has at most one request that waits.
pub const CONNECTIONS_MAX: usize = 16 << 10;
/// Connections at once to a server that does not serve yet.
const WAITING_CONNECTIONS_MAX: usize = 64;
/// How long a connection may be silent between two requests, or take for the head of one.
const HEAD_PATIENCE: Duration = Duration::from_secs(60);
/// Bytes that a connection buffers. A head beyond it is answered by hyper, without a document.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// The time in which the last answers leave. Nothing waits for a disk by then.
const LAST_WORD_PAUSE: Duration = Duration::from_millis(50);

/// Why HTTP can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Without TLS anybody on the network could read the tokens.
    #[error("without TLS, HTTP is served on loopback only, and {address} is not")]
    NotLoopback {
        /// Where it should have been.
        address: SocketAddr,
    },
    /// The system does not say where the listener is.
    #[error("the listener's address is not known: {0}")]
    Listener(#[from] io::Error),
    /// The server stops.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Whether HTTP may be served at `address` without TLS.
///
/// # Errors
///
/// It is reached from other machines.
pub const fn check_address(address: SocketAddr) -> Result<(), ServeError> {
    if is_local(address) {
        Ok(())
    } else {
        Err(ServeError::NotLoopback { address })
    }
}

/// Serves HTTP at `listener`, of a cluster that began with `genesis`, until the node stops, and then for as long as it takes to tell those
/// who wait for an answer. It runs on whatever runtime this is awaited on, which need
/// not be the one of the node.
///
/// # Errors
///
/// The address is not loopback, or the server stops already.
pub async fn serve(
    listener: Listener,
    config: Published,
    genesis: Bytes,
    door: Door,
) -> Result<(), ServeError> {
    check_address(listener.local_addr()?)?;
    let (gateway, mut node_ends) = Gateway::open(&door).await?;
    // The listener alone must not keep the host's inbox open.
    drop(door);
    let routes = router(Face {
        gateway,
        config,
        genesis,
        wait_margin: WAIT_MARGIN,
    });
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let (stream, from) = select! { biased;
            _ = &mut node_ends => break,
            accepted = listener.accept() => accepted,
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%from, "{CONNECTIONS_MAX} HTTP clients are connected; one more is closed");
            continue;
        };
        let routes = routes.clone();
        drop(spawn(async move {
            connection(stream, from, routes).await;
            drop(place);
        }));
    }
    clock::sleep(LAST_WORD_PAUSE).await;
    Ok(())
}

/// Says to whoever calls, for ever, what this server `waits` for before it serves; nothing while that is
/// empty. `/healthz` is well all the same. Each connection ends with its answer, since a server that
/// serves answers otherwise.
pub async fn wait(listener: &Listener, mut waits: watch::Receiver<String>) -> Infallible {
    let begun = async { waits.wait_for(|why| !why.is_empty()).await.is_ok() };
    if !begun.await {
        std::future::pending::<()>().await;
    }
    let routes = waiting(waits);
    let places = Arc::new(Semaphore::new(WAITING_CONNECTIONS_MAX));
    loop {
        let (stream, from) = listener.accept().await;
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let routes = TowerToHyperService::new(routes.clone());
        drop(spawn(async move {
            let served = http1()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), routes)
                .await;
            if let Err(error) = served {
                tracing::debug!(%from, %error, "an HTTP connection ended");
            }
            drop(place);
        }));
    }
}

/// What every connection is bound by.
fn http1() -> http1::Builder {
    let mut bound = http1::Builder::new();
    bound
        .timer(Timer)
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(BUFFER_BYTES_MAX);
    bound
}

async fn connection(stream: Stream, from: SocketAddr, routes: Router) {
    let routes = TowerToHyperService::new(routes);
    let with_address = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(From(from.ip()));
        routes.call(request)
    });
    // A caller that closes its end while it waits is gone, and with it its request: hyper drops the
    // future of the answer (it does so unless half-closed connections are allowed).
    let served = http1()
        .half_close(false)
        .serve_connection(TokioIo::new(stream), with_address)
        .await;
    if let Err(error) = served {
        tracing::debug!(%from, %error, "an HTTP connection ended");
    }
}
