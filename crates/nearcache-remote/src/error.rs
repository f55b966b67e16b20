//! The errors of the remote tier.

use std::fmt;

/// What kind of failure a request met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No connection could be made, or it broke. Whether a sent command was executed is unknown.
    Connection,
    /// The server did not answer within the timeout. Whether the command was executed is unknown.
    Timeout,
    /// The server refused the user name or password.
    Authentication,
    /// The server is a replica, which accepts no writes.
    ReadOnly,
    /// The server does not support what is needed: it is too old, or a proxy that speaks only RESP2.
    Unsupported,
    /// The server answered with another error.
    Response,
    /// The configuration is invalid.
    Config,
}

/// A failed request: its kind, and a message that names the server.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    message: String,
}

impl Error {
    /// Returns an error with a message, a sentence without a full stop.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
        }
    }

    /// Returns whether the server could not be reached or did not answer. `ON_ERROR` decides about these.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        matches!(self.kind, ErrorKind::Connection | ErrorKind::Timeout)
    }

    /// Returns the error for a server's answer to one command.
    #[must_use]
    pub fn from_server(error: &redis::ServerError) -> Self {
        let kind = match error.code() {
            "NOAUTH" | "WRONGPASS" | "NOPERM" => ErrorKind::Authentication,
            "READONLY" => ErrorKind::ReadOnly,
            _ => ErrorKind::Response,
        };
        Self::new(kind, error)
    }
}
