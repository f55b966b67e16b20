//! Messages for what goes wrong between here and a server.

use std::io;
use std::time::Duration;

use redis::ConnectionAddr;

use crate::error::{Error, ErrorKind};

/// A request that got no reply.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// Whether the command may have reached the server.
    pub(crate) is_sent: bool,
    /// Whether a connection broke that had served requests before.
    pub(crate) is_reused: bool,
    /// Whether the breaker refused to try.
    pub(crate) is_refused: bool,
}

impl Failure {
    /// Returns the failure of a command that was not sent.
    pub(crate) fn unsent(error: Error) -> Self {
        Self {
            error,
            is_sent: false,
            is_reused: false,
            is_refused: false,
        }
    }
}

/// No connection was made.
pub(crate) fn connect(address: &ConnectionAddr, error: &io::Error, timeout: Duration) -> Error {
    if is_timeout(error) {
        return Error::new(
            ErrorKind::Timeout,
            format!("no connection to {address} within {timeout:?}"),
        );
    }
    let reason = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::NotFound => "the socket does not exist".to_owned(),
        _ => error.to_string(),
    };
    Error::new(
        ErrorKind::Connection,
        format!("cannot connect to {address}: {reason}"),
    )
}

/// The host has no address.
pub(crate) fn resolve(address: &ConnectionAddr, error: &io::Error) -> Error {
    Error::new(
        ErrorKind::Connection,
        format!("cannot resolve the host of {address}: {error}"),
    )
}

/// The TLS handshake failed.
pub(crate) fn tls(address: &ConnectionAddr, error: &io::Error, timeout: Duration) -> Error {
    if is_timeout(error) {
        let message = format!("no TLS handshake with {address} within {timeout:?}; does it speak TLS?");
        return Error::new(ErrorKind::Timeout, message);
    }
    let reason = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the server closed the connection; does it speak TLS?".to_owned(),
        _ => error.to_string(),
    };
    Error::new(
        ErrorKind::Connection,
        format!("the TLS handshake with {address} failed: {reason}"),
    )
}

/// The address asks for TLS, which is not configured.
pub(crate) fn no_tls(address: &ConnectionAddr) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("{address} needs TLS, which is not configured"),
    )
}

/// A connection broke while a command was written or a reply read.
pub(crate) fn exchange(name: &str, error: &io::Error, timeout: Duration) -> Error {
    match error.kind() {
        _ if is_timeout(error) => no_reply(name, timeout),
        // rustls reports its errors as invalid data: for example, that the server wants a certificate.
        _ if error
            .get_ref()
            .is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) =>
        {
            Error::new(
                ErrorKind::Connection,
                format!("the TLS connection to {name} broke: {error}"),
            )
        }
        io::ErrorKind::InvalidData => Error::new(
            ErrorKind::Response,
            format!("the reply of {name} is not in Redis's protocol: {error}"),
        ),
        io::ErrorKind::OutOfMemory => Error::new(
            ErrorKind::Response,
            format!("not enough memory for a reply of {name}"),
        ),
        io::ErrorKind::UnexpectedEof => closed(name),
        _ => Error::new(
            ErrorKind::Connection,
            format!("the connection to {name} broke: {error}"),
        ),
    }
}

/// A new connection broke before the handshake was answered.
pub(crate) fn handshake(error: Error) -> Error {
    if error.kind != ErrorKind::Connection {
        return error;
    }
    let hint = "in the handshake; a proxy has to pass CLIENT and INFO on, or to answer with an error";
    Error::new(error.kind, format!("{error} ({hint})"))
}

/// A reply did not arrive in time.
pub(crate) fn no_reply(name: &str, timeout: Duration) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("no reply from {name} within {timeout:?}"),
    )
}

/// The server closed the connection.
pub(crate) fn closed(name: &str) -> Error {
    Error::new(ErrorKind::Connection, format!("{name} closed the connection"))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}
