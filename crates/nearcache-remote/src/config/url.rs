//! The parts of a URL.

use super::percent;
use super::query::{self, Query};

/// What a URL leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Single,
    Unix,
    Sentinel,
    Cluster,
}

/// A URL, taken apart and decoded.
pub(super) struct Url {
    pub(super) kind: Kind,
    pub(super) is_tls: bool,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    /// None for a unix socket.
    pub(super) hosts: Vec<(String, u16)>,
    /// The path of a unix socket, or the name of a Sentinel's service.
    pub(super) name: String,
    pub(super) db: Option<i64>,
    pub(super) query: Query,
}

/// The forms that are accepted, for messages.
pub(super) const FORMS: &str = "redis://[[user]:password@]host[:port][/db], rediss:// (TLS), unix:///path[?db=N], \
     redis+sentinel://host:port[,host:port...]/service[/db], redis+cluster://host:port[,host:port...], \
     or the same with \"valkey\"";

impl Url {
    /// Parses a URL. The error says what is wrong, without any part of the URL that may be a password.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("it has no scheme")?;
        let (kind, is_tls) = scheme_of(scheme).ok_or_else(|| format!("the scheme {scheme:?} is unknown"))?;
        if rest.contains('#') {
            return Err("\"#\" must be written as %23".to_owned());
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (info, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (username, password) = user_info(info)?;
        let hosts = match kind {
            Kind::Unix if hosts.is_empty() => Vec::new(),
            Kind::Unix => return Err("a socket's path must begin with \"/\", after unix://".to_owned()),
            Kind::Single => vec![host_and_port(hosts, 6379)?],
            Kind::Sentinel => hosts_and_ports(hosts, 26_379)?,
            Kind::Cluster => hosts_and_ports(hosts, 6379)?,
        };
        let (name, db) = name_and_database(kind, path)?;
        let query = Query::parse(query)?;
        Ok(Self {
            kind,
            is_tls,
            username: username.or_else(|| query.username.clone()),
            password: password.or_else(|| query.password.clone()),
            hosts,
            name,
            db: query.db.or(db),
            query,
        })
    }
}

fn scheme_of(scheme: &str) -> Option<(Kind, bool)> {
    let scheme = scheme.to_ascii_lowercase();
    let (server, form) = scheme.split_once('+').unwrap_or((&scheme, ""));
    let is_tls = match server {
        "unix" if form.is_empty() => return Some((Kind::Unix, false)),
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        _ => return None,
    };
    match form {
        "" => Some((Kind::Single, is_tls)),
        "unix" if !is_tls => Some((Kind::Unix, false)),
        "sentinel" => Some((Kind::Sentinel, is_tls)),
        "cluster" => Some((Kind::Cluster, is_tls)),
        _ => None,
    }
}

/// Returns the user name and the password.
fn user_info(info: &str) -> Result<(Option<String>, Option<String>), String> {
    let (user, password) = info
        .split_once(':')
        .map_or((info, None), |(user, rest)| (user, Some(rest)));
    let decode =
        |text: &str| percent::decode(text).ok_or("a % in the user or password must be written as %25");
    let user = Some(decode(user)?).filter(|user| !user.is_empty());
    let password = password
        .map(decode)
        .transpose()?
        .filter(|password| !password.is_empty());
    Ok((user, password))
}

fn hosts_and_ports(hosts: &str, default_port: u16) -> Result<Vec<(String, u16)>, String> {
    hosts
        .split(',')
        .map(|host| host_and_port(host, default_port))
        .collect()
}

/// Parses `host`, `host:port`, `[IPv6]` or `[IPv6]:port`.
fn host_and_port(text: &str, default_port: u16) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("a \"[\" has no \"]\"")?;
            host.parse::<std::net::Ipv6Addr>()
                .map_err(|_| "the text in [] is not an IPv6 address")?;
            let port = match port.strip_prefix(':') {
                None if port.is_empty() => None,
                None => return Err("only a port may follow \"]\"".to_owned()),
                port => port,
            };
            (host, port)
        }
        None => text
            .split_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if port.is_some_and(|port| port.contains(':')) {
        return Err("an IPv6 address must be written in []".to_owned());
    }
    let port = match port {
        None => default_port,
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err("the port is not a number from 1 to 65535".to_owned()),
        },
    };
    let host = percent::decode(host).ok_or("the host is not valid")?;
    if host.contains(',') {
        return Err(
            "several hosts need a URL that begins with redis+cluster:// or redis+sentinel://".to_owned(),
        );
    }
    if host.contains(|char: char| char.is_whitespace() || char.is_control()) {
        return Err("the host contains white space".to_owned());
    }
    // As redis-py does.
    let host = if host.is_empty() {
        "localhost".to_owned()
    } else {
        host
    };
    Ok((host, port))
}

/// Returns the path of a socket or the name of a service, and the database.
fn name_and_database(kind: Kind, path: &str) -> Result<(String, Option<i64>), String> {
    let decoded = percent::decode(path).ok_or("a % in the path must be written as %25")?;
    let (name, db) = match kind {
        Kind::Unix if decoded.is_empty() => return Err("it has no path".to_owned()),
        Kind::Unix => return Ok((format!("/{decoded}"), None)),
        Kind::Sentinel => decoded.split_once('/').unwrap_or((&decoded, "")),
        Kind::Single | Kind::Cluster => ("", decoded.as_str()),
    };
    if kind == Kind::Sentinel && name.is_empty() {
        return Err("it does not name a service, as in redis+sentinel://host:26379/mymaster".to_owned());
    }
    let db = match db.trim_end_matches('/') {
        "" => None,
        text => Some(query::database(text).ok_or("the database is not a number from 0")?),
    };
    Ok((name.to_owned(), db))
}
