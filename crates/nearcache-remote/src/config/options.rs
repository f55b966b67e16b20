//! What Django's `OPTIONS` say about the connections.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What applies to connections unless the URL says otherwise.
#[derive(Clone)]
pub struct Options {
    /// The number of the database.
    pub db: Option<i64>,
    /// The user name.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// A file of certificates, in PEM form, that are trusted instead of the system's.
    pub ca: Option<PathBuf>,
    /// A file with the client's certificate, in PEM form.
    pub cert: Option<PathBuf>,
    /// A file with the key of the client's certificate, in PEM form.
    pub key: Option<PathBuf>,
    /// Whether the server's certificate is verified.
    pub verify: bool,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for a reply.
    pub response_timeout: Duration,
    /// How many connections a process opens to one server for requests that block.
    pub max_connections: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            db: None,
            username: None,
            password: None,
            ca: None,
            cert: None,
            key: None,
            verify: true,
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(2),
            max_connections: 64,
        }
    }
}

/// Without the password.
impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("db", &self.db)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("ca", &self.ca)
            .field("cert", &self.cert)
            .field("key", &self.key)
            .field("verify", &self.verify)
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .field("max_connections", &self.max_connections)
            .finish()
    }
}
