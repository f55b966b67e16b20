//! Requests: commands and where they go, and their replies.

use std::sync::Arc;

use redis::{Cmd, Value};

use crate::error::Error;
use crate::hash_slot::hash_slot;
use crate::server_id::ServerId;

/// Which server a command goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The primary of this hash slot.
    Slot(u16),
    /// The primary with this number, from 0 to [`primaries`](crate::Remote::primaries) - 1.
    Primary(usize),
}

impl Route {
    /// Returns the route for a command on a key. O(length of the key).
    #[must_use]
    pub fn key(key: &[u8]) -> Self {
        Self::Slot(hash_slot(key))
    }
}

/// One command of a request.
#[derive(Clone, Debug)]
pub struct Command {
    /// The command and its arguments.
    pub cmd: Cmd,
    /// Where it goes.
    pub route: Route,
    /// Whether executing it twice has the same effect as once. Only then is it sent again after a connection broke.
    pub repeatable: bool,
}

/// Commands that are sent together (pipelined). They are not a transaction.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The commands. Those for the same server are executed in this order.
    pub commands: Vec<Command>,
}

impl Request {
    /// Adds a command.
    pub fn add(&mut self, cmd: Cmd, route: Route, repeatable: bool) {
        self.commands.push(Command {
            cmd,
            route,
            repeatable,
        });
    }
}

/// The reply to one command.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The value. An error of this command alone is a [`Value::ServerError`].
    pub value: Value,
    /// Which server answered: a primary at its usual place, or [`ServerId::UNKNOWN`], also where a Cluster redirected the
    /// command by `ASK`.
    pub server: ServerId,
    /// The address of the server that answered, for messages.
    pub address: Arc<str>,
}

/// The replies to a request, in the order of its commands.
pub type Replies = Vec<Reply>;

impl Reply {
    /// Returns the value, or the error that the server answered with.
    ///
    /// # Errors
    ///
    /// Fails with the server's error, as [`ErrorKind::Response`](crate::ErrorKind::Response) or a more specific kind.
    pub fn into_value(self) -> Result<Value, Error> {
        match self.value {
            Value::ServerError(error) => Err(Error::from_reply(&error, &self.address)),
            value => Ok(value),
        }
    }
}
