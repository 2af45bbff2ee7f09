//! HTTP, on a thread and a runtime of its own: reading headers must not delay the node.

use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tenure_host::{Door, Published};
use tenure_http::ServeError;
use tenure_rt::net::Listener;
use tenure_rt::sync::{oneshot, watch};
use tenure_rt::{block_on, clock, select};

/// How long callers may take to hear that the server stops.
const LAST_WORD_PATIENCE: Duration = Duration::from_secs(1);

/// What is served.
pub(crate) struct Served {
    pub(crate) config: Published,
    /// What the cluster began with.
    pub(crate) genesis: Bytes,
    pub(crate) door: Door,
}

/// A listener that waits for something to serve.
pub(crate) struct Web {
    serve: oneshot::Sender<Served>,
    waits: watch::Sender<String>,
    ended: oneshot::Receiver<()>,
}

/// A thread that serves.
pub(crate) struct Serving {
    /// Nothing is ever sent: its end is the news.
    ended: oneshot::Receiver<()>,
}

impl Web {
    /// Listens at `address`.
    pub(crate) async fn listen(address: SocketAddr) -> io::Result<Self> {
        let (tell, listens) = oneshot::channel();
        let (serve, what) = oneshot::channel();
        let (waits, why) = watch::channel(String::new());
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || {
                let served = block_on(run(address, tell, what, why));
                if let Ok(Err(error)) | Err(error) = served {
                    tracing::error!(%error, "HTTP is not served any more");
                }
                drop(end);
            })?;
        let gone = || io::Error::other("the thread of HTTP is gone");
        listens.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(Self {
            serve,
            waits,
            ended,
        })
    }

    /// What this server waits for before it serves, in words: callers are told, once there are any.
    pub(crate) const fn waits(&self) -> &watch::Sender<String> {
        &self.waits
    }

    /// Begins to serve.
    pub(crate) fn serve(self, served: Served) -> Serving {
        if self.serve.send(served).is_err() {
            tracing::error!("the thread of HTTP is gone");
        }
        Serving { ended: self.ended }
    }
}

impl Serving {
    /// Waits, after the node stopped, until the callers who waited have heard so.
    pub(crate) async fn end(self) {
        let ended = clock::timeout(LAST_WORD_PATIENCE, self.ended);
        if ended.await.is_none() {
            tracing::debug!("some HTTP callers did not hear that the server stops");
        }
    }
}

async fn run(
    address: SocketAddr,
    tell: oneshot::Sender<io::Result<()>>,
    what: oneshot::Receiver<Served>,
    why: watch::Receiver<String>,
) -> io::Result<()> {
    let (told, listener) = match Listener::bind(address).await {
        Ok(listener) => (tell.send(Ok(())), Some(listener)),
        Err(error) => (tell.send(Err(error)), None),
    };
    // Without a listener, or if whoever started this went away meanwhile, there is nothing to do.
    let (Some(listener), Ok(())) = (listener, told) else {
        return Ok(());
    };
    let served = select! { biased;
        served = what => served,
        never = tenure_http::wait(&listener, why) => match never {},
    };
    let Ok(served) = served else {
        return Ok(());
    };
    let Served {
        config,
        genesis,
        door,
    } = served;
    match tenure_http::serve(listener, config, genesis, door).await {
        // The server stops.
        Ok(()) | Err(ServeError::Stopped(_)) => Ok(()),
        Err(error) => Err(io::Error::other(error)),
    }
}
