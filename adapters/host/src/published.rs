//! The shared configuration, for the edges: the host tells it whenever it changes.

use std::sync::Arc;
use tenure_core::config::Config;
use tenure_rt::sync::watch;

/// Where the host puts the configuration.
#[derive(Debug)]
pub struct Publisher(watch::Sender<Arc<Config>>);

/// What every edge looks at. Cloned for each.
#[derive(Clone, Debug)]
pub struct Published(watch::Receiver<Arc<Config>>);

/// Makes a pair; until the host says otherwise, it is `config`.
pub fn publish(config: Config) -> (Publisher, Published) {
    let (publisher, published) = watch::channel(Arc::new(config));
    (Publisher(publisher), Published(published))
}

impl Publisher {
    pub(crate) fn tell(&self, config: Config) {
        self.0.send_replace(Arc::new(config));
    }
}

impl Published {
    /// What it is now.
    pub fn now(&self) -> Arc<Config> {
        Arc::clone(&self.0.borrow())
    }

    /// Waits until it is another one; false if it never will be, because the server stops.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
