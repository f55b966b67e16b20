//! The reply to `CLUSTER SLOTS`.

use redis::{ConnectionAddr, Value};

use crate::error::{Error, ErrorKind};
use crate::redirect::host_of;
use crate::tls::with_host;

/// Consecutive slots and the primary that serves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotRange {
    pub(crate) start: u16,
    /// The last slot, inclusive.
    pub(crate) end: u16,
    pub(crate) primary: ConnectionAddr,
    /// The id of the primary's node, which it keeps when its address changes. Empty if the server tells none.
    pub(crate) id: String,
}

/// Parses the reply to `CLUSTER SLOTS` of the node at `asked`. Replicas are left out.
///
/// A node that does not know its own host leaves it out, or writes "?": then it is the host that was asked. TLS parameters
/// are those of `asked`.
pub(crate) fn parse_slots(reply: &Value, asked: &ConnectionAddr) -> Result<Vec<SlotRange>, Error> {
    match reply {
        Value::ServerError(error) => Err(refusal(error, asked)),
        Value::Array(ranges) => {
            let ranges = ranges
                .iter()
                .map(|range| parse_range(range, asked).ok_or_else(|| invalid(asked)));
            ranges.collect()
        }
        _ => Err(invalid(asked)),
    }
}

fn refusal(error: &redis::ServerError, asked: &ConnectionAddr) -> Error {
    let details = error.details().unwrap_or_default();
    if details.contains("cluster support disabled") || details.contains("unknown command") {
        let message = format!("{asked} is not a node of a Cluster; use redis://{asked}");
        return Error::new(ErrorKind::Config, message);
    }
    Error::from_cluster(error, &asked.to_string())
}

fn invalid(asked: &ConnectionAddr) -> Error {
    let message = format!("the reply of {asked} to CLUSTER SLOTS is not what Redis would send");
    Error::new(ErrorKind::Response, message)
}

/// Parses `[start, end, [host, port, id, ...], replica...]`.
fn parse_range(range: &Value, asked: &ConnectionAddr) -> Option<SlotRange> {
    let Value::Array(parts) = range else {
        return None;
    };
    let [start, end, Value::Array(node), ..] = parts.as_slice() else {
        return None;
    };
    let [host, port, rest @ ..] = node.as_slice() else {
        return None;
    };
    let host = match host {
        Value::Nil => String::new(),
        host => text(host)?,
    };
    let host = if host.is_empty() || host == "?" {
        host_of(asked)
    } else {
        host
    };
    let (start, end) = (slot(start)?, slot(end)?);
    (start <= end).then_some(SlotRange {
        start,
        end,
        primary: with_host(asked, host, u16::try_from(int(port)?).ok()?),
        id: rest.first().and_then(text).unwrap_or_default(),
    })
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        _ => None,
    }
}

fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}

fn slot(value: &Value) -> Option<u16> {
    u16::try_from(int(value)?).ok().filter(|&slot| slot < 16_384)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> ConnectionAddr {
        ConnectionAddr::Tcp("asked".to_owned(), 1)
    }

    fn parse(reply: &str) -> Result<Vec<SlotRange>, Error> {
        let value = redis::parse_redis_value(reply.replace(' ', "\r\n").as_bytes()).unwrap();
        parse_slots(&value, &asked())
    }

    #[test]
    fn ranges_name_their_primary() {
        let replica = "*3 $1 r :9 $2 id";
        let ranges = parse(&format!(
            "*2 *4 :0 :99 *3 $1 a :7 $3 abc {replica} *3 :100 :16383 *4 $-1 :8 $2 xy *0 "
        ))
        .unwrap();
        let range = |start, end, host: &str, port, id: &str| SlotRange {
            start,
            end,
            primary: ConnectionAddr::Tcp(host.to_owned(), port),
            id: id.to_owned(),
        };
        assert_eq!(
            ranges,
            [range(0, 99, "a", 7, "abc"), range(100, 16_383, "asked", 8, "xy")]
        );
        for unknown in ["$0  ", "$1 ? "] {
            let ranges = parse(&format!("*1 *3 :0 :1 *2 {unknown}:7 ")).unwrap();
            assert_eq!(ranges, [range(0, 1, "asked", 7, "")]);
        }
        assert_eq!(parse("*0 ").unwrap(), []);
    }

    #[test]
    fn what_is_not_a_map_of_slots_is_an_error() {
        for reply in [
            ":1 ",
            "*1 :1 ",
            "*1 *2 :0 :1 ",
            "*1 *3 :0 :16384 *2 $1 a :7 ",
            "*1 *3 :5 :4 *2 $1 a :7 ",
            "*1 *3 :0 :4 *2 $1 a :70000 ",
            "*1 *3 :0 :4 *1 $1 a ",
        ] {
            assert_eq!(parse(reply).unwrap_err().kind, ErrorKind::Response, "{reply}");
        }
    }

    #[test]
    fn a_server_without_a_cluster_is_a_wrong_url() {
        let value = redis::parse_redis_value(b"-ERR This instance has cluster support disabled\r\n").unwrap();
        let error = parse_slots(&value, &asked()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "asked:1 is not a node of a Cluster; use redis://asked:1"
        );
    }
}
