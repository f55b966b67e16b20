//! Connections of the listener, and their errors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ConnectionAddr, RedisConnectionInfo, RedisError, Value, cmd};
use rustix::net::{Shutdown, shutdown};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::fork::Recorded;
use super::listener::Shared;
use crate::async_stream;
use crate::error::{Error, ErrorKind};
use crate::failure;

/// A connection of the listener. Dropping the last copy ends it, also where a forked process has the socket.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) addr: ConnectionAddr,
    requests: MultiplexedConnection,
    _socket: Arc<Socket>,
}

impl Connection {
    /// Connects to a server. `options` may have a function for pushes.
    pub(super) async fn open(
        addr: &ConnectionAddr,
        settings: &RedisConnectionInfo,
        shared: &Arc<Shared>,
        options: AsyncConnectionConfig,
    ) -> Result<Self, Error> {
        let config = &shared.config;
        let stream = async_stream::connect(addr, config, config.connect_timeout).await?;
        let mut socket = Socket::new(stream.descriptor(), shared)
            .map_err(|error| failure::connect(addr, &error, config.connect_timeout))?;
        let limit = config.response_timeout;
        let options = options.set_response_timeout(Some(limit));
        let login = MultiplexedConnection::new_with_config(settings, stream, options);
        let (requests, driver) = timeout(limit, login)
            .await
            .map_err(|_| failure::no_reply(&addr.to_string(), limit))?
            .map_err(|error| describe(addr, &error))?;
        socket.driver = Some(tokio::spawn(driver).abort_handle());
        Ok(Self {
            addr: addr.clone(),
            requests,
            _socket: Arc::new(socket),
        })
    }

    /// Sends a command and returns its reply.
    pub(super) async fn request(&mut self, command: &Cmd) -> Result<Value, Error> {
        let reply = command.query_async(&mut self.requests).await;
        reply.map_err(|error| describe(&self.addr, &error))
    }

    /// Returns whether the server runs a script and so refuses `PING`.
    pub(super) async fn is_busy(&mut self) -> Result<bool, Error> {
        match cmd("PING").query_async::<Value>(&mut self.requests).await {
            Ok(_) => Ok(false),
            Err(error) if error.code() == Some("BUSY") => Ok(true),
            Err(error) => Err(describe(&self.addr, &error)),
        }
    }

    pub(super) fn set_response_timeout(&mut self, limit: Duration) {
        self.requests.set_response_timeout(limit);
    }
}

/// An open socket. The descriptor is a second one for it, which works until the last copy of the connection is dropped.
struct Socket {
    descriptor: OwnedFd,
    recorded: [Recorded; 2],
    driver: Option<AbortHandle>,
    shared: Arc<Shared>,
}

impl Socket {
    fn new(of_stream: BorrowedFd<'_>, shared: &Arc<Shared>) -> io::Result<Self> {
        let descriptor = of_stream.try_clone_to_owned()?;
        let recorded = [Recorded::new(of_stream)?, Recorded::new(descriptor.as_fd())?];
        shared.record(recorded);
        Ok(Self {
            descriptor,
            recorded,
            driver: None,
            shared: Arc::clone(shared),
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.shared.forget(self.recorded);
        // Closing it would not end the connection where a forked process has the socket: the server would go on to send
        // pushes, and keep them in its memory because nobody reads them.
        shutdown(&self.descriptor, Shutdown::Both).ok();
        if let Some(driver) = &self.driver {
            driver.abort();
        }
    }
}

/// Returns the error of a request to a server.
fn describe(addr: &ConnectionAddr, error: &RedisError) -> Error {
    Error::new(kind(error), format_args!("{addr}: {error}"))
}

fn kind(error: &RedisError) -> ErrorKind {
    if error.is_timeout() {
        return ErrorKind::Timeout;
    }
    match error.code() {
        Some("NOAUTH" | "WRONGPASS") => return ErrorKind::Authentication,
        Some("NOPERM" | "NOPROTO") => return ErrorKind::Unsupported,
        _ => {}
    }
    match error.kind() {
        redis::ErrorKind::RESP3NotSupported => ErrorKind::Unsupported,
        redis::ErrorKind::AuthenticationFailed => ErrorKind::Authentication,
        redis::ErrorKind::Server(_) | redis::ErrorKind::Extension if names_no_command(error) => {
            ErrorKind::Unsupported
        }
        redis::ErrorKind::Server(_) | redis::ErrorKind::Extension => ErrorKind::Response,
        _ => ErrorKind::Connection,
    }
}

/// Returns whether a server or proxy answered that it does not have the command. The words differ.
fn names_no_command(error: &RedisError) -> bool {
    let detail = error.detail().unwrap_or_default().to_lowercase();
    ["unknown", "unsupported", "not supported", "invalid command"]
        .iter()
        .any(|words| detail.contains(words))
}
