//! A server that behaves as a test wants: it answers what the listener asks, and sends what it is told to.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use redis::ConnectionAddr;

/// How the server answers. A test may change it at any time.
pub(crate) struct Behaviour {
    pub(crate) role: &'static str,
    pub(crate) run_id: String,
    /// What answers `HELLO 3`, instead of a map.
    pub(crate) hello_error: Option<&'static str>,
    /// What answers `CLIENT TRACKING`, instead of OK.
    pub(crate) tracking_error: Option<&'static str>,
    /// How long each `HELLO 3` takes.
    pub(crate) hello_delay: Duration,
    /// Whether nothing is answered.
    pub(crate) is_silent: bool,
    /// Whether a script runs, so that `PING` is refused.
    pub(crate) is_busy: bool,
    /// What is sent right before the next answer to `HELLO`.
    pub(crate) before_reply: Vec<u8>,
    /// What answers `CLUSTER SLOTS`.
    pub(crate) slots: Vec<u8>,
    /// What answers `SENTINEL get-master-addr-by-name`.
    pub(crate) named: Option<u16>,
    /// The commands that were received.
    pub(crate) commands: Vec<Vec<String>>,
    /// The connections on which tracking is on.
    pub(crate) tracking: Vec<TcpStream>,
    /// How many connections the other side ended.
    pub(crate) ended: usize,
}

/// A server on a port of its own.
pub(crate) struct FakeServer {
    pub(crate) port: u16,
    behaviour: Arc<Mutex<Behaviour>>,
}

impl FakeServer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let behaviour = Arc::new(Mutex::new(Behaviour {
            role: "master",
            run_id: format!("run-{port}"),
            hello_error: None,
            tracking_error: None,
            hello_delay: Duration::ZERO,
            is_silent: false,
            is_busy: false,
            before_reply: Vec::new(),
            slots: Vec::new(),
            named: None,
            commands: Vec::new(),
            tracking: Vec::new(),
            ended: 0,
        }));
        let shared = Arc::clone(&behaviour);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                thread::spawn(move || serve(&stream, &shared));
            }
        });
        Self { port, behaviour }
    }

    pub(crate) fn addr(&self) -> ConnectionAddr {
        ConnectionAddr::Tcp("127.0.0.1".to_owned(), self.port)
    }

    pub(crate) fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        self.behaviour.lock().unwrap()
    }

    /// Sends bytes on the connections on which tracking is on.
    pub(crate) fn push(&self, bytes: &[u8]) {
        for mut stream in &self.behaviour().tracking {
            stream.write_all(bytes).ok();
        }
    }

    /// Closes the connections on which tracking is on.
    pub(crate) fn disconnect(&self) {
        for stream in self.behaviour().tracking.drain(..) {
            stream.shutdown(std::net::Shutdown::Both).ok();
        }
    }
}

/// Returns a push that invalidates a key.
pub(crate) fn invalidation(key: &str) -> Vec<u8> {
    format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{key}\r\n", key.len()).into_bytes()
}

/// The push that invalidates all keys.
pub(crate) const FLUSH: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";

fn serve(stream: &TcpStream, behaviour: &Mutex<Behaviour>) {
    let mut reader = BufReader::new(stream);
    while let Some(command) = read_command(&mut reader) {
        let mut now = behaviour.lock().unwrap();
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let reply = answer(&words, &mut now, stream);
        let delay = if words == ["HELLO", "3"] {
            now.hello_delay
        } else {
            Duration::ZERO
        };
        let is_silent = now.is_silent;
        now.commands.push(command);
        drop(now);
        thread::sleep(delay);
        if !is_silent && (&mut &*stream).write_all(&reply).is_err() {
            break;
        }
    }
    behaviour.lock().unwrap().ended += 1;
}

fn answer(words: &[&str], now: &mut Behaviour, stream: &TcpStream) -> Vec<u8> {
    let error = |text: &str| format!("-{text}\r\n").into_bytes();
    match words {
        ["HELLO", ..] if now.hello_error.is_some() => error(now.hello_error.unwrap_or_default()),
        ["HELLO", ..] => {
            let mut reply = std::mem::take(&mut now.before_reply);
            reply.extend(format!("%1\r\n$4\r\nrole\r\n${}\r\n{}\r\n", now.role.len(), now.role).bytes());
            reply
        }
        ["INFO", ..] => {
            let info = format!("# Server\r\nrun_id:{}\r\n", now.run_id);
            format!("${}\r\n{info}\r\n", info.len()).into_bytes()
        }
        ["CLIENT", "TRACKING", ..] if now.tracking_error.is_some() => {
            error(now.tracking_error.unwrap_or_default())
        }
        ["CLIENT", "TRACKING", ..] => {
            now.tracking.push(stream.try_clone().unwrap());
            b"+OK\r\n".to_vec()
        }
        ["PING"] if now.is_busy => error("BUSY Redis is busy running a script."),
        ["CLUSTER", "SLOTS"] => now.slots.clone(),
        ["SENTINEL", ..] => match now.named {
            Some(port) => {
                let port = port.to_string();
                format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len()).into_bytes()
            }
            None => b"*-1\r\n".to_vec(),
        },
        _ => b"+OK\r\n".to_vec(),
    }
}

fn read_command(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let count = read_number(reader)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; read_number(reader)? + 2];
        reader.read_exact(&mut word).ok()?;
        word.truncate(word.len() - 2);
        words.push(String::from_utf8(word).ok()?);
    }
    Some(words)
}

/// Reads a line such as `*2` or `$10`.
fn read_number(reader: &mut impl BufRead) -> Option<usize> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    line.trim_end().get(1..)?.parse().ok()
}
