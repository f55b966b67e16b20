//! The query of a URL: redis-py's names.

use std::path::PathBuf;
use std::time::Duration;

use super::percent;

/// The names that are accepted, for messages.
pub(super) const NAMES: &str = "db, username, password, sentinel_username, sentinel_password, ssl_cert_reqs, ssl_ca_certs, \
     ssl_certfile, ssl_keyfile, ssl_check_hostname, socket_timeout, socket_connect_timeout, max_connections, protocol";

/// The values in a query.
#[derive(Default)]
pub(super) struct Query {
    pub(super) db: Option<i64>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) sentinel_username: Option<String>,
    pub(super) sentinel_password: Option<String>,
    pub(super) verify: Option<bool>,
    pub(super) check_hostname: Option<bool>,
    pub(super) ca: Option<PathBuf>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) response_timeout: Option<Duration>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) max_connections: Option<usize>,
}

impl Query {
    /// Parses a query. The error says what is wrong, without a value.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or("a part of the query has no \"=\"")?;
            let value = percent::decode(value).ok_or_else(|| format!("the value of {name} is not valid"))?;
            query.set(name, value)?;
        }
        Ok(query)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        let expected = |what: &str| format!("the value of {name} must be {what}");
        match name {
            "db" => self.db = Some(database(&value).ok_or_else(|| expected("a number from 0"))?),
            "username" => self.username = Some(value),
            "password" => self.password = Some(value),
            "sentinel_username" => self.sentinel_username = Some(value),
            "sentinel_password" => self.sentinel_password = Some(value),
            "ssl_cert_reqs" => {
                self.verify = Some(match value.to_ascii_lowercase().as_str() {
                    "none" => false,
                    "required" => true,
                    _ => return Err(expected("\"none\" or \"required\"")),
                });
            }
            "ssl_check_hostname" => {
                self.check_hostname = Some(boolean(&value).ok_or_else(|| expected("true or false"))?);
            }
            "ssl_ca_certs" => self.ca = Some(value.into()),
            "ssl_certfile" => self.cert = Some(value.into()),
            "ssl_keyfile" => self.key = Some(value.into()),
            "socket_timeout" => {
                self.response_timeout = Some(seconds(&value).ok_or_else(|| expected(SECONDS))?);
            }
            "socket_connect_timeout" => {
                self.connect_timeout = Some(seconds(&value).ok_or_else(|| expected(SECONDS))?);
            }
            "max_connections" => {
                self.max_connections = Some(value.parse().map_err(|_| expected("a number from 1"))?);
            }
            // Data is read by RESP2, and invalidations by RESP3, in any case.
            "protocol" if matches!(value.as_str(), "2" | "3") => {}
            "protocol" => return Err(expected("2 or 3")),
            _ => return Err(format!("{name} is not a name that is accepted in the query")),
        }
        Ok(())
    }
}

const SECONDS: &str = "a number of seconds above 0";

fn seconds(value: &str) -> Option<Duration> {
    let seconds: f64 = value.parse().ok()?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| !duration.is_zero())
}

/// Parses the number of a database.
pub(super) fn database(value: &str) -> Option<i64> {
    value.parse().ok().filter(|&number| number >= 0)
}

fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}
