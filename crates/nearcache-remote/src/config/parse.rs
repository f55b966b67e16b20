//! From Django's `LOCATION` and `OPTIONS` to a configuration.

use redis::{ConnectionAddr, RedisConnectionInfo};

use super::query::{NAMES, Query};
use super::redact::redact;
use super::url::{FORMS, Kind, Url};
use super::{Config, Endpoints, Options};
use crate::error::{Error, ErrorKind};
use crate::tls::{Tls, TlsFiles};

impl Config {
    /// Parses the locations of a remote tier. Reads the files that the TLS options name; does not connect.
    ///
    /// Several locations are one server and its replicas, as in Django's `RedisCache`. The replicas are not used.
    ///
    /// # Errors
    ///
    /// Fails with [`ErrorKind::Config`] if a location or an option is invalid.
    pub fn parse(locations: &[String], options: &Options) -> Result<Self, Error> {
        let Some(first) = locations.first() else {
            return Err(Error::new(
                ErrorKind::Config,
                format!("LOCATION is empty; expected {FORMS}"),
            ));
        };
        if locations.len() > 1 {
            // The replicas must be valid too: a mistake there would show only after the list is turned around.
            for location in locations {
                check_one_of_several(location, options)?;
            }
        }
        parse_one(first, options)
    }
}

fn parse_one(location: &str, options: &Options) -> Result<Config, Error> {
    let url = Url::parse(location).map_err(|problem| invalid(location, &problem))?;
    configure(url, options).map_err(|problem| invalid(location, &problem))
}

fn check_one_of_several(location: &str, options: &Options) -> Result<(), Error> {
    match parse_one(location, options)?.endpoints {
        Endpoints::Single(_) => Ok(()),
        Endpoints::Sentinel { .. } | Endpoints::Cluster(_) => Err(invalid(
            location,
            "a Sentinel's or Cluster's URL must be the only one; write its hosts as host:port,host:port",
        )),
    }
}

fn invalid(location: &str, problem: &str) -> Error {
    let accepted = if problem.contains("query") {
        format!("the names {NAMES}")
    } else if problem.contains("TLS file") {
        "files in PEM form".to_owned()
    } else {
        FORMS.to_owned()
    };
    let message = format!(
        "LOCATION is {:?}: {problem}; expected {accepted}",
        redact(location)
    );
    Error::new(ErrorKind::Config, message)
}

fn configure(mut url: Url, options: &Options) -> Result<Config, String> {
    let db = url.db.or(options.db).unwrap_or(0);
    if url.kind == Kind::Cluster && db != 0 {
        return Err("a Cluster has only database 0".to_owned());
    }
    if db < 0 {
        return Err("the database is not a number from 0".to_owned());
    }
    let tls = configure_tls(&url, options)?;
    let username = url.username.take().or_else(|| options.username.clone());
    let password = url.password.take().or_else(|| options.password.clone());
    if username.is_some() && password.is_none() {
        return Err("it has a user but no password".to_owned());
    }
    let config = Config {
        settings: settings(username, password).set_db(db),
        connect_timeout: url.query.connect_timeout.unwrap_or(options.connect_timeout),
        response_timeout: url.query.response_timeout.unwrap_or(options.response_timeout),
        max_connections: url.query.max_connections.unwrap_or(options.max_connections),
        endpoints: endpoints(url, tls.as_ref())?,
        tls,
    };
    if config.max_connections == 0 {
        return Err("the maximum of connections must be at least 1".to_owned());
    }
    if config.connect_timeout.is_zero() || config.response_timeout.is_zero() {
        return Err("a timeout must be longer than 0 seconds".to_owned());
    }
    Ok(config)
}

fn settings(username: Option<String>, password: Option<String>) -> RedisConnectionInfo {
    let mut settings = RedisConnectionInfo::default();
    if let Some(username) = username {
        settings = settings.set_username(username);
    }
    if let Some(password) = password {
        settings = settings.set_password(password);
    }
    settings
}

fn configure_tls(url: &Url, options: &Options) -> Result<Option<Tls>, String> {
    let Query {
        ca,
        cert,
        key,
        verify,
        check_hostname,
        ..
    } = &url.query;
    let files = TlsFiles {
        ca: ca.clone().or_else(|| options.ca.clone()),
        cert: cert.clone().or_else(|| options.cert.clone()),
        key: key.clone().or_else(|| options.key.clone()),
        verify: verify.unwrap_or(options.verify),
        check_hostname: check_hostname.unwrap_or(true),
    };
    if url.is_tls {
        return Tls::new(&files).map(Some);
    }
    if verify.is_some() || check_hostname.is_some() || files.ca.is_some() || files.cert.is_some() {
        return Err("it has TLS options, which need a URL that begins with rediss://".to_owned());
    }
    Ok(None)
}

fn endpoints(url: Url, tls: Option<&Tls>) -> Result<Endpoints, String> {
    let mut addresses = Vec::with_capacity(url.hosts.len());
    for (host, port) in url.hosts {
        addresses.push(match tls {
            Some(tls) => tls.address(host, port)?,
            None => ConnectionAddr::Tcp(host, port),
        });
    }
    Ok(match (url.kind, addresses.pop()) {
        (Kind::Cluster, Some(last)) => {
            addresses.push(last);
            Endpoints::Cluster(addresses)
        }
        (Kind::Sentinel, Some(last)) => {
            addresses.push(last);
            Endpoints::Sentinel {
                sentinels: addresses,
                settings: Box::new(settings(url.query.sentinel_username, url.query.sentinel_password)),
                service: url.name,
            }
        }
        (_, Some(address)) => Endpoints::Single(address),
        (_, None) => Endpoints::Single(ConnectionAddr::Unix(url.name.into())),
    })
}
