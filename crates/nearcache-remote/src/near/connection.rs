//! Connections of the listener, and their errors.

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisError,
};

use crate::config::Config;
use crate::error::{Error, ErrorKind};

/// Connects to a server. `options` may have a function for pushes.
pub(super) async fn connect(
    addr: &ConnectionAddr,
    settings: &RedisConnectionInfo,
    config: &Config,
    options: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, Error> {
    let options = options
        .set_connection_timeout(Some(config.connect_timeout))
        .set_response_timeout(Some(config.response_timeout));
    let connecting = async {
        let info = addr.clone().into_connection_info()?;
        let client = Client::open(info.set_redis_settings(settings.clone()))?;
        client
            .get_multiplexed_async_connection_with_config(&options)
            .await
    };
    connecting.await.map_err(|error| describe(addr, &error))
}

/// Returns the error of a request to a server.
pub(super) fn describe(addr: &ConnectionAddr, error: &RedisError) -> Error {
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
        // Also names that cannot be resolved, which redis-rs reports as a wrong configuration.
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
