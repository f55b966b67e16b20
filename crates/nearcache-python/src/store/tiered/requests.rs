//! Requests of one or several commands, and reading their replies.

use std::time::Duration;

use nearcache_remote::{Cmd, Error, ErrorKind, Replies, Reply, Request, Route, ServerId, Value, cmd};
use pyo3::prelude::*;

/// What PTTL returns for an entry without an expiry. Less is a missing entry.
pub(super) const NO_EXPIRY: i64 = -1;

/// Returns a command on a key.
pub(super) fn on_key(name: &str, key: &[u8]) -> Cmd {
    let mut command = cmd(name);
    command.arg(key);
    command
}

/// Returns a request of one command on a key. `repeatable` is as in [`nearcache_remote::Command`].
pub(super) fn single(command: Cmd, key: &[u8], repeatable: bool) -> Request {
    let mut request = Request::default();
    request.add(command, Route::key(key), repeatable);
    request
}

/// Returns a script with one key as a command. Scripts are not repeated: they may have had an effect.
pub(super) fn script(text: &str, key: &[u8]) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(text).arg(1).arg(key);
    command
}

/// An entry as a server returned it.
pub(super) struct RemoteEntry<'a, 'py> {
    pub(super) key: &'a [u8],
    /// The value as the server stores it, and decoded.
    pub(super) stored: &'a [u8],
    pub(super) value: &'a Bound<'py, PyAny>,
    /// How long it has to live; `Duration::MAX` is for ever.
    pub(super) ttl: Duration,
    pub(super) server: ServerId,
    /// How long computing the value took, if this process knows it.
    pub(super) cost_micros: u32,
}

/// A reply that is not an error, and the server that sent it.
pub(super) struct Answer {
    pub(super) value: Value,
    pub(super) server: ServerId,
}

/// The replies to a request, read one after the other.
pub(super) struct Reader(std::vec::IntoIter<Reply>);

impl Reader {
    pub(super) fn new(replies: Replies) -> Self {
        Self(replies.into_iter())
    }

    /// Returns how many replies are left.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn reply(&mut self) -> Result<Reply, Error> {
        let missing = || Error::new(ErrorKind::Response, "the server sent too few replies");
        self.0.next().ok_or_else(missing)
    }

    /// Returns the next reply. Fails if it is the server's error.
    pub(super) fn answer(&mut self) -> Result<Answer, Error> {
        let reply = self.reply()?;
        let server = reply.server;
        let value = reply.into_value()?;
        Ok(Answer { value, server })
    }

    pub(super) fn value(&mut self) -> Result<Value, Error> {
        self.reply()?.into_value()
    }

    /// Reads a number, such as a count.
    pub(super) fn number(&mut self) -> Result<i64, Error> {
        match self.value()? {
            Value::Int(number) => Ok(number),
            Value::Boolean(flag) => Ok(i64::from(flag)),
            other => Err(unexpected(&other, "a number")),
        }
    }

    /// Reads the reply to a `SET`, or of a script that returns 1 if it has stored a value.
    pub(super) fn is_stored(&mut self) -> Result<bool, Error> {
        Ok(!matches!(self.value()?, Value::Nil | Value::Int(0)))
    }

    /// Reads the reply to a command that may be refused by its condition: whether it was not.
    pub(super) fn is_done(&mut self) -> Result<bool, Error> {
        Ok(!matches!(self.value()?, Value::Nil))
    }
}

/// Returns the error for a reply that is not what the command returns.
pub(super) fn unexpected(value: &Value, expected: &str) -> Error {
    let kind = match value {
        Value::Nil => "nil",
        Value::Int(_) => "a number",
        Value::BulkString(_) | Value::SimpleString(_) => "a string",
        Value::Array(_) => "an array",
        _ => "a reply of another type",
    };
    Error::new(
        ErrorKind::Response,
        format_args!("the server answered with {kind} instead of {expected}"),
    )
}
