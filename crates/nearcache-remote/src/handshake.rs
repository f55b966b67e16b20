//! What a new connection sends first, and what the replies tell. Shared by blocking and multiplexed connections.

use redis::{Cmd, RedisConnectionInfo, ServerError, Value, cmd};

use crate::error::{Error, ErrorKind};
use crate::server_id::ServerId;

/// The oldest server that is supported.
const OLDEST_MAJOR: u32 = 6;

/// What the commands of a handshake are for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Authenticate,
    Select,
    /// A name or version for `CLIENT LIST`. Failure does not matter.
    Introduce,
    InfoServer,
    InfoReplication,
}

/// The first commands of a connection.
pub(crate) struct Handshake {
    steps: Vec<Step>,
    pub(crate) commands: Vec<Cmd>,
}

/// What a handshake told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Introduction {
    /// The server, if it is a primary that tells its `run_id`.
    pub(crate) server: ServerId,
    /// Whether the server said that it is a replica.
    pub(crate) is_replica: bool,
    /// Why the server is not known.
    pub(crate) note: Option<String>,
}

impl Handshake {
    /// Returns the handshake with a server.
    pub(crate) fn new(settings: &RedisConnectionInfo) -> Self {
        let mut handshake = Self::with_sentinel(settings);
        if settings.db() != 0 {
            handshake.add(Step::Select, words(&["SELECT", &settings.db().to_string()]));
        }
        let version = env!("CARGO_PKG_VERSION");
        handshake.add(Step::Introduce, words(&["CLIENT", "SETNAME", "nearcache"]));
        handshake.add(
            Step::Introduce,
            words(&["CLIENT", "SETINFO", "LIB-NAME", "nearcache"]),
        );
        handshake.add(Step::Introduce, words(&["CLIENT", "SETINFO", "LIB-VER", version]));
        handshake.add(Step::InfoServer, words(&["INFO", "server"]));
        handshake.add(Step::InfoReplication, words(&["INFO", "replication"]));
        handshake
    }

    /// Returns the handshake with a Sentinel.
    pub(crate) fn with_sentinel(settings: &RedisConnectionInfo) -> Self {
        let mut handshake = Self {
            steps: Vec::with_capacity(7),
            commands: Vec::with_capacity(7),
        };
        if let Some(password) = settings.password() {
            let mut auth = cmd("AUTH");
            if let Some(user) = settings.username() {
                auth.arg(user);
            }
            auth.arg(password);
            handshake.add(Step::Authenticate, auth);
        }
        handshake
    }

    fn add(&mut self, step: Step, command: Cmd) {
        self.steps.push(step);
        self.commands.push(command);
    }

    /// Returns what the replies tell; `name` is the server's for messages.
    pub(crate) fn finish(&self, replies: &[Value], name: &str) -> Result<Introduction, Error> {
        let mut info = [
            Err("it was not asked".to_owned()),
            Err("it was not asked".to_owned()),
        ];
        for (step, reply) in self.steps.iter().zip(replies) {
            match (step, reply) {
                (Step::Introduce, Value::ServerError(error)) if error.code() != "NOAUTH" => {}
                (Step::Authenticate | Step::Select | Step::Introduce, Value::ServerError(error)) => {
                    return Err(refusal(*step, error, name));
                }
                (Step::InfoServer, reply) => info[0] = info_text(reply),
                (Step::InfoReplication, reply) => info[1] = info_text(reply),
                _ => {}
            }
        }
        introduction(&info, name)
    }
}

fn words(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(word);
    }
    command
}

fn refusal(step: Step, error: &ServerError, name: &str) -> Error {
    let details = error.details().unwrap_or_default();
    let code = error.code();
    let message = match (code, step) {
        ("NOAUTH", _) => format!("{name} requires a password: {details}"),
        (_, Step::Authenticate) => format!("{name} refused the user or password: {details}"),
        _ => return Error::from_reply(error, name),
    };
    Error::new(ErrorKind::Authentication, message)
}

fn info_text(reply: &Value) -> Result<String, String> {
    match reply {
        Value::BulkString(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        Value::ServerError(error) => Err(format!(
            "{} {}",
            error.code(),
            error.details().unwrap_or_default()
        )),
        _ => Err("the reply is not text".to_owned()),
    }
}

fn introduction(info: &[Result<String, String>; 2], name: &str) -> Result<Introduction, Error> {
    let [server, replication] = info;
    if let Ok(server) = server {
        check_server(server, name)?;
    }
    let is_replica = replication
        .as_ref()
        .is_ok_and(|text| field(text, "role").is_some_and(|role| role != "master"));
    let unknown = |reason: &str| Introduction {
        server: ServerId::UNKNOWN,
        is_replica,
        note: Some(format!("values of {name} are not kept near: {reason}")),
    };
    Ok(match (server, replication) {
        (Err(reason), _) => unknown(&format!("INFO server failed: {reason}")),
        (_, Err(reason)) => unknown(&format!("INFO replication failed: {reason}")),
        _ if is_replica => unknown("it is a replica"),
        (Ok(server), _) => match field(server, "run_id") {
            None => unknown("INFO does not tell the run_id"),
            Some(run_id) => Introduction {
                server: ServerId::from_run_id(run_id.as_bytes()),
                is_replica,
                note: None,
            },
        },
    })
}

fn check_server(info: &str, name: &str) -> Result<(), Error> {
    if field(info, "redis_mode") == Some("sentinel") {
        let message = format!("{name} is a Sentinel; use redis+sentinel://{name}/<service>");
        return Err(Error::new(ErrorKind::Config, message));
    }
    let Some(version) = field(info, "redis_version") else {
        return Ok(());
    };
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major < OLDEST_MAJOR) {
        let message =
            format!("{name} is Redis {version}, which is too old; Redis {OLDEST_MAJOR} or Valkey is needed");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok(())
}

/// Returns a field of the reply to INFO.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(settings: &RedisConnectionInfo, replies: &[&str]) -> Result<Introduction, Error> {
        let values: Vec<Value> = replies
            .iter()
            .map(|reply| redis::parse_redis_value(reply.as_bytes()).unwrap())
            .collect();
        Handshake::new(settings).finish(&values, "h:1")
    }

    fn bulk(text: &str) -> String {
        format!("${}\r\n{text}\r\n", text.len())
    }

    fn plain(server: &str, replication: &str) -> Result<Introduction, Error> {
        finish(
            &RedisConnectionInfo::default(),
            &["+OK\r\n", "-ERR x\r\n", "-ERR x\r\n", server, replication],
        )
    }

    #[test]
    fn a_primary_is_known_by_its_run_id() {
        let server = bulk("# Server\r\nredis_version:7.2.4\r\nredis_mode:standalone\r\nrun_id:abc\r\n");
        let known = plain(&server, &bulk("role:master\r\n")).unwrap();
        assert_eq!((known.server, known.note), (ServerId::from_run_id(b"abc"), None));

        let replica = plain(&server, &bulk("role:slave\r\n")).unwrap();
        assert_eq!((replica.server, replica.is_replica), (ServerId::UNKNOWN, true));

        let refused = plain("-NOPERM no permission\r\n", &bulk("role:master\r\n")).unwrap();
        assert_eq!(refused.server, ServerId::UNKNOWN);
        assert!(refused.note.unwrap().contains("NOPERM"));
    }

    #[test]
    fn an_unsuitable_server_is_an_error() {
        let primary = bulk("role:master\r\n");
        let old = plain(&bulk("redis_version:5.0.14\r\nrun_id:a\r\n"), &primary).unwrap_err();
        assert_eq!(
            (old.kind, old.to_string().contains("5.0.14")),
            (ErrorKind::Unsupported, true)
        );
        let sentinel = plain(&bulk("redis_version:7.0.0\r\nredis_mode:sentinel\r\n"), &primary).unwrap_err();
        assert!(sentinel.to_string().contains("redis+sentinel://h:1"));
    }

    #[test]
    fn a_refused_password_is_an_error_of_its_own() {
        let settings = RedisConnectionInfo::default().set_password("hunter2");
        let wrong = finish(&settings, &["-WRONGPASS invalid username-password pair\r\n"]).unwrap_err();
        assert_eq!(wrong.kind, ErrorKind::Authentication);
        assert!(
            wrong
                .to_string()
                .starts_with("h:1 refused the user or password: invalid"),
            "{wrong}"
        );
        assert!(!wrong.to_string().contains("hunter2"));

        let missing = plain("-NOAUTH Authentication required.\r\n", "-NOAUTH\r\n");
        assert!(missing.is_ok(), "INFO alone does not decide");
        let missing = finish(
            &RedisConnectionInfo::default(),
            &["-NOAUTH Authentication required.\r\n"],
        )
        .unwrap_err();
        assert_eq!(missing.kind, ErrorKind::Authentication);

        let select = RedisConnectionInfo::default().set_db(99);
        let select = finish(&select, &["-ERR DB index is out of range\r\n"]).unwrap_err();
        assert_eq!(select.to_string(), "h:1: ERR DB index is out of range");
    }
}
