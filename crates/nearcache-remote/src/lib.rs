//! The remote tier of nearcache: a client for Redis and Valkey, and the protocol that keeps near copies valid.
//!
//! [`Remote`] sends requests to a server, to the primary that Sentinels name, or to the primaries of a Cluster, in the
//! calling thread or without blocking it. [`near`] has the state by which a near copy is known to be valid, and the
//! listener that reads the server's invalidations. Nothing here knows of Python or Django.
//!
//! # Processes
//!
//! A child of `fork` inherits neither connections nor threads: it opens its own at its first request. No lock of this
//! crate that a child could inherit locked is waited for in the child.

#![cfg(unix)]

mod async_stream;
mod breaker;
mod client;
mod config;
mod connection;
mod counters;
mod error;
mod execute;
mod failure;
mod handshake;
mod hash_slot;
mod job;
pub mod near;
mod node;
mod per_process;
mod pool;
mod redirect;
mod remote;
mod repeat;
mod request;
mod resp;
mod runtime;
mod server_id;
mod site;
mod start;
mod stream;
mod tls;
mod topology;

pub use config::{Config, Endpoints, Options};
pub use counters::RemoteCounters;
pub use error::{Error, ErrorKind};
pub use hash_slot::number_with_slot_of;
pub use redis::{Arg, Cmd, Value, cmd};
pub use remote::Remote;
pub use repeat::Repeated;
pub use request::{Command, Replies, Reply, Request, Route};
pub use server_id::ServerId;
pub use start::Done;
pub use tls::Tls;
