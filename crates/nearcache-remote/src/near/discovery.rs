//! Which servers are the primaries.

use std::sync::Arc;

use redis::ConnectionAddr;

use super::cluster::Cluster;
use super::listener::Shared;
use super::primary::Primary;
use super::sentinels::Sentinels;
use crate::config::Endpoints;
use crate::error::{Error, ErrorKind};

/// The source of the primaries' addresses.
pub(super) enum Discovery {
    Single(ConnectionAddr),
    Sentinels(Sentinels),
    Cluster(Cluster),
}

impl Discovery {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        match &shared.config.endpoints {
            Endpoints::Single(addr) => Self::Single(addr.clone()),
            Endpoints::Sentinel { .. } => Self::Sentinels(Sentinels::new(shared)),
            Endpoints::Cluster(_) => Self::Cluster(Cluster::new(shared)),
        }
    }

    /// Returns the addresses of all primaries.
    pub(super) async fn primaries(&self) -> Result<Vec<ConnectionAddr>, Error> {
        match self {
            Self::Single(addr) => Ok(vec![addr.clone()]),
            Self::Sentinels(sentinels) => Ok(vec![sentinels.primary().await?]),
            Self::Cluster(cluster) => cluster.primaries().await,
        }
    }

    /// Checks that these are still all the primaries.
    pub(super) async fn check(&self, primaries: &[Primary]) -> Result<(), Error> {
        let named = match self {
            Self::Single(_) => return Ok(()),
            Self::Sentinels(sentinels) => sentinels.primary().await?,
            Self::Cluster(cluster) => return cluster.check(primaries).await,
        };
        if primaries.iter().all(|primary| *primary.addr() == named) {
            return Ok(());
        }
        let message = format!("the Sentinels name a new primary: {named}");
        Err(Error::new(ErrorKind::Connection, message))
    }
}
