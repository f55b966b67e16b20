//! The configuration of a remote tier.

mod options;
mod parse;
mod percent;
mod query;
mod redact;
#[cfg(test)]
mod tests;
mod url;

use std::time::Duration;

use redis::{ConnectionAddr, RedisConnectionInfo};

pub use options::Options;

use crate::tls::Tls;

/// Where the servers are.
#[derive(Clone, Debug)]
pub enum Endpoints {
    /// One server.
    Single(ConnectionAddr),
    /// The primary that these Sentinels name.
    Sentinel {
        /// The Sentinels.
        sentinels: Vec<ConnectionAddr>,
        /// User and password for the Sentinels themselves.
        settings: Box<RedisConnectionInfo>,
        /// The name of the primary.
        service: String,
    },
    /// A Cluster, of which these nodes are asked for the others.
    Cluster(Vec<ConnectionAddr>),
}

/// The configuration of a remote tier.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the servers are.
    pub endpoints: Endpoints,
    /// User, password and database for the servers.
    pub settings: RedisConnectionInfo,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for a reply.
    pub response_timeout: Duration,
    /// How many connections a process opens to one server for requests that block.
    pub max_connections: usize,
    /// How connections are encrypted; `None` for addresses without TLS.
    pub tls: Option<Tls>,
}

impl Config {
    /// Returns a configuration without user, password, database and TLS, and with the timeouts of [`Options`].
    #[must_use]
    pub fn new(endpoints: Endpoints) -> Self {
        let options = Options::default();
        Self {
            endpoints,
            settings: RedisConnectionInfo::default(),
            connect_timeout: options.connect_timeout,
            response_timeout: options.response_timeout,
            max_connections: options.max_connections,
            tls: None,
        }
    }
}
