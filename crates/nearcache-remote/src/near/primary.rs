//! The listener's connection to one primary.

use std::sync::Arc;

use redis::{AsyncConnectionConfig, ConnectionAddr, ProtocolVersion, Value, cmd};

use super::connection::Connection;
use super::listener::Shared;
use super::push::{self, Lost};
use crate::error::{Error, ErrorKind};
use crate::server_id::ServerId;

/// A primary that reports writes to the listener.
#[derive(Clone)]
pub(super) struct Primary {
    pub(super) id: ServerId,
    pub(super) connection: Connection,
}

impl Primary {
    /// Connects to a primary and turns tracking on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] if the server cannot report writes, or does not permit it to this user.
    pub(super) async fn track(
        addr: ConnectionAddr,
        shared: Arc<Shared>,
        lost: Arc<Lost>,
    ) -> Result<Self, Error> {
        let handler = push::handler(shared.state, addr.to_string(), lost);
        let options = AsyncConnectionConfig::new().set_push_sender(handler);
        let settings = shared
            .config
            .settings
            .clone()
            .set_protocol(ProtocolVersion::RESP3);
        let mut connection = Connection::open(&addr, &settings, &shared, options).await?;
        // It is only for people who read CLIENT LIST, so that a server that refuses it will do.
        let mut name = cmd("CLIENT");
        name.arg("SETNAME").arg("nearcache-listener");
        connection.request(&name).await.ok();
        let id = server_id(&mut connection).await?;
        let mut primary = Self { id, connection };
        primary.check_role().await?;
        primary.start_tracking(&shared.prefix).await?;
        primary.connection.set_response_timeout(shared.max_staleness);
        Ok(primary)
    }

    pub(super) fn addr(&self) -> &ConnectionAddr {
        &self.connection.addr
    }

    /// Checks that the server is still a primary; returns whether it has sent all invalidations of the writes that it
    /// acknowledged before. Those before its answer have been applied then.
    ///
    /// While a script runs for long, a server acknowledges what it executed right before the script, and answers `HELLO`,
    /// but sends invalidations after the script. It refuses `PING` then (seen with Valkey 9.1).
    pub(super) async fn check(&mut self) -> Result<bool, Error> {
        self.check_role().await?;
        Ok(!self.connection.is_busy().await?)
    }

    async fn check_role(&mut self) -> Result<(), Error> {
        let hello = self.connection.request(&cmd("HELLO")).await?;
        match role(&hello) {
            Some(b"master") => Ok(()),
            Some(other) => {
                let message = format!("{}: is a {}", self.addr(), String::from_utf8_lossy(other));
                Err(Error::new(ErrorKind::ReadOnly, message))
            }
            None => Err(self.unsupported("HELLO does not tell its role")),
        }
    }

    async fn start_tracking(&mut self, prefix: &[u8]) -> Result<(), Error> {
        let mut tracking = cmd("CLIENT");
        tracking.arg("TRACKING").arg("ON").arg("BCAST");
        if !prefix.is_empty() {
            tracking.arg("PREFIX").arg(prefix);
        }
        match self.connection.request(&tracking).await {
            Ok(Value::Okay) => Ok(()),
            Ok(_) => Err(self.unsupported("CLIENT TRACKING is not answered with OK")),
            Err(error) if error.kind == ErrorKind::Unsupported => {
                Err(self.unsupported(&format!("CLIENT TRACKING is refused ({error})")))
            }
            Err(error) => Err(error),
        }
    }

    fn unsupported(&self, what: &str) -> Error {
        let message = format!("{}: {what}; expected Redis 6 or later, or Valkey", self.addr());
        Error::new(ErrorKind::Unsupported, message)
    }
}

/// Returns the role in an answer to `HELLO`.
fn role(hello: &Value) -> Option<&[u8]> {
    let mut pairs = hello.as_map_iter()?;
    let (_, role) = pairs.find(|(key, _)| text(key) == Some(b"role"))?;
    text(role)
}

fn text(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(text) => Some(text),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.as_bytes()),
        _ => None,
    }
}

/// Asks a server for its identity.
async fn server_id(connection: &mut Connection) -> Result<ServerId, Error> {
    let mut info = cmd("INFO");
    info.arg("server");
    let reply = connection.request(&info).await?;
    text(&reply)
        .and_then(run_id)
        .map(ServerId::from_run_id)
        .ok_or_else(|| {
            let addr = &connection.addr;
            let message = format!("{addr}: INFO does not tell the run_id, by which a restart is noticed");
            Error::new(ErrorKind::Unsupported, message)
        })
}

/// Returns the `run_id` in an answer to `INFO`.
fn run_id(info: &[u8]) -> Option<&[u8]> {
    let mut lines = info.split(|&byte| byte == b'\n');
    let id = lines.find_map(|line| line.trim_ascii().strip_prefix(b"run_id:"))?;
    (!id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_id_is_found_in_the_answer_to_info() {
        let info = b"# Server\r\nredis_version:7.2.4\r\nrun_id:0123abcd\r\ntcp_port:6379\r\n";
        assert_eq!(run_id(info), Some(&b"0123abcd"[..]));
        assert_eq!(run_id(b"# Server\r\nrun_id:\r\n"), None);
        assert_eq!(run_id(b""), None);
    }

    #[test]
    fn the_role_is_found_in_the_answer_to_hello() {
        let word = |text: &str| Value::BulkString(text.into());
        let hello = Value::Map(vec![
            (word("proto"), Value::Int(3)),
            (word("role"), word("master")),
        ]);
        assert_eq!(role(&hello), Some(&b"master"[..]));
        assert_eq!(role(&Value::Okay), None);
    }
}
