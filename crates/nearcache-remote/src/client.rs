//! The client of one process.

use std::sync::Arc;

use crate::config::Config;
use crate::site::Site;
use crate::topology::Topology;

/// The client of one process: its connections and what it knows of the servers.
pub(crate) struct Client {
    pub(crate) site: Arc<Site>,
    pub(crate) topology: Topology,
}

impl Client {
    pub(crate) fn new(config: &Config) -> Self {
        let site = Arc::new(Site::new(config.clone()));
        Self {
            topology: Topology::new(&site),
            site,
        }
    }
}
