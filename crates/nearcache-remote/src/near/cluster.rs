//! The nodes of a Cluster: which of them are primaries.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{AsyncConnectionConfig, ConnectionAddr, cmd};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection::Connection;
use super::listener::Shared;
use super::primary::Primary;
use super::votes::Votes;
use crate::config::Endpoints;
use crate::error::{Error, ErrorKind};
use crate::topology::slots::parse_slots;

/// How long the nodes that do not answer are waited for, if the others disagree.
const LONGEST_SEARCH: Duration = Duration::from_secs(1);

/// The primaries of a Cluster as one node sees them: by node id, in its order, with their addresses.
type View = Vec<(String, ConnectionAddr)>;

/// A Cluster.
pub(super) struct Cluster {
    shared: Arc<Shared>,
    /// The primaries that were last found.
    primaries: Mutex<View>,
}

impl Cluster {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            primaries: Mutex::default(),
        }
    }

    /// Asks the known nodes for the primaries, and returns what most say.
    ///
    /// A node that was separated from the others may answer first with an old view. Arming on that would be safe, because
    /// [`Cluster::check`] asks every primary for its own, but would not last.
    pub(super) async fn primaries(&self) -> Result<Vec<ConnectionAddr>, Error> {
        let mut tasks = JoinSet::new();
        for addr in self.known_nodes() {
            let shared = Arc::clone(&self.shared);
            tasks.spawn(async move {
                let options = AsyncConnectionConfig::new();
                let settings = &shared.config.settings;
                view(&mut Connection::open(&addr, settings, &shared, options).await?).await
            });
        }
        let asked = tasks.len();
        let mut votes = Votes::new();
        let count = async {
            while let Some(joined) = tasks.join_next().await {
                votes.add(joined.unwrap_or_else(|error| Err(Error::new(ErrorKind::Connection, error))));
                if votes.majority(asked).is_some() {
                    return;
                }
            }
        };
        timeout(LONGEST_SEARCH, count).await.ok();
        let Some(found) = votes.most_frequent() else {
            return Err(votes.into_error().unwrap_or_else(no_answer));
        };
        let addrs = found.iter().map(|(_, addr)| addr.clone()).collect();
        *self.armed() = found;
        Ok(addrs)
    }

    /// Checks that every primary sees the same primaries, and that they are those that were found last.
    ///
    /// Which of them serves a slot does not matter: the listener is armed on all. A slot that moves changes nothing for
    /// its copies, because writes are reported before and after by the primary that executes them.
    pub(super) async fn check(&self, primaries: &[Primary]) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        for mut primary in primaries.iter().cloned() {
            tasks.spawn(async move { view(&mut primary.connection).await });
        }
        while let Some(joined) = tasks.join_next().await {
            let seen = joined.map_err(|error| Error::new(ErrorKind::Connection, error))??;
            let ids = |view: &View| view.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
            if ids(&seen) != ids(&self.armed()) {
                return Err(Error::new(
                    ErrorKind::Connection,
                    "the primaries of the Cluster changed",
                ));
            }
        }
        Ok(())
    }

    /// Returns the addresses of the configuration and of the primaries that were last found.
    fn known_nodes(&self) -> Vec<ConnectionAddr> {
        let mut nodes = match &self.shared.config.endpoints {
            Endpoints::Cluster(seeds) => seeds.clone(),
            _ => Vec::new(),
        };
        for (_, addr) in self.armed().iter() {
            if !nodes.contains(addr) {
                nodes.push(addr.clone());
            }
        }
        nodes
    }

    fn armed(&self) -> std::sync::MutexGuard<'_, View> {
        self.primaries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Timeout, "no node of the Cluster answers")
}

/// Asks a node for the primaries that serve slots.
async fn view(connection: &mut Connection) -> Result<View, Error> {
    let mut slots = cmd("CLUSTER");
    slots.arg("SLOTS");
    let reply = connection.request(&slots).await?;
    let addr = &connection.addr;
    let named = |id: String, primary: &ConnectionAddr| if id.is_empty() { primary.to_string() } else { id };
    let ranges = parse_slots(&reply, addr)?.into_iter();
    let mut view: View = ranges
        .map(|range| (named(range.id, &range.primary), range.primary))
        .collect();
    view.sort_by(|(id, _), (other, _)| id.cmp(other));
    view.dedup_by(|(id, _), (other, _)| id == other);
    if view.is_empty() {
        let message = format!("{addr}: no primary of the Cluster serves slots");
        return Err(Error::new(ErrorKind::Connection, message));
    }
    Ok(view)
}
