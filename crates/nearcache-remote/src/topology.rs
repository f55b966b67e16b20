//! Which servers there are.

pub(crate) mod cluster;
mod discovered;
mod sentinel;
pub(crate) mod slots;

use std::sync::Arc;

use crate::config::Endpoints;
use crate::error::Error;
use crate::job::Target;
use crate::node::Node;
use crate::request::Route;
use crate::site::Site;
use cluster::Cluster;
use sentinel::Sentinel;

/// What kind of remote tier it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Single,
    Sentinel,
    Cluster,
}

/// Which servers there are.
pub(crate) enum Topology {
    Single(Arc<Node>),
    Sentinel(Box<Sentinel>),
    Cluster(Box<Cluster>),
}

impl Topology {
    pub(crate) fn new(site: &Arc<Site>) -> Self {
        match &site.config.endpoints {
            Endpoints::Single(address) => {
                Self::Single(Arc::new(Node::new(address.clone(), Arc::clone(site), false)))
            }
            Endpoints::Sentinel {
                sentinels,
                settings,
                service,
            } => {
                let sentinel = Sentinel::new(sentinels.clone(), settings, service, Arc::clone(site));
                Self::Sentinel(Box::new(sentinel))
            }
            Endpoints::Cluster(seeds) => Self::Cluster(Box::new(Cluster::new(seeds, Arc::clone(site)))),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Single(_) => Kind::Single,
            Self::Sentinel(_) => Kind::Sentinel,
            Self::Cluster(_) => Kind::Cluster,
        }
    }

    /// Returns the version of what is known; `None` if nothing is known yet. See [`Topology::refresh`].
    pub(crate) fn version(&self) -> Option<u64> {
        match self {
            Self::Single(_) => Some(0),
            Self::Sentinel(sentinel) => sentinel.version(),
            Self::Cluster(cluster) => cluster.version(),
        }
    }

    /// Refreshes the map, unless another caller has done so since this version. Blocks. Fails only if there is no map:
    /// otherwise the old knowledge is kept.
    pub(crate) fn refresh(&self, seen: Option<u64>) -> Result<(), Error> {
        match self {
            Self::Single(_) => Ok(()),
            Self::Sentinel(sentinel) => sentinel.refresh(seen),
            Self::Cluster(cluster) => cluster.refresh(seen),
        }
    }

    /// Returns the server for a command. Does not block.
    pub(crate) fn route(&self, route: Route, target: &Target) -> Result<Arc<Node>, Error> {
        match self {
            Self::Single(node) => Ok(Arc::clone(node)),
            Self::Sentinel(sentinel) => sentinel.primary(),
            Self::Cluster(cluster) => cluster.route(route, target),
        }
    }

    /// Returns how many primaries are known.
    pub(crate) fn primaries(&self) -> usize {
        match self {
            Self::Single(_) | Self::Sentinel(_) => 1,
            Self::Cluster(cluster) => cluster.primaries(),
        }
    }

    /// Returns the servers that there are connections to.
    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        match self {
            Self::Single(node) => vec![Arc::clone(node)],
            Self::Sentinel(sentinel) => sentinel.primary().into_iter().collect(),
            Self::Cluster(cluster) => cluster.nodes(),
        }
    }
}
