//! The client of one process.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::config::Config;
use crate::error::Error;
use crate::runtime;
use crate::site::Site;
use crate::topology::{Kind, Topology};

/// How often the Sentinels are asked whether there is a new primary.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// The client of one process: its connections and what it knows of the servers.
pub(crate) struct Client {
    pub(crate) site: Arc<Site>,
    pub(crate) topology: Topology,
    is_watching: AtomicBool,
}

impl Client {
    pub(crate) fn new(config: &Config) -> Self {
        let site = Arc::new(Site::new(config.clone()));
        Self {
            topology: Topology::new(&site),
            site,
            is_watching: AtomicBool::new(false),
        }
    }

    /// Asks for the servers if none is known yet. Blocks.
    pub(crate) fn discover(self: &Arc<Self>) -> Result<(), Error> {
        if self.topology.version().is_some() {
            return Ok(());
        }
        self.topology.refresh(None)?;
        if self.topology.kind() == Kind::Sentinel && !self.is_watching.swap(true, SeqCst) {
            match runtime::handle() {
                Ok(runtime) => _ = runtime.spawn(watch(Arc::downgrade(self))),
                Err(error) => self
                    .site
                    .note(&format!("a new primary is not looked for: {error}")),
            }
        }
        Ok(())
    }
}

/// Asks the Sentinels for the primary again and again.
///
/// After a failover that an operator began, the Sentinels leave the old primary as it is for about ten seconds. It accepts
/// writes, which are lost, and nothing but the Sentinels tells so.
async fn watch(client: Weak<Client>) {
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        let Some(client) = client.upgrade() else {
            return;
        };
        // Without an answer, the old knowledge is kept.
        _ = tokio::task::spawn_blocking(move || client.topology.refresh(client.topology.version())).await;
    }
}
