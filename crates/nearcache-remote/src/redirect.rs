//! What a reply says about where its command belongs.

use redis::{ConnectionAddr, ServerError, Value};

use crate::tls::with_host;
use crate::topology::Kind;

/// What to do with a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the caller's.
    Final,
    /// Another server serves the slot from now on.
    Moved(ConnectionAddr),
    /// Another server has this key already.
    Asked(ConnectionAddr),
    /// The command was not executed; it may be a little later, or elsewhere.
    NotNow {
        /// Whether the server is not a primary any more.
        role_changed: bool,
    },
}

/// Decides about a reply of the server at an address.
pub(crate) fn judge(kind: Kind, value: &Value, address: &ConnectionAddr) -> Verdict {
    match value {
        Value::ServerError(error) if kind != Kind::Single => judge_error(kind, error, address),
        _ => Verdict::Final,
    }
}

fn judge_error(kind: Kind, error: &ServerError, address: &ConnectionAddr) -> Verdict {
    match (error.code(), kind) {
        ("READONLY", _) => Verdict::NotNow { role_changed: true },
        ("MOVED", Kind::Cluster) => target(error, address).map_or(Verdict::Final, Verdict::Moved),
        ("ASK", Kind::Cluster) => target(error, address).map_or(Verdict::Final, Verdict::Asked),
        ("TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "LOADING", Kind::Cluster) => {
            Verdict::NotNow { role_changed: false }
        }
        _ => Verdict::Final,
    }
}

/// Returns the server in `MOVED 3999 127.0.0.1:6381`. An empty host means the one that answered.
fn target(error: &ServerError, address: &ConnectionAddr) -> Option<ConnectionAddr> {
    let (_, place) = error.details()?.split_once(' ')?;
    let (host, port) = place.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() || host == "?" {
        host_of(address)
    } else {
        host.to_owned()
    };
    Some(with_host(address, host, port.parse().ok()?))
}

/// Returns the host of an address.
pub(crate) fn host_of(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        _ => "localhost".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(kind: Kind, line: &str) -> Verdict {
        let value = redis::parse_redis_value(format!("{line}\r\n").as_bytes()).unwrap();
        judge(kind, &value, &ConnectionAddr::Tcp("asked".to_owned(), 1))
    }

    #[test]
    fn a_cluster_redirects() {
        let to = |host: &str| ConnectionAddr::Tcp(host.to_owned(), 7);
        assert_eq!(verdict(Kind::Cluster, "-MOVED 5 h:7"), Verdict::Moved(to("h")));
        assert_eq!(verdict(Kind::Cluster, "-MOVED 5 :7"), Verdict::Moved(to("asked")));
        assert_eq!(
            verdict(Kind::Cluster, "-MOVED 5 ::1:7"),
            Verdict::Moved(to("::1"))
        );
        assert_eq!(verdict(Kind::Cluster, "-ASK 5 h:7"), Verdict::Asked(to("h")));
        assert_eq!(verdict(Kind::Cluster, "-MOVED 5"), Verdict::Final);
        for line in ["-TRYAGAIN x", "-CLUSTERDOWN x", "-LOADING x", "-MASTERDOWN x"] {
            assert_eq!(
                verdict(Kind::Cluster, line),
                Verdict::NotNow { role_changed: false }
            );
            assert_eq!(verdict(Kind::Sentinel, line), Verdict::Final);
        }
    }

    #[test]
    fn only_a_lone_server_may_be_read_only() {
        let changed = Verdict::NotNow { role_changed: true };
        assert_eq!(verdict(Kind::Cluster, "-READONLY x"), changed);
        assert_eq!(verdict(Kind::Sentinel, "-READONLY x"), changed);
        assert_eq!(verdict(Kind::Single, "-READONLY x"), Verdict::Final);
        assert_eq!(verdict(Kind::Cluster, "-ERR x"), Verdict::Final);
        assert_eq!(verdict(Kind::Cluster, "+OK"), Verdict::Final);
    }
}
