//! The errors of the remote tier.

use std::fmt;

/// What kind of failure a request met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No connection could be made, or it broke, or the server is not ready (loading, without a primary). Whether a sent
    /// command was executed is unknown.
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
        Self::new(kind_of(error), text_of(error))
    }

    /// Returns the error for the answer of the server at an address to one command.
    #[must_use]
    pub fn from_reply(error: &redis::ServerError, address: &str) -> Self {
        let hint = match error.code() {
            "MOVED" | "ASK" | "CROSSSLOT" => {
                format!("; {address} is a node of a Cluster, use redis+cluster://{address}")
            }
            "READONLY" => format!("; {address} is a replica, the first URL must be the primary's"),
            _ => String::new(),
        };
        Self::new(kind_of(error), format!("{address}: {}{hint}", text_of(error)))
    }

    /// Returns the error for the answer of a Cluster's node, or of a Sentinel's primary.
    pub(crate) fn from_cluster(error: &redis::ServerError, address: &str) -> Self {
        Self::new(kind_of(error), format!("{address}: {}", text_of(error)))
    }
}

fn kind_of(error: &redis::ServerError) -> ErrorKind {
    match error.code() {
        "NOAUTH" | "WRONGPASS" | "NOPERM" => ErrorKind::Authentication,
        "READONLY" => ErrorKind::ReadOnly,
        // The server is not ready, and did not execute the command.
        "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" => ErrorKind::Connection,
        _ => ErrorKind::Response,
    }
}

/// Returns the text as the server sent it.
fn text_of(error: &redis::ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_the_server_and_what_to_do() {
        for (line, kind, text) in [
            (
                "OOM command not allowed",
                ErrorKind::Response,
                "h:1: OOM command not allowed",
            ),
            (
                "NOPERM no permission",
                ErrorKind::Authentication,
                "h:1: NOPERM no permission",
            ),
            (
                "LOADING Redis is loading",
                ErrorKind::Connection,
                "h:1: LOADING Redis is loading",
            ),
            (
                "MASTERDOWN Link down",
                ErrorKind::Connection,
                "h:1: MASTERDOWN Link down",
            ),
            (
                "MOVED 5 h:2",
                ErrorKind::Response,
                "h:1: MOVED 5 h:2; h:1 is a node of a Cluster, use redis+cluster://h:1",
            ),
            (
                "READONLY You can't write",
                ErrorKind::ReadOnly,
                "h:1: READONLY You can't write; h:1 is a replica, the first URL must be the primary's",
            ),
        ] {
            let reply = redis::parse_redis_value(format!("-{line}\r\n").as_bytes());
            let Ok(redis::Value::ServerError(answer)) = reply else {
                panic!("not an error: {line}");
            };
            let error = Error::from_reply(&answer, "h:1");
            assert_eq!((error.kind, error.to_string().as_str()), (kind, text));
        }
    }
}
