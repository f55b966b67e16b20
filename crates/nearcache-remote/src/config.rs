//! The configuration of a remote tier.

use std::time::Duration;

use redis::{ConnectionAddr, RedisConnectionInfo};

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
}
