//! Tables of URLs.

use std::time::Duration;

use redis::ConnectionAddr;

use super::{Config, Endpoints, Options};
use crate::error::{Error, ErrorKind};

fn parse(url: &str) -> Result<Config, Error> {
    Config::parse(&[url.to_owned()], &Options::default())
}

/// Returns where a URL leads to, as text.
fn endpoints(config: &Config) -> String {
    let list = |addresses: &[ConnectionAddr]| {
        addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")
    };
    match &config.endpoints {
        Endpoints::Single(ConnectionAddr::Unix(path)) => format!("unix {}", path.display()),
        Endpoints::Single(address @ ConnectionAddr::TcpTls { .. }) => format!("tls {address}"),
        Endpoints::Single(address) => address.to_string(),
        Endpoints::Sentinel {
            sentinels, service, ..
        } => format!("{service} by {}", list(sentinels)),
        Endpoints::Cluster(addresses) => format!("cluster {}", list(addresses)),
    }
}

#[test]
fn a_url_leads_to_servers_and_a_database() {
    for (url, expected, db) in [
        ("redis://", "localhost:6379", 0),
        ("redis://example", "example:6379", 0),
        ("REDIS://example:1/", "example:1", 0),
        ("valkey://example:7000/3", "example:7000", 3),
        ("redis://example:7000/3?db=4", "example:7000", 4),
        ("redis://[::1]:7000/3", "::1:7000", 3),
        ("redis://[::1]", "::1:6379", 0),
        ("rediss://example?ssl_cert_reqs=none", "tls example:6379", 0),
        ("valkeys://127.0.0.1:1/2?ssl_cert_reqs=none", "tls 127.0.0.1:1", 2),
        ("unix:///run/a%20b.sock?db=2", "unix /run/a b.sock", 2),
        ("redis+unix://:pw@/run/s", "unix /run/s", 0),
        ("valkey+unix:///run/s", "unix /run/s", 0),
        ("redis+sentinel://a:1,b/main/5", "main by a:1,b:26379", 5),
        ("valkey+sentinel://u:p@[::1]:2/main", "main by ::1:2", 0),
        ("redis+cluster://a:1,[::1]:2,c", "cluster a:1,::1:2,c:6379", 0),
        ("valkey+cluster://a/0", "cluster a:6379", 0),
    ] {
        let config = parse(url).unwrap();
        assert_eq!(
            (endpoints(&config).as_str(), config.settings.db()),
            (expected, db),
            "{url}"
        );
    }
}

#[test]
fn a_url_names_user_and_password() {
    for (url, user, password) in [
        ("redis://h", None, None),
        ("redis://:pw@h", None, Some("pw")),
        ("redis://user:p%40w%3a%2F@h", Some("user"), Some("p@w:/")),
        ("redis://u%25:a:b@h", Some("u%"), Some("a:b")),
        ("redis://u:a@b@h", Some("u"), Some("a@b")),
        ("unix:///s?username=u&password=p%26", Some("u"), Some("p&")),
    ] {
        let config = parse(url).unwrap();
        assert_eq!(
            (config.settings.username(), config.settings.password()),
            (user, password),
            "{url}"
        );
    }
    let url = "redis+sentinel://u:p@h/s?sentinel_username=su&sentinel_password=sp";
    let Endpoints::Sentinel { settings, .. } = parse(url).unwrap().endpoints else {
        panic!("not a Sentinel's URL");
    };
    assert_eq!(
        (settings.username(), settings.password()),
        (Some("su"), Some("sp"))
    );
}

#[test]
fn options_apply_where_the_url_is_silent() {
    let options = Options {
        db: Some(3),
        username: Some("u".to_owned()),
        password: Some("p".to_owned()),
        response_timeout: Duration::from_secs(7),
        max_connections: 5,
        ..Options::default()
    };
    let config = Config::parse(&["redis://h".to_owned()], &options).unwrap();
    assert_eq!((config.settings.db(), config.settings.username()), (3, Some("u")));
    assert_eq!(
        (config.response_timeout, config.max_connections),
        (Duration::from_secs(7), 5)
    );

    let url = "redis://:q@h/4?socket_timeout=0.5&socket_connect_timeout=2&max_connections=9&protocol=2";
    let config = Config::parse(&[url.to_owned()], &options).unwrap();
    assert_eq!((config.settings.db(), config.settings.password()), (4, Some("q")));
    assert_eq!(
        (config.response_timeout, config.max_connections),
        (Duration::from_millis(500), 9)
    );
    assert_eq!(config.connect_timeout, Duration::from_secs(2));
}

#[test]
fn the_first_of_several_urls_is_the_primary() {
    let locations = ["redis://a:1".to_owned(), "redis://b:2".to_owned()];
    let config = Config::parse(&locations, &Options::default()).unwrap();
    assert_eq!(endpoints(&config), "a:1");
    for second in ["redis://b:x", "redis://b?max_connections=0", "redis+cluster://b"] {
        let locations = ["redis://a:1".to_owned(), second.to_owned()];
        assert!(
            Config::parse(&locations, &Options::default()).is_err(),
            "{second}"
        );
    }
    assert!(Config::parse(&[], &Options::default()).is_err());
}

#[test]
fn an_invalid_url_is_an_error_that_says_why() {
    for (url, problem) in [
        ("", "no scheme"),
        ("localhost:6379", "no scheme"),
        ("http://h", "\"http\" is unknown"),
        ("redis+foo://h", "is unknown"),
        ("rediss+unix:///s", "is unknown"),
        ("redis://h:0", "port"),
        ("redis://h:65536", "port"),
        ("redis://h:port", "port"),
        ("redis://h:", "port"),
        ("redis://::1", "IPv6"),
        ("redis://[::1", "\"]\""),
        ("redis://[zz]", "IPv6"),
        ("redis://[::1]x", "\"]\""),
        ("redis://a b", "white space"),
        ("redis://a,b", "several hosts"),
        ("redis://h/x", "database"),
        ("redis://h/-1", "database"),
        ("redis://h/1/2", "database"),
        ("redis://h?db=x", "value of db"),
        ("redis://h?host=x", "host is not a name"),
        ("redis://h?db", "\"=\""),
        ("redis://h?ssl_cert_reqs=maybe", "ssl_cert_reqs"),
        ("redis://h?ssl_cert_reqs=none", "rediss://"),
        ("redis://h?socket_timeout=0", "seconds"),
        ("redis://h?socket_timeout=nan", "seconds"),
        ("redis://h?max_connections=0", "at least 1"),
        ("redis://h?protocol=4", "2 or 3"),
        ("redis://u@h", "no password"),
        ("redis://:%zz@h", "%25"),
        ("redis://h#x", "%23"),
        ("unix://", "no path"),
        ("unix://path", "begin with"),
        ("redis+sentinel://h", "name a service"),
        ("redis+cluster://h/1", "only database 0"),
        ("rediss://h?ssl_ca_certs=/nonexistent", "/nonexistent"),
        ("rediss://h?ssl_cert_reqs=none&ssl_keyfile=/x", "no certificate"),
    ] {
        let error = parse(url).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config, "{url}");
        assert!(error.to_string().contains(problem), "{url}: {error}");
        assert!(error.to_string().contains("expected"), "{url}: {error}");
    }
}

#[test]
fn no_password_is_ever_shown() {
    for url in [
        "redis://u:hunter2@h:x",
        "redis://u:hun/hunter2@h",
        "redis://u:hunter2?a=hunter2@h",
        "redis://u:h#hunter2@h",
        "redis://:1/hunter2@h",
        "u:hunter2@h",
        "redis+sentinel://h?sentinel_password=hunter2",
        "redis://h?password=hunter2&hunter=1",
    ] {
        let error = parse(url).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    let config = parse("redis+sentinel://u:hunter2@h/s?sentinel_password=hunter2").unwrap();
    let options = Options {
        password: Some("hunter2".to_owned()),
        ..Options::default()
    };
    assert!(!format!("{config:?} {options:?}").contains("hunter2"));
}
