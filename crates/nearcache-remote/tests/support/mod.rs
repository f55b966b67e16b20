//! A server that says what a test wants.

#![allow(dead_code, unreachable_pub)] // not every test needs all of it; a test is a crate of its own

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use nearcache_remote::{Config, Error, Options, Remote, Reply, Request, Route, Value, cmd};

/// What the server does about a command.
pub enum Action {
    /// Sends these bytes.
    Send(String),
    /// Closes the connection.
    Close,
    /// Sends these bytes and closes the connection.
    SendAndClose(String),
    /// Says nothing.
    Nothing,
    /// Sends these bytes after a while.
    Later(Duration, String),
}

/// Decides about a command: the number of the connection, and the words.
pub type Script = dyn Fn(usize, &[String]) -> Option<Action> + Send + Sync;

/// A server that says what a test wants. Introductions are answered without the script, unless it answers them.
pub struct Fake {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    run_id: String,
    connections: AtomicUsize,
    is_down: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
    commands: Mutex<Vec<String>>,
    script: Box<Script>,
}

impl Fake {
    /// Starts a server that answers `+OK`, if the script does not know better.
    pub fn start(script: impl Fn(usize, &[String]) -> Option<Action> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        Self::listen(listener, port, Box::new(script))
    }

    /// Starts a server of its port's own, which the script is told.
    pub fn start_with_port<S>(make: impl FnOnce(u16) -> S) -> Self
    where
        S: Fn(usize, &[String]) -> Option<Action> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        Self::listen(listener, port, Box::new(make(port)))
    }

    fn listen(listener: TcpListener, port: u16, script: Box<Script>) -> Self {
        let shared = Arc::new(Shared {
            run_id: format!("run{port}"),
            connections: AtomicUsize::new(0),
            is_down: AtomicBool::new(false),
            sockets: Mutex::new(Vec::new()),
            commands: Mutex::new(Vec::new()),
            script,
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(socket) = socket else { return };
                if accepting.is_down.load(SeqCst) {
                    continue;
                }
                let number = accepting.connections.fetch_add(1, SeqCst);
                accepting
                    .sockets
                    .lock()
                    .unwrap()
                    .push(socket.try_clone().unwrap());
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.serve(number, socket));
            }
        });
        Self { port, shared }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn name(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns how many connections there have been.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(SeqCst)
    }

    /// Returns the commands received, without introductions.
    pub fn commands(&self) -> Vec<String> {
        self.shared.commands.lock().unwrap().clone()
    }

    /// Closes all connections.
    pub fn cut(&self) {
        for socket in self.shared.sockets.lock().unwrap().drain(..) {
            _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Closes all connections, and new ones at once, or no more.
    pub fn set_down(&self, is_down: bool) {
        self.shared.is_down.store(is_down, SeqCst);
        self.cut();
    }
}

impl Shared {
    fn serve(&self, number: usize, mut socket: TcpStream) {
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        while let Some(words) = read_command(&mut reader) {
            let action = (self.script)(number, &words);
            let is_introduction = matches!(words[0].as_str(), "AUTH" | "SELECT" | "CLIENT" | "INFO");
            if !is_introduction {
                self.commands.lock().unwrap().push(words.join(" "));
            }
            let action = action.unwrap_or_else(|| Action::Send(self.default_reply(&words)));
            let is_last = match action {
                Action::Send(text) => socket.write_all(text.as_bytes()).is_err(),
                Action::Later(pause, text) => {
                    thread::sleep(pause);
                    socket.write_all(text.as_bytes()).is_err()
                }
                Action::Nothing => false,
                Action::Close => true,
                Action::SendAndClose(text) => {
                    _ = socket.write_all(text.as_bytes());
                    true
                }
            };
            if is_last {
                break;
            }
        }
        _ = socket.shutdown(Shutdown::Both);
    }

    fn default_reply(&self, words: &[String]) -> String {
        match (words[0].as_str(), words.get(1).map(String::as_str)) {
            ("INFO", Some("server")) => bulk(&format!(
                "redis_version:7.2.4\r\nredis_mode:standalone\r\nrun_id:{}\r\n",
                self.run_id
            )),
            ("INFO", _) => bulk("role:master\r\n"),
            _ => "+OK\r\n".to_owned(),
        }
    }
}

fn read_command(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let count = read_number(reader, '*')?;
    (0..count).map(|_| read_word(reader)).collect()
}

fn read_number(reader: &mut impl BufRead, kind: char) -> Option<usize> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    line.trim_end().strip_prefix(kind)?.parse().ok()
}

fn read_word(reader: &mut impl BufRead) -> Option<String> {
    let len = read_number(reader, '$')?;
    let mut bytes = vec![0; len + 2];
    reader.read_exact(&mut bytes).ok()?;
    bytes.truncate(len);
    String::from_utf8(bytes).ok()
}

/// Returns a bulk string as the server sends it.
pub fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// Returns a remote tier at a URL, with timeouts for tests.
pub fn remote(url: &str) -> Remote {
    let options = Options {
        connect_timeout: Duration::from_millis(500),
        response_timeout: Duration::from_millis(300),
        max_connections: 4,
        ..Options::default()
    };
    Remote::new(Config::parse(&[url.to_owned()], &options).unwrap())
}

/// Returns a request of one command, whose second word is the key.
pub fn request(words: &[&str], repeatable: bool) -> Request {
    let mut request = Request::default();
    add(&mut request, words, repeatable);
    request
}

/// Adds a command, whose second word is the key.
pub fn add(request: &mut Request, words: &[&str], repeatable: bool) {
    let mut command = cmd(words[0]);
    for word in &words[1..] {
        command.arg(*word);
    }
    request.add(command, Route::key(words[1].as_bytes()), repeatable);
}

/// Returns the values of replies as text.
pub fn texts(replies: Vec<Reply>) -> Vec<String> {
    replies.into_iter().map(|reply| text(&reply.value)).collect()
}

pub fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Okay => "OK".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Nil => "nil".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Starts a request, and waits for its result.
pub fn start(remote: &Remote, request: Request) -> Result<Vec<Reply>, Error> {
    let (send, receive) = mpsc::channel();
    remote.start(request, Box::new(move |result| send.send(result).unwrap()));
    receive.recv_timeout(Duration::from_secs(20)).unwrap()
}

/// A way to execute a request: in this thread or by the runtime's.
pub type Way = fn(&Remote, Request) -> Result<Vec<Reply>, Error>;

/// Both ways.
pub const WAYS: [Way; 2] = [
    |remote, request| remote.execute(&request),
    |remote, request| start(remote, request),
];
