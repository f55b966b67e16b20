//! The remote tier.

use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::config::Config;
use crate::counters::RemoteCounters;
use crate::error::Error;
use crate::execute::execute;
use crate::per_process::{InUse, PerProcess};
use crate::repeat::{Repeated, repeat};
use crate::request::{Replies, Request};
use crate::start::{Done, start};

/// A remote tier: a server, the primary that Sentinels name, or a Cluster.
///
/// Creating one does not connect; the first request does, in each process.
pub struct Remote {
    config: Config,
    client: PerProcess<Arc<Client>>,
}

impl Remote {
    /// Returns a remote tier with this configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            client: PerProcess::new(),
        }
    }

    /// Returns the configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Executes a request in the calling thread, and waits for its replies.
    ///
    /// # Errors
    ///
    /// Fails if a command got no reply. The error of a server that answers one command is its reply.
    pub fn execute(&self, request: &Request) -> Result<Replies, Error> {
        let client = self.client();
        client.site.counts.count_request();
        execute(&client, request).inspect_err(|_| client.site.counts.count_error())
    }

    /// Starts a request without waiting. Its result is given to `done`, in the thread of the runtime, or at once in this one
    /// if that thread cannot be started.
    pub fn start(&self, request: Request, done: Done) {
        let client = Arc::clone(&self.client());
        client.site.counts.count_request();
        start(client, request, done);
    }

    /// Sends a request each time that `pause` has passed, without waiting for results, until what this returns is dropped.
    #[must_use]
    pub fn repeat(&self, request: Request, pause: Duration) -> Repeated {
        repeat(Arc::clone(&self.client()), request, pause)
    }

    /// Returns how many primaries there are: 1, or those of a Cluster, which is asked if it was not yet.
    ///
    /// # Errors
    ///
    /// Fails if no node of the Cluster answers.
    pub fn primaries(&self) -> Result<usize, Error> {
        let client = self.client();
        client.discover()?;
        Ok(client.topology.primaries())
    }

    /// Returns what this process has counted.
    #[must_use]
    pub fn counters(&self) -> RemoteCounters {
        let Some(client) = self.client.existing() else {
            return RemoteCounters::default();
        };
        let connections: usize = client
            .topology
            .nodes()
            .iter()
            .map(|node| node.connections())
            .sum();
        RemoteCounters {
            connections: connections as u64,
            ..client.site.counts.read()
        }
    }

    /// Returns what is worth knowing about the servers: for example, why their values cannot be kept near.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.client
            .existing()
            .map_or_else(Vec::new, |client| client.site.notes())
    }

    fn client(&self) -> InUse<Arc<Client>> {
        self.client.get(|| Arc::new(Client::new(&self.config)))
    }
}
