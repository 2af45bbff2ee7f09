//! HTTP, on a thread and a runtime of its own: reading headers must not delay the node.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tenure_core::config::Config;
use tenure_host::Door;
use tenure_http::ServeError;
use tenure_rt::block_on;
use tenure_rt::net::Listener;
use tenure_rt::sync::oneshot;

/// A listener that waits for something to serve.
pub(crate) struct Web {
    serve: oneshot::Sender<(Arc<Config>, Door)>,
}

impl Web {
    /// Listens at `address`.
    pub(crate) async fn listen(address: SocketAddr) -> io::Result<Self> {
        let (tell, listens) = oneshot::channel();
        let (serve, what) = oneshot::channel();
        std::thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || {
                let served = block_on(run(address, tell, what));
                if let Ok(Err(error)) | Err(error) = served {
                    tracing::error!(%error, "HTTP is not served any more");
                }
            })?;
        let gone = || io::Error::other("the thread of HTTP is gone");
        listens.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(Self { serve })
    }

    /// Begins to serve.
    pub(crate) fn serve(self, config: &Config, door: Door) {
        let config = Arc::new(config.clone());
        if self.serve.send((config, door)).is_err() {
            tracing::error!("the thread of HTTP is gone");
        }
    }
}

async fn run(
    address: SocketAddr,
    tell: oneshot::Sender<io::Result<()>>,
    what: oneshot::Receiver<(Arc<Config>, Door)>,
) -> io::Result<()> {
    let (told, listener) = match Listener::bind(address).await {
        Ok(listener) => (tell.send(Ok(())), Some(listener)),
        Err(error) => (tell.send(Err(error)), None),
    };
    // Without a listener, or if whoever started this went away meanwhile, there is nothing to do.
    let (Some(listener), Ok(()), Ok((config, door))) = (listener, told, what.await) else {
        return Ok(());
    };
    match tenure_http::serve(listener, config, door).await {
        // The server stops.
        Ok(()) | Err(ServeError::Stopped(_)) => Ok(()),
        Err(error) => Err(io::Error::other(error)),
    }
}
