//! Requests to one server in the calling thread.

use std::time::Instant;

use redis::{Cmd, Value};

use super::{Node, Outcome};
use crate::breaker::Permit;
use crate::connection::Connection;
use crate::error::{Error, ErrorKind};
use crate::failure::Failure;
use crate::handshake::Handshake;
use crate::pool::{Lease, Slot};
use crate::server_id::ServerId;

/// Commands that were sent to one server.
pub(crate) struct InFlight<'a> {
    node: &'a Node,
    lease: Lease<'a>,
    permit: Permit<'a>,
}

impl Node {
    /// Sends commands. With `checked`, a connection that the server closed meanwhile is not used, which costs a system call.
    pub(crate) fn send<'a>(
        &self,
        commands: impl Iterator<Item = &'a Cmd>,
        checked: bool,
    ) -> Result<InFlight<'_>, Failure> {
        let permit = self.admit()?;
        let (mut lease, is_new) = match self.lease(&permit, checked) {
            Ok(lease) => lease,
            Err((error, is_new)) => {
                // Waiting for a connection of this process says nothing about the server.
                if is_new {
                    self.report(permit, &error, true);
                }
                return Err(Failure::unsent(error));
            }
        };
        match connection(&mut lease).and_then(|connection| connection.send(commands, &self.name)) {
            Ok(()) => Ok(InFlight {
                node: self,
                lease,
                permit,
            }),
            Err(failure) => {
                self.report(permit, &failure.error, is_new);
                Err(failure)
            }
        }
    }

    /// Sends one command and waits for its reply.
    pub(crate) fn ask(&self, command: &Cmd) -> Result<Value, Error> {
        let in_flight = self
            .send(std::iter::once(command), true)
            .map_err(|failure| failure.error)?;
        let mut outcome = in_flight.finish(1);
        match (outcome.failure, outcome.values.pop()) {
            (None, Some(value)) => Ok(value),
            (Some(failure), _) => Err(failure.error),
            (None, None) => Err(no_connection().error),
        }
    }

    /// Returns a connection, and whether it is new. So is the error.
    fn lease(&self, permit: &Permit<'_>, checked: bool) -> Result<(Lease<'_>, bool), (Error, bool)> {
        let deadline = || Instant::now() + self.site.config.response_timeout;
        loop {
            match self.pool.take(deadline) {
                None => return Err((self.exhausted(), false)),
                Some(Slot::Idle(mut lease)) => {
                    // Dropped from the lease, it is closed.
                    if checked
                        && lease
                            .connection
                            .take_if(|connection| connection.is_stale())
                            .is_some()
                    {
                        continue;
                    }
                    return Ok((lease, false));
                }
                Some(Slot::Vacant(mut lease)) => {
                    let connection = self.open(permit).map_err(|error| (error, true))?;
                    lease.connection = Some(connection);
                    return Ok((lease, true));
                }
            }
        }
    }

    fn open(&self, permit: &Permit<'_>) -> Result<Connection, Error> {
        let config = &self.site.config;
        let handshake = Handshake::new(&config.settings);
        let connection = Connection::open(&self.address, &handshake, config, self.connect_timeout(permit))?;
        self.greet(&connection.introduction)?;
        Ok(connection)
    }

    fn exhausted(&self) -> Error {
        let config = &self.site.config;
        let message = format!(
            "all {} connections to {} were in use for {:?}; a larger max_connections allows more",
            config.max_connections, self.name, config.response_timeout
        );
        Error::new(ErrorKind::Timeout, message)
    }
}

impl InFlight<'_> {
    /// Waits for `count` replies.
    pub(crate) fn finish(mut self, count: usize) -> Outcome {
        let mut outcome = Outcome {
            values: Vec::with_capacity(count),
            server: ServerId::UNKNOWN,
            failure: None,
        };
        let mut is_new = false;
        while outcome.values.len() < count && outcome.failure.is_none() {
            let reply = connection(&mut self.lease).and_then(|connection| {
                is_new = !connection.is_reused;
                outcome.server = connection.introduction.server;
                connection.receive(&self.node.name)
            });
            match reply {
                Ok(value) => outcome.values.push(value),
                Err(failure) => outcome.failure = Some(failure),
            }
        }
        // Before another request may take the connection.
        match &outcome.failure {
            None => self.permit.succeed(),
            Some(failure) => self.node.report(self.permit, &failure.error, is_new),
        }
        outcome
    }
}

/// Returns the connection of a lease, which `lease` put there.
fn connection<'a>(lease: &'a mut Lease<'_>) -> Result<&'a mut Connection, Failure> {
    lease.connection.as_mut().ok_or_else(no_connection)
}

fn no_connection() -> Failure {
    Failure::unsent(Error::new(ErrorKind::Connection, "no connection"))
}
