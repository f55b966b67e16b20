//! The Sentinels: who they say is the primary.

use std::sync::Arc;
use std::time::Duration;

use redis::{AsyncConnectionConfig, ConnectionAddr, cmd, from_redis_value};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection::Connection;
use super::listener::Shared;
use super::votes::Votes;
use crate::config::Endpoints;
use crate::error::{Error, ErrorKind};
use crate::tls::with_host;

/// A Sentinel, and the connection to it while there is one.
struct Sentinel {
    addr: ConnectionAddr,
    connection: Mutex<Option<Connection>>,
}

/// The Sentinels of a service.
pub(super) struct Sentinels {
    shared: Arc<Shared>,
    sentinels: Vec<Arc<Sentinel>>,
}

impl Sentinels {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let addrs = match &shared.config.endpoints {
            Endpoints::Sentinel { sentinels, .. } => sentinels.as_slice(),
            _ => &[],
        };
        let sentinel = |addr: &ConnectionAddr| {
            Arc::new(Sentinel {
                addr: addr.clone(),
                connection: Mutex::new(None),
            })
        };
        Self {
            shared: Arc::clone(shared),
            sentinels: addrs.iter().map(sentinel).collect(),
        }
    }

    /// Returns the primary that the majority of the Sentinels that answer name.
    ///
    /// Waits no longer for the others once more than half of all have named it.
    pub(super) async fn primary(&self) -> Result<ConnectionAddr, Error> {
        let mut tasks = JoinSet::new();
        for sentinel in &self.sentinels {
            let (shared, sentinel) = (Arc::clone(&self.shared), Arc::clone(sentinel));
            tasks.spawn(async move { sentinel.ask(&shared).await });
        }
        let mut votes = Votes::new();
        while let Some(joined) = tasks.join_next().await {
            votes.add(joined.unwrap_or_else(|error| Err(Error::new(ErrorKind::Connection, error))));
            if let Some(named) = votes.majority(self.sentinels.len()) {
                return Ok(named);
            }
        }
        votes.majority(votes.answers()).ok_or_else(|| {
            let error = (votes.answers() == 0).then(|| votes.into_error()).flatten();
            error.unwrap_or_else(|| {
                Error::new(ErrorKind::Connection, "the Sentinels name different primaries")
            })
        })
    }
}

impl Sentinel {
    /// Asks the Sentinel for the primary. A connection that does not answer is dropped.
    async fn ask(&self, shared: &Arc<Shared>) -> Result<ConnectionAddr, Error> {
        let mut connection = self.connection.lock().await;
        let limit = shared.max_staleness / 4;
        let answer = timeout(limit, query(&self.addr, &mut connection, shared));
        let answer = answer.await.unwrap_or_else(|_| Err(too_slow(&self.addr, limit)));
        if answer.is_err() {
            *connection = None;
        }
        answer
    }
}

async fn query(
    addr: &ConnectionAddr,
    connection: &mut Option<Connection>,
    shared: &Arc<Shared>,
) -> Result<ConnectionAddr, Error> {
    let Endpoints::Sentinel {
        settings, service, ..
    } = &shared.config.endpoints
    else {
        return Err(Error::new(ErrorKind::Config, "there are no Sentinels"));
    };
    let connection = if let Some(connection) = connection {
        connection
    } else {
        let options = AsyncConnectionConfig::new();
        connection.insert(Connection::open(addr, settings, shared, options).await?)
    };
    let mut question = cmd("SENTINEL");
    question.arg("get-master-addr-by-name").arg(service);
    let reply = connection.request(&question).await?;
    let named: Option<(String, u16)> = from_redis_value(reply)
        .map_err(|error| Error::new(ErrorKind::Response, format_args!("{addr}: {error}")))?;
    let (host, port) = named.ok_or_else(|| {
        let message = format!("{addr}: the Sentinel does not know the service {service:?}");
        Error::new(ErrorKind::Connection, message)
    })?;
    Ok(with_host(addr, host, port))
}

fn too_slow(addr: &ConnectionAddr, limit: Duration) -> Error {
    let message = format!(
        "{addr}: the Sentinel does not answer within {} ms",
        limit.as_millis()
    );
    Error::new(ErrorKind::Timeout, message)
}
