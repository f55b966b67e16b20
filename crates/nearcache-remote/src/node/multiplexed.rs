//! Requests to one server without blocking: all on one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisConnectionInfo, RedisError, RedisResult, Value, cmd};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::{Node, Outcome};
use crate::async_stream;
use crate::breaker::Permit;
use crate::error::Error;
use crate::execute::without_asking;
use crate::failure::{self, Failure};
use crate::handshake::Handshake;
use crate::job::Group;
use crate::request::Command;
use crate::server_id::ServerId;

/// The connection that requests share. Closed with its last user.
pub(super) struct Multiplexed {
    connection: MultiplexedConnection,
    server: ServerId,
    /// Whether the task that reads from it has ended.
    is_closed: Arc<AtomicBool>,
    driver: AbortHandle,
}

impl Drop for Multiplexed {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Node {
    /// Sends the commands of a group and waits for the replies.
    pub(crate) async fn request(&self, group: &Group, commands: &[Command]) -> Outcome {
        let permit = match self.admit() {
            Ok(permit) => permit,
            Err(failure) => return Outcome::failed(failure),
        };
        let (shared, is_new) = match self.shared(&permit).await {
            Ok(shared) => shared,
            Err(error) => {
                self.report(permit, &error, true);
                return Outcome::failed(Failure::unsent(error));
            }
        };
        let limit = self.site.config.response_timeout;
        let error = match timeout(limit, exchange(&shared.connection, group, commands)).await {
            Ok(Ok(values)) => {
                permit.succeed();
                let outcome = Outcome {
                    values,
                    server: shared.server,
                    failure: None,
                };
                return if group.is_asking {
                    without_asking(outcome)
                } else {
                    outcome
                };
            }
            Ok(Err(error)) => self.lost(&error),
            Err(_) => failure::no_reply(&self.name, limit),
        };
        self.forget(&shared).await;
        self.report(permit, &error, is_new);
        Outcome::failed(Failure {
            error,
            is_sent: true,
            is_reused: !is_new,
            is_refused: false,
        })
    }

    fn lost(&self, error: &RedisError) -> Error {
        if error.kind() == redis::ErrorKind::Parse {
            let error = std::io::Error::new(std::io::ErrorKind::InvalidData, error.to_string());
            return failure::exchange(&self.name, &error, Duration::ZERO);
        }
        failure::closed(&self.name)
    }

    /// Returns the connection, and whether it is new. Callers wait while one of them connects.
    async fn shared(&self, permit: &Permit<'_>) -> Result<(Arc<Multiplexed>, bool), Error> {
        let mut current = self.multiplexed.lock().await;
        if let Some(shared) = current.as_ref().filter(|shared| !shared.is_closed.load(SeqCst)) {
            return Ok((Arc::clone(shared), false));
        }
        *current = None;
        // While this caller waited, another may have failed to connect.
        if permit.probe.is_none() {
            self.breaker.admit(std::time::Instant::now())?;
        }
        let limit = self.connect_timeout(permit);
        let connecting = timeout(limit + self.site.config.response_timeout, self.connect(limit));
        let shared = Arc::new(match connecting.await {
            Ok(result) => result?,
            Err(_) => return Err(failure::no_reply(&self.name, self.site.config.response_timeout)),
        });
        *current = Some(Arc::clone(&shared));
        Ok((shared, true))
    }

    async fn connect(&self, limit: Duration) -> Result<Multiplexed, Error> {
        let config = &self.site.config;
        let stream = async_stream::connect(&self.address, config, limit).await?;
        // The handshake is ours: redis-rs's own does not tell who answers. Timeouts are too.
        let settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        let plain = AsyncConnectionConfig::new().set_response_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&settings, stream, plain)
            .await
            .map_err(|error| self.lost(&error))?;
        let is_closed = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&is_closed);
        let driver = tokio::spawn(async move {
            driver.await;
            ended.store(true, SeqCst);
        });
        let mut shared = Multiplexed {
            connection,
            server: ServerId::UNKNOWN,
            is_closed,
            driver: driver.abort_handle(),
        };
        let handshake = Handshake::new(&config.settings);
        let mut pipeline = Pipeline::new();
        for command in &handshake.commands {
            pipeline.add_command(command.clone());
        }
        let mut connection = shared.connection.clone();
        let exchange = connection.send_packed_commands(&pipeline, 0, handshake.commands.len());
        let limit = config.response_timeout;
        let replies = timeout(limit, exchange)
            .await
            .map_err(|_| failure::no_reply(&self.name, limit))?
            .map_err(|error| failure::handshake(self.lost(&error)))?;
        let introduction = handshake.finish(&replies, &self.name)?;
        self.greet(&introduction)?;
        shared.server = introduction.server;
        Ok(shared)
    }

    /// Does not use a connection any more. Requests that are under way on it go on.
    async fn forget(&self, failed: &Arc<Multiplexed>) {
        let mut current = self.multiplexed.lock().await;
        if current.as_ref().is_some_and(|shared| Arc::ptr_eq(shared, failed)) {
            *current = None;
        }
    }
}

async fn exchange(
    connection: &MultiplexedConnection,
    group: &Group,
    commands: &[Command],
) -> RedisResult<Vec<Value>> {
    let mut connection = connection.clone();
    if let ([index], false) = (group.members.as_slice(), group.is_asking) {
        return Ok(vec![connection.send_packed_command(&commands[*index].cmd).await?]);
    }
    let mut pipeline = Pipeline::new();
    for &index in &group.members {
        if group.is_asking {
            pipeline.add_command(cmd("ASKING"));
        }
        pipeline.add_command(commands[index].cmd.clone());
    }
    let count = pipeline.len();
    connection.send_packed_commands(&pipeline, 0, count).await
}
